//! Bringing firewalls to what their target's leases say. Safe to repeat, safe to abandon anywhere.

use crate::{
    CONFLICTS_MAX, Error,
    ports::{Batch, Firewalls, Rank, Seen, Store},
};
use jiff::Timestamp;
use portcullis_domain::{
    Chain, Change, ClaimToken, CorrelationId, Entry, Fact, Next, Snapshot, Standing, Target, TargetId, diff,
};
use std::collections::BTreeSet;

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
    let Some((mut target, mut seen)) = take_turn(store, id, token, now, wrote).await? else {
        return Ok(Round::Rest);
    };
    let mut actual = firewalls.read(id).await?;
    let decided = target.rules(now);
    let diff = diff(&actual, &target.owner(), &decided);
    if !diff.changes.is_empty() {
        let intended = |target: Target| target.intend(&actual, &diff);
        (target, seen, _) = commit_mine(store, (target, seen), token, now, intended).await?;
        *wrote = true;
        // INVARIANT (the-read-back-decides): what the write answers decides nothing.
        let (answer, refused) = match firewalls.write(Some(id), &diff.changes).await {
            Ok(()) => ("done", None),
            Err(error @ (Error::Refused(_) | Error::Broken { .. })) => ("refused", Some(error.full())),
            Err(error @ (Error::NotFound { .. } | Error::Conflict | Error::Unavailable { .. })) => {
                tracing::debug!(target.id = %id, error = %error.full(), "A write went unanswered");
                ("none", None)
            }
        };
        say_written(&target, &diff.changes, answer);
        actual = Snapshot { refused, ..firewalls.read(id).await? };
    }
    let confirmed = |target: Target| target.confirm(&actual, *wrote, &decided, now);
    let (target, _, entries) = commit_mine(store, (target, seen), token, now, confirmed).await?;
    say_confirmed(id, &entries);
    match target.due_at() {
        Some(due_at) if due_at <= actual.read_at => Ok(Round::Due { since: actual.read_at }),
        Some(_) | None => Ok(Round::Rest),
    }
}

/// Loads, and claims unless the claim is ours already; nothing where it is somebody else's turn.
///
/// INVARIANT (asks-do-not-send-us-round): whoever loses the race for a claim to an ask has not been round.
async fn take_turn(
    store: &impl Store,
    id: &TargetId,
    token: &ClaimToken,
    now: Timestamp,
    wrote: &mut bool,
) -> Result<Option<(Target, Seen)>, Error> {
    for lost in 0..CONFLICTS_MAX {
        let _turn = store.turn(&Chain::from(id), Rank::Worker, lost).await;
        let (target, seen) = load(store, id).await?;
        match target.standing(token, now) {
            Standing::Taken => return Ok(None),
            Standing::Mine => return Ok(Some((target, seen))),
            Standing::Free => {}
        }
        // INVARIANT (a-claim-outlives-its-worker): cited here, because from here on we write.
        // INVARIANT (a-write-is-looked-at-again): a claim that is found standing is a dead worker's, and
        // what it wrote may land yet. It is counted from our read-back: we may have slept since `now`.
        *wrote |= target.is_claimed();
        let next = target.claim(token, now);
        let target = next.target.clone();
        match store.commit(Batch::of(next, seen)).await {
            Err(Error::Conflict) => {}
            Ok(()) => return Ok(Some((target, seen.next()))),
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict)
}

/// Commits on whatever version is there, as long as the claim is ours, and gives what is there then, and its entries.
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
) -> Result<(Target, Seen, Vec<Entry>), Error> {
    let id = target.id.clone();
    let chain = Chain::from(&id);
    let mut turn = store.turn(&chain, Rank::Worker, 0).await;
    for lost in 1..=CONFLICTS_MAX {
        let next = step(target);
        let (after, entries) = (next.target.clone(), next.entries.clone());
        match store.commit(Batch::of(next, seen)).await {
            Err(Error::Conflict) => {
                // A first loss is to asks that came before the turn; others are to writers that no turn holds back.
                if 1 < lost {
                    drop(turn);
                    turn = store.turn(&chain, Rank::Worker, lost).await;
                }
                (target, seen) = load(store, &id).await?;
            }
            Ok(()) => return Ok((after, seen.next(), entries)),
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

/// Logs that rules went out: by their names alone, since what they say names addresses. Whoever waits for it finds it by
/// the matters of the grants behind those gates.
fn say_written(target: &Target, changes: &[Change], answer: &'static str) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let rules = words(changes.iter().map(|it| it.name.to_string()));
    let gates: BTreeSet<_> = changes.iter().filter_map(|it| it.name.gate).collect();
    let grants = target.grants().values().filter(|it| gates.contains(&it.gate));
    let matters = grants.map(|it| it.correlation.as_ref().map_or(it.request.as_str(), CorrelationId::as_str));
    let correlation_ids = words(matters.map(str::to_owned));
    tracing::info!(target.id = %target.id, rules, answer, correlation_ids, "Rules were sent to their firewalls");
}

/// Logs what a read-back showed of grants, where it showed something new.
fn say_confirmed(id: &TargetId, entries: &[Entry]) {
    let (mut opened, mut closed, mut failed, mut matters) = (vec![], vec![], vec![], vec![]);
    for fact in entries.iter().map(|it| &it.fact) {
        let (told, grant) = if let Fact::Opened { grant, .. } = fact {
            (&mut opened, grant)
        } else if let Fact::Closed { grant, .. } = fact {
            (&mut closed, grant)
        } else if let Fact::OpenFailed { grant, .. } = fact {
            (&mut failed, grant)
        } else {
            continue;
        };
        told.push(grant.to_string());
        let request = || fact.request().map(|it| it.to_string());
        matters.extend(fact.correlation().map(ToString::to_string).or_else(request));
    }
    if matters.is_empty() {
        return;
    }
    let (opened, closed, failed) = (words(opened), words(closed), words(failed));
    let correlation_ids = words(matters);
    tracing::info!(target.id = %id, opened, closed, failed, correlation_ids, "Grants were seen to change");
}

/// Each of them once, in a form that can be searched; nothing of none.
fn words(all: impl IntoIterator<Item = String>) -> Option<String> {
    let all: BTreeSet<String> = all.into_iter().collect();
    (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join(" "))
}
