//! What is guarded on the wire: the ports of a policy, and what guarding them does.

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{People, Person, PortRule, Protocol, Sources, said};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// What may be asked of one port.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PortRuleView {
    /// 1 to 65535.
    pub port: u16,
    /// `TCP`, `UDP` or `*`.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// Whoever asks must be within these ranges.
    pub sources: Vec<String>,
    /// The longest lease, as an ISO 8601 duration.
    #[schema(value_type = String)]
    pub max: SignedDuration,
    /// Who has to approve: people, or `*` for anybody but the requester. `null` where nobody has to.
    pub approvers: Option<BTreeSet<String>>,
    /// Who may break the glass, which is to open it without that approval: people, or `*` for anybody. `null` is nobody.
    #[serde(default)]
    pub break_glass: Option<BTreeSet<String>>,
}

/// A port of a policy; what is absent is offered as the default, or when editing left as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortRuleBody {
    /// 1 to 65535.
    #[schema(value_type = u16)]
    pub port: portcullis_domain::Port,
    /// `TCP`, `UDP` or `*`. Default: `TCP`; when editing, every rule of the port.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Whoever asks must be within these ranges. Default: anywhere.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// The longest lease, as an ISO 8601 duration. Default `PT3H`.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub max: Option<SignedDuration>,
    /// Who has to approve: people, or `*` for anybody but the requester.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<BTreeSet<Person>>,
    /// When editing: nobody has to approve any longer, so that there is no glass either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_approval: bool,
    /// Who may break the glass, which is to open it without that approval: people, or `*` for anybody. Empty is nobody.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BTreeSet<Person>>,
}

/// To guard a target, or to plan to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableBody {
    /// What to guard. Default: SSH on Linux, RDP on Windows, 3 hours, any source.
    #[serde(default)]
    pub ports: Vec<PortRuleBody>,
    /// The policy lapses after this long unless it is confirmed, as an ISO 8601 duration.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<SignedDuration>,
    /// Guard it although it has rules of a portcullis that this table knows nothing of: those of a table that was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
}

/// To change what is guarded: add ports, change their settings, remove some.
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
    /// The change lapses after this long unless it is confirmed, as an ISO 8601 duration.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<SignedDuration>,
}

/// A target as it is now guarded.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GuardedView {
    /// What Portcullis calls it.
    pub target: String,
    /// What is guarded now.
    pub ports: Vec<PortRuleView>,
    /// How often the policy was set.
    pub policy_version: u64,
    /// Until when the change waits for a confirmation.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirm_by: Option<Timestamp>,
    /// Whether that is otherwise than before: asking for what is so already changes nothing.
    pub changed: bool,
    /// What to know before it is too late.
    pub warnings: Vec<String>,
}

/// What settling would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// What Portcullis calls the target.
    pub target: String,
    /// What would be written, in words.
    pub changes: Vec<String>,
    /// Every gate that is or would be guarded.
    pub gates: Vec<PlannedGateView>,
    /// What to know before it is too late.
    pub warnings: Vec<String>,
}

/// One gate of a plan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedGateView {
    /// Such as `22/tcp`.
    pub gate: String,
    /// Who passes now.
    pub admits_now: String,
    /// Foreign rules that let somebody in now and would not any more.
    pub shadows: Vec<String>,
    /// Foreign rules that would let somebody in without a lease, and when, if not always.
    pub defeated_by: Vec<String>,
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
        }
    }
}
