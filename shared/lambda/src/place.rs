//! What functions stand on: the account's table, bus and archive, and the Azure that they guard.

use crate::{BadSetting, Environment, Meter, WallClock, log, settings::ISSUERS};
use jiff::Timestamp;
use portcullis_app::ports::Clock as _;
use portcullis_aws::{BadCloud, Bucket, Cloud, DynamoStore, EventBus, Federation};
use portcullis_azure::{
    Arm, AskedAssertion, Azure, Bounds, CloudName, Credentials, Endpoints, Secret, Settings,
};
use portcullis_domain::{Existing, Person};
use portcullis_identity::{Issuers, Settings as IssuerSettings};
use portcullis_outgoing::{Proxies, Roots};
use std::{
    ops::RangeInclusive,
    sync::{Arc, OnceLock},
};

/// Where a function runs. What a function does not ask for is not built: a cold start pays for it.
#[derive(Debug)]
pub struct Place {
    /// What the template set.
    pub environment: Environment,
    /// The time.
    pub clock: WallClock,
    now: fn() -> Timestamp,
    cloud: Cloud,
}

impl Place {
    /// As the environment says it. Begins to log.
    pub fn start(environment: Environment, now: fn() -> Timestamp) -> Result<Self, BadSetting> {
        log::begin(&environment)?;
        let cloud = Cloud::of(|name| environment.text(name));
        let cloud = cloud.map_err(|error| match error {
            BadCloud::Missing(name) => BadSetting::Missing(name),
            BadCloud::Roots(source) => BadSetting::Unusable { name: ROOTS, source: source.into() },
        })?;
        Ok(Self { environment, clock: WallClock::new(now), now, cloud })
    }

    /// The table.
    pub fn store(&self) -> Result<DynamoStore, BadSetting> {
        let table = self.environment.wanted("PORTCULLIS_TABLE")?;
        // One environment of a function has one log stream, and a name that a restart would repeat.
        let stream = self.environment.text("AWS_LAMBDA_LOG_STREAM_NAME").unwrap_or_default();
        let writer = format!("{stream} {} {}", std::process::id(), self.clock.now().as_nanosecond());
        Ok(DynamoStore::new(self.cloud.dynamodb(), table, writer, Arc::new(self.now)))
    }

    /// The bus.
    pub fn bus(&self) -> Result<EventBus, BadSetting> {
        Ok(EventBus::new(self.cloud.eventbridge(), self.environment.wanted("PORTCULLIS_BUS")?))
    }

    /// Where exports are kept: a folder of the bucket.
    pub fn archive(&self, folder: String) -> Result<Bucket, BadSetting> {
        Ok(Bucket::new(self.cloud.s3(), self.environment.wanted("PORTCULLIS_ARCHIVE")?, folder))
    }

    /// The issuers whose tokens are accepted. Nothing is asked yet.
    pub fn issuers(&self, settings: IssuerSettings, operator: Person) -> Result<Issuers, BadSetting> {
        let roots = Roots::of_environment()
            .map_err(|source| BadSetting::Unusable { name: ROOTS, source: source.into() })?;
        let issuers = Issuers::of(settings, operator, &roots, Proxies::of_environment);
        issuers.map_err(|source| BadSetting::Unusable { name: ISSUERS, source: source.into() })
    }

    /// What is measured.
    pub fn meter(&self) -> Result<Meter, BadSetting> {
        Meter::begin(self.environment.wanted("PORTCULLIS_METRICS")?)
    }

