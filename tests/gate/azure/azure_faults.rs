//! What goes wrong in Azure, one kind at a time: every life ends shut, by the cloud's own oracle.

use jiff::SignedDuration;
use portcullis_azure::Role;
use portcullis_domain::{Fact, GrantState, TargetId};
use portcullis_simcloud::{
    Assignment, Fault, Faults, Lock, LockLevel, On, Permissions, Planned, Restrictions,
};
use portcullis_tests::door;
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE},
    given::{self, Still},
};
use serde_json::json;
use std::time::Instant;

const ANN: &str = "198.51.100.9";
/// The last look after a write, and a bit.
const LOOKS: [i64; 2] = [61, 241];
/// How long the simulated cloud asks a writer to wait that meets another operation.
const BUSY_SECS: u64 = 10;

/// Goes wrong now and then: with the first such call, and with one a bit later.
fn plan(place: &AzurePlace, on: On, fault: Fault) {
    let planned = [0, 2].map(|skip| Planned { on, skip, times: 1, fault });
    place.azure.cloud.plan(Faults { planned: planned.into(), ..Faults::quick() });
}

/// Settles now, and whenever the looks after a write come due.
async fn settle(place: &AzurePlace) {
    drop(place.try_expire().await);
    place.work(3).await;
    for seconds in LOOKS {
        place.pass(SignedDuration::from_secs(seconds));
        drop(place.try_expire().await);
        place.work(3).await;
    }
}

async fn life(place: &AzurePlace, id: &TargetId, machine: &str, on: On, fault: Fault) {
    let before = place.holdings();
    let told = format!("{machine} with {fault:?} on {on:?}");
    plan(place, on, fault);
    place.enable(id, &given::ssh()).await.unwrap_or_else(|error| panic!("{told}: {}", error.full()));
    settle(place).await;
    assert!(!place.passes(machine, ANN, 22), "{told}: locked");
    plan(place, on, fault);
    let grant = place.ask("ann", id, "22", &ANN.parse().expect("an address")).await;
    settle(place).await;
    assert_eq!(place.state(&grant).await, GrantState::Open, "{told}");
    assert!(place.passes(machine, ANN, 22) && !place.passes(machine, "198.51.100.10", 22), "{told}: open");
    plan(place, on, fault);
    place.pass(LEASE);
    settle(place).await;
    assert_eq!(place.state(&grant).await, GrantState::Closed, "{told}");
    assert!(!place.passes(machine, ANN, 22), "{told}: shut");
    door::disable(&place.store, &place.outside, id, &given::person("owner"), place.now())
        .await
        .unwrap_or_else(|error| panic!("{told}: {}", error.full()));
    settle(place).await;
    assert_eq!(place.holdings(), before, "{told}");
}

#[tokio::test]
async fn with_any_fault_every_lease_ends_closed() {
    for (on, fault) in [
        (On::Write, Fault::Throttled { retry_after_secs: 0 }),
        (On::Read, Fault::Throttled { retry_after_secs: 0 }),
        (On::Write, Fault::Unanswered { done: false }),
        (On::Write, Fault::Unanswered { done: true }),
        (On::Read, Fault::Unanswered { done: true }),
        (On::Write, Fault::Broken),
        (On::Read, Fault::Broken),
        (On::Write, Fault::Late { millis: 30_000 }),
    ] {
        let place = AzurePlace::new(1);
        life(&place, &place.id("app-1"), "app-1", on, fault).await;
    }
}

