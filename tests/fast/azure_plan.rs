//! What a plan says of everybody else's rules, and whether that comes true once it is done.

use portcullis_app::PlannedGate;
use portcullis_azure::Bounds;
use portcullis_domain::{Existing, Policy, PortRule, TargetId, Terms};
use portcullis_tests::door;
use portcullis_tests::{azure::Azure, azure_place::AzurePlace, given::named};
use serde_json::json;

const OFFICE: &str = "203.0.113.10";
const ANN: &str = "198.51.100.9";

fn policy(port: &str) -> Policy {
    Policy::of(vec![PortRule::offered(named(port), named("tcp"))], &Terms::default()).expect("valid")
}

/// The plan for the one gate of a policy; with none, of the machine as it is guarded.
async fn planned(place: &AzurePlace, id: &TargetId, policy: Option<&Policy>) -> PlannedGate {
    let plan = door::plan(&place.store, &place.outside, id, policy, &named("owner"), place.now()).await;
    let mut gates = plan.unwrap_or_else(|error| panic!("{}", error.full())).gates;
    assert_eq!(gates.len(), 1);
    gates.remove(0)
}

/// Without where the rules are.
fn names(rules: &[String]) -> Vec<String> {
    let name = |it: &String| {
        let (name, rest) = it.split_once(" in ").expect("a rule in a firewall");
        rest.split_once(' ').map_or(name.to_owned(), |(_, when)| format!("{name} {when}"))
    };
    rules.iter().map(name).collect()
}

#[tokio::test]
async fn a_lock_above_them_shadows_every_rule_that_lets_somebody_in() {
    let place = AzurePlace::new(1);
    let id = place.id("app-1");
    let gate = planned(&place, &id, Some(&policy("22"))).await;
    // Everybody on the Internet passes the subnet's group, one office the interface's; the network passes both.
    assert!(names(&gate.shadows).contains(&"SSH".to_owned()), "{gate:?}");
    assert!(names(&gate.shadows).contains(&"AllowVnetInBound".to_owned()), "{gate:?}");
    assert_eq!(gate.defeated_by, [""; 0], "{gate:?}");
    place.guard(&id, &policy("22")).await;
    assert!(!place.passes("app-1", OFFICE, 22));
    let gate = planned(&place, &id, None).await;
    assert_eq!((gate.shadows, gate.defeated_by), (vec![], vec![]), "there is nothing left to change");
}

#[tokio::test]
async fn a_lock_under_them_is_defeated_by_those_that_let_somebody_in() {
    let place = AzurePlace::on(Azure::new(1), Bounds::with(Existing::Respect));
    let id = place.id("app-1");
    let gate = planned(&place, &id, Some(&policy("22"))).await;
    assert!(names(&gate.defeated_by).contains(&"SSH".to_owned()), "{gate:?}");
    assert!(!names(&gate.shadows).contains(&"SSH".to_owned()), "it decides as before: {gate:?}");
    assert!(
        names(&gate.shadows).contains(&"AllowVnetInBound".to_owned()),
        "those are under every lock: {gate:?}"
    );
    place.guard(&id, &policy("22")).await;
    assert!(place.passes("app-1", OFFICE, 22) && !place.passes("app-1", ANN, 22));
    // It is said of what is guarded as well.
    let again = planned(&place, &id, None).await;
    assert_eq!((again.defeated_by, again.shadows), (gate.defeated_by, vec![]));
}

/// A rule that stands in one group and lets nobody through the other one is neither.
#[tokio::test]
async fn a_rule_that_lets_nobody_in_is_not_named() {
    let place = AzurePlace::on(Azure::new(1), Bounds::with(Existing::Respect));
    let id = place.id("app-1");
    let allow = json!({
        "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": ANN,
        "destinationAddressPrefix": "*", "access": "Allow", "priority": 150, "direction": "Inbound",
    });
    place.put_rule("app-subnet-nsg", "HalfWay", &allow);
    assert!(!place.passes("app-1", ANN, 22), "the interface's group stops them");
    let gate = planned(&place, &id, Some(&policy("22"))).await;
    let all = [names(&gate.shadows), names(&gate.defeated_by)].concat();
    assert!(!all.contains(&"HalfWay".to_owned()), "{gate:?}");
    place.put_rule("app-1-nsg", "TheRest", &allow);
    let gate = planned(&place, &id, Some(&policy("22"))).await;
    for name in ["HalfWay", "TheRest"] {
        assert!(names(&gate.defeated_by).contains(&name.to_owned()), "{name}: {gate:?}");
    }
}

/// What somebody made of a lock of ours lets people in until it is put back, and not after that.
#[tokio::test]
async fn a_lock_that_was_altered_is_shadowed_by_itself() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &policy("22")).await;
    let lock = place.ours()[0]["name"].as_str().expect("a name").to_owned();
    let open = json!({
        "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*", "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "*", "access": "Allow", "priority": 250, "direction": "Inbound",
    });
    place.put_rule("web-1-nsg", &lock, &open);
    let gate = planned(&place, &id, None).await;
    assert_eq!((names(&gate.shadows), gate.defeated_by), (vec![lock], vec![]));
    place.reconcile().await;
    assert!(!place.passes("web-1", OFFICE, 22));
}

/// Whoever comes through somebody else's NAT rule is shut out by our lock, until a lease opens the way from the
/// firewall.
#[tokio::test]
async fn a_nat_rule_in_front_defeats_the_lock_while_a_lease_is_open() {
    let place = AzurePlace::new(1);
    let id = place.id("vault-1");
    let gate = planned(&place, &id, Some(&policy("3389"))).await;
    let nat = ["management/rdp-to-vault-1 (while a lease is open)"];
    assert_eq!(names(&gate.defeated_by), nat, "{gate:?}");
    assert!(!gate.shadows.iter().any(|it| it.contains("rdp-to-vault-1")), "{gate:?}");
    place.guard(&id, &policy("3389")).await;
    assert!(!place.passes("vault-1", OFFICE, 3389));
    place.open("ann", &id, "3389", ANN).await;
    assert!(place.passes("vault-1", OFFICE, 3389));
    let gate = planned(&place, &id, None).await;
    assert_eq!(names(&gate.defeated_by), nat, "of one that is open, too: {gate:?}");
    // To another port it leads nowhere that is guarded.
    let gate = planned(&place, &place.id("vault-1"), Some(&policy("22"))).await;
    assert_eq!(names(&gate.defeated_by), [""; 0], "{gate:?}");
}

#[tokio::test]
async fn machine_that_microsofts_own_access_guards_too_is_enabled_with_the_command_that_takes_it_over() {
    let place = AzurePlace::new(1);
    for (machine, is_told) in [("jit-1", true), ("web-1", false)] {
        let enabled = place.enable(&place.id(machine), &policy("22")).await.expect("guarded");
        let hint = enabled.warnings.iter().any(|it| it.contains("`portcullis adopt`"));
        assert_eq!(hint, is_told, "{machine}: {enabled:?}");
    }
}