    /// The Azure that is guarded.
    pub fn azure(&self) -> Result<Azure, BadSetting> {
        let environment = &self.environment;
        let existing = match environment.text("PORTCULLIS_EXISTING_RULES").as_deref() {
            None | Some("override") => Existing::Override,
            Some("respect") => Existing::Respect,
            Some(_) => {
                let (name, wanted) = ("PORTCULLIS_EXISTING_RULES", "`override` or `respect`");
                return Err(BadSetting::Unreadable { name, wanted });
            }
        };
        let mut bounds = Bounds::with(existing);
        let subscriptions = environment.text("PORTCULLIS_AZURE_SUBSCRIPTION").unwrap_or_default();
        let subscriptions = subscriptions.split(',').map(str::trim).filter(|it| !it.is_empty());
        bounds.subscriptions = subscriptions.map(str::to_owned).collect();
        let bands = &mut bounds.bands;
        for (name, band) in
            [("PORTCULLIS_ALLOW_BAND", &mut bands.allows), ("PORTCULLIS_DENY_BAND", &mut bands.denies)]
        {
            if let Some(text) = environment.text(name) {
                let read = priorities(&text).ok_or(BadSetting::Unreadable { name, wanted: PRIORITIES })?;
                *band = *read.start()..read.end() + 1;
            }
        }
        if bands.denies.start < bands.allows.end {
            let wanted = "a band below PORTCULLIS_ALLOW_BAND, since a lower priority decides first";
            return Err(BadSetting::Unreadable { name: "PORTCULLIS_DENY_BAND", wanted });
        }
        let roots = Roots::of_environment()
            .map_err(|source| BadSetting::Unusable { name: ROOTS, source: source.into() })?;
        let settings = Settings { endpoints: self.endpoints()?, credentials: self.credentials()?, roots };
        let unusable = |source| BadSetting::Unusable { name: "PORTCULLIS_AZURE_ARM", source };
        let arm = Arm::new(&settings).map_err(|error| unusable(error.into()))?;
        Ok(Azure::new(arm, bounds, Arc::new(self.now)))
    }

    fn endpoints(&self) -> Result<Endpoints, BadSetting> {
        let wanted = "`public`, `usgovernment` or `china`";
        let cloud = self.environment.parsed::<CloudName>("PORTCULLIS_AZURE_CLOUD", wanted)?;
        let Endpoints { arm, authority, audience } = cloud.unwrap_or(CloudName::Public).endpoints();
        Ok(Endpoints {
            arm: self.environment.text("PORTCULLIS_AZURE_ARM").unwrap_or(arm),
            authority: self.environment.text("PORTCULLIS_AZURE_AUTHORITY").unwrap_or(authority),
            audience: self.environment.text("PORTCULLIS_AZURE_AUDIENCE").unwrap_or(audience),
        })
    }

    /// The role of this function, for which AWS vouches, or an application with a password.
    fn credentials(&self) -> Result<Credentials, BadSetting> {
        const LOGIN: &str = "PORTCULLIS_AZURE_LOGIN";
        let environment = &self.environment;
        let tenant = environment.wanted("AZURE_TENANT_ID")?;
        let client = environment.wanted("AZURE_CLIENT_ID")?;
        match environment.text(LOGIN).as_deref() {
            None | Some("federated") => {
                // A client reads all that AWS says of its regions when it is made. This one is not made before somebody
                // looks at Azure, and a token is good for an hour.
                let (cloud, made) = (self.cloud.clone(), OnceLock::new());
                let assertion = Arc::new(AskedAssertion::new(move || {
                    let federation = made.get_or_init(|| Federation::new(cloud.sts())).clone();
                    async move { Ok(federation.token().await?) }
                }));
                Ok(Credentials::Assertion { tenant, client, assertion })
            }
            Some("client-secret") => {
                let secret = Secret::new(environment.wanted("AZURE_CLIENT_SECRET")?);
                Ok(Credentials::ClientSecret { tenant, client, secret })
            }
            Some(_) => {
                let wanted = "`federated` or `client-secret`";
                Err(BadSetting::Unreadable { name: LOGIN, wanted })
            }
        }
    }
}

/// The variable that names the certificates to trust.
const ROOTS: &str = "SSL_CERT_FILE";
const PRIORITIES: &str = "two priorities of 100 to 4096, such as `100-199`";

/// `100-199`, both of them included.
fn priorities(text: &str) -> Option<RangeInclusive<u16>> {
    const ALL: RangeInclusive<u16> = 100..=4096;
    let (from, to) = text.split_once('-')?;
    let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from <= to && ALL.contains(&from) && ALL.contains(&to)).then_some(from..=to)
}
