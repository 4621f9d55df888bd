//! Turns at a chain: writers of one chain go one after another, so that none of them loses its work to another.

use crate::ports::Store;
use portcullis_domain::{Chain, TARGETS_MAX, TargetId};
use std::{any::Any, collections::BTreeSet, fmt};

/// Who goes first of those that wait for the same chain. Within a rank the first to come is the first to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A worker that settles: an end must not wait behind callers.
    Worker,
    /// A caller that takes access away.
    Shutting,
    /// Every other caller.
    Asking,
}

impl Rank {
    /// All of them, the first to go first.
    pub const ALL: [Self; 3] = [Self::Worker, Self::Shutting, Self::Asking];
}

/// A turn at a chain; over when it is dropped. A turn never spans a call of a firewall.
#[must_use = "a turn is over when it is dropped"]
#[derive(Default)]
pub struct Turn(Option<Box<dyn Any + Send>>);

impl Turn {
    /// A turn that lasts as long as this does.
    pub fn of(held: impl Any + Send) -> Self {
        Self(Some(Box::new(held)))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turn").field(&self.0.is_some()).finish()
    }
}

/// A turn at each of these targets, or at the chain of the rest where there are none; in the order of their chains,
/// so that two callers never wait for each other. `lost` as in [`Store::turn`].
pub(crate) async fn turns(store: &impl Store, targets: &[TargetId], rank: Rank, lost: usize) -> Vec<Turn> {
    // A request that names more is refused, whatever becomes of them.
    let mut chains: BTreeSet<Chain> = targets.iter().take(TARGETS_MAX).map(Chain::from).collect();
    if chains.is_empty() {
        chains.insert(Chain::rest());
    }
    let mut turns = vec![];
    for chain in chains {
        turns.push(store.turn(&chain, rank, lost).await);
    }
    turns
}
