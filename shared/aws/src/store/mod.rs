//! The table in DynamoDB: one table, conditional transactions, a sparse index of what is due.
//!
//! Whatever is decided on is read strongly consistent. An index may be a moment behind: it says *what* is in a list,
//! and the items themselves are then read as they were last committed.

mod commit;
mod feed;
pub(crate) mod items;
mod lists;
mod mark;
mod spill;

pub(crate) use commit::{delete, put};
pub(crate) use items::Item;

use crate::pauses::pauses;
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{AttributeValue, KeysAndAttributes},
};
use data_encoding::BASE64;
use futures_util::future::try_join_all;
use items::{
    BODY, BY_DUE, CHAINS, DUE_SHARDS, ENTRIES, HASH, Key, LENGTH, LISTED, PK, SK, TARGET, VERSION, chain_pk,
    corrupt, due_shard, moment, named, number, parse, s, sized, text, whole,
};
use jiff::Timestamp;
use lists::{Paging, Range, Walk};
use portcullis_app::{
    Error,
    ports::{
        Batch, Due, FeedItem, GrantFilter, PART_BYTES_MAX, Page, PageAsked, Rank, RequestFilter, Seen, Store,
        Turn,
    },
};
use portcullis_domain::{
    Authority, Chain, Entry, Grant, GrantId, Hash, Head, Request, RequestId, Target, TargetId,
};
use serde_json::Value;
use spill::Remembered;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How many items DynamoDB gives for one asking.
const BATCH_MAX: usize = 100;
/// How often it is asked again for those that it was too busy to give.
const UNPROCESSED_MAX: u32 = 6;
/// How long the first of these waits; twice as long before each further one.
const AFTER_UNPROCESSED: Duration = Duration::from_millis(50);
/// How often a grant is looked for that is being closed meanwhile.
const GRANT_LOOKS_MAX: usize = 3;

/// How long a writer waits at most after it lost once; twice as long with every further loss.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
/// How often that is doubled.
const BACK_OFF_DOUBLINGS_MAX: u32 = 16;
/// How long a caller waits at most between two tries: with a hundred tries, less in the mean than API Gateway waits (29 s).
const BACK_OFF_MAX: Duration = Duration::from_millis(400);
/// How long a worker does: it lives 20 s.
const BACK_OFF_WORKER_MAX: Duration = Duration::from_millis(50);

const READ: &str = "read the table";

/// The table in DynamoDB.
pub struct DynamoStore {
    client: Client,
    table: String,
    /// Who writes: no two processes share it.
    writer: String,
    commits: AtomicU64,
    clock: Clock,
    remembered: Remembered,
    /// Since when the feed is whole, once it has begun: see [`Store::feed_begins`].
    feed_begins: OnceLock<Timestamp>,
}

impl DynamoStore {
    /// The table of this name. `writer` must be a name that no other process ever has.
    pub fn new(client: Client, table: impl Into<String>, writer: impl Into<String>, clock: Clock) -> Self {
        let (table, writer) = (table.into(), writer.into());
        let (commits, feed_begins) = (AtomicU64::new(0), OnceLock::new());
        Self { client, table, writer, commits, clock, remembered: Remembered::default(), feed_begins }
    }

    /// Can it be read? `Unavailable` if not, `Broken` if it never will.
    pub async fn probe(&self) -> Result<(), Error> {
        self.rest().await.map(drop)
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// Strongly consistent.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        let call = self.client.get_item().table_name(&self.table).consistent_read(true);
        let call = call.key(PK, s(&key.pk)).key(SK, s(&key.sk));
        Ok(call.send().await.map_err(|error| told(READ, error))?.item)
    }

    /// All of these that are there, strongly consistent, by their keys.
    pub(crate) async fn get_all(&self, keys: &[Key]) -> Result<BTreeMap<Key, Item>, Error> {
        let parts = try_join_all(keys.chunks(BATCH_MAX).map(|part| self.get_part(part))).await?;
        let mut found = BTreeMap::new();
        for item in parts.into_iter().flatten() {
            found.insert(Key::of(&item)?, item);
        }
        Ok(found)
    }

