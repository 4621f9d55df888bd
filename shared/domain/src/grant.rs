//! The life of one asked port on one target.

use crate::{
    CorrelationId, EndReason, Fact, Gate, GrantId, Justification, Lease, Person, Request, RequestId, Sources,
    TargetId,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How long before its end it is told that a lease is nearly over, so that whoever needs more asks in time; of a shorter one
/// a quarter.
const CLOSING_SOON: SignedDuration = SignedDuration::from_mins(5);
/// A lease shorter than this is over as soon as somebody could be told.
const TOLD_MIN: SignedDuration = SignedDuration::from_mins(1);

/// The life of one asked port on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Derived from its request.
    pub id: GrantId,
    /// The request that it was made of.
    pub request: RequestId,
    /// Who asked.
    pub by: Person,
    /// The machine.
    pub target: TargetId,
    /// What is open.
    pub gate: Gate,
    /// For whom.
    pub sources: Sources,
    /// From when until when.
    pub lease: Lease,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<Justification>,
    /// What whoever asked calls the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<CorrelationId>,
    /// It needed an approval, and whoever asked broke the glass instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broke_glass: bool,
    /// When a read-back first showed that the sources get in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// Where it is reached, if that is not at the target's own address and port: a firewall's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<SocketAddr>,
    /// The rule that keeps the sources out although everything is written, as the last look showed; also of what
    /// was open before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_failed: Option<String>,
    /// The end that was told to be near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_end: Option<Timestamp>,
    /// Why it was ended before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    /// When a read-back first showed that it admits nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
}

/// Where a grant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Not yet seen to be open.
    Approved,
    /// Seen to be open, when somebody last looked.
    Open,
    /// Written, and defeated by another rule, from the first or since.
    OpenFailed,
    /// Over, and not yet seen to be shut.
    Closing,
    /// Seen to be shut.
    Closed,
}

impl GrantState {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Open => "open",
            Self::OpenFailed => "open_failed",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

impl Grant {
    /// A grant that nobody has opened yet.
    pub fn approved(
        id: GrantId,
        request: &Request,
        (target, gate): (TargetId, Gate),
        sources: Sources,
        lease: Lease,
    ) -> Self {
        Self {
            id,
            request: request.id.clone(),
            by: request.by.clone(),
            target,
            gate,
            sources,
            lease,
            justification: request.justification.clone(),
            correlation: request.correlation.clone(),
            broke_glass: false,
            opened_at: None,
            door: None,
            open_failed: None,
            told_end: None,
            end_reason: None,
            closed_at: None,
        }
    }

    /// Where it is in its life at `now`.
    pub fn state(&self, now: Timestamp) -> GrantState {
        if self.closed_at.is_some() {
            GrantState::Closed
        } else if self.lease.is_over(now) {
            GrantState::Closing
        } else if self.open_failed.is_some() {
            GrantState::OpenFailed
        } else if self.opened_at.is_some() {
            GrantState::Open
        } else {
            GrantState::Approved
        }
    }

    /// A read-back showed that its sources get in: for the first time, or again after somebody kept them out.
    pub(crate) fn open(&mut self, read_at: Timestamp, door: Option<SocketAddr>) {
        self.opened_at = self.opened_at.or(Some(read_at));
        self.door = door;
        self.open_failed = None;
    }

    /// Ends its lease before its time. Whoever does so may call that another matter than whoever asked for it.
    pub(crate) fn end(
        &mut self,
        reason: EndReason,
        (by, correlation): (&Person, Option<&CorrelationId>),
        now: Timestamp,
    ) -> Fact {
        self.lease = self.lease.cut(now);
        self.end_reason = Some(reason);
        let correlation = correlation.or(self.correlation.as_ref()).cloned();
        Fact::Ended { grant: self.id.clone(), lease: self.lease, reason, by: by.clone(), correlation }
    }

    /// Why its lease is over, or will be.
    pub fn reason(&self) -> EndReason {
        self.end_reason.unwrap_or(EndReason::Expired)
    }

    /// Should the firewall admit its sources at `now`?
    ///
    /// INVARIANT (open-stays-open): what a faster clock has opened, a slower one does not shut because
    /// by its own time the lease has not started.
    pub fn is_wanted(&self, now: Timestamp) -> bool {
        self.lease.is_live(now) || self.opened_at.is_some() && !self.lease.is_over(now)
    }

    /// Is its end near, and not told?
    pub(crate) fn is_closing_soon(&self, now: Timestamp) -> bool {
        !self.lease.is_over(now) && self.to_tell().is_some_and(|at| at <= now)
    }

    /// When something has to be done about it: at its start unless it was opened, when its end is near, and at its end.
    /// One that could not be opened by its end is closed all the same.
    pub(crate) fn edges(&self) -> impl Iterator<Item = Timestamp> {
        let start = self.opened_at.is_none().then_some(self.lease.start());
        start.into_iter().chain(self.to_tell()).chain([self.lease.end()])
    }

    /// When it is to be told that its end is near, if that was not told yet.
    fn to_tell(&self) -> Option<Timestamp> {
        let (start, end) = (self.lease.start(), self.lease.end());
        let length = end.duration_since(start);
        // Whoever ended it knows.
        let is_awaited = self.opened_at.is_some() && self.end_reason.is_none();
        let is_untold = is_awaited && self.told_end != Some(end) && TOLD_MIN <= length;
        let quarter = SignedDuration::from_secs(length.as_secs() / 4);
        is_untold.then(|| end.saturating_sub(CLOSING_SOON.min(quarter)).unwrap_or(end))
    }
}
