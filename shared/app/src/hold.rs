//! The clock that closes: holds until something is due, and settles it then.

use crate::{
    Error,
    ports::{Clock, Due, Firewalls, Store},
    settle::settle_until,
    unshut::unshut,
    watch::take_on,
    worker::{SETTLE_ON, after, live, wait},
};
use futures_util::{Stream, StreamExt as _, stream::FuturesUnordered};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{CLAIM, ClaimToken, RETRY_OVERDUE_MAX, TargetId};
use std::{collections::BTreeMap, future::poll_fn, pin::pin, task::Poll};

/// How many workers may be at it: one that hangs on a firewall must not hold up the others.
const WORKERS_MAX: usize = 8;
/// How many due things one worker takes on.
const DUE_MAX: usize = 100;
/// How long what was taken on is left to its worker while it is still due by the same time: it may not be
/// claimed yet, the index may be behind, or the store did not answer.
const HEAD_START: SignedDuration = SignedDuration::from_secs(1);
/// No two looks at the index are further apart: it may be a moment behind, and nobody may tell of a commit.
const LOOK: SignedDuration = SignedDuration::from_secs(2);
/// How long the clock rests when it cannot see what is due.
const AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(1);

/// What came of holding.
#[derive(Debug, Default)]
pub struct Held {
    /// How many due things were taken on, each as often as it was due.
    pub taken_on: usize,
    /// The first failure. It is in the log already, and what failed is due again.
    pub failure: Option<Error>,
}

/// Settles what is due when it is due, until `until`; without one, for ever. Returns at once when nothing
/// will be due by then; what it began it sees to its end.
///
/// A `nudge` says that something may be due earlier than was known; where nobody says so, the next look does.
/// Fails only if the clock cannot be waited for.
///
/// INVARIANT (the-clock-closes): what is due comes from the table; nudges only make things prompt.
pub async fn hold(
    store: &impl Store,
    firewalls: &impl Firewalls,
    clock: &impl Clock,
    token: impl Fn() -> ClaimToken,
    nudges: impl Stream<Item = ()>,
    until: Option<Timestamp>,
) -> Result<Held, Error> {
    let mut nudges = pin!(nudges.fuse());
    let mut workers = FuturesUnordered::new();
    let (mut held, mut busy) = (Held::default(), Taken::default());
    loop {
        let now = clock.now();
        let is_over = until.is_some_and(|until| until <= now);
        busy.forget(now);
        let look = look(store, &busy, until.unwrap_or(Timestamp::MAX), now);
        let seen = beside(&mut workers, &mut held, look).await;
        let due_at = match seen {
            Ok(Seen::Due(due)) if workers.len() < WORKERS_MAX => {
                held.taken_on += due.len();
                busy.take(&due, now);
                let (due, token) = (due.into_iter().map(|(_, due)| due).collect(), token());
                let work = async move { take_on(store, firewalls, due, &token, now).await };
                workers.push(live("expire", clock, now, work));
                continue;
            }
            Ok(Seen::Later(at)) => Some(at),
            // What was done a moment ago hides what the index does not show yet: that it is due anew.
            Ok(Seen::Nothing) if until.is_some() && workers.is_empty() && busy.0.is_empty() => break,
            Ok(Seen::Due(_) | Seen::Nothing) => None,
            Err(error) => {
                tracing::error!(error = error.full(), "The scheduler cannot read the due index");
                held.failure.get_or_insert(error);
                if !is_over {
                    let rest = wait(clock, after(now, AFTER_FAILURE));
                    beside(&mut workers, &mut held, rest).await?;
                    continue;
                }
                None
            }
        };
        if is_over {
            break;
        }
        let next = [due_at, until, busy.until()].into_iter().flatten().min();
        let wake_at = after(now, LOOK).min(next.unwrap_or(Timestamp::MAX));
        let mut sleep = pin!(clock.sleep_until(wake_at));
        poll_fn(|context| {
            if let Poll::Ready(Some(outcome)) = workers.poll_next_unpin(context) {
                held.finish(outcome);
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Some(())) = nudges.as_mut().poll_next(context) {
                return Poll::Ready(Ok(()));
            }
            sleep.as_mut().poll(context)
        })
        .await?;
    }
    while let Some(outcome) = workers.next().await {
        held.finish(outcome);
    }
    Ok(held)
}