    async fn get_part(&self, keys: &[Key]) -> Result<Vec<Item>, Error> {
        let mut wanted = KeysAndAttributes::builder().consistent_read(true);
        for key in keys {
            wanted = wanted.keys(Item::from([(PK.to_owned(), s(&key.pk)), (SK.to_owned(), s(&key.sk))]));
        }
        let build =
            |error: aws_sdk_dynamodb::error::BuildError| Error::Broken { doing: READ, source: error.into() };
        let (mut wanted, mut found) = (wanted.build().map_err(build)?, vec![]);
        for pause in pauses(AFTER_UNPROCESSED, UNPROCESSED_MAX) {
            let call = self.client.batch_get_item().request_items(&self.table, wanted);
            let answer = call.send().await.map_err(|error| told(READ, error))?;
            found.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            match answer.unprocessed_keys.into_iter().flatten().next() {
                Some((_, rest)) if !rest.keys().is_empty() => wanted = rest,
                Some(_) | None => return Ok(found),
            }
            tokio::time::sleep(pause).await;
        }
        let source = format!("it did not return all items in {UNPROCESSED_MAX} attempts").into();
        Err(Error::Unavailable { doing: READ, source })
    }

    /// The grant that an item stands for: closed in itself, or live in its target.
    fn grant_of(item: &Item, id: &GrantId, target: Option<&Target>) -> Result<Option<Grant>, Error> {
        if item.contains_key(BODY) {
            return parse(item).map(Some);
        }
        Ok(target.and_then(|it| it.grants().get(id).cloned()))
    }
}

impl Store for DynamoStore {
    async fn target(&self, id: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        let item = self.get(&Key::target(id)).await?;
        Ok(self.assembled(id, item).await?.map(|(target, seen, _)| (target, seen)))
    }

