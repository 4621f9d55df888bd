//! Tokens: kept until shortly before their end, or until Azure refuses them.
//!
//! A credential of `azure_identity` keeps its token and cannot be told to forget it; the policy of `azure_core` forgets
//! its own copy alone, and is handed the same token again. So Azure would refuse every call until the token's stated
//! end. Here the credential itself is made anew, and the call tried once more.

use crate::login::Login;
use azure_core::{
    Error,
    credentials::{AccessToken, TokenCredential},
    error::ErrorKind,
    http::{
        Context, Request, StatusCode,
        headers::{AUTHORIZATION, WWW_AUTHENTICATE},
        policies::{Policy, PolicyResult},
    },
    time::{Duration as Span, OffsetDateTime},
};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// How long before its end a token is renewed, in seconds.
const RENEWED_BEFORE_SECS: i64 = 300;
/// How long a token that is still good is waited for to be renewed: nothing that shuts waits longer for it.
const RENEWAL_MAX: Duration = Duration::from_secs(2);
/// How long after that failed it is tried again.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Signs every request with a token.
pub struct Bearer {
    scope: String,
    login: Login,
    held: Mutex<Held>,
}

/// What there is of a credential.
struct Held {
    credential: Arc<dyn TokenCredential>,
    /// Has it given a token? Then it may keep what is refused by now.
    is_used: bool,
    token: Option<AccessToken>,
    /// Until when a token that is still good is not renewed, since that failed.
    rests_until: Option<Instant>,
}

impl Bearer {
    /// As these credentials say it; nobody is asked yet.
    pub fn new(login: Login, scope: String) -> azure_core::Result<Self> {
        let credential = login.credential(None)?;
        let held = Held { credential, is_used: false, token: None, rests_until: None };
        Ok(Self { scope, login, held: Mutex::new(held) })
    }

    /// A token that is good by what is known of it.
    async fn token(&self) -> azure_core::Result<AccessToken> {
        let mut held = self.held.lock().await;
        let now = OffsetDateTime::now_utc();
        let Some(token) = held.token.clone().filter(|it| now < it.expires_on) else {
            return self.ask(&mut held, None).await;
        };
        let is_fresh = now + Span::seconds(RENEWED_BEFORE_SECS) < token.expires_on;
        if is_fresh || held.rests_until.is_some_and(|it| Instant::now() < it) {
            return Ok(token);
        }
        if let Ok(Ok(renewed)) = timeout(RENEWAL_MAX, self.ask(&mut held, None)).await {
            return Ok(renewed);
        }
        held.rests_until = Some(Instant::now() + RENEWAL_PAUSE);
        Ok(token)
    }

    /// Another token in place of one that was refused; one that somebody else got meanwhile is as good.
    async fn instead_of(
        &self,
        refused: &AccessToken,
        claims: Option<&str>,
    ) -> azure_core::Result<AccessToken> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.token.as_ref().filter(|it| it.token.secret() != refused.token.secret()) {
            return Ok(token.clone());
        }
        (held.credential, held.is_used, held.token) = (self.login.credential(claims)?, false, None);
        tracing::warn!(
            has_claims = claims.is_some(),
            "A token was refused before its end; a new one is requested"
        );
        self.ask(&mut held, claims).await
    }

    /// Asks for a token. A credential that fails is made anew: it may keep an assertion that is no longer good.
    async fn ask(&self, held: &mut Held, claims: Option<&str>) -> azure_core::Result<AccessToken> {
        let scopes = [self.scope.as_str()];
        let mut outcome = held.credential.get_token(&scopes, None).await;
        if outcome.is_err() {
            let was_used = std::mem::take(&mut held.is_used);
            held.credential = self.login.credential(claims)?;
            if was_used {
                outcome = held.credential.get_token(&scopes, None).await;
            }
        }
        let token = outcome?;
        (held.is_used, held.rests_until) = (true, None);
        held.token = Some(token.clone());
        Ok(token)
    }
}

#[async_trait::async_trait]
impl Policy for Bearer {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let other = |message: &'static str| Error::with_message(ErrorKind::Other, message);
        let (first, rest) = next.split_first().ok_or_else(|| other("there is no transport"))?;
        if request.url().scheme() != "https" {
            return Err(other("a token is sent over TLS only"));
        }
        let token = self.token().await?;
        request.insert_header(AUTHORIZATION, format!("Bearer {}", token.token.secret()));
        let answer = first.send(context, request, rest).await?;
        if answer.status() != StatusCode::Unauthorized {
            return Ok(answer);
        }
        let claims = answer.headers().get_optional_str(&WWW_AUTHENTICATE).and_then(demanded);
        let another = self.instead_of(&token, claims.as_deref()).await?;
        if another.token.secret() == token.token.secret() {
            return Ok(answer);
        }
        request.insert_header(AUTHORIZATION, format!("Bearer {}", another.token.secret()));
        first.send(context, request, rest).await
    }
}

/// The claims that a challenge demands of the next token.
/// <https://learn.microsoft.com/entra/identity-platform/claims-challenge>
fn demanded(challenge: &str) -> Option<String> {
    let (_, rest) = challenge.split_once("claims=\"")?;
    let (encoded, _) = rest.split_once('"')?;
    let encoded = encoded.trim_end_matches('=').as_bytes();
    let claims = BASE64_NOPAD.decode(encoded).or_else(|_| BASE64URL_NOPAD.decode(encoded)).ok()?;
    String::from_utf8(claims).ok()
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_may_demand_claims() {
        let claims = "eyJhY2Nlc3NfdG9rZW4iOnt9fQ";
        for end in ["", "=="] {
            let challenge = format!(
                "Bearer authorization_uri=\"x\", error=\"insufficient_claims\", claims=\"{claims}{end}\""
            );
            assert_eq!(demanded(&challenge).as_deref(), Some("{\"access_token\":{}}"));
        }
        assert_eq!(demanded("Bearer error=\"invalid_token\""), None);
        assert_eq!(demanded("Bearer claims=\"?\""), None);
    }
}
