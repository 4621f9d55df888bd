//! Foreign block lists, told anew from what they are said to be: denies of single sources, in firewalls that know denies.

use portcullis_domain::{Action, AddressSet, FirewallKind, Foreign, Gate, Snapshot};

/// The sources that block lists of one firewall, by its place, keep out of a gate.
pub fn blocked_at(snapshot: &Snapshot, at: usize, gate: Gate) -> AddressSet {
    let firewall = &snapshot.firewalls[at];
    if !matches!(firewall.kind, FirewallKind::Ordered { .. }) {
        return AddressSet::default();
    }
    let blocks = firewall.foreign.iter().filter(|it| blocks(snapshot, at, gate, it));
    blocks.fold(AddressSet::default(), |all, it| all.union(&AddressSet::from(&it.sources)))
}

/// The same of all firewalls.
pub fn blocked(snapshot: &Snapshot, gate: Gate) -> AddressSet {
    let each = (0..snapshot.firewalls.len()).map(|at| blocked_at(snapshot, at, gate));
    each.fold(AddressSet::default(), |all, one| all.union(&one))
}

fn blocks(snapshot: &Snapshot, at: usize, gate: Gate, it: &Foreign) -> bool {
    let here = snapshot.ways.iter().filter(|way| way.through.contains(&at));
    let is_met = here.into_iter().any(|way| match way.to {
        Some(address) => it.to.admit(address),
        None => !it.to.is_empty(),
    });
    let is_of_all = it.sources.ranges().iter().any(|range| range.prefix_len() == 0);
    it.action == Action::Deny && !is_of_all && !it.is_general && is_met && it.speaks_of(gate)
}
