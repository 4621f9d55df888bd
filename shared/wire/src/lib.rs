//! The shapes on the wire: what a client sends, and what it gets. Nothing here asks or decides: a client is built of these and of the
//! domain's words alone.

mod adopt;
mod doctor;
mod events;
mod guard;
mod interface;
mod names;
mod policies;
mod problem;
mod revoke;
mod roles;
mod tokens;

pub use adopt::{
    AdoptBody, AdoptableMachineView, AdoptablePortView, AdoptableRuleView, AdoptableView, AdoptedMachineView,
    AdoptedView,
};
pub use doctor::{DoctorView, FindingView};
pub use events::{EventView, EventsQuery, ExportLine, ExportQuery, HappenedView, SubmittedView};
pub use guard::{
    AcceptBody, AcceptedPacketView, AcceptedView, EditBody, EnableBody, ForeseenDenyView, GuardedView,
    MetDenyView, PlanView, PlannedGateView, PortRuleBody, PortRuleView,
};
pub use interface::InterfaceView;
pub use names::{Catalogue, NameView, NamesView, PatienceQuery, WaitQuery};
pub use policies::{
    PoliciesApplied, PoliciesBody, PoliciesQuery, PoliciesView, PolicyVersionView, PolicyVersionsQuery,
    PolicyVersionsView, RollbackBody, UTC,
};
pub use problem::{Problem, Reason};
pub use revoke::{RevokeQuery, RevokedView};
pub use roles::{RoleBody, RoleView, RolesView};
pub use tokens::{TokenBody, TokenMade, TokenView};

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Grant, GrantState, Protocol, Request, RequestState, Sessions, TargetState, What, Window, said,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A machine, guarded or not.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TargetView {
    /// The id of the target.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state: `configured`, `not_configured` or `unsupported`.
    #[schema(value_type = String)]
    pub state: TargetState,
    /// Its location.
    pub location: String,
    /// The reason why it is unsupported: `no_firewall`, `classic`, `firewall_manager`, `disabled_by_policy`, `no_nic`.
    pub reason: Option<String>,
    /// The operating system: `linux` or `windows`.
    pub os: String,
    /// The address to connect to.
    pub addresses: Vec<String>,
    /// The kind of firewall that guards it: `nsg`, `firewall` or `nftables`.
    pub guarded_by: Option<String>,
    /// Its network interfaces, where the cloud lists them.
    #[serde(default)]
    pub interfaces: Vec<InterfaceView>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Whether its management ports admit only the sources of live leases. `null` where it is unknown.
    pub healthy: Option<bool>,
    /// The reasons why it is not healthy.
    pub troubles: Vec<String>,
    /// The ports that may be requested.
    pub ports: Vec<PortRuleView>,
    /// The version of the policy.
    pub policy_version: u64,
    /// The time until which a policy change waits for a confirmation.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirm_by: Option<Timestamp>,
    /// Whether a read-back has confirmed all rules of its firewalls.
    pub settled: bool,
    /// Grants that are not closed.
    pub grants: Vec<GrantView>,
    /// Approved requests of the last 7 days, at most 100.
    pub requests_7_days: usize,
    /// The time of the last access.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_access: Option<Timestamp>,
    /// The person of the last access.
    pub last_user: Option<String>,
    /// The reason why the fields are those of the table: the cloud did not answer, or does not list the machine. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

/// Whether a packet passes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// Whether the packet passes.
    pub passes: bool,
    /// The firewall that decided.
    pub firewall: Option<String>,
    /// The rule that decided.
    pub rule: String,
    /// The accepted rule by which the packet passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedPacketView>,
    /// The fate of open sessions at the end of a lease: `survive` or `end_with_lease`.
    #[schema(value_type = String)]
    #[serde(default)]
    pub sessions: Sessions,
    /// Packet filters of others on the machine that may still refuse it, each with the command that changes that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_refuse: Vec<String>,
    /// The parts of a network path that could not be read, in a sentence each: one of them may decide otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A request for ports.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitiateBody {
    /// The ports, one item per port of a target; at most 20 targets and 40 ports.
    pub asks: Vec<AskBody>,
    /// The justification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Break-glass: opens ports without the approval that they need. It needs a justification, is published, and is permitted only
    /// to people whom the policy names for it.
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
    /// The port, 1 to 65535.
    #[schema(value_type = u16)]
    pub port: portcullis_domain::Port,
    /// The protocol: `TCP`, `UDP` or `*`. Default: every rule that the policy has for the port.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The sources: addresses and ranges, or `my-ip`. Default: the caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
    /// The length of the lease, as an ISO 8601 duration.
    #[schema(value_type = Option<String>)]
    #[serde(rename = "for")]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub length: Option<SignedDuration>,
    /// The end of the lease.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "said::any_time", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The start of the lease, with `for`. Default: at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "said::any_time", skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
}

