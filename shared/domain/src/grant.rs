//! The life of one asked port on one target.

use crate::{
    CorrelationId, EndReason, Fact, Gate, GrantId, Justification, Lease, Person, Request, RequestId, SignIn,
    Sources, Speaker, TargetId, Via,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

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
    /// The channel by which they asked; unknown of a grant that an older version stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// How they signed in, where that is more than their name and the channel tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<SignIn>,
    /// The version of roles and policies by which it was granted; absent where nobody ever changed those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<u64>,
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
    /// Another person approved it, or a longer lease of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// When a read-back first showed that the sources get in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// Where it is reached, if that is not at the target's own address and port: a firewall's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<SocketAddr>,
    /// The rule that keeps the sources out although everything is written, as the last read-back showed; also of what
    /// was open before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_failed: Option<String>,
    /// Why the write that opens it was refused when that was last tried: a limit, a permission, a policy of the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Foreign denies over which it was opened: of everybody, or such as the policy overrides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<String>,
    /// Packet filters of others that may still refuse its sources, as seen when it was opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_refuse: Vec<String>,
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

/// An access that a read-back showed, as its holder needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The requester.
    pub by: Person,
    /// The channel by which they asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// The port.
    pub gate: Gate,
    /// The sources that get in.
    pub sources: Sources,
    /// The end of the lease.
    pub until: Timestamp,
    /// The addresses and ports to connect to, the best one first; none where the machine's are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<SocketAddr>,
}

/// Where a grant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Not yet seen to be open.
    Approved,
    /// Seen to be open, when somebody last looked.
    Open,
    /// Written, and defeated by another rule, from the first or since; or the cloud refuses the write.
    OpenFailed,
    /// Over, and not yet seen to be shut.
    Closing,
    /// Seen to be shut.
    Closed,
}

/// How a read-back showed that a lease is open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opening {
    /// Where it is reached, if that is not at the target's own address and port.
    pub(crate) door: Option<SocketAddr>,
    /// Foreign denies over which it is open.
    pub(crate) over: Vec<String>,
    /// Packet filters of others that may still refuse its sources.
    pub(crate) may_refuse: Vec<String>,
}

