//! Facts of a machine that outlive the cloud's answer.

use crate::Gate;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// The operating system of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Os {
    /// Managed over SSH.
    Linux,
    /// Managed over RDP.
    Windows,
}

/// The facts of a machine as its cloud last told them when somebody guarded it. A target keeps them, so that a cloud that does
/// not answer hides neither its name nor its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// The name that people use.
    pub name: String,
    /// The region, or the place that its cloud names.
    pub location: String,
    /// The operating system.
    pub os: Os,
    /// The addresses to connect to, the best one first.
    pub addresses: Vec<IpAddr>,
    /// The tags of its owners.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The kind of what guards it: `nsg`, `firewall`, `nftables`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarded_by: Option<String>,
}

/// The three lists of discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// It is guarded.
    Configured,
    /// It could be.
    NotConfigured,
    /// It cannot be.
    Unsupported,
}

impl Os {
    /// The gate that its owners manage it through, offered where nobody says otherwise.
    pub fn default_gate(self) -> Gate {
        const SSH: &str = "22/tcp";
        const RDP: &str = "3389/tcp";
        let text = match self {
            Self::Linux => SSH,
            Self::Windows => RDP,
        };
        // Both texts are gates: a test says so.
        text.parse().unwrap_or_else(|_| unreachable!("`{text}` is a gate"))
    }

    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_gates_are_gates() {
        assert_eq!(Os::Linux.default_gate().to_string(), "22/tcp");
        assert_eq!(Os::Windows.default_gate().to_string(), "3389/tcp");
    }
}
