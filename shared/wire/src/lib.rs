//! The shapes on the wire: what a client sends, and what it gets. Nothing here asks or decides: a client is built of these and of the
//! domain's words alone.

mod adopt;
mod doctor;
mod events;
mod guard;
mod interface;
mod names;
mod problem;

pub use adopt::{
    AdoptBody, AdoptableMachineView, AdoptablePortView, AdoptableRuleView, AdoptableView, AdoptedMachineView,
    AdoptedView,
};
pub use doctor::{DoctorView, FindingView};
pub use events::{EventView, EventsQuery, ExportLine, ExportQuery, HappenedView, SubmittedView};
pub use guard::{EditBody, EnableBody, GuardedView, PlanView, PlannedGateView, PortRuleBody, PortRuleView};
pub use interface::InterfaceView;
pub use names::{Catalogue, NameView, NamesView, PatienceQuery, WaitQuery};
pub use problem::{Problem, Reason};

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Grant, GrantState, Person, Protocol, Request, RequestState, TargetState, What, Window, said,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A machine, guarded or not.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TargetView {
    /// What Portcullis calls it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `configured`, `not_configured` or `unsupported`.
    #[schema(value_type = String)]
    pub state: TargetState,
    /// Where it is.
    pub location: String,
    /// Why it is unsupported: `no_firewall`, `classic`, `firewall_manager`, `disabled_by_policy`, `no_nic`.
    pub reason: Option<String>,
    /// `linux` or `windows`.
    pub os: String,
    /// What to connect to.
    pub addresses: Vec<String>,
    /// What guards it: `nsg`, `firewall` or `nftables`.
    pub guarded_by: Option<String>,
    /// Its network interfaces, where the cloud tells.
    #[serde(default)]
    pub interfaces: Vec<InterfaceView>,
    /// What its owners wrote on it.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Does nobody reach a management port but those with a lease? `null` where that is not known.
    pub healthy: Option<bool>,
    /// Why not.
    pub troubles: Vec<String>,
    /// What may be asked for.
    pub ports: Vec<PortRuleView>,
    /// How often the policy was set.
    pub policy_version: u64,
    /// Until when a policy change waits for a confirmation.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirm_by: Option<Timestamp>,
    /// Was everything that is wanted of its firewalls seen to be so?
    pub settled: bool,
    /// Grants that are not closed.
    pub grants: Vec<GrantView>,
    /// Approved requests of the last 7 days, at most 100.
    pub requests_7_days: usize,
    /// When somebody was last let in.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_access: Option<Timestamp>,
    /// Who that was.
    pub last_user: Option<String>,
    /// Why all this is from the table alone: the cloud did not answer, or does not list the machine. Absent where it told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

/// Whether a packet passes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// Does it?
    pub passes: bool,
    /// The firewall that decided.
    pub firewall: Option<String>,
    /// The rule that decided.
    pub rule: String,
}

/// To ask for ports.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitiateBody {
    /// One entry per port of a target; at most 20 targets and 40 ports.
    pub asks: Vec<AskBody>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Break the glass: open without the approval that some of the ports need, say why, and everybody is told. Only those may
    /// whom the policy names for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

/// One port of one target. Exactly one of `for` and `until` is given.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskBody {
    /// The target's id.
    #[schema(value_type = String)]
    #[serde(deserialize_with = "said::target")]
    pub target: portcullis_domain::TargetId,
    /// 1 to 65535.
    #[schema(value_type = u16)]
    pub port: portcullis_domain::Port,
    /// `TCP`, `UDP` or `*`; without it, every rule that the policy has for the port.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Addresses and ranges, or `my-ip`. Default: the caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
    /// How long, as an ISO 8601 duration.
    #[schema(value_type = Option<String>)]
    #[serde(rename = "for")]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub length: Option<SignedDuration>,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "said::any_time", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// From when, with `for`. Default: at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "said::any_time", skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
}

/// A request and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestView {
    /// Derived from who asks and their idempotency key.
    pub id: String,
    /// Who asks.
    pub by: String,
    /// `pending`, `approved`, `rejected` or `lapsed`.
    pub state: String,
    /// When it was first asked.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// Why.
    pub justification: Option<String>,
    /// What whoever asked calls the matter.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// What is asked for, a line each.
    pub asks: Vec<AskView>,
    /// What an approval has to name, so that it is for what was shown.
    pub shown: String,
    /// Until when somebody may approve it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Who may approve it.
    pub approvers: Vec<String>,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub decided_at: Option<Timestamp>,
    /// Who decided it.
    pub decided_by: Option<String>,
    /// Why it was rejected.
    pub decided_why: Option<String>,
    /// Was the glass broken, so that nobody had to approve what needs an approval?
    #[serde(default)]
    pub broke_glass: bool,
    /// Its grants, where one request is shown; a list of requests leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantView>,
}

