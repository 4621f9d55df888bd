//! The machines of a new fleet: configured, not configured, and unsupported for each reason.

use super::{Group, Simulated, State};
use portcullis_app::{
    Error,
    ports::{Machine, Os, Unsupported},
};
use portcullis_domain::{Action, FirewallId, Foreign, Protocol, Sources, TargetId, azure_default_rules};
use std::{collections::BTreeMap, net::Ipv4Addr};

const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/demo/providers";
const LOCATION: &str = "westeurope";
/// The virtual network that all machines are in.
const NETWORK: &str = "10.0.0.0/16";
/// The security group of the subnet that `db-1` is in.
const SUBNET: &str = "data-subnet-nsg";

/// Which machines there are.
const MACHINES: [(&str, Os, Option<Unsupported>); 9] = [
    ("build-1", Os::Linux, None),
    ("db-1", Os::Linux, None),
    ("web-1", Os::Linux, None),
    ("win-1", Os::Windows, None),
    ("hub-1", Os::Linux, Some(Unsupported::FirewallManager)),
    ("lab-1", Os::Linux, Some(Unsupported::NoFirewall)),
    ("old-1", Os::Linux, Some(Unsupported::Classic)),
    ("spare-1", Os::Linux, Some(Unsupported::NoNic)),
    ("vault-1", Os::Linux, Some(Unsupported::DisabledByPolicy)),
];

/// Whose management port somebody left open to the world.
const EXPOSED: [&str; 2] = ["web-1", "win-1"];

pub(super) fn fleet() -> Result<State, Error> {
    let network: Sources = NETWORK.parse().map_err(|error| broken(&error))?;
    let mut security_groups = BTreeMap::new();
    let mut machines = vec![];
    for (n, (name, os, unsupported)) in (4_u8..).zip(MACHINES) {
        let id = format!("{GROUP}/Microsoft.Compute/virtualMachines/{name}");
        let id: TargetId = id.parse().map_err(|error| broken(&error))?;
        let mut path = vec![];
        if name == "db-1" {
            path.push(security_group(SUBNET)?);
        }
        if unsupported.is_none() {
            path.push(security_group(&format!("{name}-nsg"))?);
        }
        for firewall in &path {
            security_groups.insert(
                firewall.clone(),
                Group { foreign: azure_default_rules(&network).into(), ..Group::default() },
            );
        }
        if let Some(group) =
            path.last().filter(|_| EXPOSED.contains(&name)).and_then(|it| security_groups.get_mut(it))
        {
            group.foreign.insert(0, open_to_the_world(os));
        }
        let is_connected = unsupported != Some(Unsupported::NoNic);
        let machine = Machine {
            id,
            name: name.to_owned(),
            location: LOCATION.to_owned(),
            os,
            addresses: is_connected.then(|| Ipv4Addr::new(10, 0, 0, n).into()).into_iter().collect(),
            guarded_by: unsupported.is_none().then(|| "nsg".to_owned()),
            interfaces: vec![],
            tags: BTreeMap::new(),
            unsupported,
        };
        machines.push(Simulated { machine, path });
    }
    Ok(State { machines, security_groups })
}

fn security_group(name: &str) -> Result<FirewallId, Error> {
    format!("{GROUP}/Microsoft.Network/networkSecurityGroups/{name}").parse().map_err(|error| broken(&error))
}

/// The rule that Azure's portal adds when a machine is made with an open management port.
fn open_to_the_world(os: Os) -> Foreign {
    let port = os.default_gate().port.number();
    let name = match os {
        Os::Linux => "SSH",
        Os::Windows => "RDP",
    };
    Foreign {
        name: name.to_owned(),
        priority: 300,
        action: Action::Allow,
        protocol: Protocol::Tcp,
        sources: Sources::anywhere(),
        unsure: Sources::default(),
        ports: vec![port..=port],
        to: Sources::anywhere(),
        is_general: false,
    }
}

fn broken(error: &impl std::fmt::Display) -> Error {
    Error::Broken { doing: "make a fleet", source: error.to_string().into() }
}
