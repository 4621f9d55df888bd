//! The rules that every Azure network security group ends with, packet by packet.

use portcullis_domain::{
    Action, AddressSet, Bands, Decision, Existing, Families, Firewall, FirewallKind, Foreign, Gate, Owner,
    Packet, Protocol, Snapshot, Sources, TargetId, azure_default_rules,
};
use portcullis_tests::given::{at, guarded, named};
use std::{collections::BTreeMap, net::IpAddr};

/// Who is who: a machine of the same network, over IPv4 and IPv6, the load balancer, and two strangers.
const NETWORK: [&str; 2] = ["10.1.0.0/16", "fd00:1::/48"];
const NEIGHBOUR: &str = "10.1.2.3";
const NEIGHBOUR_V6: &str = "fd00:1::7";
const LOAD_BALANCER: &str = "168.63.129.16";
const STRANGER: &str = "192.0.2.1";
const STRANGER_V6: &str = "2001:db8::1";

const VNET_RULE: &str = "AllowVnetInBound";
const LOAD_BALANCER_RULE: &str = "AllowAzureLoadBalancerInBound";
const DENY_RULE: &str = "DenyAllInBound";

/// A group with the default rules, and these above them.
fn group(id: &str, above: Vec<Foreign>) -> Firewall {
    let network = Sources::of(NETWORK.iter().flat_map(|it| named::<Sources>(it).ranges().to_vec()));
    Firewall {
        id: named(id),
        // If no default rule spoke of a packet, it would pass: so every denial here is a rule's.
        kind: FirewallKind::Ordered { otherwise: Action::Allow },
        bands: Bands { allows: 100..200, denies: 200..300, existing: Existing::Override },
        inside: AddressSet::default(),
        families: Families::BOTH,
        ours: BTreeMap::new(),
        foreign: above.into_iter().chain(azure_default_rules(&network)).collect(),
    }
}

fn foreign(name: &str, priority: u16, action: Action, from: &str) -> Foreign {
    let (protocol, sources, ports) = (Protocol::Tcp, named(from), vec![22..=22]);
    let unsure = Sources::default();
    Foreign {
        name: name.to_owned(),
        priority,
        action,
        protocol,
        sources,
        unsure,
        ports,
        to: Sources::anywhere(),
        is_general: false,
    }
}

fn snapshot(firewalls: Vec<Firewall>) -> Snapshot {
    Snapshot::of(at(0), firewalls)
}

fn decide(snapshot: &Snapshot, from: &str, gate: &str) -> Decision {
    let Gate { port, protocol } = named(gate);
    let source: IpAddr = named(from);
    let owner = Owner::from(&named::<TargetId>("vm"));
    let admitted = snapshot.admitted(&owner, Gate { port, protocol });
    let decision = snapshot.decide(&owner, &Packet { source, protocol, port });
    assert_eq!(admitted.all.contains(source), decision.passes, "the set is of those who pass: {from} {gate}");
    decision
}

/// Whether it passes, and the rule and the firewall that say so.
fn said(snapshot: &Snapshot, from: &str, gate: &str) -> (bool, String) {
    let Decision { passes, firewall, rule } = decide(snapshot, from, gate);
    (passes, format!("{rule} in {}", firewall.expect("somebody decides")))
}

fn by(passes: bool, rule: &str, firewall: &str) -> (bool, String) {
    (passes, format!("{rule} in {firewall}"))
}

