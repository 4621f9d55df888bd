//! The policies of Microsoft's own just-in-time access. What it writes into security groups for them is
//! not simulated: a policy is what it says, and nothing more happens.

use crate::{cloud::Cloud, refused::Refused};
use serde::Deserialize;
use serde_json::{Value, json};

/// The type of a policy, as ARM writes it.
pub const TYPE: &str = "Microsoft.Security/locations/jitNetworkAccessPolicies";
/// What the wire takes as a port: 0 as well.
type Number = u16;

/// The body of a PUT; what only Azure writes is taken and dropped.
#[derive(Deserialize)]
struct Body {
    kind: Option<String>,
    properties: Policy,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    virtual_machines: Vec<Machine>,
    #[serde(default)]
    requests: Vec<Value>,
}

#[derive(Deserialize)]
struct Machine {
    id: String,
    ports: Vec<Port>,
    #[serde(flatten)]
    more: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    number: Number,
    protocol: String,
    allowed_source_address_prefix: Option<String>,
    allowed_source_address_prefixes: Option<Vec<String>>,
    max_request_access_duration: String,
}

impl Cloud {
    /// The policies of the subscription, or those in a group, in a location, or both.
    pub fn jit_policies(&self, group: Option<&str>, location: Option<&str>) -> Vec<Value> {
        let is_asked = |id: &str| {
            group.is_none_or(|it| id.starts_with(&format!("{it}/")))
                && location.is_none_or(|it| id.contains(&format!("/locations/{it}/")))
        };
        self.jit_policies.iter().filter(|(id, _)| is_asked(id)).map(|(_, it)| it.clone()).collect()
    }

    /// One of them.
    pub fn jit_policy(&self, id: &str) -> Result<&Value, Refused> {
        self.jit_policies.get(id).ok_or_else(|| Refused::no_resource(id))
    }

    /// Writes a policy whole: machines and requests that the body leaves out are in it no more.
    pub fn put_jit_policy(
        &mut self,
        id: &str,
        (group, location, name): (&str, &str, &str),
        body: &[u8],
    ) -> Result<Value, Refused> {
        let body: Body = serde_json::from_slice(body).map_err(|error| {
            Refused::bad("InvalidRequestFormat", format!("Cannot parse the request: {error}"))
        })?;
        let mut machines = vec![];
        for machine in &body.properties.virtual_machines {
            let ports = machine.ports.iter().map(Port::shown).collect::<Result<Vec<_>, _>>()?;
            let mut shown = Value::Object(machine.more.clone());
            shown["id"] = json!(machine.id);
            shown["ports"] = json!(ports);
            machines.push(shown);
        }
        let there = self.jit_policies.get(id);
        let own = there.and_then(|it| it["name"].as_str()).unwrap_or(name);
        let policy = json!({
            "id": format!("{group}/providers/Microsoft.Security/locations/{location}/jitNetworkAccessPolicies/{own}"),
            "name": own, "type": TYPE, "location": location, "kind": body.kind.as_deref().unwrap_or("Basic"),
            "properties": {
                "virtualMachines": machines, "requests": body.properties.requests, "provisioningState": "Succeeded",
            },
        });
        self.jit_policies.insert(id.to_owned(), policy.clone());
        self.has_changed();
        Ok(policy)
    }

    /// Deletes a policy. Was there one?
    pub fn delete_jit_policy(&mut self, id: &str) -> bool {
        let was_there = self.jit_policies.remove(id).is_some();
        if was_there {
            self.has_changed();
        }
        was_there
    }
}

impl Port {
    fn shown(&self) -> Result<Value, Refused> {
        let refused = |message: String| Err(Refused::bad("InvalidRequestFormat", message));
        let number = self.number;
        if !["TCP", "UDP", "*"].iter().any(|it| it.eq_ignore_ascii_case(&self.protocol)) {
            return refused(format!("Port {number} has the unknown protocol '{}'.", self.protocol));
        }
        let mut shown = json!({
            "number": number, "protocol": self.protocol, "maxRequestAccessDuration": self.max_request_access_duration,
        });
        match (&self.allowed_source_address_prefix, &self.allowed_source_address_prefixes) {
            (Some(one), None) => shown["allowedSourceAddressPrefix"] = json!(one),
            (None, Some(many)) => shown["allowedSourceAddressPrefixes"] = json!(many),
            (Some(_), Some(_)) | (None, None) => {
                return refused(format!(
                    "Port {number} must have one of allowedSourceAddressPrefix and allowedSourceAddressPrefixes."
                ));
            }
        }
        Ok(shown)
    }
}
