//! What the caller may do: which action a call needs, and who may not be given it.

use crate::{cloud::Cloud, jit, kind::Kind, path::Place, refused::Refused};
use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const JOIN_SUBNET: &str = "Microsoft.Network/virtualNetworks/subnets/join/action";
const JOIN_ADDRESS: &str = "Microsoft.Network/publicIPAddresses/join/action";
const JOIN_GROUP: &str = "Microsoft.Network/ipGroups/join/action";

/// What callers are allowed to do, as a role says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// The actions, such as `Microsoft.Network/*/read`; everything, where there is no list.
    pub actions: Option<Vec<String>>,
}

impl Permissions {
    /// Is an action allowed? In any case, and `*` stands for any characters, as Azure takes them.
    fn allow(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        self.actions.as_ref().is_none_or(|it| it.iter().any(|it| fits(&it.to_ascii_lowercase(), &action)))
    }

    /// As ARM lists them: the roles that the caller has.
    pub(crate) fn shown(&self) -> Value {
        let everything = vec!["*".to_owned()];
        let actions = self.actions.as_ref().unwrap_or(&everything);
        json!({ "actions": actions, "notActions": [], "dataActions": [], "notDataActions": [] })
    }
}

impl Place {
    /// The action that a call needs.
    pub fn action(&self, method: &Method) -> String {
        let verb = match method.as_str() {
            "GET" | "HEAD" => "read",
            "PUT" | "PATCH" => "write",
            "DELETE" => "delete",
            _ if *self == Self::Graph => "read",
            _ => "action",
        };
        let what = match self {
            Self::Subscriptions | Self::Subscription { .. } => "Microsoft.Resources/subscriptions",
            Self::Groups { .. } | Self::Group { .. } => "Microsoft.Resources/subscriptions/resourceGroups",
            Self::Resources { kind, .. } | Self::Resource { kind, .. } => kind.name(),
            Self::Children { of, .. } | Self::Child { of, .. } => {
                return format!("{}/{}/{verb}", of.name(), of.children().unwrap_or_default());
            }
            Self::Operation { is_result: false, .. } => "Microsoft.Network/locations/operations",
            Self::Operation { is_result: true, .. } => "Microsoft.Network/locations/operationResults",
            Self::Permissions { .. } => "Microsoft.Authorization/permissions",
            Self::Locks { .. } => "Microsoft.Authorization/locks",
            Self::AdminRules { .. } => {
                "Microsoft.Network/virtualNetworks/listNetworkManagerEffectiveSecurityAdminRules"
            }
            Self::JitPolicies { .. } | Self::JitPolicy { .. } => jit::TYPE,
            Self::Graph => "Microsoft.ResourceGraph/resources",
        };
        format!("{what}/{verb}")
    }

    /// Where the caller needs it: a list is of its group or its subscription.
    fn scope<'a>(&self, path: &'a str) -> &'a str {
        let above = |word: &str| {
            let end = path.to_ascii_lowercase().rfind(word).unwrap_or(path.len());
            &path[..end]
        };
        match self {
            Self::Subscriptions | Self::Graph => "/",
            Self::Groups { .. } => above("/resourcegroups"),
            Self::Resources { .. }
            | Self::Operation { .. }
            | Self::Permissions { .. }
            | Self::Locks { .. }
            | Self::JitPolicies { .. } => above("/providers/"),
            Self::Subscription { .. }
            | Self::Group { .. }
            | Self::Resource { .. }
            | Self::Children { .. }
            | Self::Child { .. }
            | Self::AdminRules { .. }
            | Self::JitPolicy { .. } => path,
        }
    }
}

impl Cloud {
    /// Refuses a call whose action is not allowed.
    pub fn permit(&self, place: &Place, method: &Method, path: &str) -> Result<(), Refused> {
        let action = place.action(method);
        if self.permissions.allow(&action) {
            return Ok(());
        }
        let message = format!(
            "{} does not have authorization to perform action '{action}' over scope '{}' or the scope is invalid. If access \
             was recently granted, please refresh your credentials.",
            self.caller(),
            place.scope(path),
        );
        Err(Refused::new(StatusCode::FORBIDDEN, "AuthorizationFailed", message))
    }

    /// Refuses the write of a firewall by who may not use what its body names.
    pub fn permit_links(&self, id: &str, wanted: &Value) -> Result<(), Refused> {
        let write = format!("{}/write", Kind::Firewall.name());
        links(wanted)
            .into_iter()
            .try_for_each(|(action, linked)| self.permit_link((&write, id), (action, linked)))
    }

    /// Refuses an action on a scope by who may not do the other one, which comes with it, where that is
    /// needed.
    pub fn permit_link(
        &self,
        (done, on): (&str, &str),
        (action, linked): (&str, &str),
    ) -> Result<(), Refused> {
        if self.permissions.allow(action) {
            return Ok(());
        }
        let message = format!(
            "{} has permission to perform action '{done}' on scope '{on}'; however, it does not have permission to perform \
             action '{action}' on the linked scope(s) '{linked}' or the linked scope(s) are invalid.",
            self.caller(),
        );
        Err(Refused::new(StatusCode::FORBIDDEN, "LinkedAuthorizationFailed", message))
    }

    /// Who calls, in Azure's words: every token is the same application's.
    fn caller(&self) -> String {
        let n = self.seed & 0xFFFF_FFFF_FFFF;
        format!(
            "The client '00000000-0000-4000-b000-{n:012x}' with object id '00000000-0000-4000-b001-{n:012x}'"
        )
    }
}

/// What a firewall stands on and goes by, as its body names it, each with the action that whoever writes the
/// firewall needs there: subnets, public addresses, groups of addresses.
pub fn links(firewall: &Value) -> Vec<(&'static str, &str)> {
    let properties = &firewall["properties"];
    let mut links = vec![];
    for it in list(&properties["ipConfigurations"]).chain(Some(&properties["managementIpConfiguration"])) {
        for (field, action) in [("subnet", JOIN_SUBNET), ("publicIPAddress", JOIN_ADDRESS)] {
            links.extend(it["properties"][field]["id"].as_str().map(|linked| (action, linked)));
        }
    }
    for collections in ["natRuleCollections", "networkRuleCollections", "applicationRuleCollections"] {
        for rule in list(&properties[collections]).flat_map(|it| list(&it["properties"]["rules"])) {
            let groups = ["sourceIpGroups", "destinationIpGroups"].into_iter().flat_map(|it| list(&rule[it]));
            links.extend(groups.filter_map(Value::as_str).map(|linked| (JOIN_GROUP, linked)));
        }
    }
    links
}

fn list(it: &Value) -> impl Iterator<Item = &Value> {
    it.as_array().into_iter().flatten()
}

/// Is a text what a pattern with `*` says?
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, is_so) in [
            ("*", "a/b/read", true),
            ("*/read", "a/b/read", true),
            ("*/read", "a/b/write", false),
            ("a/*/read", "a/b/c/read", true),
            ("a/*/read", "a/read", false),
            ("a/*/c/*", "a/b/c/read", true),
            ("a/*/c/*", "a/c/read", false),
            ("a/*a/read", "a/a/read", true),
            ("a/b/read", "a/b/read", true),
            ("a/b/read", "a/b/reads", false),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, text), is_so, "{pattern} {text}");
        }
        let actions = Some(vec!["MICROSOFT.network/*".to_owned()]);
        assert!(Permissions { actions }.allow("Microsoft.Network/azureFirewalls/write"));
        assert!(!Permissions { actions: Some(vec![]) }.allow("Microsoft.Network/azureFirewalls/write"));
    }
}
