//! What is answered when it is not what was asked for: RFC 9457 problems.

use crate::{
    bounds::{BODY_MAX, Bounds},
    wire::Reason,
};
use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::JsonRejection},
    http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use portcullis_app::{BadToken, Error};
use portcullis_domain::{Refusal, RefusalKind, Refusals, TOKEN_IN_TEXT, holds_token, redacted};
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// A problem as an answer: the shape that a client gets, with its status and its headers.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Problem(pub crate::wire::Problem);

/// How long a client waits before it tries again, in seconds.
const RETRY_AFTER_SECS: &str = "1";
/// The same for a client that does something too often.
const TOO_OFTEN_SECS: &str = "60";

impl Problem {
    fn of(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(crate::wire::Problem {
            kind: format!("urn:portcullis:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            reasons: vec![],
        })
    }

    /// What came in cannot be read.
    pub fn bad_input(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "bad-input", "The input cannot be read", detail)
    }

    pub(crate) fn too_large(max: usize) -> Self {
        let detail = format!("the body is too long: at most {max} bytes");
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too long", detail)
    }

    /// What is asked for is more than one answer may be.
    pub(crate) fn too_much(Bounds { bytes, time }: Bounds, instead: &str) -> Self {
        let (bytes, time) = (bytes / 1_000_000, time.as_secs());
        let detail =
            format!("the answer would exceed the limit of this server, {bytes} MB or {time} s: {instead}");
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, "too-much", "The answer is too large", detail)
    }

    /// There is no turn or no place for a caller just now.
    pub fn busy(why: &str) -> Self {
        let detail = format!("{why}: try again in a moment");
        Self::of(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many calls at once", detail)
    }

    /// A caller does too often what nobody should.
    pub(crate) fn too_often(why: &str) -> Self {
        let detail = format!("{why}: wait a minute; a call with a valid token is served at once");
        Self::of(StatusCode::TOO_MANY_REQUESTS, "too-often", "Too many failed calls", detail)
    }

    /// What only the cloud can tell, and it does not.
    pub(crate) fn silent(error: &Error) -> Self {
        tracing::warn!(error = error.full(), "A query was not answered by the cloud");
        let detail = format!("the state is unknown, since the cloud did not answer: {}", error.full());
        Self::of(StatusCode::GATEWAY_TIMEOUT, "silent", "The cloud does not answer", detail)
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::of(StatusCode::UNAUTHORIZED, "unauthorized", "A valid token is needed", detail)
    }

    /// A token that proves nobody.
    pub(crate) fn of_token(why: &BadToken) -> Self {
        let Self(problem) = Self::unauthorized(&why.to_string());
        let reason = Reason { code: why.word().to_owned(), message: why.to_string() };
        Self(crate::wire::Problem { reasons: vec![reason], ..problem })
    }

    fn refused(refusals: &Refusals) -> Self {
        let kinds: Vec<RefusalKind> = refusals.iter().map(Refusal::kind).collect();
        // What the caller can fix in the request itself comes first: with that no state would help.
        let status = match kinds.iter().max() {
            Some(RefusalKind::Content) => StatusCode::UNPROCESSABLE_ENTITY,
            Some(RefusalKind::State) => StatusCode::CONFLICT,
            Some(RefusalKind::Forbidden) | None => StatusCode::FORBIDDEN,
        };
        let reason = |it: &Refusal| Reason { code: it.code().to_owned(), message: it.to_string() };
        let reasons = refusals.iter().map(reason).collect();
        let Self(refused) = Self::of(status, "refused", "The request was refused", refusals.to_string());
        Self(crate::wire::Problem { reasons, ..refused })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::Refused(refusals) => {
                // Names and addresses stand in the reasons: the journal has them.
                tracing::info!(codes = ?refusals.iter().map(Refusal::code).collect::<Vec<_>>(), "The request \
                    was refused");
                Self::refused(refusals)
            }
            Error::NotFound { .. } => {
                tracing::info!(error = error.full(), "The resource was not found");
                Self::of(StatusCode::NOT_FOUND, "not-found", "The resource was not found", error.to_string())
            }
            Error::Conflict => {
                tracing::debug!("The resource was changed meanwhile");
                Self::of(
                    StatusCode::CONFLICT,
                    "conflict",
                    "The resource was changed meanwhile",
                    error.to_string(),
                )
            }
            Error::Unavailable { .. } => {
                tracing::warn!(error = error.full(), "A dependency did not answer");
                Self::of(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Try again", error.to_string())
            }
            Error::Broken { .. } => {
                tracing::error!(error = error.full(), "A call failed for good: the operator has to act");
                let title = "The server failed: its log has the cause";
                Self::of(StatusCode::INTERNAL_SERVER_ERROR, "broken", title, error.to_string())
            }
        }
    }
}

impl From<Refusals> for Problem {
    fn from(refusals: Refusals) -> Self {
        Self::refused(&refusals)
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        crate::wire::Problem::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        crate::wire::Problem::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        crate::wire::Problem::schemas(schemas);
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        // What a caller sent is often sent back: a token in it is not.
        let problem = &mut self.0;
        problem.detail = redacted(&problem.detail).into_owned();
        for reason in &mut problem.reasons {
            reason.message = redacted(&reason.message).into_owned();
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECS));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(TOO_OFTEN_SECS));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    let detail = format!("there is no route `{}`: see /openapi.json", uri.path());
    Problem::of(StatusCode::NOT_FOUND, "not-found", "The resource was not found", detail)
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` does not accept {method}: see /openapi.json", uri.path());
    Problem::of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
}

/// A JSON body whose faults are answered as a problem that names the field. `MAX` is what its route lets through, in bytes.
#[derive(Debug)]
pub(crate) struct Body<T, const MAX: usize = BODY_MAX>(pub T);

impl<S: Send + Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for Body<T, MAX> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = match Bytes::from_request(Request::from_parts(parts.clone(), body), state).await {
            Ok(bytes) => bytes,
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(Problem::too_large(MAX));
            }
            Err(rejection) => return Err(Problem::bad_input(rejection.body_text())),
        };
        if str::from_utf8(&bytes).is_ok_and(holds_token) {
            return Err(Problem::bad_input(TOKEN_IN_TEXT));
        }
        match Json::from_request(Request::from_parts(parts, bytes.into()), state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(Problem::bad_input("the body must be JSON, with `content-type: application/json`"))
            }
            Err(rejection) => Err(Problem::bad_input(rejection.body_text())),
        }
    }
}

/// A query string whose faults are answered as a problem.
#[derive(Debug)]
pub(crate) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|it| Self(it.0)).map_err(|it| Problem::bad_input(it.body_text()))
    }
}

/// A name in the path, parsed.
#[derive(Debug)]
pub(crate) struct Named<T>(pub T);

impl<S: Send + Sync, T> FromRequestParts<S> for Named<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let text = path.map_err(|it| Problem::bad_input(it.body_text()))?.0;
        text.parse().map(Self).map_err(|it: T::Err| Problem::bad_input(it.to_string()))
    }
}
