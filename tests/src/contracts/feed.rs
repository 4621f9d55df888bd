//! The contract of the feed of a [`Store`]: entries of all chains by their time. Every function begins with an empty table.

use crate::given::{at, guarded};
use jiff::Timestamp;
use portcullis_app::ports::{Batch, FeedItem, PART_BYTES_MAX, Seen, Store};
use portcullis_domain::{Chain, Entry, Fact, Head, Target};
use std::collections::BTreeMap;

/// Every entry is in the feed once, whatever chain it stands in and however many are of one commit or of one time; items
/// come by their time, in pages of any length.
pub async fn every_entry_is_in_the_feed_once_by_its_time(store: &impl Store) {
    let mut all = vec![];
    for (n, second) in [9, 3, 3, 7, 3].into_iter().enumerate() {
        all.extend(guard(store, &format!("vm-{n}"), second).await.1);
    }
    let (target, entries) = guard(store, "vm-9", 5).await;
    all.extend(entries);
    all.extend(note(store, target, Seen::NEVER.next(), 3, 8).await);
    let rest = Head::default().append(&Chain::rest(), at(3), [Fact::DriftHealed, Fact::DriftHealed]).1;
    store.commit(Batch { rest: rest.clone(), ..Batch::default() }).await.expect("committed");
    all.extend(rest);
    all.sort_by_key(|it| (it.at, it.chain.clone(), it.n));
    for at_most in [1, 2, 3, 100] {
        let items = walk(store, at(0), at_most).await;
        assert!(items.is_sorted_by_key(|it| it.at), "pages of {at_most}: {items:?}");
        let mut read = recorded(store, &items).await;
        read.sort_by_key(|it| (it.at, it.chain.clone(), it.n));
        assert_eq!(read, all, "pages of {at_most}");
    }
}

/// The feed is read from a time on, its own moment included; it ends with a page that is not full.
pub async fn the_feed_is_read_from_a_time_on(store: &impl Store) {
    assert_eq!(store.feed(at(0), None, 10).await.expect("read"), vec![], "an empty table has none");
    for (name, second) in [("vm-1", 10), ("vm-2", 20), ("vm-3", 30)] {
        guard(store, name, second).await;
    }
    let times = async |since: Timestamp, at_most| {
        let items = store.feed(since, None, at_most).await.expect("read");
        items.into_iter().map(|it| it.at).collect::<Vec<_>>()
    };
    assert_eq!(times(at(20), 10).await, [at(20), at(30)]);
    let a_moment_later = Timestamp::from_nanosecond(at(20).as_nanosecond() + 1).expect("in range");
    assert_eq!(times(a_moment_later, 10).await, [at(30)]);
    assert_eq!(times(at(0), 2).await, [at(10), at(20)], "at most as many as asked for");
    assert_eq!(times(at(31), 10).await, []);
    let first = store.feed(at(0), None, 1).await.expect("read").pop().expect("one");
    let next = store.feed(at(25), Some(&first), 10).await.expect("read");
    assert_eq!(next.len(), 1, "what is before the time is not read, also where a page before ended earlier");
}

/// A page that ends in the middle of one time is gone on with there: nothing of that time is left out or read twice.
pub async fn a_page_of_the_feed_ends_in_the_middle_of_one_time(store: &impl Store) {
    const TARGETS: usize = 7;
    for n in 0..TARGETS {
        guard(store, &format!("vm-{n}"), 5).await;
    }
    let items = walk(store, at(5), 3).await;
    assert!(items.iter().all(|it| it.at == at(5)));
    let chains: BTreeMap<Chain, usize> = items.iter().fold(BTreeMap::new(), |mut all, it| {
        *all.entry(it.chain.clone()).or_default() += 1;
        all
    });
    assert_eq!(chains.len(), TARGETS);
    assert!(chains.values().all(|count| *count == 1), "{chains:?}");
    assert_eq!(walk(store, at(5), 3).await, items, "the order is always the same");
}

