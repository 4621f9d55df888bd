//! The paths of ARM: what each names. In any case, as Azure takes them.

use crate::kind::Kind;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// By what a virtual network's security admin rules are asked for, in lower case.
const ADMIN_RULES: &str = "listnetworkmanagereffectivesecurityadminrules";

/// What a path names. Ids are in lower case; only the names of what is new keep theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Every subscription.
    Subscriptions,
    /// One subscription.
    Subscription { subscription: String },
    /// Its resource groups.
    Groups { subscription: String },
    /// One of them.
    Group { subscription: String, id: String },
    /// The resources of a kind in a subscription or in one of its groups: below this id.
    Resources { subscription: String, group: Option<String>, kind: Kind },
    /// A resource.
    Resource { kind: Kind, id: String },
    /// The children of a resource.
    Children { of: Kind, id: String },
    /// One of them.
    Child { of: Kind, id: String, name: String },
    /// How a write is getting on; as `Azure-AsyncOperation` says it, or as `Location` does.
    Operation { id: String, is_result: bool },
    /// What the caller may do in a subscription or in one of its groups.
    Permissions { subscription: String, group: Option<String> },
    /// The management locks of a subscription and of all that is in it.
    Locks { subscription: String },
    /// The security admin rules that decide before the security groups of a virtual network.
    AdminRules { network: String },
    /// The policies of Microsoft's own just-in-time access: of a subscription, or of a group, a location,
    /// or both.
    JitPolicies { subscription: String, group: Option<String>, location: Option<String> },
    /// One of them.
    JitPolicy { subscription: String, group: String, location: String, id: String, name: String },
    /// Azure Resource Graph.
    Graph,
}

impl Place {
    /// By its path.
    pub fn of(path: &str) -> Option<Self> {
        let decoded: Vec<String> = path
            .split('/')
            .skip(1)
            .map(|it| percent_decode_str(it).decode_utf8().map(Cow::into_owned))
            .collect::<Result<_, _>>()
            .ok()?;
        let lower: Vec<String> = decoded.iter().map(|it| it.to_ascii_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
        let id = |upto: usize| format!("/{}", words[..upto].join("/"));
        let kind = |space: &str, name: &str| Kind::named(&format!("{space}/{name}"));
        let child = |kind: Kind, name: &str| kind.children().is_some_and(|it| it.eq_ignore_ascii_case(name));
        let own = |text: &str| text.to_owned();
        Some(match words[..] {
            ["providers", "microsoft.resourcegraph", "resources"] => Self::Graph,
            ["subscriptions"] => Self::Subscriptions,
            ["subscriptions", it] => Self::Subscription { subscription: own(it) },
            ["subscriptions", it, "resourcegroups"] => Self::Groups { subscription: own(it) },
            ["subscriptions", it, "resourcegroups", _] => {
                Self::Group { subscription: own(it), id: id(words.len()) }
            }
            ["subscriptions", _, "providers", "microsoft.network", "locations", _, "operations", it] => {
                Self::Operation { id: own(it), is_result: false }
            }
            [
                "subscriptions",
                _,
                "providers",
                "microsoft.network",
                "locations",
                _,
                "operationresults",
                it,
            ] => Self::Operation { id: own(it), is_result: true },
            ["subscriptions", it, "providers", "microsoft.security", ref below @ ..] => match *below {
                ["jitnetworkaccesspolicies"] => {
                    Self::JitPolicies { subscription: own(it), group: None, location: None }
                }
                ["locations", location, "jitnetworkaccesspolicies"] => {
                    Self::JitPolicies { subscription: own(it), group: None, location: Some(own(location)) }
                }
                _ => return None,
            },
            ["subscriptions", it, "resourcegroups", _, "providers", "microsoft.security", ref below @ ..] => {
                let (subscription, group) = (own(it), id(4));
                match *below {
                    ["jitnetworkaccesspolicies"] => {
                        Self::JitPolicies { subscription, group: Some(group), location: None }
                    }
                    ["locations", location, "jitnetworkaccesspolicies"] => {
                        let location = Some(own(location));
                        Self::JitPolicies { subscription, group: Some(group), location }
                    }
                    ["locations", location, "jitnetworkaccesspolicies", _] => {
                        let name = decoded.iter().rfind(|it| !it.is_empty())?.clone();
                        let id = id(words.len());
                        Self::JitPolicy { subscription, group, location: own(location), id, name }
                    }
                    _ => return None,
                }
            }
            ["subscriptions", it, "providers", "microsoft.authorization", "locks"] => {
                Self::Locks { subscription: own(it) }
            }
            ["subscriptions", it, "providers", "microsoft.authorization", "permissions"] => {
                Self::Permissions { subscription: own(it), group: None }
            }
            [
                "subscriptions",
                it,
                "resourcegroups",
                _,
                "providers",
                "microsoft.authorization",
                "permissions",
            ] => Self::Permissions { subscription: own(it), group: Some(id(4)) },
            ["subscriptions", it, "providers", space, name] => {
                Self::Resources { subscription: own(it), group: None, kind: kind(space, name)? }
            }
            ["subscriptions", it, "resourcegroups", _, "providers", space, name] => {
                Self::Resources { subscription: own(it), group: Some(id(4)), kind: kind(space, name)? }
            }
            ["subscriptions", _, "resourcegroups", _, "providers", space, name, _] => {
                Self::Resource { kind: kind(space, name)?, id: id(8) }
            }
            ["subscriptions", _, "resourcegroups", _, "providers", _, "virtualnetworks", _, ADMIN_RULES] => {
                Self::AdminRules { network: id(8) }
            }
            ["subscriptions", _, "resourcegroups", _, "providers", space, name, _, children] => {
                let of = kind(space, name).filter(|it| child(*it, children))?;
                Self::Children { of, id: id(8) }
            }
            ["subscriptions", _, "resourcegroups", _, "providers", space, name, _, children, _] => {
                let of = kind(space, name).filter(|it| child(*it, children))?;
                let name = decoded.iter().rfind(|it| !it.is_empty())?.clone();
                Self::Child { of, id: id(8), name }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_in_any_case() {
        let path = "/Subscriptions/S1/resourcegroups/RG%281%29/providers/microsoft.network/NetworkSecurityGroups/N/securityrules/My-Rule";
        let id = "/subscriptions/s1/resourcegroups/rg(1)/providers/microsoft.network/networksecuritygroups/n";
        let rule = Place::Child { of: Kind::SecurityGroup, id: id.to_owned(), name: "My-Rule".to_owned() };
        assert_eq!(Place::of(path), Some(rule));
    }

    #[test]
    fn what_is_not_simulated_is_no_place() {
        let group = "/subscriptions/s/resourceGroups/g/providers";
        for path in [
            "/".to_owned(),
            format!("{group}/Microsoft.Network/natGateways/x"),
            format!("{group}/Microsoft.Network/virtualNetworks/x/securityRules"),
            format!("{group}/Microsoft.Network/networkSecurityGroups/n/securityRules/r/more"),
        ] {
            assert_eq!(Place::of(&path), None, "{path}");
        }
    }
}
