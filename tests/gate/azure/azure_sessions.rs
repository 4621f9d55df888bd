//! Sessions that are open when their lease ends: what `plan` and `check` say of them is what becomes of them.

use portcullis_domain::Sessions;
use portcullis_simcloud::{Packet, PacketProtocol};
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE},
    door,
    given::{self, named},
};
use serde_json::{Value, json};

const ANN: &str = "198.51.100.9";

/// Sets a property of a security group, as another client does that writes all of it.
fn set_flush(place: &AzurePlace, group: &str, flushes: Option<bool>) {
    let path = place.azure.path("Microsoft.Network/networkSecurityGroups", &format!("/{group}"));
    let mut body = place.azure.call("GET", &path, None).body;
    body["properties"]["flushConnection"] = flushes.map_or(Value::Null, Value::Bool);
    assert_eq!(place.azure.call("PUT", &path, Some(&body)).status, 200);
}

fn flushes(place: &AzurePlace, group: &str) -> Value {
    let path = place.azure.path("Microsoft.Network/networkSecurityGroups", &format!("/{group}"));
    place.azure.call("GET", &path, None).body["properties"]["flushConnection"].clone()
}

/// What is said of a machine's sessions, and whether one that was open at the end of a lease still stands.
async fn told_and_true(place: &AzurePlace, machine: &str) -> (Sessions, bool) {
    let id = place.id(machine);
    place.guard(&id, &given::ssh()).await;
    place.open("ann", &id, "22", ANN).await;
    let checked = door::check(&place.store, &place.outside, &id, named("22/tcp"), named(ANN)).await;
    let checked = checked.expect("read");
    let by = named("owner");
    let planned = door::plan(&place.store, &place.outside, &id, None, &by, place.now());
    let planned = planned.await.expect("planned");
    assert!(checked.decision.passes);
    assert_eq!(checked.sessions, planned.sessions, "`plan` and `check` say one thing");
    let packet = Packet { from: named(ANN), protocol: PacketProtocol::Tcp, port: 22 };
    let session = place.azure.cloud.connect(machine, packet).expect("a machine").expect("it is open");
    place.pass(LEASE);
    place.expire().await;
    assert!(!place.passes(machine, ANN, 22), "no new session");
    (checked.sessions, place.azure.cloud.stands(session))
}

#[tokio::test]
async fn open_sessions_survive_the_end_of_a_lease_but_where_the_group_flushes_connections() {
    for (flushes, outcome) in [
        (None, (Sessions::Survive, true)),
        (Some(false), (Sessions::Survive, true)),
        (Some(true), (Sessions::EndWithLease, false)),
    ] {
        let place = AzurePlace::new(1);
        set_flush(&place, "web-1-nsg", flushes);
        assert_eq!(told_and_true(&place, "web-1").await, outcome, "{flushes:?}");
        assert_eq!(
            self::flushes(&place, "web-1-nsg"),
            json!(flushes == Some(true)),
            "it is as its owner set it"
        );
    }
}

/// One of two groups in a row is enough; one of two interfaces is not.
#[tokio::test]
async fn open_sessions_end_with_the_lease_where_a_group_on_every_path_flushes_connections() {
    let place = AzurePlace::new(1);
    set_flush(&place, "app-subnet-nsg", Some(true));
    assert_eq!(told_and_true(&place, "app-1").await, (Sessions::EndWithLease, false));
    let place = AzurePlace::new(1);
    set_flush(&place, "duo-1-nsg", Some(true));
    assert_eq!(told_and_true(&place, "duo-1").await.0, Sessions::Survive, "by its other interface");
    set_flush(&place, "data-subnet-nsg", Some(true));
    assert_eq!(told_and_true(&place, "duo-1").await, (Sessions::EndWithLease, false));
}

/// Whom the firewall sends on is behind its address, which the lease of somebody else still admits.
#[tokio::test]
async fn open_sessions_survive_behind_an_azure_firewall() {
    let place = AzurePlace::new(1);
    set_flush(&place, "vault-subnet-nsg", Some(true));
    assert_eq!(told_and_true(&place, "vault-1").await.0, Sessions::Survive);
}
