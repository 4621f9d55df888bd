//! The clock's side: what is due, and everything, whatever anybody asked.

use crate::{
    CONFLICTS_MAX, Error, lapse,
    ports::{Batch, Due, Firewalls, Inventory, OurRule, Store},
    settle,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use portcullis_domain::{Chain, Change, ChangeTo, ClaimToken, Fact, Owner, Target, TargetId};
use std::collections::BTreeSet;

/// How many due things one worker takes on.
const DUE_MAX: usize = 100;
/// How many targets one worker settles at once: one after another, the last ones would be late. All that it takes
/// on, so that they share their reads of a firewall that they share.
const AT_ONCE_MAX: usize = DUE_MAX;
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
    take_on(store, firewalls, due.into_iter().map(|(_, due)| due).collect(), token, now).await
}

/// Does what is due, all of it at once.
pub(crate) async fn take_on(
    store: &impl Store,
    firewalls: &impl Firewalls,
    due: Vec<Due>,
    token: &ClaimToken,
    now: Timestamp,
) -> Result<(), Error> {
    each(due, |due| async move {
        match due {
            Due::Target(id) => settle(store, firewalls, &id, token, now).await,
            Due::Request(id) => lapse(store, &id, now).await,
        }
    })
    .await
}

/// Takes every claim from the workers that hold it, who must be dead: where one process at a time has the
/// table, whoever opens it knows that. Else a restart would leave their targets alone until the claims end.
pub async fn bury(store: &impl Store, now: Timestamp) -> Result<(), Error> {
    each(all(store).await?, |known| async move { bury_one(store, &known.id, now).await }).await
}

async fn bury_one(store: &impl Store, id: &TargetId, now: Timestamp) -> Result<(), Error> {
    for _ in 0..CONFLICTS_MAX {
        let Some((target, seen)) = store.target(id).await? else { return Ok(()) };
        let next = target.bury(now);
        if next.entries.is_empty() {
            return Ok(());
        }
        match store.commit(Batch::of(next, seen)).await {
            Err(Error::Conflict) => {}
            outcome => return outcome,
        }
    }
    Err(Error::Conflict)
}

/// Settles every target that there is something to hold for, or of which a rule was seen, and deletes the
/// rules of ours that no target wants: the backstop.
///
/// INVARIANT (unknown-is-asked-last): the firewalls are read before the targets are listed. A target
/// is stored before its first rule is written, so one that is still unknown afterwards has no rules.
/// A sweep that fails keeps no target from being settled.
pub async fn reconcile(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    token: &ClaimToken,
    now: Timestamp,
) -> Result<(), Error> {
    let found = outside.ours().await;
    let known = all(store).await?;
    let (found, unseen) = match found {
        Ok(found) => (found, Ok(())),
        Err(error) => (vec![], Err(error)),
    };
    let owners: BTreeSet<Owner> = known.iter().map(Target::owner).collect();
    let seen: BTreeSet<Owner> = found.iter().map(|it| it.name.owner.clone()).collect();
    let swept = sweep(store, outside, found, &owners, now).await;
    let held = known
        .into_iter()
        .filter(|it| it.policy().is_some() || !it.grants().is_empty() || seen.contains(&it.owner()));
    let settled =
        each(
            held.map(|it| it.id).collect(),
            |id| async move { settle(store, outside, &id, token, now).await },
        );
    unseen.and(swept).and(settled.await)
}

/// Deletes rules of ours whose target is unknown, but for the locks of machines that are there: whoever
/// lost the table, or named another one, must not find their machines open.
async fn sweep(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    mut found: Vec<OurRule>,
    known: &BTreeSet<Owner>,
    now: Timestamp,
) -> Result<(), Error> {
    found.retain(|it| !known.contains(&it.name.owner));
    let is_lock = |it: &OurRule| it.name.gate.is_none();
    if found.iter().any(is_lock) {
        let there = machines(outside).await?;
        found.retain(|it| {
            let is_kept = is_lock(it) && there.as_ref().is_none_or(|there| there.contains(&it.name.owner));
            if is_kept {
                let (rule, firewall) = (&it.name, &it.firewall);
                tracing::warn!(%rule, %firewall, "A lock that this table does not know of stays: enable its \
                    machine, then disable it, to take the lock away");
            }
            !is_kept
        });
    }
    let mut outcome = Ok(());
    for orphan in found {
        let deleted = delete(store, outside, orphan, now).await;
        outcome = outcome.and(deleted);
    }
    outcome
}

/// What the machines that are there are called in rules; `None` where some could not be seen.
async fn machines(inventory: &impl Inventory) -> Result<Option<BTreeSet<Owner>>, Error> {
    let (mut owners, mut after) = (BTreeSet::new(), None::<TargetId>);
    loop {
        let page = inventory.machines(after.as_ref(), PAGE).await?;
        if !page.unseen.is_empty() {
            return Ok(None);
        }
        owners.extend(page.items.iter().map(|it| Owner::from(&it.id)));
        match page.items.last().filter(|_| page.items.len() == PAGE) {
            Some(last) => after = Some(last.id.clone()),
            None => return Ok(Some(owners)),
        }
    }
}

async fn delete(
    store: &impl Store,
    firewalls: &impl Firewalls,
    orphan: OurRule,
    now: Timestamp,
) -> Result<(), Error> {
    record(store, &orphan, now).await?;
    let OurRule { firewall, name, etag } = orphan;
    let change = Change { firewall, name, if_match: etag, to: ChangeTo::Delete };
    firewalls.write(None, &[change]).await
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