/// A request with its decision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestView {
    /// The id of the request, derived from the requester and the idempotency key.
    pub id: String,
    /// The requester.
    pub by: String,
    /// The channel of the request: `http`, `cli`, `portcullis`, or `bot` and its source. Absent where an older version did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Its state: `pending`, `approved`, `rejected`, `withdrawn` or `lapsed`.
    pub state: String,
    /// The time of the request.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// The justification.
    pub justification: Option<String>,
    /// The correlation id.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// The requested ports, one line each.
    pub asks: Vec<AskView>,
    /// The digest that an approval has to name, so that it is for the request as it was shown.
    pub shown: String,
    /// The time until which it may be approved.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The people who may approve it.
    pub approvers: Vec<String>,
    /// Why roles and policies have it wait. Absent where the rules of its ports alone do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// The time of the decision.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub decided_at: Option<Timestamp>,
    /// The person who decided or withdrew it.
    pub decided_by: Option<String>,
    /// The channel of the decision, as in `via`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_via: Option<String>,
    /// The reason of a rejection.
    pub decided_why: Option<String>,
    /// Whether break-glass was used, so that its ports opened without the required approval.
    #[serde(default)]
    pub broke_glass: bool,
    /// Its grants, where one request is shown; a list of requests leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantView>,
}

/// One item of a request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AskView {
    /// The target's id.
    pub target: String,
    /// The port, such as `22` or `22/tcp`; for an extension `extend` with the grant's id.
    pub what: String,
    /// The sources; those of the grant for an extension.
    pub sources: Vec<String>,
    /// The length of the lease, in words.
    pub window: String,
    /// The grant of an extension as it is now: its port, its holder, and the end that would be replaced. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<GrantView>,
}

/// A request with its grants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AnswerView {
    /// The request with its decision.
    pub request: RequestView,
    /// Its grants, as they are now.
    pub grants: Vec<GrantView>,
}

/// The review that a request would get.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReviewView {
    /// The decision: `allowed`, `needs_approval` or `refused`.
    pub answer: String,
    /// Every reason of a refusal; where it would wait for an approval, every reason of roles and policies for that.
    pub reasons: Vec<Reason>,
    /// The ids of the policies of the installation that forbid it, or that have it wait.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The ids of the policies and roles that permit it. Absent where it would be refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permitted_by: Vec<String>,
    /// Requests near to it that policies would permit, or permit at once, each with one change, such as `for 4h`, `from 203.0.113.0/28`, `with the approval of another
    /// person` or `at 2026-03-02T08:00:00Z`.
    #[serde(default)]
    pub nearest: Vec<String>,
    /// The people who may approve it.
    pub approvers: Vec<String>,
    /// Whether break-glass would be used.
    #[serde(default)]
    pub breaks_glass: bool,
    /// The grants that would be made.
    pub grants: Vec<GrantView>,
    /// The foreign denies that their leases would meet. Absent where there are none, and where the firewalls were not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denies: Vec<ForeseenDenyView>,
    /// Why those are not known, where the firewalls were asked and did not all answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

/// The time to wait for the firewalls.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// How long to wait for the firewalls, which name the foreign denies that the leases would meet, as an ISO 8601 duration of at
    /// most 30 seconds. Default: they are not asked.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length")]
    pub wait: Option<SignedDuration>,
}

