//! What Portcullis has to be allowed to do in Azure.

use serde::Deserialize;

/// The role: `infra/azure/role.json` is the only place where it is written down.
const ROLE: &str = include_str!("../../../infra/azure/role.json");

/// A custom role of Azure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What whoever has it may do, such as `Microsoft.Compute/virtualMachines/read`.
    pub actions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    description: String,
    request_only: Named,
    actions: Vec<Needed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Needed {
    action: String,
    request_only: bool,
    #[serde(rename = "why")]
    _why: String,
}

impl Role {
    /// Of who guards machines.
    pub fn guards() -> Self {
        let Written { name, description, actions, .. } = written();
        Self { name, description, actions: actions.into_iter().map(|it| it.action).collect() }
    }

    /// Of who only looks and asks.
    pub fn asks() -> Self {
        let Written { request_only: Named { name, description }, actions, .. } = written();
        let looks = actions.into_iter().filter(|it| it.request_only);
        Self { name, description, actions: looks.map(|it| it.action).collect() }
    }

    /// As `az role definition create` takes it.
    pub fn definition(&self, scopes: &[String]) -> serde_json::Value {
        serde_json::json!({
            "Name": self.name, "IsCustom": true, "Description": self.description, "Actions": self.actions,
            "NotActions": [], "AssignableScopes": scopes,
        })
    }
}

fn written() -> Written {
    // A test reads it.
    serde_json::from_str(ROLE).unwrap_or_else(|error| unreachable!("the role is what it should be: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_names_each_action_once_in_order() {
        let (guards, asks) = (Role::guards(), Role::asks());
        assert!(guards.actions.is_sorted() && asks.actions.iter().all(|it| guards.actions.contains(it)));
        for action in &asks.actions {
            let lists = action.contains("/list") && action.ends_with("/action");
            assert!(action.ends_with("/read") || lists, "who only looks and asks changes nothing: {action}");
        }
        assert!(guards.actions.iter().all(|it| !it.contains('*')), "every action by its name");
        assert_ne!(guards.name, asks.name);
    }
}
