//! The clock that closes: sleeps until something is due, and settles it then.

use crate::{alarm::Alarm, site::LocalSite};
use jiff::Timestamp;
use portcullis_app::{Error, expire, reconcile};
use portcullis_domain::{ClaimToken, WORKER_LIFE};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, broadcast::error::RecvError},
    task::JoinHandle,
    time,
};

/// How many workers may be at it: one that hangs on a firewall must not hold up the others.
const WORKERS_MAX: usize = 8;
/// How long a worker has to claim what is due, before the next one looks for what is still due.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long the clock rests after a failure of its own.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Settles what is due, when it is due, until dropped.
///
/// INVARIANT (the-clock-closes): it wakes at the next due time of the table; a commit only makes it
/// look at that time again.
pub async fn run(site: Arc<LocalSite>) -> Result<(), Error> {
    let broken = |source: std::io::Error| Error::Broken { doing: "set an alarm", source: source.into() };
    let mut alarm = Alarm::new().map_err(broken)?;
    let mut committed = site.store.subscribe();
    let workers = Arc::new(Semaphore::new(WORKERS_MAX));
    loop {
        let due_at = match site.store.next_due() {
            Ok(due_at) => due_at,
            Err(error) => {
                tracing::error!(error = error.full(), "The clock cannot see what is due");
                time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        if due_at.is_none_or(|due_at| Timestamp::now() < due_at) {
            tokio::select! {
                woken = alarm.wait_until(due_at) => woken.map_err(broken)?,
                heard = committed.recv() => match heard {
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
            continue;
        }
        let Ok(permit) = Arc::clone(&workers).acquire_owned().await else { return Ok(()) };
        let site = Arc::clone(&site);
        let mut worker: JoinHandle<bool> = tokio::spawn(async move {
            let settled =
                work("expire", expire(&*site.store, &site.outside, &token(), Timestamp::now())).await;
            drop(permit);
            settled
        });
        // Its targets have their own times for the next try; this is for a store that does not answer.
        if let Ok(Ok(false) | Err(_)) = time::timeout(HEAD_START, &mut worker).await {
            time::sleep(AFTER_FAILURE).await;
        }
    }
}

/// Settles everything, now and then, until dropped.
pub async fn backstop(site: Arc<LocalSite>, every: Duration) {
    let mut every = time::interval(every);
    every.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    // The first tick is at once, and that reconcile was done before anything was served.
    every.tick().await;
    loop {
        every.tick().await;
        settle_everything(&site).await;
    }
}

/// Brings every firewall to what the table says; says whether that went well.
pub async fn settle_everything(site: &LocalSite) -> bool {
    work("reconcile", reconcile(&*site.store, &site.outside, &token(), Timestamp::now())).await
}

/// INVARIANT (a-claim-outlives-its-worker): no worker lives longer; it dies at whatever it waits for.
async fn work(what: &'static str, work: impl Future<Output = Result<(), Error>>) -> bool {
    let life = Duration::try_from(WORKER_LIFE).unwrap_or(Duration::MAX);
    match time::timeout(life, work).await {
        Ok(Ok(())) => true,
        Ok(Err(error @ Error::Broken { .. })) => {
            tracing::error!(
                what,
                error = error.full(),
                "Some targets cannot be settled until somebody looks"
            );
            false
        }
        Ok(Err(
            error
            @ (Error::Refused(_) | Error::NotFound { .. } | Error::Conflict | Error::Unavailable { .. }),
        )) => {
            tracing::warn!(
                what,
                error = error.full(),
                "Some targets could not be settled, and are tried again"
            );
            false
        }
        Err(_) => {
            tracing::warn!(what, "A worker outlived its time and was stopped; its targets are tried again");
            false
        }
    }
}

/// No two workers of any two runs of this program on the same data share one.
fn token() -> ClaimToken {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let text = format!("{pid}-{}-{n}", Timestamp::now().as_nanosecond());
    text.parse().unwrap_or_else(|_| unreachable!("digits and dashes are a claim token"))
}