/// A grant: one port of one target.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantView {
    /// The id of the grant, derived from its request.
    pub id: String,
    /// The request that it was made by.
    pub request: String,
    /// The target's id.
    pub target: String,
    /// The port, 1 to 65535.
    pub port: u16,
    /// The protocol: `TCP`, `UDP` or `*`.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// Its state: `approved`, `open`, `open_failed`, `closing` or `closed`.
    #[schema(value_type = String)]
    pub state: GrantState,
    /// The requester.
    pub by: String,
    /// The channel of the request: `http`, `cli`, `portcullis`, or `bot` and its source. Absent where an older version did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The sources.
    pub sources: Vec<String>,
    /// The start of the lease.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// The end of the lease.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// The justification.
    pub justification: Option<String>,
    /// The correlation id.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// Whether break-glass was used, so that it opened without the required approval.
    #[serde(default)]
    pub broke_glass: bool,
    /// The time of the first read-back that confirmed that the sources get in.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opened_at: Option<Timestamp>,
    /// The address that clients connect to, if it is not the machine's own but a firewall's.
    pub public_ip_address: Option<String>,
    /// The port at that address.
    pub mapped_port: Option<u16>,
    /// The rule that keeps the sources out although all rules were written.
    pub open_failed: Option<String>,
    /// The reason of the cloud that refused the rule, and who can change that.
    #[serde(default)]
    pub refused: Option<String>,
    /// Foreign denies over which it was opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<String>,
    /// Packet filters of others that may still refuse its sources, each with the command that changes that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_refuse: Vec<String>,
    /// The time of the first read-back that confirmed it closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// The reason of its end, once it is over: `expired`, `user_requested`, `policy_changed` or `not_permitted`.
    pub reason: Option<String>,
}

/// An approval of the request as it was shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The digest: the field `shown` of the request.
    pub shown: String,
}

/// A rejection of the request as it was shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectBody {
    /// The digest: the field `shown` of the request.
    pub shown: String,
    /// The justification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A request for a later end of a lease.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// The new end.
    #[schema(value_type = String, format = DateTime)]
    #[serde(deserialize_with = "said::time")]
    pub until: Timestamp,
    /// The justification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `after` of the next page; `null` on the last one.
    pub next: Option<String>,
    /// The parts that could not be read, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// A page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The `next` of the previous page.
    pub after: Option<String>,
    /// The length of a page, 1 to 200. Default 100.
    pub limit: Option<usize>,
}

/// A part of the entries of a machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActivityQuery {
    /// The number of the first entry; the `next` of the previous page. Default: the oldest one.
    pub after: Option<String>,
    /// The length of a page, 1 to 200. Default 100.
    pub limit: Option<usize>,
    /// Whether the page has the newest entries, in place of those from `after` on.
    pub newest: Option<bool>,
}

/// A filter of requests.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestsQuery {
    /// Only requests in this state: `pending`, `approved`, `rejected`, `withdrawn` or `lapsed`.
    pub state: Option<String>,
    /// Only those of this requester.
    pub by: Option<String>,
    /// The `next` of the previous page.
    pub after: Option<String>,
    /// The length of a page, 1 to 200. Default 100.
    pub limit: Option<usize>,
}

/// A filter of grants.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GrantsQuery {
    /// Only grants of this target.
    pub target: Option<String>,
    /// Only those of this requester.
    pub by: Option<String>,
    /// Only grants that are not closed.
    pub unclosed: Option<bool>,
    /// The `next` of the previous page.
    pub after: Option<String>,
    /// The length of a page, 1 to 200. Default 100.
    pub limit: Option<usize>,
}

/// A packet to test.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckQuery {
    /// The port, such as `22` or `22/tcp`.
    pub port: String,
    /// The source: an address, or `my-ip`.
    pub from: String,
}

/// An entry of the journal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// Its number in its chain.
    pub n: u64,
    /// Its time.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The fact, an object with the field `what`.
    #[schema(value_type = Object)]
    pub fact: serde_json::Value,
    /// The SHA-256 of this entry and all before it.
    pub hash: String,
}

/// The result of verifying the journal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerifyView {
    /// Whether the journal is whole.
    pub whole: bool,
    /// The number of verified chains.
    pub chains: usize,
    /// The number of verified entries.
    pub entries: u64,
    /// The first bad record of each chain.
    pub bad: Vec<String>,
}

