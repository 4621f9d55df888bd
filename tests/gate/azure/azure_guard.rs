//! The life of a grant on each kind of machine of Azure, through the real use cases; by the cloud's own oracle.

use portcullis_app::ports::Store;
use portcullis_azure::Bounds;
use portcullis_domain::{Existing, Fact, GrantState, Policy, PortRule, TargetId, Terms};
use portcullis_tests::door;
use portcullis_tests::{
    azure::Azure,
    azure_place::{AzurePlace, LEASE},
    given::{self, named},
};
use serde_json::{Value, json};

/// The machines that can be guarded, and the port that each is managed through.
const MACHINES: [(&str, u16); 11] = [
    ("web-1", 22),
    ("build-1", 22),
    ("win-1", 3389),
    ("jit-1", 22),
    ("db-1", 22),
    ("app-1", 22),
    ("farm-1", 22),
    ("farm-2", 22),
    ("farm-3", 3389),
    ("duo-1", 22),
    ("vault-1", 3389),
];
/// Who has leases here, and who has none: on the Internet, beside ann, in the networks, the load balancer.
const ANN: &str = "198.51.100.9";
const BOB: &str = "192.0.2.77";
const STRANGERS: [&str; 7] =
    ["203.0.113.10", "198.51.100.10", "192.0.2.1", "10.1.2.3", "10.2.2.77", "192.168.1.1", "168.63.129.16"];

/// TCP to these ports, for anybody.
fn ports(of: &[u16]) -> Policy {
    let rules = of.iter().map(|it| PortRule::offered((*it).try_into().expect("a port"), named("tcp")));
    Policy::of(rules.collect(), &Terms::default()).expect("valid")
}

/// Who gets in, of ann, bob and the strangers.
fn who(place: &AzurePlace, machine: &str, port: u16) -> Vec<&'static str> {
    let all = [ANN, BOB].into_iter().chain(STRANGERS);
    all.filter(|from| place.passes(machine, from, port)).collect()
}

#[tokio::test]
async fn every_machine_is_shut_opened_for_one_shut_and_left_as_it_was() {
    let place = AzurePlace::new(1);
    alone(&place);
    let before = place.holdings();
    let mut opened = vec![];
    for (machine, port) in MACHINES {
        let id = place.id(machine);
        place.guard(&id, &ports(&[port])).await;
        assert_eq!(who(&place, machine, port), [""; 0], "{machine} is shut");
        let ann = place.open("ann", &id, &port.to_string(), ANN).await;
        assert_eq!(place.state(&ann).await, GrantState::Open, "{machine}: {:?}", place.facts(&id).await);
        assert_eq!(who(&place, machine, port), [ANN], "{machine} is open for ann");
        let bob = place.open("bob", &id, &port.to_string(), BOB).await;
        assert_eq!(who(&place, machine, port), [ANN, BOB], "{machine} is open for both");
        place.close(&ann).await;
        assert_eq!(who(&place, machine, port), [BOB], "{machine}: closing ann harms no neighbour");
        assert_eq!(place.state(&ann).await, GrantState::Closed, "{machine}");
        opened.push((machine, port, id, bob));
    }
    for (machine, port, _, _) in &opened {
        assert_eq!(who(&place, machine, *port), [BOB], "{machine}: nobody else's rules are cut");
    }
    place.pass(LEASE);
    place.expire().await;
    for (machine, port, id, bob) in &opened {
        assert_eq!(who(&place, machine, *port), [""; 0], "{machine} is shut on time");
        let late = place.facts(id).await.into_iter().find_map(|it| {
            let Fact::Closed { grant, late_ms, .. } = it else { return None };
            (grant == *bob).then_some(late_ms)
        });
        assert_eq!(late, Some(0), "{machine}");
    }
    assert!(!place.ours().is_empty());
    for (_, _, id, _) in &opened {
        place.disable(id).await;
    }
    assert_eq!(place.holdings(), before, "byte for byte, apart from etags");
    let verified = portcullis_app::verify(&place.store).await.expect("read");
    assert_eq!((verified.chains, verified.bad), (12, vec![]));
}

