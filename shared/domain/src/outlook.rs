//! What becomes of everybody else's rules once ours are written: which of them would no longer decide, and
//! which would still let somebody in.

use crate::{Change, ChangeTo, Foreign, Gate, Held, Owner, Snapshot};
use std::collections::BTreeSet;

/// What changes would do to the foreign rules that lead to one gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Those that let somebody in now and would not any more.
    pub shadows: Vec<String>,
    /// Those that would let somebody in who has no lease, and when, if not always.
    pub defeated_by: Vec<String>,
}

/// What the changes would do to the foreign rules that lead to a gate of the target that `owner` names.
pub fn outlook(actual: &Snapshot, owner: &Owner, gate: Gate, changes: &[Change]) -> Outlook {
    let mut after = actual.clone();
    for change in changes {
        after.make(change);
    }
    let after = after.without_allows(owner);
    let always = after.admitting(owner, gate);
    let leased: Vec<_> = after.leading_in(gate).into_iter().filter(|it| !always.contains(it)).collect();
    let mut shadows = actual.admitting(owner, gate);
    shadows.retain(|it| !always.contains(it) && !leased.contains(it));
    let leased = leased.iter().map(|it| format!("{it} (while a lease is open)"));
    Outlook { shadows, defeated_by: always.iter().cloned().chain(leased).collect() }
}

impl Snapshot {
    /// As it is once a change is written.
    fn make(&mut self, change: &Change) {
        let Change { firewall, name, if_match: _, to } = change;
        for firewall in self.firewalls.iter_mut().filter(|it| it.id == *firewall) {
            // What a rule of ours does that was altered is told by twins, which have its name or one that begins so.
            let own = name.to_string();
            let is_twin = |it: &Foreign| {
                let name = it.name.rsplit('/').next().unwrap_or_default();
                name.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            firewall.foreign.retain(|it| !is_twin(it));
            match to {
                ChangeTo::Delete => drop(firewall.ours.remove(name)),
                ChangeTo::Put { rule, priority } => {
                    let held =
                        Held { rule: Some(rule.clone()), priority: *priority, beside: vec![], etag: None };
                    firewall.ours.insert(name.clone(), held);
                }
            }
        }
    }

    /// Foreign rules by which somebody gets through a gate, in the order in which they are met.
    fn admitting(&self, owner: &Owner, gate: Gate) -> Vec<String> {
        let mut found = vec![];
        for protocol in gate.protocol.transports() {
            for way in &self.ways {
                found.extend(self.admitting_on(way, owner, *protocol, gate.port));
            }
        }
        once(found)
    }

    /// Foreign rules that send people on from an address that every lease of the gate opens: nobody behind can
    /// tell them from whoever has one.
    fn leading_in(&self, gate: Gate) -> Vec<String> {
        let mut found = vec![];
        for way in &self.ways {
            found.extend(self.sending_on(way, gate));
        }
        once(found)
    }
}

fn once(found: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    found.into_iter().filter(|it| seen.insert(it.clone())).collect()
}
