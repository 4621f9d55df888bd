//! Many workers on many machines behind one security group: nobody's rule is lost, nobody's neighbour is
//! harmed, and no two rules stand at one priority.

use futures_util::future::join_all;
use jiff::SignedDuration;
use portcullis_app as app;
use portcullis_azure::{Azure as Adapter, Bounds};
use portcullis_domain::{Existing, GrantId, GrantState, TargetId};
use portcullis_simcloud::{Faults, Simcloud};
use portcullis_tests::door;
use portcullis_tests::{
    azure::Azure,
    azure_place::{AzurePlace, LEASE},
    given::{self, named},
};
use std::{collections::BTreeSet, sync::Mutex};

const WORKERS: usize = 20;
const MACHINES: usize = 50;
/// How often what is due is looked for until all is done: a worker leaves to the next what others keep busy.
const ROUNDS_MAX: usize = 40;
const PRIORITIES_MAX: u16 = 4096;

fn bounds(allows: std::ops::Range<u16>, denies: std::ops::Range<u16>) -> Bounds {
    let mut bounds = Bounds::with(Existing::Override);
    (bounds.bands.allows, bounds.bands.denies) = (allows, denies);
    bounds
}

fn farm(machines: usize, bounds: Bounds) -> AzurePlace {
    let machines = u16::try_from(machines).expect("few");
    AzurePlace::on(Azure::with(|clock| Simcloud::farm(5, clock, 1, machines)), bounds)
}

fn name(n: usize) -> String {
    format!("vm-{n:03}")
}

/// Somebody of their own for each machine.
fn guest(n: usize) -> String {
    format!("203.0.113.{n}")
}

/// Each worker takes one machine after the other. Those with an adapter of their own, as functions have them,
/// share the table and the cloud and nothing else.
async fn settle_all(place: &AzurePlace, adapters: &[Adapter], ids: &[TargetId]) {
    for _ in 0..ROUNDS_MAX {
        let queue = Mutex::new(ids.to_vec());
        join_all((0..WORKERS).map(async |n| {
            let adapter = &adapters[n % adapters.len()];
            loop {
                let next = queue.lock().expect("not poisoned").pop();
                let Some(id) = next else { return };
                drop(app::settle(&place.store, adapter, &id, &place.worker(), place.now()).await);
            }
        }))
        .await;
        assert_no_clash(place);
        let mut rest = 0;
        for id in ids {
            rest += usize::from(!place.target(id).await.is_settled(place.now()));
        }
        if rest == 0 {
            return;
        }
        place.pass(SignedDuration::from_secs(1));
    }
    panic!("not settled after {ROUNDS_MAX} rounds");
}

fn assert_no_clash(place: &AzurePlace) {
    let ours = place.ours();
    let priorities: BTreeSet<u64> =
        ours.iter().filter_map(|it| it["properties"]["priority"].as_u64()).collect();
    assert_eq!(priorities.len(), ours.len(), "no two rules have one priority");
}

/// Who should pass to which machine, and nobody else, by the cloud's truth.
fn assert_only(place: &AzurePlace, machines: usize, open: impl Fn(usize) -> bool, when: &str) {
    for n in 0..machines {
        let passes = |guest: &str| place.passes(&name(n), guest, 22);
        assert_eq!(passes(&guest(n)), open(n), "{} for its guest, {when}", name(n));
        let others = [guest((n + 1) % machines), "10.0.0.77".to_owned(), "192.0.2.1".to_owned()];
        for other in others {
            assert!(!passes(&other), "{} for {other}, {when}", name(n));
        }
    }
}

/// A day of these workers on these machines; they have this many adapters between them.
async fn together(place: &AzurePlace, machines: usize, adapters: usize, faults: Faults) {
    let before = place.holdings();
    place.azure.cloud.plan(faults);
    let adapters: Vec<Adapter> =
        (0..adapters).map(|_| place.azure.guarded_within(place.bounds().clone())).collect();
    let ids: Vec<TargetId> = (0..machines).map(|n| place.id(&name(n))).collect();
    for id in &ids {
        place.enable(id, &given::ssh()).await.unwrap_or_else(|error| panic!("{}", error.full()));
    }
    settle_all(place, &adapters, &ids).await;
    assert_only(place, machines, |_| false, "guarded");
    let mut grants: Vec<GrantId> = vec![];
    for (n, id) in ids.iter().enumerate() {
        grants.push(place.ask(&format!("guest-{n}"), id, "22", &named(&guest(n))).await);
    }
    settle_all(place, &adapters, &ids).await;
    assert_only(place, machines, |_| true, "open");
    // Half of them close, while a few of the others are asked for again, from elsewhere.
    for (_, grant) in grants.iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        door::close(&place.store, grant, &named("owner"), None, place.now()).await.expect("closed");
    }
    for (n, id) in ids.iter().enumerate().filter(|(n, _)| n % 4 == 1) {
        place.ask(&format!("friend-{n}"), id, "22", &named("198.51.100.200")).await;
    }
    settle_all(place, &adapters, &ids).await;
    assert_only(place, machines, |n| n % 2 == 1, "half of them closed");
    for n in 0..machines {
        assert_eq!(place.passes(&name(n), "198.51.100.200", 22), n % 4 == 1, "{}", name(n));
    }
    place.pass(LEASE);
    settle_all(place, &adapters, &ids).await;
    assert_only(place, machines, |_| false, "over");
    for grant in &grants {
        assert_eq!(place.state(grant).await, GrantState::Closed);
    }
    assert_eq!(place.ours().len(), machines, "their locks");
    for id in &ids {
        door::disable(&place.store, &place.outside, id, &named("owner"), place.now())
            .await
            .expect("disabled");
    }
    settle_all(place, &adapters, &ids).await;
    assert_eq!(place.holdings(), before, "as it was");
    assert_eq!(app::verify(&place.store).await.expect("read").bad, vec![]);
}

fn at_once() -> Faults {
    Faults::quick()
}

/// Where all rules of a group have its etag, every write changes what everybody else has read.
#[tokio::test]
async fn with_one_etag_for_all() {
    let faults = Faults { one_etag_per_group: true, ..at_once() };
    together(&farm(MACHINES, bounds(100..1000, 1000..2000)), MACHINES, WORKERS, faults).await;
}

/// As many priorities as rules: whoever looks at the same time wants the same ones.
#[tokio::test]
async fn with_as_many_priorities_as_rules() {
    let machines = u16::try_from(MACHINES).expect("few");
    let (first, last) = (PRIORITIES_MAX - 2 * machines, PRIORITIES_MAX - machines);
    let place = farm(MACHINES, bounds(first..last, last..PRIORITIES_MAX));
    together(&place, MACHINES, WORKERS, at_once()).await;
}