/// Takes away what defeats a lock for good: the allow of Microsoft's own access, which stands at the first
/// priority there is, and the NAT rule of somebody else, whose packets nobody can tell from those of a lease.
fn alone(place: &AzurePlace) {
    let group = place.azure.path("Microsoft.Network/networkSecurityGroups", "/jit-1-nsg");
    let group = place.azure.call("GET", &group, None).body;
    for rule in group["properties"]["securityRules"].as_array().expect("rules") {
        let name = rule["name"].as_str().expect("a name");
        place.azure.call("DELETE", &place.azure.rule("jit-1-nsg", name), None);
    }
    let path = place.azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    let mut wall = place.azure.call("GET", &path, None).body;
    wall["properties"]["natRuleCollections"] = json!([]);
    assert_eq!(place.azure.call("PUT", &path, Some(&wall)).status, 200);
}

/// A machine that is left alone while it is open is as it was too.
#[tokio::test]
async fn disabling_ends_what_is_open() {
    let place = AzurePlace::new(2);
    for (machine, port) in [("web-1", 22), ("vault-1", 3389), ("duo-1", 22)] {
        let (id, before) = (place.id(machine), place.holdings());
        let first = who(&place, machine, port);
        place.guard(&id, &ports(&[port])).await;
        let grant = place.open("ann", &id, &port.to_string(), ANN).await;
        assert_eq!(place.state(&grant).await, GrantState::Open, "{machine}");
        place.disable(&id).await;
        assert_eq!((place.holdings(), who(&place, machine, port)), (before, first), "{machine}");
        assert_eq!(place.state(&grant).await, GrantState::Closed, "{machine}");
    }
}

/// A machine of two families has two rules where Azure takes no two families in one.
#[tokio::test]
async fn both_families_are_shut_and_opened() {
    const V6: &str = "2001:db8::9";
    let place = AzurePlace::new(1);
    let (id, before) = (place.id("app-1"), place.holdings());
    place.guard(&id, &given::ssh()).await;
    assert!(!place.passes("app-1", V6, 22) && !place.passes("app-1", "fd00:1::77", 22));
    let grant = place.open("ann", &id, "22", V6).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(place.passes("app-1", V6, 22) && !place.passes("app-1", "2001:db8::a", 22));
    assert!(!place.passes("app-1", ANN, 22));
    let everybody = place.open("bob", &id, "22", "*").await;
    assert_eq!(place.state(&everybody).await, GrantState::Open, "{:#?}", place.facts(&id).await);
    assert!([V6, ANN, "2001:db8::a"].iter().all(|from| place.passes("app-1", from, 22)));
    place.close(&everybody).await;
    assert!(place.passes("app-1", V6, 22) && !place.passes("app-1", ANN, 22));
    place.disable(&id).await;
    assert_eq!(place.holdings(), before);
}

/// Nobody of a family that the machine has no address of can get there, and that is said.
#[tokio::test]
async fn a_lease_for_the_wrong_family_opens_nothing() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", "2001:db8::9").await;
    let grant = place.grant(&grant).await;
    assert_eq!(grant.state(place.now()), GrantState::OpenFailed);
    let by = "(the machine has no address of the family of these sources)";
    assert_eq!(grant.open_failed.as_deref(), Some(by));
    assert_eq!(place.ours().len(), 1, "the lock alone");
}

/// A rule of somebody above our bands.
fn foreign(access: &str, priority: u16, from: &str) -> Value {
    json!({
        "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": from,
        "destinationAddressPrefix": "*", "access": access, "priority": priority, "direction": "Inbound",
    })
}

/// Above our bands there are only those priorities that we leave to others.
fn lower() -> Bounds {
    let mut bounds = Bounds::with(Existing::Override);
    (bounds.bands.allows, bounds.bands.denies) = (1000..1100, 1100..1200);
    bounds
}

async fn defeated(place: &AzurePlace, id: &TargetId) -> Vec<Option<String>> {
    let facts = place.facts(id).await.into_iter();
    facts.filter_map(|it| if let Fact::LockDefeated { by, .. } = it { Some(by) } else { None }).collect()
}

