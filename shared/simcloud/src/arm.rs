//! Azure Resource Manager: who may call, what is planned to go wrong, and what is answered.

use crate::{
    Call, Simcloud, admin,
    cloud::Cloud,
    faults::{Fault, On},
    graph,
    kind::Kind,
    path::Place,
    peer::{BODY_MAX, Base},
    permissions::links,
    refused::Refused,
    rule::etag_text,
    write::{Accepted, Conditions, another_operation},
};
use axum::{
    Extension, Json,
    body::{Body, Bytes, to_bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::time::sleep;

/// The years that api-versions may be of: those that real clients send.
const YEARS: std::ops::RangeInclusive<i16> = 2015..=2030;

/// A call, and when it came.
struct Asked {
    method: Method,
    path: String,
    /// What the path names, if anything.
    place: Option<Place>,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
    base: String,
    now: Timestamp,
}

/// Answers a call, or cuts the connection where that is planned.
pub async fn answer(State(simcloud): State<Arc<Simcloud>>, Base(base): Base, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        let message = "The request is too long.";
        return Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestContentTooLarge", message)
            .into_response();
    };
    let response = answered(&simcloud, base, parts, body);
    if response.extensions().get::<Silence>().is_some() {
        sleep(SILENCE).await;
    }
    response
}

fn answered(simcloud: &Simcloud, base: String, parts: Parts, body: Bytes) -> Response {
    let query = Query::try_from_uri(&parts.uri).map_or_else(|_| BTreeMap::new(), |Query(it)| it);
    let (mut cloud, now) = simcloud.now();
    let path = parts.uri.path().to_owned();
    let (method, place, headers) = (parts.method, Place::of(&path), parts.headers);
    let asked = Asked { method, path, place, query, headers, body, base, now };
    let (response, is_cut) = asked.answer(&mut cloud);
    let status = if is_cut { 0 } else { response.status().as_u16() };
    let linked = asked.links();
    let action = asked.place.map(|it| it.action(&asked.method));
    simcloud.remember(Call { method: asked.method.to_string(), path: asked.path, action, linked, status });
    let mut response = if is_cut { cut() } else { response };
    if let Ok(n) = HeaderValue::try_from(format!("00000000-0000-4000-9000-{:012x}", cloud.next())) {
        response.headers_mut().insert("x-ms-request-id", n);
    }
    response
}

/// How long an answer that is planned to be missing is kept back.
const SILENCE: Duration = Duration::from_mins(1);

/// Marks an answer that is planned to be missing.
#[derive(Debug, Clone, Copy)]
struct Silence;

impl Asked {
    fn answer(&self, cloud: &mut Cloud) -> (Response, bool) {
        let place = match self.admit(cloud) {
            Ok(place) => place,
            Err(refused) => return (refused.into_response(), false),
        };
        let is_write = self.method == Method::PUT || self.method == Method::DELETE;
        let on = if is_write { On::Write } else { On::Read };
        let (header, left) = cloud.spent.count(on, &cloud.faults, self.now);
        let (mut response, is_cut) = self.answer_admitted(cloud, place, on);
        response.headers_mut().insert(header, left.into());
        (response, is_cut)
    }

    /// The actions that are needed on what the body names.
    fn links(&self) -> Vec<String> {
        match (self.method.as_str(), &self.place) {
            ("PUT", Some(Place::Resource { kind: Kind::Firewall, .. })) => {
                let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
                links(&body).into_iter().map(|(action, _)| action.to_owned()).collect()
            }
            (_, _) => vec![],
        }
    }

    fn answer_admitted(&self, cloud: &mut Cloud, place: &Place, on: On) -> (Response, bool) {
        let permitted = cloud.permit(place, &self.method, &self.path);
        if let Err(refused) = permitted.and_then(|()| cloud.restrict(&self.method, &self.path)) {
            return (refused.into_response(), false);
        }
        let left = cloud.faults.left();
        let fault = cloud.faults.strike(on);
        if cloud.faults.left() != left {
            cloud.has_changed();
        }
        let done = |cloud: &mut Cloud| match self.dispatch(cloud, place, fault) {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        };
        match fault {
            Some(Fault::Throttled { retry_after_secs }) => {
                let message = "The request is being throttled as the limit of requests was reached.";
                let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
                (refused.after(retry_after_secs).into_response(), false)
            }
            Some(Fault::AnotherOperation) => (another_operation().into_response(), false),
            Some(Fault::Broken) => {
                let message = "The server encountered an internal error. Please retry the request.";
                let refused = Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message);
                (refused.into_response(), false)
            }
            Some(Fault::Silent) => ((StatusCode::OK, Extension(Silence)).into_response(), false),
            Some(Fault::Unanswered { done: false }) => (StatusCode::OK.into_response(), true),
            Some(Fault::Unanswered { done: true }) => (done(cloud), true),
            Some(Fault::WrittenBack { millis }) => {
                let before = cloud.whole_group(place);
                let response = done(cloud);
                if response.status().is_success()
                    && let Some(before) = before
                {
                    cloud.write_back(before, SignedDuration::from_millis(millis.into()), self.now);
                }
                (response, false)
            }
            Some(Fault::Late { .. }) | None => (done(cloud), false),
        }
    }

    /// What is asked for, if the call may be made at all.
    fn admit(&self, cloud: &Cloud) -> Result<&Place, Refused> {
        let Some(version) = self.query.get("api-version") else {
            let message = "The api-version query parameter (?api-version=) is required for all requests.";
            return Err(Refused::bad("MissingApiVersionParameter", message));
        };
        let date = version.get(..10).filter(|_| matches!(version.get(10..), Some("" | "-preview")));
        let year = date.and_then(|it| it.parse::<Date>().ok()).map(Date::year);
        if year.is_none_or(|it| !YEARS.contains(&it)) {
            let message = format!("The api-version '{version}' is invalid.");
            return Err(Refused::bad("InvalidApiVersionParameter", message));
        }
        let bearer = self.headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let token = bearer.and_then(|it| it.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, it)| it);
        let Some(token) = token else {
            let message = "Authentication failed. The 'Authorization' header is missing.";
            return Err(Refused::unauthenticated("AuthenticationFailed", message));
        };
        match cloud.tokens.get(token.trim()) {
            Some(until) if self.now < *until => {}
            Some(_) => {
                let message = "The access token has expired.";
                return Err(Refused::unauthenticated("ExpiredAuthenticationToken", message));
            }
            None => {
                if let Some(claims) = &cloud.claims {
                    return Err(Refused::insufficient(claims));
                }
                let message = "The access token is invalid.";
                return Err(Refused::unauthenticated("InvalidAuthenticationToken", message));
            }
        }
        let nothing = || {
            let message = format!("There is no resource type at '{}' in this simulator.", self.path);
            Refused::new(StatusCode::NOT_FOUND, "InvalidResourceType", message)
        };
        self.place.as_ref().ok_or_else(nothing)
    }

    fn dispatch(&self, cloud: &mut Cloud, place: &Place, fault: Option<Fault>) -> Result<Response, Refused> {
        let conditions = Conditions::of(&self.headers);
        match (self.method.as_str(), place) {
            ("GET", place) => self.get(cloud, place),
            ("POST", Place::Graph) => graph::answer(cloud, &self.body).map(json_response),
            ("POST", Place::AdminRules { network }) => {
                admin::answer(cloud, network, &self.body).map(json_response)
            }
            ("PUT", Place::Child { of: Kind::SecurityGroup, id, name }) => {
                let accepted = cloud.put_rule(id, name, &self.body, &conditions, fault, self.now)?;
                Ok(self.accepted(cloud, accepted))
            }
            ("DELETE", Place::Child { of: Kind::SecurityGroup, id, name }) => {
                let accepted = cloud.delete_rule(id, name, &conditions, fault, self.now)?;
                Ok(self.accepted(cloud, accepted))
            }
            ("PUT", Place::Resource { kind: Kind::SecurityGroup, id }) => {
                let accepted = cloud.put_group(id, &self.body, &conditions, fault, self.now)?;
                Ok(self.accepted(cloud, accepted))
            }
            ("PUT", Place::Resource { kind: Kind::Firewall, id }) => {
                let accepted = cloud.put_firewall(id, &self.body, &conditions, fault, self.now)?;
                Ok(self.accepted(cloud, accepted))
            }
            ("PUT", Place::JitPolicy { subscription: of, group, location, id, name }) => {
                subscription(cloud, of)?;
                let group = own_group(cloud, group)?["id"].as_str().unwrap_or_default().to_owned();
                cloud.put_jit_policy(id, (&group, location, name), &self.body).map(json_response)
            }
            ("DELETE", Place::JitPolicy { id, .. }) => {
                let is_gone = cloud.delete_jit_policy(id);
                Ok(if is_gone { StatusCode::OK } else { StatusCode::NO_CONTENT }.into_response())
            }
            (method, _) => {
                let message = format!("`{method}` is not simulated for '{}'.", self.path);
                Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message))
            }
        }
    }

    fn get(&self, cloud: &Cloud, place: &Place) -> Result<Response, Refused> {
        let subscription = |id: &str| subscription(cloud, id);
        let group = |id: &str| own_group(cloud, id);
        match place {
            Place::Subscriptions => self.page(cloud, vec![subscription(&cloud.subscription)?]),
            Place::Subscription { subscription: id } => subscription(id).map(json_response),
            Place::Groups { subscription: id } => {
                subscription(id)?;
                self.page(cloud, cloud.groups.values().cloned().collect())
            }
            Place::Group { subscription: of, id } => {
                subscription(of)?;
                group(id).cloned().map(json_response)
            }
            Place::Resources { subscription: of, group: within, kind } => {
                subscription(of)?;
                within.as_deref().map(group).transpose()?;
                let below = format!("{}/", within.as_deref().unwrap_or_default());
                let all = cloud
                    .resources
                    .iter()
                    .filter(|(id, it)| it.kind == *kind && (within.is_none() || id.starts_with(&below)));
                self.page_of(cloud, all.collect(), |page| cloud.shown_all(page))
            }
            Place::Resource { kind, id } => {
                let resource = cloud.resource(*kind, id)?;
                Ok(tagged(cloud.shown(id, resource)))
            }
            Place::Children { of, id } => self.page(cloud, children(cloud, *of, id)?),
            Place::Child { of, id, name } => {
                let is_it = |it: &Value| it["name"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(name));
                let found = children(cloud, *of, id)?.into_iter().find(is_it);
                found.map(tagged).ok_or_else(|| Refused::no_resource(&self.path))
            }
            Place::Operation { id, is_result } => self.operation(cloud, id, *is_result),
            Place::Permissions { subscription: of, group: within } => {
                subscription(of)?;
                within.as_deref().map(group).transpose()?;
                self.page(cloud, vec![cloud.permissions.shown()])
            }
            Place::Locks { subscription: of } => {
                subscription(of)?;
                self.page(cloud, cloud.locks(&format!("/subscriptions/{of}")))
            }
            Place::JitPolicies { subscription: of, group: within, location } => {
                subscription(of)?;
                within.as_deref().map(group).transpose()?;
                self.page(cloud, cloud.jit_policies(within.as_deref(), location.as_deref()))
            }
            Place::JitPolicy { id, .. } => cloud.jit_policy(id).cloned().map(json_response),
            Place::Graph | Place::AdminRules { .. } => {
                let message = "`GET` is not simulated for what is asked by `POST`.";
                Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message))
            }
        }
    }

    /// How a write is getting on.
    fn operation(&self, cloud: &Cloud, id: &str, is_result: bool) -> Result<Response, Refused> {
        let n = id.rsplit('-').next().and_then(|it| u64::from_str_radix(it, 16).ok());
        let operation = n.and_then(|it| cloud.operations.get(&it)).ok_or_else(|| Refused::no_resource(id))?;
        let is_done = operation.done_at <= self.now;
        Ok(match (is_result, is_done) {
            (true, true) => StatusCode::NO_CONTENT.into_response(),
            (true, false) => asking_again(cloud, StatusCode::ACCEPTED.into_response()),
            (false, true) => json_response(json!({ "status": "Succeeded" })),
            (false, false) => asking_again(cloud, json_response(json!({ "status": "InProgress" }))),
        })
    }

    /// What a write that was accepted is answered with.
    fn accepted(&self, cloud: &Cloud, mut accepted: Accepted) -> Response {
        let is_done = |n: &u64| cloud.operations.get(n).is_some_and(|it| it.done_at <= self.now);
        if accepted.operation.as_ref().is_some_and(|(n, _)| is_done(n)) {
            accepted = accepted.at_once();
        }
        let mut response = accepted.status.into_response();
        if let Some(body) = accepted.body {
            response = (accepted.status, Json(body)).into_response();
        }
        let headers = response.headers_mut();
        let mut set = |name: &'static str, text: String| {
            if let Ok(text) = HeaderValue::try_from(text) {
                headers.insert(name, text);
            }
        };
        let is_under_way = accepted.operation.is_some();
        if let Some((n, location)) = accepted.operation {
            let version = self.query.get("api-version").map_or("", String::as_str);
            let link = |what: &str| {
                let (base, subscription) = (&self.base, &cloud.subscription);
                format!(
                    "{base}/subscriptions/{subscription}/providers/Microsoft.Network/locations/{location}/{what}/00000000-0000-4000-a000-{n:012x}?api-version={version}"
                )
            };
            if !cloud.faults.location_only {
                set("azure-asyncoperation", link("operations"));
            }
            if accepted.status == StatusCode::ACCEPTED {
                set("location", link("operationResults"));
            }
        }
        if let Some(etag) = accepted.etag {
            set("etag", etag);
        }
        if is_under_way { asking_again(cloud, response) } else { response }
    }

    /// The page of a list that was asked for, with a link to the next.
    fn page(&self, cloud: &Cloud, items: Vec<Value>) -> Result<Response, Refused> {
        self.page_of(cloud, items, |page| page)
    }

    /// The same of what is shown only where it is on the page: long lists have many pages.
    fn page_of<T>(
        &self,
        cloud: &Cloud,
        items: Vec<T>,
        show: impl FnOnce(Vec<T>) -> Vec<Value>,
    ) -> Result<Response, Refused> {
        let skip: usize = match self.query.get("$skiptoken") {
            Some(token) => {
                let parsed = token.parse();
                parsed.map_err(|_| Refused::bad("InvalidSkipToken", "The skip token is not one of ours."))?
            }
            None => 0,
        };
        let size = usize::from(cloud.faults.page_size.max(1));
        let next = skip.saturating_add(size);
        let is_more = next < items.len();
        let mut body = json!({ "value": show(items.into_iter().skip(skip).take(size).collect()) });
        if is_more {
            let version = self.query.get("api-version").map_or("", String::as_str);
            let link = format!("{}{}?api-version={version}&$skiptoken={next}", self.base, self.path);
            body["nextLink"] = json!(link);
        }
        Ok(json_response(body))
    }
}

