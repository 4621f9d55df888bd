//! What others are told, past tense: the journal's entries as events.

use crate::{
    Error,
    ports::{Bus, NotPublished},
};
use jiff::Timestamp;
use portcullis_domain::{Chain, EndReason, Entry, Fact};
use serde::Serialize;

/// A lease that closed later than this after its end is told as late.
const LATE_MS: i64 = 2_000;

/// Something that happened, for whoever wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The same event has the same id, however often it is told.
    pub id: String,
    /// What happened, such as `grant.opened`.
    pub kind: &'static str,
    /// When.
    pub at: Timestamp,
    /// The chain it stands in: the target's, or the one for the rest.
    pub chain: Chain,
    /// All of it.
    pub fact: Fact,
}

/// The events that an entry is told as.
pub fn events(entry: &Entry) -> Vec<Event> {
    let kinds: &[&'static str] = match &entry.fact {
        Fact::PolicySet { .. } | Fact::PolicyConfirmed { .. } | Fact::PolicyReverted { .. } => {
            &["policy.changed"]
        }
        Fact::RequestRefused { .. } => &["request.refused"],
        Fact::ApprovalNeeded { .. } => &["request.needs_approval"],
        Fact::RequestRejected { .. } => &["request.rejected"],
        Fact::RequestLapsed { .. } => &["request.expired"],
        Fact::Approved { .. } | Fact::Extended { .. } => &["request.approved"],
        Fact::Ended {
            reason: EndReason::UserRequested | EndReason::PolicyChanged | EndReason::Expired,
            ..
        } => &["grant.ended"],
        Fact::Opened { .. } => &["grant.opened"],
        Fact::OpenFailed { .. } => &["grant.open_failed"],
        Fact::Closed { late_ms, .. } if LATE_MS < *late_ms => &["grant.closed", "grant.close_late"],
        Fact::Closed { .. } => &["grant.closed"],
        Fact::DriftFound { .. } | Fact::LockDefeated { by: Some(_), .. } | Fact::OrphanDeleted { .. } => {
            &["drift.found"]
        }
        Fact::DriftHealed | Fact::LockDefeated { by: None, .. } => &["drift.healed"],
        Fact::PolicyRefused { .. }
        | Fact::DecisionRefused { .. }
        | Fact::TakenOver { .. }
        | Fact::Writing { .. }
        | Fact::ReadBack { .. }
        | Fact::SettleFailed { .. }
        | Fact::Adopted { .. }
        | Fact::ForeignDeleted { .. }
        | Fact::TokenMade { .. }
        | Fact::TokenRevoked { .. }
        | Fact::TokenRefused { .. } => &[],
    };
    let event = |kind: &&'static str| Event {
        id: format!("{}#{}#{kind}", entry.chain, entry.n),
        kind,
        at: entry.at,
        chain: entry.chain.clone(),
        fact: entry.fact.clone(),
    };
    kinds.iter().map(event).collect()
}

/// Tells what was committed. An event that is lost makes things late, never wrong.
pub async fn relay(bus: &impl Bus, entries: &[Entry]) -> Result<Vec<NotPublished>, Error> {
    let told: Vec<Event> = entries.iter().flat_map(events).collect();
    if told.is_empty() { Ok(vec![]) } else { bus.publish(&told).await }
}
