//! Which AWS: where, as whom, and how patiently it is asked.

use crate::connector::connector;
use aws_credential_types::Credentials;
use aws_sdk_dynamodb as dynamodb;
use aws_sdk_eventbridge as eventbridge;
use aws_sdk_s3 as s3;
use aws_sdk_sts as sts;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use portcullis_outgoing::BadRoots;
use std::{collections::BTreeMap, fmt, time::Duration};

/// How long one try of a call may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// How long a call may take with all its tries, which the SDK makes: well within a worker's life. What is put into the
/// archive is tried there.
const CALL_MAX: Duration = Duration::from_secs(8);
/// How often a call is tried.
pub const ATTEMPTS_MAX: u32 = 4;
/// How long it waits before the second try, at most; twice as long before each further one.
pub const BACKOFF: Duration = Duration::from_millis(50);

/// As whom AWS is asked.
#[derive(Clone)]
pub struct Keys {
    /// The id of the access key.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// What temporary keys have besides.
    pub session: Option<String>,
}

/// An account's AWS in one region, and one pool of connections to it.
#[derive(Clone)]
pub struct Cloud {
    region: String,
    keys: Keys,
    endpoint: Option<String>,
    /// Of services that are heard elsewhere, by their names here.
    endpoints: BTreeMap<&'static str, String>,
    http: SharedHttpClient,
}

/// Where AWS is, if that is not its own place: of all services, or, with `_` and a name of [`SERVICES`], of one.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>
const ENDPOINT: &str = "AWS_ENDPOINT_URL";
/// The services that are asked, as they are called here, and in the names of such variables.
const SERVICES: [(&str, &str); 4] =
    [("dynamodb", "DYNAMODB"), ("eventbridge", "EVENTBRIDGE"), ("s3", "S3"), ("sts", "STS")];

/// Every service has a configuration of its own, and all of them are alike.
macro_rules! configured {
    ($cloud:ident, $service:ident) => {{
        let mut config = $service::Config::builder()
            .behavior_version($service::config::BehaviorVersion::latest())
            .region($service::config::Region::new($cloud.region.clone()))
            .credentials_provider($cloud.credentials())
            .http_client($cloud.http.clone())
            .retry_config(retries())
            .timeout_config(timeouts());
        config.set_endpoint_url($cloud.endpoint(stringify!($service)));
        config
    }};
}

