//! Bringing firewalls to what their target's leases say. Safe to repeat, safe to abandon anywhere.

use crate::{
    Error,
    ports::{Batch, Firewalls, Rank, Seen, Store},
    transact::CONFLICTS_MAX,
    worker::{SETTLE_ON, after},
};
use jiff::Timestamp;
use portcullis_domain::{
    CLOSED_AT_ONCE_MAX, Chain, Change, ClaimToken, CorrelationId, Entry, Fact, Next, Pass, RuleSet, Snapshot,
    Standing, Target, TargetId, diff,
};
use std::{collections::BTreeSet, slice};

/// How often one worker goes round before the next one has to; a pass that only records more of what it saw is none.
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
    settle_until(store, firewalls, id, token, (now, after(now, SETTLE_ON))).await
}

/// The same of a worker that began earlier: after `last` it begins no further pass, so that it lives to end the one that it has begun.
pub(crate) async fn settle_until(
    store: &impl Store,
    firewalls: &impl Firewalls,
    id: &TargetId,
    token: &ClaimToken,
    (now, last): (Timestamp, Timestamp),
) -> Result<(), Error> {
    let (mut now, mut wrote, mut turn) = (now, false, None);
    let mut outcome = Err(Error::Conflict);
    let (mut left, mut has_failed) = (ROUNDS_MAX, false);
    while 0 < left {
        left -= 1;
        // What was loaded and read is good for one pass: after a failure all of it is asked for anew. On the heap: a turn is
        // much to carry for everybody who waits for a settle.
        let begun = match turn.take() {
            Some(turn) => Ok(Some(turn)),
            None if has_failed => Box::pin(begin_again(store, firewalls, id, token, now, &mut wrote)).await,
            None => Box::pin(begin(store, firewalls, id, token, now, &mut wrote)).await,
        };
        let worker = Worker { store, firewalls, token, last: (0 < left).then_some(last) };
        let passed = match begun {
            Ok(Some(turn)) => Box::pin(worker.pass(turn, &mut wrote)).await,
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        outcome = match passed {
            Ok(None) => return Ok(()),
            Ok(Some(next)) => {
                left += usize::from(next.only_records);
                (now, wrote, turn) = (next.now, false, Some(next));
                Ok(())
            }
            Err(error @ (Error::Conflict | Error::Unavailable { .. })) => {
                has_failed = true;
                Err(error)
            }
            Err(error @ (Error::Refused(_) | Error::NotFound { .. } | Error::Broken { .. })) => {
                Box::pin(give_up(store, id, token, now, &error)).await;
                return Err(error);
            }
        };
    }
    if let Err(error) = &outcome {
        Box::pin(give_up(store, id, token, now, error)).await;
    }
    outcome
}

/// A worker's turn at one target: it holds the claim, and knows what is wanted and what is held.
struct Turn {
    target: Target,
    seen: Seen,
    /// What the firewalls held when they were last read.
    actual: Snapshot,
    /// When that is decided by which the next pass acts.
    now: Timestamp,
    /// What the pass before could not shut, whatever it tried: that waits, and keeps nothing else from being opened.
    unshut: Vec<Change>,
    /// Is the next write recorded already?
    is_intended: bool,
    /// Does this pass only record more of what the pass before saw: leases that are over, more than go into one commit?
    /// There are fewer of them after each.
    only_records: bool,
}

struct Worker<'a, S, F> {
    store: &'a S,
    firewalls: &'a F,
    token: &'a ClaimToken,
    /// Until when it goes on by itself; not at all where this is its last pass.
    last: Option<Timestamp>,
}

/// Load, claim, read. Nothing where it is somebody else's turn, and the target is due when that ends.
///
/// `now` is before the load: a lease that is over at `now` was not extended when we loaded.
async fn begin(
    store: &impl Store,
    firewalls: &impl Firewalls,
    id: &TargetId,
    token: &ClaimToken,
    now: Timestamp,
    wrote: &mut bool,
) -> Result<Option<Box<Turn>>, Error> {
    let Some((target, seen)) = take_turn(store, id, token, now, wrote).await? else { return Ok(None) };
    let actual = firewalls.read(id).await?;
    Ok(Some(Box::new(Turn {
        target,
        seen,
        actual,
        now,
        unshut: vec![],
        is_intended: false,
        only_records: false,
    })))
}

