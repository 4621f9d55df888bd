//! What is guarded on the wire: the ports of a policy, and what guarding them does.

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Accepted, AcceptedPacket, ForeignDenies, Justification, MetDeny, People, Person, PortRule, Protocol,
    Sessions, Sources, said,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// The conditions on which one port may be opened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PortRuleView {
    /// The port, 1 to 65535.
    pub port: u16,
    /// The protocol: `TCP`, `UDP` or `*`.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// The ranges that the sources of a request must be within.
    pub sources: Vec<String>,
    /// The longest lease, as an ISO 8601 duration.
    #[schema(value_type = String)]
    pub max: SignedDuration,
    /// The approvers: people, or `*` for every person but the requester. `null` where no approval is needed.
    pub approvers: Option<BTreeSet<String>>,
    /// The people who may use break-glass, which opens the port without approval; `*` is every person. `null` is no person.
    #[serde(default)]
    pub break_glass: Option<BTreeSet<String>>,
    /// Foreign denies of single sources: with `respect` they win over a lease, with `override` the lease wins.
    #[schema(value_type = String)]
    #[serde(default)]
    pub foreign_denies: ForeignDenies,
    /// Foreign rules that let sources in without a lease, as people accepted it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<AcceptedView>,
}

/// A foreign rule that a person accepted, as it was then.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcceptedView {
    /// The name of the rule.
    pub rule: String,
    /// The id of its firewall.
    pub firewall: String,
    /// The person who accepted it.
    pub by: String,
    /// The time of that.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The justification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
}

/// An accepted rule by which a packet gets through.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcceptedPacketView {
    /// The accepted rule.
    pub accepted: AcceptedView,
    /// Whether the rule was changed since, so that it is accepted no longer.
    pub changed: bool,
    /// A rule, with its firewall, that would let the packet through without the accepted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

/// A port of a policy. An absent field has its default value, or stays as it is when editing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortRuleBody {
    /// The port, 1 to 65535.
    #[schema(value_type = u16)]
    pub port: portcullis_domain::Port,
    /// The protocol: `TCP`, `UDP` or `*`. Default: `TCP`; when editing, every rule of the port.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The ranges that the sources of a request must be within. Default: anywhere.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// The longest lease, as an ISO 8601 duration. Default `PT3H`.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub max: Option<SignedDuration>,
    /// The approvers: people, or `*` for every person but the requester.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<BTreeSet<Person>>,
    /// When editing: remove the approval, and break-glass with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_approval: bool,
    /// The people who may use break-glass, which opens the port without approval; `*` is every person. Empty is no person.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BTreeSet<Person>>,
    /// Foreign denies of single sources: with `respect` they win over a lease, with `override` the lease wins. Default: `respect`.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_denies: Option<ForeignDenies>,
}

/// A command to guard a target, or a plan of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableBody {
    /// The ports to guard. Default: SSH on Linux, RDP on Windows, 3 hours, any source.
    #[serde(default)]
    pub ports: Vec<PortRuleBody>,
    /// The policy lapses after this long unless it is confirmed, as an ISO 8601 duration.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<SignedDuration>,
    /// Whether to guard it although it has rules of another table, such as one that was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// Foreign rules to accept as they are now: they let sources in without a lease, and are meant to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<AcceptBody>,
}

/// A command to change a policy: add ports, change their settings, or remove ports.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditBody {
    /// Ports to add or change.
    #[serde(default)]
    pub ports: Vec<PortRuleBody>,
    /// Ports to remove, such as `22/tcp`. Their grants end.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub remove: Vec<portcullis_domain::Gate>,
    /// Foreign rules to accept as they are now: they let sources in without a lease, and are meant to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<AcceptBody>,
    /// Rules to accept no longer, each by its name and firewall, or any part of that which only one has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_longer_accept: Vec<String>,
    /// The change lapses after this long unless it is confirmed, as an ISO 8601 duration.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<SignedDuration>,
}

