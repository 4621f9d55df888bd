//! The types of resources that there are.

use serde::{Deserialize, Serialize};

/// A type of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    VirtualMachine,
    ClassicMachine,
    NetworkInterface,
    PublicIpAddress,
    VirtualNetwork,
    SecurityGroup,
    ApplicationGroup,
    Firewall,
    LoadBalancer,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::VirtualMachine,
        Self::ClassicMachine,
        Self::NetworkInterface,
        Self::PublicIpAddress,
        Self::VirtualNetwork,
        Self::SecurityGroup,
        Self::ApplicationGroup,
        Self::Firewall,
        Self::LoadBalancer,
    ];

    /// Its name in Azure, such as `Microsoft.Compute/virtualMachines`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtualMachine => "Microsoft.Compute/virtualMachines",
            Self::ClassicMachine => "Microsoft.ClassicCompute/virtualMachines",
            Self::NetworkInterface => "Microsoft.Network/networkInterfaces",
            Self::PublicIpAddress => "Microsoft.Network/publicIPAddresses",
            Self::VirtualNetwork => "Microsoft.Network/virtualNetworks",
            Self::SecurityGroup => "Microsoft.Network/networkSecurityGroups",
            Self::ApplicationGroup => "Microsoft.Network/applicationSecurityGroups",
            Self::Firewall => "Microsoft.Network/azureFirewalls",
            Self::LoadBalancer => "Microsoft.Network/loadBalancers",
        }
    }

    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    /// The name of its resources' children that can be asked for.
    pub const fn children(self) -> Option<&'static str> {
        match self {
            Self::VirtualNetwork => Some("subnets"),
            Self::SecurityGroup => Some("securityRules"),
            Self::VirtualMachine
            | Self::ClassicMachine
            | Self::NetworkInterface
            | Self::PublicIpAddress
            | Self::ApplicationGroup
            | Self::Firewall
            | Self::LoadBalancer => None,
        }
    }
}
