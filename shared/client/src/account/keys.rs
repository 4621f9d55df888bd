//! The keys of an account, by what the AWS tools on this machine know.

use crate::{
    account::{Named, no_region},
    network,
};
use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig, profile::ProfileFileCredentialsProvider,
    provider_config::ProviderConfig,
};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use jiff::{SignedDuration, Timestamp};
use portcullis_aws::{Cloud, Keys, connector};
use portcullis_program::Failure;
use std::{cell::RefCell, env, error::Error, fmt};
use tokio::runtime::Runtime;

/// How long before their end keys are no longer used.
const FRESH_MIN: SignedDuration = SignedDuration::from_mins(1);

/// An account, with keys that are asked for anew before they end.
pub struct Account {
    config: SdkConfig,
    runtime: Runtime,
    keys: RefCell<Option<Credentials>>,
}

impl Account {
    /// As the environment and the files of the AWS tools say it: keys, Identity Center, roles, processes.
    pub fn of(named: &Named) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::cannot("start", error))?;
        let http = connector().map_err(|error| network::unusable(&error))?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
        let region = named.region.clone().map(Region::new);
        if let Some(profile) = &named.profile {
            loader =
                loader.profile_name(profile).credentials_provider(of_profile(profile, region.clone(), http));
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        let config = runtime.block_on(ConfigLoader::load(loader));
        Ok(Self { config, runtime, keys: RefCell::default() })
    }

    /// Where, if anything says so.
    pub fn region(&self) -> Option<&str> {
        self.config.region().map(Region::as_ref)
    }

    /// Where AWS is heard, where that is not its own place.
    pub fn endpoint(&self) -> Option<&str> {
        self.config.endpoint_url()
    }

    /// Keys that are good for a while.
    pub fn keys(&self, now: Timestamp) -> Result<Credentials, Failure> {
        let soon = now.saturating_add(FRESH_MIN).unwrap_or(Timestamp::MAX);
        let is_fresh = |it: &Credentials| {
            it.expiry().is_none_or(|end| Timestamp::try_from(end).is_ok_and(|end| soon < end))
        };
        if let Some(keys) = self.keys.borrow().as_ref().filter(|it| is_fresh(it)) {
            return Ok(keys.clone());
        }
        let provider = self.config.credentials_provider().ok_or_else(|| no_keys([]))?;
        let keys = self.runtime.block_on(provider.provide_credentials());
        let keys = keys.map_err(|error| no_keys(causes(&error)))?;
        *self.keys.borrow_mut() = Some(keys.clone());
        Ok(keys)
    }

    /// Forgets the keys: they were refused before their end.
    pub fn forget(&self) {
        self.keys.replace(None);
    }

    /// Its services.
    pub fn cloud(&self, now: Timestamp) -> Result<Cloud, Failure> {
        let keys = self.keys(now)?;
        let region = self.region().ok_or_else(no_region)?;
        let keys = Keys {
            id: keys.access_key_id().to_owned(),
            secret: keys.secret_access_key().to_owned(),
            session: keys.session_token().map(str::to_owned),
        };
        let cloud = Cloud::at(region.to_owned(), keys, self.endpoint().map(str::to_owned));
        let cloud = cloud.map_err(|error| network::unusable(&error))?;
        Ok(cloud.heard_at(|name| env::var(name).ok()))
    }

    /// Does what has to wait for AWS.
    pub fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("region", &self.region()).finish_non_exhaustive()
    }
}

/// Keys of a profile that somebody names: those in the environment may be of another account, and are not asked for. So it
/// is with the AWS CLI.
fn of_profile(name: &str, region: Option<Region>, http: SharedHttpClient) -> impl ProvideCredentials + use<> {
    let settings = ProviderConfig::without_region().with_region(region).with_http_client(http);
    ProfileFileCredentialsProvider::builder().configure(&settings).profile_name(name).build()
}

fn no_keys(why: impl IntoIterator<Item = String>) -> Failure {
    Failure::usage("no AWS keys were found").because(why).next(
        "log in with the AWS CLI (`aws sso login`, `aws configure`), and set AWS_PROFILE where it is not the default",
    )
}

/// An error, and what it came from, a line each.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut lines = vec![error.to_string()];
    let mut source = error.source();
    while let Some(it) = source {
        lines.push(it.to_string());
        source = it.source();
    }
    lines
}
