//! What the proofs are made of: the suites themselves are in `fast/` and `gate/`.

#![expect(clippy::missing_panics_doc, reason = "a proof that does not hold panics")]

pub mod api;
pub mod archive;
pub mod azure;
pub mod azure_place;
pub mod bill;
pub mod binary;
pub mod built;
pub mod callers;
pub mod cold;
pub mod commands;
pub mod contracts;
pub mod door;
pub mod facts;
pub mod fake_clock;
pub mod fleet;
pub mod given;
pub mod guarded;
pub mod idp;
pub mod installation;
pub mod lateness;
pub mod long_journal;
pub mod modules;
pub mod needs;
pub mod network;
pub mod place;
pub mod private_network;
pub mod pty;
pub mod python;
pub mod remote_azure;
pub mod roles;
pub mod schemas;
pub mod sentences;
pub mod small_disk;
pub mod small_world;
pub mod spent;
pub mod stories;
pub mod strangers;
pub mod template;

use std::path::PathBuf;

/// The folder of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}
