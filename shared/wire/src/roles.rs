//! Roles on the wire.

use crate::GrantView;
use portcullis_domain::{Authority, Binding, Member, Person, Role, Scope, said};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A role that a member has on a scope.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleBody {
    /// The role: `reader`, `requester`, `approver`, `configurator`, `auditor` or `operator`.
    #[schema(value_type = String)]
    #[serde(deserialize_with = "said::parsed")]
    pub role: Role,
    /// The member: `everyone`, `person:NAME`, `group:NAME` or `workload:NAME`.
    #[schema(value_type = String)]
    #[serde(deserialize_with = "said::parsed")]
    pub member: Member,
    /// The scope: `everything`, `account:ID`, `group:ACCOUNT/NAME`, `tag:KEY=VALUE` or `target:ID`.
    #[schema(value_type = String)]
    #[serde(deserialize_with = "said::parsed")]
    pub on: Scope,
}

/// A role that a member has on a scope, and what it permits.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RoleView {
    /// The role.
    pub role: String,
    /// The member.
    pub member: String,
    /// The scope.
    pub on: String,
    /// The rights that it gives.
    pub rights: Vec<String>,
}

/// The roles of an installation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RolesView {
    /// The version: grows by one with each change; 0 where no role was ever changed.
    pub version: u64,
    /// The operator whom the installation itself names: that role cannot be revoked.
    pub operator: Option<String>,
    /// The roles.
    pub roles: Vec<RoleView>,
    /// The leases that the change ended: nothing permits them to their requesters any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<GrantView>,
}

impl RolesView {
    /// The roles of an authority.
    pub fn of(authority: &Authority, operator: Option<&Person>) -> Self {
        Self {
            version: authority.version,
            operator: operator.map(ToString::to_string),
            roles: authority.bindings.iter().map(RoleView::from).collect(),
            ended: vec![],
        }
    }
}

impl From<&Binding> for RoleView {
    fn from(binding: &Binding) -> Self {
        Self {
            role: binding.role.to_string(),
            member: binding.member.to_string(),
            on: binding.scope.to_string(),
            rights: binding.role.rights().iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<RoleBody> for Binding {
    fn from(RoleBody { role, member, on }: RoleBody) -> Self {
        Self { role, member, scope: on }
    }
}
