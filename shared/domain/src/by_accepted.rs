//! Packets and sources that get in by accepted rules.

use crate::{Accepted, AddressSet, Decision, ForeignRule, Owner, Packet, Snapshot};

/// An accepted rule by which a packet gets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedPacket {
    /// The rule.
    pub rule: Accepted,
    /// Does it say something else now, so that it is accepted no longer?
    pub is_changed: bool,
    /// Another rule that would let the packet in without it.
    pub beside: Option<ForeignRule>,
}

/// The sources that get through a gate by accepted rules alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedSources {
    /// The sources.
    pub sources: AddressSet,
    /// The rules.
    pub rules: Vec<Accepted>,
}
impl AcceptedPacket {
    /// The accepted rule by which a packet to a target gets in of which `decision` was made, if it is by one.
    pub(crate) fn of(
        accepted: &[Accepted],
        seen: &Snapshot,
        owner: &Owner,
        packet: &Packet,
        decision: &Decision,
    ) -> Option<Self> {
        let decided = accepted.iter().find(|it| {
            it.rule == decision.rule
                && decision.firewall.as_ref().is_some_and(|firewall| it.firewall == *firewall)
        });
        let beside = seen.without_accepted(accepted).decide(owner, packet);
        let rule = match (decision.passes, decided, beside.passes) {
            (false, _, _) | (true, None, true) => return None,
            (true, Some(rule), _) => rule,
            // The last rule on the path is another one, and lets nobody in by itself.
            (true, None, false) => accepted.iter().find(|it| it.holds_in(seen))?,
        };
        let is_changed = !rule.holds_in(seen);
        let other = beside.firewall.filter(|_| beside.passes && !is_changed);
        let beside = other.map(|firewall| ForeignRule { name: beside.rule, firewall });
        Some(Self { rule: rule.clone(), is_changed, beside })
    }
}

impl AcceptedSources {
    /// The rules, each with the person who accepted it and why.
    pub fn in_words(&self) -> String {
        self.rules.iter().map(Accepted::in_words).collect::<Vec<_>>().join(", ")
    }
}
