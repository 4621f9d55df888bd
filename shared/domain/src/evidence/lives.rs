//! The lives of grants, as the entries of one chain tell them: a row each, for auditors.

use crate::{
    Cause, EndReason, Entry, Fact, Gate, Grant, GrantId, Justification, Lease, Person, RequestId, Speaker,
    Via,
    csv::{csv_line, csv_time},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The header of a file of grants. A column is called as no dialect of SQL has to quote.
pub(crate) const COLUMNS: [&str; 26] = [
    "grant_id",
    "request_id",
    "requested_by",
    "via",
    "machine",
    "subscription",
    "machine_id",
    "port",
    "protocol",
    "sources",
    "reason",
    "ticket",
    "correlation_id",
    "asked_at",
    "decided_at",
    "approved_by",
    "approved_via",
    "starts_at",
    "opened_at",
    "agreed_end",
    "shut_at",
    "late_seconds",
    "late_cause",
    "end_reason",
    "closed_by",
    "break_glass",
];

/// The grants of a chain that are not shut yet, while its entries are read from the first one. A machine has room for so many
/// leases, so what is in memory does not grow with the chain.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    /// When the requests that wait were asked for.
    asked: BTreeMap<RequestId, Timestamp>,
    /// The last one of these that was approved: it may have several grants.
    decided: Option<(RequestId, Timestamp)>,
    live: BTreeMap<GrantId, Life>,
}

/// The life of a grant, as far as it is told.
#[derive(Debug, Clone)]
pub struct Life {
    grant: Grant,
    asked_at: Timestamp,
    decided_at: Timestamp,
    /// Each approver once: of the request, and of extensions, with the channel where that is known.
    approved_by: Vec<(Person, Option<Via>)>,
    /// The lease that was granted last; an early close does not change it.
    agreed: Lease,
    closed_by: Option<Person>,
    shut: Option<Shut>,
}

#[derive(Debug, Clone, Copy)]
struct Shut {
    at: Timestamp,
    reason: EndReason,
    late_ms: i64,
    cause: Option<Cause>,
}

