//! Who gets to a machine of Azure: what the adapter reads and the domain concludes, against the simulated
//! cloud's own oracle, over random rules. The two see none of each other's code.

use jiff::SignedDuration;
use portcullis_app::ports::Firewalls;
use portcullis_azure::Azure;
use portcullis_domain::{
    Existing, Gate, Grant, GrantId, Lease, Owner, Policy, PortRule, Snapshot, Sources, Target, TargetId,
    Terms, diff,
};
use portcullis_simcloud::{Faults, Packet, PacketProtocol};
use portcullis_tests::{
    azure::{self, VERSION},
    given::{self, named},
    stories::Dice,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};

/// How many times the rules of every security group are thrown anew: so often eleven machines have others.
/// `AZURE_THROWS=1000` throws more.
const THROWS: u64 = 30;
/// How many packets are sent to each machine each time.
const PACKETS: usize = 40;
/// The machines that can be guarded.
const MACHINES: [&str; 11] =
    ["web-1", "build-1", "win-1", "jit-1", "db-1", "app-1", "farm-1", "farm-2", "farm-3", "duo-1", "vault-1"];
/// On the Internet, on private networks, in the virtual networks, in an application security group; the load
/// balancer.
const SOURCES: [&str; 17] = [
    "203.0.113.9",
    "203.0.113.200",
    "198.51.100.7",
    "192.168.7.7",
    "100.64.0.1",
    "172.16.3.4",
    "10.9.9.9",
    "10.1.2.3",
    "10.1.3.4",
    "10.1.4.5",
    "10.2.2.77",
    "168.63.129.16",
    "2001:db8::9",
    "2001:db8:ffff::1",
    "fd00:1::77",
    "fd00:2::77",
    "fe80::1",
];
/// Where the sample fleet's classic firewall sends on from. Nothing else can be in a subnet of that name, so
/// nobody can come straight from there.
const FIREWALLS_SUBNET: &str = "10.2.1.4";
const PORTS: [u16; 3] = [22, 3389, 443];
/// Prefixes of either family: addresses of machines, networks, wider and narrower ones.
const V4: [&str; 11] = [
    "203.0.113.0/24",
    "203.0.113.9",
    "198.51.100.0/25",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.3.4",
    "10.2.1.0/24",
    "10.2.2.0/24",
    "0.0.0.0/0",
    "192.168.0.0/16",
    "128.0.0.0/1",
];
const V6: [&str; 5] = ["2001:db8::/32", "2001:db8::9", "fd00:1::/48", "::/0", "fe80::/10"];
const TO_V4: [&str; 9] = [
    "10.1.1.4",
    "10.1.1.5",
    "10.1.1.0/24",
    "10.1.2.4",
    "10.1.3.4",
    "10.1.4.4",
    "10.1.4.5",
    "10.2.2.4",
    "10.0.0.0/9",
];
const TO_V6: [&str; 3] = ["fd00:1::3:4", "fd00:1::/48", "2001:db8::1"];
const TAGS: [&str; 4] = ["*", "Internet", "VirtualNetwork", "AzureLoadBalancer"];

#[tokio::test]
async fn the_evaluator_agrees_with_the_cloud_about_every_packet() {
    let (mut sent, mut passed, mut shut) = (0, 0, 0);
    let cloud = azure::Azure::new(3);
    cloud.cloud.plan(Faults::quick());
    let throws = std::env::var("AZURE_THROWS").ok().and_then(|it| it.parse().ok()).unwrap_or(THROWS);
    for throw in 0..throws {
        let mut dice = Dice::of(throw);
        throw_rules(&cloud, &mut dice);
        throw_admin_rules(&cloud, &mut dice);
        // One that has read nothing yet: time stands still here.
        let adapter = cloud.guarded_as_it_is(Existing::Override);
        for machine in MACHINES {
            let id = cloud.machine(machine);
            let snapshot = adapter.read(&id).await.unwrap_or_else(|error| panic!("{}", error.full()));
            let told = |packet: &str| format!("throw {throw}: {packet} to {machine}");
            for _ in 0..PACKETS {
                let is_open = agrees(&cloud, &snapshot, &id, packet(&mut dice), &told);
                sent += 1;
                passed += usize::from(is_open);
            }
            if dice.once_in(3) {
                shut += guarded(&cloud, &adapter, &id, &mut dice, &told).await;
            }
        }
    }
    assert!(sent / 10 < passed && passed < sent * 9 / 10, "{passed} of {sent}: both answers are met");
    assert!(500 < shut, "locks and leases that shut somebody out: {shut}");
}

