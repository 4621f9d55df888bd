//! Where a machine is connected.

use portcullis_app::ports::Interface;
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

impl From<&Interface> for InterfaceView {
    fn from(it: &Interface) -> Self {
        Self {
            name: it.name.clone(),
            private: it.private.iter().map(ToString::to_string).collect(),
            public: it.public.iter().map(ToString::to_string).collect(),
            firewalls: it.firewalls.iter().map(ToString::to_string).collect(),
        }
    }
}
