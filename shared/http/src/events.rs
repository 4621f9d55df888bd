//! Events over HTTP: what happened, and what bots ask for.

use crate::{
    Caller, Problem, Site,
    problem::Query,
    requests::parsed,
    views,
    wire::{EventsQuery, GrantView, HappenedView, SubmittedView},
};
use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
};
use portcullis_app::{self as app, EVENT_MAX, Incoming, Submitted, perform, query};
use portcullis_domain::CorrelationId;
use std::sync::Arc;

/// What happened since a time, the oldest first. Ask again with its `next`: what is told twice has the same id.
#[utoipa::path(get, path = "/v1/events", params(EventsQuery), responses((status = 200, body = HappenedView)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(query): Query<EventsQuery>,
) -> Result<Json<HappenedView>, Problem> {
    let of: Option<CorrelationId> = query.correlation.as_deref().map(parsed).transpose()?;
    let now = site.now();
    let asked = query::Happened { since: query.since.unwrap_or(now), of };
    let happened = perform(site.parts(), &caller.call(now), asked).await?;
    Ok(Json(views::happened(happened)))
}

/// An event of a bot: `detail-type`, `id` and `detail`. Its source is whoever calls, and the policy of bots says
/// for whom they may speak. A bad event is answered, recorded, and told as `request.refused`.
#[utoipa::path(post, path = "/v1/events", request_body = Object, responses((status = 202, body = SubmittedView)))]
pub(crate) async fn submit<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<SubmittedView>), Problem> {
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(Problem::too_large(EVENT_MAX));
        }
        Err(rejection) => return Err(Problem::bad_input(rejection.body_text())),
    };
    let incoming =
        Incoming { body: &body, source: Some(caller.principal.id.as_str()), has_archive: site.has_archive() };
    let now = site.now();
    let view = match app::submit(site.store(), site.terms(), site.bots(), incoming, now).await? {
        Submitted::Answered(answer) => {
            SubmittedView { answer: Some(views::answer(&answer, now)), ..SubmittedView::accepted() }
        }
        Submitted::Closed(grant) => {
            SubmittedView { closed: Some(GrantView::of(&grant, now)), ..SubmittedView::accepted() }
        }
        Submitted::Exporting | Submitted::Exported => SubmittedView::accepted(),
        Submitted::Refused(reasons) => {
            SubmittedView { accepted: false, reasons, ..SubmittedView::accepted() }
        }
    };
    Ok((StatusCode::ACCEPTED, Json(view)))
}
