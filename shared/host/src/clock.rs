//! The clock that closes, and who lives by it.

use crate::{alarm, site::Settling, steady};
use futures_util::stream;
use jiff::Timestamp;
use portcullis_app::{Error, hold, live, ports::Clock, reconcile};
use portcullis_domain::ClaimToken;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::broadcast::error::RecvError, time};

/// This process's.
#[derive(Debug)]
struct SteadyClock;

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        steady::now()
    }

    async fn sleep_until(&self, at: Timestamp) -> Result<(), Error> {
        if at <= self.now() {
            return Ok(());
        }
        let broken = |source: std::io::Error| Error::Broken { doing: "set an alarm", source: source.into() };
        alarm::wait_until(at, steady::running_at(at)).await.map_err(broken)
    }
}

/// Settles what is due, when it is due, until dropped. A commit makes it look again.
pub async fn run(site: Arc<Settling>) -> Result<(), Error> {
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
    let work = Box::pin(reconcile(&*site.store, &site.outside, &token, &SteadyClock));
    live("reconcile", &SteadyClock, now, work).await.is_ok()
}

/// No two workers of any two runs of this program on the same data share one.
fn token() -> ClaimToken {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let text = format!("{pid}-{}-{n}", Timestamp::now().as_nanosecond());
    text.parse().unwrap_or_else(|_| unreachable!("digits and dashes are a claim token"))
}
