//! The functions as they are deployed: built for release.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The functions, by the names of their binaries.
pub(super) const FUNCTIONS: [&str; 7] = ["api", "expire", "export", "reconcile", "relay", "settle", "submit"];

/// Where a function's program is. Building what is built costs nothing.
pub fn function(name: &str) -> &'static Path {
    static BINARIES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let built = BINARIES.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--message-format", "json", "--quiet", "--locked"]);
        for function in FUNCTIONS {
            cargo.arg("--package").arg(format!("portcullis-{function}"));
        }
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let messages = String::from_utf8_lossy(&built.stdout).into_owned();
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let executable = |it: Value| {
            let name = it["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(it["executable"].as_str()?)))
        };
        messages.filter_map(executable).collect()
    });
    built.get(name).unwrap_or_else(|| panic!("{name} is none of them"))
}