/// The caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhoamiView {
    /// The name of the caller.
    pub person: String,
    /// The address of the caller.
    pub address: Option<String>,
    /// The kind of caller: `person`, `workload`, `bot` or `platform`.
    #[serde(default)]
    pub kind: String,
    /// The authority that vouches for the name: `tokens`, `aws`, or the URL of an issuer.
    #[serde(default)]
    pub issuer: String,
    /// The groups that the issuer puts the caller in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether those are all: `all`; `not_told` where the issuer names no groups; `missing` where the token lacks the claim;
    /// `overage` where the caller is in more groups than fit into a token.
    #[serde(default)]
    pub groups_known: String,
    /// Anything else that the issuer says of the caller, for policies.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// The roles of the caller: each with the member by which the caller has it, and the scope.
    #[serde(default)]
    pub roles: Vec<RoleView>,
}

/// The health of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// The version of the server.
    pub version: String,
}

impl GrantView {
    /// A grant as it is at `now`.
    pub fn of(grant: &Grant, now: Timestamp) -> Self {
        Self {
            id: grant.id.to_string(),
            request: grant.request.to_string(),
            target: grant.target.to_string(),
            port: grant.gate.port.number(),
            protocol: grant.gate.protocol,
            state: grant.state(now),
            by: grant.by.to_string(),
            via: grant.via.as_ref().map(ToString::to_string),
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
            refused: grant.refused.clone(),
            over: grant.over.clone(),
            may_refuse: grant.may_refuse.clone(),
            closed_at: grant.closed_at,
            reason: grant.lease.is_over(now).then(|| grant.reason().word().to_owned()),
        }
    }
}

impl From<&Request> for RequestView {
    fn from(request: &Request) -> Self {
        let (mut until, mut approvers, mut because) = (None, vec![], vec![]);
        let (mut decided_at, mut decided_by, mut decided_why) = (None, None, None);
        let mut decided_via = None;
        let mut has_broken_glass = false;
        match &request.state {
            RequestState::Pending { until: pending, approvers: who, because: why } => {
                until = Some(*pending);
                approvers = who.people().iter().map(ToString::to_string).collect();
                because.clone_from(why);
            }
            RequestState::Approved { at, by, via, broke_glass } => {
                (decided_at, decided_by) = (Some(*at), by.as_ref().map(ToString::to_string));
                decided_via = via.as_ref().map(ToString::to_string);
                has_broken_glass = *broke_glass;
            }
            RequestState::Rejected { at, by, via, why } => {
                (decided_at, decided_by) = (Some(*at), Some(by.to_string()));
                decided_via = via.as_ref().map(ToString::to_string);
                decided_why = why.as_ref().map(ToString::to_string);
            }
            RequestState::Withdrawn { at, by, via } => {
                (decided_at, decided_by) = (Some(*at), Some(by.to_string()));
                decided_via = via.as_ref().map(ToString::to_string);
            }
            RequestState::Lapsed { at } => decided_at = Some(*at),
        }
        Self {
            id: request.id.to_string(),
            by: request.by.to_string(),
            via: request.via.as_ref().map(ToString::to_string),
            state: request.state.word().to_owned(),
            asked_at: request.asked_at,
            justification: request.justification.as_ref().map(ToString::to_string),
            correlation_id: request.correlation.as_ref().map(ToString::to_string),
            asks: asks(&request.what),
            shown: request.shown(),
            until,
            approvers,
            because,
            decided_at,
            decided_by,
            decided_via,
            decided_why,
            grants: vec![],
            broke_glass: has_broken_glass,
        }
    }
}

impl RequestView {
    /// The same request for an extension of a grant that is so at `now`.
    #[must_use]
    pub fn extending(mut self, grant: &Grant, now: Timestamp) -> Self {
        for ask in &mut self.asks {
            ask.sources = grant.sources.clone().into();
            ask.extends = Some(GrantView::of(grant, now));
        }
        self
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
                extends: None,
            };
            asks.iter().map(view).collect()
        }
        What::Extend { target, grant, end } => vec![AskView {
            target: target.to_string(),
            what: format!("extend {grant}"),
            sources: vec![],
            window: format!("until {end}"),
            extends: None,
        }],
    }
}
