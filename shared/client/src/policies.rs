//! Policies: the files on this machine, what is wrong with them and the answers that they give, and those of the installation.

#[cfg(not(feature = "policy"))]
mod absent;
mod asked;
#[cfg(feature = "policy")]
mod beside;
mod difference;
#[cfg(feature = "policy")]
mod files;
#[cfg(feature = "policy")]
mod offline;
mod online;
mod sources;

#[cfg(not(feature = "policy"))]
use absent as offline;

use crate::{client::Client, globals::Globals, output::Output};
use asked::{Lint, WhoCan};
use clap::Subcommand;
use online::{Apply, Rollback};
use portcullis_program::{Exit, Failure};
use sources::FOLDER;
use std::path::PathBuf;

/// What to do about policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check policy files: each fault with its file, line and column
    #[command(after_help = CHECK)]
    Check {
        /// The folder of the policy files
        #[arg(value_name = "DIR", default_value = FOLDER)]
        folder: PathBuf,
    },
    /// List policies without an effect, requests without an approver, and roles without a member
    #[command(after_help = LINT)]
    Lint(Lint),
    /// Compare the answers of policy files with those that a file of cases expects
    #[command(after_help = TEST)]
    Test {
        /// The file of cases
        file: PathBuf,
    },
    /// List the callers who may request, open or approve a port of a machine
    #[command(after_help = WHO_CAN)]
    WhoCan(WhoCan),
    /// Print the schema that policies are written against
    Schema,
    /// Make policy files those of the installation
    #[command(after_help = APPLY)]
    Apply(Apply),
    /// Show how policy files differ from those of the installation
    #[command(after_help = DIFF)]
    Diff {
        /// The folder of the policy files, or one file
        #[arg(value_name = "DIR|FILE", default_value = FOLDER)]
        path: PathBuf,
    },
    /// List the versions of the policies of the installation, the newest first
    History,
    /// Go back to the policies of a version, which become a new one
    #[command(after_help = ROLLBACK)]
    Rollback(Rollback),
    /// Print the policies of the installation, and what decides beside them: its roles and the rules of its ports
    #[command(after_help = SHOW)]
    Show {
        /// The version, as `policy history` lists it [default: the one in force]
        #[arg(long, value_name = "N")]
        version: Option<u64>,
    },
}

const APPLY: &str = "\
A folder replaces all policies of the installation, with the time zone of its `installation.toml`.
One file replaces that file alone. Policies that have a fault are refused as a whole, and so are
those by which you could no longer administer the installation.

Examples:
  portcullis policy apply --why \"at most four hours\"
  portcullis policy apply infra/policies --expect 12
  portcullis policy apply policies/on-call.cedar";

const DIFF: &str = "\
Exit codes: 0 no difference, 1 there is one.

Examples:
  portcullis policy diff
  portcullis policy diff infra/policies --json";

const SHOW: &str = "\
Roles and the rules of ports are printed as the policies that they amount to.

Examples:
  portcullis policy show
  portcullis policy show --version 12";

const ROLLBACK: &str = "\
Version 0 is no policies.

Example:
  portcullis policy rollback 12 --why \"the new one kept the night shift out\"";

const CHECK: &str = "\
Policy files are those of the folder whose names end in `.cedar`. The people, workloads, groups and
machines that exist are those of `installation.toml` in the folder, if it is there.
Exit codes: 0 all are valid, 1 there are faults.

Examples:
  portcullis policy check
  portcullis policy check infra/policies --json";

const LINT: &str = "\
People, groups, machines and roles are those of `installation.toml` in the folder.
Exit codes: 0 no remarks, 1 there are some.

Examples:
  portcullis policy lint
  portcullis policy lint --widest-ipv4 24 --widest-ipv6 64";

const TEST: &str = "\
The policy files are those of the folder of the file, or of the one that it names as `policies`.
Exit codes: 0 all answers are the expected ones, 1 one is not.

Example:
  portcullis policy test policies/cases.toml";

const WHO_CAN: &str = "\
Callers are those of `installation.toml` in the folder of the policy files.

Examples:
  portcullis policy who-can web-1 22
  portcullis policy who-can web-1 3389 --from 203.0.113.0/24 --for 4h --at 2026-05-01T18:30Z";

impl Policy {
    /// Reads the files, or asks the server, and shows what was found. Only who asks the server needs a client, and of texts that are compared or
    /// sent again one that leaves them as they are stored.
    pub fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let out = &Output::of(globals);
        match self {
            Self::Check { folder } => offline::check(folder, out),
            Self::Lint(it) => offline::lint(it, out),
            Self::Test { file } => offline::test(file, out),
            Self::WhoCan(it) => offline::who_can(it, out),
            Self::Schema => offline::schema(),
            Self::Apply(it) => it.run(&Client::of(globals)?, &Client::faithful(globals)?),
            Self::Diff { path } => online::diff(path, &Client::faithful(globals)?),
            Self::History => online::history(&Client::of(globals)?),
            Self::Rollback(it) => it.run(&Client::of(globals)?),
            Self::Show { version } => online::show(*version, &Client::of(globals)?),
        }
    }
}
