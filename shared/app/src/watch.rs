//! The clock's side: what is due, and everything, whatever anybody asked.

use crate::{
    CONFLICTS_MAX, Error, lapse,
    ports::{Batch, Due, Firewalls, OurRule, Store},
    settle,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use portcullis_domain::{Chain, Change, ChangeTo, ClaimToken, Fact, Owner, Target, TargetId};
use std::collections::BTreeSet;

/// How many due things one worker takes on.
const DUE_MAX: usize = 100;
/// How many targets one worker settles at once: one after another, the last ones would be late.
const AT_ONCE_MAX: usize = 16;
/// How many targets are listed at a time.
const PAGE: usize = 200;

/// Settles what is due at `now`, and lets requests lapse that nobody decided.
///
/// INVARIANT (the-clock-closes): needs no event and no request.
pub async fn expire(
    store: &impl Store,
    firewalls: &impl Firewalls,
    token: &ClaimToken,
    now: Timestamp,
) -> Result<(), Error> {
    let due = store.due(now, DUE_MAX).await?;
    each(due, |due| async move {
        match due {
            Due::Target(id) => settle(store, firewalls, &id, token, now).await,
            Due::Request(id) => lapse(store, &id, now).await,
        }
    })
    .await
}

/// Settles every target that there is something to hold for, and deletes rules of ours that no target
/// wants: the backstop.
pub async fn reconcile(
    store: &impl Store,
    firewalls: &impl Firewalls,
    token: &ClaimToken,
    now: Timestamp,
) -> Result<(), Error> {
    let swept = sweep(store, firewalls, now).await;
    let known = all(store).await?;
    let held = known.into_iter().filter(|it| it.policy().is_some() || !it.grants().is_empty());
    let settled =
        each(
            held.map(|it| it.id).collect(),
            |id| async move { settle(store, firewalls, &id, token, now).await },
        );
    swept.and(settled.await)
}

/// Deletes rules of ours whose target is unknown.
///
/// INVARIANT (unknown-is-asked-last): the firewalls are read before the targets are listed. A target
/// is stored before its first rule is written, so one that is still unknown afterwards has no rules.
async fn sweep(store: &impl Store, firewalls: &impl Firewalls, now: Timestamp) -> Result<(), Error> {
    let mut found = firewalls.ours().await?;
    let known: BTreeSet<Owner> = all(store).await?.iter().map(Target::owner).collect();
    found.retain(|it| !known.contains(&it.name.owner));
    for orphan in found {
        record(store, &orphan, now).await?;
        let OurRule { firewall, name, etag } = orphan;
        let change = Change { firewall, name, if_match: etag, to: ChangeTo::Delete };
        firewalls.write(None, &[change]).await?;
    }
    Ok(())
}

async fn record(store: &impl Store, orphan: &OurRule, now: Timestamp) -> Result<(), Error> {
    let fact = Fact::OrphanDeleted { firewall: orphan.firewall.to_string(), rule: orphan.name.to_string() };
    for _ in 0..CONFLICTS_MAX {
        let (_, rest) = store.rest().await?.append(&Chain::rest(), now, [fact.clone()]);
        match store.commit(Batch { rest, ..Batch::default() }).await {
            Err(Error::Conflict) => {}
            outcome => return outcome,
        }
    }
    Err(Error::Conflict)
}

/// Every target that was ever guarded.
pub(crate) async fn all(store: &impl Store) -> Result<Vec<Target>, Error> {
    let mut known: Vec<Target> = vec![];
    loop {
        let after: Option<TargetId> = known.last().map(|it| it.id.clone());
        let page = store.targets(after.as_ref(), PAGE).await?;
        if page.is_empty() {
            return Ok(known);
        }
        known.extend(page);
    }
}

/// One that fails keeps no other waiting; the first failure is told.
async fn each<T, F: Future<Output = Result<(), Error>>>(
    items: Vec<T>,
    work: impl Fn(T) -> F,
) -> Result<(), Error> {
    let outcomes = stream::iter(items).map(work).buffer_unordered(AT_ONCE_MAX);
    outcomes.fold(Ok(()), |all, one| async move { all.and(one) }).await
}
