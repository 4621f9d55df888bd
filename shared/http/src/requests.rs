//! Asking: initiate, explain, and what somebody says to a request that waits.

use crate::{
    Caller, Happened, Problem, Site,
    meta::{belongs_to, correlation, key, limit, patience},
    patience::Patient,
    problem::{Body, Named, Query},
    views,
    wire::{
        AnswerView, ApproveBody, AskBody, ExplainQuery, GrantView, InitiateBody, Listed, RejectBody,
        RequestView, RequestsQuery, ReviewView,
    },
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use portcullis_app::{
    Call, Unreadable, command, perform,
    ports::{Cursor, PageAsked, RequestFilter},
    query, refuse_unreadable,
};
use portcullis_domain::{
    Ask, Justification, Outcome, Request, RequestId, RequestState, Review, Sources, Window,
};
use std::{fmt::Display, str::FromStr, sync::Arc};

/// How many grants of a list of requests are read at once.
const AT_ONCE_MAX: usize = 16;

/// Requests ports. The answer is a request with its grants, or one that waits for an approval.
#[utoipa::path(post, path = "/v1/requests", request_body = InitiateBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The key of the request. A repeated \
        call with the same key is the same request."),
        ("X-Correlation-Id" = Option<String>, Header, description = "The caller's own id for the request. \
            Every event about it carries the id.")),
    responses((status = 202, body = AnswerView), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn initiate<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Body<InitiateBody>, Problem>,
) -> Result<(StatusCode, Json<AnswerView>), Problem> {
    let now = site.now();
    let (call, initiate) = match body.and_then(|Body(body)| asked(&caller, &headers, &body, now)) {
        Ok(asked) => asked,
        Err(problem) => return Err(unread(&*site, &caller, &headers, problem, now).await),
    };
    let answer = perform(site.parts(), &call, initiate).await?;
    Ok((StatusCode::ACCEPTED, Json(views::answer(site.store(), &answer, now).await)))
}

/// Records that a request cannot be read, and why; what comes of it is why, or that it could not be recorded.
pub(crate) async fn unread<S: Site>(
    site: &S,
    caller: &Caller,
    headers: &HeaderMap,
    problem: Problem,
    now: Timestamp,
) -> Problem {
    let is_within = site.strangers().is_none_or(|it| it.happened(Happened::Unreadable, caller.address, now));
    if !is_within {
        return Problem::too_often("too many unreadable requests from your address");
    }
    let name = caller.principal.id.to_string();
    let input = Unreadable {
        source: name.clone(),
        kind: Some("access.request".to_owned()),
        event: String::new(),
        on_behalf_of: Some(name),
        reasons: vec![("unreadable", problem.0.detail.clone())],
        correlation: correlation(headers).ok().flatten(),
        via: Some(caller.via.clone()),
    };
    let recorded = refuse_unreadable(site.store(), input, now).await;
    recorded.err().map_or(problem, Problem::from)
}

/// Previews the review of a request, with every reason, and with `wait` the foreign denies that its leases would meet. It writes no
/// entry.
#[utoipa::path(post, path = "/v1/requests/explain", request_body = InitiateBody, params(ExplainQuery),
    responses((status = 200, body = ReviewView)))]
pub(crate) async fn explain<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<ExplainQuery>,
    Body(body): Body<InitiateBody>,
) -> Result<Json<ReviewView>, Problem> {
    let now = site.now();
    let wait = query.wait.map(|it| patience(Some(it))).transpose()?.unwrap_or_default();
    let (call, initiate) = asked(&caller, &headers, &body, now)?;
    let review = perform(site.parts(), &call, query::Explain(initiate.clone())).await?;
    let permitted_by = match &review {
        Review::Allowed(_) | Review::NeedsApproval { .. } => {
            perform(site.parts(), &call, query::Permitting(initiate)).await?
        }
        Review::Refused(_) => vec![],
    };
    let view = ReviewView { permitted_by, ..views::review(&review, now) };
    let grants = match review {
        Review::Allowed(Outcome::Granted(grants))
        | Review::NeedsApproval { outcome: Outcome::Granted(grants), .. } => grants,
        Review::Allowed(Outcome::Extended { .. })
        | Review::NeedsApproval { outcome: Outcome::Extended { .. }, .. }
        | Review::Refused(_) => vec![],
    };
    if wait.is_zero() || grants.is_empty() {
        return Ok(Json(view));
    }
    let cloud = Patient::new(&site, wait);
    Ok(Json(match perform(site.parts_with(&cloud), &call, query::Foresee(grants)).await {
        Ok(met) => ReviewView { denies: met.into_iter().map(views::foreseen).collect(), ..view },
        Err(error) => ReviewView { unseen: Some(error.full()), ..view },
    }))
}

/// Lists requests, the newest first.
#[utoipa::path(get, path = "/v1/requests", params(RequestsQuery), responses((status = 200, body = Listed<RequestView>)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(query): Query<RequestsQuery>,
) -> Result<Json<Listed<RequestView>>, Problem> {
    let states = RequestState::WORDS;
    if let Some(state) = query.state.as_deref().filter(|it| !states.contains(it)) {
        return Err(Problem::bad_input(format!(
            "`{state}` is not a state of requests: {}",
            states.join(", ")
        )));
    }
    let by = query.by.as_deref().map(parsed).transpose()?;
    let page = PageAsked { after: query.after.map(Cursor), at_most: limit(query.limit)? };
    let of = RequestFilter { state: query.state, by };
    let now = site.now();
    let page = perform(site.parts(), &caller.call(now), query::Requests { of, page }).await?;
    let store = site.store();
    let view = |request: Request| async move { views::request(store, &request, now).await };
    let items = stream::iter(page.items).map(view);
    let items = items.buffered(AT_ONCE_MAX).try_collect().await?;
    Ok(Json(Listed { items, next: page.next.map(|it| it.0), unseen: vec![] }))
}

