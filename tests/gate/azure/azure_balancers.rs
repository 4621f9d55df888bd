//! A load balancer's rule with floating IP brings packets to a machine that have the frontend's address as their destination: the
//! lock and the leases name that address too, by the cloud's own oracle.

use portcullis_app::{Verdict, ports::Checkup};
use portcullis_domain::{Fact, GrantState};
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE},
    door,
    given::{self, named},
};
use serde_json::{Value, json};

const ANN: &str = "198.51.100.9";
const BOB: &str = "192.0.2.77";
/// Of the load balancer's frontends: on the Internet, and in the network.
const PUBLIC: &str = "198.51.100.200";
const PRIVATE: &str = "10.1.2.200";

/// The key of a resource in a snapshot of the cloud.
fn key(place: &AzurePlace, kind: &str, name: &str) -> String {
    let path = place.azure.path(&format!("Microsoft.Network/{kind}"), &format!("/{name}"));
    path.split('?').next().expect("a path").to_ascii_lowercase()
}

fn resource(kind: &str, id: &str, properties: &Value) -> Value {
    let (of, name) = match kind {
        "LoadBalancer" => ("loadBalancers", "edge-lb"),
        _ => ("publicIPAddresses", "edge-lb-ip"),
    };
    let body = json!({
        "id": id, "name": name, "type": format!("Microsoft.Network/{of}"), "location": "westeurope", "tags": {},
        "properties": properties,
    });
    json!({ "kind": kind, "etag": 1, "body": body, "in_force": null })
}

/// A load balancer before `db-1`.
fn balanced(floats: bool) -> AzurePlace {
    balanced_before(&["db-1"], floats)
}

/// A load balancer before machines that have no address but in their network: a rule for SSH by one frontend, and an inbound NAT
/// rule for SSH by the other one.
fn balanced_before(machines: &[&str], floats: bool) -> AzurePlace {
    let place = AzurePlace::new(1);
    let balancer = key(&place, "loadBalancers", "edge-lb");
    let public = key(&place, "publicIPAddresses", "edge-lb-ip");
    let nics: Vec<String> =
        machines.iter().map(|it| key(&place, "networkInterfaces", &format!("{it}-nic"))).collect();
    let rule = |frontend: &str, port: u16| {
        json!({
            "frontendIPConfiguration": { "id": format!("{balancer}/frontendIPConfigurations/{frontend}") },
            "backendAddressPool": { "id": format!("{balancer}/backendAddressPools/all") }, "protocol": "Tcp",
            "frontendPort": port, "backendPort": port, "enableFloatingIP": floats,
        })
    };
    let mut nat = rule("in", 22);
    nat.as_object_mut().expect("an object").remove("backendAddressPool");
    let properties = json!({
        "frontendIPConfigurations": [
            { "id": format!("{balancer}/frontendIPConfigurations/out"), "properties": { "publicIPAddress": { "id": public } } },
            { "id": format!("{balancer}/frontendIPConfigurations/in"), "properties": { "privateIPAddress": PRIVATE } },
        ],
        "backendAddressPools": [{ "id": format!("{balancer}/backendAddressPools/all") }],
        "loadBalancingRules": [{ "id": format!("{balancer}/loadBalancingRules/ssh"), "properties": rule("out", 22) }],
        "inboundNatRules": [{ "id": format!("{balancer}/inboundNatRules/ssh"), "properties": nat }],
    });
    place.changed(|cloud| {
        cloud["resources"][&balancer] = resource("LoadBalancer", &balancer, &properties);
        cloud["resources"][&public] = resource("PublicIpAddress", &public, &json!({ "ipAddress": PUBLIC }));
        for nic in &nics {
            let nic = &mut cloud["resources"][nic]["body"]["properties"];
            let configuration = &mut nic["ipConfigurations"][0]["properties"];
            configuration["publicIPAddress"] = Value::Null;
            configuration["loadBalancerBackendAddressPools"] =
                json!([{ "id": format!("{balancer}/backendAddressPools/all") }]);
            configuration["loadBalancerInboundNatRules"] =
                json!([{ "id": format!("{balancer}/inboundNatRules/ssh") }]);
        }
    })
}

/// A rule that lets everybody in to whatever is behind the subnet's group.
fn let_everybody_in(place: &AzurePlace) {
    let rule = json!({
        "protocol": "Tcp", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "*", "access": "Allow", "priority": 310, "direction": "Inbound",
    });
    place.put_rule("data-subnet-nsg", "SSH-from-everywhere", &rule);
}

/// Where our rules lead.
fn destinations(place: &AzurePlace) -> Vec<Value> {
    let of = |it: Value| {
        let properties = &it["properties"];
        let many = properties["destinationAddressPrefixes"].as_array().cloned().unwrap_or_default();
        if many.is_empty() { properties["destinationAddressPrefix"].clone() } else { json!(many) }
    };
    place.ours().into_iter().map(of).collect()
}

