//! The description of all that can be asked.

use crate::{Problem, adopt, events, export, grants, meta, policies, requests, roles, targets};
use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response as Answer},
};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, Response, ResponseBuilder,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

/// The description of all that can be asked, as an `OpenAPI` document.
pub fn description() -> utoipa::openapi::OpenApi {
    Described::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis",
        description = "Just-in-time access to management ports. Every path but `/healthz` and \
            `/openapi.json` needs `Authorization: Bearer <token>`. A refusal is an RFC 9457 problem with \
            every reason."
    ),
    paths(
        targets::list, targets::show, targets::enable, targets::edit, targets::disable, targets::confirm,
        targets::plan, targets::check, targets::activity, targets::names, requests::list, requests::initiate, requests::explain,
        requests::show, requests::approve, requests::reject, requests::withdraw, grants::list, grants::show, grants::close,
        grants::extend, adopt::list, adopt::adopt, events::list, events::submit, export::download, meta::verify, meta::doctor, meta::whoami, meta::tokens,
        meta::issue_token, meta::revoke_token, roles::list, roles::grant, roles::revoke, policies::show, policies::apply,
        policies::rollback, policies::history, meta::healthz, openapi,
    ),
    components(schemas(Problem)),
    modifiers(&Common),
)]
struct Described;

/// Describes this API.
#[utoipa::path(get, path = "/openapi.json", tag = "meta", security(()), responses((status = 200), (status = 304)))]
pub(crate) async fn openapi(headers: HeaderMap) -> Answer {
    let Description { text, tag } = &*DESCRIPTION;
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    let is_known = known.flat_map(|it| it.split(',')).any(|it| matches!(it.trim(), "*") || it.trim() == tag);
    let headers = [(header::ETAG, tag.as_str()), (header::CONTENT_TYPE, "application/json")];
    if is_known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, text.clone()).into_response()
    }
}

/// The description as it is sent, and its name in a cache.
struct Description {
    text: Bytes,
    tag: String,
}

/// Made for the first caller who asks for it, once: it takes milliseconds, and nobody needs a token for it.
static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
    // Serialising cannot fail: all of it is text.
    let text = Bytes::from(serde_json::to_vec(&description()).unwrap_or_default());
    let mut hash = DefaultHasher::new();
    text.hash(&mut hash);
    Description { tag: format!("\"{}-{:016x}\"", env!("CARGO_PKG_VERSION"), hash.finish()), text }
});

/// What is the same of every operation: it wants a bearer token unless it says otherwise, and may answer that there was none,
/// that it cannot read the input, or that it cannot say now; it has a name that no other has, and each answer a description.
#[derive(Debug)]
struct Common;

/// Answers of the operations that want a token, besides their own.
const ALWAYS: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE];
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

impl Modify for Common {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        const NAME: &str = "bearer";
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme(NAME, scheme);
        openapi.security = Some(vec![SecurityRequirement::new(NAME, Vec::<String>::new())]);
        let items = openapi.paths.paths.values_mut();
        let all = items.flat_map(|it| [it.get.as_mut(), it.post.as_mut(), it.delete.as_mut()]);
        for operation in all.flatten() {
            // Handlers of different things are called alike: `list`, `show`.
            let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
            let id = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{tag}_{id}"));
            let wants_token = operation.security.is_none();
            let responses = &mut operation.responses.responses;
            for status in ALWAYS.iter().filter(|_| wants_token) {
                responses.entry(status.as_str().to_owned()).or_insert_with(|| problem().into());
            }
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response {
                    complete(status, response);
                }
            }
        }
    }
}

fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().content(PROBLEM, content).build()
}

/// Gives an answer its description, and a problem its content type.
fn complete(status: &str, response: &mut Response) {
    if response.description.is_empty() {
        meaning(status).clone_into(&mut response.description);
    }
    if status.starts_with(['4', '5'])
        && let Some(content) = response.content.shift_remove(JSON)
    {
        response.content.insert(PROBLEM.to_owned(), content);
    }
}

/// What a status says of an operation.
fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "The operation is done.",
        "202" => "The command is stored, and is carried out now.",
        "201" => "The thing was made.",
        "304" => "The document is as it was.",
        "400" => "The input cannot be read.",
        "401" => "A valid token is needed.",
        "403" => "The caller may not do this, with every reason.",
        "404" => "There is no such thing.",
        "409" => "The state does not permit this now, with every reason.",
        "413" => "The body is too long.",
        "422" => "The content is refused, with every reason.",
        "503" => "The operation cannot be answered now: try again later.",
        "504" => "The cloud did not answer in time.",
        _ => "Another answer.",
    }
}
