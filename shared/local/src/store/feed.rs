//! The feed: where entries stand in the order of their times, over all chains.

use super::{
    failed::{Failed, corrupt},
    tables::{ENTRIES, FEED, Open, nanos, parse},
};
use jiff::Timestamp;
use portcullis_app::ports::{FeedItem, PART_BYTES_MAX};
use portcullis_domain::Entry;
use redb::{ReadTransaction, ReadableTable as _};
use serde::Deserialize;
use std::ops::Bound;

/// Puts the entries of one commit to one chain into the feed: those of one time are one item.
pub fn put(entries: &[Entry], open: &mut Open<'_>) -> Result<(), Failed> {
    for together in entries.chunk_by(|one, next| one.at == next.at) {
        let (Some(first), Some(last)) = (together.first(), together.last()) else { continue };
        open.feed.insert((nanos(last.at), last.chain.as_str(), last.n), first.n)?;
    }
    Ok(())
}

/// Puts every entry of a file of a layout before into the feed.
pub fn make(open: &mut Open<'_>) -> Result<(), Failed> {
    #[derive(Deserialize)]
    struct Recorded {
        at: Timestamp,
    }
    for found in open.entries.iter()? {
        let (key, value) = found?;
        let (chain, n) = key.value();
        // One that cannot be read stays as it is: `verify` names it.
        let Ok(Recorded { at }) = parse("entries", chain, value.value()) else { continue };
        open.feed.insert((nanos(at), chain, n), n)?;
    }
    Ok(())
}

/// Items at or after a time, and after `after`.
pub fn list(
    table: &ReadTransaction,
    since: Timestamp,
    after: Option<&FeedItem>,
    at_most: usize,
) -> Result<Vec<FeedItem>, Failed> {
    let since = (nanos(since), "", 0);
    let from = match after.map(|it| (nanos(it.at), it.chain.as_str(), it.last)) {
        Some(after) if since <= after => Bound::Excluded(after),
        Some(_) | None => Bound::Included(since),
    };
    let feed = table.open_table(FEED)?;
    let mut listed = vec![];
    for found in feed.range::<(i128, &str, u64)>((from, Bound::Unbounded))?.take(at_most) {
        let (key, _) = found?;
        let (at, chain, last) = key.value();
        let at = Timestamp::from_nanosecond(at).map_err(|error| corrupt("feed", chain, &error))?;
        let chain = chain.parse().map_err(|error| corrupt("feed", chain, &error))?;
        listed.push(FeedItem { at, chain, last });
    }
    Ok(listed)
}

/// The entries of these items.
pub fn recorded(table: &ReadTransaction, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Failed> {
    let (feed, entries) = (table.open_table(FEED)?, table.open_table(ENTRIES)?);
    let (mut all, mut bytes) = (vec![], 0);
    for FeedItem { at, chain, last } in items {
        let key = format!("{chain} {last}");
        let first = feed.get((nanos(*at), chain.as_str(), *last))?;
        let first = first.ok_or_else(|| corrupt("feed", &key, &"there is no such item"))?.value();
        let mut together = vec![];
        for found in entries.range((chain.as_str(), first)..=(chain.as_str(), *last))? {
            let (_, value) = found?;
            bytes += value.value().len();
            together.push(parse("entries", &key, value.value())?);
        }
        if PART_BYTES_MAX < bytes && !all.is_empty() {
            break;
        }
        all.push(together);
    }
    Ok(all)
}
