//! What a target tells of itself.

use super::{CLAIM, Target, Trial};
use crate::{
    Accepted, AcceptedPacket, AcceptedSources, Decision, ForeignRule, Gate, Grant, GrantId, Grants, Head,
    Headroom, MachineFacts, Owner, Packet, Policy, Snapshot, view::View,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

impl Target {
    /// What is guarded.
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// How often the policy was set.
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// The policy change that waits for a confirmation.
    pub fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// Approved and not yet closed.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// One of them.
    pub fn grant_of(&self, id: &GrantId) -> Option<&Grant> {
        self.grants.get(id)
    }

    /// Is it guarded no longer, and is nothing of it left or awaited? Rules with its name are somebody else's then.
    pub fn is_at_rest(&self) -> bool {
        self.policy.is_none() && self.due_at().is_none()
    }

    /// Was everything that is wanted by `now` seen to be so?
    pub fn is_settled(&self, now: Timestamp) -> bool {
        self.claim.is_none() && self.misses == 0 && self.due_at().is_none_or(|due_at| now < due_at)
    }

    /// Was every rule that is wanted by `now` seen to be there, also where other rules defeat them?
    pub fn is_written(&self, now: Timestamp) -> bool {
        self.claim.is_none() && self.written && self.due_at().is_none_or(|due_at| now < due_at)
    }

    /// Gates whose lock is defeated in what was read at `now`, and by which rule.
    pub fn defeats_in(&self, seen: &Snapshot, now: Timestamp) -> BTreeMap<Gate, String> {
        let mut defeats = View::of(self, seen, now).defeats(self);
        defeats.retain(|gate, _| self.has_lock(*gate));
        defeats
    }

    /// The sources that get in without a lease in what was read at `now`, by accepted rules alone.
    pub fn accepted_in(&self, seen: &Snapshot, now: Timestamp) -> BTreeMap<Gate, AcceptedSources> {
        View::of(self, seen, now).accepted(self.policy())
    }

    /// The accepted rules that are not in what was read.
    pub fn gone_in(&self, seen: &Snapshot) -> BTreeSet<ForeignRule> {
        let accepted = self.policy.iter().flat_map(Policy::ports).flat_map(|it| &it.accepted);
        accepted.filter(|it| it.is_gone_in(seen)).map(Accepted::of).collect()
    }

    /// The accepted rule by which a packet gets in of which this decision was made, if it is by one.
    pub fn accepted_for(
        &self,
        seen: &Snapshot,
        packet: &Packet,
        decision: &Decision,
    ) -> Option<AcceptedPacket> {
        let gate = Gate { port: packet.port, protocol: packet.protocol };
        let accepted = self.policy.as_ref().map(|it| it.accepted(gate)).unwrap_or_default();
        AcceptedPacket::of(accepted, seen, &self.owner(), packet, decision)
    }

    /// Does what was read at `now` prove a lease to be shut that is over, and that nobody has closed yet?
    pub fn would_close(&self, seen: &Snapshot, now: Timestamp) -> bool {
        let over = || self.grants.values().filter(|it| it.lease.is_over(now));
        over().next().is_some() && View::of(self, seen, now).shuts_one_of(over(), self)
    }

    /// How often in a row its firewalls could not be brought to what they must hold.
    pub fn misses(&self) -> u32 {
        self.misses
    }

    /// Why its rules could not be written when that was last tried.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// How much room its firewalls had for its allows when they were last read.
    pub fn headroom(&self) -> &[Headroom] {
        &self.headroom
    }

    /// What its cloud told of the machine when somebody last guarded it.
    pub fn machine(&self) -> Option<&MachineFacts> {
        self.machine.as_ref()
    }

    /// The latest time by which a worker is known to have decided what its firewalls must hold.
    pub fn decided_at(&self) -> Option<Timestamp> {
        let claimed_at = self.claim.as_ref().and_then(|it| it.until.checked_sub(CLAIM).ok());
        claimed_at.max(self.missed_at)
    }

    /// Where its journal ends.
    pub fn head(&self) -> Head {
        self.head
    }

    /// What it is called in the names of rules.
    pub fn owner(&self) -> Owner {
        Owner::from(&self.id)
    }
}
