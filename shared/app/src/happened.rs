//! Events for readers: the entries of all chains, by their time.

use crate::{
    Error, Event, Reached, events,
    export::first_since,
    ports::{FeedItem, Store},
    reached::NAMED_MAX,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{CLAIM, Chain, CorrelationId, Entry, RequestId};
use std::collections::BTreeMap;

/// How many entries are told at a time, and how long they are together, in bytes as JSON: more only where they are of one
/// time, since whoever asks for what is next may ask by time.
const TOLD_MAX: usize = 1_000;
const TOLD_BYTES_MAX: usize = 4 << 20;
/// How many chains, or items of the feed, are read at a time.
const PAGE: usize = 200;
/// How many chains are looked at at once.
const AT_ONCE_MAX: usize = 16;
/// How far back a reader looks again who asks for what is next: an entry may be written as late after its time as a
/// worker lives, by a clock that differs.
const OVERLAP: SignedDuration = CLAIM;

/// A part of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The oldest first.
    pub events: Vec<Event>,
    /// Since when to ask for what is next. Some events are told again then: they have the same ids.
    pub next: Timestamp,
    /// How far this part goes, to go on from there. What it tells is not told again.
    pub reached: Reached,
    /// Is there more already?
    pub more: bool,
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only the events of what was asked with this correlation id.
    pub correlation: Option<CorrelationId>,
    /// Only the events of this request and of its grants.
    pub request: Option<RequestId>,
}

impl Wanted {
    fn has(&self, event: &Event) -> bool {
        let Self { correlation, request } = self;
        correlation.as_ref().is_none_or(|it| event.detail.correlation_id.as_ref() == Some(it))
            && request.as_ref().is_none_or(|it| event.detail.request.as_ref() == Some(it))
    }
}

