//! A no, in Azure's words: a code that programs go by, and a message.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use serde_json::json;

/// A call that is refused. The codes are Azure's, except where nobody could say which one Azure has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What programs go by.
    pub code: &'static str,
    /// What people read.
    pub message: String,
    /// When to come again, in seconds.
    pub retry_after: Option<u32>,
    /// What is wrong with the token, for `WWW-Authenticate`.
    challenge: Option<Box<Challenge>>,
    /// A narrower code, with its message.
    detail: Option<(&'static str, String)>,
}

/// What is wrong with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    error: &'static str,
    /// What the next token has to be asked for with.
    claims: Option<String>,
}

impl Refused {
    /// A status with a code and a message.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (status, message) = (status.as_u16(), message.into());
        Self { status, code, message, retry_after: None, challenge: None, detail: None }
    }

    /// 400: this can never be done.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404: there is no such resource.
    pub(crate) fn no_resource(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", format!("The Resource '{id}' was not found."))
    }

    /// 401: no token, or none that is good.
    pub(crate) fn unauthenticated(code: &'static str, message: &str) -> Self {
        let refused = Self::new(StatusCode::UNAUTHORIZED, code, message);
        let challenge = Challenge { error: "invalid_token", claims: None };
        Self { challenge: Some(challenge.into()), ..refused }
    }

    /// 401: the token is no longer good, whatever its end; one that is asked for with these claims is.
    pub(crate) fn insufficient(claims: &str) -> Self {
        let message = "Continuous access evaluation resulted in challenge with result: InteractionRequired.";
        let refused = Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message);
        let challenge = Challenge { error: "insufficient_claims", claims: Some(claims.to_owned()) };
        Self { challenge: Some(challenge.into()), ..refused }
    }

    /// 412: it is not what the caller has seen.
    pub(crate) fn precondition(detail: &'static str, message: String) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "Precondition failed.")
            .because(detail, message)
    }

    /// With a narrower code, and its message.
    pub(crate) fn because(self, detail: &'static str, message: String) -> Self {
        Self { detail: Some((detail, message)), ..self }
    }

    /// With when to come again.
    pub(crate) fn after(self, secs: u32) -> Self {
        Self { retry_after: Some(secs), ..self }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let details: Vec<_> =
            self.detail.iter().map(|(code, message)| json!({ "code": code, "message": message })).collect();
        let body = json!({ "error": { "code": self.code, "message": self.message, "details": details } });
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(secs) = self.retry_after {
            headers.insert(header::RETRY_AFTER, secs.into());
        }
        if let Some(Challenge { error, claims }) = self.challenge.map(|it| *it) {
            let claims = claims.map(|it| format!(", claims=\"{}\"", BASE64.encode(it.as_bytes())));
            let text = format!(
                "Bearer authorization_uri=\"https://login.microsoftonline.com/common\", error=\"{error}\", error_description=\"{}\"{}",
                self.message,
                claims.unwrap_or_default()
            );
            if let Ok(text) = HeaderValue::try_from(text) {
                headers.insert(header::WWW_AUTHENTICATE, text);
            }
        }
        response
    }
}