/// Why the sources of a live lease do not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle<'a> {
    /// Everything is written, and this rule keeps them out.
    KeptShut(&'a str),
    /// The cloud refused the write, and will again: why.
    Refused(&'a str),
}

impl Obstacle<'_> {
    /// The rule, and the reason of the refusal: one of the two.
    pub(crate) fn parts(self) -> (Option<String>, Option<String>) {
        match self {
            Self::KeptShut(rule) => (Some(rule.to_owned()), None),
            Self::Refused(why) => (None, Some(why.to_owned())),
        }
    }
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
            via: request.via.clone(),
            signed_in: request.signed_in.clone(),
            authority: request.authority,
            target,
            gate,
            sources,
            lease,
            justification: request.justification.clone(),
            correlation: request.correlation.clone(),
            broke_glass: false,
            approved: false,
            opened_at: None,
            door: None,
            open_failed: None,
            refused: None,
            over: vec![],
            may_refuse: vec![],
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
        } else if self.obstacle().is_some() {
            GrantState::OpenFailed
        } else if self.opened_at.is_some() {
            GrantState::Open
        } else {
            GrantState::Approved
        }
    }

    /// How long it is about as JSON, in bytes; never less. Reviews add up thousands of them.
    pub(crate) fn length(&self) -> usize {
        /// The names of all fields, with times and numbers.
        const FIELDS: usize = 500;
        /// The longest range as text, with what stands around it.
        const RANGE: usize = 48;
        /// What stands around an item of a list.
        const ITEM: usize = 3;
        let quoted = |text: &str| text.len() + text.bytes().filter(|it| matches!(it, b'"' | b'\\')).count();
        let optional = |text: Option<&str>| text.map_or(0, quoted);
        FIELDS
            + quoted(self.id.as_str())
            + quoted(self.request.as_str())
            + quoted(self.by.as_str())
            + optional(self.via.as_ref().and_then(Via::bot))
            + self.signed_in.as_ref().map_or(0, SignIn::length)
            + quoted(self.target.as_str())
            + optional(self.justification.as_ref().map(Justification::as_str))
            + optional(self.correlation.as_ref().map(CorrelationId::as_str))
            + optional(self.open_failed.as_deref())
            + optional(self.refused.as_deref())
            + self.over.iter().chain(&self.may_refuse).map(|it| quoted(it) + ITEM).sum::<usize>()
            + RANGE * self.sources.ranges().len()
    }

    /// Is it, as it is stored, what entries tell of it? A version that did not keep [`Self::approved`] stored less, which permits less.
    pub fn agrees_with(&self, told: &Self) -> bool {
        self == told || !self.approved && *self == Self { approved: false, ..told.clone() }
    }

    /// A read-back showed that its sources get in: for the first time, or again after somebody kept them out.
    pub(crate) fn open(&mut self, read_at: Timestamp, opening: Opening) {
        let Opening { door, over, may_refuse } = opening;
        self.opened_at = self.opened_at.or(Some(read_at));
        (self.door, self.over, self.may_refuse) = (door, over, may_refuse);
        (self.open_failed, self.refused) = (None, None);
    }

    /// Why its sources do not get in, as the last read-back showed.
    pub fn obstacle(&self) -> Option<Obstacle<'_>> {
        let rule = self.open_failed.as_deref().map(Obstacle::KeptShut);
        rule.or_else(|| self.refused.as_deref().map(Obstacle::Refused))
    }

    /// Remembers why its sources do not get in; says whether that is another reason than before.
    pub(crate) fn fail_to_open(&mut self, obstacle: Obstacle<'_>) -> bool {
        if self.obstacle() == Some(obstacle) {
            return false;
        }
        (self.open_failed, self.refused) = obstacle.parts();
        true
    }

    /// The access that it gives, to a machine with these addresses.
    pub(crate) fn access(&self, addresses: &[IpAddr]) -> Access {
        let own = || addresses.iter().map(|it| SocketAddr::new(*it, self.gate.port.number())).collect();
        Access {
            by: self.by.clone(),
            via: self.via.clone(),
            gate: self.gate,
            sources: self.sources.clone(),
            until: self.lease.end(),
            connect: self.door.map_or_else(own, |door| vec![door]),
        }
    }

    /// Gives it the lease that was reviewed and approved.
    pub(crate) fn prolong(&mut self, lease: Lease, request: &Request, approver: Option<Speaker<'_>>) -> Fact {
        self.lease = lease;
        self.approved |= approver.is_some();
        Fact::Extended {
            grant: self.id.clone(),
            request: request.id.clone(),
            lease,
            by: request.by.clone(),
            approver: approver.map(|it| it.person.clone()),
            why: request.justification.clone(),
            correlation: request.correlation.clone().or_else(|| self.correlation.clone()),
            via: request.via.clone(),
            approver_via: approver.and_then(Speaker::via),
            authority: request.authority,
        }
    }

    /// Ends its lease before its time. Whoever does so may call that another matter than whoever asked for it.
    pub(crate) fn end(
        &mut self,
        reason: EndReason,
        by: Speaker<'_>,
        correlation: Option<&CorrelationId>,
        now: Timestamp,
    ) -> Fact {
        self.lease = self.lease.cut(now);
        self.end_reason = Some(reason);
        let correlation = correlation.or(self.correlation.as_ref()).cloned();
        let (grant, lease, via) = (self.id.clone(), self.lease, by.via());
        Fact::Ended { grant, lease, reason, by: by.person.clone(), correlation, via }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ask, IdempotencyKey, What, Window};

    #[test]
    fn the_length_of_a_grant_with_every_field_is_never_less_than_it_is_as_json() {
        fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
            text.parse().expect("valid")
        }
        let at = |second: i64| Timestamp::new(1_800_000_000 + second, 123_456_789).expect("in range");
        let by: Person = named(&"a".repeat(60));
        let target: TargetId = named(&format!("/{}", "v".repeat(200)));
        let all = ["198.51.100.1", "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:3333::/64"];
        for count in [1, all.len()] {
            let texts = all.iter().take(count).map(|it| (*it).to_owned()).collect::<Vec<_>>();
            let sources = Sources::try_from(texts).expect("ranges");
            let request = Request {
                id: RequestId::derived(&by, &named::<IdempotencyKey>("key")),
                by: by.clone(),
                via: Some(Via::Bot("a \"bot\"".repeat(20))),
                signed_in: Some(SignIn {
                    issuer: "https://\"id\".example.org".to_owned(),
                    is_workload: true,
                    groups: ["ops\\", "\u{1}on\"call"].map(str::to_owned).into(),
                    claims: [("\"department\"".to_owned(), "a\u{7f}\n".to_owned())].into(),
                }),
                authority: Some(u64::MAX),
                what: What::Initiate {
                    asks: vec![Ask {
                        target: target.clone(),
                        port: named("22"),
                        protocol: None,
                        sources: sources.clone(),
                        window: Window::For(SignedDuration::from_hours(1)),
                    }],
                    break_glass: true,
                },
                justification: Some(named(&"\"why\\".repeat(100))),
                correlation: Some(named("incident-7")),
                asked_at: at(0),
                state: crate::RequestState::Approved { at: at(0), by: None, via: None, broke_glass: true },
            };
            let id = GrantId::derived(&request.id, 40);
            let lease = Lease::starting(at(0), SignedDuration::from_hours(1)).expect("a lease");
            let approved =
                Grant::approved(id, &request, (target.clone(), named("65535/tcp")), sources, lease);
            let grant = Grant {
                broke_glass: true,
                opened_at: Some(at(1)),
                door: Some(named("[2001:db8:1111:2222:3333:4444:5555:6666]:65535")),
                open_failed: Some("somebody's \"rule\"".to_owned()),
                refused: Some("403 \"policy\"".to_owned()),
                over: vec!["a \"deny\"".to_owned(), "another".to_owned()],
                may_refuse: vec!["`inet \"filter\"`".to_owned()],
                told_end: Some(at(2)),
                end_reason: Some(EndReason::PolicyChanged),
                closed_at: Some(at(3)),
                ..approved
            };
            let json = serde_json::to_string(&grant).expect("JSON");
            assert!(json.len() <= grant.length(), "{} < {}: {json}", grant.length(), json.len());
        }
    }
}
