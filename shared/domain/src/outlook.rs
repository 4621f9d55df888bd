//! What becomes of everybody else's rules once ours are written: which of them would no longer decide, and
//! which would still let somebody in.

use crate::{
    Accepted, Change, ChangeTo, Foreign, ForeignRule, Gate, Held, Owner, Snapshot, accepted::told,
    foreign::is_stand_in,
};
use std::collections::BTreeSet;

/// What changes would do to the foreign rules that lead to one gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Those that let somebody in now and would not any more.
    pub shadows: Vec<String>,
    /// Those that would let somebody in who has no lease, and when, if not always; none that is accepted as it is.
    pub defeated_by: Vec<String>,
    /// Those of the accepted rules that would let somebody in.
    pub accepted: Vec<Accepted>,
}

/// What the changes would do to the foreign rules that lead to a gate of the target that `owner` names, of which some are
/// accepted.
pub fn outlook(
    actual: &Snapshot,
    owner: &Owner,
    gate: Gate,
    changes: &[Change],
    accepted: &[Accepted],
) -> Outlook {
    let after = actual.after(owner, changes);
    let all = after.standing(owner, gate);
    let beside = after.without_accepted(accepted).standing(owner, gate);
    let mut shadows = actual.admitting(owner, gate);
    shadows.retain(|it| !all.has(it) && !beside.has(it));
    let told = |it: &ForeignRule| told(it, accepted, actual);
    let always = beside.always.iter().map(told);
    let leased = beside.leased.iter().map(|it| format!("{} (while a lease is open)", told(it)));
    let is_in_use = |it: &&Accepted| all.has(&it.of()) && it.holds_in(actual);
    Outlook {
        shadows: shadows.iter().map(ToString::to_string).collect(),
        defeated_by: always.chain(leased).collect(),
        accepted: accepted.iter().filter(is_in_use).cloned().collect(),
    }
}

/// The foreign rules that would let somebody in who has no lease, now or without the accepted ones: those that a person may accept.
pub fn standing(
    actual: &Snapshot,
    owner: &Owner,
    gate: Gate,
    changes: &[Change],
    accepted: &[Accepted],
) -> Vec<ForeignRule> {
    let after = actual.after(owner, changes);
    let beside = after.without_accepted(accepted).standing(owner, gate);
    let Standing { always, leased } = after.standing(owner, gate);
    let mut all = once([always, leased, beside.always, beside.leased].concat());
    all.retain(|it| !is_stand_in(&it.name));
    all
}

/// Foreign rules that let somebody in without a lease.
struct Standing {
    always: Vec<ForeignRule>,
    /// Only while somebody else has one.
    leased: Vec<ForeignRule>,
}

impl Standing {
    fn has(&self, rule: &ForeignRule) -> bool {
        self.always.contains(rule) || self.leased.contains(rule)
    }
}

impl Snapshot {
    /// As it is once the changes are written, and while nobody has a lease.
    fn after(&self, owner: &Owner, changes: &[Change]) -> Self {
        let mut after = self.clone();
        for change in changes {
            after.make(change);
        }
        after.without_allows(owner)
    }

    fn standing(&self, owner: &Owner, gate: Gate) -> Standing {
        let always = self.admitting(owner, gate);
        let leased = self.leading_in(gate).into_iter().filter(|it| !always.contains(it)).collect();
        Standing { always, leased }
    }

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
    fn admitting(&self, owner: &Owner, gate: Gate) -> Vec<ForeignRule> {
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
    fn leading_in(&self, gate: Gate) -> Vec<ForeignRule> {
        let mut found = vec![];
        for way in &self.ways {
            found.extend(self.sending_on(way, gate));
        }
        once(found)
    }
}

fn once(found: Vec<ForeignRule>) -> Vec<ForeignRule> {
    let mut seen = BTreeSet::new();
    found.into_iter().filter(|it| seen.insert(it.clone())).collect()
}