#[tokio::test]
async fn a_lock_and_a_lease_name_the_frontends_whose_rules_have_a_floating_ip() {
    let place = balanced(true);
    let_everybody_in(&place);
    let (id, before) = (place.id("db-1"), place.holdings());
    assert!(place.passes("db-1", ANN, 22), "by the load balancer");
    place.guard(&id, &given::ssh()).await;
    assert!([ANN, BOB, "10.1.3.4"].iter().all(|from| !place.passes("db-1", from, 22)), "{:#?}", place.ours());
    let grant = place.open("ann", &id, "22", ANN).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(place.passes("db-1", ANN, 22) && !place.passes("db-1", BOB, 22));
    let all = json!(["10.1.2.4", PUBLIC, PRIVATE]);
    for of_rule in destinations(&place) {
        let named = of_rule.as_array().expect("several");
        assert!(
            named.len() == 3 && all.as_array().expect("a list").iter().all(|it| named.contains(it)),
            "{of_rule}"
        );
    }
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
    assert!(!place.passes("db-1", ANN, 22));
    place.disable(&id).await;
    assert_eq!(place.holdings(), before);
}

#[tokio::test]
async fn a_rule_that_translates_needs_no_other_address() {
    let place = balanced(false);
    let_everybody_in(&place);
    let id = place.id("db-1");
    assert!(place.passes("db-1", ANN, 22));
    place.guard(&id, &given::ssh()).await;
    assert!(!place.passes("db-1", ANN, 22));
    assert_eq!(destinations(&place), [json!("10.1.2.4")]);
}

/// A foreign rule for the frontend's address alone is one that leads to the machine.
#[tokio::test]
async fn the_evaluator_follows_packets_to_a_frontend() {
    let place = balanced(true);
    let id = place.id("db-1");
    let rule = json!({
        "protocol": "Tcp", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": "192.0.2.0/24",
        "destinationAddressPrefix": PUBLIC, "access": "Allow", "priority": 310, "direction": "Inbound",
    });
    place.put_rule("data-subnet-nsg", "By-the-frontend", &rule);
    for from in [ANN, BOB] {
        let checked =
            door::check(&place.store, &place.outside, &id, named("22/tcp"), named(from)).await.expect("read");
        assert_eq!(
            (checked.decision.passes, place.passes("db-1", from, 22)),
            (from == BOB, from == BOB),
            "{from}"
        );
        assert_eq!(checked.unread, [""; 0]);
    }
}

/// A load balancer that gets a floating IP later is met by the next round.
#[tokio::test]
async fn a_lock_follows_a_rule_that_gets_a_floating_ip() {
    let place = balanced(false);
    let_everybody_in(&place);
    let id = place.id("db-1");
    place.guard(&id, &given::ssh()).await;
    let balancer = key(&place, "loadBalancers", "edge-lb");
    let place = place.changed(|cloud| {
        let rules = &mut cloud["resources"][&balancer]["body"]["properties"]["loadBalancingRules"];
        rules[0]["properties"]["enableFloatingIP"] = json!(true);
    });
    assert!(place.passes("db-1", ANN, 22), "the lock does not speak of the frontend");
    place.reconcile().await;
    assert!(!place.passes("db-1", ANN, 22));
    let defeated = |it: &Fact| matches!(it, Fact::LockDefeated { by: Some(_), .. });
    assert!(!place.facts(&id).await.iter().any(defeated));
}

/// The interface says that it is behind a load balancer, which the identity does not see.
#[tokio::test]
async fn a_lock_is_in_doubt_where_the_load_balancer_cannot_be_read() {
    let place = balanced(true);
    let balancer = key(&place, "loadBalancers", "edge-lb");
    let place = place.changed(|cloud| {
        cloud["resources"].as_object_mut().expect("resources").remove(&balancer);
    });
    let id = place.id("db-1");
    place.guard(&id, &given::ssh()).await;
    let checked =
        door::check(&place.store, &place.outside, &id, named("22/tcp"), named(ANN)).await.expect("read");
    assert!(matches!(&checked.unread[..], [why] if why.contains("/edge-lb` cannot be read")), "{checked:?}");
    let findings = place.outside.checkup().await;
    let doubt = findings.iter().find(|it| it.check == "network paths").expect("a check");
    assert_eq!(doubt.verdict, Verdict::Warning);
    assert!(doubt.found.starts_with("`db-1`: ") && doubt.found.contains("/edge-lb"), "{doubt:?}");
    let by = named("owner");
    let planned =
        door::plan(&place.store, &place.outside, &id, None, &by, place.now()).await.expect("planned");
    assert_eq!(planned.warnings, checked.unread);
}

/// No rule of a group can tell to which of them a packet to their frontend goes.
#[tokio::test]
async fn machines_that_share_a_frontend_share_its_path_and_that_is_said() {
    let place = balanced_before(&["farm-1", "farm-2"], true);
    let (one, other) = (place.id("farm-1"), place.id("farm-2"));
    for id in [&one, &other] {
        place.guard(id, &given::ssh()).await;
    }
    assert!(!place.passes("farm-1", ANN, 22) && !place.passes("farm-2", ANN, 22));
    let grant = place.open("ann", &one, "22", ANN).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(place.passes("farm-2", ANN, 22), "by the frontend");
    place.reconcile().await;
    let defeated = |it: Fact| if let Fact::LockDefeated { by, .. } = it { by } else { None };
    let by: Vec<String> = place.facts(&other).await.into_iter().filter_map(defeated).collect();
    assert!(matches!(&by[..], [by] if by.starts_with("Portcullis-") && by.contains("-tcp-22 in ")), "{by:?}");
    place.close(&grant).await;
    assert!(!place.passes("farm-1", ANN, 22) && !place.passes("farm-2", ANN, 22));
}