#[test]
fn only_the_network_and_the_load_balancer_pass_by_default() {
    let alone = snapshot(vec![group("nic", vec![])]);
    let cases = [
        (NEIGHBOUR, true, VNET_RULE),
        (NEIGHBOUR_V6, true, VNET_RULE),
        ("10.2.0.1", false, DENY_RULE),
        (LOAD_BALANCER, true, LOAD_BALANCER_RULE),
        ("168.63.129.17", false, DENY_RULE),
        (STRANGER, false, DENY_RULE),
        (STRANGER_V6, false, DENY_RULE),
    ];
    for (from, passes, rule) in cases {
        for gate in ["22/tcp", "22/udp", "65535/tcp", "1/udp", "3389/*"] {
            assert_eq!(said(&alone, from, gate), by(passes, rule, "nic"), "{from} to {gate}");
        }
    }
    let rules = azure_default_rules(&named(NETWORK[0])).map(|it| (it.priority, it.name));
    let priorities = [(65000, VNET_RULE), (65001, LOAD_BALANCER_RULE), (65500, DENY_RULE)];
    assert_eq!(rules, priorities.map(|(priority, name)| (priority, name.to_owned())));
}

/// Nobody may stand under the default rules, so whatever somebody writes decides before them.
#[test]
fn a_foreign_rule_above_the_default_rules_decides() {
    let let_in = || foreign("everybody", 4096, Action::Allow, "*");
    let kept_out = || foreign("no-neighbours", 4095, Action::Deny, "10.1.0.0/16");
    let one = snapshot(vec![group("nic", vec![let_in(), kept_out()])]);
    assert_eq!(said(&one, STRANGER, "22/tcp"), by(true, "everybody", "nic"));
    assert_eq!(said(&one, STRANGER_V6, "22/tcp"), by(true, "everybody", "nic"));
    assert_eq!(said(&one, NEIGHBOUR, "22/tcp"), by(false, "no-neighbours", "nic"));
    // What they do not speak of is as it was.
    assert_eq!(said(&one, STRANGER, "22/udp"), by(false, DENY_RULE, "nic"));
    assert_eq!(said(&one, STRANGER, "23/tcp"), by(false, DENY_RULE, "nic"));
    assert_eq!(said(&one, NEIGHBOUR, "22/udp"), by(true, VNET_RULE, "nic"));
    assert_eq!(said(&one, STRANGER, "22/*"), by(false, DENY_RULE, "nic"), "both protocols must pass");
}

/// The subnet's group and the network card's: a packet meets both.
#[test]
fn both_groups_must_let_it_in() {
    let open = || vec![foreign("everybody", 1000, Action::Allow, "*")];
    let path = |subnet, nic| snapshot(vec![group("subnet", subnet), group("nic", nic)]);
    let cases = [
        (path(vec![], vec![]), STRANGER, by(false, DENY_RULE, "subnet")),
        (path(open(), vec![]), STRANGER, by(false, DENY_RULE, "nic")),
        (path(vec![], open()), STRANGER, by(false, DENY_RULE, "subnet")),
        (path(open(), open()), STRANGER, by(true, "everybody", "nic")),
        (path(open(), vec![]), NEIGHBOUR, by(true, VNET_RULE, "nic")),
        (path(vec![], vec![]), LOAD_BALANCER, by(true, LOAD_BALANCER_RULE, "nic")),
    ];
    for (path, from, wanted) in cases {
        assert_eq!(said(&path, from, "22/tcp"), wanted, "{from}: {path:?}");
    }
}

/// The network passes by default, which is why a guarded port needs a deny of ours.
#[test]
fn a_lock_of_ours_keeps_the_network_out() {
    let mut locked = group("nic", vec![]);
    let target = guarded("vm", at(0)).target;
    for (name, rule) in target.rules(at(0)) {
        let held = portcullis_domain::Held { rule: Some(rule), priority: 200, beside: vec![], etag: None };
        locked.ours.insert(name, held);
    }
    let locked = snapshot(vec![locked]);
    for from in [NEIGHBOUR, NEIGHBOUR_V6, LOAD_BALANCER, STRANGER] {
        assert!(!decide(&locked, from, "22/tcp").passes, "{from}");
    }
    assert_eq!(said(&locked, NEIGHBOUR, "443/tcp"), by(true, VNET_RULE, "nic"), "what is not guarded");
}
