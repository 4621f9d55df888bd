//! Who asks: the credentials of the settings, as those of `azure_identity`.

use crate::Credentials;
use azure_core::{
    Error,
    credentials::TokenCredential,
    error::ErrorKind,
    http::{
        ClientMethodOptions, ClientOptions, Context, Request,
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

/// What asks for tokens. The options say where, and how requests travel.
pub fn credential(
    credentials: &Credentials,
    mut client_options: ClientOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    client_options.per_try_policies.push(Arc::new(SayWhy));
    Ok(match credentials {
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

/// An assertion that is shared with the settings.
#[derive(Debug)]
struct Held(Arc<dyn ClientAssertion>);

#[async_trait::async_trait]
impl ClientAssertion for Held {
    async fn secret(&self, options: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.0.secret(options).await
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