/// The events that a reader has not been told of, the oldest first. Where there are none that costs the same, however many
/// chains there are.
pub(crate) async fn happened(
    store: &impl Store,
    from: &Reached,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Happened, Error> {
    let since = from.since();
    let Part { read, entries, cut: more } = if since < store.feed_begins().await? {
        of_chains(store, from).await?
    } else {
        of_feed(store, from).await?
    };
    let looked_back = now.checked_sub(OVERLAP).unwrap_or(since).max(since);
    let (next, reached) = match read.last() {
        // From there on, so that nothing of the same time is left out.
        Some(newest) if more => {
            let since = newest.at.min(looked_back);
            let is_named = read.iter().filter(|it| since <= it.at).count() <= NAMED_MAX;
            (newest.at, from.to(if is_named { since } else { newest.at }, &read, true))
        }
        Some(_) | None => (looked_back, from.to(looked_back, &read, false)),
    };
    let events = entries.iter().flat_map(events).filter(|it| wanted.has(it)).collect();
    Ok(Happened { events, next, reached, more })
}

/// The entries of a part.
#[derive(Debug, Default)]
struct Part {
    /// Everything that was read for it, also what the reader was told of before.
    read: Vec<FeedItem>,
    /// What the reader is told.
    entries: Vec<Entry>,
    /// Are there later ones, which were left out?
    cut: bool,
}

/// From the feed.
async fn of_feed(store: &impl Store, from: &Reached) -> Result<Part, Error> {
    let (mut part, mut bytes, mut newest) = (Part::default(), 0, from.since());
    loop {
        let items = store.feed(from.since(), part.read.last(), PAGE).await?;
        let is_end = items.len() < PAGE;
        let news: Vec<FeedItem> = items.iter().filter(|it| !from.has(it)).cloned().collect();
        let (mut loaded, mut unread) = (vec![].into_iter(), &news[..]);
        for item in items {
            if from.has(&item) {
                part.read.push(item);
                continue;
            }
            let is_full = TOLD_MAX <= part.entries.len() || TOLD_BYTES_MAX <= bytes;
            // Without an entry that is later than what was asked for, the next answer would be this one.
            if is_full && from.since() < newest {
                part.cut = true;
                return Ok(part);
            }
            if loaded.len() == 0 {
                let next = store.recorded(unread).await?;
                unread = unread.get(next.len()..).unwrap_or_default();
                loaded = next.into_iter();
            }
            let together = loaded.next().unwrap_or_default();
            bytes += together.iter().map(length).sum::<usize>();
            newest = item.at;
            part.entries.extend(together);
            part.read.push(item);
        }
        if is_end {
            return Ok(part);
        }
    }
}

/// From every chain: a table that is older than its feed has the entries of then there alone. Where there is nothing new
/// that costs one read for each chain.
async fn of_chains(store: &impl Store, from: &Reached) -> Result<Part, Error> {
    let since = from.since();
    let mut found = Found { entries: BTreeMap::new(), bytes: 0, since, cut: false };
    let mut after = None::<Chain>;
    loop {
        let chains = store.chains(after.as_ref(), PAGE).await?;
        let Some(last) = chains.last() else { break };
        after = Some(last.clone());
        let news = stream::iter(chains).map(|chain| of_chain(store, chain, since));
        let mut news = news.buffered(AT_ONCE_MAX);
        while let Some((entries, is_all)) = news.try_next().await? {
            found.add(entries, is_all);
        }
    }
    let mut part = Part { cut: found.cut, ..Part::default() };
    for ((at, chain, last), (entry, _)) in found.entries {
        let item = FeedItem { at, chain, last };
        if !from.has(&item) {
            part.entries.push(entry);
        }
        part.read.push(item);
    }
    Ok(part)
}

/// How long an entry is. What cannot be written as JSON was not read from it.
fn length(entry: &Entry) -> usize {
    serde_json::to_vec(entry).map_or(0, |it| it.len())
}

/// Entries of all chains, the oldest of them.
struct Found {
    /// By their time, each with its length.
    entries: BTreeMap<(Timestamp, Chain, u64), (Entry, usize)>,
    bytes: usize,
    since: Timestamp,
    /// Are there later ones, which were left out?
    cut: bool,
}

impl Found {
    /// Takes the entries of a chain, and says whether those are all that it has.
    fn add(&mut self, entries: Vec<Entry>, is_all: bool) {
        let last = entries.last().map(|it| it.at);
        for entry in entries {
            let length = length(&entry);
            self.bytes += length;
            self.entries.insert((entry.at, entry.chain.clone(), entry.n), (entry, length));
        }
        // Later than that this chain has some which were not read.
        while let Some(last) = last.filter(|_| !is_all)
            && self.newest().is_some_and(|newest| last < newest)
        {
            self.pop();
        }
        self.cut |= !is_all;
        while TOLD_MAX < self.entries.len() || TOLD_BYTES_MAX < self.bytes {
            // Without an entry that is later than what was asked for, the next answer would be this one.
            let before = self.entries.keys().nth_back(1).map(|(at, _, _)| *at);
            if before.is_none_or(|before| before <= self.since) {
                return;
            }
            self.pop();
        }
    }

    fn newest(&self) -> Option<Timestamp> {
        self.entries.last_key_value().map(|((at, _, _), _)| *at)
    }

    fn pop(&mut self) {
        if let Some((_, (_, length))) = self.entries.pop_last() {
            self.bytes -= length;
            self.cut = true;
        }
    }
}

/// As many entries of a chain as are told at a time, and whether there are no more. At least one of them is later than
/// what was asked for, if there is one.
async fn of_chain(store: &impl Store, chain: Chain, since: Timestamp) -> Result<(Vec<Entry>, bool), Error> {
    let last = store.last(&chain).await?;
    // No entry before it is later than that by more than clocks differ.
    let is_old = |it: &Entry| it.at.saturating_add(OVERLAP).is_ok_and(|latest| latest < since);
    let Some(last) = last.filter(|it| !is_old(it)) else { return Ok((vec![], true)) };
    let mut next = first_since(store, &chain, since).await?;
    let mut entries: Vec<Entry> = vec![];
    while next <= last.n {
        let part = store.entries(&chain, next, TOLD_MAX + 1).await?;
        let Some(newest) = part.last() else { break };
        next = newest.n + 1;
        let is_later = since < newest.at;
        entries.extend(part.into_iter().filter(|it| since <= it.at));
        if is_later {
            break;
        }
    }
    Ok((entries, last.n < next))
}
