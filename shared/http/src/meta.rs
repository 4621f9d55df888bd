//! About the installation itself: health, description, the journal, tokens; and what every list shares.

use crate::{
    Caller, Problem, Site,
    problem::{Body, Named, Query},
    views,
    wire::{
        DoctorView, HealthView, RevokeQuery, RevokedView, TokenBody, TokenMade, TokenView, VerifyView,
        WhoamiView,
    },
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use jiff::SignedDuration;
use portcullis_app::{Issued, Known, command, perform, ports::Authentication as _, query};
use portcullis_domain::{
    CorrelationId, IdempotencyKey, Person, RequestId, TOKEN_IN_TEXT, TokenEnd, holds_token,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How many items a part of a list has when nobody says, and at most.
const LIMIT: (usize, usize) = (100, 200);

/// How long a caller waits for the cloud at most: longer than one that is asked tries to answer.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What to do where a journal is too long to be recomputed while somebody waits.
const EXPORT_INSTEAD: &str =
    "send the event `export.request`, and check the export in the archive with `portcullis verify PATH`";

/// Verifies the journal and compares it with the stored state, for one caller at a time.
#[utoipa::path(get, path = "/v1/verify",
    responses((status = 200, body = VerifyView), (status = 503, body = Problem)))]
pub(crate) async fn verify<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
) -> Result<Json<VerifyView>, Problem> {
    let _turn = site.turns().verify().await?;
    let bounds = site.bounds();
    let call = caller.call(site.now());
    let verified = timeout(bounds.time, perform(site.parts(), &call, query::Verify)).await;
    let verified = verified.map_err(|_| Problem::too_much(bounds, EXPORT_INSTEAD))?;
    Ok(Json(views::verified(&verified?)))
}

/// Checks the installation and its dependencies, with the action to take for each fault.
#[utoipa::path(get, path = "/v1/doctor", responses((status = 200, body = DoctorView)))]
pub(crate) async fn doctor<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
) -> Result<Json<DoctorView>, Problem> {
    let _turn = site.turns().doctor().await?;
    let doctor = query::Doctor { table: site.probe().await.err() };
    let mut findings = perform(site.parts(), &caller.call(site.now()), doctor).await?;
    findings.extend(site.findings());
    findings.extend(site.tokens().authorities(site.now()).await);
    findings.extend(site.strangers().map(|it| it.finding(site.now())));
    Ok(Json(findings.into()))
}

/// Shows the caller and the caller's address.
#[utoipa::path(get, path = "/v1/whoami", responses((status = 200, body = WhoamiView)))]
pub(crate) async fn whoami<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
) -> Result<Json<WhoamiView>, Problem> {
    let address = caller.address.map(|it| it.to_string());
    let Known { principal, roles } = perform(site.parts(), &caller.call(site.now()), query::Whoami).await?;
    Ok(Json(views::whoami(principal, address, &roles)))
}

/// Lists the tokens, without their secrets: whose each is, its purpose, its end and its last use.
#[utoipa::path(get, path = "/v1/tokens", responses((status = 200, body = Vec<TokenView>)))]
pub(crate) async fn tokens<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
) -> Result<Json<Vec<TokenView>>, Problem> {
    let tokens = perform(site.parts(), &caller.call(site.now()), query::Tokens).await?;
    Ok(Json(tokens.into_iter().map(TokenView::from).collect()))
}