/// Azure says when to ask again, and it is waited for; by the clock on the wall, so all of them at once.
#[tokio::test]
async fn a_call_that_azure_postpones_is_repeated_when_azure_says() {
    let lives = [
        (On::Write, Fault::Throttled { retry_after_secs: 1 }, 1),
        (On::Read, Fault::Throttled { retry_after_secs: 1 }, 1),
        // Another process is at it, and done long before that.
        (On::Write, Fault::AnotherOperation, 0),
    ];
    let life = async |(on, fault, waits): (On, Fault, u64)| {
        let place = AzurePlace::new(1);
        let (id, before) = (place.id("app-1"), place.holdings());
        let told = format!("{fault:?} on {on:?}");
        place.guard(&id, &given::ssh()).await;
        let once = Planned { on, skip: 0, times: 1, fault };
        place.azure.cloud.plan(Faults { planned: vec![once], ..Faults::quick() });
        let began = Instant::now();
        let grant = place.open("ann", &id, "22", ANN).await;
        let waited = began.elapsed().as_secs();
        assert!(waits <= waited, "{told}: it was not waited for");
        assert!(waited < BUSY_SECS, "{told}: it was waited for longer than it takes");
        assert_eq!(place.state(&grant).await, GrantState::Open, "{told}");
        assert!(place.passes("app-1", ANN, 22) && !place.passes("app-1", "198.51.100.10", 22), "{told}");
        place.pass(LEASE);
        place.expire().await;
        assert!(!place.passes("app-1", ANN, 22), "{told}: shut");
        place.disable(&id).await;
        assert_eq!(place.holdings(), before, "{told}");
    };
    let [one, two, three] = lives.map(life);
    tokio::join!(one, two, three);
}

/// The leases of a machine that is gone go with it, and its lock once it is disabled; its neighbour's stay.
#[tokio::test]
async fn rules_of_a_machine_that_is_gone_go_with_it() {
    let place = AzurePlace::new(1);
    let (gone, stays) = (place.id("farm-1"), place.id("farm-2"));
    place.guard(&gone, &given::ssh()).await;
    place.guard(&stays, &given::ssh()).await;
    let grant = place.open("ann", &gone, "22", ANN).await;
    place.open("ann", &stays, "22", ANN).await;
    assert_eq!(place.ours().len(), 4);
    let place = place.changed(|snapshot| {
        let resources = snapshot["resources"].as_object_mut().expect("resources");
        resources.retain(|id, _| !id.ends_with("/farm-1") && !id.ends_with("/farm-1-nic"));
    });
    place.pass(LEASE);
    place.expire().await;
    place.reconcile().await;
    assert!(place.grant(&grant).await.closed_at.is_some(), "nobody gets in where nothing is");
    assert_eq!(place.ours().len(), 2, "both locks: a machine may be made anew: {:#?}", place.ours());
    place.disable(&gone).await;
    assert_eq!(place.ours().len(), 1, "the lock of the machine that is there: {:#?}", place.ours());
    assert!(!place.passes("farm-2", ANN, 22));
}

/// Resource Graph may be behind: who is not in its rows but answers when asked keeps its lock.
#[tokio::test]
async fn a_machine_that_only_the_list_misses_keeps_its_lock() {
    let place = AzurePlace::new(1);
    let id = place.id("farm-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    assert_eq!(place.ours().len(), 2);
    // Lists tell another id than the one under which it is found.
    let renamed = |name: &'static str| {
        move |snapshot: &mut serde_json::Value| {
            let resources = snapshot["resources"].as_object_mut().expect("resources");
            let found = resources.iter_mut().find(|(id, _)| id.ends_with("/virtualmachines/farm-1"));
            let body = &mut found.expect("farm-1").1["body"];
            let (rest, _) = body["id"].as_str().and_then(|it| it.rsplit_once('/')).expect("an id");
            body["id"] = json!(format!("{rest}/{name}"));
        }
    };
    let place = place.changed(renamed("farm-1-as-listed"));
    place.pass(LEASE);
    place.try_expire().await.expect_err("it is not where it was");
    let worker = place.worker();
    portcullis_app::reconcile(
        &place.store,
        &place.outside,
        &portcullis_app::Rights::default(),
        &worker,
        &Still(place.now()),
    )
    .await
    .expect_err("nor is it looked for anywhere else");
    assert_eq!(place.ours().len(), 2, "nothing is taken away: {:#?}", place.ours());
    assert!(!place.passes("farm-1", "198.51.100.10", 22), "it is locked");
    assert_eq!(place.state(&grant).await, GrantState::Closing, "and nobody says that it is shut for ann");
    let place = place.changed(renamed("farm-1"));
    place.work(61).await;
    assert!(!place.passes("farm-1", ANN, 22));
    assert_eq!((place.state(&grant).await, place.ours().len()), (GrantState::Closed, 1));
}