/// A subscription as ARM shows it: there is one.
fn subscription(cloud: &Cloud, id: &str) -> Result<Value, Refused> {
    if id == cloud.subscription {
        return Ok(json!({
            "id": format!("/subscriptions/{id}"), "subscriptionId": id, "tenantId": cloud.tenant,
            "displayName": "Simulated", "state": "Enabled",
        }));
    }
    let message = format!("The subscription '{id}' could not be found.");
    Err(Refused::new(StatusCode::NOT_FOUND, "SubscriptionNotFound", message))
}

/// A resource group as it writes itself.
fn own_group<'a>(cloud: &'a Cloud, id: &str) -> Result<&'a Value, Refused> {
    cloud.groups.get(id).ok_or_else(|| {
        let message = format!("Resource group '{id}' could not be found.");
        Refused::new(StatusCode::NOT_FOUND, "ResourceGroupNotFound", message)
    })
}

fn children(cloud: &Cloud, of: Kind, id: &str) -> Result<Vec<Value>, Refused> {
    let resource = cloud.resource(of, id)?;
    Ok(match of {
        Kind::SecurityGroup => cloud.shown_rules(id),
        Kind::VirtualNetwork => {
            let subnets = resource.body["properties"]["subnets"].as_array().cloned().unwrap_or_default();
            let tag = |mut it: Value| {
                it["etag"] = json!(etag_text(resource.etag));
                it
            };
            subnets.into_iter().map(tag).collect()
        }
        Kind::VirtualMachine
        | Kind::ClassicMachine
        | Kind::NetworkInterface
        | Kind::PublicIpAddress
        | Kind::ApplicationGroup
        | Kind::Firewall
        | Kind::LoadBalancer => vec![],
    })
}

/// An answer that says when to ask again, where that is said.
fn asking_again(cloud: &Cloud, mut response: Response) -> Response {
    let secs = cloud.faults.retry_after_secs;
    if 0 < secs {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

fn json_response(body: Value) -> Response {
    Json(body).into_response()
}

/// A resource, with its etag as a header too.
fn tagged(body: Value) -> Response {
    let etag = body["etag"].as_str().and_then(|it| HeaderValue::try_from(it).ok());
    let mut response = json_response(body);
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// No answer: the server gives up on the body before it has sent the head, and closes the connection.
fn cut() -> Response {
    let error = || Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionAborted));
    Response::new(Body::from_stream(stream::once(std::future::ready(error()))))
}
