//! Foreign denies that a lease meets: a lock gives way to it, a block list does not.
//!
//! A deny of everybody shuts a port, as our own locks do, and a lease is what opens it. A deny of single sources says whom its
//! owner never wants in, and a lease does not change that, unless the policy of the port says so.

use crate::{
    Action, AddressSet, Firewall, FirewallKind, Foreign, ForeignDenies, Gate, Held, Snapshot, Sources,
    foreign::is_just_in_time,
};
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

/// A foreign deny of some of the sources of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetDeny {
    /// Its name and its firewall.
    pub rule: String,
    /// Whom it denies, in short; of a service tag that cannot be known.
    pub sources: String,
    /// Does it win, so that the lease does not let those in?
    pub wins: bool,
    /// Does it give way to a lease of a port whose policy overrides foreign denies?
    pub overridable: bool,
}

/// The sources of a deny whose addresses are not listed.
const UNKNOWN: &str = "addresses that are not known here";
/// Where the rules begin that every Azure NSG ends with: they stand under everything, and a lease over them is no news.
const DEFAULT_RULES: u16 = 65_000;

impl Foreign {
    /// Does it deny single sources, and not everybody or a whole network?
    pub(crate) fn is_block(&self) -> bool {
        match self.action {
            Action::Allow => false,
            Action::Deny => !self.is_general && !families().iter().any(|all| self.sources.cover(all)),
        }
    }
}

/// Everybody of either family.
fn families() -> [Sources; 2] {
    let all = |network: Result<IpNet, _>| Sources::of(network.ok());
    [all(IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0)), all(IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 0))]
}

impl Snapshot {
    /// The sources that foreign block lists of one firewall, by its place, keep out of a gate.
    pub(crate) fn blocked_at(&self, at: usize, gate: Gate) -> AddressSet {
        let blocks = self.denies_at(at, gate).filter(|it| it.is_block());
        blocks.fold(AddressSet::default(), |all, it| all.union(&AddressSet::from(&it.sources)))
    }

    /// The foreign denies, those that every firewall ends with aside, that a lease of a gate for these sources meets.
    pub fn denies_met(&self, gate: Gate, sources: &AddressSet, denies: ForeignDenies) -> Vec<MetDeny> {
        let mut met = vec![];
        for (at, firewall) in self.firewalls.iter().enumerate() {
            if self.firewalls.iter().take(at).any(|it| it.id == firewall.id) {
                // The same rules once more: for packets that they let in past the other firewalls.
                continue;
            }
            for it in self.denies_at(at, gate).filter(|it| it.priority < DEFAULT_RULES) {
                let meets = |of: &Sources| AddressSet::from(of).intersection(sources);
                let (spoken_of, unsure) = (meets(&it.sources), meets(&it.unsure));
                if spoken_of.is_empty() && unsure.is_empty() {
                    continue;
                }
                let overridable = !firewall.stands_above_ours(it);
                // Which addresses are behind a service tag is not known: a lease goes before it, or would never be seen to be open.
                let is_block = it.is_block() && !spoken_of.is_empty();
                let wins = !overridable || denies == ForeignDenies::Respect && is_block;
                let rule = format!("{} in {}", it.name, firewall.id);
                let sources = if spoken_of.is_empty() { UNKNOWN.to_owned() } else { spoken_of.summary() };
                met.push(MetDeny { rule, sources, wins, overridable });
            }
        }
        met
    }

    /// Does a rule of Microsoft's own just-in-time access speak of packets to the target?
    pub fn has_just_in_time(&self) -> bool {
        let speaks = |at: usize, it: &Foreign| {
            let mut ways = self.ways.iter().filter(|way| way.through.contains(&at));
            is_just_in_time(&it.name)
                && ways.any(|way| way.to.map_or(!it.to.is_empty(), |to| it.to.admit(to)))
        };
        let mut firewalls = self.firewalls.iter().enumerate();
        firewalls.any(|(at, firewall)| firewall.foreign.iter().any(|it| speaks(at, it)))
    }

    /// The foreign denies of one firewall that speak of packets to a gate of the target.
    fn denies_at(&self, at: usize, gate: Gate) -> impl Iterator<Item = &Foreign> {
        let firewall = self.firewalls.get(at).filter(|it| it.heeds_denies());
        // What was altered of ours is told by a foreign rule in its place, and is written anew.
        let ours: BTreeSet<u16> =
            firewall.into_iter().flat_map(|it| it.ours.values()).flat_map(Held::priorities).collect();
        let to: Vec<_> = self.ways.iter().filter(|way| way.through.contains(&at)).map(|way| way.to).collect();
        let reaches =
            move |it: &Foreign| to.iter().any(|to| to.map_or(!it.to.is_empty(), |to| it.to.admit(to)));
        let speaks = move |it: &&Foreign| {
            it.action == Action::Deny && it.speaks_of(gate) && reaches(it) && !ours.contains(&it.priority)
        };
        firewall.into_iter().flat_map(|it| &it.foreign).filter(speaks)
    }
}

impl Firewall {
    fn heeds_denies(&self) -> bool {
        match self.kind {
            FirewallKind::Ordered { .. } | FirewallKind::ReadOnly { .. } => true,
            FirewallKind::Union | FirewallKind::Translating => false,
        }
    }

    /// Does a foreign rule decide before any allow that we could write here?
    fn stands_above_ours(&self, rule: &Foreign) -> bool {
        match self.kind {
            FirewallKind::ReadOnly { .. } => true,
            FirewallKind::Ordered { .. } | FirewallKind::Union | FirewallKind::Translating => {
                rule.priority < self.bands.allows.start
            }
        }
    }
}
