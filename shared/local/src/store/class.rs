//! What a commit is for. It decides which commits are made where the disk is full.

use portcullis_app::ports::Batch;
use portcullis_domain::{Fact, Policy, TargetId};

/// What a commit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The clock's own: it brings firewalls to what the table says, and records it.
    Settles,
    /// A caller takes something away: a lease, a token, a part of a policy.
    Ends,
    /// A caller wants something more, or something is told: that can wait for room.
    Asks,
}

impl Class {
    /// What a batch is for: what the most demanding of its entries is for. `before` is the policy that a target had.
    pub fn of<'p>(batch: &Batch, before: impl Fn(&TargetId) -> Option<&'p Policy>) -> Self {
        let targets = batch.targets.iter().flat_map(|(next, _)| {
            let before = before(&next.target.id);
            next.entries.iter().map(move |entry| Self::of_fact(&entry.fact, before))
        });
        let rest = batch.rest.iter().map(|entry| Self::of_fact(&entry.fact, None));
        targets.chain(rest).max().unwrap_or(Self::Settles)
    }

    fn of_fact(fact: &Fact, before: Option<&Policy>) -> Self {
        match fact {
            // What was unguarded is guarded, or what was guarded is guarded more narrowly.
            Fact::PolicySet { policy: Some(policy), .. } if before.is_none_or(|it| policy.is_within(it)) => {
                Self::Ends
            }
            Fact::PolicyConfirmed { .. }
            | Fact::RequestRejected { .. }
            | Fact::Ended { .. }
            | Fact::TokenRevoked { .. } => Self::Ends,
            Fact::PolicyReverted { .. }
            | Fact::RequestLapsed { .. }
            | Fact::Opened { .. }
            | Fact::OpenFailed { .. }
            | Fact::ClosingSoon { .. }
            | Fact::Closed { .. }
            | Fact::TakenOver { .. }
            | Fact::Writing { .. }
            | Fact::ReadBack { .. }
            | Fact::DriftFound { .. }
            | Fact::DriftHealed
            | Fact::LockDefeated { .. }
            | Fact::ClockJumped { .. }
            | Fact::SettleFailed { .. }
            | Fact::OrphanDeleted { .. } => Self::Settles,
            Fact::PolicySet { .. }
            | Fact::PolicyRefused { .. }
            | Fact::RequestRefused { .. }
            | Fact::ApprovalNeeded { .. }
            | Fact::DecisionRefused { .. }
            | Fact::Approved { .. }
            | Fact::GlassBroken { .. }
            | Fact::Extended { .. }
            | Fact::Adopted { .. }
            | Fact::ForeignDeleted { .. }
            | Fact::TokenMade { .. }
            | Fact::EventRefused { .. }
            | Fact::ExportAsked { .. }
            | Fact::ExportReady { .. }
            | Fact::TokenRefused { .. } => Self::Asks,
        }
    }
}
