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
    self as app, Error, Extending,
    ports::{Cursor, GrantFilter, PageAsked, Store},
};
use portcullis_domain::{GrantId, RequestId};
use std::sync::Arc;

/// Grants, the newest first.
#[utoipa::path(get, path = "/v1/grants", params(GrantsQuery), responses((status = 200, body = Listed<GrantView>)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    _: Caller,
    Query(query): Query<GrantsQuery>,
) -> Result<Json<Listed<GrantView>>, Problem> {
    let of = GrantFilter {
        target: query.target.as_deref().map(parsed).transpose()?,
        by: query.by.as_deref().map(parsed).transpose()?,
        unclosed: query.unclosed.unwrap_or_default(),
        request: None,
    };
    let page = PageAsked { after: query.after.map(Cursor), at_most: limit(query.limit)? };
    let page = site.store().grants(&of, &page).await?;
    let now = site.now();
    let items = page.items.iter().map(|it| GrantView::of(it, now)).collect();
    Ok(Json(Listed { items, next: page.next.map(|it| it.0), unseen: vec![] }))
}

/// One grant.
#[utoipa::path(get, path = "/v1/grants/{grant}", params(("grant" = String, Path)),
    responses((status = 200, body = GrantView), (status = 404, body = Problem)))]
pub(crate) async fn show<S: Site>(
    State(site): State<Arc<S>>,
    _: Caller,
    Named(id): Named<GrantId>,
) -> Result<Json<GrantView>, Problem> {
    let found = site.store().grant(&id).await?;
    let grant = found.ok_or_else(|| Error::NotFound { what: "grant", name: id.to_string() })?;
    Ok(Json(GrantView::of(&grant, site.now())))
}

/// Ends a lease now. Closing what is over is success.
#[utoipa::path(post, path = "/v1/grants/{grant}/close", params(("grant" = String, Path),
    ("X-Correlation-Id" = Option<String>, Header, description = "every event that answers it names it")),
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
    let grant = app::close(site.store(), &id, &caller.person, correlation.as_ref(), site.now()).await?;
    belongs_to(correlation.as_ref().or(grant.correlation.as_ref()), &grant.request);
    Ok(Json(GrantView::of(&grant, site.now())))
}

/// Asks for a later end: decided like a request, and may wait for an approval like one.
#[utoipa::path(post, path = "/v1/grants/{grant}/extend", params(("grant" = String, Path),
    ("Idempotency-Key" = Option<String>, Header, description = "the same key is the same request"),
    ("X-Correlation-Id" = Option<String>, Header, description = "every event that answers it names it")),
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
    let asked = |(Named(id), Body(body)): (Named<GrantId>, Body<ExtendBody>)| {
        Ok(Extending {
            by: caller.person.clone(),
            key: key(&headers, now)?,
            grant: id,
            end: body.until,
            justification: body.justification.as_deref().map(parsed).transpose()?,
            correlation: correlation(&headers)?,
        })
    };
    let asked = match grant.and_then(|it| Ok((it, body?))).and_then(asked) {
        Ok(asked) => asked,
        Err(problem) => return Err(unread(&*site, &caller, &headers, problem, now).await),
    };
    belongs_to(asked.correlation.as_ref(), &RequestId::derived(&asked.by, &asked.key));
    let answer = app::extend(site.store(), site.terms(), asked, now).await?;
    Ok((StatusCode::ACCEPTED, Json(views::answer(&answer, now))))
}
