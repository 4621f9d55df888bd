//! The rules that people, and Microsoft's own just-in-time access, left in the sample fleet.

use super::dice::Dice;
use crate::{
    jit,
    rule::{Access, Direction, Ends, Properties, Reference, RuleProtocol},
};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// A rule that stands there from the beginning.
pub struct Furnished {
    pub name: String,
    pub properties: Properties,
}

/// What stands in a security group, by its name. `app` is the id of the application security group.
pub fn of(group: &str, address: Option<Ipv4Addr>, app: &str, dice: &mut Dice) -> Vec<Furnished> {
    let tcp = |name: &str, priority, port: &str, source: &str| {
        rule(name, priority, Access::Allow, RuleProtocol::Tcp, &[port], source, "*")
    };
    let to = address.map_or_else(|| "*".to_owned(), |it| it.to_string());
    match group {
        "web-1-nsg" => vec![tcp("SSH", 300, "22", "*"), tcp("HTTPS", 320, "443", "Internet")],
        "win-1-nsg" => vec![tcp("RDP", 300, "3389", "*")],
        "data-subnet-nsg" => vec![from_group(tcp("SSH-from-app", 300, "22", "*"), app)],
        "app-subnet-nsg" => vec![tcp("SSH", 300, "22", "Internet"), tcp("HTTPS", 310, "443", "Internet")],
        "app-1-nsg" => vec![tcp("SSH-from-office", 300, "22", "203.0.113.0/24")],
        "farm-subnet-nsg" => vec![tcp("Management", 1000, "22-3389", "198.51.100.0/24")],
        "duo-1-nsg" => vec![tcp("SSH", 300, "22", "*")],
        "vault-subnet-nsg" => vec![tcp("From-firewall", 400, "3389", "10.2.1.0/24")],
        "quiet-1-nsg" => vec![tcp("SSH", 300, "22", "203.0.113.0/24")],
        "jit-1-nsg" => microsofts(&to, dice),
        _ => vec![],
    }
}

/// The classic NAT rules of the sample firewall: one that leads to `vault-1`, for one network.
pub fn nat(address: &Value) -> Value {
    json!([{
        "name": "management", "properties": {
            "priority": 200, "action": { "type": "Dnat" }, "provisioningState": "Succeeded",
            "rules": [{
                "name": "rdp-to-vault-1", "protocols": ["TCP"], "sourceAddresses": ["203.0.113.0/24"],
                "destinationAddresses": [address], "destinationPorts": ["50001"],
                "translatedAddress": "10.2.2.4", "translatedPort": "3389",
            }],
        },
    }])
}

/// The policy that Microsoft's own just-in-time access has for a machine, and the request that it
/// answered: what [`microsofts`] writes follows from them.
pub fn jit_policy(group: &str, location: &str, machine: &str) -> Value {
    let port = |number: u16| {
        json!({
            "number": number, "protocol": "*", "allowedSourceAddressPrefix": "*", "maxRequestAccessDuration": "PT3H",
        })
    };
    let opened = json!({
        "number": 22, "allowedSourceAddressPrefix": "203.0.113.9", "endTimeUtc": "2026-01-01T03:00:00.0000000Z",
        "status": "Initiated", "statusReason": "UserRequested",
    });
    json!({
        "id": format!("{group}/providers/Microsoft.Security/locations/{location}/jitNetworkAccessPolicies/default"),
        "name": "default", "type": jit::TYPE, "location": location, "kind": "Basic",
        "properties": {
            "virtualMachines": [{ "id": machine, "ports": [port(22), port(3389)] }],
            "requests": [{
                "virtualMachines": [{ "id": machine, "ports": [opened] }],
                "startTimeUtc": "2026-01-01T00:00:00.0000000Z", "requestor": "ann@example.com",
            }],
            "provisioningState": "Succeeded",
        },
    })
}

/// Rules as Microsoft Defender for Cloud writes them: a deny for all ports of the policy, and an allow
/// that an initiation request made.
fn microsofts(to: &str, dice: &mut Dice) -> Vec<Furnished> {
    let number = dice.roll() % 0x7FFF_FFFF;
    let hex = format!("{:016X}{:016X}", dice.roll(), dice.roll());
    let deny = format!("MicrosoftDefenderForCloud-JITRule_{number}_{hex}");
    let allow = format!("MicrosoftDefenderForCloud-JITRule-{number}-{hex}");
    let described = |furnished: Furnished, text: &str| {
        let description = Some(text.to_owned());
        Furnished { properties: Properties { description, ..furnished.properties }, ..furnished }
    };
    let denied = rule(&deny, 4096, Access::Deny, RuleProtocol::Any, &["22", "3389"], "*", to);
    let allowed = rule(&allow, 100, Access::Allow, RuleProtocol::Any, &["22"], "203.0.113.9", to);
    vec![
        described(denied, "MDC JIT Network Access rule for policy 'default' of VM 'jit-1'."),
        described(
            allowed,
            "MDC JIT Network Access rule created by an initiation request for policy 'default' of VM 'jit-1'.",
        ),
    ]
}

/// A rule for those in an application security group, in place of those it was for.
fn from_group(furnished: Furnished, group: &str) -> Furnished {
    let ends = Ends {
        source_address_prefix: None,
        source_application_security_groups: vec![Reference { id: group.to_owned() }],
        ..furnished.properties.ends
    };
    Furnished { properties: Properties { ends, ..furnished.properties }, ..furnished }
}

fn rule(
    name: &str,
    priority: u16,
    access: Access,
    protocol: RuleProtocol,
    ports: &[&str],
    source: &str,
    to: &str,
) -> Furnished {
    let (one, many) = match ports {
        [one] => (Some((*one).to_owned()), vec![]),
        many => (None, many.iter().map(|it| (*it).to_owned()).collect()),
    };
    let ends = Ends {
        source_port_range: Some("*".to_owned()),
        destination_port_range: one,
        destination_port_ranges: many,
        source_address_prefix: Some(source.to_owned()),
        destination_address_prefix: Some(to.to_owned()),
        ..Ends::default()
    };
    let properties =
        Properties { description: None, protocol, ends, access, priority, direction: Direction::Inbound };
    Furnished { name: name.to_owned(), properties }
}
