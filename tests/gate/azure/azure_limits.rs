//! Azure's limits: long names, thousands of prefixes, and what is told where no more fit.

use portcullis_app::ports::{Batch, Store};
use portcullis_domain::{CLOSED_AT_ONCE_MAX, Grant, GrantId, GrantState, Lease, Sources, TargetId};
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE},
    given::{self, named},
};
use serde_json::{Value, json};

const LEASES: u32 = 3_000;
/// How many prefixes the rules of a security group have at most, all together.
const PREFIXES_MAX: u32 = 4_000;

/// Addresses of which no two make a range together.
fn scattered(count: u32) -> Vec<String> {
    (0..count).map(|n| std::net::Ipv4Addr::from_bits(0xC612_0000 + 2 * n).to_string()).collect()
}

fn sources(of: &[String]) -> Sources {
    of.to_vec().try_into().expect("valid")
}

fn ours_with_leases(place: &AzurePlace) -> Vec<Value> {
    place.ours().into_iter().filter(|it| it["properties"]["access"] == "Allow").collect()
}

#[tokio::test]
async fn names_of_ninety_characters_live_a_whole_life() {
    let (group, machine) = ("g".repeat(90), "m".repeat(64));
    let place = AzurePlace::new(1).changed(|snapshot| {
        let text = snapshot.to_string();
        let text = text.replace("/resourceGroups/demo", &format!("/resourceGroups/{group}"));
        let text = text.replace("/resourcegroups/demo", &format!("/resourcegroups/{group}"));
        let text = text.replace("virtualMachines/app-1\"", &format!("virtualMachines/{machine}\""));
        let text = text.replace("virtualmachines/app-1\"", &format!("virtualmachines/{machine}\""));
        *snapshot = serde_json::from_str(&text).expect("JSON");
        let all = snapshot["resources"].as_object_mut().expect("resources");
        let (_, it) = all.iter_mut().find(|(id, _)| id.ends_with(&machine)).expect("the machine");
        it["body"]["name"] = json!(machine);
    });
    let subscription = place.azure.cloud.subscription();
    let id = format!(
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.compute/virtualmachines/{machine}"
    );
    let id = named(&id);
    place.guard(&id, &given::ssh()).await;
    assert!(!place.passes(&machine, "203.0.113.9", 22));
    let grant = place.open("ann", &id, "22", "*").await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    let ours = portcullis_app::ports::Firewalls::ours(&place.outside).await.expect("listed");
    assert_eq!(ours.len(), 4, "a lock and an allow in either group");
    for group in ["app-subnet-nsg", "app-1-nsg"] {
        let path = place.azure.path("Microsoft.Network/networkSecurityGroups", &format!("/{group}"));
        let path = path.replace("/demo/", &format!("/{}/", "g".repeat(90)));
        let rules = place.azure.call("GET", &path, None).body["properties"]["securityRules"].clone();
        for rule in rules.as_array().expect("rules") {
            let (name, said) = (&rule["name"], &rule["properties"]["description"]);
            let length = |it: &Value| it.as_str().unwrap_or_default().chars().count();
            assert!(length(name) <= 80 && length(said) <= 140, "{rule:#}");
        }
    }
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
    assert!(!place.passes(&machine, "203.0.113.9", 22));
    place.disable(&id).await;
    assert_eq!(portcullis_app::ports::Firewalls::ours(&place.outside).await.expect("listed"), vec![]);
}

/// Three thousand people, each with a grant of their own, are one rule; they end at the same time.
#[tokio::test]
async fn three_thousand_leases_are_one_rule() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let (all, now) = (scattered(LEASES), place.now());
    let request = given::request("ann", "key", id.as_str(), now);
    let lease = Lease::starting(now, LEASE).expect("short");
    let grant = |(n, from): (usize, &String)| {
        let gate = (id.clone(), named("22/tcp"));
        Grant::approved(GrantId::derived(&request.id, n), &request, gate, named(from), lease)
    };
    // All in one commit: asking for each is another proof, and a slow one.
    let grants: Vec<Grant> = all.iter().enumerate().map(grant).collect();
    let (target, seen) = place.store.target(&id).await.expect("loads").expect("is there");
    let next = target.grant(grants.clone(), None, now);
    place.store.commit(Batch::of(next, seen)).await.expect("committed");
    place.expire().await;
    let allows = ours_with_leases(&place);
    assert_eq!(allows.len(), 1);
    let prefixes = allows[0]["properties"]["sourceAddressPrefixes"].as_array().map(Vec::len);
    assert_eq!(prefixes, Some(all.len()));
    for n in [0, 1, 1499, 2999] {
        assert!(place.passes("web-1", &all[n], 22), "{}", all[n]);
        assert_eq!(place.state(&grants[n].id).await, GrantState::Open);
    }
    assert!(!place.passes("web-1", "198.18.0.1", 22), "between two of them");
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(ours_with_leases(&place).len(), 0, "it is shut at once");
    // As many as a table takes at a time are written down as closed: the others are due until they are.
    for _ in 0..=all.len() / CLOSED_AT_ONCE_MAX {
        place.expire().await;
    }
    for n in [0, 1499, 2999] {
        assert_eq!(place.state(&grants[n].id).await, GrantState::Closed);
    }
}

