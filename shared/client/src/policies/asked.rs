//! Arguments of the commands on policy files.

use super::sources::FOLDER;
use crate::moments;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::Gate;
use std::path::PathBuf;

/// Which remarks on which files.
#[derive(Debug, Args)]
pub struct Lint {
    /// The folder of the policy files
    #[arg(value_name = "DIR", default_value = FOLDER)]
    pub(super) folder: PathBuf,
    /// Remark on requests from networks of IPv4 that are wider than this
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub(super) widest_ipv4: Option<u8>,
    /// Remark on requests from networks of IPv6 that are wider than this
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=128))]
    pub(super) widest_ipv6: Option<u8>,
}

/// Which port of which machine, under which circumstances.
#[derive(Debug, Args)]
pub struct WhoCan {
    /// The machine: its id, or the last part of the id of one in `installation.toml`
    pub(super) target: String,
    /// The port, such as `22` or `53/udp`
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub(super) port: Gate,
    /// The folder of the policy files
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    pub(super) policies: PathBuf,
    /// The source: an address or a network
    #[arg(long, value_name = "RANGE", default_value = "203.0.113.9")]
    pub(super) from: String,
    /// The length of the lease
    #[arg(long = "for", value_name = "TIME", value_parser = moments::length, default_value = "1h")]
    pub(super) length: SignedDuration,
    /// The time of the request [default: now]
    #[arg(long, value_name = "TIME", value_parser = moments::moment)]
    pub(super) at: Option<Timestamp>,
}
