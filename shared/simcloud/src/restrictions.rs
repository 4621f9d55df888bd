//! What keeps a caller from a write whatever their role: management locks, and policies that forbid writing or deletion.

use crate::{cloud::Cloud, refused::Refused};
use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restrictions {
    /// Management locks.
    pub locks: Vec<Lock>,
    /// Assignments of a policy with the effect `denyAction` on deletion.
    pub deny_delete: Vec<Assignment>,
    /// Assignments of a policy with the effect `deny` on resources that are written.
    pub deny_write: Vec<Assignment>,
}

/// A management lock: it holds for everything below its scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// What it is called.
    pub name: String,
    /// A subscription, a resource group, or a resource.
    pub scope: String,
    /// What it forbids.
    pub level: LockLevel,
}

/// What a lock forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockLevel {
    /// DELETE alone.
    CanNotDelete,
    /// PUT too.
    ReadOnly,
}

/// A policy that forbids something, where it is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// What the assignment is called.
    pub name: String,
    /// A subscription, a resource group, or a resource.
    pub scope: String,
}

impl LockLevel {
    fn forbids(self, method: &Method) -> bool {
        match self {
            Self::CanNotDelete => *method == Method::DELETE,
            Self::ReadOnly => *method == Method::DELETE || *method == Method::PUT,
        }
    }
}

impl Cloud {
    /// Refuses a write that a lock or a policy forbids, as Resource Manager does before it looks for the resource.
    pub fn restrict(&self, method: &Method, path: &str) -> Result<(), Refused> {
        let verb = if *method == Method::DELETE { "delete" } else { "write" };
        let locks = self.restrictions.locks.iter().filter(|it| it.level.forbids(method));
        let scopes: Vec<String> =
            locks.filter(|it| is_within(path, &it.scope)).map(|it| format!("'{}'", it.scope)).collect();
        if !scopes.is_empty() {
            let message = format!(
                "The scope '{path}' cannot perform {verb} operation because following scope(s) are locked: {}. Please remove \
                 the lock and try again.",
                scopes.join(",")
            );
            return Err(Refused::new(StatusCode::CONFLICT, "ScopeLocked", message));
        }
        let (policies, effect, done) = match *method {
            Method::DELETE => (&self.restrictions.deny_delete, "denyAction", "Deletion of resource"),
            Method::PUT => (&self.restrictions.deny_write, "deny", "Resource"),
            _ => return Ok(()),
        };
        let Some(policy) = policies.iter().find(|it| is_within(path, &it.scope)) else { return Ok(()) };
        let name = path.rsplit('/').next().unwrap_or_default();
        let assignment =
            format!("{}/providers/Microsoft.Authorization/policyAssignments/{}", policy.scope, policy.name);
        let identifiers = json!([{
            "policyAssignment": { "name": policy.name, "id": assignment },
            "policyDefinition": { "name": policy.name, "effect": effect },
        }]);
        let message =
            format!("{done} '{name}' was disallowed by policy.\nPolicy identifiers:\n'{identifiers:#}'.");
        Err(Refused::new(StatusCode::FORBIDDEN, "RequestDisallowedByPolicy", message))
    }

    /// The locks of a scope and of everything below it, as ARM lists them.
    pub fn locks(&self, scope: &str) -> Vec<Value> {
        let locks = self.restrictions.locks.iter().filter(|it| is_within(&it.scope, scope));
        let shown = |it: &Lock| {
            json!({
                "id": format!("{}/providers/Microsoft.Authorization/locks/{}", it.scope, it.name),
                "name": it.name, "type": "Microsoft.Authorization/locks", "properties": { "level": it.level },
            })
        };
        locks.map(shown).collect()
    }
}

/// Is an id this scope's, or below it? In any case.
fn is_within(id: &str, scope: &str) -> bool {
    let (id, scope) = (id.to_ascii_lowercase(), scope.to_ascii_lowercase());
    id.strip_prefix(scope.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_for_what_is_below_it_alone() {
        for (id, scope, is_so) in [
            ("/subscriptions/s/resourceGroups/g", "/subscriptions/S", true),
            ("/subscriptions/s", "/subscriptions/s/", true),
            ("/subscriptions/s2", "/subscriptions/s", false),
            ("/subscriptions/s", "/subscriptions/s/resourceGroups/g", false),
        ] {
            assert_eq!(is_within(id, scope), is_so, "{id} in {scope}");
        }
    }
}