/// A setting that is missing, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCloud {
    /// It is not set.
    #[error("`{0}` is not set")]
    Missing(&'static str),
    /// The certificates that are to be trusted.
    #[error("the certificates to trust cannot be used")]
    Roots(#[from] BadRoots),
}

impl Cloud {
    /// As the environment of a Lambda function says it; `environment` gives a variable. `Err` names the one
    /// that is missing.
    pub fn of(environment: impl Fn(&str) -> Option<String>) -> Result<Self, BadCloud> {
        let text = |name: &str| environment(name).filter(|it| !it.is_empty());
        let wanted = |name| text(name).ok_or(BadCloud::Missing(name));
        let keys = Keys {
            id: wanted("AWS_ACCESS_KEY_ID")?,
            secret: wanted("AWS_SECRET_ACCESS_KEY")?,
            session: text("AWS_SESSION_TOKEN"),
        };
        let region = wanted("AWS_REGION").or_else(|_| wanted("AWS_DEFAULT_REGION"));
        let cloud = Self::at(region.map_err(|_| BadCloud::Missing("AWS_REGION"))?, keys, text(ENDPOINT))?;
        Ok(cloud.heard_at(environment))
    }

    /// With each service where the environment says that it is.
    #[must_use]
    pub fn heard_at(self, environment: impl Fn(&str) -> Option<String>) -> Self {
        let own = |(service, name)| {
            let set = environment(&format!("{ENDPOINT}_{name}")).filter(|it| !it.is_empty())?;
            Some((service, set))
        };
        Self { endpoints: SERVICES.into_iter().filter_map(own).collect(), ..self }
    }

    /// In a region, by these keys; at `endpoint` where that is not AWS's own.
    pub fn at(region: String, keys: Keys, endpoint: Option<String>) -> Result<Self, BadRoots> {
        Ok(Self { region, keys, endpoint, endpoints: BTreeMap::new(), http: connector()? })
    }

    /// Where a service is, if that is not AWS's own place.
    fn endpoint(&self, service: &str) -> Option<String> {
        self.endpoints.get(service).or(self.endpoint.as_ref()).cloned()
    }

    /// A client of DynamoDB.
    pub fn dynamodb(&self) -> dynamodb::Client {
        dynamodb::Client::from_conf(configured!(self, dynamodb).build())
    }

    /// A client of EventBridge.
    pub fn eventbridge(&self) -> eventbridge::Client {
        eventbridge::Client::from_conf(configured!(self, eventbridge).build())
    }

    /// A client of S3.
    pub fn s3(&self) -> s3::Client {
        // An emulator has one host for all buckets.
        let is_emulated = self.endpoint("s3").is_some();
        s3::Client::from_conf(configured!(self, s3).force_path_style(is_emulated).build())
    }

    /// A client of the security token service of this region: the global one gives no web identity.
    pub fn sts(&self) -> sts::Client {
        sts::Client::from_conf(configured!(self, sts).build())
    }

    fn credentials(&self) -> Credentials {
        let Keys { id, secret, session } = self.keys.clone();
        // A function's keys outlive its process: Lambda makes a new one before they end, and what refuses them meanwhile
        // would refuse whatever else this process could read. So they are never asked for anew.
        Credentials::new(id, secret, session, None, "environment")
    }
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX).with_initial_backoff(BACKOFF)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_MAX).operation_timeout(CALL_MAX).build()
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, endpoint, endpoints, .. } = self;
        let mut shown = f.debug_struct("Cloud");
        shown.field("region", region).field("endpoint", endpoint).field("endpoints", endpoints);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Result<Cloud, BadCloud> {
        Cloud::of(|name| set.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_missing_setting_is_named() {
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hush")];
        assert_eq!(of(&[]).expect_err("nothing is set").to_string(), "`AWS_ACCESS_KEY_ID` is not set");
        assert_eq!(of(&keys).expect_err("no region").to_string(), "`AWS_REGION` is not set");
        assert!(of(&[keys[0], keys[1], ("AWS_DEFAULT_REGION", "eu-central-1")]).is_ok());
    }

    /// As the SDKs of AWS heed it.
    #[test]
    fn a_service_may_be_heard_elsewhere() {
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_REGION", "eu")];
        let at = |more: &[(&str, &str)]| {
            let cloud = of(&[&keys, more].concat()).expect("all is set");
            SERVICES.map(|(service, _)| cloud.endpoint(service))
        };
        let (all, own) = (Some("http://all".to_owned()), Some("http://own".to_owned()));
        assert_eq!(at(&[]), [const { None }; SERVICES.len()]);
        let everywhere = ("AWS_ENDPOINT_URL", "http://all");
        assert_eq!(at(&[everywhere]), [(); SERVICES.len()].map(|()| all.clone()));
        for (n, (service, name)) in SERVICES.into_iter().enumerate() {
            let variable = format!("AWS_ENDPOINT_URL_{name}");
            for (around, others) in [(vec![everywhere], &all), (vec![], &None)] {
                let mut wanted = [(); SERVICES.len()].map(|()| others.clone());
                wanted[n].clone_from(&own);
                let set = [around, vec![(variable.as_str(), "http://own")]].concat();
                assert_eq!(at(&set), wanted, "{service}");
            }
            assert_eq!(at(&[everywhere, (&variable, "")])[n], all, "empty is not set");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let cloud = of(&[
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("AWS_SESSION_TOKEN", "hush"),
            ("AWS_REGION", "eu-central-1"),
        ]);
        let cloud = cloud.expect("all is set");
        assert!(!format!("{cloud:?} {:?}", cloud.keys).contains("hush"));
    }
}
