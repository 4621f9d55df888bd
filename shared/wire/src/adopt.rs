//! What somebody else's just-in-time access guards, on the wire.

use jiff::Timestamp;
use portcullis_domain::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A foreign policy of just-in-time access with its rules, or rules that belong to no policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptableView {
    /// The policy's id; `null` for rules that belong to none.
    pub policy: Option<String>,
    /// The name of the policy, or of the machine where there is no policy.
    pub name: String,
    /// The machines that the policy guards.
    pub machines: Vec<AdoptableMachineView>,
    /// Its rules in firewalls.
    pub rules: Vec<AdoptableRuleView>,
}

/// A machine that the policy guards.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptableMachineView {
    /// The target's id.
    pub target: String,
    /// The ports that may be requested.
    pub ports: Vec<AdoptablePortView>,
}

/// A port that may be requested, as the policy states it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptablePortView {
    /// The port, 0 to 65535.
    pub port: u16,
    /// The protocol, such as `TCP` or `*`.
    pub protocol: String,
    /// The ranges of addresses that may be requested.
    pub sources: Vec<String>,
    /// The longest lease, as an ISO 8601 duration.
    pub max: String,
}

/// A rule in a firewall.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptableRuleView {
    /// The id of the firewall.
    pub firewall: String,
    /// The name of the rule.
    pub name: String,
    /// The action: `allow` or `deny`.
    #[schema(value_type = String)]
    pub action: Action,
    /// The protocol of the packets.
    pub protocol: String,
    /// The sources.
    pub sources: Vec<String>,
    /// The ports.
    pub ports: Vec<String>,
    /// The machine of the rule; `null` where it is unknown.
    pub target: Option<String>,
    /// The end of the rule, if it is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// A command to take over a foreign policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptBody {
    /// The id of a policy, or of a target.
    pub what: String,
    /// Whether to delete it afterwards, once a read-back has confirmed our own lock.
    #[serde(default)]
    pub delete: bool,
}

/// The result of taking over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptedView {
    /// The result for each machine.
    pub machines: Vec<AdoptedMachineView>,
    /// The deleted policies and rules, one line each.
    pub deleted: Vec<String>,
    /// The reasons why a requested deletion was not done.
    pub kept: Vec<String>,
}

/// The result for one machine.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptedMachineView {
    /// The target's id.
    pub target: String,
    /// Whether Portcullis guards it now.
    pub guarded: bool,
    /// The parts that were not taken over, each with its reason.
    pub left: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}
