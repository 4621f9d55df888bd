//! How a person gets to an open port: a line for each machine and port, by the family of the address that the person has.

use crate::names;
use portcullis_domain::address_range;
use portcullis_program::output::printable;
use portcullis_wire::{GrantView, NameView};

/// The lines for these grants, each with its machine where there are several; empty without a grant.
pub fn lines(grants: &[GrantView], targets: &[NameView]) -> String {
    let mut named: Vec<&str> = grants.iter().map(|it| names::short(&it.target)).collect();
    named.dedup();
    let has_several = 1 < named.len();
    let width = named.iter().map(|it| it.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for grant in grants {
        let target = targets.iter().find(|it| it.id == grant.target);
        let name = names::short(&grant.target);
        let line = command(grant, target).unwrap_or_else(|| {
            format!("port {}: no address is known of the family of {}", grant.port, grant.sources.join(", "))
        });
        let line = if has_several { format!("\n  {name:width$}  {line}") } else { format!("\n  {line}") };
        text.push_str(&printable(&line));
    }
    if text.is_empty() { text } else { format!("\nConnect with:{text}") }
}

/// Where the port is reached, if that is not at the machine's own address and port.
pub fn door(grant: &GrantView) -> Option<String> {
    let (address, port) = (grant.public_ip_address.as_ref()?, grant.mapped_port?);
    Some(at(address, port))
}

/// The command, or the address and the port where no command is known; nothing where the machine is known to have no address
/// of the family of the sources.
fn command(grant: &GrantView, target: Option<&NameView>) -> Option<String> {
    const SSH: u16 = 22;
    const RDP: u16 = 3389;
    const WINRM_HTTP: u16 = 5985;
    const WINRM_HTTPS: u16 = 5986;
    let address = match &grant.public_ip_address {
        Some(door) => door.clone(),
        None => own(grant, target)?,
    };
    let port = grant.mapped_port.unwrap_or(grant.port);
    let is_usual = port == grant.port;
    Some(match grant.port {
        SSH if is_usual => format!("ssh {address}"),
        SSH => format!("ssh -p {port} {address}"),
        RDP if is_usual => format!("mstsc /v:{}", bracketed(&address)),
        RDP => format!("mstsc /v:{}", at(&address, port)),
        WINRM_HTTP => format!("Enter-PSSession -ComputerName {address} -Port {port}"),
        WINRM_HTTPS => format!("Enter-PSSession -ComputerName {address} -Port {port} -UseSSL"),
        _ => at(&address, port),
    })
}

/// The first address of the machine of a family that one of the sources has; its name where no address is known at all.
fn own(grant: &GrantView, target: Option<&NameView>) -> Option<String> {
    let addresses = target.map(|it| it.addresses.as_slice()).unwrap_or_default();
    if addresses.is_empty() {
        return Some(names::short(&grant.target).to_owned());
    }
    let families: Vec<bool> = grant.sources.iter().filter_map(|it| is_v6(it)).collect();
    let fits = |it: &&String| is_v6(it).is_none_or(|is_v6| families.is_empty() || families.contains(&is_v6));
    addresses.iter().find(fits).cloned()
}

/// Of an address or a range.
fn is_v6(text: &str) -> Option<bool> {
    address_range(text).map(|it| it.addr().is_ipv6())
}

fn at(address: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(address))
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn grant(target: &str, port: u16, source: &str, door: Option<(&str, u16)>) -> GrantView {
        let view = json!({
            "id": "a-1", "request": "a", "target": format!("/vm/{target}"), "port": port, "protocol": "TCP",
            "state": "open", "by": "ann", "sources": [source], "start": "2026-05-01T08:00:00Z",
            "end": "2026-05-01T09:00:00Z", "public_ip_address": door.map(|it| it.0), "mapped_port": door.map(|it| it.1),
        });
        serde_json::from_value(view).expect("a grant")
    }

    fn target(name: &str, addresses: &Value) -> NameView {
        let view = json!({ "id": format!("/vm/{name}"), "name": name, "state": "configured", "os": "linux",
                           "addresses": addresses, "ports": [] });
        serde_json::from_value(view).expect("a target")
    }

    #[test]
    fn line_has_the_command_of_the_port_and_an_address_of_the_family_of_the_source() {
        let machine = [target("web-1", &json!(["192.0.2.10", "2001:db8::10"]))];
        for (port, source, door, wanted) in [
            (22, "203.0.113.9", None, "ssh 192.0.2.10"),
            (22, "2001:db8:1::9", None, "ssh 2001:db8::10"),
            (22, "203.0.113.9", Some(("192.0.2.1", 50_022)), "ssh -p 50022 192.0.2.1"),
            (3389, "2001:db8:1::/64", None, "mstsc /v:[2001:db8::10]"),
            (3389, "203.0.113.9", Some(("192.0.2.1", 50_389)), "mstsc /v:192.0.2.1:50389"),
            (5985, "203.0.113.0/24", None, "Enter-PSSession -ComputerName 192.0.2.10 -Port 5985"),
            (5986, "203.0.113.9", None, "Enter-PSSession -ComputerName 192.0.2.10 -Port 5986 -UseSSL"),
            (5432, "2001:db8:1::9", None, "[2001:db8::10]:5432"),
        ] {
            let lines = lines(&[grant("web-1", port, source, door)], &machine);
            assert_eq!(lines, format!("\nConnect with:\n  {wanted}"));
        }
    }

    #[test]
    fn lines_of_several_machines_name_each_and_a_missing_family_is_said() {
        let machines = [target("web-1", &json!(["192.0.2.10"])), target("database-1", &json!([]))];
        let grants =
            [grant("web-1", 22, "2001:db8::9", None), grant("database-1", 5432, "203.0.113.9", None)];
        let wanted = "\nConnect with:\
                      \n  web-1       port 22: no address is known of the family of 2001:db8::9\
                      \n  database-1  database-1:5432";
        assert_eq!(lines(&grants, &machines), wanted);
        assert_eq!(lines(&[], &machines), "");
    }

    #[test]
    fn door_of_a_grant_is_the_address_and_port_of_the_firewall_in_front() {
        assert_eq!(
            door(&grant("web-1", 22, "203.0.113.9", Some(("192.0.2.1", 50_022)))).as_deref(),
            Some("192.0.2.1:50022")
        );
        assert_eq!(door(&grant("web-1", 22, "203.0.113.9", None)), None);
    }
}