/// The same after a round that failed, which may have waited for long: it decides by the time of its read, and loads once
/// more after that, so that it opens nothing that was over by then.
///
/// INVARIANT (decide-no-later-than-you-loaded): cited here, because the load comes after the read whose time counts.
async fn begin_again(
    store: &impl Store,
    firewalls: &impl Firewalls,
    id: &TargetId,
    token: &ClaimToken,
    now: Timestamp,
    wrote: &mut bool,
) -> Result<Option<Box<Turn>>, Error> {
    let Some(begun) = begin(store, firewalls, id, token, now, wrote).await? else { return Ok(None) };
    let now = now.max(begun.actual.read_at);
    let (target, seen) = load(store, id).await?;
    match target.standing(token, now) {
        Standing::Mine => Ok(Some(Box::new(Turn { target, seen, now, ..*begun }))),
        Standing::Free | Standing::Taken => Ok(None),
    }
}

/// What a pass writes: what shuts, if that was not tried in vain just now, else what opens. Where something opens and a
/// closing can be told, as where the commit was lost that should have done so, it writes nothing and tells that.
///
/// INVARIANT (closing-waits-for-no-opening): a pass that has anything to shut only shuts, and its read-back is confirmed
/// before anything opens. So nothing that becomes of an opening, a refusal, no answer or the end of its worker, keeps
/// anything open or makes it be seen as open. Where only one of the two is to be done, which is nearly always, that is
/// one pass with one write, as if both went together. Where both are, the read-back of the first is what the second
/// begins by, and one commit confirms the first and records the second: it costs a write, a read and a commit more.
struct Step {
    decided: RuleSet,
    kind: Kind,
    changes: Vec<Change>,
}

impl Step {
    fn of(target: &Target, actual: &Snapshot, now: Timestamp, unshut: &[Change]) -> Self {
        let decided = target.rules(now);
        let wanted = diff(actual, &target.owner(), &decided);
        let is_new = !wanted.shuts().is_empty() && !are_same(wanted.shuts(), unshut);
        let is_untold = || !wanted.opens().is_empty() && target.would_close(actual, now);
        let (kind, changes) = if is_new {
            (Kind::Shuts, wanted.shuts())
        } else if is_untold() {
            (Kind::Shuts, &[][..])
        } else {
            (Kind::Opens, wanted.opens())
        };
        Self { decided, kind, changes: changes.to_vec() }
    }
}

impl<S: Store, F: Firewalls> Worker<'_, S, F> {
    /// Write, read back, confirm; gives the turn if it goes on.
    async fn pass(&self, turn: Box<Turn>, wrote: &mut bool) -> Result<Option<Box<Turn>>, Error> {
        let mut turn = *turn;
        let (now, owner) = (turn.now, turn.target.owner());
        let Step { decided, kind, changes } = Step::of(&turn.target, &turn.actual, now, &turn.unshut);
        if !changes.is_empty() {
            let answer;
            (turn, answer) = self.write(turn, slice::from_ref(&changes), kind, wrote).await?;
            let left = diff(&turn.actual, &owner, &decided);
            let tries = match kind {
                Kind::Shuts | Kind::ShutsAlone => alone(&changes, left.shuts(), &answer, &turn.actual),
                Kind::Opens => vec![],
            };
            if !tries.is_empty() {
                (turn, _) = self.write(turn, &tries, Kind::ShutsAlone, wrote).await?;
            }
        }
        let mut opens_later = false;
        if kind == Kind::Shuts {
            let left = diff(&turn.actual, &owner, &decided);
            turn.unshut = left.shuts().to_vec();
            opens_later = !left.opens().is_empty();
        }
        let Turn { target, seen, actual, unshut, .. } = turn;
        let may_go_on = self.last.is_some_and(|last| actual.read_at < last);
        let pass = Pass { wrote: *wrote, decided: &decided, now, opens_later, may_go_on };
        // INVARIANT (decide-no-later-than-you-loaded): what is committed now is newer than this read-back.
        let now = actual.read_at;
        let next_step = |target: &Target| Step::of(target, &actual, now, &unshut).changes;
        let concluded = |target: Target| {
            let next = target.conclude(&actual, &pass);
            let changes = if next.target.is_claimed() { next_step(&next.target) } else { vec![] };
            if changes.is_empty() { next } else { next.and(|target| target.intend(&actual, &changes)) }
        };
        let (target, seen, entries) =
            commit_mine(self.store, (target, seen), self.token, pass.now, concluded).await?;
        say_confirmed(&target.id, &entries);
        let goes_on = target.is_claimed();
        let is_intended = goes_on && !next_step(&target).is_empty();
        let closed = entries.iter().filter(|it| matches!(it.fact, Fact::Closed { .. })).count();
        let only_records = !is_intended && closed == CLOSED_AT_ONCE_MAX;
        Ok(goes_on.then(|| Box::new(Turn { target, seen, actual, now, unshut, is_intended, only_records })))
    }

    /// Records what it is about to write, if that is not recorded yet, writes it, and reads it back.
    async fn write(
        &self,
        turn: Turn,
        calls: &[Vec<Change>],
        kind: Kind,
        wrote: &mut bool,
    ) -> Result<(Turn, Answer), Error> {
        let Turn { mut target, mut seen, actual, now, unshut, is_intended, .. } = turn;
        let id = target.id.clone();
        if !is_intended {
            let changes = calls.concat();
            let intended = |target: Target| target.intend(&actual, &changes);
            (target, seen, _) = commit_mine(self.store, (target, seen), self.token, now, intended).await?;
        }
        *wrote = true;
        let mut worst = Answer::Done;
        for call in calls {
            let answer = match kind {
                Kind::Shuts | Kind::Opens => self.send(&target, call).await,
                Kind::ShutsAlone => self.send_ever_less(&target, call).await,
            };
            worst = worst.max(answer);
        }
        let read = self.firewalls.read(&id).await?;
        let actual = match kind {
            Kind::Shuts | Kind::ShutsAlone => Snapshot { unshut: worst.refusal(), ..read },
            Kind::Opens => Snapshot { refused: worst.refusal(), unshut: actual.unshut, ..read },
        };
        Ok((Turn { target, seen, actual, now, unshut, is_intended: false, only_records: false }, worst))
    }

    /// One change after the other, until one is not refused.
    async fn send_ever_less(&self, target: &Target, tries: &[Change]) -> Answer {
        let mut answer = Answer::Done;
        for change in tries {
            answer = self.send(target, slice::from_ref(change)).await;
            match answer {
                Answer::Refused(_) => {}
                Answer::Done | Answer::None => break,
            }
        }
        answer
    }

    /// One call of the firewalls.
    ///
    /// INVARIANT (the-read-back-decides): what a write answers decides nothing, but whether less of it is tried.
    async fn send(&self, target: &Target, changes: &[Change]) -> Answer {
        let answer = match self.firewalls.write(Some(&target.id), changes).await {
            Ok(()) => Answer::Done,
            Err(error @ (Error::Refused(_) | Error::Broken { .. })) => Answer::Refused(error.full()),
            Err(error @ (Error::NotFound { .. } | Error::Conflict | Error::Unavailable { .. })) => {
                tracing::debug!(target.id = %target.id, error = %error.full(), "A write of rules failed, or \
                    got no answer");
                Answer::None
            }
        };
        say_written(target, changes, answer.word());
        answer
    }
}

