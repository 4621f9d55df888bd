//! Who we are to others, without a secret: AWS vouches for the role that we run as.

use crate::store::told;
use aws_sdk_sts::Client;
use portcullis_app::Error;
use std::fmt;

/// Whom Entra ID wants such a token to be for.
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>
const AUDIENCE: &str = "api://AzureADTokenExchange";
/// What Entra ID can verify.
const ALGORITHM: &str = "RS256";
/// How long it is valid, in seconds: it is exchanged at once.
const LIFE_SECS: i32 = 300;

/// Tokens of AWS for Entra ID.
#[derive(Clone)]
pub struct Federation(Client);

impl Federation {
    /// As whoever the client is. An account has to allow this once: `aws iam enable-outbound-web-identity-federation`.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// A token that says which role we run as. It is a secret for as long as it lasts.
    pub async fn token(&self) -> Result<String, Error> {
        const DOING: &str = "get a token for Azure from AWS";
        let call = self.0.get_web_identity_token().audience(AUDIENCE).signing_algorithm(ALGORITHM);
        let answer = call.duration_seconds(LIFE_SECS).send().await.map_err(|error| told(DOING, error))?;
        answer
            .web_identity_token
            .ok_or_else(|| Error::Unavailable { doing: DOING, source: "the answer has no token".into() })
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Federation")
    }
}
