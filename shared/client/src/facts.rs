//! Facts of the journal as they stand in a table.

use crate::table::Mark;
use portcullis_domain::Fact;

/// The person, or the source, that a fact comes from, and the bot that spoke for them.
pub fn by(fact: &Fact) -> Option<String> {
    fact.about().speakers()
}

/// How a fact stands in a table.
pub fn mark(fact: &Fact) -> Mark {
    match fact {
        Fact::Opened { .. }
        | Fact::Closed { delay: None, .. }
        | Fact::Approved { .. }
        | Fact::Extended { .. }
        | Fact::DriftHealed
        | Fact::DiskRecovered
        | Fact::LockDefeated { by: None, .. } => Mark::Good,
        Fact::ReadBack { agrees: true, wanted, .. } if wanted.is_empty() => Mark::Good,
        Fact::PolicyRefused { .. }
        | Fact::TokenRefused { .. }
        | Fact::RoleRefused { .. }
        | Fact::PoliciesRefused { .. }
        | Fact::EventRefused { .. }
        | Fact::RequestRefused { .. }
        | Fact::ApprovalNeeded { .. }
        | Fact::RequestRejected { .. }
        | Fact::DecisionRefused { .. }
        | Fact::TakenOver { .. }
        | Fact::PolicyReverted { .. }
        | Fact::OrphanDeleted { .. }
        | Fact::ClockJumped { .. }
        | Fact::Closed { delay: Some(_), .. }
        | Fact::DiskLow { .. }
        | Fact::ReadBack { .. } => Mark::Look,
        Fact::OpenFailed { .. }
        | Fact::GlassBroken { .. }
        | Fact::DriftFound { .. }
        | Fact::DriftRepeated { .. }
        | Fact::DiskFailed { .. }
        | Fact::LockDefeated { by: Some(_), .. }
        | Fact::SettleFailed { .. } => Mark::Bad,
        Fact::PolicySet { .. }
        | Fact::PolicyConfirmed { .. }
        | Fact::RequestWithdrawn { .. }
        | Fact::RequestExplained { .. }
        | Fact::RequestLapsed { .. }
        | Fact::Ended { .. }
        | Fact::ClosingSoon { .. }
        | Fact::Writing { .. }
        | Fact::Adopted { .. }
        | Fact::ForeignDeleted { .. }
        | Fact::TokenMade { .. }
        | Fact::RoleGranted { .. }
        | Fact::RoleRevoked { .. }
        | Fact::PoliciesChanged { .. }
        | Fact::ExportAsked { .. }
        | Fact::ExportReady { .. }
        | Fact::TokenRevoked { .. } => Mark::Plain,
    }
}