impl Lives {
    /// After the next entry; gives the grant that it tells to be shut.
    pub fn follow(&mut self, entry: &Entry) -> Option<Life> {
        match &entry.fact {
            Fact::ApprovalNeeded { request, .. } => {
                self.asked.insert(request.clone(), entry.at);
            }
            Fact::RequestRejected { request, .. }
            | Fact::RequestWithdrawn { request, .. }
            | Fact::RequestLapsed { request, .. } => {
                self.asked.remove(request);
            }
            Fact::Approved { grant, approver, approver_via } => {
                self.approved(grant, speaker(approver.as_ref(), approver_via.as_ref()), entry.at);
            }
            Fact::Extended { grant, request, lease, approver, approver_via, .. } => {
                self.asked.remove(request);
                self.change(grant, |it| {
                    it.agreed = *lease;
                    it.approved_by(speaker(approver.as_ref(), approver_via.as_ref()));
                });
            }
            Fact::Ended { grant, reason, by, .. } => self.change(grant, |it| {
                it.grant.end_reason = Some(*reason);
                it.closed_by = Some(by.clone());
            }),
            Fact::Opened { grant, .. } => self.change(grant, |it| {
                it.grant.opened_at = it.grant.opened_at.or(Some(entry.at));
            }),
            Fact::Closed { grant, reason, late_ms, delay, .. } => {
                let shut = Shut {
                    at: entry.at,
                    reason: *reason,
                    late_ms: *late_ms,
                    cause: delay.as_ref().map(|it| it.cause),
                };
                return self.live.remove(grant).map(|it| Life { shut: Some(shut), ..it });
            }
            Fact::PolicySet { .. }
            | Fact::PolicyConfirmed { .. }
            | Fact::PolicyReverted { .. }
            | Fact::PolicyRefused { .. }
            | Fact::RequestRefused { .. }
            | Fact::RequestExplained { .. }
            | Fact::DecisionRefused { .. }
            | Fact::GlassBroken { .. }
            | Fact::OpenFailed { .. }
            | Fact::ClosingSoon { .. }
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

    /// The grants that are not shut by the end of what was read, by their ids.
    pub fn left(self) -> impl Iterator<Item = Life> {
        self.live.into_values()
    }

    fn approved(&mut self, grant: &Grant, approver: Option<Speaker<'_>>, at: Timestamp) {
        let request = &grant.request;
        if let Some(asked_at) = self.asked.remove(request) {
            self.decided = Some((request.clone(), asked_at));
        }
        // A request that needs no approval is decided as it is asked.
        let asked_at = self.decided.as_ref().filter(|it| it.0 == *request).map_or(at, |it| it.1);
        let mut life = Life {
            grant: grant.clone(),
            asked_at,
            decided_at: at,
            approved_by: vec![],
            agreed: grant.lease,
            closed_by: None,
            shut: None,
        };
        life.approved_by(approver);
        self.live.insert(grant.id.clone(), life);
    }

    fn change(&mut self, grant: &GrantId, change: impl FnOnce(&mut Life)) {
        if let Some(it) = self.live.get_mut(grant) {
            change(it);
        }
    }
}

impl Life {
    /// Was it not shut before then?
    pub fn lasts_until(&self, from: Timestamp) -> bool {
        self.shut.is_none_or(|it| from <= it.at)
    }

    /// It as a row, in [`COLUMNS`].
    pub fn line(&self) -> String {
        csv_line(self.cells())
    }

    fn approved_by(&mut self, approver: Option<Speaker<'_>>) {
        if let Some(Speaker { person, via }) = approver
            && self.approved_by.iter().all(|(it, _)| it != person)
        {
            self.approved_by.push((person.clone(), via.cloned()));
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let Grant { id, request, by, via, target, gate, sources, .. } = &self.grant;
        let Grant { justification, correlation, opened_at, end_reason, broke_glass, .. } = &self.grant;
        let Gate { port, protocol } = gate;
        let target = target.as_str();
        let shut = self.shut.as_ref();
        let sources = sources.ranges().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let approvers = self.approved_by.iter().map(|(it, _)| it.as_str()).collect::<Vec<_>>().join("; ");
        let channels = self.approved_by.iter().map(|(_, via)| text(via.as_ref()));
        let channels = channels.collect::<Vec<_>>().join("; ");
        [
            id.to_string(),
            request.to_string(),
            by.to_string(),
            text(via.as_ref()),
            target.rsplit('/').find(|it| !it.is_empty()).unwrap_or(target).to_owned(),
            subscription(target).unwrap_or_default().to_owned(),
            target.to_owned(),
            port.to_string(),
            protocol.to_string(),
            sources,
            justification.as_ref().map(ToString::to_string).unwrap_or_default(),
            justification.as_ref().and_then(Justification::ticket).unwrap_or_default().to_owned(),
            correlation.as_ref().map(ToString::to_string).unwrap_or_default(),
            csv_time(self.asked_at),
            csv_time(self.decided_at),
            approvers,
            channels,
            csv_time(self.agreed.start()),
            opened_at.map(csv_time).unwrap_or_default(),
            csv_time(self.agreed.end()),
            shut.map(|it| csv_time(it.at)).unwrap_or_default(),
            shut.map(|it| seconds(it.late_ms)).unwrap_or_default(),
            shut.and_then(|it| it.cause).map(Cause::word).unwrap_or_default().to_owned(),
            shut.map(|it| it.reason).or(*end_reason).map(EndReason::word).unwrap_or_default().to_owned(),
            self.closed_by.as_ref().map(ToString::to_string).unwrap_or_default(),
            if *broke_glass { "yes" } else { "no" }.to_owned(),
        ]
    }
}

fn speaker<'a>(person: Option<&'a Person>, via: Option<&'a Via>) -> Option<Speaker<'a>> {
    person.map(|person| Speaker { person, via })
}

/// A channel; nothing where an older version did not record one.
fn text(via: Option<&Via>) -> String {
    via.map(ToString::to_string).unwrap_or_default()
}

/// The subscription in an id of Azure.
fn subscription(target: &str) -> Option<&str> {
    let mut parts = target.strip_prefix('/')?.split('/');
    parts.next().filter(|it| it.eq_ignore_ascii_case("subscriptions"))?;
    parts.next()
}

/// With three digits after the point.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    format!("{sign}{}.{:03}", millis / 1000, millis % 1000)
}
