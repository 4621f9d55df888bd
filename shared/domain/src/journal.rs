//! What happened, numbered without gaps and chained by hashes: outbox, audit log and export in one.

mod about;
mod chain;
mod in_words;
mod kinds;
mod replay;

pub use about::About;
pub use chain::{BadRecord, Content, Entry, Hash, Head};
pub use in_words::{few, rule_in_words, short};
pub use replay::{Told, Waiting};

use crate::{
    Access, Binding, ClaimToken, CorrelationId, Delay, Gate, Grant, GrantId, Justification, Lease, Pane,
    People, Person, Policies, Policy, Purpose, RequestId, Speaker, TargetId, TokenTerms, Via, What,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};

/// What happened. On the wire an object with the field `what`. `via` is the channel by which the person spoke whom `by` names; it is
/// absent from what an older version recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the types they have")]
pub enum Fact {
    /// The policy was set, or with `None` taken away; it lapses unless confirmed in time.
    PolicySet {
        version: u64,
        policy: Option<Policy>,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_by: Option<Timestamp>,
        /// Was the machine taken over from another installation, as the person said?
        #[serde(default, skip_serializing_if = "is_false")]
        take_over: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A policy that waited for a confirmation was confirmed.
    PolicyConfirmed {
        version: u64,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A policy that waited for a confirmation got none, and what was before is back.
    PolicyReverted { version: u64, policy: Option<Policy> },
    /// Somebody wanted to guard, edit, confirm or leave alone what they may not so.
    PolicyRefused {
        target: TargetId,
        by: Person,
        reasons: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Somebody asked for what they may not have.
    RequestRefused {
        request: RequestId,
        by: Person,
        asked: What,
        why: Option<String>,
        reasons: Vec<String>,
        /// The same reasons for programs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        codes: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
        /// The version of roles and policies by which it was decided; absent where nobody ever changed those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<u64>,
    },
    /// A bot asked how a request would be decided, and did not make it.
    RequestExplained {
        by: Person,
        asked: What,
        why: Option<String>,
        answer: Explained,
        /// Every reason of a refusal.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<String>,
        /// The same reasons for programs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        codes: Vec<String>,
        /// Who would have to approve it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approvers: Option<People>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Somebody asked for what somebody else has to approve.
    ApprovalNeeded {
        request: RequestId,
        by: Person,
        asked: What,
        why: Option<String>,
        until: Timestamp,
        /// What an approval has to name, [`crate::Request::shown`]; absent from what an older version recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<String>,
        /// Who may approve it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approvers: Option<People>,
        /// Why roles and policies have it wait; empty where the rules of its ports alone do.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        because: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
        /// The version of roles and policies by which it was decided; absent where nobody ever changed those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<u64>,
    },
    /// Somebody said no.
    RequestRejected {
        request: RequestId,
        by: Person,
        why: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Whoever asked no longer wants it, or the operator took that person's access away.
    RequestWithdrawn {
        request: RequestId,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Somebody wanted to say yes or no and may not.
    DecisionRefused {
        request: RequestId,
        by: Person,
        reasons: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
        /// The version of roles and policies by which it was decided; absent where nobody ever changed those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<u64>,
    },
    /// Nobody said anything in time.
    RequestLapsed {
        request: RequestId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// A grant was made.
    Approved {
        grant: Box<Grant>,
        approver: Option<Person>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approver_via: Option<Via>,
    },
    /// Somebody opened ports without the yes that they need, as their policies let them.
    GlassBroken {
        request: RequestId,
        by: Person,
        why: String,
        opened: Vec<Pane>,
        /// Whose yes they need.
        skipped: People,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A lease was prolonged.
    Extended {
        grant: GrantId,
        request: RequestId,
        lease: Lease,
        by: Person,
        approver: Option<Person>,
        /// Why, as the person said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Justification>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approver_via: Option<Via>,
        /// The version of roles and policies by which it was decided; absent where nobody ever changed those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<u64>,
    },
    /// A lease was ended before its end.
    Ended {
        grant: GrantId,
        lease: Lease,
        reason: EndReason,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A read-back showed that the sources get in: for the first time, or again after `OpenFailed`.
    Opened {
        grant: GrantId,
        /// Who gets in, where, from where and until when; absent from what an older version recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access: Option<Box<Access>>,
        /// Where it is reached, if that is not at the target's own address and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        door: Option<SocketAddr>,
        /// Foreign denies over which it was opened.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        over: Vec<String>,
        /// Packet filters of others that may still refuse its sources.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        may_refuse: Vec<String>,
        /// How long after the beginning of its lease that was, where it is the first time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// The sources do not get in, or no longer: a rule keeps them out although all is written, or it could not be written.
    OpenFailed {
        grant: GrantId,
        /// The rule. Earlier versions have the reason of a refused write here too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decided_by: Option<String>,
        /// Why the cloud refused the write.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// A lease is nearly over: whoever needs more may ask for it.
    ClosingSoon {
        grant: GrantId,
        end: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// A read-back showed that nobody gets in but whom live leases admit. `late_ms` after the end.
    Closed {
        grant: GrantId,
        reason: EndReason,
        late_ms: i64,
        /// How much of that the cloud's own write took, as far as that is known: the rest is ours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cloud_ms: Option<i64>,
        /// What was in the way, where that is late.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay: Option<Delay>,
        /// Did the kernel of the machine shut it at its end, by itself? Then it was not late, whenever that was seen.
        #[serde(default, skip_serializing_if = "is_false")]
        by_kernel: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// The worker that held this claim died, and may have written what no entry tells.
    TakenOver { from: ClaimToken },
    /// These writes are about to be made.
    Writing { changes: Vec<String> },
    /// The state after writing: whether our rules are as wanted, and the sources that get in, for each gate.
    ReadBack {
        agrees: bool,
        admitted: BTreeMap<Gate, String>,
        /// The sources of live leases, where foreign rules let others in beside them or keep some of them out.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        wanted: BTreeMap<Gate, String>,
        /// The sources that get in by accepted rules alone.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        accepted: BTreeMap<Gate, String>,
    },
    /// The firewalls hold something else than what was last seen to agree.
    DriftFound { rules: Vec<String> },
    /// They agree again.
    DriftHealed,
    /// The lockdown is in place and this rule defeats it; `None` once no rule does that is not accepted.
    LockDefeated {
        gate: Gate,
        by: Option<String>,
        /// The accepted rules by which sources get in all the same.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<String>,
    },
    /// A worker gave up on this target; it is tried again.
    SettleFailed { why: String },
    /// A rule of ours without a target is about to be deleted from a firewall.
    OrphanDeleted { firewall: String, rule: String },
    /// The target is guarded as somebody else's policy guarded it.
    Adopted {
        policy: String,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Somebody else's policy, and the rules that it left, are about to be deleted, as somebody asked.
    ForeignDeleted {
        policy: Option<String>,
        rules: Vec<String>,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A bearer token was made.
    TokenMade {
        person: Person,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A bearer token was taken away.
    TokenRevoked {
        person: Person,
        by: Person,
        /// Did the person keep their leases and waiting requests, as the operator said?
        #[serde(default, skip_serializing_if = "is_false")]
        keeps_access: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// An event came in that cannot be read, or that asks for what may not be.
    EventRefused {
        /// Whose event it was.
        source: String,
        /// What it was, as far as that can be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// What the bus calls it.
        event: String,
        /// For whom it spoke.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
        reasons: Vec<String>,
        /// The same reasons for programs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        codes: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Somebody asked for the journal of a time, as evidence.
    ExportAsked {
        from: Timestamp,
        to: Timestamp,
        /// How its records are written.
        format: String,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// An export is whole, where it is kept.
    ExportReady {
        /// The bucket.
        archive: String,
        /// The folder of it.
        folder: String,
        from: Timestamp,
        to: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// Somebody wanted to make or take away a token of this person, and may not.
    TokenRefused {
        person: Person,
        by: Person,
        reasons: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A role was given.
    RoleGranted {
        binding: Binding,
        /// The version of the authority from then on.
        version: u64,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A role was taken away.
    RoleRevoked {
        binding: Binding,
        /// The version of the authority from then on.
        version: u64,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Somebody wanted to give or take away a role, and may not.
    RoleRefused {
        binding: Binding,
        by: Person,
        reasons: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// The policies of the installation were changed, and are these from then on.
    PoliciesChanged {
        /// The version of the authority from then on.
        version: u64,
        /// [`crate::Policies::digest`].
        digest: Hash,
        /// The ids of policies that were not there before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        added: Vec<String>,
        /// The ids of policies whose text is another one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changed: Vec<String>,
        /// The ids of policies that are there no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        removed: Vec<String>,
        /// The version whose policies these are, where the person went back to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back_to: Option<u64>,
        /// The number of the entry of the change before, in the chain of the rest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Justification>,
        /// All policies; its event leaves them out.
        #[serde(default, skip_serializing_if = "Policies::is_empty")]
        policies: Policies,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Somebody wanted to change the policies of the installation, and may not so.
    PoliciesRefused {
        /// The digest of the policies that were wanted; none where the person wanted to go back to a version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Hash>,
        by: Person,
        reasons: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// The clock of the machine was set by so much, back if it is negative. Leases end no later for it.
    ClockJumped { by_ms: i64 },
    /// Rules were changed behind our back so often within a quarter of an hour: another installation may guard the machine.
    DriftRepeated { times: usize },
    /// The disk of the table has less left than the table wants when it next grows.
    DiskLow { left_mib: u64, wanted_mib: u64 },
    /// The disk of the table has no room, or refused a write. Callers are refused, and leases still end.
    DiskFailed { why: String },
    /// The disk of the table has room and is written as ever again.
    DiskRecovered,
}

impl Fact {
    /// A token with these terms was made for a person.
    pub fn token_made(person: &Person, terms: &TokenTerms, by: Speaker<'_>) -> Self {
        let TokenTerms { purpose, expires_at } = terms.clone();
        let (person, by, via) = (person.clone(), by.person.clone(), by.via.cloned());
        Self::TokenMade { person, by, purpose, expires_at, via }
    }
}

/// A field that says nothing is absent, so that old entries keep their bytes.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(it: &bool) -> bool {
    !*it
}

/// How a request would be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explained {
    /// It would be granted at once.
    Allowed,
    /// It would wait for an approval.
    NeedsApproval,
    /// It would be refused.
    Refused,
}

impl Explained {
    /// The word that programs go by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::NeedsApproval => "needs_approval",
            Self::Refused => "refused",
        }
    }
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its time was over.
    Expired,
    /// Somebody closed it.
    UserRequested,
    /// Its port is no longer guarded.
    PolicyChanged,
    /// No role or policy permits it to its requester any more.
    NotPermitted,
}

impl EndReason {
    /// The word that programs go by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::UserRequested => "user_requested",
            Self::PolicyChanged => "policy_changed",
            Self::NotPermitted => "not_permitted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_event_without_codes_is_still_read_and_has_the_same_hash() {
        let stored = r#"{"what":"event_refused","source":"chatops","event":"1","reasons":["no bot"]}"#;
        let fact: Fact = serde_json::from_str(stored).expect("reads");
        assert_eq!(serde_json::to_string(&fact).expect("writes"), stored);
    }
}