/// Who may no longer write cannot shut: that is said as often as it is so, and not only once it is over.
#[tokio::test]
async fn a_rule_that_cannot_be_closed_is_reported() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    let said = async || portcullis_app::overdue(&place.store, place.now()).await;
    said().await.expect("it is open by right");
    let reads = ["*/read", "Microsoft.ResourceGraph/resources/read"].map(str::to_owned).to_vec();
    place.azure.cloud.permit(Permissions { actions: Some(reads) });
    place.pass(LEASE);
    drop(place.try_expire().await);
    said().await.expect("closing may take its two seconds");
    place.pass(SignedDuration::from_secs(3));
    drop(place.try_expire().await);
    assert!(place.passes("web-1", ANN, 22));
    let late = said().await.expect_err("somebody still gets in").full();
    assert!(late.contains("1 leases are over") && late.contains(id.as_str()), "{late}");
    place.azure.cloud.permit(Permissions::default());
    place.pass(SignedDuration::from_secs(6));
    drop(place.try_expire().await);
    assert_eq!(place.state(&grant).await, GrantState::Closed);
    said().await.expect("it is shut");
}

/// What keeps rules from being deleted.
#[derive(Debug, Clone, Copy)]
enum Keeps {
    Lock,
    Policy,
    Role,
}

/// Lets rules be written, and not deleted; without anything, lets all be done.
fn keep(place: &AzurePlace, by: Option<Keeps>) {
    let cloud = &place.azure.cloud;
    let scope = format!("/subscriptions/{}/resourceGroups/demo", cloud.subscription());
    let name = "keep".to_owned();
    let (mut restrictions, mut permissions) = (Restrictions::default(), Permissions::default());
    match by {
        Some(Keeps::Lock) => {
            restrictions.locks.push(Lock { name, scope, level: LockLevel::CanNotDelete });
        }
        Some(Keeps::Policy) => restrictions.deny_delete.push(Assignment { name, scope }),
        Some(Keeps::Role) => {
            let actions = Role::guards().actions.into_iter();
            permissions.actions = Some(actions.filter(|it| !it.ends_with("securityRules/delete")).collect());
        }
        None => {}
    }
    cloud.restrict(restrictions);
    cloud.permit(permissions);
}

/// Allows of ours, and denies of ours that are no locks.
fn allows_and_over(place: &AzurePlace) -> (usize, usize) {
    let rules = place.ours();
    let count = |is_it: fn(&serde_json::Value) -> bool| rules.iter().filter(|it| is_it(it)).count();
    let is_over = |it: &serde_json::Value| {
        it["properties"]["description"].as_str().is_some_and(|it| it.starts_with("Portcullis: over."))
    };
    (count(|it| it["properties"]["access"] == "Allow"), count(is_over))
}