#[tokio::test]
async fn a_lock_that_is_defeated_says_by_what() {
    let place = AzurePlace::on(Azure::new(1), lower());
    let id = place.id("web-1");
    place.put_rule("web-1-nsg", "Backdoor", &foreign("Allow", 500, "198.51.100.0/24"));
    place.guard(&id, &given::ssh()).await;
    assert!(place.passes("web-1", BOB, 22) && place.passes("web-1", ANN, 22), "SSH stands above, too");
    let told = defeated(&place, &id).await;
    let [Some(by)] = &told[..] else { panic!("{told:?}") };
    assert!(by.starts_with("SSH in /subscriptions/") && by.ends_with("/web-1-nsg"), "{by}");
    let seen = door::discover_one(&place.store, &place.outside, &id, place.now()).await.expect("seen");
    assert_eq!(seen.healthy, Some(false));
    assert!(seen.troubles.iter().any(|it| it.contains("is defeated by SSH in ")), "{:?}", seen.troubles);
    // Its owner takes one away, and then the other one.
    for (name, still) in [("SSH", Some("Backdoor in ")), ("Backdoor", None)] {
        place.azure.call("DELETE", &place.azure.rule("web-1-nsg", name), None);
        place.reconcile().await;
        let last = defeated(&place, &id).await.pop().expect("told");
        assert_eq!(last.is_some(), still.is_some(), "{last:?}");
        assert!(last.is_none_or(|it| it.starts_with(still.unwrap_or_default())));
    }
    assert_eq!(who(&place, "web-1", 22), [""; 0]);
}

#[tokio::test]
async fn a_lease_behind_a_foreign_deny_is_never_called_open() {
    let place = AzurePlace::on(Azure::new(1), lower());
    let id = place.id("build-1");
    place.guard(&id, &given::ssh()).await;
    place.put_rule("build-1-nsg", "Nobody-from-there", &foreign("Deny", 400, "203.0.113.0/24"));
    let grant = place.open("ann", &id, "22", "203.0.113.9").await;
    let told = place.grant(&grant).await;
    assert_eq!(told.state(place.now()), GrantState::OpenFailed);
    let by = told.open_failed.expect("told");
    assert!(by.starts_with("Nobody-from-there in /") && by.ends_with("/build-1-nsg"), "{by}");
    assert!(!place.passes("build-1", "203.0.113.9", 22));
    // Part of what was asked for gets in: it is not open either.
    let part = place.open("bob", &id, "22", "203.0.112.0/23").await;
    assert_eq!(place.state(&part).await, GrantState::OpenFailed);
    assert!(place.passes("build-1", "203.0.112.7", 22));
    let opened = |it: &Fact| matches!(it, Fact::Opened { .. });
    assert!(!place.facts(&id).await.iter().any(opened));
    // Whoever stands in the way goes: then it opens, by itself.
    place.azure.call("DELETE", &place.azure.rule("build-1-nsg", "Nobody-from-there"), None);
    place.work(31).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert_eq!(place.state(&part).await, GrantState::Open);
    place.pass(LEASE);
    place.expire().await;
    assert_eq!((place.state(&grant).await, who(&place, "build-1", 22)), (GrantState::Closed, vec![]));
}

/// What is said to be open is open, as far as anybody has looked: nobody waits in front of a port that somebody else has
/// shut since, and nobody else waits for that.
#[tokio::test]
async fn an_open_lease_that_a_foreign_rule_blocks_is_not_shown_as_open() {
    let place = AzurePlace::on(Azure::new(1), lower());
    let id = place.id("build-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", "203.0.113.9").await;
    let opened_at = place.grant(&grant).await.opened_at;
    assert_eq!((place.state(&grant).await, opened_at.is_some()), (GrantState::Open, true));
    place.put_rule("build-1-nsg", "Nobody-from-there", &foreign("Deny", 400, "203.0.113.0/24"));
    place.reconcile().await;
    let told = place.grant(&grant).await;
    let by = told.open_failed.clone().unwrap_or_default();
    assert_eq!(told.state(place.now()), GrantState::OpenFailed);
    assert!(by.starts_with("Nobody-from-there in /") && by.ends_with("/build-1-nsg"), "{by}");
    assert!(place.target(&id).await.is_settled(place.now()), "it is nothing that we could settle");
    // Somebody else is let in at once.
    let other = place.open("bob", &id, "22", BOB).await;
    assert_eq!(
        (place.state(&other).await, place.state(&grant).await),
        (GrantState::Open, GrantState::OpenFailed)
    );
    // It is told once, and once more when it is over: by the looks that there are anyway.
    place.reconcile().await;
    place.azure.call("DELETE", &place.azure.rule("build-1-nsg", "Nobody-from-there"), None);
    place.work(61).await;
    let told = place.grant(&grant).await;
    assert_eq!(
        (told.state(place.now()), told.open_failed, told.opened_at),
        (GrantState::Open, None, opened_at)
    );
    let entries = place.store.entries(&(&id).into(), 0, 1000).await.expect("listed");
    let of_grant = entries.iter().filter(|it| it.fact.grant() == Some(&grant));
    let events: Vec<&str> = of_grant.flat_map(portcullis_app::events).map(|it| it.kind).collect();
    assert_eq!(
        events,
        ["request.received", "request.approved", "grant.opened", "grant.open_failed", "grant.opened"]
    );
    assert_eq!(portcullis_app::verify(&place.store).await.expect("recomputed").bad, vec![]);
}

