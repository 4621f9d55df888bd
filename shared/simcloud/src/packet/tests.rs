use super::*;
use crate::{
    fleet,
    rule::{Ends, Provisioning, Rule},
};
use serde_json::json;

fn ends(source: &str, ports: &str) -> Ends {
    Ends {
        source_port_range: Some("*".to_owned()),
        destination_port_range: Some(ports.to_owned()),
        source_address_prefix: Some(source.to_owned()),
        destination_address_prefix: Some("*".to_owned()),
        ..Ends::default()
    }
}

/// Puts a rule into a security group of the sample fleet.
fn put(cloud: &mut Cloud, group: &str, priority: u16, access: Access, ends: Ends) {
    let name = format!("R{priority}");
    let (description, protocol, direction) = (None, RuleProtocol::Tcp, Direction::Inbound);
    let properties = Properties { description, protocol, ends, access, priority, direction };
    let rule = Rule { name: name.clone(), etag: 0, state: Provisioning::Succeeded, properties };
    let key = cloud.rules.keys().find(|it| it.ends_with(&format!("/{group}"))).expect("there").clone();
    cloud.rules.get_mut(&key).expect("there").in_force.insert(name, rule);
}

fn ask(cloud: &Cloud, vm: &str, from: &str, port: u16) -> (bool, String) {
    let packet = Packet { from: from.parse().expect("an address"), protocol: PacketProtocol::Tcp, port };
    let passage = passes(cloud, vm, packet).expect("a machine");
    (passage.passes, passage.by)
}

fn by(passes: bool, rule: &str) -> (bool, String) {
    (passes, rule.to_owned())
}

#[test]
fn the_first_match_decides() {
    let mut cloud = fleet::cloud(1);
    assert_eq!(ask(&cloud, "web-1", "203.0.113.9", 22), by(true, "SSH"));
    put(&mut cloud, "web-1-nsg", 250, Access::Deny, ends("*", "22"));
    assert_eq!(ask(&cloud, "web-1", "203.0.113.9", 22), by(false, "R250"));
    put(&mut cloud, "web-1-nsg", 120, Access::Allow, ends("203.0.113.0/24", "22"));
    assert_eq!(ask(&cloud, "web-1", "203.0.113.9", 22), by(true, "R120"));
    assert_eq!(ask(&cloud, "web-1", "198.51.100.7", 22), by(false, "R250"));
    assert_eq!(ask(&cloud, "web-1", "203.0.113.9", 80), by(false, "DenyAllInBound"));
    let udp = Packet { from: "203.0.113.9".parse().expect("valid"), protocol: PacketProtocol::Udp, port: 22 };
    assert!(!passes(&cloud, "web-1", udp).expect("a machine").passes, "rules for TCP let no UDP in");
}

#[test]
fn tags_are_networks_as_azure_means_them() {
    let mut cloud = fleet::cloud(1);
    assert_eq!(ask(&cloud, "build-1", "10.1.4.4", 22), by(true, "AllowVnetInBound"));
    assert_eq!(ask(&cloud, "build-1", "10.9.0.1", 22), by(false, "DenyAllInBound"));
    // The host's own address is of the virtual network too, and that rule comes first.
    assert_eq!(ask(&cloud, "build-1", LOAD_BALANCER, 22), by(true, "AllowVnetInBound"));
    put(&mut cloud, "build-1-nsg", 100, Access::Allow, ends("Internet", "22"));
    assert_eq!(ask(&cloud, "build-1", "203.0.113.9", 22), by(true, "R100"));
    assert_eq!(
        ask(&cloud, "build-1", "10.9.0.1", 22),
        by(false, "DenyAllInBound"),
        "private is not Internet"
    );
}

