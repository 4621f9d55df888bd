//! One batch: first every condition, then every change.

use super::{
    failed::Failed,
    feed,
    people::of_person,
    tables::{DUE_REQUEST, DUE_TARGET, META_AUTHORITY, META_REST, Open, json, nanos, next_number, parse},
};
use portcullis_app::{
    Error,
    ports::{Batch, Seen},
};
use portcullis_domain::{Chain, Entry, Fact, Grant, GrantId, Head, Next, Request, TargetId};
use redb::{ReadableTable, Table};
use std::collections::BTreeSet;

/// Writes all of a batch and gives its entries, or fails whole.
///
/// `rows` are the targets themselves as they are stored, in the order of the batch.
pub fn commit(batch: &Batch, rows: &[Vec<u8>], open: &mut Open<'_>) -> Result<Vec<Entry>, Failed> {
    check(batch, open)?;
    for ((next, seen), row) in batch.targets.iter().zip(rows) {
        put_target(next, row, *seen, open)?;
    }
    if let Some((request, seen)) = &batch.request {
        put_request(request, *seen, open)?;
    }
    append(&batch.rest, open)?;
    if let Some(authority) = &batch.authority {
        open.meta.insert(META_AUTHORITY, json(authority)?.as_slice())?;
    }
    let recorded = batch.targets.iter().flat_map(|(next, _)| &next.entries).chain(&batch.rest);
    Ok(recorded.cloned().collect())
}

/// Entries at the end of the chain of the rest; `Conflict` if somebody else appended first.
pub fn append(rest: &[Entry], open: &mut Open<'_>) -> Result<(), Failed> {
    let Some(last) = rest.last() else { return Ok(()) };
    if !follows(rest, rest_head(open)?) {
        return Err(Failed::Whole(Error::Conflict));
    }
    put_entries(rest, open)?;
    let head = Head { n: last.n + 1, hash: last.hash };
    open.meta.insert(META_REST, json(&head)?.as_slice())?;
    Ok(())
}

/// Where the chain of the rest ends.
pub fn rest_head(open: &Open<'_>) -> Result<Head, Failed> {
    match open.meta.get(META_REST)? {
        Some(head) => Ok(parse("meta", META_REST, head.value())?),
        None => Ok(Head::default()),
    }
}

fn check(batch: &Batch, open: &Open<'_>) -> Result<(), Failed> {
    let mut targets: BTreeSet<&TargetId> = BTreeSet::new();
    let mut approved: BTreeSet<&GrantId> = BTreeSet::new();
    let mut holds = true;
    for (next, seen) in &batch.targets {
        let stored = open.targets.get(next.target.id.as_str())?.map_or(0, |it| it.value().0.0);
        holds &= stored == seen.0 && targets.insert(&next.target.id);
        let chain = Chain::from(&next.target.id);
        for entry in &next.entries {
            holds &= entry.chain == chain && open.entries.get((chain.as_str(), entry.n))?.is_none();
            // INVARIANT (granted-once): also a grant that is closed is still here.
            if let Fact::Approved { grant, .. } = &entry.fact {
                holds &= approved.insert(&grant.id) && open.grants.get(grant.id.as_str())?.is_none();
            }
        }
    }
    if let Some((request, seen)) = &batch.request {
        holds &= open.requests.get(request.id.as_str())?.map_or(0, |it| it.value().0.0) == seen.0;
    }
    holds &= batch.authority.is_none() || !batch.rest.is_empty();
    if !batch.rest.is_empty() {
        holds &= follows(&batch.rest, rest_head(open)?);
    }
    if holds { Ok(()) } else { Err(Failed::Whole(Error::Conflict)) }
}

fn follows(rest: &[Entry], head: Head) -> bool {
    rest.first().is_none_or(|first| first.n == head.n && first.prev == head.hash)
}

fn put_target(next: &Next, row: &[u8], seen: Seen, open: &mut Open<'_>) -> Result<(), Failed> {
    let id = next.target.id.as_str();
    let due = next.target.due_at().map(nanos);
    let before = open.targets.insert(id, ((seen.next().0, due), row))?;
    let was_due = before.and_then(|it| it.value().0.1);
    reschedule(&mut open.due, DUE_TARGET, id, was_due, due)?;
    for grant in &next.grants {
        put_grant(grant, open)?;
    }
    put_entries(&next.entries, open)
}

fn put_request(request: &Request, seen: Seen, open: &mut Open<'_>) -> Result<(), Failed> {
    let id = request.id.as_str();
    let due = request.due_at().map(nanos);
    let known = open.requests.get(id)?.map(|it| (it.value().0.1, it.value().1));
    let (was_due, number) = match known {
        Some(known) => known,
        None => (None, next_number(&open.requests_listed)?),
    };
    open.requests_listed.insert(number, id)?;
    open.requests.insert(id, ((seen.next().0, due), number, json(request)?.as_slice()))?;
    reschedule(&mut open.due, DUE_REQUEST, id, was_due, due)
}

fn put_grant(grant: &Grant, open: &mut Open<'_>) -> Result<(), Failed> {
    let id = grant.id.as_str();
    let known = open.grants.get(id)?.map(|it| it.value().0);
    let number = if let Some(number) = known {
        number
    } else {
        let number = next_number(&open.grants_listed)?;
        open.grants_listed.insert(number, id)?;
        let (target, request) = (of_target(grant.target.as_str()), of_request(grant.request.as_str()));
        for of in [target, request, of_person(&grant.by)] {
            open.grants_of.insert((of.as_str(), number), id)?;
        }
        number
    };
    let live = (grant.target.as_str(), id);
    if grant.closed_at.is_none() {
        open.grants_unclosed.insert(number, id)?;
        open.grants_live.insert(live, ())?;
    } else {
        open.grants_unclosed.remove(number)?;
        open.grants_live.remove(live)?;
    }
    open.grants.insert(id, (number, json(grant)?.as_slice()))?;
    Ok(())
}

fn put_entries(entries: &[Entry], open: &mut Open<'_>) -> Result<(), Failed> {
    for entry in entries {
        open.entries.insert((entry.chain.as_str(), entry.n), json(entry)?.as_slice())?;
    }
    feed::put(entries, open)
}

fn reschedule(
    index: &mut Table<'_, (i128, u8, &'static str), ()>,
    kind: u8,
    id: &str,
    before: Option<i128>,
    after: Option<i128>,
) -> Result<(), Failed> {
    if before == after {
        return Ok(());
    }
    if let Some(before) = before {
        index.remove((before, kind, id))?;
    }
    if let Some(after) = after {
        index.insert((after, kind, id), ())?;
    }
    Ok(())
}

/// Whose grants, as it stands in the index of grants.
pub fn of_target(id: &str) -> String {
    format!("target:{id}")
}

/// See [`of_target`].
pub fn of_request(id: &str) -> String {
    format!("request:{id}")
}
