//! One batch as one transaction, or as one put where it is one change: each with its condition, all of them or none.

use super::{
    DynamoStore,
    items::{
        BODY, CHAINS, COMMIT, DUE_AT, DUE_SHARD, GRANTS_CLOSED, GRANTS_OPEN, HASH, Key, LENGTH, LIST,
        LISTED_AT, PERSON, PK, SK, TARGET, VERSION, body, feed_at, grants_of, length, moment, n, requests_in,
        requests_of, s,
    },
    spill::{Layout, SPILLED},
    told,
};
use crate::pauses::pauses;
use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{
        CancellationReason, Delete, Put, TransactWriteItem, Update,
        builders::{DeleteBuilder, PutBuilder, UpdateBuilder},
    },
};
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use portcullis_app::{
    Error,
    ports::{Batch, Seen},
};
use portcullis_domain::{Chain, Entry, Fact, Grant, GrantId, Next, Request};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

/// How many changes DynamoDB takes in one transaction. The largest request, of 40 gates on 20 targets, needs 83.
const CHANGES_MAX: usize = 100;
/// How long the JSON of one item of entries may get, in bytes: an item has at most 400 KB.
const SEGMENT_MAX: usize = 128 * 1024;
/// How long a target may get by what people ask for, in bytes as stored: a worker can always claim it, write down what it
/// does, and close, whoever asks for how much.
const ASKED_MAX: usize = 256 * 1024;
/// How often a write that met a transaction in flight is tried.
const MEETINGS_MAX: u32 = 4;
/// How long it waits before the second try; twice as long before each further one.
const AFTER_MEETING: Duration = Duration::from_millis(20);

const ABSENT: &str = "attribute_not_exists(pk)";
const UNCHANGED: &str = "version = :seen";
/// Of a target whose chunks, if it has any, this process does not know. It loads it then, and knows them.
const UNCHANGED_WITHOUT_CHUNKS: &str = "version = :seen AND attribute_not_exists(spilled)";

/// What a transaction is made of.
#[derive(Debug)]
pub struct Changes {
    commit: String,
    all: Vec<TransactWriteItem>,
    /// An item that carries the name of the commit.
    witness: Option<Key>,
}

impl DynamoStore {
    pub(super) async fn write(&self, batch: &Batch) -> Result<(), Error> {
        let mut changes = self.changes();
        let now = (self.clock)();
        let mut spilled = vec![];
        for (next, seen) in &batch.targets {
            let id = &next.target.id;
            let before = self.remembered.get(id, *seen);
            let layout = Layout::of(next, *seen, before.as_ref(), batch.targets.len())?;
            changes.target(&self.table, next, (*seen, before.is_some()), &layout, now)?;
            spilled.push((id.clone(), layout.spilled));
        }
        if let Some((request, seen)) = &batch.request {
            changes.request(&self.table, request, *seen, now)?;
        }
        changes.rest(&self.table, &batch.rest)?;
        match &batch.authority {
            Some(_) if batch.rest.is_empty() => return Err(Error::Conflict),
            Some(authority) => {
                changes.put(put(&self.table, &Key::authority()).item(BODY, body(authority)?))?;
            }
            None => {}
        }
        self.transact(changes).await?;
        for (id, spilled) in spilled {
            self.remembered.set(&id, spilled);
        }
        Ok(())
    }

    /// An empty transaction, with a name that no other one has.
    pub fn changes(&self) -> Changes {
        const NAME_BYTES: usize = 20;
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::digest(format!("{} {number}", self.writer));
        let commit = BASE32_NOPAD.encode(&digest[..NAME_BYTES]).to_ascii_lowercase();
        Changes { commit, all: vec![], witness: None }
    }

