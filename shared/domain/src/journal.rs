//! What happened, numbered without gaps and chained by hashes: outbox, audit log and export in one.

use crate::{
    Chain, ClaimToken, CorrelationId, Gate, Grant, GrantId, Grants, Lease, Pane, People, Person, Policy,
    Request, RequestId, Target, TargetId, Trial, What,
};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt, net::SocketAddr};

/// One thing that happened. Its hash covers everything before it in its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which chain it stands in.
    pub chain: Chain,
    /// Its number there, from 0, without gaps.
    pub n: u64,
    /// When, by the clock of whoever recorded it.
    pub at: Timestamp,
    /// What.
    pub fact: Fact,
    /// The hash of the entry before it; all zeros for the first.
    pub prev: Hash,
    /// SHA-256 of the entry as JSON without this field.
    pub hash: Hash,
}

/// SHA-256, printed as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// Where a chain ends: what the next entry must follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How many entries there are.
    pub n: u64,
    /// The hash of the last one.
    pub hash: Hash,
}

/// What happened. On the wire an object with the field `what`.
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
    },
    /// A policy that waited for a confirmation was confirmed.
    PolicyConfirmed { version: u64, by: Person },
    /// A policy that waited for a confirmation got none, and what was before is back.
    PolicyReverted { version: u64, policy: Option<Policy> },
    /// Somebody wanted to guard, edit, confirm or leave alone what they may not so.
    PolicyRefused { target: TargetId, by: Person, reasons: Vec<String> },
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
    },
    /// Somebody asked for what somebody else has to approve.
    ApprovalNeeded {
        request: RequestId,
        by: Person,
        asked: What,
        why: Option<String>,
        until: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// Somebody said no.
    RequestRejected {
        request: RequestId,
        by: Person,
        why: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// Somebody wanted to say yes or no and may not.
    DecisionRefused { request: RequestId, by: Person, reasons: Vec<String> },
    /// Nobody said anything in time.
    RequestLapsed {
        request: RequestId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// A grant was made.
    Approved { grant: Box<Grant>, approver: Option<Person> },
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
    },
    /// A lease was prolonged.
    Extended {
        grant: GrantId,
        request: RequestId,
        lease: Lease,
        by: Person,
        approver: Option<Person>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// A lease was ended before its end.
    Ended {
        grant: GrantId,
        lease: Lease,
        reason: EndReason,
        by: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// A read-back showed that the sources get in: for the first time, or again after `OpenFailed`.
    Opened {
        grant: GrantId,
        /// Where it is reached, if that is not at the target's own address and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        door: Option<SocketAddr>,
        /// How long after the beginning of its lease that was, where it is the first time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// Everything was written, and the sources do not get in, or no longer: this rule keeps them out.
    OpenFailed {
        grant: GrantId,
        decided_by: String,
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation: Option<CorrelationId>,
    },
    /// The worker that held this claim died, and may have written what no entry tells.
    TakenOver { from: ClaimToken },
    /// These writes are about to be made.
    Writing { changes: Vec<String> },
    /// What was read after writing: who gets in, per gate, and whether all is as wanted.
    ReadBack { agrees: bool, admitted: BTreeMap<Gate, String> },
    /// The firewalls hold something else than what was last seen to agree.
    DriftFound { rules: Vec<String> },
    /// They agree again.
    DriftHealed,
    /// The lockdown is in place and this rule defeats it; `None` once it no longer does.
    LockDefeated { gate: Gate, by: Option<String> },
    /// A worker gave up on this target; it is tried again.
    SettleFailed { why: String },
    /// A rule of ours without a target is about to be deleted from a firewall.
    OrphanDeleted { firewall: String, rule: String },
    /// The target is guarded as somebody else's policy guarded it.
    Adopted { policy: String, by: Person },
    /// Somebody else's policy, and the rules that it left, are about to be deleted, as somebody asked.
    ForeignDeleted { policy: Option<String>, rules: Vec<String>, by: Person },
    /// A bearer token was made.
    TokenMade { person: Person, by: Person },
    /// A bearer token was taken away.
    TokenRevoked { person: Person, by: Person },
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
    TokenRefused { person: Person, by: Person, reasons: Vec<String> },
    /// The clock of the machine was set by so much, back if it is negative. Leases end no later for it.
    ClockJumped { by_ms: i64 },
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
}

/// The first record that is not what was written, and how one can tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each one and its fields mean")]
pub enum BadRecord {
    #[error("entry {n} of `{chain}` is missing or out of order: entry {found} stands in its place")]
    OutOfOrder { chain: Chain, n: u64, found: u64 },
    #[error("entry {n} of `{chain}` was changed: its hash is not the one of its content")]
    Changed { chain: Chain, n: u64 },
    #[error(
        "entry {n} of `{chain}` does not follow the entry before it: that one was changed, dropped or inserted"
    )]
    NotChained { chain: Chain, n: u64 },
    #[error("entry {n} of `{chain}` cannot be read")]
    Unreadable { chain: Chain, n: u64 },
    #[error(
        "`{chain}` ends at entry {found}, but {wanted} entries were recorded: the last ones were dropped"
    )]
    CutShort { chain: Chain, wanted: u64, found: u64 },
    #[error("`{chain}` ends with another hash than the one that was recorded")]
    OtherHead { chain: Chain },
    #[error("entry {n} of `{chain}` was never recorded: the chain ends before it")]
    BeyondHead { chain: Chain, n: u64 },
    #[error("`{chain}` has entries, but what is stored of it was dropped")]
    NoState { chain: Chain },
    #[error("what is stored of `{chain}` is not what its entries tell: {field} differs")]
    OtherState { chain: Chain, field: &'static str },
    #[error("grant `{grant}` is not stored as the entries of `{chain}` tell it")]
    OtherGrant { chain: Chain, grant: GrantId },
    #[error("`{chain}` tells of {told} grants, but {stored} are stored")]
    OtherCount { chain: Chain, told: usize, stored: usize },
}

impl Head {
    /// These facts as the next entries, and where the chain ends after them.
    pub fn append(
        self,
        chain: &Chain,
        at: Timestamp,
        facts: impl IntoIterator<Item = Fact>,
    ) -> (Self, Vec<Entry>) {
        let mut head = self;
        let mut entries = vec![];
        for fact in facts {
            let mut entry =
                Entry { chain: chain.clone(), n: head.n, at, fact, prev: head.hash, hash: Hash::default() };
            entry.hash = entry.content_hash();
            head = Self { n: head.n + 1, hash: entry.hash };
            entries.push(entry);
        }
        (head, entries)
    }

    /// Where the chain ends after an entry that must be the next one.
    pub fn follow(self, chain: &Chain, entry: &Entry) -> Result<Self, BadRecord> {
        let (chain, n) = (chain.clone(), self.n);
        if entry.n != n || entry.chain != chain {
            return Err(BadRecord::OutOfOrder { chain, n, found: entry.n });
        }
        if entry.hash != entry.content_hash() {
            return Err(BadRecord::Changed { chain, n });
        }
        if entry.prev != self.hash {
            return Err(BadRecord::NotChained { chain, n });
        }
        Ok(Self { n: n + 1, hash: entry.hash })
    }
}

impl Fact {
    /// The grant whose life it changes.
    pub fn grant(&self) -> Option<&GrantId> {
        match self {
            Self::Approved { grant, .. } => Some(&grant.id),
            Self::Extended { grant, .. }
            | Self::Ended { grant, .. }
            | Self::Opened { grant, .. }
            | Self::OpenFailed { grant, .. }
            | Self::ClosingSoon { grant, .. }
            | Self::Closed { grant, .. } => Some(grant),
            Self::PolicySet { .. }
            | Self::PolicyConfirmed { .. }
            | Self::PolicyReverted { .. }
            | Self::PolicyRefused { .. }
            | Self::RequestRefused { .. }
            | Self::ApprovalNeeded { .. }
            | Self::RequestRejected { .. }
            | Self::DecisionRefused { .. }
            | Self::RequestLapsed { .. }
            | Self::GlassBroken { .. }
            | Self::TakenOver { .. }
            | Self::Writing { .. }
            | Self::ReadBack { .. }
            | Self::DriftFound { .. }
            | Self::DriftHealed
            | Self::LockDefeated { .. }
            | Self::SettleFailed { .. }
            | Self::OrphanDeleted { .. }
            | Self::Adopted { .. }
            | Self::ForeignDeleted { .. }
            | Self::TokenMade { .. }
            | Self::TokenRevoked { .. }
            | Self::EventRefused { .. }
            | Self::ExportAsked { .. }
            | Self::ExportReady { .. }
            | Self::TokenRefused { .. }
            | Self::ClockJumped { .. } => None,
        }
    }

    /// The request that it is about.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::RequestRefused { request, .. }
            | Self::ApprovalNeeded { request, .. }
            | Self::RequestRejected { request, .. }
            | Self::DecisionRefused { request, .. }
            | Self::RequestLapsed { request, .. }
            | Self::GlassBroken { request, .. }
            | Self::Extended { request, .. } => Some(request.clone()),
            Self::Approved { grant, .. } => Some(grant.request.clone()),
            Self::Ended { grant, .. }
            | Self::Opened { grant, .. }
            | Self::OpenFailed { grant, .. }
            | Self::ClosingSoon { grant, .. }
            | Self::Closed { grant, .. } => grant.derivation().map(|(request, _)| request),
            Self::PolicySet { .. }
            | Self::PolicyConfirmed { .. }
            | Self::PolicyReverted { .. }
            | Self::PolicyRefused { .. }
            | Self::EventRefused { .. }
            | Self::ExportAsked { .. }
            | Self::ExportReady { .. }
            | Self::TakenOver { .. }
            | Self::Writing { .. }
            | Self::ReadBack { .. }
            | Self::DriftFound { .. }
            | Self::DriftHealed
            | Self::LockDefeated { .. }
            | Self::SettleFailed { .. }
            | Self::OrphanDeleted { .. }
            | Self::Adopted { .. }
            | Self::ForeignDeleted { .. }
            | Self::TokenMade { .. }
            | Self::TokenRevoked { .. }
            | Self::TokenRefused { .. }
            | Self::ClockJumped { .. } => None,
        }
    }

    /// What whoever asked calls the matter that it answers.
    pub fn correlation(&self) -> Option<&CorrelationId> {
        match self {
            Self::Approved { grant, .. } => grant.correlation.as_ref(),
            Self::RequestRefused { correlation, .. }
            | Self::ApprovalNeeded { correlation, .. }
            | Self::RequestRejected { correlation, .. }
            | Self::RequestLapsed { correlation, .. }
            | Self::GlassBroken { correlation, .. }
            | Self::EventRefused { correlation, .. }
            | Self::ExportAsked { correlation, .. }
            | Self::ExportReady { correlation, .. }
            | Self::Extended { correlation, .. }
            | Self::Ended { correlation, .. }
            | Self::Opened { correlation, .. }
            | Self::OpenFailed { correlation, .. }
            | Self::ClosingSoon { correlation, .. }
            | Self::Closed { correlation, .. } => correlation.as_ref(),
            Self::DecisionRefused { .. }
            | Self::PolicySet { .. }
            | Self::PolicyConfirmed { .. }
            | Self::PolicyReverted { .. }
            | Self::PolicyRefused { .. }
            | Self::TakenOver { .. }
            | Self::Writing { .. }
            | Self::ReadBack { .. }
            | Self::DriftFound { .. }
            | Self::DriftHealed
            | Self::LockDefeated { .. }
            | Self::SettleFailed { .. }
            | Self::OrphanDeleted { .. }
            | Self::Adopted { .. }
            | Self::ForeignDeleted { .. }
            | Self::TokenMade { .. }
            | Self::TokenRevoked { .. }
            | Self::TokenRefused { .. }
            | Self::ClockJumped { .. } => None,
        }
    }
}

