//! What happened, for whoever listens: every chain's entries, by their time.

use crate::{Error, Event, events, export::first_since, ports::Store};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{CLAIM, Chain, CorrelationId, Entry};
use std::collections::BTreeMap;

/// How many entries are told at a time.
const TOLD_MAX: usize = 1_000;
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
pub async fn happened(
    store: &impl Store,
    since: Timestamp,
    of: Option<&CorrelationId>,
    now: Timestamp,
) -> Result<Happened, Error> {
    let mut found: BTreeMap<(Timestamp, Chain, u64), Entry> = BTreeMap::new();
    let (mut after, mut more) = (None::<Chain>, false);
    loop {
        let chains = store.chains(after.as_ref(), PAGE).await?;
        let Some(last) = chains.last() else { break };
        after = Some(last.clone());
        let news = stream::iter(chains).map(|chain| of_chain(store, chain, since));
        let mut news = news.buffered(AT_ONCE_MAX);
        while let Some(entries) = news.try_next().await? {
            found.extend(entries.into_iter().map(|it| ((it.at, it.chain.clone(), it.n), it)));
            while TOLD_MAX < found.len() {
                found.pop_last();
                more = true;
            }
        }
    }
    let newest = found.last_key_value().map(|((at, _, _), _)| *at);
    let next = match newest {
        // From there on, so that nothing of the same time is left out.
        Some(newest) if more => newest,
        Some(_) | None => now.checked_sub(OVERLAP).unwrap_or(since).max(since),
    };
    let told = found.values().flat_map(events);
    let events = told.filter(|it| of.is_none_or(|of| it.detail.correlation_id.as_ref() == Some(of)));
    Ok(Happened { events: events.collect(), next, more })
}

async fn of_chain(store: &impl Store, chain: Chain, since: Timestamp) -> Result<Vec<Entry>, Error> {
    let last = store.last(&chain).await?;
    // No entry before it is later than that by more than clocks differ.
    let is_old = |it: &Entry| it.at.saturating_add(OVERLAP).is_ok_and(|latest| latest < since);
    if last.is_none_or(|it| is_old(&it)) {
        return Ok(vec![]);
    }
    let first = first_since(store, &chain, since).await?;
    let mut entries = store.entries(&chain, first, TOLD_MAX + 1).await?;
    entries.retain(|it| since <= it.at);
    Ok(entries)
}
