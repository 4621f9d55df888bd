//! Reads that are shared: who asks while another one is on its way waits for the next, and so does everybody
//! else who asks meanwhile. So what is read never began before it was asked for, and reads follow firewalls,
//! not targets.

use crate::Clock;
use jiff::Timestamp;
use portcullis_app::Error;
use portcullis_domain::FirewallId;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// How long a read waits for those who are just writing there, so that it serves them too.
const GATHER_MAX: Duration = Duration::from_millis(200);

/// What was last read of each firewall.
pub struct Reads<T> {
    /// Counts who asked and what began, in their order.
    ticks: AtomicU64,
    slots: Mutex<BTreeMap<FirewallId, Arc<Slot<T>>>>,
    clock: Clock,
}

struct Slot<T> {
    last: tokio::sync::Mutex<Option<Read<T>>>,
    writers: watch::Sender<usize>,
}

/// Somebody writes to a firewall, until this is dropped.
#[must_use = "the writing is over when it is dropped"]
pub struct Writing<T>(Arc<Slot<T>>);

/// What was read of one firewall.
#[derive(Debug)]
pub struct Read<T> {
    /// When it was asked for, by our clock.
    pub at: Timestamp,
    pub what: Arc<T>,
    began: u64,
}

impl<T> Reads<T> {
    pub fn new(clock: Clock) -> Self {
        Self { ticks: AtomicU64::new(0), slots: Mutex::default(), clock }
    }

    /// What a firewall holds, read after this was called.
    pub async fn read(
        &self,
        id: &FirewallId,
        read: impl Future<Output = Result<T, Error>>,
    ) -> Result<Read<T>, Error> {
        let asked = self.tick();
        let slot = self.slot(id);
        let mut last = slot.last.lock().await;
        if let Some(fresh) = last.as_ref().filter(|it| asked < it.began) {
            return Ok(fresh.clone());
        }
        let mut writers = slot.writers.subscribe();
        // Whoever is still at it then asks anew.
        drop(timeout(GATHER_MAX, writers.wait_for(|it| *it == 0)).await);
        let (began, at) = (self.tick(), (self.clock)());
        let fresh = Read { at, what: Arc::new(read.await?), began };
        *last = Some(fresh.clone());
        Ok(fresh)
    }

    /// What was last read of a firewall, however long ago; none where it is just being read.
    pub fn last(&self, id: &FirewallId) -> Option<Arc<T>> {
        self.slot(id).last.try_lock().ok()?.as_ref().map(|it| Arc::clone(&it.what))
    }

    /// Says that somebody writes to a firewall.
    pub fn writing(&self, id: &FirewallId) -> Writing<T> {
        let slot = self.slot(id);
        slot.writers.send_modify(|it| *it += 1);
        Writing(slot)
    }

    fn slot(&self, id: &FirewallId) -> Arc<Slot<T>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id.clone()).or_default())
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { last: tokio::sync::Mutex::new(None), writers: watch::Sender::new(0) }
    }
}

impl<T> Drop for Writing<T> {
    fn drop(&mut self) {
        self.0.writers.send_modify(|it| *it = it.saturating_sub(1));
    }
}

impl<T> fmt::Debug for Writing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}

impl<T> Clone for Read<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, what: Arc::clone(&self.what), began: self.began }
    }
}

impl<T> fmt::Debug for Reads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_comes_during_a_read_shares_the_next_one() {
        let reads = Reads::new(Arc::new(|| Timestamp::UNIX_EPOCH));
        let id: FirewallId = "nsg".parse().expect("an id");
        let count = AtomicUsize::new(0);
        let read = || {
            reads.read(&id, async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(count.fetch_add(1, Ordering::SeqCst))
            })
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            tokio::join!(read(), read(), read())
        };
        let (first, (a, b, c)) = tokio::join!(read(), late);
        let number = |it: Result<Read<usize>, Error>| *it.expect("read").what;
        assert_eq!((number(first), number(a), number(b), number(c)), (0, 1, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_waits_for_those_who_are_writing_but_not_for_long() {
        let reads = Reads::new(Arc::new(|| Timestamp::UNIX_EPOCH));
        let id: FirewallId = "nsg".parse().expect("an id");
        let began = Instant::now();
        let read = async || {
            reads.read(&id, async { Ok(()) }).await.expect("read");
            began.elapsed()
        };
        assert_eq!(read().await, Duration::ZERO);
        let (short, long) = (reads.writing(&id), reads.writing(&id));
        let writes = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(short);
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(long);
        };
        assert_eq!(tokio::join!(read(), writes).0, GATHER_MAX);
        assert_eq!(read().await, Duration::from_millis(5050));
    }
}
