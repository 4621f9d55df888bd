//! Living leases: list, close early, extend.

use crate::{
    Caller, Problem, Site,
    meta::{belongs_to, correlation, key, limit},
    problem::{Body, Named, Query},
    requests::{parsed, unread},
    views,
    wire::{AnswerView, ExtendBody, GrantView, GrantsQuery, Listed},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use portcullis_app::{
    Call, command, perform,
    ports::{Cursor, GrantFilter, PageAsked},
    query,
};
use portcullis_domain::{GrantId, RequestId};
use std::sync::Arc;

/// Lists grants, the newest first.
#[utoipa::path(get, path = "/v1/grants", params(GrantsQuery), responses((status = 200, body = Listed<GrantView>)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(query): Query<GrantsQuery>,
) -> Result<Json<Listed<GrantView>>, Problem> {
    let of = GrantFilter {
        target: query.target.as_deref().map(parsed).transpose()?,
        by: query.by.as_deref().map(parsed).transpose()?,
        unclosed: query.unclosed.unwrap_or_default(),
        request: None,
    };
    let page = PageAsked { after: query.after.map(Cursor), at_most: limit(query.limit)? };
    let now = site.now();
    let page = perform(site.parts(), &caller.call(now), query::Grants { of, page }).await?;
    let items = page.items.iter().map(|it| GrantView::of(it, now)).collect();
    Ok(Json(Listed { items, next: page.next.map(|it| it.0), unseen: vec![] }))
}

/// Shows one grant.
#[utoipa::path(get, path = "/v1/grants/{grant}", params(("grant" = String, Path)),
    responses((status = 200, body = GrantView), (status = 404, body = Problem)))]
pub(crate) async fn show<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(id): Named<GrantId>,
) -> Result<Json<GrantView>, Problem> {
    let now = site.now();
    let grant = perform(site.parts(), &caller.call(now), query::ShowGrant(id)).await?;
    Ok(Json(GrantView::of(&grant, now)))
}

/// Ends a lease now. Closing a lease that is over succeeds.
#[utoipa::path(post, path = "/v1/grants/{grant}/close", params(("grant" = String, Path),
    ("X-Correlation-Id" = Option<String>, Header, description = "The caller's own id for the request. Every \
        event about it carries the id.")),
    responses((status = 200, body = GrantView), (status = 404, body = Problem)))]
pub(crate) async fn close<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    headers: HeaderMap,
    Named(id): Named<GrantId>,
) -> Result<Json<GrantView>, Problem> {
    let correlation = correlation(&headers)?;
    if let Some((request, _)) = id.derivation() {
        belongs_to(correlation.as_ref(), &request);
    }
    let call = Call { correlation, ..caller.call(site.now()) };
    let grant = perform(site.parts(), &call, command::Close { grant: id }).await?;
    belongs_to(call.correlation.as_ref().or(grant.correlation.as_ref()), &grant.request);
    Ok(Json(GrantView::of(&grant, site.now())))
}

/// Requests a later end of a lease. It is decided like a request, and may wait for an approval.
#[utoipa::path(post, path = "/v1/grants/{grant}/extend", params(("grant" = String, Path),
    ("Idempotency-Key" = Option<String>, Header, description = "The key of the request. A repeated call with \
        the same key is the same request."),
    ("X-Correlation-Id" = Option<String>, Header, description = "The caller's own id for the request. Every \
        event about it carries the id.")),
    request_body = ExtendBody,
    responses((status = 202, body = AnswerView), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn extend<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    headers: HeaderMap,
    grant: Result<Named<GrantId>, Problem>,
    body: Result<Body<ExtendBody>, Problem>,
) -> Result<(StatusCode, Json<AnswerView>), Problem> {
    let now = site.now();
    let asked = |(Named(grant), Body(body)): (Named<GrantId>, Body<ExtendBody>)| {
        let call =
            Call { key: key(&headers)?, correlation: correlation(&headers)?, ..caller.clone().call(now) };
        let justification = body.justification.as_deref().map(parsed).transpose()?;
        Ok((call, command::Extend { grant, end: body.until, justification }))
    };
    let (call, extend) = match grant.and_then(|it| Ok((it, body?))).and_then(asked) {
        Ok(asked) => asked,
        Err(problem) => return Err(unread(&*site, &caller, &headers, problem, now).await),
    };
    belongs_to(call.correlation.as_ref(), &RequestId::derived(call.by(), &call.key()));
    let answer = perform(site.parts(), &call, extend).await?;
    Ok((StatusCode::ACCEPTED, Json(views::answer(site.store(), &answer, now).await)))
}
