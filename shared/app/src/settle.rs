//! Bringing firewalls to what their target's leases say. Safe to repeat, safe to abandon anywhere.

use crate::{
    CONFLICTS_MAX, Error,
    ports::{Batch, Firewalls, Seen, Store},
};
use jiff::Timestamp;
use portcullis_domain::{ClaimToken, Next, Snapshot, Standing, Target, TargetId, diff};

/// How often one worker goes round before the next one has to.
const ROUNDS_MAX: usize = 6;

/// Brings one target's firewalls to what its leases say.
///
/// Nobody's word is taken for what landed: our claim, found on loading, tells that our commit did,
/// and the read-back tells what our writes did. So every failure is answered by going round.
pub async fn settle(
    store: &impl Store,
    firewalls: &impl Firewalls,
    id: &TargetId,
    token: &ClaimToken,
    now: Timestamp,
) -> Result<(), Error> {
    let (mut now, mut wrote) = (now, false);
    let mut outcome = Err(Error::Conflict);
    for _ in 0..ROUNDS_MAX {
        outcome = match round(store, firewalls, id, token, now, &mut wrote).await {
            Ok(Round::Rest) => return Ok(()),
            // INVARIANT (decide-no-later-than-you-loaded): the next load is after this read-back.
            Ok(Round::Due { since }) => {
                (now, wrote) = (since, false);
                Ok(())
            }
            Err(error @ (Error::Conflict | Error::Unavailable { .. })) => Err(error),
            Err(error @ (Error::Refused(_) | Error::NotFound { .. } | Error::Broken { .. })) => {
                give_up(store, id, token, now, &error).await;
                return Err(error);
            }
        };
    }
    if let Err(error) = &outcome {
        give_up(store, id, token, now, error).await;
    }
    outcome
}

enum Round {
    /// Nothing is due, or it is somebody else's turn and the target is due when that ends.
    Rest,
    /// Something came due meanwhile.
    Due { since: Timestamp },
}

/// Load, claim, read, write, read back, confirm.
///
/// `now` is before the load: a lease that is over at `now` was not extended when we loaded. The next
/// round's `now` is this round's read-back, which is before the next load.
async fn round(
    store: &impl Store,
    firewalls: &impl Firewalls,
    id: &TargetId,
    token: &ClaimToken,
    now: Timestamp,
    wrote: &mut bool,
) -> Result<Round, Error> {
    let (target, seen) = load(store, id).await?;
    let (target, seen) = match target.standing(token, now) {
        Standing::Taken => return Ok(Round::Rest),
        Standing::Mine => (target, seen),
        Standing::Free => {
            // INVARIANT (a-claim-outlives-its-worker): cited here, because from here on we write.
            // INVARIANT (a-write-is-looked-at-again): a claim that is found standing is a dead worker's, and
            // what it wrote may land yet. It is counted from our read-back: we may have slept since `now`.
            *wrote |= target.is_claimed();
            let next = target.claim(token, now);
            let target = next.target.clone();
            store.commit(Batch::of(next, seen)).await?;
            (target, seen.next())
        }
    };
    let mut actual = firewalls.read(id).await?;
    let decided = target.rules(now);
    let diff = diff(&actual, &target.owner(), &decided);
    let (mut target, mut seen) = (target, seen);
    if !diff.changes.is_empty() {
        let intended = |target: Target| target.intend(&actual, &diff);
        (target, seen) = commit_mine(store, (target, seen), token, now, intended).await?;
        *wrote = true;
        // INVARIANT (the-read-back-decides): what the write answers decides nothing.
        let refused = match firewalls.write(Some(id), &diff.changes).await {
            Ok(()) => None,
            Err(error @ (Error::Refused(_) | Error::Broken { .. })) => Some(error.full()),
            Err(error @ (Error::NotFound { .. } | Error::Conflict | Error::Unavailable { .. })) => {
                tracing::debug!(target.id = %id, error = %error.full(), "A write went unanswered");
                None
            }
        };
        actual = Snapshot { refused, ..firewalls.read(id).await? };
    }
    let confirmed = |target: Target| target.confirm(&actual, *wrote, &decided, now);
    let (target, _) = commit_mine(store, (target, seen), token, now, confirmed).await?;
    match target.due_at() {
        Some(due_at) if due_at <= actual.read_at => Ok(Round::Due { since: actual.read_at }),
        Some(_) | None => Ok(Round::Rest),
    }
}

/// Commits on whatever version is there, as long as the claim is ours, and gives what is there then.
///
/// INVARIANT (asks-do-not-send-us-round): asks need no claim and may come in at any time. What they
/// want is due by them; they must not send us round the cloud again, or a rush of them would keep
/// every gate as it is.
async fn commit_mine(
    store: &impl Store,
    (mut target, mut seen): (Target, Seen),
    token: &ClaimToken,
    now: Timestamp,
    step: impl Fn(Target) -> Next + Send,
) -> Result<(Target, Seen), Error> {
    let id = target.id.clone();
    for _ in 0..CONFLICTS_MAX {
        let next = step(target);
        let after = next.target.clone();
        match store.commit(Batch::of(next, seen)).await {
            Err(Error::Conflict) => (target, seen) = load(store, &id).await?,
            Ok(()) => return Ok((after, seen.next())),
            Err(error) => return Err(error),
        }
        match target.standing(token, now) {
            Standing::Mine => {}
            Standing::Free | Standing::Taken => break,
        }
    }
    Err(Error::Conflict)
}

/// Gives the claim back, so that the next try need not wait for its end. If that fails too, it waits.
async fn give_up(store: &impl Store, id: &TargetId, token: &ClaimToken, now: Timestamp, error: &Error) {
    let Ok((target, seen)) = load(store, id).await else { return };
    match target.standing(token, now) {
        Standing::Mine => {}
        Standing::Free | Standing::Taken => return,
    }
    let why = error.full();
    let given_up =
        commit_mine(store, (target, seen), token, now, |target| target.give_up(why.clone(), now)).await;
    if let Err(error) = given_up {
        tracing::debug!(target.id = %id, error = %error.full(), "A claim was left standing until its end");
    }
}

async fn load(store: &impl Store, id: &TargetId) -> Result<(Target, Seen), Error> {
    let found = store.target(id).await?;
    found.ok_or_else(|| Error::NotFound { what: "target", name: id.to_string() })
}
