//! The real program may open nothing more while a lease ends: no file, no socket, no alarm, no other program. Nothing of
//! that ends it, and what was due is done once it may.

use portcullis_tests::{
    binary::Up,
    network::{Network, VISITORS, plays_a_part},
};
use serde_json::Value;
use std::{
    thread,
    time::{Duration, Instant},
};

const VISITOR: &str = "203.0.113.9";
const PORT: u16 = 2222;
const LEASE: &str = "3s";
/// For how long nothing can be opened: until well after the end of the lease.
const LACKING: Duration = Duration::from_secs(6);
/// How long after that the lease may still be unclosed.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// Standard input, output and error: a process with no more than these opens nothing.
const STANDARD: u64 = 3;
const OPTIONS: [&str; 4] = ["--lease-min", "1s", "--reconcile-every", "1s"];

/// Leaves it nothing to open for a time, and then waits until the lease is told closed.
fn outlives(up: &Up, grant: &Value) {
    let id = grant["id"].as_str().expect("an id");
    up.limit_descriptors(Some(STANDARD));
    thread::sleep(LACKING);
    up.limit_descriptors(None);
    let start = Instant::now();
    let is_closed = || {
        let grants = up.json(&["grants", "--all"]);
        let grants = grants.as_array().expect("a list").iter();
        let mut of_it = grants.filter(|it| it["id"] == id);
        of_it.any(|it| it["state"] == "closed")
    };
    while !is_closed() {
        assert!(start.elapsed() < HEALED_WITHIN, "it is not closed {HEALED_WITHIN:?} after it could be");
        thread::sleep(Duration::from_millis(100));
    }
}

fn requested(up: &Up, port: &str, from: &str) -> Value {
    let answer = up.json(&["request", port, "--from", from, "--for", LEASE, "--wait"]);
    answer["grants"][0].clone()
}

#[test]
fn a_lease_in_azure_is_closed_soon_after_descriptors_are_there_again() {
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &OPTIONS, &[]);
    let grant = requested(&up, "db-1:22", VISITOR);
    assert!(up.packet_passes("db-1", VISITOR, 22));
    outlives(&up, &grant);
    assert!(!up.packet_passes("db-1", VISITOR, 22));
    // And the next one as ever.
    let grant = requested(&up, "db-1:22", VISITOR);
    outlives(&up, &grant);
    assert!(up.stop().success());
}

#[test]
#[ignore = "needs nft"]
fn a_lease_of_this_machine_is_closed_soon_after_descriptors_are_there_again() {
    const TEST: &str =
        "descriptors::a_lease_of_this_machine_is_closed_soon_after_descriptors_are_there_again";
    if plays_a_part() {
        return;
    }
    let mut network = Network::lay();
    network.listen(TEST, PORT);
    let data = tempfile::tempdir().expect("a folder");
    let options = [&OPTIONS[..], &["--guard", "host"]].concat();
    let up = Up::start(data.path(), &options, &network.on_machine());
    let targets = up.json(&["targets"]);
    let host = targets[0]["id"].as_str().expect("an id").to_owned();
    up.json(&["enable", &host, "--port", &PORT.to_string()]);
    let grant = requested(&up, &format!("{host}:{PORT}"), VISITORS[0]);
    assert!(network.reaches(TEST, VISITORS[0], PORT));
    outlives(&up, &grant);
    assert!(!network.reaches(TEST, VISITORS[0], PORT));
    assert!(up.stop().success());
}
