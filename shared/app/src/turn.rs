//! Turns at a chain: writers of one chain go one after another, so that none of them loses its work to another.

use crate::ports::{Rank, Store, Turn};
use portcullis_domain::{Chain, TARGETS_MAX, TargetId};
use std::collections::BTreeSet;

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
