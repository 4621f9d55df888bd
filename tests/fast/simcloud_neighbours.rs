//! The simulated Azure beyond the rules of one caller: what others write, and what decides before and beside a security group.

use portcullis_simcloud::{Fault, Faults, On, Packet, PacketProtocol, Planned, Simcloud};
use portcullis_tests::azure::{ANN, Azure, VERSION, allow, brisk};
use serde_json::{Value, json};

const SECOND: i64 = 1000;

fn decides(azure: &Azure, vm: &str) -> String {
    let packet = Packet { from: ANN.parse().expect("valid"), protocol: PacketProtocol::Tcp, port: 22 };
    azure.cloud.passes(vm, packet).expect("a machine").by
}

/// The next write is undone by a client that writes back what it read before, so many milliseconds after it was done.
fn written_back(azure: &Azure, millis: u32, faults: &Faults) {
    let planned = vec![Planned { on: On::Write, skip: 0, times: 1, fault: Fault::WrittenBack { millis } }];
    azure.cloud.plan(Faults { planned, ..faults.clone() });
}

#[test]
fn a_group_that_another_client_writes_back_loses_what_was_written_meanwhile() {
    let azure = Azure::new(1);
    let (path, rule) = (
        azure.path("Microsoft.Network/networkSecurityGroups", "/web-1-nsg"),
        azure.rule("web-1-nsg", "Ours"),
    );
    written_back(&azure, 5_000, &brisk());
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201);
    azure.pass(SECOND);
    assert_eq!(decides(&azure, "web-1"), "Ours");
    azure.pass(5 * SECOND);
    assert_eq!((azure.call("GET", &rule, None).status, decides(&azure, "web-1")), (404, "SSH".to_owned()));
    let shown = azure.call("GET", &path, None).body;
    assert_eq!(shown["tags"], json!({ "updated": "by another client" }), "all that it wanted to change");

    // What was deleted meanwhile comes back, as a new version.
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201);
    azure.pass(SECOND);
    let before = azure.call("GET", &rule, None).body["etag"].clone();
    written_back(&azure, 5_000, &brisk());
    assert_eq!(azure.call("DELETE", &rule, None).status, 202);
    azure.pass(SECOND);
    assert_eq!(decides(&azure, "web-1"), "SSH");
    azure.pass(5 * SECOND);
    let after = azure.call("GET", &rule, None);
    assert_eq!((after.status, decides(&azure, "web-1")), (200, "Ours".to_owned()));
    assert_ne!(after.body["etag"], before);
}

#[test]
fn a_group_that_is_written_back_at_once_shows_nothing_of_the_write() {
    let azure = Azure::new(1);
    let rule = azure.rule("web-1-nsg", "Ours");
    written_back(&azure, 0, &Faults::quick());
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201, "it is told as done");
    assert_eq!((azure.call("GET", &rule, None).status, decides(&azure, "web-1")), (404, "SSH".to_owned()));
}

/// A session is left alone by a change of rules, unless its security group judges established flows anew.
#[test]
fn a_session_stands_until_a_group_that_flushes_connections_changes_against_it() {
    let azure = Azure::new(1);
    let path = azure.path("Microsoft.Network/networkSecurityGroups", "/web-1-nsg");
    let ssh = azure.rule("web-1-nsg", "SSH");
    let shown = azure.call("GET", &ssh, None).body;
    let packet = Packet { from: ANN.parse().expect("valid"), protocol: PacketProtocol::Tcp, port: 22 };
    let connect = || azure.cloud.connect("web-1", packet).expect("a machine");
    let flush = |flushes: Option<bool>| {
        let mut group = azure.call("GET", &path, None).body;
        group["properties"]["flushConnection"] = flushes.map_or(Value::Null, Value::Bool);
        assert_eq!(azure.call("PUT", &path, Some(&group)).status, 200);
        azure.pass(SECOND);
        azure.call("GET", &path, None).body["properties"]["flushConnection"].clone()
    };
    let shut_and_open_again = || {
        assert_eq!(azure.call("DELETE", &ssh, None).status, 202);
        azure.pass(SECOND);
        assert_eq!((connect(), decides(&azure, "web-1").as_str()), (None, "DenyAllInBound"));
        assert_eq!(azure.call("PUT", &ssh, Some(&shown)).status, 201);
        azure.pass(SECOND);
    };
    for (flushes, survives) in [(None, true), (Some(true), false), (Some(false), true)] {
        assert_eq!(flush(flushes), flushes.unwrap_or(false));
        let session = connect().expect("it gets through");
        shut_and_open_again();
        assert_eq!(azure.cloud.stands(session), survives, "{flushes:?}");
    }
}

/// A security admin rule as ARM lists it.
fn admin_rule(name: &str, priority: u16, access: &str) -> Value {
    let everywhere = json!([{ "addressPrefix": "*", "addressPrefixType": "IPPrefix" }]);
    json!({
        "id": format!("/m/securityAdminConfigurations/c/ruleCollections/r/rules/{name}"), "kind": "Custom",
        "properties": {
            "protocol": "Tcp", "sources": everywhere, "destinations": everywhere, "sourcePortRanges": ["0-65535"],
            "destinationPortRanges": ["20-25"], "access": access, "priority": priority, "direction": "Inbound",
        },
    })
}

