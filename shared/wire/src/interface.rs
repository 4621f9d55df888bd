//! Where a machine is connected.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A network interface of a machine.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InterfaceView {
    /// What the cloud calls it.
    pub name: String,
    /// Its addresses in its own network.
    pub private: Vec<String>,
    /// Its addresses on the Internet.
    pub public: Vec<String>,
    /// Every firewall on the way to it, in their order.
    pub firewalls: Vec<String>,
}
