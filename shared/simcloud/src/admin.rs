//! The security admin rules that Azure Virtual Network Managers have for a virtual network.

use crate::{cloud::Cloud, kind::Kind, refused::Refused};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    skip_token: Option<String>,
}

/// The page of a virtual network's rules that is asked for.
pub fn answer(cloud: &Cloud, network: &str, body: &[u8]) -> Result<Value, Refused> {
    cloud.resource(Kind::VirtualNetwork, network)?;
    let body: Body = if body.is_empty() {
        Body::default()
    } else {
        serde_json::from_slice(body).map_err(|error| {
            Refused::bad("InvalidRequestFormat", format!("Cannot parse the request: {error}"))
        })?
    };
    let token = body.skip_token.as_deref().filter(|it| !it.is_empty()).map(str::parse).transpose();
    let token = token.map_err(|_| Refused::bad("InvalidSkipToken", "The skip token is not one of ours."))?;
    let skip: usize = token.unwrap_or(0);
    let rules = cloud.admin_rules.get(network).map_or(&[][..], Vec::as_slice);
    let next = skip.saturating_add(usize::from(cloud.faults.page_size.max(1)));
    let page: Vec<&Value> = rules.iter().take(next).skip(skip).collect();
    let mut answer = json!({ "value": page });
    if next < rules.len() {
        answer["skipToken"] = json!(next.to_string());
    }
    Ok(answer)
}
