//! Callers who wait for what is committed next, without asking again and again.

use crate::Site;
use std::time::Duration;
use tokio::{
    select,
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, sleep_until},
};

/// For how long commits are gathered before a caller who waits is answered: many come together.
const GATHERED_FOR: Duration = Duration::from_millis(50);

/// Says when the process is about to stop: an extension of the request that the composition root sets, so that no caller
/// who waits holds it up.
#[derive(Debug, Clone)]
pub struct Stop(pub watch::Receiver<bool>);

/// A caller who waits for commits, and holds one of the places for that.
#[derive(Debug)]
pub(crate) struct Waiting {
    commits: watch::Receiver<u64>,
    stop: Option<watch::Receiver<bool>>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    /// The next commit after this ends the wait. `None` where the caller does not wait: the platform does not tell of commits,
    /// no place is left, or the length of the wait is zero.
    pub(crate) fn begin<S: Site>(site: &S, wait: Duration, stop: Option<Stop>) -> Option<Self> {
        if wait.is_zero() {
            return None;
        }
        let commits = site.commits()?;
        let place = site.turns().waiting()?;
        Some(Self { commits, stop: stop.map(|it| it.0), until: Instant::now() + wait, _place: place })
    }

    /// Was something committed? `false` once the caller has waited long enough, or the process stops.
    pub(crate) async fn commit(&mut self) -> bool {
        let stopped = async {
            match &mut self.stop {
                // Nobody who could stop it is left: it stops.
                Some(stop) => drop(stop.wait_for(|it| *it).await),
                None => std::future::pending().await,
            }
        };
        let committed = select! {
            changed = self.commits.changed() => changed.is_ok(),
            () = sleep_until(self.until) => false,
            () = stopped => false,
        };
        if committed {
            sleep(GATHERED_FOR).await;
            self.commits.mark_unchanged();
        }
        committed
    }
}
