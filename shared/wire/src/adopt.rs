//! What somebody else's just-in-time access guards, on the wire.

use jiff::Timestamp;
use portcullis_domain::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A policy of somebody else's just-in-time access with its rules, or rules that belong to no policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptableView {
    /// The policy's id; `null` for rules that belong to none.
    pub policy: Option<String>,
    /// What people call the policy, or else the machine.
    pub name: String,
    /// The machines that it guards.
    pub machines: Vec<AdoptableMachineView>,
    /// The rules that it has in firewalls.
    pub rules: Vec<AdoptableRuleView>,
}

/// A machine that it guards.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptableMachineView {
    /// The target's id.
    pub target: String,
    /// What may be asked for.
    pub ports: Vec<AdoptablePortView>,
}

/// What may be asked for, as it is written there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptablePortView {
    /// 0 to 65535.
    pub port: u16,
    /// Such as `TCP` or `*`.
    pub protocol: String,
    /// From where one may ask.
    pub sources: Vec<String>,
    /// The longest lease, as an ISO 8601 duration.
    pub max: String,
}

/// A rule in a firewall.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptableRuleView {
    /// Where it stands.
    pub firewall: String,
    /// What it is called there.
    pub name: String,
    /// `allow` or `deny`.
    #[schema(value_type = String)]
    pub action: Action,
    /// To packets of this protocol.
    pub protocol: String,
    /// From here.
    pub sources: Vec<String>,
    /// To these ports.
    pub ports: Vec<String>,
    /// Of this machine; `null` where nobody knows it.
    pub target: Option<String>,
    /// Until when it shall stand, if that is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// To take something over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptBody {
    /// The id of a policy, or of a target.
    pub what: String,
    /// Delete it afterwards, once our own lock was seen to be in place.
    #[serde(default)]
    pub delete: bool,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptedView {
    /// Each machine.
    pub machines: Vec<AdoptedMachineView>,
    /// What was deleted, a line each.
    pub deleted: Vec<String>,
    /// Why nothing was deleted although it was asked for.
    pub kept: Vec<String>,
}

/// What became of one machine.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AdoptedMachineView {
    /// The target's id.
    pub target: String,
    /// Is it guarded here now?
    pub guarded: bool,
    /// What was not taken over, and why.
    pub left: Vec<String>,
    /// What to know before it is too late.
    pub warnings: Vec<String>,
}
