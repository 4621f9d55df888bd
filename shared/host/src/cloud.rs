//! Which Azure is guarded, and as whom: the real one by its settings, or a simulated one in this process.

use crate::{failed::failed, steady};
use clap::ValueEnum;
use portcullis_azure::{
    Arm, Azure, Bounds, CloudName, Credentials, Endpoints, FileAssertion, Secret, Settings,
};
use portcullis_domain::Existing;
use portcullis_outgoing::{BadRoots, Roots};
use portcullis_program::{Failure, private};
use std::{
    env,
    error::Error as _,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Azure's priorities.
const PRIORITIES: Range<u16> = 100..4097;

/// Azure, with `--guard azure`
#[derive(Debug, Clone, clap::Args)]
#[group(id = "azure_args")]
#[command(next_help_heading = "Azure (--guard azure)")]
pub struct Args {
    /// The Azure cloud: `public`, `usgovernment` or `china`
    #[arg(long, env = "PORTCULLIS_AZURE_CLOUD", value_name = "NAME", default_value = "public")]
    pub azure_cloud: CloudName,
    /// The URL of Resource Manager, if it is not the one of that cloud
    #[arg(long, env = "PORTCULLIS_AZURE_ARM", value_name = "URL")]
    pub azure_arm: Option<String>,
    /// The URL of the authority that issues tokens, if it is not the one of that cloud
    #[arg(long, env = "PORTCULLIS_AZURE_AUTHORITY", value_name = "URL")]
    pub azure_authority: Option<String>,
    /// The audience of tokens, if it is not the one of that cloud
    #[arg(long, env = "PORTCULLIS_AZURE_AUDIENCE", value_name = "URL")]
    pub azure_audience: Option<String>,
    /// A file with more certificates to trust, in PEM, such as those of a private cloud or of a proxy that reads along
    #[arg(long, env = "PORTCULLIS_AZURE_CA", value_name = "FILE")]
    pub azure_ca: Option<PathBuf>,
    /// As whom
    #[arg(long, env = "PORTCULLIS_AZURE_LOGIN", value_name = "HOW", default_value = "developer")]
    pub azure_login: Login,
    /// The id of the tenant
    #[arg(long, env = "AZURE_TENANT_ID", value_name = "ID")]
    pub azure_tenant: Option<String>,
    /// The client id of the application or of the assigned identity; its password is read from `AZURE_CLIENT_SECRET`
    #[arg(long, env = "AZURE_CLIENT_ID", value_name = "ID")]
    pub azure_client: Option<String>,
    /// The file with the token of a federated identity
    #[arg(long, env = "AZURE_FEDERATED_TOKEN_FILE", value_name = "FILE")]
    pub azure_token_file: Option<PathBuf>,
    /// A subscription to guard machines in; may be given several times. Default: all that the identity can read
    #[arg(long, env = "PORTCULLIS_AZURE_SUBSCRIPTION", value_name = "ID", value_delimiter = ',')]
    pub azure_subscription: Vec<String>,
    /// The treatment of existing rules
    #[arg(long, env = "PORTCULLIS_EXISTING_RULES", value_name = "WHAT", default_value = "override")]
    pub existing_rules: ExistingArg,
    /// The priorities of our allow rules, which decide before our deny rules [default: 100-199, or 3700-3899 to respect]
    #[arg(long, env = "PORTCULLIS_ALLOW_BAND", value_name = "FROM-TO", value_parser = band)]
    pub allow_band: Option<Band>,
    /// The priorities of our deny rules [default: 200-299, or 3900-4095 to respect]
    #[arg(long, env = "PORTCULLIS_DENY_BAND", value_name = "FROM-TO", value_parser = band)]
    pub deny_band: Option<Band>,
}

/// Priorities, the last one excluded.
pub type Band = Range<u16>;

/// As whom Azure is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Login {
    /// The login of `az` or `azd` on this machine
    Developer,
    /// The managed identity of this machine
    ManagedIdentity,
    /// The identity of this pod, as AKS sets it up
    WorkloadIdentity,
    /// An application with the token in --azure-token-file, without a secret
    Federated,
    /// An application with the password in `AZURE_CLIENT_SECRET`
    ClientSecret,
}

/// The treatment of existing rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExistingArg {
    /// Our lock is above them: they admit no source to a guarded port
    Override,
    /// Our lock is below them: the sources that they admit pass without a lease
    Respect,
}

impl Default for Args {
    /// As they are where nothing is said, not even by the environment.
    fn default() -> Self {
        Self {
            azure_cloud: CloudName::Public,
            azure_arm: None,
            azure_authority: None,
            azure_audience: None,
            azure_ca: None,
            azure_login: Login::Developer,
            azure_tenant: None,
            azure_client: None,
            azure_token_file: None,
            azure_subscription: vec![],
            existing_rules: ExistingArg::Override,
            allow_band: None,
            deny_band: None,
        }
    }
}