impl Entry {
    fn content_hash(&self) -> Hash {
        // Serialising cannot fail: every map has text for keys, and there are no floats.
        let content = serde_json::to_vec(&(&self.chain, self.n, self.at, &self.fact, &self.prev));
        Hash::of(&content.unwrap_or_default())
    }
}

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
    fn digest(by: &Person, asked: &What, why: Option<&str>, until: Timestamp) -> Digest {
        Digest::of(&(by, asked, why, until))
    }
}

impl From<&Request> for Waiting {
    fn from(it: &Request) -> Self {
        let why = it.justification.as_ref().map(ToString::to_string);
        let digest = Self::digest(&it.by, &it.what, why.as_deref(), it.due_at().unwrap_or_default());
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
            Fact::ApprovalNeeded { request, by, asked, why, until, .. } => {
                let digest = Waiting::digest(by, asked, why.as_deref(), *until);
                self.pending.insert(request.clone(), digest);
            }
            Fact::RequestRejected { request, .. } | Fact::RequestLapsed { request, .. } => {
                self.pending.remove(request);
            }
            Fact::Approved { grant, .. } => {
                self.pending.remove(&grant.request);
                self.granted += 1;
                self.grants.insert(grant.id.clone(), (**grant).clone());
            }
            Fact::Extended { grant, request, lease, .. } => {
                self.pending.remove(request);
                self.change(grant, |it| it.lease = *lease);
            }
            Fact::Ended { grant, lease, reason, .. } => self.change(grant, |it| {
                it.lease = *lease;
                it.end_reason = Some(*reason);
            }),
            Fact::ClosingSoon { grant, end, .. } => self.change(grant, |it| it.told_end = Some(*end)),
            Fact::Opened { grant, door, .. } => self.change(grant, |it| it.open(entry.at, *door)),
            Fact::OpenFailed { grant, decided_by, .. } => {
                self.change(grant, |it| it.open_failed = Some(decided_by.clone()));
            }
            Fact::Closed { grant, .. } => {
                let closed = self.grants.remove(grant);
                return closed.map(|it| Grant { closed_at: Some(entry.at), ..it });
            }
            Fact::PolicyRefused { .. }
            | Fact::RequestRefused { .. }
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
            | Fact::ClockJumped { .. } => {}
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
            differs("the policy that waits for a confirmation")
        } else if self.grants != *target.grants() {
            differs("a grant")
        } else {
            Ok(())
        }
    }

    /// The same for the requests that wait and name the target: what is not told may not be approved.
    pub fn agrees_with_pending(&self, chain: &Chain, stored: &[Waiting]) -> Result<(), BadRecord> {
        let stored: BTreeMap<RequestId, Digest> =
            stored.iter().map(|it| (it.request.clone(), it.digest.clone())).collect();
        if stored == self.pending {
            Ok(())
        } else {
            Err(BadRecord::OtherState { chain: chain.clone(), field: "a request that waits" })
        }
    }
}

