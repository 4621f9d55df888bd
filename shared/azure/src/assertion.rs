//! An assertion of who we are from whoever vouches for us.

use azure_core::{
    error::{Error, ErrorKind},
    http::ClientMethodOptions,
};
use azure_identity::ClientAssertion;
use futures_util::future::BoxFuture;
use portcullis_app::BoxError;
use std::{fmt, future::Future};

/// An assertion that is asked for each time. Entra ID's own token, which it is exchanged for, is kept until shortly
/// before its end, so this is asked about once an hour.
pub struct AskedAssertion(Box<dyn Fn() -> BoxFuture<'static, Result<String, BoxError>> + Send + Sync>);

impl AskedAssertion {
    /// The token that `ask` gives.
    pub fn new<F>(ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self(Box::new(move || Box::pin(ask())))
    }
}

#[async_trait::async_trait]
impl ClientAssertion for AskedAssertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let doing = "cannot get the token of our own identity";
        (self.0)().await.map_err(|error| {
            // Who does not answer just now is asked again; who says no says so again.
            let is_passing = matches!(error.downcast_ref(), Some(portcullis_app::Error::Unavailable { .. }));
            let kind = if is_passing { ErrorKind::Io } else { ErrorKind::Credential };
            Error::with_error(kind, error, doing)
        })
    }
}

impl fmt::Debug for AskedAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AskedAssertion")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_assertion_is_requested_and_a_refusal_has_its_reason() {
        let said = AskedAssertion::new(|| async { Ok("a token".to_owned()) });
        assert_eq!(said.secret(None).await.expect("it is given"), "a token");
        let refused = AskedAssertion::new(|| async { Err("federation is off".into()) });
        let error = refused.secret(None).await.expect_err("it is not given");
        assert!(format!("{error:?}").contains("federation is off"), "{error:?}");
    }
}
