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
            Fact::RoleRevoked { .. }
            | Fact::PolicyConfirmed { .. }
            | Fact::RequestRejected { .. }
            | Fact::RequestWithdrawn { .. }
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
            | Fact::DriftRepeated { .. }
            | Fact::DiskLow { .. }
            | Fact::DiskFailed { .. }
            | Fact::DiskRecovered
            | Fact::SettleFailed { .. }
            | Fact::OrphanDeleted { .. } => Self::Settles,
            Fact::PolicySet { .. }
            | Fact::PolicyRefused { .. }
            | Fact::RequestRefused { .. }
            | Fact::RequestExplained { .. }
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
            | Fact::TokenRefused { .. }
            | Fact::RoleGranted { .. }
            | Fact::PoliciesChanged { .. }
            | Fact::PoliciesRefused { .. }
            | Fact::RoleRefused { .. } => Self::Asks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use portcullis_app::ports::Seen;
    use portcullis_domain::{EndReason, Lease, PortRule, Protocol, Target, Terms, TokenTerms};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn class(facts: Vec<Fact>, before: Option<&Policy>) -> Class {
        let target = Target::unguarded("vm".parse().expect("an id"));
        Class::of(&Batch::of(target.note(facts, NOW), Seen(1)), |_| before)
    }

    #[test]
    fn a_commit_is_for_what_the_most_demanding_of_its_entries_is_for() {
        let by = || "ann".parse().expect("a person");
        let rule = |port: u16| PortRule::offered(port.try_into().expect("a port"), Protocol::Tcp);
        let policy = |ports: &[u16]| {
            Policy::of(ports.iter().map(|it| rule(*it)).collect(), &Terms::default()).expect("a policy")
        };
        let set = |policy| Fact::PolicySet {
            version: 1,
            policy,
            by: by(),
            confirm_by: None,
            take_over: false,
            via: None,
        };
        let ended = || Fact::Ended {
            grant: "a-1".parse().expect("an id"),
            lease: Lease::starting(NOW, jiff::SignedDuration::from_hours(1)).expect("a lease"),
            reason: EndReason::UserRequested,
            by: by(),
            correlation: None,
            via: None,
        };
        assert_eq!(class(vec![], None), Class::Settles, "a claim has no entry");
        assert_eq!(class(vec![Fact::Writing { changes: vec![] }], None), Class::Settles);
        assert_eq!(class(vec![Fact::DriftHealed, ended()], None), Class::Ends);
        assert_eq!(
            class(vec![ended(), Fact::token_made(&by(), &TokenTerms::default(), (&by()).into())], None),
            Class::Asks
        );
        let (one, two) = (policy(&[22]), policy(&[22, 443]));
        assert_eq!(class(vec![set(Some(one.clone()))], None), Class::Ends, "it was unguarded");
        assert_eq!(class(vec![set(Some(two.clone()))], Some(&one)), Class::Ends);
        assert_eq!(class(vec![set(Some(one))], Some(&two)), Class::Asks, "a port is guarded no longer");
        assert_eq!(class(vec![set(None)], Some(&two)), Class::Asks);
    }
}