fn packet(dice: &mut Dice) -> Packet {
    let from = if dice.once_in(15) { FIREWALLS_SUBNET } else { dice.pick(&SOURCES) };
    let protocol = *dice.pick(&[PacketProtocol::Tcp, PacketProtocol::Udp]);
    Packet { from: named(from), protocol, port: *dice.pick(&PORTS) }
}

/// Sends a packet both ways, and says whether it passes.
fn agrees(
    cloud: &azure::Azure,
    snapshot: &Snapshot,
    id: &TargetId,
    packet: Packet,
    told: &impl Fn(&str) -> String,
) -> bool {
    let truth = cloud.cloud.passes(id.as_str(), packet).expect("decided");
    let owner = Owner::from(id);
    let protocol = named(if packet.protocol == PacketProtocol::Tcp { "tcp" } else { "udp" });
    let gate = Gate { port: packet.port.try_into().expect("a port"), protocol };
    let asked = portcullis_domain::Packet { source: packet.from, protocol, port: gate.port };
    let decision = snapshot.decide(&owner, &asked);
    let is_firewall = packet.from == named::<IpAddr>(FIREWALLS_SUBNET) && id.as_str().ends_with("vault-1");
    let passes = truth.passes && !is_firewall;
    let told = || format!("{}: {truth:?} and {decision:?} of {snapshot:?}", told(&format!("{packet:?}")));
    assert_eq!(decision.passes, passes, "{}", told());
    let admitted = snapshot.admitted(&owner, gate);
    assert_eq!(admitted.any.contains(packet.from), passes, "admitted: {}", told());
    assert_eq!(admitted.all.contains(packet.from), passes, "admitted: {}", told());
    passes
}

/// Locks a machine, opens it for some, and sends packets again; how many the lock keeps out is answered.
async fn guarded(
    cloud: &azure::Azure,
    adapter: &Azure,
    id: &TargetId,
    dice: &mut Dice,
    told: &impl Fn(&str) -> String,
) -> usize {
    let (now, before) = (cloud.now(), adapter.read(id).await.expect("read"));
    let gates: Vec<Gate> = ["22/tcp", "3389/*", "443/udp"].map(named).into();
    let rules = gates.iter().map(|it| PortRule::offered(it.port, it.protocol)).collect();
    let policy = Policy::of(rules, &Terms::default()).expect("valid");
    let target = Target::unguarded(id.clone()).set_policy(Some(policy), &named("owner"), None, now);
    let request = given::request("ann", "key", id.as_str(), now);
    let lease = Lease::starting(now, SignedDuration::from_hours(1)).expect("an hour");
    let leased = |n: usize, dice: &mut Dice| {
        let sources: Sources =
            named(dice.pick::<&str>(&[V4[0], V4[3], V6[0], "*", SOURCES[0], SOURCES[12], SOURCES[7]]));
        let gate = gates[dice.index(gates.len())];
        Grant::approved(GrantId::derived(&request.id, n), &request, (id.clone(), gate), sources, lease)
    };
    let grants: Vec<Grant> = (0..dice.index(4)).map(|n| leased(n, dice)).collect();
    let target = target.expect("new").target.grant(grants.clone(), None, now).target;
    let changes = diff(&before, &target.owner(), &target.rules(now));
    assert_eq!(changes.unplaced, vec![]);
    let written = adapter.write(Some(id), &changes.changes).await;
    written.unwrap_or_else(|error| panic!("{}: {}", told("writing"), error.full()));
    let after = adapter.read(id).await.expect("read");
    let rest = diff(&after, &target.owner(), &target.rules(now));
    assert!(rest.is_empty(), "{}: {rest:?} is left", told("writing"));
    let defeats = target.defeats_in(&after, now);
    let mut shut = 0;
    for _ in 0..PACKETS {
        let packet = packet(dice);
        let is_open = agrees(cloud, &after, id, packet, told);
        let speaks = |it: &&Gate| {
            it.port.number() == packet.port
                && it
                    .protocol
                    .transports()
                    .iter()
                    .any(|it| format!("{it:?}") == format!("{:?}", packet.protocol))
        };
        let Some(gate) = gates.iter().find(speaks) else { continue };
        let is_leased = grants.iter().any(|it| it.gate == *gate && it.sources.admit(packet.from));
        let why = || told(&format!("{packet:?} with {grants:?}"));
        assert!(!is_open || is_leased || defeats.contains_key(gate), "in without a lease: {}", why());
        shut += usize::from(!is_open && !is_leased);
    }
    shut
}

