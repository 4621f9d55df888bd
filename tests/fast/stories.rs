//! Thousands of seeded stories in every weather. What they must never break has the names of the rules
//! in the design; see [`portcullis_tests::stories`] for how to tell more of them, or just one.

use portcullis_tests::stories::{Ending, Plot, Weather};
use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// How many seeds `cargo test` tells; the gate tells 9,500.
const SEEDS: u64 = 500;
/// What must have happened over so many seeds, or they prove nothing.
const ENOUGH_SEEDS: u64 = 1_000;
const SOMETIMES: [&str; 77] = [
    "approved by somebody",
    "ask was not stored",
    "approved",
    "bot was answered",
    "bot was refused",
    "bot's event lost",
    "call lost",
    "claim taken over",
    "clock set back",
    "clock set forward",
    "clock stands still",
    "clock was seen to be set",
    "closed",
    "commit lost the race",
    "credential refused",
    "dead letter",
    "decision refused",
    "deleted too late",
    "deletion refused",
    "delivered again",
    "disabled",
    "drift found",
    "drift healed",
    "edited",
    "enabled",
    "end was not acknowledged",
    "ended early",
    "told to come back",
    "told to end soon",
    "etag was stale",
    "event hopeless",
    "event lost",
    "event not taken",
    "event refused",
    "extended at the very end",
    "extended",
    "firewall out of order",
    "foreign rule above ours",
    "glass broken",
    "group written back",
    "growth refused",
    "host slept",
    "lapsed",
    "lease lost its right",
    "lease over beside a refused growth",
    "lock defeated",
    "lock holds again",
    "meddled",
    "message failed",
    "needs approval",
    "nobody relays",
    "nothing was stored",
    "open again",
    "open failed",
    "open, and kept out",
    "opened",
    "orphan deleted",
    "priority clashed",
    "published, and not heard",
    "read-back disagreed, or none",
    "refused",
    "rejected",
    "relayed again",
    "role revoked",
    "rule that was over deleted",
    "rule that was over lets in again",
    "rule written over",
    "settle failed",
    "stored in memory",
    "told twice",
    "told",
    "trial confirmed",
    "trial reverted",
    "worker died",
    "worker gave up",
    "worker starved",
    "write landed late",
];

/// What happens in one of so many stories of a weather, which would else be another one's.
const OFTEN: [(Weather, &str, u64); 6] = [
    (Weather::ClockSet, "clock set back", 1),
    (Weather::ClockSet, "clock stands still", 1),
    (Weather::DeletionRefused, "rule written over", 2),
    (Weather::Limited, "lease over beside a refused growth", 4),
    (Weather::Paced, "told to come back", 10),
    (Weather::WrittenBack, "drift healed", 1),
];

#[test]
fn stories() {
    if let Some(seed) = number("STORIES_SEED") {
        let ending = Plot::of(seed).tell();
        ending.story.iter().for_each(|line| println!("{line}"));
        println!("{:?}", ending.counts);
        return assert!(ending.broken.is_none(), "seed {seed} breaks {:?}", ending.broken);
    }
    let seeds = number("STORIES_SEEDS").unwrap_or(SEEDS);
    let only = env::var("STORIES_WEATHER").ok();
    let told = tell_all(seeds, only.as_deref());
    for (weather, counts) in &told.counts {
        println!("{weather:?}: {counts:?}");
    }
    if let Some(first) = told.broken.iter().min_by_key(|it| it.plot.seed) {
        let seed = first.plot.seed;
        Plot::of(seed).tell().story.iter().for_each(|line| println!("{line}"));
        let broken = first.broken.as_ref().expect("it is broken");
        println!(
            "to tell it again: STORIES_SEED={seed} cargo test --workspace --test fast -- --nocapture stories::stories"
        );
        panic!("seed {seed} ({:?}) breaks {}: {}", first.plot.weather, broken.rule, broken.how);
    }
    if only.is_some() {
        return;
    }
    let happened = |what: &&str| told.counts.values().any(|counts| counts.contains_key(what));
    let never: Vec<_> = SOMETIMES.iter().filter(|what| !happened(what)).collect();
    assert!(seeds < ENOUGH_SEEDS || never.is_empty(), "in {seeds} stories never happened: {never:?}");
    let each = seeds / Weather::ALL.len() as u64;
    for (weather, what, one_in) in OFTEN {
        let times = told.counts.get(&weather).and_then(|it| it.get(what)).copied().unwrap_or(0);
        assert!(
            seeds < ENOUGH_SEEDS || each <= one_in * times,
            "{what}: {times} times in {each} stories of {weather:?}"
        );
    }
}

/// The same seed is the same story: whatever decides is in it.
#[test]
fn a_seed_is_a_story() {
    for seed in 0..2 * Weather::ALL.len() as u64 {
        let (one, two) = (Plot::of(seed).tell(), Plot::of(seed).tell());
        assert_eq!(one.story, two.story, "seed {seed}");
        assert_eq!(one.counts, Plot::of(seed).play().counts, "seed {seed}");
    }
}

#[derive(Default)]
struct Told {
    counts: BTreeMap<Weather, BTreeMap<&'static str, u64>>,
    broken: Vec<Ending>,
}

/// All seeds, or those of one weather, on every core, until one is broken.
fn tell_all(seeds: u64, only: Option<&str>) -> Told {
    let (next, told, is_over) = (AtomicU64::new(0), Mutex::new(Told::default()), AtomicBool::new(false));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seeds <= seed || is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let plot = Plot::of(seed);
                    if only.is_some_and(|only| format!("{:?}", plot.weather) != only) {
                        continue;
                    }
                    let ending = plot.play();
                    let mut told = told.lock().expect("no panic");
                    let counts = told.counts.entry(ending.plot.weather).or_default();
                    for (what, count) in &ending.counts {
                        *counts.entry(what).or_default() += count;
                    }
                    if ending.broken.is_some() {
                        is_over.store(true, Ordering::Relaxed);
                        told.broken.push(ending);
                    }
                }
            });
        }
    });
    told.into_inner().expect("no panic")
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}
