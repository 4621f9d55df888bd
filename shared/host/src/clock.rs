//! The clock that closes, and who lives by it.

use crate::{alarm, site::Settling, steady};
use futures_util::{FutureExt as _, stream};
use jiff::Timestamp;
use portcullis_app::{Error, hold, live, ports::Clock, reconcile};
use portcullis_domain::ClaimToken;
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::broadcast::error::RecvError, time};

/// How often the clock is looked at while no alarm can be set.
const LOOK_WITHOUT_ALARM: Duration = Duration::from_millis(500);
/// How long a scheduler that failed rests.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often it is logged that no alarm can be set.
const TELL_EVERY_SECS: i64 = 60;

/// When that was last logged, in seconds since 1970.
static TOLD_AT: AtomicI64 = AtomicI64::new(i64::MIN);

/// This process's.
#[derive(Debug)]
struct SteadyClock;

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        steady::now()
    }

    async fn sleep_until(&self, at: Timestamp) -> Result<(), Error> {
        let now = self.now();
        if at <= now {
            return Ok(());
        }
        if let Err(error) = alarm::wait_until(at, steady::running_at(at)).await {
            let (second, told) = (now.as_second(), TOLD_AT.load(Ordering::Relaxed));
            if told.saturating_add(TELL_EVERY_SECS) < second && is_first(told, second) {
                tracing::warn!(%error, "No alarm could be set; until one can, the scheduler reads the clock at short intervals");
            }
            // A timer of this process needs nothing of the kernel. Whoever waits looks at the clock, and waits again.
            let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            time::sleep(left.min(LOOK_WITHOUT_ALARM)).await;
        }
        Ok(())
    }
}

/// Of all who wait, one tells.
fn is_first(told: i64, second: i64) -> bool {
    TOLD_AT.compare_exchange(told, second, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Settles what is due, when it is due, until dropped. A commit makes it look again. It never gives up: whatever it lacks, as
/// memory or file descriptors, may be there again a moment later.
pub async fn run(site: Arc<Settling>) {
    loop {
        match AssertUnwindSafe(held(&site)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = error.full(), "The scheduler failed, and is started again");
            }
            // What it said is in the log already.
            Err(_) => tracing::error!("The scheduler panicked, and is started again"),
        }
        time::sleep(AGAIN_AFTER).await;
    }
}

async fn held(site: &Settling) -> Result<(), Error> {
    let nudges = stream::unfold(site.store.subscribe(), async |mut committed| match committed.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => Some(((), committed)),
        Err(RecvError::Closed) => None,
    });
    tokio::select! {
        () = steady::record_jumps(&*site.store) => Ok(()),
        held = hold(&*site.store, &site.outside, &SteadyClock, token, nudges, None) => held.map(drop),
    }
}

/// Settles everything, now and then, until dropped.
pub async fn backstop(site: Arc<Settling>, every: Duration) {
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
pub async fn settle_everything(site: &Settling) -> bool {
    let (token, now) = (token(), steady::now());
    let work = Box::pin(reconcile(&*site.store, &site.outside, &site.rights, &token, &SteadyClock));
    live("reconcile", &SteadyClock, now, work).await.is_ok()
}

/// No two workers of any two runs of this program on the same data share one.
fn token() -> ClaimToken {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let text = format!("{pid}-{}-{n}", Timestamp::now().as_nanosecond());
    text.parse().unwrap_or_else(|_| unreachable!("digits and dashes are a claim token"))
}
