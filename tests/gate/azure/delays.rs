//! What delays a closing is named by the real program, whatever it is: in the journal, in words, in a spreadsheet and as
//! an event, with whose it is.

use portcullis_tests::{
    azure::ANN,
    binary::{Up, text},
};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a lease is.
const LEASE: Duration = Duration::from_secs(3);
/// For how long something is in the way of its end.
const IN_THE_WAY: Duration = Duration::from_secs(9);
const WAIT_MAX: Duration = Duration::from_mins(1);

struct Place {
    up: Up,
    data: tempfile::TempDir,
    grant: String,
}

impl Place {
    /// A lease that is open, and runs.
    fn open() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let up = Self::up(&data);
        up.json(&["enable", "web-1"]);
        wait("web-1 is shut", || !up.packet_passes("web-1", ANN, 22));
        let lease = format!("{}s", LEASE.as_secs());
        let granted = up.json(&["request", "web-1", "--for", &lease, "--from", ANN, "--why", "a test"]);
        let grant = granted["grants"][0]["id"].as_str().expect("an id").to_owned();
        wait("the lease is open", || up.packet_passes("web-1", ANN, 22));
        Self { up, data, grant }
    }

    fn up(data: &tempfile::TempDir) -> Up {
        Up::start(data.path(), &["--lease-min", "1s", "--simcloud-pace", "quick"], &[])
    }

    /// The closing of the lease, once it is told.
    fn closed(&self) -> Value {
        let mut found = None;
        wait("the lease is shut", || {
            let entries = self.up.json(&["activity", "web-1"]);
            let facts = entries.as_array().expect("entries").iter().map(|it| it["fact"].clone());
            found = facts.filter(|it| it["what"] == "closed").find(|it| it["grant"] == self.grant.as_str());
            found.is_some()
        });
        assert!(!self.up.packet_passes("web-1", ANN, 22));
        found.expect("waited for")
    }

    fn restrict(&self, level: Option<&str>) {
        let targets = self.up.json(&["targets"]);
        let web = targets.as_array().expect("a list").iter().find(|it| it["name"] == "web-1");
        let id = web.expect("a machine")["id"].as_str().expect("an id").to_owned();
        let scope = id.split("/providers/").next().expect("a resource group");
        let lock = |level| json!({ "name": "keep", "scope": scope, "level": level });
        let locks: Vec<Value> = level.into_iter().map(lock).collect();
        self.up.control("restrictions", &json!({ "locks": locks }));
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn cause(closed: &Value) -> (&str, &str) {
    assert!(2_000 < closed["late_ms"].as_i64().expect("a number"), "{closed}");
    let why = closed["delay"]["why"].as_str().unwrap_or_default();
    (closed["delay"]["cause"].as_str().unwrap_or_else(|| panic!("no cause: {closed}")), why)
}

#[test]
fn a_closing_in_time_names_no_delay() {
    let closed = Place::open().closed();
    assert!(closed["delay"].is_null(), "{closed}");
}

#[test]
fn a_cloud_that_refuses_the_write_is_named_with_its_words_wherever_a_closing_is_told() {
    let place = Place::open();
    place.up.control("permissions", &json!({ "actions": ["*/read"] }));
    thread::sleep(IN_THE_WAY);
    place.up.control("permissions", &json!({ "actions": ["*"] }));
    let closed = place.closed();
    let (name, why) = cause(&closed);
    assert_eq!(name, "cloud-refused", "{closed}");
    assert!(why.contains("securityRules/"), "the right that is missing: {why}");
    let told = |words: &[&str]| {
        let told = text(&place.up.ask(words).stdout);
        assert!(told.contains("cloud-refused"), "{words:?}: {told}");
        told
    };
    assert!(told(&["activity", "web-1"]).contains("owned by the cloud"));
    told(&["activity", "web-1", "--csv"]);
    assert!(told(&["events", "--since", "5m"]).contains("grant.close_late"));
}

#[test]
fn a_cloud_that_does_not_answer_is_named() {
    let place = Place::open();
    let silent = |on: &str| json!({ "on": on, "times": 1_000_000, "fault": "silent" });
    place.up.plan(&json!({ "planned": [silent("read"), silent("write")] }));
    thread::sleep(IN_THE_WAY);
    place.up.plan(&json!({ "planned": [] }));
    let closed = place.closed();
    assert_eq!(cause(&closed).0, "cloud-unavailable", "{closed}");
}

#[test]
fn tries_that_the_cloud_failed_are_no_part_of_its_own_write() {
    let place = Place::open();
    let failing = json!({ "on": "write", "times": 4, "fault": "broken" });
    place.up.plan(&json!({ "planned": [failing], "operation_millis": 500, "retry_after_secs": 0 }));
    let closed = place.closed();
    assert_eq!(cause(&closed).0, "cloud-unavailable", "{closed}");
    let cloud_ms = closed["cloud_ms"].as_i64().unwrap_or_default();
    assert!(cloud_ms < 1_500, "the cloud takes 500 ms for a write that it takes: {closed}");
}

#[test]
fn a_lock_that_lets_a_rule_neither_be_deleted_nor_narrowed_is_named() {
    let place = Place::open();
    place.restrict(Some("ReadOnly"));
    thread::sleep(IN_THE_WAY);
    place.restrict(None);
    let closed = place.closed();
    let (name, why) = cause(&closed);
    assert_eq!(name, "deletion-locked", "{closed}");
    assert!(why.contains("ScopeLocked"), "{why}");
}

#[test]
fn a_lease_that_ended_while_portcullis_was_not_running_says_so() {
    let Place { up, data, grant } = Place::open();
    up.kill();
    thread::sleep(LEASE + Duration::from_secs(3));
    let place = Place { up: Place::up(&data), data, grant };
    let closed = place.closed();
    assert_eq!(cause(&closed).0, "not-running", "{closed}");
}
