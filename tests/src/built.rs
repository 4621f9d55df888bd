//! Our own binaries, built by cargo as somebody needs them.

use serde_json::Value;
use std::{collections::BTreeMap, env, path::PathBuf, process::Command};

/// The functions, by the names of their binaries.
pub const FUNCTIONS: [&str; 7] = ["api", "expire", "export", "reconcile", "relay", "settle", "submit"];

/// How a binary is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// As the caller was: in its profile, and with the features of the whole workspace, since those of a package alone
    /// would build every dependency anew.
    AsTests,
    /// As `sam build` does: small, and slow to build. Each binary is of the package that is called after it.
    AsDeployed,
}

/// Where these binaries are. Building what is built costs nothing.
pub fn built(names: &[&str], how: How) -> Vec<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--message-format", "json", "--quiet", "--locked", "--profile"]);
    match how {
        // What is measured is what people run.
        How::AsTests if cfg!(debug_assertions) => cargo.args(["dev", "--workspace"]),
        How::AsTests => cargo.args(["release", "--workspace"]),
        How::AsDeployed => cargo.arg("deployed"),
    };
    for name in names {
        match how {
            How::AsTests => cargo.args(["--bin", name]),
            How::AsDeployed => cargo.arg("--package").arg(format!("portcullis-{name}")),
        };
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = |it: Value| {
        let name = it["target"]["name"].as_str()?.to_owned();
        Some((name, PathBuf::from(it["executable"].as_str()?)))
    };
    let executables: BTreeMap<String, PathBuf> = messages.filter_map(executable).collect();
    names.iter().map(|it| executables[*it].clone()).collect()
}

/// Cargo, as if nobody's tests had started it: what it tells tests of their package is what some build scripts
/// (ring's) look at, and all that stands on them would be built anew each time that one is started by the other.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let is_of_a_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_a_package) {
            cargo.env_remove(name);
        }
    }
    cargo
}
