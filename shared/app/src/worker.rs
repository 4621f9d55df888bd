//! The life of a worker: how long it has, what it may still begin, and what becomes of one that fails.

use crate::{Error, ports::Clock};
use futures_util::{
    FutureExt as _,
    future::{self, Either},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::WORKER_LIFE;
use std::{panic::AssertUnwindSafe, pin::pin};

/// For how long a worker starts on further targets, or on one again. What it begins by then it has time to end: one that
/// dies at it leaves a claim standing, and nobody closes anything there before that is over.
pub(crate) const SETTLE_ON: SignedDuration = SignedDuration::from_secs(10);
const _: () = assert!(2 * SETTLE_ON.as_secs() <= WORKER_LIFE.as_secs());

/// Lets a worker that began at `now` work for as long as one lives: it dies at whatever it waits for. One that
/// panics harms nobody else. What it could not do is due again, and said in the log.
///
/// INVARIANT (a-claim-outlives-its-worker): its life is measured by the clock that its claims are written by.
pub async fn live(
    what: &'static str,
    clock: &impl Clock,
    now: Timestamp,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let work = pin!(caught(work));
    let death = pin!(wait(clock, after(now, WORKER_LIFE)));
    let outcome = match future::select(work, death).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((Ok(()), _)) => Err(Error::Unavailable {
            doing: "finish in time",
            source: "a worker ran longer than it may".into(),
        }),
        Either::Right((Err(error), _)) => Err(error),
    };
    match &outcome {
        Ok(()) => {}
        Err(error @ Error::Broken { .. }) => {
            let error = error.full();
            tracing::error!(what, error, "Settling failed for good: the operator has to act");
        }
        Err(
            error
            @ (Error::Refused(_) | Error::NotFound { .. } | Error::Conflict | Error::Unavailable { .. }),
        ) => {
            let error = error.full();
            tracing::warn!(what, error, "Settling failed, and will be tried again");
        }
    }
    outcome
}

/// With a panic as a failure: what else is done beside it goes on.
pub(crate) async fn caught(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|_| Err(Error::Broken { doing: "go on", source: "a worker panicked".into() }))
}

/// Waits also where the clock wakes early.
pub(crate) async fn wait(clock: &impl Clock, until: Timestamp) -> Result<(), Error> {
    while clock.now() < until {
        clock.sleep_until(until).await?;
    }
    Ok(())
}

/// A time after another one; the last one of all where there is none.
pub(crate) fn after(now: Timestamp, time: SignedDuration) -> Timestamp {
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}