impl Args {
    /// The real cloud.
    pub fn azure(&self) -> Result<Azure, Failure> {
        let Endpoints { arm, authority, audience } = self.azure_cloud.endpoints();
        let endpoints = Endpoints {
            arm: self.azure_arm.clone().unwrap_or(arm),
            authority: self.azure_authority.clone().unwrap_or(authority),
            audience: self.azure_audience.clone().unwrap_or(audience),
        };
        let roots = roots(self.azure_ca.as_deref())?;
        let settings = Settings { endpoints, credentials: self.credentials()?, roots };
        self.guarded(&settings)
    }

    pub(crate) fn guarded(&self, settings: &Settings) -> Result<Azure, Failure> {
        let existing = match self.existing_rules {
            ExistingArg::Override => Existing::Override,
            ExistingArg::Respect => Existing::Respect,
        };
        let mut bounds = Bounds::with(existing);
        bounds.subscriptions.clone_from(&self.azure_subscription);
        bounds.bands.allows = self.allow_band.clone().unwrap_or(bounds.bands.allows);
        bounds.bands.denies = self.deny_band.clone().unwrap_or(bounds.bands.denies);
        let (allows, denies) = (&bounds.bands.allows, &bounds.bands.denies);
        if denies.start < allows.end {
            let (allows, denies) = (shown(allows), shown(denies));
            let message = format!("`--allow-band {allows}` must end before `--deny-band {denies}` begins");
            return Err(Failure::usage(format!("{message}, since a lower priority decides first")));
        }
        Ok(Azure::new(Arm::new(settings).map_err(failed)?, bounds, Arc::new(steady::now)))
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        if let Some(file) = &self.azure_token_file {
            private::check_token(file)?;
        }
        let needed = |value: &Option<String>, option: &str| {
            let missing =
                || Failure::usage(format!("`--azure-login {}` needs {option}", self.azure_login.word()));
            value.clone().filter(|it| !it.is_empty()).ok_or_else(missing)
        };
        let tenant = || needed(&self.azure_tenant, "--azure-tenant");
        let client = || needed(&self.azure_client, "--azure-client");
        Ok(match self.azure_login {
            Login::Developer => Credentials::DeveloperTools,
            Login::ManagedIdentity => {
                Credentials::ManagedIdentity { client: self.azure_client.clone(), metadata: None }
            }
            Login::WorkloadIdentity => Credentials::WorkloadIdentity {
                tenant: self.azure_tenant.clone(),
                client: self.azure_client.clone(),
                token_file: self.azure_token_file.clone(),
            },
            Login::Federated => {
                let file = self
                    .azure_token_file
                    .clone()
                    .ok_or_else(|| Failure::usage("`--azure-login federated` needs --azure-token-file"))?;
                let assertion = Arc::new(FileAssertion::new(file));
                Credentials::Assertion { tenant: tenant()?, client: client()?, assertion }
            }
            Login::ClientSecret => {
                let secret = needed(
                    &env::var("AZURE_CLIENT_SECRET").ok().filter(|it| !it.is_empty()),
                    "the variable AZURE_CLIENT_SECRET",
                )?;
                Credentials::ClientSecret {
                    tenant: tenant()?,
                    client: client()?,
                    secret: Secret::new(secret),
                }
            }
        })
    }
}

impl Login {
    fn word(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::ManagedIdentity => "managed-identity",
            Self::WorkloadIdentity => "workload-identity",
            Self::Federated => "federated",
            Self::ClientSecret => "client-secret",
        }
    }
}

/// The certificates of the environment, and those of a file.
fn roots(file: Option<&Path>) -> Result<Roots, Failure> {
    let roots = Roots::of_environment().map_err(|error| unusable(&error))?;
    let Some(file) = file else { return Ok(roots) };
    // Who writes it decides who is taken for Azure, and is sent our tokens.
    private::check_file(file)?;
    roots.and("--azure-ca", file).map_err(|error| unusable(&error))
}

fn unusable(error: &BadRoots) -> Failure {
    let source = error.source().map(ToString::to_string);
    Failure::usage(error.to_string()).because(source)
}

/// `100-199`, both of them included.
fn band(text: &str) -> Result<Band, String> {
    let ends =
        text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse::<u16>().ok()?)));
    match ends {
        Some((from, to)) if from <= to && PRIORITIES.contains(&from) && PRIORITIES.contains(&to) => {
            Ok(from..to + 1)
        }
        Some(_) | None => Err("not a band of two priorities from 100 to 4096, such as `100-199`".to_owned()),
    }
}

fn shown(band: &Band) -> String {
    format!("{}-{}", band.start, band.end.saturating_sub(1))
}