/// Makes a new token for a person: the previous one is no longer valid. It may have a purpose and an end. The token is shown only
/// this once.
#[utoipa::path(post, path = "/v1/tokens", request_body = TokenBody,
    responses((status = 201, body = TokenMade), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn issue_token<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Body(body): Body<TokenBody>,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    let TokenBody { person, purpose, expires_in, expires_at } = body;
    let end = match (expires_in, expires_at) {
        (None, None) => None,
        (Some(length), None) => Some(TokenEnd::In(length)),
        (None, Some(time)) => Some(TokenEnd::At(time)),
        (Some(_), Some(_)) => {
            return Err(Problem::bad_input("a token has one end: give either `expires_in` or `expires_at`"));
        }
    };
    let name = person.to_string();
    let issue = command::IssueToken { person, purpose, end };
    let Issued { bearer, terms } = perform(site.parts(), &caller.call(site.now()), issue).await?;
    let made = TokenMade { person: name, token: bearer, expires_at: terms.expires_at };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes the token of a person. The leases of that person are ended and their waiting requests withdrawn, unless `keep_access` is
/// `true`; the answer lists them as they are afterwards.
#[utoipa::path(delete, path = "/v1/tokens/{person}", params(("person" = String, Path), RevokeQuery),
    responses((status = 200, body = RevokedView), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn revoke_token<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(person): Named<Person>,
    Query(query): Query<RevokeQuery>,
) -> Result<Json<RevokedView>, Problem> {
    let (now, keeps_access) = (site.now(), query.keep_access);
    let revoke = command::RevokeToken { person: person.clone(), keeps_access };
    let revoked = perform(site.parts(), &caller.call(now), revoke).await?;
    Ok(Json(views::revoked(&person, keeps_access, &revoked, now)))
}

/// Reports whether the server is alive, and whether the table can be read and written.
#[utoipa::path(get, path = "/healthz", security(()), responses((status = 200, body = HealthView), (status = 503, body = Problem)))]
pub(crate) async fn healthz<S: Site>(State(site): State<Arc<S>>) -> Result<Json<HealthView>, Problem> {
    site.probe().await?;
    Ok(Json(HealthView { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }))
}

/// The caller's idempotency key. Without one every call is a request of its own.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    const NAME: &str = "idempotency-key";
    let bad = || Problem::bad_input("`Idempotency-Key` must have 1 to 255 printable characters");
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let text = value.to_str().map_err(|_| bad())?;
    if holds_token(text) {
        return Err(Problem::bad_input(TOKEN_IN_TEXT));
    }
    text.parse().map(Some).map_err(|_| bad())
}

/// What the caller calls the matter.
pub(crate) fn correlation(headers: &HeaderMap) -> Result<Option<CorrelationId>, Problem> {
    const NAME: &str = "x-correlation-id";
    let bad =
        || Problem::bad_input("`X-Correlation-Id` must have 1 to 128 printable characters without spaces");
    let given = headers.get(NAME).map(|it| it.to_str().map_err(|_| bad())).transpose()?;
    if given.is_some_and(holds_token) {
        return Err(Problem::bad_input(TOKEN_IN_TEXT));
    }
    given.map(|it| it.parse().map_err(|_| bad())).transpose()
}

/// What is logged of this call from now on belongs to this matter: what the answers to it call it, or else the request.
pub(crate) fn belongs_to(correlation: Option<&CorrelationId>, request: &RequestId) {
    let matter = correlation.map_or(request.as_str(), CorrelationId::as_str);
    tracing::Span::current().record("correlation_id", matter);
}

/// How many items of a list are wanted.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let (default, max) = LIMIT;
    match asked {
        None => Ok(default),
        Some(asked) if (1..=max).contains(&asked) => Ok(asked),
        Some(asked) => Err(Problem::bad_input(format!("`{asked}` is not a limit: 1 to {max}"))),
    }
}

/// How long a caller waits for the cloud; where nothing is said, for as long as the cloud is asked at all.
pub(crate) fn patience(asked: Option<SignedDuration>) -> Result<Duration, Problem> {
    let Some(asked) = asked else { return Ok(WAIT_MAX) };
    let wait = Duration::try_from(asked).ok().filter(|it| *it <= WAIT_MAX);
    let bad = || {
        Problem::bad_input(format!("`{asked}` is not a time to wait: 0 to {} seconds", WAIT_MAX.as_secs()))
    };
    wait.ok_or_else(bad)
}
