//! How Portcullis is asked: one axum router for Lambda and for localhost, which answers in the shapes of the wire.
//!
//! INVARIANT (one-door-in): whoever asks, over whatever channel, passes here into the same use cases.
//! A [`Site`] is what the router stands on; `portcullis_wire` is what clients share with it.

mod adopt;
mod caller;
mod events;
mod export;
mod grants;
mod meta;
mod patience;
mod problem;
mod requests;
mod strangers;
mod targets;
mod turns;
mod views;

pub use caller::{Caller, Proxies, Shown, Vouched, shown};
pub use problem::Problem;
pub use strangers::{Counts, Happened, Strangers, network};
pub use turns::Turns;
pub use views::verified;

use meta::Bearer;
use portcullis_wire as wire;

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use jiff::Timestamp;
use portcullis_app::{
    Bots, EVENT_MAX, Error, Finding, Parts, Rights,
    ports::{Authentication, Outside, Store, Tokens},
};
use portcullis_domain::{CorrelationId, TOKEN_IN_TEXT, Terms, holds_token};
use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tracing::Instrument as _;
use utoipa::OpenApi;

/// How long a body may be, in bytes: the largest request has 40 ports.
const BODY_MAX: usize = 64 * 1024;

/// What the router stands on: the composition root implements it.
pub trait Site: Send + Sync + 'static {
    /// The table.
    type Store: Store;
    /// The firewalls and the machines behind them, with what else is known of them.
    type Outside: Outside;
    /// The token book, which also tells whose token a caller shows.
    type Tokens: Authentication + Tokens;

    /// The table.
    fn store(&self) -> &Self::Store;
    /// The firewalls and the machines behind them.
    fn outside(&self) -> &Self::Outside;
    /// The token book.
    fn tokens(&self) -> &Self::Tokens;
    /// The settings that reviews depend on.
    fn terms(&self) -> &Terms;
    /// Is there an archive that evidence is put into when an event asks for it? Else whoever wants it takes it away.
    fn has_archive(&self) -> bool {
        false
    }
    /// What the platform makes of a long answer.
    fn bounds(&self) -> Bounds {
        Bounds::NONE
    }
    /// How many expensive answers are made at once; as many as are asked for where one process answers one caller at a time.
    fn turns(&self) -> &Turns {
        static UNBOUNDED: LazyLock<Turns> = LazyLock::new(Turns::unbounded);
        &UNBOUNDED
    }
    /// Where failed logins are counted and limited; `None` where the platform does that.
    fn strangers(&self) -> Option<&Strangers> {
        None
    }
    /// Whose word is taken for where a caller is.
    fn proxies(&self) -> &Proxies;
    /// The rights of callers.
    fn rights(&self) -> &Rights;
    /// Which bots may speak, and for whom.
    fn bots(&self) -> &Bots;
    /// The time.
    fn now(&self) -> Timestamp;
    /// What a checkup finds of the process itself.
    fn findings(&self) -> Vec<Finding> {
        vec![]
    }
    /// Can the table be read and written? `Unavailable` if not.
    fn probe(&self) -> impl Future<Output = Result<(), Error>> + Send;
    /// The dependencies of an operation.
    fn parts(&self) -> Parts<'_, Self::Store, Self::Outside, Self::Tokens> {
        self.parts_with(self.outside())
    }
    /// The same with other firewalls and machines, such as those that are asked for a bounded time.
    fn parts_with<'a, O>(&'a self, outside: &'a O) -> Parts<'a, Self::Store, O, Self::Tokens> {
        let (store, tokens) = (self.store(), self.tokens());
        Parts { store, outside, tokens, terms: self.terms(), rights: self.rights() }
    }
}

/// How much one answer may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long it may be, in bytes.
    pub bytes: usize,
    /// How long making it may take.
    pub time: Duration,
}

impl Bounds {
    /// None but patience.
    pub const NONE: Self = Self { bytes: usize::MAX, time: Duration::MAX };
}

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
        .route("/healthz", get(meta::healthz::<S>))
        .route("/openapi.json", get(meta::openapi))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn(bounded_and_logged))
        .with_state(site)
}

/// The description of all that, as an `OpenAPI` document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Described::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis",
        description = "Just-in-time access to management ports. Every path but `/healthz` and `/openapi.json` \
            wants `Authorization: Bearer <token>`. What is refused is answered as an RFC 9457 problem with every reason."
    ),
    paths(
        targets::list, targets::show, targets::enable, targets::edit, targets::disable, targets::confirm,
        targets::plan, targets::check, targets::activity, targets::names, requests::list, requests::initiate, requests::explain,
        requests::show, requests::approve, requests::reject, grants::list, grants::show, grants::close,
        grants::extend, adopt::list, adopt::adopt, events::list, events::submit, export::download, meta::verify, meta::doctor, meta::whoami, meta::tokens,
        meta::issue_token, meta::revoke_token, meta::healthz, meta::openapi,
    ),
    components(schemas(Problem)),
    modifiers(&Bearer),
)]
struct Described;

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
        tracing::info!(path, "A call was refused: a token stands in its path");
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