/// What is left of what was to be shut together, each change to be tried by itself: one that fails must not keep the
/// others from being made. What was refused for good is tried in ever less of it.
fn alone(sent: &[Change], left: &[Change], answer: &Answer, seen: &Snapshot) -> Vec<Vec<Change>> {
    let (is_refused, was_alone) = match answer {
        Answer::Done => return vec![],
        Answer::None => (false, sent.len() == 1),
        Answer::Refused(_) => (true, sent.len() == 1 && are_same(sent, left)),
    };
    let tries = left.iter().map(|it| {
        let whole = (!was_alone).then(|| it.clone());
        let narrower = if is_refused { it.narrower(seen) } else { vec![] };
        whole.into_iter().chain(narrower).collect::<Vec<_>>()
    });
    tries.filter(|it| !it.is_empty()).collect()
}

/// What came of a call; the worst is last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Done,
    /// None, or one that another try may change.
    None,
    /// Why, and that will be so again.
    Refused(String),
}

impl Answer {
    fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::None => "none",
            Self::Refused(_) => "refused",
        }
    }

    fn refusal(&self) -> Option<String> {
        match self {
            Self::Refused(why) => Some(why.clone()),
            Self::Done | Self::None => None,
        }
    }
}

/// Do they say the same, of whichever versions?
fn are_same(one: &[Change], other: &[Change]) -> bool {
    let says = |it: &Change| (it.firewall.clone(), it.name.clone(), it.to.clone());
    one.iter().map(says).eq(other.iter().map(says))
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What shuts, in one call.
    Shuts,
    /// What shuts, each change by itself, in ever less of it until that is not refused.
    ShutsAlone,
    /// What opens, in one call.
    Opens,
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
        // INVARIANT (unknown-is-asked-last): what stands in its name now is another installation's.
        if target.is_at_rest() {
            return Ok(None);
        }
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
        tracing::debug!(target.id = %id, error = %error.full(), "A claim could not be released, and stays \
            until its end");
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
    tracing::info!(target.id = %target.id, rules, answer, correlation_ids, "Rules were written to the firewalls");
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
    tracing::info!(target.id = %id, opened, closed, failed, correlation_ids, "A read-back confirmed changes \
        of grants");
}

/// Each of them once, in a form that can be searched; nothing of none.
fn words(all: impl IntoIterator<Item = String>) -> Option<String> {
    let all: BTreeSet<String> = all.into_iter().collect();
    (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join(" "))
}
