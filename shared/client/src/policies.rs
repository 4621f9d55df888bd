//! Policy files: what is wrong with them, and the answers that they give. No server is asked.

#[cfg(not(feature = "policy"))]
mod absent;
mod asked;
#[cfg(feature = "policy")]
mod files;
#[cfg(feature = "policy")]
mod offline;

#[cfg(not(feature = "policy"))]
use absent as offline;

use crate::{globals::Globals, output::Output};
use asked::{FOLDER, Lint, WhoCan};
use clap::Subcommand;
use portcullis_program::{Exit, Failure};
use std::path::PathBuf;

/// What to do about policy files.
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
}

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
    /// Reads the files, and shows what was found.
    pub fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let out = &Output::of(globals);
        match self {
            Self::Check { folder } => offline::check(folder, out),
            Self::Lint(it) => offline::lint(it, out),
            Self::Test { file } => offline::test(file, out),
            Self::WhoCan(it) => offline::who_can(it, out),
            Self::Schema => offline::schema(),
        }
    }
}