/// Writes every security group of the fleet, and the classic firewall, anew.
fn throw_rules(cloud: &azure::Azure, dice: &mut Dice) {
    let groups = cloud.call("GET", &cloud.path("Microsoft.Network/networkSecurityGroups", ""), None);
    for group in groups.body["value"].as_array().expect("a list") {
        let id = group["id"].as_str().expect("an id");
        let mut priorities = BTreeSet::new();
        while priorities.len() < dice.index(6) {
            // In our bands too, and around them.
            let below = if dice.once_in(3) { 250 } else { 3996 };
            priorities.insert(100 + dice.roll(below));
        }
        let rules: Vec<Value> = priorities.into_iter().map(|it| rule(cloud, it, dice)).collect();
        let body = json!({ "properties": { "securityRules": rules } });
        let answer = cloud.call("PUT", &format!("{id}?{VERSION}"), Some(&body));
        assert_eq!(answer.status, 200, "{:?} for {body:#}", answer.body);
    }
    let path = cloud.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    let mut wall = cloud.call("GET", &path, None).body;
    let public = wall.pointer("/properties/natRuleCollections/0/properties/rules/0/destinationAddresses/0");
    let public = public.and_then(Value::as_str).unwrap_or("198.18.0.1").to_owned();
    let nat: Vec<Value> = (0..=dice.index(3)).map(|n| nat(n, &public, dice)).collect();
    wall["properties"]["natRuleCollections"] = json!([{ "name": "theirs", "properties": { "priority": 200, "action": { "type": "Dnat" }, "rules": nat } }]);
    let answer = cloud.call("PUT", &path, Some(&wall));
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

/// Gives either virtual network a few rules of a network manager, or none.
fn throw_admin_rules(cloud: &azure::Azure, dice: &mut Dice) {
    for network in ["main-vnet", "edge-vnet"] {
        let id = cloud.path("Microsoft.Network/virtualNetworks", &format!("/{network}"));
        let mut priorities = BTreeSet::new();
        while priorities.len() < dice.index(4) {
            priorities.insert(1 + dice.roll(100));
        }
        let rules = priorities.into_iter().map(|it| admin_rule(it, dice)).collect();
        cloud.cloud.administer(id.split('?').next().expect("a path"), rules);
    }
}

fn admin_rule(priority: u64, dice: &mut Dice) -> Value {
    let is_v6 = dice.once_in(4);
    let mut items = |own: &[&str]| {
        let mut item = || match dice.roll(4) {
            0 => json!({ "addressPrefix": "*", "addressPrefixType": "IPPrefix" }),
            1 => json!({ "addressPrefix": dice.pick(&TAGS[1..]), "addressPrefixType": "ServiceTag" }),
            _ => json!({ "addressPrefix": dice.pick(own), "addressPrefixType": "IPPrefix" }),
        };
        json!([item(), item()])
    };
    let (sources, destinations) =
        if is_v6 { (items(&V6), items(&TO_V6)) } else { (items(&V4), items(&TO_V4)) };
    json!({
        "id": format!("/networkManagers/corp/securityAdminConfigurations/c/ruleCollections/r/rules/rule-{priority}"),
        "kind": "Custom",
        "properties": {
            "protocol": dice.pick(&["Tcp", "Udp", "Any", "Any", "Icmp"]), "sources": sources,
            "destinations": destinations, "sourcePortRanges": ["0-65535"],
            "destinationPortRanges": [dice.pick(&["22", "20-30", "0-65535"]), dice.pick(&["3389", "443"])],
            "access": dice.pick(&["Allow", "AlwaysAllow", "Deny"]), "priority": priority,
            "direction": if dice.once_in(12) { "Outbound" } else { "Inbound" },
        },
    })
}

/// A NAT rule on a public port of its own.
fn nat(n: usize, public: &str, dice: &mut Dice) -> Value {
    let sources: Vec<&str> =
        (0..=dice.index(2)).map(|_| *dice.pick(&["*", V4[0], V4[1], V4[2], V4[3]])).collect();
    json!({
        "name": format!("nat-{n}"), "protocols": dice.pick(&[&["TCP"][..], &["UDP"], &["TCP", "UDP"], &["Any"]]),
        "sourceAddresses": sources, "destinationAddresses": [public], "destinationPorts": [(50_000 + n).to_string()],
        "translatedAddress": dice.pick(&["10.2.2.4", "10.2.2.4", "10.2.2.5"]),
        "translatedPort": dice.pick(&PORTS).to_string(),
    })
}

/// A rule of a security group. Tags of services are left out: nobody knows whom they stand for, and the worst
/// is assumed of them.
fn rule(cloud: &azure::Azure, priority: u64, dice: &mut Dice) -> Value {
    let is_v6 = dice.once_in(4);
    let mut said = json!({
        "protocol": dice.pick(&["Tcp", "Udp", "*", "*", "Icmp"]),
        "sourcePortRange": dice.pick(&["*", "0-65535"]),
        "access": dice.pick(&["Allow", "Deny"]), "priority": priority,
        "direction": if dice.once_in(12) { "Outbound" } else { "Inbound" },
    });
    match dice.roll(4) {
        0 => said["destinationPortRange"] = json!("*"),
        1 => said["destinationPortRange"] = json!(dice.pick(&["22", "443", "20-23", "1000-4000"])),
        _ => {
            said["destinationPortRanges"] =
                json!([dice.pick(&["22", "20-30"]), dice.pick(&["3389", "400-450"])]);
        }
    }
    let asg = cloud.path("Microsoft.Network/applicationSecurityGroups", "/app-asg");
    let asg = asg.split('?').next().expect("a path").to_owned();
    for (side, v4, v6) in [("source", &V4[..], &V6[..]), ("destination", &TO_V4, &TO_V6)] {
        let own = if is_v6 { v6 } else { v4 };
        let (field, value) = match dice.roll(7) {
            0 => ("ApplicationSecurityGroups", json!([{ "id": asg }])),
            1 | 2 => ("AddressPrefix", json!(dice.pick(&TAGS))),
            3 => ("AddressPrefix", json!("*")),
            4 => ("AddressPrefix", json!(dice.pick(own))),
            _ => ("AddressPrefixes", json!([dice.pick(own), dice.pick(own), dice.pick(own)])),
        };
        said[format!("{side}{field}")] = value;
    }
    json!({ "name": format!("rule-{priority}"), "properties": said })
}
