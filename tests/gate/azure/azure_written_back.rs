//! Another client reads a whole security group, changes its tags and writes all of it back without a condition, while ours is
//! written. It is healed by the next verification pass and told as drift, and what is over is never told closed while it stands.

use portcullis_domain::{Fact, GrantId, GrantState, LOOK_AGAIN, TargetId};
use portcullis_simcloud::{Fault, Faults, On, Planned};
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE},
    given,
};

const ANN: &str = "198.51.100.9";
const BOB: &str = "192.0.2.77";
/// How long the other client has what it read, in seconds.
const HELD_SECS: i64 = 10;
/// By when the first verification pass after a write has healed what it found, in seconds after the write.
const HEALED_SECS: i64 = LOOK_AGAIN[0].as_secs() + 1;

/// The next write is undone by what another client read before it, so many milliseconds after it was done.
fn written_back(place: &AzurePlace, millis: u32) {
    let planned = vec![Planned { on: On::Write, skip: 0, times: 1, fault: Fault::WrittenBack { millis } }];
    place.azure.cloud.plan(Faults { planned, ..Faults::quick() });
}

fn later(place: &AzurePlace) {
    written_back(place, u32::try_from(HELD_SECS * 1000).expect("short"));
}

/// From when to when it is so, in seconds from now, with whatever is due done every second.
async fn seconds_of(place: &AzurePlace, is_so: impl Fn() -> bool) -> Option<(i64, i64)> {
    let mut from = None;
    for second in 1..=LOOK_AGAIN[1].as_secs() {
        place.work(1).await;
        match (from, is_so()) {
            (None, true) => from = Some(second),
            (Some(from), false) => return Some((from, second)),
            (None, false) | (Some(_), true) => {}
        }
    }
    None
}

/// What is told of drift, each with the rules.
async fn drifts(place: &AzurePlace, id: &TargetId) -> Vec<Vec<String>> {
    let facts = place.facts(id).await.into_iter();
    let told = facts.filter_map(|it| {
        if let Fact::DriftFound { rules } = it {
            Some(rules)
        } else {
            (it == Fact::DriftHealed).then(Vec::new)
        }
    });
    told.collect()
}

fn assert_found_and_healed(told: &[Vec<String>], rule: &str) {
    let [found, healed] = told else { panic!("{told:?}") };
    assert!(matches!(&found[..], [one] if one.contains(rule)) && healed.is_empty(), "{told:?}");
}

async fn open(place: &AzurePlace, id: &TargetId) -> GrantId {
    let grant = place.open("ann", id, "22", ANN).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    // The looks after its writes are over: what is found later is found by those of the next write.
    place.work(LOOK_AGAIN[1].as_secs() + 1).await;
    grant
}

#[tokio::test]
async fn an_ended_lease_that_comes_back_is_shut_by_the_next_verification_pass() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let grant = open(&place, &id).await;
    later(&place);
    place.close(&grant).await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
    assert!(!place.passes("web-1", ANN, 22), "it is shut, and was seen to be");
    let back = seconds_of(&place, || place.passes("web-1", ANN, 22)).await;
    assert_eq!(
        back,
        Some((HELD_SECS, LOOK_AGAIN[0].as_secs())),
        "and comes back, until it is looked at again"
    );
    assert_found_and_healed(&drifts(&place, &id).await, "-tcp-22 in ");
    assert_eq!(place.ours().len(), 1, "the lock alone");
}

#[tokio::test]
async fn a_live_lease_that_goes_is_open_again_by_the_next_verification_pass() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    place.work(LOOK_AGAIN[1].as_secs() + 1).await;
    later(&place);
    let grant = place.open("ann", &id, "22", ANN).await;
    assert!(place.passes("web-1", ANN, 22));
    let cut = seconds_of(&place, || !place.passes("web-1", ANN, 22)).await;
    assert_eq!(cut, Some((HELD_SECS, LOOK_AGAIN[0].as_secs())));
    assert_found_and_healed(&drifts(&place, &id).await, "-tcp-22 in ");
    assert_eq!(place.state(&grant).await, GrantState::Open);
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
}

#[tokio::test]
async fn a_lock_that_goes_is_there_again_by_the_next_verification_pass() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    later(&place);
    place.guard(&id, &given::ssh()).await;
    assert!(!place.passes("web-1", BOB, 22));
    let open = seconds_of(&place, || place.passes("web-1", BOB, 22)).await;
    assert_eq!(open, Some((HELD_SECS, LOOK_AGAIN[0].as_secs())));
    assert_found_and_healed(&drifts(&place, &id).await, " in ");
}

/// A neighbour whose rules were not written meanwhile keeps them; one that was healed is not told of again.
#[tokio::test]
async fn what_a_neighbour_behind_the_same_group_was_written_meanwhile_is_healed_too() {
    let place = AzurePlace::new(1);
    let (one, other) = (place.id("farm-1"), place.id("farm-2"));
    for id in [&one, &other] {
        place.guard(id, &given::ssh()).await;
    }
    let grant = open(&place, &one).await;
    later(&place);
    place.close(&grant).await;
    place.pass(jiff::SignedDuration::from_secs(1));
    let theirs = place.open("bob", &other, "22", BOB).await;
    place.work(HELD_SECS).await;
    assert!(
        place.passes("farm-1", ANN, 22) && !place.passes("farm-2", BOB, 22),
        "all of it was written back"
    );
    place.work(HEALED_SECS - HELD_SECS).await;
    assert!(!place.passes("farm-1", ANN, 22) && place.passes("farm-2", BOB, 22), "both are healed");
    assert_eq!(place.state(&theirs).await, GrantState::Open);
    for id in [&one, &other] {
        assert_found_and_healed(&drifts(&place, id).await, "-tcp-22 in ");
    }
}

/// What was written back before our read-back is what that shows: the lease is not told closed, and is shut a second later.
#[tokio::test]
async fn an_ended_lease_that_is_back_before_our_read_back_is_told_closed_once_it_is_gone() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let grant = open(&place, &id).await;
    written_back(&place, 0);
    place.close(&grant).await;
    assert!(place.passes("web-1", ANN, 22));
    assert_ne!(place.state(&grant).await, GrantState::Closed, "it stands");
    let disagrees = |it: &Fact| matches!(it, Fact::ReadBack { agrees: false, .. });
    assert!(place.facts(&id).await.iter().any(disagrees), "{:#?}", place.facts(&id).await);
    place.work(2).await;
    assert!(!place.passes("web-1", ANN, 22));
    assert_eq!(place.state(&grant).await, GrantState::Closed);
}
