//! How Portcullis is asked: one axum router for Lambda and for localhost, which answers in the shapes of the wire.
//!
//! INVARIANT (one-door-in): whoever asks, over whatever channel, passes here into the same use cases.
//! A [`Site`] is what the router stands on; `portcullis_wire` is what clients share with it.

mod adopt;
mod bounds;
mod caller;
mod description;
mod events;
mod export;
mod grants;
mod meta;
mod patience;
mod policies;
mod problem;
mod proxies;
mod requests;
mod roles;
mod site;
mod strangers;
mod targets;
mod turns;
mod views;
mod waiting;

pub use bounds::Bounds;
pub use caller::{Caller, Shown, Vouched, shown};
pub use description::description as openapi;
pub use problem::Problem;
pub use proxies::Proxies;
pub use site::Site;
pub use strangers::{Counts, Happened, Strangers, network};
pub use turns::Turns;
pub use views::verified;
pub use waiting::Stop;

use bounds::BODY_MAX;
use portcullis_wire as wire;

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use portcullis_app::EVENT_MAX;
use portcullis_domain::{CorrelationId, TOKEN_IN_TEXT, holds_token};
use std::sync::Arc;
use tracing::Instrument as _;

/// Everything that can be asked, over HTTP.
pub fn router<S: Site>(site: Arc<S>) -> Router {
    Router::new()
        .route("/v1/targets", get(targets::list::<S>))
        .route("/v1/targets/{target}", get(targets::show::<S>))
        .route("/v1/targets/{target}/enable", post(targets::enable::<S>))
        .route("/v1/targets/{target}/edit", post(targets::edit::<S>))
        .route("/v1/targets/{target}/disable", post(targets::disable::<S>))
        .route("/v1/targets/{target}/confirm", post(targets::confirm::<S>))
        .route("/v1/targets/{target}/plan", post(targets::plan::<S>))
        .route("/v1/targets/{target}/check", get(targets::check::<S>))
        .route("/v1/targets/{target}/activity", get(targets::activity::<S>))
        .route("/v1/names", get(targets::names::<S>))
        .route("/v1/requests", get(requests::list::<S>).post(requests::initiate::<S>))
        .route("/v1/requests/explain", post(requests::explain::<S>))
        .route("/v1/requests/{request}", get(requests::show::<S>))
        .route("/v1/requests/{request}/approve", post(requests::approve::<S>))
        .route("/v1/requests/{request}/reject", post(requests::reject::<S>))
        .route("/v1/requests/{request}/withdraw", post(requests::withdraw::<S>))
        .route("/v1/grants", get(grants::list::<S>))
        .route("/v1/grants/{grant}", get(grants::show::<S>))
        .route("/v1/grants/{grant}/close", post(grants::close::<S>))
        .route("/v1/grants/{grant}/extend", post(grants::extend::<S>))
        .route("/v1/adoptable", get(adopt::list::<S>))
        .route("/v1/adopt", post(adopt::adopt::<S>))
        .route(
            "/v1/events",
            // So that one that is only a little too long is recorded like any other bad one. The bound that is nearest to a path
            // is its own.
            get(events::list::<S>).post(events::submit::<S>).layer(DefaultBodyLimit::max(2 * EVENT_MAX)),
        )
        .route("/v1/export", get(export::download::<S>))
        .route("/v1/verify", get(meta::verify::<S>))
        .route("/v1/doctor", get(meta::doctor::<S>))
        .route("/v1/whoami", get(meta::whoami::<S>))
        .route("/v1/tokens", get(meta::tokens::<S>).post(meta::issue_token::<S>))
        .route("/v1/tokens/{person}", delete(meta::revoke_token::<S>))
        .route("/v1/roles", get(roles::list::<S>).post(roles::grant::<S>))
        .route("/v1/roles/revoke", post(roles::revoke::<S>))
        .route(
            "/v1/policies",
            get(policies::show::<S>)
                .post(policies::apply::<S>)
                .layer(DefaultBodyLimit::max(policies::BODY_MAX)),
        )
        .route("/v1/policies/rollback", post(policies::rollback::<S>))
        .route("/v1/policies/history", get(policies::history::<S>))
        .route("/healthz", get(meta::healthz::<S>))
        .route("/openapi.json", get(description::openapi))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn(bounded_and_logged))
        .with_state(site)
}

/// One line for each call, without addresses, names or tokens; calls that only look are logged at `debug`. All that is logged
/// until then says which call it belongs to, and which matter: as its caller calls it, or else the request, by whoever
/// knows that ([`meta::belongs_to`]). One layer with what else all calls need: a layer is laid around each path at every
/// cold start.
async fn bounded_and_logged(mut request: Request, next: Next) -> Response {
    DefaultBodyLimit::max(BODY_MAX).apply(&mut request);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map(|it| it.as_str().to_owned());
    let path = path.as_deref().unwrap_or("(no such path)");
    // Whatever comes after it may be kept or logged.
    if request.uri().path_and_query().is_some_and(|it| holds_token(it.as_str())) {
        tracing::info!(path, "A call was refused: its path contains a token");
        return Problem::bad_input(TOKEN_IN_TEXT).into_response();
    }
    let given = meta::correlation(request.headers()).ok().flatten();
    let correlation_id = given.as_ref().map(CorrelationId::as_str);
    let span = tracing::info_span!("call", %method, path, correlation_id);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.in_scope(|| {
        if method.is_safe() {
            tracing::debug!(status, "A call was answered");
        } else {
            tracing::info!(status, "A call was answered");
        }
    });
    response
}
