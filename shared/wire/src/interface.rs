//! Where a machine is connected.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A network interface of a machine.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InterfaceView {
    /// The id that the cloud gives it.
    pub name: String,
    /// Its addresses in its own network.
    pub private: Vec<String>,
    /// Its public addresses.
    pub public: Vec<String>,
    /// Every firewall on the network path to it, in their order.
    pub firewalls: Vec<String>,
}