/// One thing that a request is for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AskView {
    /// The target's id.
    pub target: String,
    /// Such as `22` or `22/tcp`; for an extension the grant's id.
    pub what: String,
    /// For whom; empty for an extension.
    pub sources: Vec<String>,
    /// How long, in words.
    pub window: String,
}

/// A request with its grants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AnswerView {
    /// What was asked, and what became of it.
    pub request: RequestView,
    /// Its grants, as they are now.
    pub grants: Vec<GrantView>,
}

/// What the answer to a request would be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReviewView {
    /// `allowed`, `needs_approval` or `refused`.
    pub answer: String,
    /// Every reason for a no.
    pub reasons: Vec<Reason>,
    /// Who may approve it.
    pub approvers: Vec<String>,
    /// Would it break the glass?
    #[serde(default)]
    pub breaks_glass: bool,
    /// The grants that would be made.
    pub grants: Vec<GrantView>,
}

/// The life of one asked port on one target.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantView {
    /// Derived from its request.
    pub id: String,
    /// The request that it was made of.
    pub request: String,
    /// The target's id.
    pub target: String,
    /// 1 to 65535.
    pub port: u16,
    /// `TCP`, `UDP` or `*`.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// `approved`, `open`, `open_failed`, `closing` or `closed`.
    #[schema(value_type = String)]
    pub state: GrantState,
    /// Who asked.
    pub by: String,
    /// For whom.
    pub sources: Vec<String>,
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Why.
    pub justification: Option<String>,
    /// What whoever asked calls the matter.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// Was the glass broken for it, so that nobody had to approve it?
    #[serde(default)]
    pub broke_glass: bool,
    /// When a read-back first showed that the sources get in.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opened_at: Option<Timestamp>,
    /// Where it is reached, if that is not at the machine's own addresses: a firewall's.
    pub public_ip_address: Option<String>,
    /// And the port there.
    pub mapped_port: Option<u16>,
    /// The rule that keeps the sources out although everything is written, or why it could not be.
    pub open_failed: Option<String>,
    /// When a read-back first showed that it admits nobody.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// `expired`, `user_requested` or `policy_changed`, once it is over.
    pub reason: Option<String>,
}

/// To say yes to what was shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The field `shown` of the request.
    pub shown: String,
}

/// To say no to what was shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectBody {
    /// The field `shown` of the request.
    pub shown: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// To ask for a later end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// The new end.
    #[schema(value_type = String, format = DateTime)]
    #[serde(deserialize_with = "said::time")]
    pub until: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Listed<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Give this as `after` to go on; `null` at the end.
    pub next: Option<String>,
    /// What could not be seen, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// Which part of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Where the part before ended: its `next`.
    pub after: Option<String>,
    /// How many, 1 to 200. Default 100.
    pub limit: Option<usize>,
}

/// Which requests.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestsQuery {
    /// Only those in this state: `pending`, `approved`, `rejected` or `lapsed`.
    pub state: Option<String>,
    /// Only theirs.
    pub by: Option<String>,
    /// Where the part before ended: its `next`.
    pub after: Option<String>,
    /// How many, 1 to 200. Default 100.
    pub limit: Option<usize>,
}

/// Which grants.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GrantsQuery {
    /// Only those of this target.
    pub target: Option<String>,
    /// Only theirs.
    pub by: Option<String>,
    /// Only those that are not closed.
    pub unclosed: Option<bool>,
    /// Where the part before ended: its `next`.
    pub after: Option<String>,
    /// How many, 1 to 200. Default 100.
    pub limit: Option<usize>,
}

/// Which packet.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckQuery {
    /// Such as `22` or `22/tcp`.
    pub port: String,
    /// An address, or `my-ip`.
    pub from: String,
}

/// An entry of the journal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// Its number in its chain.
    pub n: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What, as an object with the field `what`.
    #[schema(value_type = Object)]
    pub fact: serde_json::Value,
    /// SHA-256 over it and everything before it.
    pub hash: String,
}

/// Whether the journal is whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerifyView {
    /// Is it?
    pub whole: bool,
    /// How many chains were recomputed.
    pub chains: usize,
    /// How many entries.
    pub entries: u64,
    /// The first bad record of each chain.
    pub bad: Vec<String>,
}