/// A foreign rule to accept.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptBody {
    /// The rule, as `NAME in FIREWALL`, or any part of that which only one has. A plan lists those that may be accepted.
    pub rule: String,
    /// The justification.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<Justification>,
}

/// A target with its policy as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GuardedView {
    /// The id of the target.
    pub target: String,
    /// The guarded ports.
    pub ports: Vec<PortRuleView>,
    /// The version of the policy.
    pub policy_version: u64,
    /// The time until which the change waits for a confirmation.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirm_by: Option<Timestamp>,
    /// Whether the command changed the policy.
    pub changed: bool,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// The changes that settling would make.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The id of the target.
    pub target: String,
    /// The rules that would be written, in words.
    pub changes: Vec<String>,
    /// Every gate that is or would be guarded.
    pub gates: Vec<PlannedGateView>,
    /// The fate of open sessions at the end of a lease: `survive` or `end_with_lease`.
    #[schema(value_type = String)]
    #[serde(default)]
    pub sessions: Sessions,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// One gate of a plan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedGateView {
    /// The gate, such as `22/tcp`.
    pub gate: String,
    /// The sources that pass now.
    pub admits_now: String,
    /// Foreign rules that admit sources now, and would no longer.
    pub shadows: Vec<String>,
    /// Foreign rules that would admit sources without a lease, with the time if not always.
    pub defeated_by: Vec<String>,
    /// Accepted rules that would admit sources without a lease.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<AcceptedView>,
    /// Packet filters of others on the machine that may refuse the sources of a lease, each with the command that changes that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_refuse: Vec<String>,
    /// Foreign denies that a lease would meet.
    #[serde(default)]
    pub denies: Vec<MetDenyView>,
}

/// A foreign deny that the lease of a request would meet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ForeseenDenyView {
    /// The id of the target.
    pub target: String,
    /// The gate, such as `22/tcp`.
    pub gate: String,
    /// The deny, with those of its sources that are asked for.
    pub deny: MetDenyView,
}

/// A foreign deny that a lease would meet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MetDenyView {
    /// The rule and its firewall.
    pub rule: String,
    /// The sources that it denies.
    pub sources: String,
    /// Whether it wins: the sources stay out. Otherwise the lease wins.
    pub wins: bool,
    /// Whether it gives way where the policy of the port says `foreign_denies: override`.
    #[serde(default)]
    pub overridable: bool,
}

impl From<MetDeny> for MetDenyView {
    fn from(met: MetDeny) -> Self {
        let MetDeny { rule, sources, wins, overridable } = met;
        Self { rule, sources, wins, overridable }
    }
}

impl From<&Accepted> for AcceptedView {
    fn from(accepted: &Accepted) -> Self {
        Self {
            rule: accepted.rule.clone(),
            firewall: accepted.firewall.to_string(),
            by: accepted.by.to_string(),
            at: accepted.at,
            justification: accepted.why.as_ref().map(ToString::to_string),
        }
    }
}

impl From<AcceptedPacket> for AcceptedPacketView {
    fn from(packet: AcceptedPacket) -> Self {
        let AcceptedPacket { rule, is_changed, beside } = packet;
        Self { accepted: (&rule).into(), changed: is_changed, beside: beside.map(|it| it.to_string()) }
    }
}

impl From<&PortRule> for PortRuleView {
    fn from(rule: &PortRule) -> Self {
        let people = |it: &People| it.people().iter().map(ToString::to_string).collect();
        Self {
            port: rule.port.number(),
            protocol: rule.protocol,
            sources: rule.sources.clone().into(),
            max: rule.max,
            approvers: rule.approvers.as_ref().map(people),
            break_glass: rule.break_glass.as_ref().map(people),
            foreign_denies: rule.foreign_denies,
            accepted: rule.accepted.iter().map(AcceptedView::from).collect(),
        }
    }
}
