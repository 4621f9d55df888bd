//! What the entries of a chain tell, to be compared with what is stored.

use super::{BadRecord, Entry, Fact, Hash};
use crate::{
    Authority, Chain, Grant, GrantId, Grants, Policies, PoliciesAt, Policy, Request, RequestId, Speaker,
    Target, TargetId, Trial, What, digest::Digest, grant::Opening,
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a chain tells of its target: the policy, the grants that are not closed, the requests that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    policy: Option<Policy>,
    policy_version: u64,
    trial: Option<Trial>,
    grants: Grants,
    granted: usize,
    pending: BTreeMap<RequestId, Digest>,
}

/// As much of a request that waits as it takes to compare it with what an entry tells: requests may be long, and many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub request: RequestId,
    /// The targets that it names.
    pub targets: Vec<TargetId>,
    digest: Digest,
}

impl Waiting {
    fn digest(by: Speaker<'_>, asked: &What, why: Option<&str>, until: Timestamp) -> Digest {
        Digest::of(&(by.person, by.via, asked, why, until))
    }
}

impl From<&Request> for Waiting {
    fn from(it: &Request) -> Self {
        let why = it.justification.as_ref().map(ToString::to_string);
        let digest = Self::digest(it.speaker(), &it.what, why.as_deref(), it.due_at().unwrap_or_default());
        Self { request: it.id.clone(), targets: it.targets(), digest }
    }
}

impl Told {
    /// What is told after one more entry; gives the grant that it closes, as it must be stored for ever.
    pub fn hear(&mut self, entry: &Entry) -> Option<Grant> {
        match &entry.fact {
            Fact::PolicySet { version, policy, confirm_by, .. } => {
                self.trial = confirm_by.map(|until| Trial { until, before: self.policy.clone() });
                self.policy.clone_from(policy);
                self.policy_version = *version;
            }
            Fact::PolicyReverted { version, policy } => {
                self.trial = None;
                self.policy.clone_from(policy);
                self.policy_version = *version;
            }
            Fact::PolicyConfirmed { .. } => self.trial = None,
            Fact::ApprovalNeeded { request, by: person, via, asked, why, until, .. } => {
                let by = Speaker { person, via: via.as_ref() };
                let digest = Waiting::digest(by, asked, why.as_deref(), *until);
                self.pending.insert(request.clone(), digest);
            }
            Fact::RequestRejected { request, .. }
            | Fact::RequestWithdrawn { request, .. }
            | Fact::RequestLapsed { request, .. } => {
                self.pending.remove(request);
            }
            Fact::Approved { grant, .. } => {
                self.pending.remove(&grant.request);
                self.granted += 1;
                self.grants.insert(grant.id.clone(), (**grant).clone());
            }
            Fact::Extended { grant, request, lease, approver, .. } => {
                self.pending.remove(request);
                self.change(grant, |it| {
                    it.lease = *lease;
                    it.approved |= approver.is_some();
                });
            }
            Fact::Ended { grant, lease, reason, .. } => self.change(grant, |it| {
                it.lease = *lease;
                it.end_reason = Some(*reason);
            }),
            Fact::ClosingSoon { grant, end, .. } => self.change(grant, |it| it.told_end = Some(*end)),
            Fact::Opened { grant, door, over, may_refuse, .. } => {
                let opening = Opening { door: *door, over: over.clone(), may_refuse: may_refuse.clone() };
                self.change(grant, |it| it.open(entry.at, opening));
            }
            Fact::OpenFailed { grant, decided_by, refused, .. } => {
                self.change(grant, |it| {
                    (it.open_failed, it.refused) = (decided_by.clone(), refused.clone());
                });
            }
            Fact::Closed { grant, .. } => {
                let closed = self.grants.remove(grant);
                return closed.map(|it| Grant { closed_at: Some(entry.at), ..it });
            }
            Fact::PolicyRefused { .. }
            | Fact::RequestRefused { .. }
            | Fact::RequestExplained { .. }
            | Fact::DecisionRefused { .. }
            | Fact::GlassBroken { .. }
            | Fact::TakenOver { .. }
            | Fact::Writing { .. }
            | Fact::ReadBack { .. }
            | Fact::DriftFound { .. }
            | Fact::DriftHealed
            | Fact::LockDefeated { .. }
            | Fact::SettleFailed { .. }
            | Fact::OrphanDeleted { .. }
            | Fact::Adopted { .. }
            | Fact::ForeignDeleted { .. }
            | Fact::TokenMade { .. }
            | Fact::TokenRevoked { .. }
            | Fact::EventRefused { .. }
            | Fact::ExportAsked { .. }
            | Fact::ExportReady { .. }
            | Fact::TokenRefused { .. }
            | Fact::RoleGranted { .. }
            | Fact::RoleRevoked { .. }
            | Fact::RoleRefused { .. }
            | Fact::PoliciesChanged { .. }
            | Fact::PoliciesRefused { .. }
            | Fact::ClockJumped { .. }
            | Fact::DriftRepeated { .. }
            | Fact::DiskLow { .. }
            | Fact::DiskFailed { .. }
            | Fact::DiskRecovered => {}
        }
        None
    }

