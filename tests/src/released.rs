//! The functions as they are deployed: built for release.

use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, process::Command};

/// The functions, by the names of their binaries.
pub const FUNCTIONS: [&str; 7] = ["api", "expire", "export", "reconcile", "relay", "settle", "submit"];

/// Where these binaries are; each is of the package that is called after it. Building what is built costs
/// nothing.
pub fn released(names: &[&str]) -> Vec<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--message-format", "json", "--quiet", "--locked"]);
    for name in names {
        cargo.arg("--package").arg(format!("portcullis-{name}"));
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