#[test]
fn security_admin_rules_are_listed_in_pages_and_decide_before_security_groups() {
    let azure = Azure::new(1);
    let network = azure.path("Microsoft.Network/virtualNetworks", "/main-vnet");
    let network = network.split('?').next().expect("a path").to_owned();
    let list = format!("{network}/listNetworkManagerEffectiveSecurityAdminRules?{VERSION}");
    assert_eq!(azure.call("POST", &list, Some(&json!({}))).body, json!({ "value": [] }));
    for (access, web, build) in [
        ("Deny", "first", "first"),
        ("AlwaysAllow", "first", "first"),
        // Those of the machine's groups.
        ("Allow", "SSH", "DenyAllInBound"),
    ] {
        azure
            .cloud
            .administer(&network, vec![admin_rule("second", 20, "Deny"), admin_rule("first", 10, access)]);
        assert_eq!(
            (decides(&azure, "web-1").as_str(), decides(&azure, "build-1").as_str()),
            (web, build),
            "{access}"
        );
    }
    azure.cloud.plan(Faults { page_size: 1, ..brisk() });
    let first = azure.call("POST", &list, Some(&json!({}))).body;
    let rest = azure.call("POST", &list, Some(&json!({ "skipToken": first["skipToken"] }))).body;
    assert_eq!(first["value"][0]["properties"]["priority"], 20, "in no order");
    assert_eq!((&rest["value"][0]["properties"]["priority"], &rest["skipToken"]), (&json!(10), &Value::Null));
    azure.permit(&["*/read"]);
    assert_eq!(azure.call("POST", &list, Some(&json!({}))).status, 403);
}

/// A load balancer's rule brings a packet to the machine's own address, or to the frontend's, where it does not translate.
#[test]
fn a_load_balancer_with_floating_ip_brings_packets_to_its_own_address() {
    for floats in [false, true] {
        let azure = Azure::new(1);
        let id = |kind: &str, name: &str| {
            let path = azure.path(&format!("Microsoft.Network/{kind}"), &format!("/{name}"));
            path.split('?').next().expect("a path").to_ascii_lowercase()
        };
        let (balancer, nic) = (id("loadBalancers", "lb"), id("networkInterfaces", "build-1-nic"));
        let (pool, frontend) =
            (format!("{balancer}/backendAddressPools/p"), format!("{balancer}/frontends/f"));
        let mut cloud: Value = serde_json::from_str(&azure.cloud.snapshot()).expect("JSON");
        cloud["resources"][&balancer] = json!({ "kind": "LoadBalancer", "etag": 1, "in_force": null, "body": {
            "id": balancer, "name": "lb", "location": "westeurope", "properties": {
                "frontendIPConfigurations": [{ "id": frontend, "properties": { "privateIPAddress": "10.1.1.200" } }],
                "loadBalancingRules": [{ "id": "r", "properties": {
                    "frontendIPConfiguration": { "id": frontend }, "backendAddressPool": { "id": pool },
                    "protocol": "All", "frontendPort": 0, "backendPort": 0, "enableFloatingIP": floats,
                }}],
            },
        }});
        let configuration =
            &mut cloud["resources"][&nic]["body"]["properties"]["ipConfigurations"][0]["properties"];
        configuration["loadBalancerBackendAddressPools"] = json!([{ "id": pool }]);
        configuration["publicIPAddress"] = Value::Null;
        let text = cloud.to_string();
        let azure = Azure::with(|clock| Simcloud::restore(&text, clock).expect("a snapshot"));
        let own = cloud["resources"][&nic]["body"]["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"].clone();
        for (name, priority, to) in
            [("To-the-frontend", 100, json!("10.1.1.200")), ("To-the-machine", 101, own)]
        {
            let mut rule = allow(priority);
            rule["properties"]["destinationAddressPrefix"] = to;
            rule["properties"]["sourceAddressPrefixes"] = json!(["10.9.9.9"]);
            assert_eq!(azure.call("PUT", &azure.rule("build-1-nsg", name), Some(&rule)).status, 201);
            azure.pass(3 * SECOND);
        }
        let from = |from: &str| {
            let packet =
                Packet { from: from.parse().expect("valid"), protocol: PacketProtocol::Tcp, port: 22 };
            azure.cloud.passes("build-1", packet).expect("a machine")
        };
        assert!(from("10.9.9.9").passes);
        assert!(!from(ANN).passes, "its frontend is not on the Internet");
        azure.call("DELETE", &azure.rule("build-1-nsg", "To-the-machine"), None);
        azure.pass(3 * SECOND);
        assert_eq!(from("10.9.9.9").passes, floats, "by the frontend's rule alone: {floats}");
    }
}
