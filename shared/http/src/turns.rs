//! Answers that cost much are made a few at a time, so that all of them together cost no more.

use crate::Problem;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a caller waits for their turn.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How many callers may wait for what is committed next: a quarter of the places of known callers.
const WAITING_MAX: usize = 64;

/// How many expensive answers of each kind are made at once, and how many callers wait.
#[derive(Debug)]
pub struct Turns {
    verify: Arc<Semaphore>,
    export: Arc<Semaphore>,
    fleet: Arc<Semaphore>,
    doctor: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    wait: Duration,
}

/// The turn of one answer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _held: OwnedSemaphorePermit,
}

impl Turns {
    /// For a process that answers many callers.
    pub fn bounded() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        let waiting = of(WAITING_MAX);
        Self { verify: of(1), export: of(2), fleet: of(8), doctor: of(1), waiting, wait: WAIT_MAX }
    }

    /// For a process that answers one caller at a time.
    pub fn unbounded() -> Self {
        let of = || Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { verify: of(), export: of(), fleet: of(), doctor: of(), waiting: of(), wait: WAIT_MAX }
    }

    /// To recompute the journal.
    pub(crate) async fn verify(&self) -> Result<Turn, Problem> {
        self.turn(&self.verify, "the journal is verified for one caller at a time").await
    }

    /// To give evidence out.
    pub(crate) async fn export(&self) -> Result<Turn, Problem> {
        self.turn(&self.export, "evidence is exported for two callers at a time").await
    }

    /// To look at many machines.
    pub(crate) async fn fleet(&self) -> Result<Turn, Problem> {
        self.turn(&self.fleet, "machines are listed for eight callers at a time").await
    }

    /// To look at everything.
    pub(crate) async fn doctor(&self) -> Result<Turn, Problem> {
        self.turn(&self.doctor, "the checks run for one caller at a time").await
    }

    /// To wait for what is committed next; nothing where so many wait already.
    pub(crate) fn waiting(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    async fn turn(&self, of: &Arc<Semaphore>, why: &str) -> Result<Turn, Problem> {
        let busy = || Problem::busy(&format!("{why}, and other callers are waiting"));
        let turn = timeout(self.wait, Arc::clone(of).acquire_owned()).await.map_err(|_| busy())?;
        turn.map(|held| Turn { _held: held }).map_err(|_| busy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_beyond_the_bound_is_told_to_try_again_and_gets_the_turn_that_is_given_back() {
        let turns = Turns { wait: Duration::from_millis(10), ..Turns::bounded() };
        let first = turns.verify().await.expect("nobody is before it");
        let problem = turns.verify().await.expect_err("one at a time");
        assert_eq!((problem.0.status, problem.0.kind.as_str()), (503, "urn:portcullis:busy"));
        assert!(problem.0.detail.contains("one caller at a time"), "{}", problem.0.detail);
        turns.doctor().await.expect("another kind of answer has turns of its own");
        drop(first);
        turns.verify().await.expect("the turn was given back");
    }
}