/// Where no rule may be deleted, one that is over is written over so that it speaks of nobody; it is no drift, opens again,
/// and goes once it may.
#[tokio::test]
async fn a_lease_ends_where_its_rule_may_not_be_deleted() {
    for by in [Keeps::Lock, Keeps::Policy, Keeps::Role] {
        let place = AzurePlace::new(1);
        let (id, before) = (place.id("app-1"), place.holdings());
        place.guard(&id, &given::ssh()).await;
        let grant = place.open("ann", &id, "22", ANN).await;
        assert_eq!(allows_and_over(&place), (2, 0), "one in either group");
        keep(&place, Some(by));
        place.pass(LEASE);
        place.expire().await;
        assert_eq!(place.state(&grant).await, GrantState::Closed, "{by:?}");
        assert!(!place.passes("app-1", ANN, 22), "{by:?}");
        assert_eq!(allows_and_over(&place), (0, 2), "{by:?}: {:#?}", place.ours());

        // Nothing is left to be done, however often anybody looks.
        let (held, writes) = (place.holdings(), writes(&place));
        for _ in 0..3 {
            place.pass(SignedDuration::from_secs(61));
            place.expire().await;
            place.reconcile().await;
        }
        assert_eq!(place.holdings(), held, "{by:?}");
        assert_eq!(self::writes(&place), writes, "{by:?}: nothing is tried again at once");
        let drift = |it: &Fact| matches!(it, Fact::DriftFound { .. });
        assert!(!place.facts(&id).await.iter().any(drift), "{by:?}");

        // A later lease of the gate takes its place.
        let again = place.open("bob", &id, "22", ANN).await;
        assert_eq!(place.state(&again).await, GrantState::Open, "{by:?}");
        assert!(place.passes("app-1", ANN, 22) && allows_and_over(&place) == (2, 0), "{by:?}");
        place.close(&again).await;
        assert_eq!(place.state(&again).await, GrantState::Closed, "{by:?}");
        assert_eq!(allows_and_over(&place), (0, 2), "{by:?}");

        // So does the lock, once it is no longer wanted: it keeps out nobody.
        place.disable(&id).await;
        assert_eq!(place.passes("app-1", ANN, 22), AzurePlace::new(1).passes("app-1", ANN, 22), "{by:?}");
        assert_eq!(allows_and_over(&place), (0, 6), "{by:?}, of either family: {:#?}", place.ours());
        keep(&place, None);
        place.pass(SignedDuration::from_mins(11));
        place.reconcile().await;
        assert_eq!(place.holdings(), before, "{by:?}: every group is as it was");
    }
}

/// A policy of the cloud, or a role, that refuses the write of an allow is another thing than a rule that keeps sources out, and
/// names who can change it.
#[tokio::test]
async fn allow_that_the_cloud_refuses_is_told_as_refused_with_who_can_change_that() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let scope = format!("/subscriptions/{}/resourceGroups/demo", place.azure.cloud.subscription());
    let deny_write = vec![Assignment { name: "no-open-ports".to_owned(), scope }];
    place.azure.cloud.restrict(Restrictions { deny_write, ..Restrictions::default() });
    let grant = place.ask("ann", &id, "22", &given::named(ANN)).await;
    drop(place.try_expire().await);
    let told = place.grant(&grant).await;
    assert_eq!((told.state(place.now()), &told.open_failed), (GrantState::OpenFailed, &None));
    let why = told.refused.expect("told");
    assert!(why.contains("`RequestDisallowedByPolicy`") && why.contains("no-open-ports"), "{why}");
    assert!(why.ends_with("(the owner of that Azure Policy can exempt the resource)"), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
    let is_told = |it: &Fact| matches!(it, Fact::OpenFailed { decided_by: None, refused: Some(_), .. });
    assert_eq!(place.facts(&id).await.iter().filter(|it| is_told(it)).count(), 1, "once");
    place.azure.cloud.restrict(Restrictions::default());
    place.work(31).await;
    assert_eq!(place.state(&grant).await, GrantState::Open, "by itself, once it may be written");
    assert_eq!(place.grant(&grant).await.refused, None);
}

/// How many writes were tried so far.
fn writes(place: &AzurePlace) -> usize {
    place.azure.cloud.calls().iter().filter(|it| it.method != "GET" && it.method != "POST").count()
}

/// A firewall is written as a whole, which no lock against deletion forbids.
#[tokio::test]
async fn a_lease_behind_a_firewall_ends_where_nothing_may_be_deleted() {
    let place = AzurePlace::new(1);
    let id = place.id("vault-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    keep(&place, Some(Keeps::Lock));
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
    let nat = place.ours().into_iter().filter(|it| it["translatedPort"].is_string()).count();
    assert_eq!(nat, 0, "{:#?}", place.ours());
}

#[tokio::test]
async fn a_refused_token_is_replaced_while_a_lease_ends() {
    let place = AzurePlace::new(1);
    let id = place.id("app-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    for claims in [None, Some("{\"access_token\":{}}".to_owned())] {
        place.azure.refuse_tokens(claims);
        place.pass(SignedDuration::from_secs(1));
        place.reconcile().await;
    }
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
    assert!(!place.passes("app-1", ANN, 22));
}
