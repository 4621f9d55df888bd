//! Two installations of the real program on one simulated Azure, each with a table of its own.

use portcullis_tests::binary::{Simcloud, Up, text};
use serde_json::Value;
use std::{
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

/// How long settling may take.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// One that guards the machines of that cloud.
fn installation(data: &Path, cloud: &Simcloud, certificate: &Path) -> Up {
    let url = cloud.url.as_str();
    let certificate = certificate.display().to_string();
    let options = [
        ["--guard", "azure"],
        ["--azure-arm", url],
        ["--azure-authority", url],
        ["--azure-audience", url],
        ["--azure-ca", &certificate],
        ["--azure-login", "client-secret"],
        ["--azure-tenant", &cloud.tenant],
        ["--azure-client", "portcullis"],
    ];
    Up::start_with(data, options.as_flattened(), &[], |command| {
        command.env("AZURE_CLIENT_SECRET", "any").stderr(Stdio::null());
    })
}

fn state(up: &Up, name: &str) -> Value {
    let targets = up.json(&["targets"]);
    let found = targets.as_array().expect("a list").iter().find(|it| it["name"] == name);
    found.expect("a machine").clone()
}

#[test]
fn a_machine_is_guarded_by_one_installation_until_another_takes_it_over() {
    let (there, one, two) = (folder(), folder(), folder());
    let cloud = Simcloud::start(there.path());
    let certificate = there.path().join("simcloud.pem");
    let first = installation(one.path(), &cloud, &certificate);
    let second = installation(two.path(), &cloud, &certificate);
    first.json(&["enable", "web-1"]);
    let began = Instant::now();
    while state(&first, "web-1")["settled"] != true {
        assert!(began.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for the lock");
        thread::sleep(Duration::from_millis(100));
    }
    let refused = second.ask(&["enable", "web-1"]);
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("another installation") && told.contains("--take-over"), "{told}");
    assert_eq!(state(&second, "web-1")["state"], "not_configured", "nothing was changed");
    assert_eq!(state(&first, "web-1")["settled"], true);
    // Another machine of the same cloud is anybody's who comes first.
    second.json(&["enable", "farm-1"]);
    // The table of the first one is lost.
    first.kill();
    second.json(&["enable", "web-1", "--take-over"]);
    assert_eq!(state(&second, "web-1")["state"], "configured");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}
