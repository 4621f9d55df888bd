//! The policies of the installation on the wire.

use crate::GrantView;
use jiff::Timestamp;
use portcullis_domain::{Justification, Policies};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// Policies to apply.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoliciesBody {
    /// The text of each policy file in Cedar, by its name, such as `on-call.cedar`. Files that are in force and not named here are removed.
    pub files: BTreeMap<String, String>,
    /// The time zone of days and hours in policies, as IANA names it, such as `Europe/Berlin`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The version that they replace; 0 where the policies were never changed. If it is not in force, the change is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub why: Option<Justification>,
}

/// The version to go back to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackBody {
    /// The version; 0 is no policies.
    pub version: u64,
    /// The version that it replaces. If that is not in force, the change is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub why: Option<Justification>,
}

/// Which version of the policies.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PoliciesQuery {
    /// The version. Default: the one in force.
    pub version: Option<u64>,
}

/// Which versions of the policies.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PolicyVersionsQuery {
    /// Only versions before this one: `next` of the answer before.
    pub before: Option<u64>,
}

/// A version of the policies, without their text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyVersionView {
    /// The version; 0 where the policies were never changed. A change of a role has a version too, so that numbers are left out.
    pub version: u64,
    /// The SHA-256 of the policies: of a JSON array of the time zone, or `null`, and an object with the text of each file.
    pub digest: String,
    /// The person who made it.
    pub by: Option<String>,
    /// The time at which it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// The reason.
    pub why: Option<String>,
    /// The version whose policies it has again.
    pub back_to: Option<u64>,
    /// The ids of policies that the version before did not have.
    pub added: Vec<String>,
    /// The ids of policies whose text is another one than before.
    pub changed: Vec<String>,
    /// The ids of policies that the version before had.
    pub removed: Vec<String>,
}

/// The policies of a version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PoliciesView {
    /// The version.
    #[serde(flatten)]
    pub of: PolicyVersionView,
    /// The time zone of days and hours.
    pub zone: String,
    /// The text of each policy file, by its name.
    pub files: BTreeMap<String, String>,
}

/// The versions of the policies, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyVersionsView {
    /// The versions.
    pub items: Vec<PolicyVersionView>,
    /// The version before which the list goes on; `null` at its end.
    pub next: Option<u64>,
}

/// The outcome of a change of the policies.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PoliciesApplied {
    /// The version in force.
    #[serde(flatten)]
    pub of: PolicyVersionView,
    /// Is it a new one? Not if these policies were in force already.
    pub is_new: bool,
    /// People and machines in the policies that do not exist.
    pub warnings: Vec<String>,
    /// The leases that the change ended: nothing permits them to their requesters any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<GrantView>,
}

/// The name of the time zone of policies that name none.
pub const UTC: &str = "UTC";

impl From<PoliciesBody> for Policies {
    fn from(PoliciesBody { files, zone, .. }: PoliciesBody) -> Self {
        Self { zone: zone.filter(|it| it != UTC), files }
    }
}
