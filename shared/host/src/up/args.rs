//! The options of `portcullis up`.

use crate::{cloud, log::Form, simulated::Pace};
use clap::ValueEnum;
use ipnet::IpNet;
use jiff::SignedDuration;
use portcullis_domain::{LEASE_DEFAULT, LEASE_MIN, Terms, address_range, length_of_some_time as length};
use portcullis_program::Failure;
use std::{net::SocketAddr, path::PathBuf};

/// Serve the API, and open and close on the clock.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address to serve the API at
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7422")]
    pub listen: SocketAddr,
    /// The firewalls to guard
    #[arg(
        long,
        env = "PORTCULLIS_GUARD",
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "simcloud"
    )]
    pub guard: Vec<Guard>,
    /// The treatment of established connections when a lease ends (this machine only)
    #[arg(long, env = "PORTCULLIS_ESTABLISHED", value_name = "WHAT", default_value = "survive")]
    pub established: EstablishedArg,
    /// The time that a request waits for its approval
    #[arg(long, env = "PORTCULLIS_PENDING_FOR", value_name = "TIME", default_value = "8h")]
    #[arg(value_parser = length)]
    pub pending_for: SignedDuration,
    /// The shortest lease; less than 5m is for demonstrations
    #[arg(long, env = "PORTCULLIS_LEASE_MIN", value_name = "TIME", default_value = "5m")]
    #[arg(value_parser = length)]
    pub lease_min: SignedDuration,
    /// The interval at which every firewall is compared with the table
    #[arg(long, env = "PORTCULLIS_RECONCILE_EVERY", value_name = "TIME", default_value = "1m")]
    #[arg(value_parser = length)]
    pub reconcile_every: SignedDuration,
    /// The address to serve the simulated Azure at: a loopback address
    #[arg(long, env = "PORTCULLIS_SIMCLOUD_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub simcloud_listen: SocketAddr,
    /// The speed of the simulated Azure [default: as it was; a new one is ordinary]
    #[arg(long, env = "PORTCULLIS_SIMCLOUD_PACE", value_name = "PACE")]
    pub simcloud_pace: Option<Pace>,
    /// The form of the log lines, on standard error [default: short on a terminal, else full]
    #[arg(long, env = "PORTCULLIS_LOG_FORM", value_name = "FORM")]
    pub log: Option<Form>,
    /// A file with the bots that may send events, and the people they may act for:
    /// `[{"source": "chatops", "for": ["ann"]}]`, with `"for": "*"` for all people. Default: none
    #[arg(long, env = "PORTCULLIS_BOTS_FILE", value_name = "FILE")]
    pub bots: Option<PathBuf>,
    /// A file with the issuers whose OpenID Connect tokens are accepted, as docs/identity.md describes it. Default: none
    #[arg(long, env = "PORTCULLIS_ISSUERS_FILE", value_name = "FILE")]
    pub issuers: Option<PathBuf>,
    /// The real one.
    #[command(flatten)]
    pub azure: cloud::Args,
    /// A proxy whose header X-Forwarded-For is trusted; may be given several times
    #[arg(long, env = "PORTCULLIS_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    #[arg(value_parser = range)]
    pub trusted_proxy: Vec<IpNet>,
}

/// The firewalls to guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Guard {
    /// A simulated Azure, kept in the data folder
    Simcloud,
    /// Azure
    Azure,
    /// This Linux machine, through nftables; needs root
    Host,
}

/// What becomes of established connections when a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EstablishedArg {
    /// Established connections continue, as in Azure; new ones are refused
    Survive,
    /// Established connections are cut as well
    Cut,
}

/// A range, or one address.
fn range(text: &str) -> Result<IpNet, String> {
    address_range(text)
        .ok_or_else(|| "not an address or a range such as `10.0.0.1` or `10.0.0.0/8`".to_owned())
}

impl Args {
    /// What a demonstration needs: leases of seconds on a fleet of its own.
    pub fn for_demonstration() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            guard: vec![Guard::Simcloud],
            simcloud_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            simcloud_pace: Some(Pace::Quick),
            azure: cloud::Args::default(),
            established: EstablishedArg::Survive,
            pending_for: Terms::default().pending_for,
            lease_min: LEASE_MIN.min(SignedDuration::from_secs(1)),
            reconcile_every: SignedDuration::from_mins(1),
            trusted_proxy: vec![],
            bots: None,
            issuers: None,
            log: None,
        }
    }

    /// Refuses times that no installation can go by.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let times = [
            ("--pending-for", self.pending_for),
            ("--lease-min", self.lease_min),
            ("--reconcile-every", self.reconcile_every),
        ];
        if let Some((option, time)) = times.into_iter().find(|(_, time)| *time < SignedDuration::from_secs(1))
        {
            return Err(Failure::usage(format!("`{option} {time:#}` is too short: at least 1s")));
        }
        if LEASE_DEFAULT < self.lease_min {
            let (asked, max) = (self.lease_min, LEASE_DEFAULT);
            return Err(Failure::usage(format!("`--lease-min {asked:#}` is too long: at most {max:#}")));
        }
        Ok(())
    }
}

impl Guard {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Simcloud => "simcloud",
            Self::Azure => "azure",
            Self::Host => "host",
        }
    }
}
