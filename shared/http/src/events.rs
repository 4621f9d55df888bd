//! Events over HTTP: what happened, and what bots ask for.

use crate::{
    Caller, Problem, Site, Stop,
    meta::patience,
    problem::Query,
    requests::parsed,
    views,
    waiting::Waiting,
    wire::{EventsQuery, GrantView, HappenedView, SubmittedView},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
};
use portcullis_app::{self as app, EVENT_MAX, Incoming, Reached, Submitted, Wanted, perform, query};
use std::sync::Arc;

/// Lists events since a time, the oldest first. Ask again with the `cursor` of the answer as `after`: no event is repeated. With
/// its `next` as `since`, some events are repeated with the same id.
#[utoipa::path(get, path = "/v1/events", params(EventsQuery), responses((status = 200, body = HappenedView)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    stop: Option<Extension<Stop>>,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> Result<Json<HappenedView>, Problem> {
    let EventsQuery { since, after, correlation, request, wait } = query;
    let wanted = Wanted {
        correlation: correlation.as_deref().map(parsed).transpose()?,
        request: request.as_deref().map(parsed).transpose()?,
    };
    let mut from: Reached = match (since, after) {
        (Some(_), Some(_)) => return Err(Problem::bad_input("give either `since` or `after`")),
        (None, Some(after)) => parsed(&after)?,
        (since, None) => Reached::time(since.unwrap_or_else(|| site.now())),
    };
    // Before the table is read, so that no commit falls between.
    let wait = wait.map(|it| patience(Some(it))).transpose()?.unwrap_or_default();
    let mut waiting = Waiting::begin(&*site, wait, stop.map(|it| it.0));
    let mut has_waited = false;
    loop {
        let asked = query::Happened { from, wanted: wanted.clone() };
        let happened = perform(site.parts(), &caller.clone().call(site.now()), asked).await?;
        let is_all = happened.events.is_empty() && !happened.more;
        let goes_on = match &mut waiting {
            Some(waiting) if is_all => waiting.commit().await,
            Some(_) | None => false,
        };
        if !goes_on {
            if has_waited {
                caller.remains(&*site, &headers).await?;
            }
            return Ok(Json(views::happened(happened)));
        }
        has_waited = true;
        from = happened.reached;
    }
}

/// An event of a bot: `detail-type`, `id` and `detail`. Its source is the caller, and the policy of bots lists
/// the people that the caller may act for. A bad event is answered, recorded, and published as `request.refused`.
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
    let view =
        match app::submit(site.store(), site.terms(), site.rights(), site.bots(), incoming, now).await? {
            Submitted::Answered(answer) => {
                let answer = views::answer(site.store(), &answer, now).await;
                SubmittedView { answer: Some(answer), ..SubmittedView::accepted() }
            }
            Submitted::Closed(grant) => {
                SubmittedView { closed: Some(GrantView::of(&grant, now)), ..SubmittedView::accepted() }
            }
            Submitted::Explained(review) => {
                SubmittedView { review: Some(views::review(&review, now)), ..SubmittedView::accepted() }
            }
            Submitted::Exporting | Submitted::Exported => SubmittedView::accepted(),
            Submitted::Refused(reasons) => {
                SubmittedView { accepted: false, reasons, ..SubmittedView::accepted() }
            }
        };
    Ok((StatusCode::ACCEPTED, Json(view)))
}
