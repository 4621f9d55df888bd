//! What others are told, past tense: the journal's entries as events.

use crate::{
    Error,
    ports::{Bus, Detail, Event},
    sentence::sentence,
};
use portcullis_domain::{CorrelationId, EndReason, Entry, Fact, GrantId, is_late};

/// The version of [`Detail`].
const VERSION: u32 = 1;

/// The events that an entry is told as.
pub fn events(entry: &Entry) -> Vec<Event> {
    let kinds: &[&'static str] = match &entry.fact {
        Fact::PolicySet { .. } | Fact::PolicyConfirmed { .. } | Fact::PolicyReverted { .. } => {
            &["policy.changed"]
        }
        Fact::RequestRefused { .. } => &["request.received", "request.refused"],
        Fact::RequestExplained { .. } => &["request.explained"],
        Fact::EventRefused { .. } => &["request.refused"],
        Fact::ExportAsked { .. } => &["export.requested"],
        Fact::ExportReady { .. } => &["export.ready"],
        Fact::ApprovalNeeded { .. } => &["request.received", "request.needs_approval"],
        Fact::RequestRejected { .. } => &["request.rejected"],
        Fact::RequestWithdrawn { .. } => &["request.withdrawn"],
        Fact::RequestLapsed { .. } => &["request.expired"],
        // INVARIANT (break-glass-is-loud): to everybody who listens, once for a request.
        Fact::GlassBroken { .. } => &["breakglass.used"],
        // Whoever had to be asked was told of the request before; the first grant of the others tells of it.
        Fact::Approved { grant, approver: None, .. } if grant.id == GrantId::derived(&grant.request, 1) => {
            &["request.received", "request.approved"]
        }
        Fact::Extended { approver: None, .. } => &["request.received", "request.approved"],
        Fact::Approved { .. } | Fact::Extended { .. } => &["request.approved"],
        Fact::Ended {
            reason:
                EndReason::UserRequested | EndReason::PolicyChanged | EndReason::NotPermitted | EndReason::Expired,
            ..
        } => &["grant.ended"],
        Fact::Opened { .. } => &["grant.opened"],
        Fact::OpenFailed { .. } => &["grant.open_failed"],
        Fact::ClosingSoon { .. } => &["grant.closing_soon"],
        Fact::Closed { late_ms, cloud_ms, .. } if is_late(*late_ms, *cloud_ms) => {
            &["grant.closed", "grant.close_late"]
        }
        Fact::Closed { .. } => &["grant.closed"],
        Fact::DriftFound { .. } | Fact::LockDefeated { by: Some(_), .. } | Fact::OrphanDeleted { .. } => {
            &["drift.found"]
        }
        Fact::RoleGranted { .. } | Fact::RoleRevoked { .. } => &["role.changed"],
        Fact::PoliciesChanged { .. } => &["policies.changed"],
        Fact::ClockJumped { .. } => &["clock.jumped"],
        Fact::DriftRepeated { .. } => &["drift.repeated"],
        Fact::DiskLow { .. } => &["disk.low"],
        Fact::DiskFailed { .. } => &["disk.failed"],
        Fact::DiskRecovered => &["disk.recovered"],
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
        | Fact::TokenRefused { .. }
        | Fact::RoleRefused { .. }
        | Fact::PoliciesRefused { .. } => &[],
    };
    let event = |kind: &&'static str| Event {
        kind,
        detail: Detail {
            version: VERSION,
            id: format!("{}#{}#{kind}", entry.chain, entry.n),
            at: entry.at,
            target: entry.chain.target(),
            request: entry.fact.request(),
            grant: entry.fact.grant().cloned(),
            correlation_id: entry.fact.correlation().cloned(),
            sentence: sentence(kind, entry),
            fact: entry.fact.published(),
        },
    };
    kinds.iter().map(event).collect()
}

/// Tells what was committed, and fails if any of it has to be told again: all of it is, then. What can never be
/// published stands in the log and in the journal, and holds up nothing.
///
/// An event that is lost makes things late, never wrong.
pub async fn relay(bus: &impl Bus, entries: &[Entry]) -> Result<(), Error> {
    let told: Vec<Event> = entries.iter().flat_map(events).collect();
    if told.is_empty() {
        return Ok(());
    }
    let (mut missed, mut first) = (0, None);
    for not in bus.publish(&told).await? {
        if not.is_hopeless {
            let event = told.get(not.at).map(|it| &it.detail);
            let matter = event.and_then(|it| it.correlation_id.as_ref()).map(CorrelationId::as_str);
            let (id, correlation_id) = (event.map(|it| it.id.as_str()), matter);
            tracing::error!(
                id,
                correlation_id,
                why = not.why,
                "An event can never be published; its entry stays in the journal"
            );
        } else {
            missed += 1;
            first.get_or_insert(not.why);
        }
    }
    let Some(why) = first else { return Ok(()) };
    let source = format!("{missed} of {} were not accepted; the first: {why}", told.len());
    Err(Error::Unavailable { doing: "publish events", source: source.into() })
}
