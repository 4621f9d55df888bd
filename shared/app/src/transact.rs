//! Changing the table without locks: load, decide, commit, and again if another writer was first.

use crate::{
    Error,
    ports::{Batch, Rank, Store},
    turn::turns,
};
use portcullis_domain::TargetId;

/// How often one commit may lose to other writers.
pub(crate) const CONFLICTS_MAX: usize = 100;

/// The decision of one attempt.
pub(crate) enum Attempt<T> {
    /// There is nothing to write: this is the result.
    Done(T),
    /// Write this; the result, if no other writer was first.
    Commit(Box<Batch>, T),
}

impl<T> Attempt<T> {
    pub(crate) fn commit(batch: Batch, result: T) -> Self {
        Self::Commit(Box::new(batch), result)
    }
}

/// Decides and commits until no other writer was first. `attempt` loads what it decides on, anew each time, and is given how
/// often it has lost so far. Each attempt has a turn at each of the targets, or at the chain of the rest where there are none.
///
/// `Conflict` after [`CONFLICTS_MAX`] attempts; else the first error of an attempt or of a commit.
pub(crate) async fn transact<T, F>(
    store: &impl Store,
    targets: &[TargetId],
    rank: Rank,
    attempt: impl Fn(usize) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<Attempt<T>, Error>>,
{
    for lost in 0..CONFLICTS_MAX {
        let _turns = turns(store, targets, rank, lost).await;
        let (batch, result) = match attempt(lost).await? {
            Attempt::Done(result) => return Ok(result),
            Attempt::Commit(batch, result) => (batch, result),
        };
        match store.commit(*batch).await {
            Err(Error::Conflict) => {}
            outcome => return outcome.map(|()| result),
        }
    }
    Err(Error::Conflict)
}
