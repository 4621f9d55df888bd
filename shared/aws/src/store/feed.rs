//! The feed: entries in the order of their times, over all chains. It needs no index of its own: an item of entries stands in
//! the index of what is due, in partitions that no search for what is due reads.

use super::{
    BATCH_MAX, DynamoStore,
    items::{BY_DUE, ENTRIES, FEED_SHARDS, Item, Key, corrupt, feed_at, feed_shard, moment, named, sized},
    lists::Range,
};
use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    Error,
    ports::{FeedItem, PART_BYTES_MAX},
};
use portcullis_domain::Entry;

/// How long functions of a version that writes no feed may still run after the first one of this version: as long as a
/// deployment takes at most.
const OLDER_WRITERS_MAX: SignedDuration = SignedDuration::from_mins(15);

impl DynamoStore {
    /// The first items of all partitions, merged.
    pub(super) async fn feed_items(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> Result<Vec<FeedItem>, Error> {
        let since = moment(since);
        let after = after.map(|it| feed_at(it.at, &Key::entries(&it.chain, it.last)));
        let (condition, place) = match after {
            Some(after) if since <= after => ("#sk > :place", after),
            Some(_) | None => ("#sk >= :place", since),
        };
        let first = self.feed_of_all_shards((condition, Some(place)), at_most).await?;
        first.iter().map(|(place, item)| item_of(place, item)).collect()
    }

    /// A table of an older version has entries that are in no feed, all of them before its first item or soon after it. While
    /// the feed is empty it has not begun.
    pub(super) async fn feed_beginning(&self) -> Result<Timestamp, Error> {
        if let Some(known) = self.feed_begins.get() {
            return Ok(*known);
        }
        let first = self.feed_of_all_shards(("", None), 1).await?;
        let Some((place, item)) = first.first() else { return Ok(Timestamp::MAX) };
        let begins = item_of(place, item)?.at.saturating_add(OLDER_WRITERS_MAX).unwrap_or(Timestamp::MAX);
        Ok(*self.feed_begins.get_or_init(|| begins))
    }

    async fn feed_of_all_shards(
        &self,
        (condition, place): (&str, Option<String>),
        at_most: usize,
    ) -> Result<Vec<(String, Item)>, Error> {
        let parts = (0..FEED_SHARDS).map(|shard| {
            let range = Range { index: Some(BY_DUE), partition: feed_shard(shard), is_newest_first: false };
            let place = place.clone();
            async move { self.keys(&range, (condition, place), at_most).await }
        });
        let mut first: Vec<(String, Item)> = try_join_all(parts).await?.into_iter().flatten().collect();
        first.sort_by(|one, two| one.0.cmp(&two.0));
        first.truncate(at_most);
        Ok(first)
    }

    /// The entries of items, strongly consistent: the feed may be a moment behind them, and never before.
    pub(super) async fn entries_of(&self, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        let (mut all, mut bytes) = (vec![], 0);
        for part in items.chunks(BATCH_MAX) {
            let keys: Vec<Key> = part.iter().map(|it| Key::entries(&it.chain, it.last)).collect();
            let found = self.get_all(&keys).await?;
            for key in &keys {
                let item = found.get(key).ok_or_else(|| missing(key))?;
                let (entries, length) = sized(item)?;
                bytes += length;
                if PART_BYTES_MAX < bytes && !all.is_empty() {
                    return Ok(all);
                }
                all.push(entries);
            }
        }
        Ok(all)
    }
}

fn item_of(place: &str, item: &Item) -> Result<FeedItem, Error> {
    let key = Key::of(item)?;
    let (at, _) = place.split_once('#').ok_or_else(|| corrupt(item, &"it has no place in the feed"))?;
    let chain = key.pk.strip_prefix(ENTRIES).ok_or_else(|| corrupt(item, &"it has no entries"))?;
    Ok(FeedItem { at: named(item, at)?, chain: named(item, chain)?, last: named(item, &key.sk)? })
}

fn missing(key: &Key) -> Error {
    let source = format!("the feed names `{}`, `{}`, which is not there", key.pk, key.sk).into();
    Error::Broken { doing: "read the table", source }
}
