//! Who asks: the credentials of the settings, as those of `azure_identity`.

use crate::Credentials;
use azure_core::{
    Error,
    credentials::TokenCredential,
    error::ErrorKind,
    http::{
        Body, ClientMethodOptions, ClientOptions, Context, Method, Request,
        policies::{Policy, PolicyResult},
    },
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use serde_json::Value;
use std::sync::Arc;

/// Makes credentials: as whom, and how requests for tokens travel.
pub struct Login {
    credentials: Credentials,
    options: ClientOptions,
}

impl Login {
    /// The options say where, and how requests travel.
    pub fn new(credentials: Credentials, options: ClientOptions) -> Self {
        Self { credentials, options }
    }

    /// A credential that keeps nothing of those before it; it asks for its tokens with these claims.
    pub fn credential(&self, claims: Option<&str>) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut client_options = self.options.clone();
        client_options.per_try_policies.push(Arc::new(WithClaims(claims.map(str::to_owned))));
        client_options.per_try_policies.push(Arc::new(SayWhy));
        Ok(match &self.credentials {
            Credentials::Assertion { tenant, client, assertion } => {
                let options = ClientAssertionCredentialOptions { client_options };
                let assertion = Held(Arc::clone(assertion));
                ClientAssertionCredential::new(tenant.clone(), client.clone(), assertion, Some(options))?
            }
            Credentials::WorkloadIdentity { tenant, client, token_file } => {
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    tenant_id: tenant.clone(),
                    client_id: client.clone(),
                    token_file_path: token_file.clone(),
                }))?
            }
            Credentials::ManagedIdentity { client, metadata: _ } => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client.clone().map(UserAssignedId::ClientId),
                    client_options,
                }))?
            }
            Credentials::ClientSecret { tenant, client, secret } => {
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(tenant, client.clone(), secret.clone(), Some(options))?
            }
            Credentials::DeveloperTools => DeveloperToolsCredential::new(None)?,
        })
    }
}

/// An assertion that is shared with the settings.
#[derive(Debug)]
struct Held(Arc<dyn ClientAssertion>);

#[async_trait::async_trait]
impl ClientAssertion for Held {
    async fn secret(&self, options: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.0.secret(options).await
    }
}

/// Asks for a token with the claims that a challenge demanded, which `azure_identity` 1.0 has no word for. A machine's
/// metadata service takes none.
#[derive(Debug)]
struct WithClaims(Option<String>);

#[async_trait::async_trait]
impl Policy for WithClaims {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if let (Some(claims), Method::Post, Body::Bytes(form)) = (&self.0, request.method(), request.body()) {
            let mut encoded = request.url().clone();
            encoded.query_pairs_mut().clear().append_pair("claims", claims);
            let form = [form.as_ref(), b"&", encoded.query().unwrap_or_default().as_bytes()].concat();
            request.set_body(form);
        }
        let Some((first, rest)) = next.split_first() else {
            return Err(Error::with_message(ErrorKind::Other, "there is no transport"));
        };
        first.send(context, request, rest).await
    }
}

/// Says why there is no token, as a status and a sentence.
///
/// `azure_identity` 1.0 would do so itself, but cannot read a sentence with a line break, which Entra ID's
/// have, nor what is no JSON: then the status is lost, and who is only busy looks like who refuses.
#[derive(Debug)]
struct SayWhy;

#[async_trait::async_trait]
impl Policy for SayWhy {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let Some((first, rest)) = next.split_first() else {
            return Err(Error::with_message(ErrorKind::Other, "there is no transport"));
        };
        let response = first.send(context, request, rest).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let response = response.try_into_raw_response().await?;
        let body: Value = serde_json::from_slice(response.body().as_ref()).unwrap_or_default();
        let text = |name| body[name].as_str().map(str::to_owned);
        let why = text("error_description").or_else(|| text("error")).unwrap_or_default();
        let kind = ErrorKind::HttpResponse { status, error_code: text("error"), raw_response: None };
        Err(Error::with_message(kind, format!("{} {why}", u16::from(status))))
    }
}