/// With `existing_rules = respect` a lock stands under what was there: those whom it admits pass, a plan and the
/// journal say so, and what we opened shuts all the same.
#[tokio::test]
async fn rules_that_were_there_are_respected_where_that_is_wanted() {
    let place = AzurePlace::on(Azure::new(1), Bounds::with(Existing::Respect));
    let (id, before) = (place.id("app-1"), place.holdings());
    // Everybody on the Internet passes the subnet's group, one office the interface's.
    let office = "203.0.113.10";
    assert!(place.passes("app-1", office, 22) && !place.passes("app-1", BOB, 22));
    let (policy, owner) = (given::ssh(), named("owner"));
    let plan = door::plan(&place.store, &place.outside, &id, Some(&policy), &owner, place.now()).await;
    let plan = plan.expect("planned");
    assert_eq!(plan.changes.len(), 2, "a lock in either group: {:?}", plan.changes);
    place.guard(&id, &given::ssh()).await;
    assert_eq!(who(&place, "app-1", 22), [office], "the office, and nobody else");
    let told = defeated(&place, &id).await;
    assert!(told.last().is_some_and(|it| it.as_ref().is_some_and(|it| it.contains("SSH"))), "{told:?}");
    let grant = place.open("bob", &id, "22", BOB).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(place.passes("app-1", BOB, 22));
    place.pass(LEASE);
    place.expire().await;
    assert_eq!((place.state(&grant).await, who(&place, "app-1", 22)), (GrantState::Closed, vec![office]));
    assert!(place.target(&id).await.is_settled(place.now()), "nothing is left to do");
    place.disable(&id).await;
    assert_eq!(place.holdings(), before);
}

/// A lock on three protocols of a machine of two families is six rules, and somebody's rule stands in our band:
/// it decides between no two of them. Where there is no room for all six above it, that is said.
#[tokio::test]
async fn no_other_rule_decides_between_the_parts_of_one() {
    let gates = [("22", "tcp"), ("3389", "udp"), ("443", "*")];
    let rules = gates.iter().map(|(port, protocol)| PortRule::offered(named(port), named(protocol)));
    let policy = Policy::of(rules.collect(), &Terms::default()).expect("valid");
    for (at, fits) in [(206, true), (213, true), (224, true), (226, true), (299, true), (203, false)] {
        let place = AzurePlace::new(1);
        let (id, before) = (place.id("app-1"), place.holdings());
        let mut intruder = foreign("Allow", at, "*");
        intruder["destinationPortRange"] = json!("*");
        let groups = ["app-1-nsg", "app-subnet-nsg"];
        for group in groups {
            place.put_rule(group, "Intruder", &intruder);
        }
        let with_it = place.holdings();
        place.enable(&id, &policy).await.expect("enabled");
        drop(place.try_expire().await);
        let is_shut = [ANN, "10.1.2.3", "2001:db8::9", "fd00:1::77"].iter().all(|from| {
            let udp = |port| portcullis_simcloud::Packet {
                from: named(from),
                protocol: portcullis_simcloud::PacketProtocol::Udp,
                port,
            };
            let passes = |packet| place.azure.cloud.passes("app-1", packet).expect("decided").passes;
            ![22, 443].iter().any(|port| place.passes("app-1", from, *port))
                && ![443, 3389].iter().any(|port| passes(udp(*port)))
        });
        let target = place.target(&id).await;
        assert_eq!((is_shut, target.misses() == 0), (fits, fits), "at {at}: {:#?}", place.ours());
        if !fits {
            let seen = door::discover_one(&place.store, &place.outside, &id, place.now()).await;
            let troubles = seen.expect("seen").troubles;
            assert!(troubles.iter().any(|it| it.contains("is defeated by Intruder in ")), "{troubles:?}");
        }
        place.disable(&id).await;
        assert_eq!(place.holdings(), with_it);
        for group in groups {
            place.azure.call("DELETE", &place.azure.rule(group, "Intruder"), None);
        }
        assert_eq!(place.holdings(), before);
    }
}

