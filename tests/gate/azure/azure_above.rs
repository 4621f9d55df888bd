//! Security admin rules of a Virtual Network Manager: they decide before every security group, by the cloud's own oracle too.

use portcullis_app::{Finding, Verdict, ports::Checkup};
use portcullis_azure::Role;
use portcullis_domain::{Fact, GrantState, TargetId};
use portcullis_simcloud::Faults;
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE, admin_rule},
    door,
    given::{self, named},
};
use serde_json::Value;

const ANN: &str = "198.51.100.9";
const BOB: &str = "192.0.2.77";
const LIST: &str = "Microsoft.Network/virtualNetworks/listNetworkManagerEffectiveSecurityAdminRules/action";

async fn passes(place: &AzurePlace, id: &TargetId, from: &str) -> (bool, String) {
    let checked =
        door::check(&place.store, &place.outside, id, named("22/tcp"), named(from)).await.expect("read");
    assert_eq!(checked.decision.passes, place.passes("web-1", from, 22), "{checked:?} for {from}");
    (checked.decision.passes, checked.decision.rule)
}

async fn defeated(place: &AzurePlace, id: &TargetId) -> Vec<Option<String>> {
    let facts = place.facts(id).await.into_iter();
    facts.filter_map(|it| if let Fact::LockDefeated { by, .. } = it { Some(by) } else { None }).collect()
}

#[tokio::test]
async fn a_rule_that_always_allows_voids_a_lock_and_is_named() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.administer("main-vnet", vec![admin_rule("ssh-from-noc", 10, "AlwaysAllow", "192.0.2.0/24")]);
    let by = named("owner");
    let planned = door::plan(&place.store, &place.outside, &id, Some(&given::ssh()), &by, place.now()).await;
    let planned = planned.expect("planned");
    let defeats = |it: &String| it.starts_with("corp/ssh-from-noc in ") && it.ends_with("/main-vnet");
    assert!(planned.gates[0].defeated_by.iter().any(defeats), "{planned:?}");
    place.guard(&id, &given::ssh()).await;
    assert_eq!(passes(&place, &id, BOB).await, (true, "corp/ssh-from-noc".to_owned()));
    assert!(!passes(&place, &id, ANN).await.0, "the lock holds for everybody else");
    let told = defeated(&place, &id).await;
    assert!(matches!(&told[..], [Some(by)] if by.starts_with("corp/ssh-from-noc in ")), "{told:?}");

    // A rule before it decides.
    let office = admin_rule("not-from-there", 5, "Deny", "192.0.2.0/24");
    place
        .administer("main-vnet", vec![admin_rule("ssh-from-noc", 10, "AlwaysAllow", "192.0.2.0/24"), office]);
    place.reconcile().await;
    assert!(!passes(&place, &id, BOB).await.0);
    assert_eq!(defeated(&place, &id).await.last(), Some(&None));
}

#[tokio::test]
async fn a_rule_that_denies_voids_a_lease_and_is_named() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.administer("main-vnet", vec![admin_rule("no-ssh", 10, "Deny", "Internet")]);
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    let failed = place.grant(&grant).await;
    assert_eq!(failed.state(place.now()), GrantState::OpenFailed);
    let why = failed.open_failed.as_deref().unwrap_or_default();
    assert!(why.starts_with("corp/no-ssh in ") && why.ends_with("/main-vnet"), "{why}");
    assert_eq!(passes(&place, &id, ANN).await, (false, "corp/no-ssh".to_owned()));
    place.administer("main-vnet", vec![]);
    place.reconcile().await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(passes(&place, &id, ANN).await.0);
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
}

#[tokio::test]
async fn a_rule_that_allows_leaves_the_decision_to_the_security_groups() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    let rules = vec![admin_rule("ssh", 10, "Allow", "*"), admin_rule("nothing-else", 20, "Deny", "*")];
    place.administer("main-vnet", rules);
    place.guard(&id, &given::ssh()).await;
    assert!(!passes(&place, &id, ANN).await.0 && !passes(&place, &id, BOB).await.0);
    let grant = place.open("ann", &id, "22", ANN).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(passes(&place, &id, ANN).await.0 && !passes(&place, &id, BOB).await.0);
    assert_eq!(defeated(&place, &id).await, vec![]);
}

/// A firewall sends on from its own address, of which the rules speak then.
#[tokio::test]
async fn a_rule_decides_behind_an_azure_firewall_too() {
    let place = AzurePlace::new(1);
    let id = place.id("vault-1");
    place.administer("edge-vnet", vec![admin_rule("not-by-the-firewall", 10, "Deny", "10.2.1.0/24")]);
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    assert!(!place.passes("vault-1", ANN, 22));
    assert_eq!(place.state(&grant).await, GrantState::OpenFailed, "{:#?}", place.facts(&id).await);
}

async fn found(place: &AzurePlace) -> Vec<Finding> {
    place.outside.checkup().await.into_iter().filter(|it| it.check == "network paths").collect()
}

#[tokio::test]
async fn rules_that_may_not_be_read_are_told_as_not_known_and_keep_no_lease_open() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    assert!(found(&place).await.iter().all(|it| it.verdict == Verdict::Ok));
    let role = Role::guards().actions;
    let less: Vec<&str> = role.iter().map(String::as_str).filter(|it| *it != LIST).collect();
    place.azure.permit(&less);
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    let checked =
        door::check(&place.store, &place.outside, &id, named("22/tcp"), named(ANN)).await.expect("read");
    assert!(
        matches!(&checked.unread[..], [why] if why.contains("/main-vnet") && why.contains(LIST)),
        "{checked:?}"
    );
    let by = named("owner");
    let planned =
        door::plan(&place.store, &place.outside, &id, None, &by, place.now()).await.expect("planned");
    assert_eq!(planned.warnings, checked.unread);
    let findings = found(&place).await;
    assert!(
        findings.iter().any(|it| it.verdict == Verdict::Warning && it.found.contains("/main-vnet")),
        "{findings:?}"
    );
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
    let asked = place.azure.cloud.calls().iter().filter(|it| it.action.as_deref() == Some(LIST)).count();
    // Once for the path, twice for each of the checkups, of two networks; and once again after ten minutes.
    assert!(asked <= 6, "a refusal is remembered: {asked}");
}

/// However many machines of a network are settled, its rules are read once a minute, in all their pages.
#[tokio::test]
async fn the_rules_of_a_network_are_read_once_a_minute_for_all_its_machines() {
    let place = AzurePlace::new(1);
    let asked = |place: &AzurePlace| {
        let calls = place.azure.cloud.calls().into_iter();
        calls.filter(|it| it.action.as_deref() == Some(LIST)).count()
    };
    for machine in ["web-1", "build-1", "db-1", "app-1"] {
        place.guard(&place.id(machine), &given::ssh()).await;
        place.open("ann", &place.id(machine), "22", ANN).await;
    }
    assert_eq!(asked(&place), 1);
    let mut rules: Vec<Value> =
        (0..5).map(|n| admin_rule(&format!("rule-{n}"), 20 + n, "Allow", "*")).collect();
    rules.push(admin_rule("ssh-from-noc", 10, "AlwaysAllow", "192.0.2.0/24"));
    place.azure.cloud.plan(Faults { page_size: 2, ..Faults::quick() });
    place.administer("main-vnet", rules);
    place.reconcile().await;
    assert_eq!(asked(&place), 1 + 3, "in three pages");
    assert_eq!(passes(&place, &place.id("web-1"), BOB).await, (true, "corp/ssh-from-noc".to_owned()));
}