/// A lease that is there: no person may ask for so many ranges.
async fn holding(place: &AzurePlace, id: &TargetId, sources: Sources) -> GrantId {
    let now = place.now();
    let request = given::request("ann", "most", id.as_str(), now);
    let lease = Lease::starting(now, LEASE).expect("short");
    let grant_id = GrantId::derived(&request.id, 1);
    let grant = Grant::approved(grant_id.clone(), &request, (id.clone(), named("22/tcp")), sources, lease);
    let (target, seen) = place.store.target(id).await.expect("loads").expect("is there");
    place.store.commit(Batch::of(target.grant(vec![grant], None, now), seen)).await.expect("committed");
    grant_id
}

/// What does not fit is refused before it is written, and the grant says why; whoever is in stays in.
#[tokio::test]
async fn a_prefix_too_many_is_refused_before_it_is_written() {
    let place = AzurePlace::new(1);
    let (one, two) = (place.id("farm-1"), place.id("farm-2"));
    place.guard(&one, &given::ssh()).await;
    place.guard(&two, &given::ssh()).await;
    // Two locks, and a rule of somebody else, have one each.
    let most = holding(&place, &one, sources(&scattered(PREFIXES_MAX - 4))).await;
    place.expire().await;
    assert_eq!(place.state(&most).await, GrantState::Open);
    let (before, calls) = (place.holdings(), place.azure.cloud.calls().len());
    let more =
        place.ask("bob", &two, "22", &sources(&["203.0.113.9", "203.0.113.77"].map(str::to_owned))).await;
    drop(place.try_expire().await);
    let told = place.grant(&more).await;
    assert_eq!(told.state(place.now()), GrantState::OpenFailed);
    assert_eq!(told.open_failed, None, "no rule is in the way");
    let why = told.refused.expect("told");
    assert!(why.contains("`4001` source prefixes: at most 4000"), "{why}");
    let calls = place.azure.cloud.calls().split_off(calls);
    assert!(!calls.iter().any(|it| it.method == "PUT"), "nothing was tried: {calls:?}");
    assert_eq!(place.holdings(), before, "nothing is half done");
    assert!(place.passes("farm-1", &scattered(1)[0], 22) && !place.passes("farm-2", "203.0.113.9", 22));
    // Once there is room, it opens by itself.
    place.close(&most).await;
    place.work(31).await;
    assert_eq!(place.state(&more).await, GrantState::Open);
    assert!(place.passes("farm-2", "203.0.113.9", 22));
}

/// Somebody else fills the group after an ask was granted: the growth is refused, and the lease that is over is shut.
#[tokio::test]
async fn a_growth_that_a_group_does_not_take_keeps_no_ended_lease_open() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let ended = place.open("ann", &id, "22", "203.0.113.9").await;
    place.pass(jiff::SignedDuration::from_mins(1));
    let kept = place.open("bob", &id, "22", "203.0.113.77").await;
    assert!(place.passes("web-1", "203.0.113.9", 22) && place.passes("web-1", "203.0.113.77", 22));
    let more = place.ask("ann", &id, "22", &sources(&scattered(500))).await;
    let theirs = json!({
        "access": "Deny", "priority": 4096, "direction": "Inbound", "protocol": "*", "sourcePortRange": "*",
        "destinationPortRange": "9", "destinationAddressPrefix": "*",
        "sourceAddressPrefixes": scattered(PREFIXES_MAX - 100),
    });
    place.put_rule("web-1-nsg", "theirs", &theirs);
    place.pass(LEASE - jiff::SignedDuration::from_mins(1));
    drop(place.try_expire().await);
    assert!(!place.passes("web-1", "203.0.113.9", 22), "its lease is over");
    assert_eq!(place.state(&ended).await, GrantState::Closed);
    assert!(place.passes("web-1", "203.0.113.77", 22), "and nobody else is cut");
    assert_eq!(place.state(&kept).await, GrantState::Open);
    assert_eq!(place.state(&more).await, GrantState::OpenFailed);
}