#[test]
fn ranges_and_lists_hold_what_they_span() {
    let mut cloud = fleet::cloud(1);
    assert_eq!(ask(&cloud, "farm-2", "198.51.100.7", 22), by(true, "Management"));
    assert_eq!(ask(&cloud, "farm-2", "198.51.100.7", 3389), by(true, "Management"));
    assert_eq!(ask(&cloud, "farm-2", "198.51.100.7", 3390), by(false, "DenyAllInBound"));
    let many = ["192.0.2.7".to_owned(), "203.0.113.0/28".to_owned()].into();
    let listed = Ends { source_address_prefix: None, source_address_prefixes: many, ..ends("", "22") };
    put(&mut cloud, "build-1-nsg", 100, Access::Allow, listed);
    for (from, passes) in
        [("192.0.2.7", true), ("203.0.113.15", true), ("203.0.113.16", false), ("192.0.2.8", false)]
    {
        assert_eq!(ask(&cloud, "build-1", from, 22).0, passes, "{from}");
    }
}

#[test]
fn version_six_has_its_own_addresses() {
    let mut cloud = fleet::cloud(1);
    assert_eq!(ask(&cloud, "app-1", "2001:db8:9::1", 22), by(false, "DenyAllInBound"));
    put(&mut cloud, "app-1-nsg", 100, Access::Allow, ends("2001:db8:9::/48", "22"));
    assert_eq!(ask(&cloud, "app-1", "2001:db8:9::1", 22), by(true, "R100"));
    assert_eq!(ask(&cloud, "app-1", "2001:db8:a::1", 22), by(false, "DenyAllInBound"));
    assert_eq!(ask(&cloud, "web-1", "2001:db8:9::1", 22), by(false, "no address"));
}

#[test]
fn both_security_groups_must_allow() {
    let mut cloud = fleet::cloud(1);
    assert_eq!(ask(&cloud, "app-1", "203.0.113.9", 22), by(true, "SSH-from-office"));
    assert_eq!(ask(&cloud, "app-1", "198.51.100.7", 22), by(false, "DenyAllInBound"), "the interface's");
    put(&mut cloud, "app-subnet-nsg", 100, Access::Deny, ends("*", "22"));
    assert_eq!(ask(&cloud, "app-1", "203.0.113.9", 22), by(false, "R100"), "the subnet's");
}

#[test]
fn a_second_interface_is_a_way_in_too() {
    let mut cloud = fleet::cloud(1);
    put(&mut cloud, "duo-1-nsg", 100, Access::Deny, ends("*", "22"));
    assert_eq!(ask(&cloud, "duo-1", "203.0.113.9", 22), by(false, "R100"));
    assert!(ask(&cloud, "duo-1", "10.1.4.4", 22).0, "over the interface in the back");
}

#[test]
fn a_firewall_sends_on_what_its_first_rule_says() {
    let mut cloud = fleet::cloud(1);
    assert_eq!(ask(&cloud, "vault-1", "203.0.113.9", 3389), by(true, "From-firewall"));
    assert_eq!(ask(&cloud, "vault-1", "198.51.100.7", 3389), by(false, "no address"));
    assert_eq!(ask(&cloud, "vault-1", "203.0.113.9", 22), by(false, "no address"));
    // Another rule on the same socket, above: what comes from there goes elsewhere.
    let firewall = cloud.resources.iter_mut().find(|(id, _)| id.ends_with("/edge-fw")).expect("a firewall").1;
    let mut above = firewall.body["properties"]["natRuleCollections"][0].clone();
    above["properties"]["priority"] = json!(100);
    above["properties"]["rules"][0]["sourceAddresses"] = json!(["203.0.113.9"]);
    above["properties"]["rules"][0]["translatedAddress"] = json!("10.2.2.99");
    firewall.body["properties"]["natRuleCollections"].as_array_mut().expect("a list").push(above);
    assert!(!ask(&cloud, "vault-1", "203.0.113.9", 3389).0);
    assert!(ask(&cloud, "vault-1", "203.0.113.10", 3389).0);
    // The security group behind it sees the firewall, not the caller.
    put(&mut cloud, "vault-subnet-nsg", 100, Access::Deny, ends("10.2.1.0/24", "3389"));
    assert_eq!(ask(&cloud, "vault-1", "203.0.113.10", 3389), by(false, "R100"));
}

#[test]
fn without_a_security_group_everybody_passes_and_without_an_interface_nobody() {
    let cloud = fleet::cloud(1);
    assert_eq!(ask(&cloud, "lab-1", "203.0.113.9", 22), by(true, "no security group"));
    assert_eq!(ask(&cloud, "spare-1", "10.1.1.4", 22), by(false, "no address"));
}
