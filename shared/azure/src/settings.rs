//! Which Azure is asked, and as whom.

use azure_core::{credentials::Secret, http::ClientMethodOptions};
use azure_identity::ClientAssertion;
use portcullis_domain::said::unmarked;
use portcullis_outgoing::Roots;
use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
};

/// Everything that a client needs to be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which cloud.
    pub endpoints: Endpoints,
    /// As whom.
    pub credentials: Credentials,
    /// The certificates that are trusted.
    pub roots: Roots,
}

impl Settings {
    /// A simulated cloud on this machine, which takes any application with any password.
    pub fn of_simulator(url: &str, tenant: &str) -> Self {
        let (client, secret) = ("portcullis".to_owned(), Secret::new("simulated"));
        Self {
            endpoints: Endpoints::at(url),
            credentials: Credentials::ClientSecret { tenant: tenant.to_owned(), client, secret },
            roots: Roots::default(),
        }
    }
}

/// Where an Azure cloud is. Each is `https://` and a host; `http://` only on a loopback address, as the
/// simulator has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Azure Resource Manager, such as `https://management.azure.com`.
    pub arm: String,
    /// Who issues tokens, such as `https://login.microsoftonline.com`.
    pub authority: String,
    /// Whom tokens are for, such as `https://management.azure.com`; with `/.default` it is their scope.
    pub audience: String,
}

impl Endpoints {
    // Resource Manager, authority and audience of the three clouds, as HashiCorp's go-azure-sdk
    // (sdk/environments) and Microsoft's azure_core (`CloudConfiguration`) have them.

    /// The cloud of everybody.
    pub fn public() -> Self {
        Self::of("https://management.azure.com", "https://login.microsoftonline.com")
    }

    /// The cloud of the government of the United States.
    pub fn us_government() -> Self {
        Self::of("https://management.usgovcloudapi.net", "https://login.microsoftonline.us")
    }

    /// The cloud in China, which 21Vianet operates.
    pub fn china() -> Self {
        Self::of("https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn")
    }

    /// Everything at one place, as the simulator has it.
    pub fn at(url: &str) -> Self {
        Self::of(url, url)
    }

    fn of(arm: &str, authority: &str) -> Self {
        Self { arm: arm.to_owned(), authority: authority.to_owned(), audience: arm.to_owned() }
    }

    /// What a token is asked for.
    pub(crate) fn scope(&self) -> String {
        format!("{}/.default", self.audience.trim_end_matches('/'))
    }
}

/// A cloud by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudName {
    /// `public`
    Public,
    /// `usgovernment`
    UsGovernment,
    /// `china`
    China,
}

impl CloudName {
    /// Every cloud.
    pub const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// Where it is.
    pub fn endpoints(self) -> Endpoints {
        match self {
            Self::Public => Endpoints::public(),
            Self::UsGovernment => Endpoints::us_government(),
            Self::China => Endpoints::china(),
        }
    }
}

impl Display for CloudName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::UsGovernment => "usgovernment",
            Self::China => "china",
        })
    }
}

/// A name that no cloud has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an Azure cloud: `public`, `usgovernment` and `china` are")]
pub struct NoCloud(String);

impl FromStr for CloudName {
    type Err = NoCloud;

    fn from_str(text: &str) -> Result<Self, NoCloud> {
        let is_it = |it: &Self| it.to_string().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(is_it).ok_or_else(|| NoCloud(text.to_owned()))
    }
}

/// As whom Azure is asked.
#[derive(Clone)]
pub enum Credentials {
    /// An application that proves who it is by a token of somebody whom Entra ID trusts: no secret.
    Assertion {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// Where the token comes from.
        assertion: Arc<dyn ClientAssertion>,
    },
    /// A pod of Kubernetes, as AKS sets it up; what is not said is in its environment.
    WorkloadIdentity {
        /// The tenant's id.
        tenant: Option<String>,
        /// The application's id.
        client: Option<String>,
        /// The file with the pod's token.
        token_file: Option<PathBuf>,
    },
    /// A machine of Azure.
    ManagedIdentity {
        /// The client id of an identity that users assigned; else the machine's own.
        client: Option<String>,
        /// Where machines ask for their tokens, if not at Azure's address: a loopback address.
        metadata: Option<String>,
    },
    /// An application with a password.
    ClientSecret {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client: String,
        /// The password.
        secret: Secret,
    },
    /// Whoever is logged in with `az` or `azd` on this machine.
    DeveloperTools,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assertion { tenant, client, assertion: _ } => {
                let mut shown = f.debug_struct("Assertion");
                shown.field("tenant", tenant).field("client", client).finish_non_exhaustive()
            }
            Self::WorkloadIdentity { tenant, client, token_file } => {
                let mut shown = f.debug_struct("WorkloadIdentity");
                shown.field("tenant", tenant).field("client", client).field("token_file", token_file).finish()
            }
            Self::ManagedIdentity { client, metadata } => {
                let mut shown = f.debug_struct("ManagedIdentity");
                shown.field("client", client).field("metadata", metadata).finish()
            }
            Self::ClientSecret { tenant, client, secret: _ } => {
                let mut shown = f.debug_struct("ClientSecret");
                shown.field("tenant", tenant).field("client", client).finish_non_exhaustive()
            }
            Self::DeveloperTools => f.write_str("DeveloperTools"),
        }
    }
}

/// An assertion that is read from a file each time: whoever put it there renews it there.
#[derive(Debug, Clone)]
pub struct FileAssertion(PathBuf);

impl FileAssertion {
    /// The token in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

#[async_trait::async_trait]
impl ClientAssertion for FileAssertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let text = read.map_err(std::io::Error::other).flatten().map_err(|error| {
            let doing = format!("cannot read the token in `{}`", self.0.display());
            azure_core::Error::with_error(azure_core::error::ErrorKind::Credential, error, doing)
        })?;
        Ok(unmarked(text).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_its_places() {
        let places = |name: &str| {
            let it = name.parse::<CloudName>().map(CloudName::endpoints);
            it.map(|it| (it.scope(), it.arm, it.authority))
        };
        let expected = |arm: &str, authority: &str| {
            Ok((format!("{arm}/.default"), arm.to_owned(), authority.to_owned()))
        };
        let login = "https://login.microsoftonline.com";
        assert_eq!(places("public"), expected("https://management.azure.com", login));
        let login = "https://login.microsoftonline.us";
        assert_eq!(places("usgovernment"), expected("https://management.usgovcloudapi.net", login));
        let login = "https://login.chinacloudapi.cn";
        assert_eq!(places("China"), expected("https://management.chinacloudapi.cn", login));
        let nowhere = places("germany").expect_err("it was closed in 2021").to_string();
        assert!(nowhere.contains("`germany`") && nowhere.contains("`usgovernment`"), "{nowhere}");
        for cloud in CloudName::ALL {
            assert_eq!(cloud.to_string().parse(), Ok(cloud));
        }
    }

    #[test]
    fn a_slash_at_the_end_of_an_audience_is_no_part_of_its_scope() {
        let audience = "https://management.core.windows.net/".to_owned();
        let endpoints = Endpoints { audience, ..Endpoints::public() };
        assert_eq!(endpoints.scope(), "https://management.core.windows.net/.default");
    }

    #[tokio::test]
    async fn an_assertion_is_read_each_time() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let assertion = FileAssertion::new(file.path());
        for text in ["first", "second"] {
            std::fs::write(file.path(), format!("{text}\n")).expect("writes");
            assert_eq!(assertion.secret(None).await.expect("reads"), text);
        }
    }
}
