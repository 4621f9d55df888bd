//! The clock's side: what is due, and everything, whatever anybody asked.

use crate::{
    Error, Rights, lapse,
    load::all,
    ports::{Batch, Clock, Due, Firewalls, Inventory, OurRule, Rank, Store},
    settle,
    sweep::{clear, sweep},
    transact::{Attempt, transact},
    uphold::uphold_rights,
    worker::{SETTLE_ON, caught},
};
use futures_util::{StreamExt, future::join, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{ClaimToken, Owner, Target, TargetId, WORKER_LIFE};
use std::collections::BTreeSet;

/// How many due things one worker takes on.
const DUE_MAX: usize = 100;
/// How many targets one worker settles at once: one after another, the last ones would be late. All that it takes
/// on, so that they share their reads of a firewall that they share.
const AT_ONCE_MAX: usize = DUE_MAX;
/// How long a worker starts on targets of which only a rule was seen: first all rules have to be listed.
const SETTLE_LATE: SignedDuration = SignedDuration::from_secs(15);
const _: () = assert!(SETTLE_LATE.as_secs() < WORKER_LIFE.as_secs());
/// How often one worker sweeps before the next one has to.
const SWEEPS_MAX: usize = 3;

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
    transact(store, std::slice::from_ref(id), Rank::Worker, |_| async move {
        let Some((target, seen)) = store.target(id).await? else { return Ok(Attempt::Done(())) };
        let next = target.bury(now);
        if next.entries.is_empty() {
            return Ok(Attempt::Done(()));
        }
        Ok(Attempt::commit(Batch::of(next, seen), ()))
    })
    .await
}

/// Ends what nothing permits any more, settles every target that there is something to hold for, or of which a rule was
/// seen, and beside that deletes the rules of ours that nobody wants: the backstop. However long a sweep takes, or if it
/// fails, it keeps no target from being settled. What it cannot begin in time is the next one's, and it fails: a worker that died at that
/// would leave its claims standing, and nobody closes anything there before they are over.
pub async fn reconcile(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    rights: &Rights,
    token: &ClaimToken,
    clock: &impl Clock,
) -> Result<(), Error> {
    let now = clock.now();
    let known = all(store).await?;
    let settled = |ids: Vec<TargetId>, within: SignedDuration| {
        let last = now.saturating_add(within).unwrap_or(Timestamp::MAX);
        each(ids, move |id| async move {
            if last < clock.now() {
                let source = format!("`{id}`: the round lasted longer than a worker may live").into();
                return Err(Error::Unavailable { doing: "begin to settle in time", source });
            }
            settle(store, outside, &id, token, now).await
        })
    };
    let is_held = |it: &&Target| it.policy().is_some() || !it.grants().is_empty();
    let held: BTreeSet<TargetId> = known.iter().filter(is_held).map(|it| it.id.clone()).collect();
    let round = async || {
        let (over, found): (Vec<OurRule>, Vec<OurRule>) =
            outside.ours().await?.into_iter().partition(|it| it.is_over);
        let (known, orphans) = told_apart(store, &known, found.clone()).await?;
        let seen: BTreeSet<Owner> = found.into_iter().map(|it| it.name.owner).collect();
        // One worker settles a target once at a time: its claim would not keep it from itself.
        let left = known.into_iter().filter(|it| !held.contains(&it.id) && seen.contains(&it.owner()));
        let left = settled(left.map(|it| it.id).collect(), SETTLE_LATE);
        let swept = join(sweep(store, outside, orphans, now), clear(store, outside, over, now));
        let (left, (swept, cleared)) = join(left, swept).await;
        left.and(swept).and(cleared)
    };
    let rest = async {
        let mut outcome = Err(Error::Conflict);
        for _ in 0..SWEEPS_MAX {
            outcome = round().await;
            // Somebody wrote beside it: perhaps we, in a firewall whose rules have one version.
            if !matches!(outcome, Err(Error::Conflict)) {
                break;
            }
        }
        outcome
    };
    // Beside the settling: an authority that is slow, or cannot be read, keeps no port open that should be shut by now. What it ends is due.
    let beside = join(rest, uphold_rights(store, rights, now));
    let (settled, (rest, upheld)) = join(settled(in_turn(&held, now), SETTLE_ON), beside).await;
    settled.and(rest).and(upheld)
}

/// From another one on each time: where a worker does not live long enough for all, none is always the last.
fn in_turn(held: &BTreeSet<TargetId>, now: Timestamp) -> Vec<TargetId> {
    // Fibonacci hashing: consecutive runs begin far apart. Its upper half: the lower one repeats itself where the time
    // between two runs is a multiple of how many there are.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut ids: Vec<TargetId> = held.iter().cloned().collect();
    let turn = now.as_second().unsigned_abs().wrapping_mul(SPREAD) >> 32;
    let first = turn.checked_rem(ids.len() as u64).and_then(|it| usize::try_from(it).ok());
    ids.rotate_left(first.unwrap_or(0));
    ids
}

/// Every target that has something to hold or to await, and those of the rules that were found whose target is none of them.
///
/// INVARIANT (unknown-is-asked-last): the firewalls are read before the targets are listed. A target is stored
/// before its first rule is written, so one that is still unknown afterwards has no rules.
async fn told_apart(
    store: &impl Store,
    known: &[Target],
    mut found: Vec<OurRule>,
) -> Result<(Vec<Target>, Vec<OurRule>), Error> {
    let owners = |known: &[Target]| -> BTreeSet<Owner> {
        known.iter().filter(|it| !it.is_at_rest()).map(Target::owner).collect()
    };
    let before = owners(known);
    found.retain(|it| !before.contains(&it.name.owner));
    // Who was known before they were read is known.
    if found.is_empty() {
        return Ok((known.to_vec(), found));
    }
    let known = all(store).await?;
    let after = owners(&known);
    found.retain(|it| !after.contains(&it.name.owner));
    Ok((known, found))
}

/// One that fails or panics keeps no other waiting; the first failure is told.
async fn each<T, F: Future<Output = Result<(), Error>>>(
    items: Vec<T>,
    work: impl Fn(T) -> F,
) -> Result<(), Error> {
    let outcomes = stream::iter(items).map(|item| caught(work(item))).buffer_unordered(AT_ONCE_MAX);
    outcomes.fold(Ok(()), |all, one| async move { all.and(one) }).await
}