    /// How many grants there ever were.
    pub fn granted(&self) -> usize {
        self.granted
    }

    fn change(&mut self, grant: &GrantId, change: impl FnOnce(&mut Grant)) {
        if let Some(it) = self.grants.get_mut(grant) {
            change(it);
        }
    }

    /// INVARIANT (journal-equals-state): a target is what its entries tell, and nothing else.
    pub fn agrees_with(&self, target: &Target) -> Result<(), BadRecord> {
        let differs = |field| Err(BadRecord::OtherState { chain: Chain::from(&target.id), field });
        if self.policy.as_ref() != target.policy() {
            differs("the policy")
        } else if self.policy_version != target.policy_version() {
            differs("the policy's version")
        } else if self.trial.as_ref() != target.trial() {
            differs("the unconfirmed policy")
        } else if !self.agrees_on(target.grants()) {
            differs("a grant")
        } else {
            Ok(())
        }
    }

    fn agrees_on(&self, stored: &Grants) -> bool {
        let agrees = |it: &Grant| self.grants.get(&it.id).is_some_and(|told| it.agrees_with(told));
        self.grants.len() == stored.len() && stored.values().all(agrees)
    }

    /// The same for the requests that wait and name the target: what is not told may not be approved.
    pub fn agrees_with_pending(&self, chain: &Chain, stored: &[Waiting]) -> Result<(), BadRecord> {
        let stored: BTreeMap<RequestId, Digest> =
            stored.iter().map(|it| (it.request.clone(), it.digest.clone())).collect();
        if stored == self.pending {
            Ok(())
        } else {
            Err(BadRecord::OtherState { chain: chain.clone(), field: "a pending request" })
        }
    }
}

impl Authority {
    /// Takes over what an entry of the rest tells.
    ///
    /// INVARIANT (journal-equals-state): the authority is what the entries of the rest tell of it, and nothing else.
    pub fn follow(&mut self, entry: &Entry) {
        if let Fact::RoleGranted { binding, version, .. } = &entry.fact {
            self.bindings.insert(binding.clone());
            self.version = *version;
        }
        if let Fact::RoleRevoked { binding, version, .. } = &entry.fact {
            self.bindings.remove(binding);
            self.version = *version;
        }
        if let Fact::PoliciesChanged { version, policies, .. } = &entry.fact {
            self.policies = policies.clone();
            self.version = *version;
            self.changed = Some(PoliciesAt { version: *version, entry: entry.n });
        }
    }
}

impl Policies {
    /// The SHA-256 of these policies: of a JSON array of the time zone, or `null`, and an object with the text of each file.
    pub fn digest(&self) -> Hash {
        let Self { zone, files } = self;
        Hash::of(serde_json::json!([zone, files]).to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn digest_of_policies_depends_on_the_time_zone_and_on_each_file() {
        let of = |zone: Option<&str>, files: &[(&str, &str)]| {
            let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            Policies { zone: zone.map(str::to_owned), files }.digest().to_string()
        };
        let digests = BTreeSet::from([
            of(None, &[]),
            of(Some("UTC"), &[]),
            of(None, &[("a.cedar", "")]),
            of(None, &[("a.cedar", "b"), ("b.cedar", "")]),
            of(None, &[("a.cedar", ""), ("b.cedar", "b")]),
        ]);
        assert_eq!(digests.len(), 5);
    }
}
