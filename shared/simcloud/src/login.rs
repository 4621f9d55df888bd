//! Where tokens come from: the endpoints of Entra ID, and the one that machines ask.

use crate::{Simcloud, cloud::TOKEN_LIFE_SECS, peer::Base};
use axum::{
    Form, Json,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

type Fields = BTreeMap<String, String>;

/// GET `/{tenant}/v2.0/.well-known/openid-configuration`
pub async fn configuration(Path(tenant): Path<String>, Base(base): Base) -> Json<Value> {
    Json(json!({
        "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
        "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
        "issuer": format!("{base}/{tenant}/v2.0"),
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
    }))
}

/// POST `/{tenant}/oauth2/v2.0/token`: any client with any secret or assertion.
pub async fn token(State(cloud): State<Arc<Simcloud>>, Form(fields): Form<Fields>) -> Response {
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let missing = |status, error, code: &str, what: &str| {
        let description = format!("{code}: The request body must contain the following parameter: '{what}'.");
        (status, Json(json!({ "error": error, "error_description": description }))).into_response()
    };
    for what in ["grant_type", "client_id", "scope"] {
        if field(what).is_empty() {
            return missing(StatusCode::BAD_REQUEST, "invalid_request", "AADSTS900144", what);
        }
    }
    if field("grant_type") != "client_credentials" {
        let description = "AADSTS70003: The app requested an unsupported grant type.";
        let body = json!({ "error": "unsupported_grant_type", "error_description": description });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    if field("client_secret").is_empty() && field("client_assertion").is_empty() {
        let what = "client_assertion' or 'client_secret";
        return missing(StatusCode::UNAUTHORIZED, "invalid_client", "AADSTS7000218", what);
    }
    let (token, _) = {
        let (mut cloud, now) = cloud.now();
        cloud.issue_token(fields.get("claims").map(String::as_str), now)
    };
    Json(json!({
        "token_type": "Bearer", "expires_in": TOKEN_LIFE_SECS, "ext_expires_in": TOKEN_LIFE_SECS, "access_token": token,
    }))
    .into_response()
}

/// GET `/metadata/identity/oauth2/token`, as a machine with a managed identity asks.
pub async fn metadata(
    State(cloud): State<Arc<Simcloud>>,
    Query(query): Query<Fields>,
    headers: HeaderMap,
) -> Response {
    let refused = |description: &str| {
        let body = json!({ "error": "invalid_request", "error_description": description });
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    };
    if headers.get("metadata").is_none_or(|it| !it.as_bytes().eq_ignore_ascii_case(b"true")) {
        return refused("Required metadata header not specified");
    }
    let Some(resource) = query.get("resource").filter(|it| !it.is_empty()) else {
        return refused("Required audience parameter not specified");
    };
    let (token, until) = {
        let (mut cloud, now) = cloud.now();
        cloud.issue_token(None, now)
    };
    Json(json!({
        "access_token": token,
        "client_id": query.get("client_id"),
        "expires_in": TOKEN_LIFE_SECS.to_string(),
        "ext_expires_in": TOKEN_LIFE_SECS.to_string(),
        "expires_on": until.as_second().to_string(),
        "not_before": (until.as_second() - TOKEN_LIFE_SECS).to_string(),
        "resource": resource,
        "token_type": "Bearer",
    }))
    .into_response()
}