/// Who calls.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhoamiView {
    /// Whose token it was.
    pub person: String,
    /// "My IP".
    pub address: Option<String>,
}

/// Who has a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Whose.
    pub person: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
}

/// To make a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// Whose.
    #[schema(value_type = String)]
    #[serde(deserialize_with = "said::person")]
    pub person: Person,
}

/// A token, shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// Whose.
    pub person: String,
    /// The token.
    pub token: String,
}

impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMade").field("person", &self.person).finish_non_exhaustive()
    }
}

/// Is it alive?
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// Which version answers.
    pub version: String,
}

impl GrantView {
    /// A grant as it is at `now`.
    pub fn of(grant: &Grant, now: Timestamp) -> Self {
        let reason = match grant.reason() {
            portcullis_domain::EndReason::Expired => "expired",
            portcullis_domain::EndReason::UserRequested => "user_requested",
            portcullis_domain::EndReason::PolicyChanged => "policy_changed",
        };
        Self {
            id: grant.id.to_string(),
            request: grant.request.to_string(),
            target: grant.target.to_string(),
            port: grant.gate.port.number(),
            protocol: grant.gate.protocol,
            state: grant.state(now),
            by: grant.by.to_string(),
            sources: grant.sources.clone().into(),
            start: grant.lease.start(),
            end: grant.lease.end(),
            justification: grant.justification.as_ref().map(ToString::to_string),
            correlation_id: grant.correlation.as_ref().map(ToString::to_string),
            broke_glass: grant.broke_glass,
            opened_at: grant.opened_at,
            public_ip_address: grant.door.map(|it| it.ip().to_string()),
            mapped_port: grant.door.map(|it| it.port()),
            open_failed: grant.open_failed.clone(),
            closed_at: grant.closed_at,
            reason: grant.lease.is_over(now).then(|| reason.to_owned()),
        }
    }
}

impl From<&Request> for RequestView {
    fn from(request: &Request) -> Self {
        let (mut until, mut approvers) = (None, vec![]);
        let (mut decided_at, mut decided_by, mut decided_why) = (None, None, None);
        let mut has_broken_glass = false;
        match &request.state {
            RequestState::Pending { until: pending, approvers: who } => {
                until = Some(*pending);
                approvers = who.people().iter().map(ToString::to_string).collect();
            }
            RequestState::Approved { at, by, broke_glass } => {
                (decided_at, decided_by) = (Some(*at), by.as_ref().map(ToString::to_string));
                has_broken_glass = *broke_glass;
            }
            RequestState::Rejected { at, by, why } => {
                (decided_at, decided_by) = (Some(*at), Some(by.to_string()));
                decided_why = why.as_ref().map(ToString::to_string);
            }
            RequestState::Lapsed { at } => decided_at = Some(*at),
        }
        Self {
            id: request.id.to_string(),
            by: request.by.to_string(),
            state: request.state.word().to_owned(),
            asked_at: request.asked_at,
            justification: request.justification.as_ref().map(ToString::to_string),
            correlation_id: request.correlation.as_ref().map(ToString::to_string),
            asks: asks(&request.what),
            shown: request.shown(),
            until,
            approvers,
            decided_at,
            decided_by,
            decided_why,
            grants: vec![],
            broke_glass: has_broken_glass,
        }
    }
}

impl AnswerView {
    /// A request with its grants as they are at `now`.
    pub fn of(request: &Request, grants: &[Grant], now: Timestamp) -> Self {
        Self { request: request.into(), grants: grants.iter().map(|it| GrantView::of(it, now)).collect() }
    }
}

fn asks(what: &What) -> Vec<AskView> {
    match what {
        What::Initiate { asks, .. } => {
            let view = |it: &portcullis_domain::Ask| AskView {
                target: it.target.to_string(),
                what: it.protocol.map_or(it.port.to_string(), |protocol| format!("{}/{protocol}", it.port)),
                sources: it.sources.clone().into(),
                window: match it.window {
                    Window::For(length) => format!("for {length:#}"),
                    Window::Until(end) => format!("until {end}"),
                    Window::From { start, length } => format!("from {start} for {length:#}"),
                },
            };
            asks.iter().map(view).collect()
        }
        What::Extend { target, grant, end } => vec![AskView {
            target: target.to_string(),
            what: format!("extend {grant}"),
            sources: vec![],
            window: format!("until {end}"),
        }],
    }
}
