//! Security rules as they are kept and shown.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a rule of a security group says, in Azure's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Properties {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub protocol: RuleProtocol,
    #[serde(flatten)]
    pub ends: Ends,
    pub access: Access,
    pub priority: u16,
    pub direction: Direction,
}

/// Where packets come from and go to: of each pair the one or the other is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ends {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port_range: Option<String>,
    #[serde(default)]
    pub source_port_ranges: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port_range: Option<String>,
    #[serde(default)]
    pub destination_port_ranges: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address_prefix: Option<String>,
    #[serde(default)]
    pub source_address_prefixes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_application_security_groups: Vec<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_address_prefix: Option<String>,
    #[serde(default)]
    pub destination_address_prefixes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination_application_security_groups: Vec<Reference>,
}

/// An application security group that a rule names: the interfaces in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleProtocol {
    Tcp,
    Udp,
    Icmp,
    Esp,
    Ah,
    #[serde(rename = "*")]
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// A rule as it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// As it was first written: names are found in any case.
    pub name: String,
    pub etag: u64,
    pub state: Provisioning,
    pub properties: Properties,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provisioning {
    Updating,
    Deleting,
    Succeeded,
}

impl Rule {
    /// As ARM shows it: a child of a security group.
    pub fn shown(&self, group: &str, etag: u64) -> Value {
        let state = json!(self.state);
        show(group, "securityRules", &self.name, etag, &self.properties, &state)
    }
}

/// The rules under all others: every security group has them, and nobody can change them.
pub fn defaults() -> [(&'static str, Properties); 6] {
    use Access::{Allow, Deny};
    use Direction::{Inbound, Outbound};
    let rule = |priority, direction, access, source: &str, destination: &str| Properties {
        description: None,
        protocol: RuleProtocol::Any,
        ends: Ends {
            source_port_range: Some("*".to_owned()),
            destination_port_range: Some("*".to_owned()),
            source_address_prefix: Some(source.to_owned()),
            destination_address_prefix: Some(destination.to_owned()),
            ..Ends::default()
        },
        access,
        priority,
        direction,
    };
    [
        ("AllowVnetInBound", rule(65000, Inbound, Allow, "VirtualNetwork", "VirtualNetwork")),
        ("AllowAzureLoadBalancerInBound", rule(65001, Inbound, Allow, "AzureLoadBalancer", "*")),
        ("DenyAllInBound", rule(65500, Inbound, Deny, "*", "*")),
        ("AllowVnetOutBound", rule(65000, Outbound, Allow, "VirtualNetwork", "VirtualNetwork")),
        ("AllowInternetOutBound", rule(65001, Outbound, Allow, "*", "Internet")),
        ("DenyAllOutBound", rule(65500, Outbound, Deny, "*", "*")),
    ]
}

/// The default rules as ARM shows them.
pub fn shown_defaults(group: &str, etag: u64) -> Vec<Value> {
    let state = json!(Provisioning::Succeeded);
    let show = |(name, it): (&str, Properties)| show(group, "defaultSecurityRules", name, etag, &it, &state);
    defaults().into_iter().map(show).collect()
}

/// An etag on the wire: weak, and a GUID.
pub fn etag_text(etag: u64) -> String {
    format!("W/\"00000000-0000-4000-8000-{etag:012x}\"")
}

fn show(group: &str, kind: &str, name: &str, etag: u64, properties: &Properties, state: &Value) -> Value {
    let mut properties = json!(properties);
    properties["provisioningState"] = state.clone();
    json!({
        "name": name,
        "id": format!("{group}/{kind}/{name}"),
        "etag": etag_text(etag),
        "type": format!("Microsoft.Network/networkSecurityGroups/{kind}"),
        "properties": properties,
    })
}