/// Shows one request, with its grants as they are now.
#[utoipa::path(get, path = "/v1/requests/{request}", params(("request" = String, Path)),
    responses((status = 200, body = RequestView), (status = 404, body = Problem)))]
pub(crate) async fn show<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(id): Named<RequestId>,
) -> Result<Json<RequestView>, Problem> {
    let now = site.now();
    let answer = perform(site.parts(), &caller.call(now), query::ShowRequest(id)).await?;
    let grants = answer.grants.iter().map(|it| GrantView::of(it, now)).collect();
    Ok(Json(RequestView { grants, ..views::request(site.store(), &answer.request, now).await? }))
}

/// Approves a request as it was shown.
#[utoipa::path(post, path = "/v1/requests/{request}/approve", params(("request" = String, Path)),
    request_body = ApproveBody,
    responses((status = 200, body = AnswerView), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn approve<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(id): Named<RequestId>,
    Body(body): Body<ApproveBody>,
) -> Result<Json<AnswerView>, Problem> {
    let now = site.now();
    belongs_to(None, &id);
    let approve = command::Approve { request: id.clone(), shown: body.shown };
    let answer = perform(site.parts(), &caller.call(now), approve).await?;
    belongs_to(answer.request.correlation.as_ref(), &id);
    Ok(Json(views::answer(site.store(), &answer, now).await))
}

/// Rejects a request as it was shown.
#[utoipa::path(post, path = "/v1/requests/{request}/reject", params(("request" = String, Path)),
    request_body = RejectBody,
    responses((status = 200, body = AnswerView), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn reject<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(id): Named<RequestId>,
    Body(body): Body<RejectBody>,
) -> Result<Json<AnswerView>, Problem> {
    let now = site.now();
    let why: Option<Justification> = body.why.as_deref().map(parsed).transpose()?;
    belongs_to(None, &id);
    let reject = command::Reject { request: id.clone(), shown: Some(body.shown), why };
    let answer = perform(site.parts(), &caller.call(now), reject).await?;
    belongs_to(answer.request.correlation.as_ref(), &id);
    Ok(Json(views::answer(site.store(), &answer, now).await))
}

/// Withdraws a request that waits for an approval: its requester may. Withdrawing it again succeeds.
#[utoipa::path(post, path = "/v1/requests/{request}/withdraw", params(("request" = String, Path),
    ("X-Correlation-Id" = Option<String>, Header, description = "The caller's own id for the request. Every \
        event about it carries the id.")),
    responses((status = 200, body = AnswerView), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn withdraw<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    headers: HeaderMap,
    Named(id): Named<RequestId>,
) -> Result<Json<AnswerView>, Problem> {
    let now = site.now();
    let correlation = correlation(&headers)?;
    belongs_to(correlation.as_ref(), &id);
    let call = Call { correlation, ..caller.call(now) };
    let answer = perform(site.parts(), &call, command::Withdraw { request: id.clone() }).await?;
    belongs_to(call.correlation.as_ref().or(answer.request.correlation.as_ref()), &id);
    Ok(Json(views::answer(site.store(), &answer, now).await))
}

/// Parses, and answers what cannot be parsed in its own words.
pub(crate) fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|it: T::Err| Problem::bad_input(it.to_string()))
}

fn asked(
    caller: &Caller,
    headers: &HeaderMap,
    body: &InitiateBody,
    now: Timestamp,
) -> Result<(Call, command::Initiate), Problem> {
    let asks = body.asks.iter().map(|it| ask(caller, it)).collect::<Result<_, _>>()?;
    let justification = body.justification.as_deref().map(parsed).transpose()?;
    let call = Call { key: key(headers)?, correlation: correlation(headers)?, ..caller.clone().call(now) };
    belongs_to(call.correlation.as_ref(), &RequestId::derived(call.by(), &call.key()));
    Ok((call, command::Initiate { asks, break_glass: body.break_glass, justification }))
}

fn ask(caller: &Caller, body: &AskBody) -> Result<Ask, Problem> {
    let window = match (body.start, body.length, body.until) {
        (None, Some(length), None) => Window::For(length),
        (None, None, Some(end)) => Window::Until(end),
        (Some(start), Some(length), None) => Window::From { start, length },
        (Some(start), None, Some(end)) => Window::From { start, length: end.duration_since(start) },
        (_, Some(_), Some(_)) | (_, None, None) => {
            return Err(Problem::bad_input("each port needs either `for` or `until`"));
        }
    };
    let mine = || {
        caller
            .address
            .ok_or_else(|| Problem::bad_input("the address of the caller is unknown: name the sources"))
    };
    let mut ranges = vec![];
    for text in body.sources.as_deref().unwrap_or(&["my-ip".to_owned()]) {
        let sources: Sources = if text == "my-ip" { mine()?.into() } else { parsed(text)? };
        ranges.extend(sources.ranges().to_vec());
    }
    let sources = Sources::of(ranges);
    Ok(Ask { target: body.target.clone(), port: body.port, protocol: body.protocol, sources, window })
}
