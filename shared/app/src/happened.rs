//! What happened, for whoever listens: every chain's entries, by their time.

use crate::{Error, Event, events, export::first_since, ports::Store};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{CLAIM, Chain, CorrelationId, Entry};
use std::collections::BTreeMap;

/// How many entries are told at a time, and how long they are together, in bytes as JSON: more only where they are of one
/// time, since whoever asks for what is next asks by time.
const TOLD_MAX: usize = 1_000;
const TOLD_BYTES_MAX: usize = 4 << 20;
/// How many chains are read at a time.
const PAGE: usize = 200;
/// How many chains are looked at at once.
const AT_ONCE_MAX: usize = 16;
/// How much is told again to whoever asks for what is next: an entry may be written as late after its time as a
/// worker lives, by a clock that differs.
const OVERLAP: SignedDuration = CLAIM;

/// A part of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The oldest first.
    pub events: Vec<Event>,
    /// Since when to ask for what is next. Some events are told again then: they have the same ids.
    pub next: Timestamp,
    /// Is there more already?
    pub more: bool,
}

/// What happened at or after a time, with this correlation id if one is given. Where there is nothing new that
/// costs one read for each chain.
pub(crate) async fn happened(
    store: &impl Store,
    since: Timestamp,
    of: Option<&CorrelationId>,
    now: Timestamp,
) -> Result<Happened, Error> {
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
    let Found { entries: found, cut: more, .. } = found;
    let newest = found.last_key_value().map(|((at, _, _), _)| *at);
    let next = match newest {
        // From there on, so that nothing of the same time is left out.
        Some(newest) if more => newest,
        Some(_) | None => now.checked_sub(OVERLAP).unwrap_or(since).max(since),
    };
    let told = found.values().flat_map(|(entry, _)| events(entry));
    let events = told.filter(|it| of.is_none_or(|of| it.detail.correlation_id.as_ref() == Some(of)));
    Ok(Happened { events: events.collect(), next, more })
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
            // What cannot be written as JSON was not read from it.
            let length = serde_json::to_vec(&entry).map_or(0, |it| it.len());
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
