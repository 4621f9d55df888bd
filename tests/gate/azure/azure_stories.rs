//! Seeded stories over the real adapter and the simulated Azure: several workers at once on machines that share
//! security groups, while writes are lost, doubled, refused, or land minutes late. However it went, once the
//! cloud is calm everybody with a lease gets in and nobody else does, and at the end every group is as it was.
//!
//! `AZURE_STORIES=n` tells more of them, `AZURE_STORY=seed` tells one.

use futures_util::{StreamExt as _, future::join_all, stream};
use jiff::SignedDuration;
use portcullis_domain::{GrantId, LOOK_AGAIN};
use portcullis_simcloud::{Fault, Faults, On, Planned};
use portcullis_tests::door;
use portcullis_tests::{
    azure_place::{AzurePlace, LEASE},
    given,
    stories::Dice,
};
use std::env;

/// How many stories are told.
const STORIES: u64 = 24;
/// How many are told at once: most of their time is waited.
const AT_ONCE: usize = 8;
/// How many things happen in a story.
const STEPS: usize = 14;
/// How many workers look for what is due at once.
const WORKERS: usize = 3;
/// Two that share their subnet's group, one behind two groups, one with two interfaces, one behind a firewall.
const MACHINES: [&str; 5] = ["farm-1", "farm-2", "app-1", "duo-1", "vault-1"];
const GUESTS: [&str; 3] = ["203.0.113.9", "198.51.100.0/24", "192.0.2.128/25"];
/// Somebody in each guest's range, and somebody who never has a lease.
const PASSERS: [&str; 3] = ["203.0.113.9", "198.51.100.77", "192.0.2.200"];
const STRANGER: &str = "100.1.2.3";
/// How late a write may land.
const LATE_MAX_MS: i64 = 90_000;
/// How long a calm cloud may take: until the last write has landed, the last look after one that was made by then,
/// and a few tries.
const CALM_SECS: i64 = 420;
const _: () = assert!(LATE_MAX_MS / 1000 + LOOK_AGAIN[1].as_secs() < CALM_SECS);
/// How much time passes at once at most, so that leases outlast the story and its calm.
const PASS_MAX_MS: i64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_faults_a_calm_cloud_is_as_the_leases_say() {
    let number = |name: &str| env::var(name).ok().map(|it| it.parse::<u64>().expect("a number"));
    let seeds: Vec<u64> = match number("AZURE_STORY") {
        Some(seed) => vec![seed],
        None => (0..number("AZURE_STORIES").unwrap_or(STORIES)).collect(),
    };
    stream::iter(seeds)
        .map(|seed| tokio::spawn(story(seed)))
        .buffer_unordered(AT_ONCE)
        .for_each(async |told| told.expect("the story holds"))
        .await;
}

async fn story(seed: u64) {
    let mut dice = Dice::of(seed);
    let place = AzurePlace::new(seed);
    let before = place.holdings();
    for name in MACHINES {
        place.guard(&place.id(name), &given::ssh()).await;
    }
    let mut asked: Vec<(usize, usize, GrantId)> = vec![];
    for _ in 0..STEPS {
        match dice.roll(6) {
            0 | 1 => {
                let (machine, guest) = (dice.index(MACHINES.len()), dice.index(GUESTS.len()));
                let (by, from) = (format!("guest-{guest}"), GUESTS[guest].parse().expect("a range"));
                let grant = place.ask(&by, &place.id(MACHINES[machine]), "22", &from).await;
                asked.push((machine, guest, grant));
            }
            2 if !asked.is_empty() => {
                let (_, _, grant) = &asked[dice.index(asked.len())];
                let by = given::person("owner");
                door::close(&place.store, grant, &by, None, place.now()).await.expect("closed");
            }
            3 => place.azure.cloud.plan(faults(&mut dice)),
            _ => place.pass(SignedDuration::from_millis(dice.below(PASS_MAX_MS))),
        }
        // What fails is tried again when it is due.
        join_all((0..WORKERS).map(|_| place.try_expire())).await;
    }
    calm(&place).await;
    for (at, name) in MACHINES.iter().enumerate() {
        for (guest, passer) in PASSERS.iter().enumerate() {
            let mut live = false;
            for (machine, of, grant) in &asked {
                if (*machine, *of) == (at, guest) {
                    live |= place.grant(grant).await.lease.is_live(place.now());
                }
            }
            assert_eq!(place.passes(name, passer, 22), live, "seed {seed}: {passer} to {name}");
        }
        assert!(!place.passes(name, STRANGER, 22), "seed {seed}: a stranger to {name}");
    }
    place.pass(LEASE);
    calm(&place).await;
    for (machine, _, grant) in &asked {
        let grant = place.grant(grant).await;
        assert!(
            grant.closed_at.is_some(),
            "seed {seed}: {} on {} is {grant:?}",
            grant.id,
            MACHINES[*machine]
        );
    }
    for name in MACHINES {
        assert!(PASSERS.iter().all(|it| !place.passes(name, it, 22)), "seed {seed}: {name} is shut");
        place.disable(&place.id(name)).await;
    }
    calm(&place).await;
    assert_eq!(place.holdings(), before, "seed {seed}: every group is as it was");
    let verified = portcullis_app::verify(&place.store).await.expect("verified");
    assert_eq!(verified.bad, vec![], "seed {seed}");
}

/// A few things that go wrong with the next writes and reads.
fn faults(dice: &mut Dice) -> Faults {
    let plan = |dice: &mut Dice| {
        let late = u32::try_from(dice.below(LATE_MAX_MS)).expect("short");
        let (on, fault) = match dice.roll(7) {
            0 => (On::Write, Fault::Throttled { retry_after_secs: 0 }),
            1 => (On::Write, Fault::AnotherOperation),
            2 => (On::Write, Fault::Unanswered { done: true }),
            3 => (On::Write, Fault::Unanswered { done: false }),
            4 => (On::Read, Fault::Broken),
            _ => (On::Write, Fault::Late { millis: late }),
        };
        Planned { on, skip: u32::try_from(dice.below(3)).expect("few"), times: 1, fault }
    };
    Faults {
        one_etag_per_group: dice.once_in(2),
        planned: (0..=dice.below(2)).map(|_| plan(dice)).collect(),
        ..Faults::quick()
    }
}

/// Nothing goes wrong any more, and time passes.
async fn calm(place: &AzurePlace) {
    place.azure.cloud.plan(Faults::quick());
    let mut left = CALM_SECS;
    while 0 < left {
        let step = if left % 30 == 0 { 30 } else { 1 };
        place.pass(SignedDuration::from_secs(step));
        drop(place.try_expire().await);
        left -= step;
    }
}
