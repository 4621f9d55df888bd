//! Requests signed with AWS keys: Signature Version 4.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>

use crate::account::{Account, no_region};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use jiff::Timestamp;
use portcullis_program::Failure;
use std::{rc::Rc, time::SystemTime};
use ureq::http::{Request, Uri};

/// Signs as one account, for one service in one region.
#[derive(Debug)]
pub struct Signer {
    account: Rc<Account>,
    region: String,
    service: String,
}

impl Signer {
    /// For whoever answers at this host: Lambda, API Gateway, or what has a name of its own in front of API Gateway.
    pub fn of(account: &Rc<Account>, url: &Uri) -> Result<Self, Failure> {
        let (service, region) = addressed(url.host().unwrap_or_default());
        let region = region.or_else(|| account.region()).ok_or_else(no_region)?;
        Ok(Self::with(account, service, region))
    }

    /// For a service of AWS.
    pub fn with(account: &Rc<Account>, service: &str, region: &str) -> Self {
        Self { account: Rc::clone(account), region: region.to_owned(), service: service.to_owned() }
    }

    /// Gets other keys in place of those that were refused; are there any?
    pub fn renew(&self, now: Timestamp) -> Result<bool, Failure> {
        let before = self.account.keys(now)?;
        self.account.forget();
        let after = self.account.keys(now)?;
        let said = |it: &Credentials| (it.access_key_id().to_owned(), it.session_token().map(str::to_owned));
        Ok(said(&before) != said(&after))
    }

    /// The same request, signed.
    pub fn signed(&self, mut request: Request<String>, now: Timestamp) -> Result<Request<String>, Failure> {
        let keys: Identity = self.account.keys(now)?.into();
        let failed = |error: &dyn std::error::Error| Failure::cannot("sign the request", error);
        let at = SystemTime::try_from(now).map_err(|error| failed(&error))?;
        let parameters = v4::SigningParams::builder()
            .identity(&keys)
            .region(&self.region)
            .name(&self.service)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?;
        let headers = request.headers().iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str(), value))
        });
        let (method, uri) = (request.method().as_str(), request.uri().to_string());
        let body = SignableBody::Bytes(request.body().as_bytes());
        let signable = SignableRequest::new(method, uri, headers, body).map_err(|error| failed(&error))?;
        let signed = sign(signable, &parameters.into()).map_err(|error| failed(&error))?;
        signed.into_parts().0.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// The service behind a host, and its region where the name has one: `ID.lambda-url.REGION.on.aws`,
/// `ID.execute-api.REGION.amazonaws.com`.
fn addressed(host: &str) -> (&'static str, Option<&str>) {
    const LAMBDA: &str = "lambda-url";
    const GATEWAY: &str = "execute-api";
    let mut labels = host.split('.').skip(1);
    match (labels.next(), labels.next()) {
        (Some(LAMBDA), region) => ("lambda", region),
        (Some(GATEWAY), region) => (GATEWAY, region),
        (Some(_) | None, _) => (GATEWAY, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_says_the_service_and_the_region() {
        assert_eq!(addressed("abc.lambda-url.eu-central-1.on.aws"), ("lambda", Some("eu-central-1")));
        assert_eq!(
            addressed("a1.execute-api.us-gov-west-1.amazonaws.com"),
            ("execute-api", Some("us-gov-west-1"))
        );
        assert_eq!(addressed("portcullis.example.com"), ("execute-api", None));
        assert_eq!(addressed("127.0.0.1"), ("execute-api", None));
    }
}
