//! What waits for an approval because roles and policies say so, whatever the rules of ports say.

use crate::Refusal;
use std::collections::BTreeMap;

/// The asks of a request that its requester may not have opened without an approval, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waits(BTreeMap<usize, Vec<Refusal>>);

impl Waits {
    /// Of asks by their place in the request, from 0; an extension is the one ask of its request.
    pub fn of(refusals: impl IntoIterator<Item = (usize, Refusal)>) -> Self {
        let mut all: BTreeMap<usize, Vec<Refusal>> = BTreeMap::new();
        for (ask, refusal) in refusals {
            all.entry(ask).or_default().push(refusal);
        }
        Self(all)
    }

    /// Does this ask wait?
    pub fn has(&self, ask: usize) -> bool {
        self.0.contains_key(&ask)
    }

    /// Every reason, once.
    pub fn reasons(&self) -> Vec<Refusal> {
        let mut reasons: Vec<Refusal> = vec![];
        for refusal in self.0.values().flatten() {
            if !reasons.contains(refusal) {
                reasons.push(refusal.clone());
            }
        }
        reasons
    }
}
