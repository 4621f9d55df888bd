//! A machine behind an Azure Firewall with classic rules: reached at the firewall's address, by whom a lease is.

use futures_util::future::join_all;
use portcullis_app::ports::Firewalls;
use portcullis_azure::Bounds;
use portcullis_domain::{Existing, GrantState, Policy, PortRule, TargetId, Terms, diff};
use portcullis_simcloud::{Faults, Simcloud};
use portcullis_tests::door;
use portcullis_tests::{
    azure::Azure,
    azure_place::{AzurePlace, LEASE},
    given::{self, named},
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
async fn a_foreign_nat_rule_is_named_while_it_admits_sources() {
    let place = AzurePlace::new(1);
    let id = place.id("vault-1");
    place.guard(&id, &policy()).await;
    assert!(!place.passes("vault-1", "203.0.113.10", 3389), "while nobody has a lease");
    let grant = place.open("ann", &id, "3389", ANN).await;
    assert!(place.passes("vault-1", "203.0.113.10", 3389));
    let seen = door::discover_one(&place.store, &place.outside, &id, place.now()).await.expect("seen");
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
    place.azure.cloud.plan(Faults { operation_millis: 60_000, ..Faults::quick() });
    let path = place.azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    assert_eq!(place.azure.call("PUT", &path, Some(&body)).status, 200);
    place.azure.cloud.plan(Faults::quick());
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

const MACHINES: u16 = 10;

/// Machines behind one firewall, shut.
async fn farm() -> (AzurePlace, Vec<TargetId>) {
    let azure = Azure::with(|clock| Simcloud::farm_behind_firewall(1, clock, MACHINES));
    let place = AzurePlace::on(azure, Bounds::with(Existing::Override));
    let ids: Vec<TargetId> = (0..MACHINES).map(|n| place.id(&format!("vm-{n:03}"))).collect();
    for id in &ids {
        place.enable(id, &given::ssh()).await.expect("enabled");
    }
    place.expire().await;
    (place, ids)
}

/// How often a firewall was written.
fn walls_written(place: &AzurePlace) -> usize {
    let calls = place.azure.cloud.calls();
    calls
        .iter()
        .filter(|it| it.method == "PUT" && it.path.to_ascii_lowercase().contains("/azurefirewalls/"))
        .count()
}

/// A firewall takes minutes to be written: what opens or closes together is one write of it, give or take who came
/// a moment late.
#[tokio::test]
async fn changes_due_together_behind_one_firewall_are_one_write() {
    // Here a write takes no time: that of the first, of those who come meanwhile, and of who comes after that.
    const WRITES_MAX: usize = 3;
    let (place, ids) = farm().await;
    assert_eq!(walls_written(&place), 0, "a lock is in the security group alone");
    let mut grants = vec![];
    for id in &ids {
        grants.push(place.ask("ann", id, "22", &named(ANN)).await);
    }
    place.expire().await;
    let opened = walls_written(&place);
    assert!((1..=WRITES_MAX).contains(&opened), "{opened} writes");
    let mut doors = std::collections::BTreeSet::new();
    for (n, grant) in grants.iter().enumerate() {
        let grant = place.grant(grant).await;
        assert_eq!(grant.state(place.now()), GrantState::Open, "{n}");
        assert!(doors.insert(grant.door.expect("a door")), "each has its own");
        assert!(
            place.passes(&format!("vm-{n:03}"), ANN, 22)
                && !place.passes(&format!("vm-{n:03}"), STRANGER, 22)
        );
    }
    place.pass(LEASE);
    place.expire().await;
    let closed = walls_written(&place) - opened;
    assert!((1..=WRITES_MAX).contains(&closed), "{closed} writes");
    for (n, grant) in grants.iter().enumerate() {
        assert_eq!(place.state(grant).await, GrantState::Closed, "{n}");
        assert!(!place.passes(&format!("vm-{n:03}"), ANN, 22), "{n}");
    }
}

/// Those who share nothing but the cloud, as functions do, write over what the others have just written: nobody's
/// rule is lost.
#[tokio::test]
async fn a_slower_writer_repeats_its_write_over_the_new_state() {
    /// Of so many nobody is slower more often than may be.
    const WRITERS: usize = 3;
    let (place, ids) = farm().await;
    let mut wanted = vec![];
    for id in &ids[..WRITERS] {
        place.ask("ann", id, "22", &named(ANN)).await;
        let (adapter, target) = (place.azure.guarded_within(place.bounds().clone()), place.target(id).await);
        let seen = adapter.read(id).await.expect("reads");
        let changes = diff(&seen, &target.owner(), &target.rules(place.now())).changes;
        wanted.push((id, adapter, changes));
    }
    let writes = wanted.iter().map(|(id, adapter, changes)| adapter.write(Some(id), changes));
    let written = join_all(writes).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    for n in 0..WRITERS {
        assert!(place.passes(&format!("vm-{n:03}"), ANN, 22), "{n}");
    }
    let calls = place.azure.cloud.calls();
    let is_wall = |path: &str| path.to_ascii_lowercase().contains("/azurefirewalls/");
    assert!(calls.iter().any(|it| it.status == 412 && is_wall(&it.path)), "somebody was slower");
}