/// Who says that a machine must not be guarded any more has not said that its doors may stay open.
#[tokio::test]
async fn a_machine_that_becomes_unsupported_is_still_closed() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    let place = place.changed(|snapshot| {
        let resources = snapshot["resources"].as_object_mut().expect("resources");
        let (_, machine) =
            resources.iter_mut().find(|(id, _)| id.ends_with("/virtualmachines/web-1")).expect("it");
        machine["body"]["tags"] = json!({ "portcullis": "disabled" });
    });
    assert!(place.passes("web-1", ANN, 22));
    place.pass(LEASE);
    place.expire().await;
    assert!(place.grant(&grant).await.closed_at.is_some());
    assert!(!place.passes("web-1", ANN, 22), "its lock stays until somebody disables it");
    place.disable(&id).await;
    assert_eq!(place.ours(), Vec::<Value>::new());
}

/// What cannot be seen is not gone: a lock is not given up because a list was incomplete.
#[tokio::test]
async fn a_machine_that_cannot_be_read_keeps_its_lock() {
    for unseen in ["/networkinterfaces/web-1-nic", "/virtualnetworks/main-vnet"] {
        let place = AzurePlace::new(1);
        let id = place.id("web-1");
        place.guard(&id, &given::ssh()).await;
        let grant = place.open("ann", &id, "22", ANN).await;
        let mut taken = Value::Null;
        let place = place.changed(|snapshot| {
            let resources = snapshot["resources"].as_object_mut().expect("resources");
            let key = resources.keys().find(|it| it.ends_with(unseen)).expect("it").clone();
            taken = json!([key, resources.remove(&key)]);
        });
        place.pass(LEASE);
        assert!(place.try_expire().await.is_err(), "without {unseen} nobody can tell the ways to it");
        assert_eq!(place.ours().len(), 2, "without {unseen} nothing is deleted");
        assert!(place.grant(&grant).await.closed_at.is_none(), "nor said to be shut");
        let place = place.changed(|snapshot| {
            let key = taken[0].as_str().expect("a key").to_owned();
            snapshot["resources"].as_object_mut().expect("resources").insert(key, taken[1].take());
        });
        place.pass(jiff::SignedDuration::from_mins(1));
        place.expire().await;
        assert!(place.grant(&grant).await.closed_at.is_some());
        assert!(!place.passes("web-1", ANN, 22));
    }
}

/// Whoever gets a machine's address behind the group that it was taken from would get in by its rules.
#[tokio::test]
async fn rules_in_a_group_that_a_machine_has_left_are_taken_away() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    place.open("ann", &id, "22", ANN).await;
    let place = place.changed(|snapshot| {
        let resources = snapshot["resources"].as_object_mut().expect("resources");
        let id = |end: &str| {
            resources.values().find_map(|it| {
                it["body"]["id"]
                    .as_str()
                    .filter(|it| it.to_ascii_lowercase().ends_with(end))
                    .map(str::to_owned)
            })
        };
        let group = id("/networksecuritygroups/win-1-nsg").expect("a group");
        let (_, nic) = resources.iter_mut().find(|(id, _)| id.ends_with("/web-1-nic")).expect("it");
        nic["body"]["properties"]["networkSecurityGroup"]["id"] = json!(group);
    });
    assert!(place.passes("web-1", STRANGERS[0], 3389), "nothing of ours is there");
    place.reconcile().await;
    place.reconcile().await;
    assert!(place.passes("web-1", ANN, 22) && !place.passes("web-1", STRANGERS[0], 22));
    let group = place.azure.call(
        "GET",
        &place.azure.path("Microsoft.Network/networkSecurityGroups", "/web-1-nsg"),
        None,
    );
    assert!(!group.body.to_string().contains("Portcullis-"), "{}", group.body);
}