    async fn request(&self, id: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        let Some(item) = self.get(&Key::request(id)).await? else { return Ok(None) };
        Ok(Some((parse(&item)?, Seen(whole(&item, VERSION)?))))
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Error> {
        let Some(key) = Key::grant(id) else { return Ok(None) };
        for _ in 0..GRANT_LOOKS_MAX {
            let Some(item) = self.get(&key).await? else { return Ok(None) };
            let target = if item.contains_key(BODY) { None } else { self.target(&target_of(&item)?).await? };
            let target = target.map(|(target, _)| target);
            // It may have been closed between the two looks.
            if let Some(grant) = Self::grant_of(&item, id, target.as_ref())? {
                return Ok(Some(grant));
            }
        }
        let source = format!("item `{}`, `{}` is neither closed nor in its target", key.pk, key.sk).into();
        Err(Error::Broken { doing: READ, source })
    }

    async fn rest(&self) -> Result<Head, Error> {
        let Some(item) = self.get(&Key::head()).await? else { return Ok(Head::default()) };
        let hash = text(&item, HASH)?.to_owned();
        let hash = Hash::try_from(hash).map_err(|error| corrupt(&item, &error))?;
        Ok(Head { n: whole(&item, LENGTH)?, hash })
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        self.get(&Key::authority()).await?.as_ref().map(parse).transpose()
    }

    async fn turn(&self, _: &Chain, rank: Rank, lost: usize) -> Turn {
        // Writers are of many processes. All that lost at the same time must not meet again.
        if 0 < lost {
            tokio::time::sleep(back_off(rank, lost)).await;
        }
        Turn::default()
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.write(&batch).await
    }

    async fn due(&self, until: Timestamp, at_most: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        let until = moment(until);
        let parts = (0..DUE_SHARDS).map(|shard| {
            let range = Range { index: Some(BY_DUE), partition: due_shard(shard), is_newest_first: false };
            let until = until.clone();
            async move { self.keys(&range, ("#sk <= :place", Some(until)), at_most).await }
        });
        let mut due: Vec<(String, Item)> = try_join_all(parts).await?.into_iter().flatten().collect();
        due.sort_by(|one, two| one.0.cmp(&two.0));
        due.truncate(at_most);
        let of = |(at, item): (String, Item)| {
            let key = Key::of(&item)?;
            let due = if key.is_request() {
                Due::Request(named(&item, key.name())?)
            } else {
                Due::Target(named(&item, key.name())?)
            };
            Ok((named(&item, &at)?, due))
        };
        due.into_iter().map(of).collect()
    }

    async fn targets(&self, after: Option<&TargetId>, at_most: usize) -> Result<Vec<Target>, Error> {
        let range = Range { index: None, partition: items::TARGETS.to_owned(), is_newest_first: false };
        let after = ("#sk > :place", after.map(ToString::to_string));
        let listed = self.keys(&range, after, at_most).await?;
        let ids = listed.iter().map(|(id, item)| named::<TargetId>(item, id));
        let keys = ids.map(|id| id.map(|id| Key::target(&id))).collect::<Result<Vec<_>, _>>()?;
        let (mut targets, mut bytes) = (vec![], 0);
        for part in keys.chunks(BATCH_MAX) {
            let mut found = self.get_all(part).await?;
            for key in part {
                let Some(item) = found.remove(key) else { continue };
                let id = named(&item, key.name())?;
                let Some((target, _, length)) = self.assembled(&id, Some(item)).await? else { continue };
                bytes += length;
                if PART_BYTES_MAX < bytes && !targets.is_empty() {
                    return Ok(targets);
                }
                targets.push(target);
            }
        }
        Ok(targets)
    }

    async fn chains(&self, after: Option<&Chain>, at_most: usize) -> Result<Vec<Chain>, Error> {
        let range = Range { index: Some(LISTED), partition: CHAINS.to_owned(), is_newest_first: false };
        let listed = self.keys(&range, ("#sk > :place", after.map(ToString::to_string)), at_most).await?;
        listed.iter().map(|(name, item)| named(item, name)).collect()
    }

    async fn requests(&self, of: &RequestFilter, asked: &PageAsked) -> Result<Page<Request>, Error> {
        let fits = |it: &Request| {
            of.state.as_ref().is_none_or(|state| it.state.word() == state)
                && of.by.as_ref().is_none_or(|by| it.by == *by)
        };
        let (walk, mut paging) = (Walk::requests(of), Paging::of(asked)?);
        while let Some(keys) = self.part(&walk, &mut paging).await? {
            let found = self.get_all(&keys).await?;
            let loaded = keys.iter().map(|key| found.get(key).map(parse::<Request>).transpose());
            let loaded = loaded.collect::<Result<Vec<_>, _>>()?;
            paging.take(loaded.into_iter().map(|it| it.filter(&fits)));
        }
        Ok(paging.done())
    }

    async fn grants(&self, of: &GrantFilter, asked: &PageAsked) -> Result<Page<Grant>, Error> {
        let fits = |it: &Grant| {
            of.target.as_ref().is_none_or(|target| it.target == *target)
                && of.request.as_ref().is_none_or(|request| it.request == *request)
                && of.by.as_ref().is_none_or(|by| it.by == *by)
                && !(of.unclosed && it.closed_at.is_some())
        };
        let (walk, mut paging) = (Walk::grants(of), Paging::of(asked)?);
        while let Some(keys) = self.part(&walk, &mut paging).await? {
            let loaded = self.grants_at(&keys).await?;
            paging.take(loaded.into_iter().map(|it| it.filter(&fits)));
        }
        Ok(paging.done())
    }

    async fn entries(&self, chain: &Chain, from: u64, at_most: usize) -> Result<Vec<Entry>, Error> {
        let (mut listed, mut bytes): (Vec<Entry>, usize) = (vec![], 0);
        let mut from = from;
        while listed.len() < at_most && bytes <= PART_BYTES_MAX {
            let call = self.client.query().table_name(&self.table).consistent_read(true);
            let call = call
                .key_condition_expression("#pk = :pk AND #sk >= :from")
                .expression_attribute_names("#pk", PK)
                .expression_attribute_names("#sk", SK)
                .expression_attribute_values(":pk", s(chain_pk(chain)))
                .expression_attribute_values(":from", s(number(from)));
            let limit = i32::try_from(at_most - listed.len()).unwrap_or(i32::MAX);
            let answer = call.limit(limit).send().await.map_err(|error| told(READ, error))?;
            let found = answer.items();
            for item in found {
                if PART_BYTES_MAX < bytes {
                    break;
                }
                let (entries, length) = sized::<Vec<Entry>>(item)?;
                bytes += length;
                listed.extend(entries.into_iter().filter(|it| from <= it.n));
            }
            match listed.last() {
                Some(last) if !found.is_empty() => from = last.n + 1,
                Some(_) | None => break,
            }
        }
        listed.truncate(at_most);
        Ok(listed)
    }

    async fn last(&self, chain: &Chain) -> Result<Option<Entry>, Error> {
        let range = Range { index: None, partition: chain_pk(chain), is_newest_first: true };
        // What stands in the chain besides its entries sorts after them.
        let found = self.keys(&range, ("#sk <= :place", Some(number(u64::MAX))), 1).await?;
        let Some((_, item)) = found.first() else { return Ok(None) };
        Ok(parse::<Vec<Entry>>(item)?.pop())
    }

    async fn feed(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> Result<Vec<FeedItem>, Error> {
        self.feed_items(since, after, at_most).await
    }

    async fn recorded(&self, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        self.entries_of(items).await
    }

    async fn feed_begins(&self) -> Result<Timestamp, Error> {
        self.feed_beginning().await
    }
}

impl DynamoStore {
    /// Grants by the keys of their items; none for one that is not there any more, which cannot be.
    async fn grants_at(&self, keys: &[Key]) -> Result<Vec<Option<Grant>>, Error> {
        let found = self.get_all(keys).await?;
        let live = found.values().filter(|it| !it.contains_key(BODY)).map(target_of);
        let ids = live.collect::<Result<BTreeSet<TargetId>, _>>()?;
        let keys_of_targets: Vec<Key> = ids.iter().map(Key::target).collect();
        let mut items = self.get_all(&keys_of_targets).await?;
        let mut targets = BTreeMap::new();
        for (id, key) in ids.into_iter().zip(keys_of_targets) {
            let target = self.assembled(&id, items.remove(&key)).await?;
            targets.extend(target.map(|(target, ..)| (id, target)));
        }
        let mut grants = vec![];
        for key in keys {
            let Some(item) = found.get(key) else {
                grants.push(None);
                continue;
            };
            let id: GrantId = key.grant_id(item)?;
            let target = if item.contains_key(BODY) { None } else { targets.get(&target_of(item)?) };
            grants.push(match Self::grant_of(item, &id, target)? {
                Some(grant) => Some(grant),
                None => self.grant(&id).await?,
            });
        }
        Ok(grants)
    }
}

/// A random while, at most twice as long with every loss. Workers wait less than callers: an end goes first.
fn back_off(rank: Rank, lost: usize) -> Duration {
    let longest = match rank {
        Rank::Worker => BACK_OFF_WORKER_MAX,
        Rank::Shutting | Rank::Asking => BACK_OFF_MAX,
    };
    let doublings = u32::try_from(lost).unwrap_or(u32::MAX).min(BACK_OFF_DOUBLINGS_MAX);
    let at_most = (BACK_OFF_MIN * 2_u32.pow(doublings)).min(longest);
    // The standard library's own seeds are random, and differ with each of them.
    let dice = RandomState::new().build_hasher().finish();
    let nanos = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(dice % nanos)
}

/// The target of a grant.
fn target_of(grant: &Item) -> Result<TargetId, Error> {
    let id = text(grant, TARGET)?.split_once('#').map_or("", |(_, id)| id);
    named(grant, id)
}

/// The entries in an item as the table's stream tells it, in DynamoDB's JSON; none if it holds something else.
pub fn entries_in(image: &Value) -> Result<Vec<Entry>, NotEntries> {
    let pk = image["pk"]["S"].as_str().filter(|it| it.starts_with(ENTRIES));
    let Some(pk) = pk else { return Ok(vec![]) };
    let text = image[BODY]["S"].as_str().map(s);
    let packed = || BASE64.decode(image[BODY]["B"].as_str()?.as_bytes()).ok();
    let body = text.or_else(|| Some(AttributeValue::B(packed()?.into())));
    let mut item = Item::from([(PK.to_owned(), s(pk))]);
    item.extend(body.map(|it| (BODY.to_owned(), it)));
    parse(&item).map_err(|error| NotEntries(error.full()))
}

/// A journal's item that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotEntries(String);

/// What a failed call means for whoever asked.
pub(crate) fn told<E>(doing: &'static str, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    const OURS: [&str; 11] = [
        // S3 and STS have names of their own for some of them.
        "AccessDenied",
        "AccessDeniedException",
        "InvalidAccessKeyId",
        "NoSuchBucket",
        "SignatureDoesNotMatch",
        "IdempotentParameterMismatchException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ValidationException",
    ];
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let is_ours = code.is_some_and(|code| OURS.contains(&code));
    let is_ours = is_ours || matches!(error, SdkError::ConstructionFailure(_));
    let source = Box::new(error);
    if is_ours { Error::Broken { doing, source } } else { Error::Unavailable { doing, source } }
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoStore").field("table", &self.table).finish_non_exhaustive()
    }
}
