//! A machine behind an Azure Firewall with classic rules: reached at the firewall's address, by whom a lease is.

use portcullis_domain::{GrantState, Policy, PortRule, Terms};
use portcullis_simcloud::Faults;
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE},
    given::named,
};
use serde_json::{Value, json};
use std::net::IpAddr;

const ANN: &str = "198.51.100.9";
const STRANGER: &str = "198.51.100.10";

/// TCP to two ports, for anybody.
fn policy() -> Policy {
    let rules = ["3389", "22"].map(|it| PortRule::offered(named(it), named("tcp")));
    Policy::of(rules.into(), &Terms::default()).expect("valid")
}

fn wall(place: &AzurePlace) -> Value {
    place.azure.call("GET", &place.azure.path("Microsoft.Network/azureFirewalls", "/edge-fw"), None).body
}

#[tokio::test]
async fn a_door_is_the_firewalls_address_and_a_port_of_its_own() {
    let place = AzurePlace::new(1);
    let (id, before) = (place.id("vault-1"), wall(&place));
    let theirs = &before["properties"]["natRuleCollections"][0];
    let public: IpAddr =
        named(theirs["properties"]["rules"][0]["destinationAddresses"][0].as_str().expect("one"));
    place.guard(&id, &policy()).await;
    let (rdp, ssh) = (place.open("ann", &id, "3389", ANN).await, place.open("ann", &id, "22", ANN).await);
    let (rdp, ssh) = (place.grant(&rdp).await, place.grant(&ssh).await);
    let (one, two) = (rdp.door.expect("a door"), ssh.door.expect("a door"));
    assert_eq!((one.ip(), two.ip()), (public, public));
    assert_ne!(one.port(), two.port(), "each gate has its own");
    for port in [3389, 22] {
        assert!(place.passes("vault-1", ANN, port) && !place.passes("vault-1", STRANGER, port), "{port}");
    }
    let now = wall(&place);
    let collections = now["properties"]["natRuleCollections"].as_array().expect("collections");
    assert_eq!((collections.len(), &collections[0]), (2, theirs), "somebody else's stays as it is");
    let leads = |rule: &Value| (rule["destinationPorts"][0].clone(), rule["translatedPort"].clone());
    let rules = collections[1]["properties"]["rules"].as_array().expect("rules");
    let leads: Vec<_> = rules.iter().map(leads).collect();
    for (door, port) in [(one, "3389"), (two, "22")] {
        assert!(leads.contains(&(json!(door.port().to_string()), json!(port))), "{leads:?}");
    }
    // Another source: the same door.
    let more = place.open("bob", &id, "22", "192.0.2.77").await;
    assert_eq!(place.grant(&more).await.door, Some(two));
    place.pass(LEASE);
    place.expire().await;
    assert!(![3389, 22].iter().any(|port| place.passes("vault-1", ANN, *port)));
    assert_eq!(place.state(&ssh.id).await, GrantState::Closed);
    place.disable(&id).await;
    assert_eq!(wall(&place)["properties"]["natRuleCollections"], before["properties"]["natRuleCollections"]);
}

/// Whoever comes through a firewall comes from its subnet: while a lease is open, who is let through by somebody
/// else's NAT rule gets in too. Nothing in Azure tells them apart, so it is said.
#[tokio::test]
async fn somebody_elses_nat_rule_is_named_while_it_lets_people_in() {
    let place = AzurePlace::new(1);
    let id = place.id("vault-1");
    place.guard(&id, &policy()).await;
    assert!(!place.passes("vault-1", "203.0.113.10", 3389), "while nobody has a lease");
    let grant = place.open("ann", &id, "3389", ANN).await;
    assert!(place.passes("vault-1", "203.0.113.10", 3389));
    let seen =
        portcullis_app::discover_one(&place.store, &place.outside, &id, place.now()).await.expect("seen");
    let troubles = seen.troubles.join("; ");
    assert!(
        seen.healthy == Some(false) && troubles.contains("the lock of `3389/tcp` is defeated"),
        "{troubles}"
    );
    place.close(&grant).await;
    assert!(!place.passes("vault-1", "203.0.113.10", 3389));
    assert_eq!(place.state(&grant).await, GrantState::Closed);
}

/// A firewall takes minutes to be written. Until it is done what it shows opens nothing, and what shuts does not
/// wait for it.
#[tokio::test]
async fn a_firewall_that_is_being_written_opens_nothing_and_holds_up_nothing() {
    let place = AzurePlace::new(1);
    let id = place.id("vault-1");
    place.guard(&id, &policy()).await;
    let over = place.open("ann", &id, "3389", ANN).await;
    assert!(place.passes("vault-1", ANN, 3389));
    let body = wall(&place);
    place.azure.cloud.plan(Faults { operation_millis: 60_000, ..Faults::default() });
    let path = place.azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    assert_eq!(place.azure.call("PUT", &path, Some(&body)).status, 200);
    place.azure.cloud.plan(Faults { operation_millis: 0, ..Faults::default() });
    place.close(&over).await;
    assert_eq!(place.state(&over).await, GrantState::Closed, "its security group has shut it");
    assert!(!place.passes("vault-1", ANN, 3389));
    let grant = place.ask("bob", &id, "22", &named(ANN)).await;
    drop(place.try_expire().await);
    assert_eq!(place.state(&grant).await, GrantState::Approved, "not open, not failed");
    place.work(62).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(place.passes("vault-1", ANN, 22) && !place.passes("vault-1", ANN, 3389));
}