/// Settles a target, and again while it is due within seconds: what was not seen to land, and nobody else would look at
/// before the next minute. Where something is due all the time the clock takes over.
pub async fn settle_on(
    store: &impl Store,
    firewalls: &impl Firewalls,
    clock: &impl Clock,
    target: &TargetId,
    token: &ClaimToken,
) -> Result<(), Error> {
    let last = after(clock.now(), SETTLE_ON);
    loop {
        let now = clock.now();
        settle_until(store, firewalls, target, token, (now, last)).await?;
        let due_at = store.target(target).await?.and_then(|(it, _)| it.due_at());
        let now = clock.now();
        let soon = after(now, RETRY_OVERDUE_MAX).min(last);
        let Some(due_at) = due_at.filter(|it| *it <= soon && now < last) else { return Ok(()) };
        wait(clock, due_at).await?;
    }
}

/// Fails if a lease is over for longer than it may take, and was not seen to be shut: it is tried again, and somebody
/// should know meanwhile. Whatever is overdue is due within the claim of a worker, so that only that is looked at.
pub async fn overdue(store: &impl Store, now: Timestamp) -> Result<(), Error> {
    let (mut late, mut first) = (0, None);
    for (_, due) in store.due(after(now, CLAIM), DUE_MAX).await? {
        let Due::Target(id) = due else { continue };
        let Some((target, _)) = store.target(&id).await? else { continue };
        let found = unshut(&target, now).count();
        if 0 < found {
            late += found;
            let why = target.refused().unwrap_or("the port is still open, or its firewall could not be read");
            first.get_or_insert_with(|| format!("`{id}`: {why}"));
        }
    }
    let Some(first) = first else { return Ok(()) };
    let source = format!("{late} leases are over and not confirmed closed; the first is on {first}").into();
    Err(Error::Unavailable { doing: "close the leases that are over", source })
}

impl Held {
    fn finish(&mut self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.failure.get_or_insert(error);
        }
    }
}

/// What a look at the index shows, without what is left to its worker.
enum Seen {
    /// These are due, longest due first.
    Due(Vec<(Timestamp, Due)>),
    /// The next one is due then.
    Later(Timestamp),
    /// Nothing is due before the horizon.
    Nothing,
}

/// Looks at the next thing first: mostly it is not due yet, and one is all that has to be read.
async fn look(store: &impl Store, taken: &Taken, horizon: Timestamp, now: Timestamp) -> Result<Seen, Error> {
    let next = store.due(horizon, taken.0.len() + 1).await?;
    match next.iter().find(|it| !taken.holds(it)) {
        None => Ok(Seen::Nothing),
        Some((at, _)) if now < *at => Ok(Seen::Later(*at)),
        Some(_) => {
            let mut due = store.due(now.min(horizon), taken.0.len() + DUE_MAX).await?;
            due.retain(|it| !taken.holds(it));
            due.truncate(DUE_MAX);
            // Somebody else may have done it all meanwhile.
            Ok(if due.is_empty() { Seen::Later(after(now, HEAD_START)) } else { Seen::Due(due) })
        }
    }
}

/// What was taken on a moment ago: when it was due, and since when its worker has it.
#[derive(Debug, Default)]
struct Taken(BTreeMap<Due, (Timestamp, Timestamp)>);

impl Taken {
    fn take(&mut self, due: &[(Timestamp, Due)], now: Timestamp) {
        self.0.extend(due.iter().map(|(at, due)| (due.clone(), (*at, now))));
    }

    /// What is due by another time was settled since, and is due anew.
    fn holds(&self, (at, due): &(Timestamp, Due)) -> bool {
        self.0.get(due).is_some_and(|(taken, _)| taken == at)
    }

    /// A clock that was set back must not keep anything from being taken on.
    fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, (_, since)| *since <= now && now < after(*since, HEAD_START));
    }

    /// When the first of it is no longer left to its worker.
    fn until(&self) -> Option<Timestamp> {
        self.0.values().map(|(_, since)| after(*since, HEAD_START)).min()
    }
}

/// Does something while the workers go on.
async fn beside<T>(
    workers: &mut FuturesUnordered<impl Future<Output = Result<(), Error>>>,
    held: &mut Held,
    it: impl Future<Output = T>,
) -> T {
    let mut it = pin!(it);
    poll_fn(|context| {
        while let Poll::Ready(Some(outcome)) = workers.poll_next_unpin(context) {
            held.finish(outcome);
        }
        it.as_mut().poll(context)
    })
    .await
}