impl Hash {
    /// Of all of this.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        HEXLOWER.encode(&hash.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|it| it.try_into().ok());
        bytes.map(Self).ok_or("a hash has 64 lower-case hexadecimal digits")
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A short digest of something that can be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn of(content: &impl Serialize) -> Self {
        const DIGEST_BYTES: usize = 12;
        let content = serde_json::to_vec(content).unwrap_or_default();
        Self(HEXLOWER.encode(&Sha256::digest(content)[..DIGEST_BYTES]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: usize) -> (Head, Vec<Entry>) {
        let facts = (0..length).map(|n| Fact::SettleFailed { why: format!("no {n}") });
        Head::default().append(&Chain::rest(), Timestamp::UNIX_EPOCH, facts)
    }

    fn verify(entries: &[Entry]) -> Result<Head, BadRecord> {
        entries.iter().try_fold(Head::default(), |head, entry| head.follow(&Chain::rest(), entry))
    }

    #[test]
    fn a_chain_verifies_also_after_a_round_trip() {
        let (head, entries) = chain(5);
        assert_eq!(verify(&entries), Ok(head));
        let text = serde_json::to_string(&entries).expect("writes");
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).expect("reads"), entries);
    }

    #[test]
    fn a_changed_dropped_or_reordered_record_is_found() {
        let (_, entries) = chain(5);
        let mut changed = entries.clone();
        changed[2].fact = Fact::DriftHealed;
        assert!(matches!(verify(&changed), Err(BadRecord::Changed { n: 2, .. })));
        changed[2].hash = changed[2].content_hash();
        assert!(matches!(verify(&changed), Err(BadRecord::NotChained { n: 3, .. })));
        let mut dropped = entries.clone();
        dropped.remove(2);
        assert!(matches!(verify(&dropped), Err(BadRecord::OutOfOrder { n: 2, found: 3, .. })));
        let mut reordered = entries;
        reordered.swap(1, 2);
        assert!(matches!(verify(&reordered), Err(BadRecord::OutOfOrder { n: 1, found: 2, .. })));
    }

    #[test]
    fn a_refused_event_without_codes_is_still_read_and_has_the_same_hash() {
        let stored = r#"{"what":"event_refused","source":"chatops","event":"1","reasons":["no bot"]}"#;
        let fact: Fact = serde_json::from_str(stored).expect("reads");
        assert_eq!(serde_json::to_string(&fact).expect("writes"), stored);
    }
}