/// An entry that is written later than its time has its own place in the feed, before what was written earlier.
pub async fn what_is_written_late_has_its_own_time_in_the_feed(store: &impl Store) {
    let (target, _) = guard(store, "vm-1", 0).await;
    guard(store, "vm-2", 100).await;
    let before = store.feed(at(90), None, 10).await.expect("read");
    assert_eq!(before.len(), 1);
    let late = note(store, target, Seen::NEVER.next(), 1, 95).await;
    let after = store.feed(at(90), None, 10).await.expect("read");
    assert_eq!(after.iter().map(|it| it.at).collect::<Vec<_>>(), [at(95), at(100)]);
    assert_eq!(after[1..], before[..]);
    assert_eq!(recorded(store, &after[..1]).await, late);
}

/// Entries of the feed that are long together are read in parts, each of which is bounded in bytes.
pub async fn the_feed_is_read_in_parts_of_bounded_length(store: &impl Store) {
    const COMMITS: u64 = 12;
    const LONG: usize = PART_BYTES_MAX / 5;
    let (mut target, mut all) = guard(store, "vm-1", 0).await;
    for n in 0..COMMITS {
        let next = target.note(vec![Fact::SettleFailed { why: "x".repeat(LONG) }], at(1));
        target = next.target.clone();
        all.extend(next.entries.clone());
        store.commit(Batch::of(next, Seen(1 + n))).await.expect("committed");
    }
    let items = store.feed(at(0), None, 100).await.expect("read");
    let (mut read, mut parts, mut rest) = (vec![], 0, &items[..]);
    while !rest.is_empty() {
        let part = store.recorded(rest).await.expect("read");
        let length: usize = part.iter().flatten().map(|it| serde_json::to_vec(it).expect("JSON").len()).sum();
        assert!(length < 2 * PART_BYTES_MAX, "{length} bytes in one part");
        rest = &rest[part.len()..];
        read.extend(part.into_iter().flatten());
        parts += 1;
    }
    read.sort_by_key(|it| it.n);
    assert_eq!(read, all);
    assert!(1 < parts, "all of it came in one part");
}

/// Guards a machine at a second.
async fn guard(store: &impl Store, name: &str, second: i64) -> (Target, Vec<Entry>) {
    let next = guarded(name, at(second));
    let (target, entries) = (next.target.clone(), next.entries.clone());
    store.commit(Batch::of(next, Seen::NEVER)).await.expect("committed");
    (target, entries)
}

/// Records so many things of a machine at a second, in one commit.
async fn note(store: &impl Store, target: Target, seen: Seen, facts: usize, second: i64) -> Vec<Entry> {
    let why = |n: usize| Fact::SettleFailed { why: n.to_string() };
    let next = target.note((0..facts).map(why).collect(), at(second));
    let entries = next.entries.clone();
    store.commit(Batch::of(next, seen)).await.expect("committed");
    entries
}

/// The whole feed from a time on, a page at a time.
async fn walk(store: &impl Store, since: Timestamp, at_most: usize) -> Vec<FeedItem> {
    const PAGES_MAX: usize = 100;
    let mut all: Vec<FeedItem> = vec![];
    for _ in 0..PAGES_MAX {
        let page = store.feed(since, all.last(), at_most).await.expect("read");
        assert!(page.len() <= at_most, "at most as many as asked for");
        let is_end = page.len() < at_most;
        all.extend(page);
        if is_end {
            return all;
        }
    }
    panic!("the feed has no end");
}

async fn recorded(store: &impl Store, items: &[FeedItem]) -> Vec<Entry> {
    let (mut all, mut rest) = (vec![], items);
    while !rest.is_empty() {
        let part = store.recorded(rest).await.expect("read");
        assert!(!part.is_empty(), "one at least");
        rest = &rest[part.len()..];
        all.extend(part.into_iter().flatten());
    }
    all
}