    /// Makes all of the changes, or none and says `Conflict`.
    ///
    /// A retry after an answer that was lost is no lost race: for ten minutes DynamoDB knows a transaction by its token,
    /// and whatever was written we know by the name that it left there. Where somebody has written over that name, a
    /// change that was alone is taken for a lost race: the journal has nothing of it, and its worker looks again.
    pub async fn transact(&self, changes: Changes) -> Result<(), Error> {
        let Changes { commit, all, witness } = changes;
        if CHANGES_MAX < all.len() {
            let source = format!("it has {} changes: at most {CHANGES_MAX}", all.len()).into();
            return Err(Error::Broken { doing: "write a transaction", source });
        }
        for pause in pauses(AFTER_MEETING, MEETINGS_MAX) {
            let Err(failed) = self.try_once(&all, &commit).await else { return Ok(()) };
            match failed {
                Failed::Condition if self.was_written(witness.as_ref(), &commit).await? => return Ok(()),
                Failed::Condition => return Err(Error::Conflict),
                Failed::Meeting => tokio::time::sleep(pause).await,
                Failed::Otherwise(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    async fn try_once(&self, all: &[TransactWriteItem], commit: &str) -> Result<(), Failed> {
        // What is alone needs no transaction, which is twice the price. Whoever claims a target, or looks and finds all as
        // it should be, has nothing to record.
        if let [only] = all
            && let Some(put) = only.put()
        {
            return self.put_alone(put).await;
        }
        let call = self.client.transact_write_items().set_transact_items(Some(all.to_vec()));
        match call.client_request_token(commit).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn put_alone(&self, put: &Put) -> Result<(), Failed> {
        let call = self
            .client
            .put_item()
            .table_name(put.table_name())
            .set_item(Some(put.item().clone()))
            .set_condition_expression(put.condition_expression().map(str::to_owned))
            .set_expression_attribute_names(put.expression_attribute_names().cloned())
            .set_expression_attribute_values(put.expression_attribute_values().cloned());
        let Err(error) = call.send().await else { return Ok(()) };
        let is = |of: fn(&PutItemError) -> bool| error.as_service_error().is_some_and(of);
        Err(if is(PutItemError::is_conditional_check_failed_exception) {
            Failed::Condition
        } else if is(PutItemError::is_transaction_conflict_exception) {
            Failed::Meeting
        } else if is(PutItemError::is_item_collection_size_limit_exceeded_exception) {
            Failed::Otherwise(Error::Broken { doing: WRITE, source: error.into() })
        } else {
            Failed::Otherwise(told(WRITE, error))
        })
    }

    async fn was_written(&self, witness: Option<&Key>, commit: &str) -> Result<bool, Error> {
        let Some(key) = witness else { return Ok(false) };
        let found = self.get(key).await?;
        Ok(found.is_some_and(|it| it.get(COMMIT) == Some(&s(commit))))
    }
}

const WRITE: &str = "write to the table";

/// What a write failed of.
enum Failed {
    /// A condition did not hold.
    Condition,
    /// Another transaction was at one of the items.
    Meeting,
    /// Anything else.
    Otherwise(Error),
}

fn failed(error: SdkError<TransactWriteItemsError>) -> Failed {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
    else {
        let is_meeting = error
            .as_service_error()
            .is_some_and(TransactWriteItemsError::is_transaction_in_progress_exception);
        return if is_meeting { Failed::Meeting } else { Failed::Otherwise(told(WRITE, error)) };
    };
    let has = |code| {
        cancelled.cancellation_reasons().iter().filter_map(CancellationReason::code).any(|it| it == code)
    };
    if has("ConditionalCheckFailed") {
        Failed::Condition
    } else if has("TransactionConflict") {
        Failed::Meeting
    } else if has("ThrottlingError") || has("ProvisionedThroughputExceeded") {
        Failed::Otherwise(Error::Unavailable { doing: WRITE, source: error.into() })
    } else if has("ValidationError") || has("ItemCollectionSizeLimitExceeded") {
        Failed::Otherwise(Error::Broken { doing: WRITE, source: error.into() })
    } else {
        Failed::Otherwise(told(WRITE, error))
    }
}

impl Changes {
    /// A target, its grants and its entries.
    ///
    /// `seen` is the version, and whether that has chunks.
    fn target(
        &mut self,
        table: &str,
        next: &Next,
        (seen, is_spilled): (Seen, bool),
        layout: &Layout<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Next { target, entries, grants } = next;
        let key = Key::target(&target.id);
        let approved: BTreeSet<&GrantId> = entries.iter().filter_map(approved).collect();
        let body = body(&layout.inline)?;
        if !approved.is_empty() && ASKED_MAX < length(&body) {
            let source = format!("`{}` has so many leases that there is no room for more", target.id).into();
            return Err(Error::Broken { doing: WRITE, source });
        }
        let mut put =
            put(table, &key).item(BODY, body).item(VERSION, n(seen.next().0)).item(COMMIT, s(&self.commit));
        if let Some(due_at) = target.due_at() {
            put = put.item(DUE_SHARD, s(key.due_shard())).item(DUE_AT, s(moment(due_at)));
        }
        if let Some(spilled) = &layout.spilled {
            put = put.item(SPILLED, spilled.attribute()?);
        }
        if seen == Seen::NEVER {
            self.put(put.condition_expression(ABSENT))?;
            self.put(self::put(table, &Key::listed_target(&target.id)))?;
        } else {
            let unchanged = if is_spilled { UNCHANGED } else { UNCHANGED_WITHOUT_CHUNKS };
            self.put(put.condition_expression(unchanged).expression_attribute_values(":seen", n(seen.0)))?;
        }
        for chunk in layout.puts(table, seen.next().0)? {
            self.put(chunk)?;
        }
        self.witness.get_or_insert(key);
        for grant in grants {
            self.grant(table, grant, approved.contains(&grant.id), now)?;
        }
        self.entries(table, entries)
    }

    fn request(&mut self, table: &str, request: &Request, seen: Seen, now: Timestamp) -> Result<(), Error> {
        let key = Key::request(&request.id);
        let mut set =
            "SET body = :body, version = :version, #commit = :commit, #list = :list, person = :person, \
            listed_at = if_not_exists(listed_at, :listed_at)"
                .to_owned();
        let mut update = update(table, &key)
            .expression_attribute_names("#commit", COMMIT)
            .expression_attribute_names("#list", LIST)
            .expression_attribute_values(":body", body(request)?)
            .expression_attribute_values(":version", n(seen.next().0))
            .expression_attribute_values(":commit", s(&self.commit))
            .expression_attribute_values(":list", s(requests_in(request.state.word())))
            .expression_attribute_values(":person", s(requests_of(&request.by)))
            .expression_attribute_values(":listed_at", s(place(now, request.id.as_str())));
        if let Some(due_at) = request.due_at() {
            set.push_str(", due_shard = :due_shard, due_at = :due_at");
            update = update
                .expression_attribute_values(":due_shard", s(key.due_shard()))
                .expression_attribute_values(":due_at", s(moment(due_at)));
        } else {
            set.push_str(" REMOVE due_shard, due_at");
        }
        update = if seen == Seen::NEVER {
            update.condition_expression(ABSENT)
        } else {
            update.condition_expression(UNCHANGED).expression_attribute_values(":seen", n(seen.0))
        };
        self.witness.get_or_insert(key);
        self.update(update.update_expression(set))
    }

    /// Until it is closed a grant is in its target, and its own item says only that there is one.
    fn grant(&mut self, table: &str, grant: &Grant, is_new: bool, now: Timestamp) -> Result<(), Error> {
        let Some(key) = Key::grant(&grant.id) else {
            let source = format!("`{}` is not the name of a grant of a request", grant.id).into();
            return Err(Error::Broken { doing: WRITE, source });
        };
        if is_new {
            // INVARIANT (granted-once): its item stays for ever.
            let mut put = put(table, &key)
                .item(LIST, s(GRANTS_OPEN))
                .item(LISTED_AT, s(place(now, grant.id.as_str())))
                .item(TARGET, s(Key::target(&grant.target).pk))
                .item(PERSON, s(grants_of(&grant.by)));
            if grant.closed_at.is_some() {
                put = put.item(BODY, body(grant)?).item(LIST, s(GRANTS_CLOSED));
            }
            return self.put(put.condition_expression(ABSENT));
        }
        if grant.closed_at.is_none() {
            return Ok(());
        }
        let update = update(table, &key)
            .update_expression("SET body = :body, #list = :list")
            .expression_attribute_names("#list", LIST)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":body", body(grant)?)
            .expression_attribute_values(":list", s(GRANTS_CLOSED));
        self.update(update)
    }

    /// Entries at the end of the chain of the rest, if that is where they follow.
    pub fn rest(&mut self, table: &str, rest: &[Entry]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (rest.first(), rest.last()) else { return Ok(()) };
        let key = Key::head();
        let mut put = put(table, &key)
            .item(LENGTH, n(last.n + 1))
            .item(HASH, s(last.hash.to_string()))
            .item(COMMIT, s(&self.commit));
        put = if first.n == 0 {
            put.condition_expression(ABSENT)
        } else {
            put.condition_expression("#length = :length AND #hash = :hash")
                .expression_attribute_names("#length", LENGTH)
                .expression_attribute_names("#hash", HASH)
                .expression_attribute_values(":length", n(first.n))
                .expression_attribute_values(":hash", s(first.prev.to_string()))
        };
        self.put(put)?;
        self.witness.get_or_insert(key);
        self.entries(table, rest)
    }

    /// The entries of one commit to one chain stand together: it is them that most is paid for.
    fn entries(&mut self, table: &str, entries: &[Entry]) -> Result<(), Error> {
        for segment in segments(entries)? {
            let (Some(first), Some(last)) = (segment.first(), segment.last()) else { continue };
            let key = Key::entries(&first.chain, last.n);
            let mut put = put(table, &key)
                .item(BODY, body(&segment)?)
                .item(DUE_SHARD, s(key.feed_shard()))
                .item(DUE_AT, s(feed_at(last.at, &key)));
            if first.n == 0 {
                put = put.item(LIST, s(CHAINS)).item(LISTED_AT, s(first.chain.as_str()));
            }
            self.put(put.condition_expression(ABSENT))?;
        }
        Ok(())
    }

    pub fn put(&mut self, put: PutBuilder) -> Result<(), Error> {
        let put = put.build().map_err(unbuilt)?;
        self.all.push(TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    fn update(&mut self, update: UpdateBuilder) -> Result<(), Error> {
        let update = update.build().map_err(unbuilt)?;
        self.all.push(TransactWriteItem::builder().update(update).build());
        Ok(())
    }

    pub fn delete(&mut self, delete: DeleteBuilder) -> Result<(), Error> {
        let delete = delete.build().map_err(unbuilt)?;
        self.all.push(TransactWriteItem::builder().delete(delete).build());
        Ok(())
    }

    /// The name of the commit, and what carries it.
    pub fn witnessed_by(&mut self, key: Key) -> String {
        self.witness.get_or_insert(key);
        self.commit.clone()
    }
}

pub fn delete(table: &str, key: &Key) -> DeleteBuilder {
    Delete::builder().table_name(table).key(PK, s(&key.pk)).key(SK, s(&key.sk))
}

pub fn put(table: &str, key: &Key) -> PutBuilder {
    Put::builder().table_name(table).item(PK, s(&key.pk)).item(SK, s(&key.sk))
}

fn update(table: &str, key: &Key) -> UpdateBuilder {
    Update::builder().table_name(table).key(PK, s(&key.pk)).key(SK, s(&key.sk))
}

/// Where something stands in lists. No two stand in the same place.
fn place(now: Timestamp, id: &str) -> String {
    format!("{}#{id}", moment(now))
}

fn approved(entry: &Entry) -> Option<&GrantId> {
    let Fact::Approved { grant, .. } = &entry.fact else { return None };
    Some(&grant.id)
}

/// In as few parts as items hold: entries of one chain and one time.
fn segments(entries: &[Entry]) -> Result<Vec<Vec<&Entry>>, Error> {
    let mut segments: Vec<Vec<&Entry>> = vec![];
    let (mut length, mut of) = (0, None::<(&Chain, Timestamp)>);
    for entry in entries {
        let json = serde_json::to_vec(entry);
        let json = json.map_err(|error| Error::Broken { doing: WRITE, source: error.into() })?;
        match segments.last_mut() {
            Some(segment) if length + json.len() <= SEGMENT_MAX && of == Some((&entry.chain, entry.at)) => {
                segment.push(entry);
                length += json.len();
            }
            Some(_) | None => {
                segments.push(vec![entry]);
                (length, of) = (json.len(), Some((&entry.chain, entry.at)));
            }
        }
    }
    Ok(segments)
}

fn unbuilt(error: aws_sdk_dynamodb::error::BuildError) -> Error {
    Error::Broken { doing: WRITE, source: error.into() }
}
