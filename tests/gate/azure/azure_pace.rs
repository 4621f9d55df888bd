//! An ordinary Azure, met by the real program by the clock on the wall: a rule's write takes two seconds, asks for a
//! wait of ten, and keeps every other write to its security group waiting. And one that refuses tokens early, and one
//! whose locks forbid deletion, at that pace.

use portcullis_tests::{azure::ANN, binary::Up};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long the cloud takes for one write, in milliseconds.
const WRITE_MS: i64 = 2_000;
/// How long after the ask a lease is seen to be open.
const OPEN_MAX_MS: i64 = 3_500;
/// How late after its end a lease that ends alone is seen to be shut.
const ALONE_MAX_MS: i64 = 4_000;
/// How much later each lease is seen to be shut than the one before it behind the same security group.
const NEXT_MAX_MS: i64 = 2_500;
/// How late a lease is seen to be shut whose write meets a token that is refused, or a lock, beside the write itself.
const MENDED_MAX_MS: i64 = 3_000;
/// How long a lease is.
const LEASE: &str = "8s";
const WAIT_MAX: Duration = Duration::from_mins(1);

struct Place {
    up: Up,
    _data: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let options = ["--lease-min", "1s", "--simcloud-pace", "ordinary"];
        Self { up: Up::start(data.path(), &options, &[]), _data: data }
    }

    fn enable(&self, machine: &str) {
        self.up.json(&["enable", machine]);
        wait(&format!("{machine} is shut"), || !self.passes(machine));
    }

    /// Asks for ports of machines in one request, so that their leases end together; the grants.
    fn ask(&self, machines: &[&str]) -> Vec<String> {
        let words =
            [&["request"][..], machines, &["--for", LEASE, "--from", ANN, "--why", "a test"]].concat();
        let granted = self.up.json(&words);
        let grants = granted["grants"].as_array().expect("grants").iter();
        grants.map(|it| it["id"].as_str().expect("an id").to_owned()).collect()
    }

    fn passes(&self, machine: &str) -> bool {
        self.up.packet_passes(machine, ANN, 22)
    }

    /// What the journal of a machine says of a grant.
    fn fact(&self, machine: &str, grant: &str, what: &str) -> Option<Value> {
        let entries = self.up.json(&["activity", machine]);
        let mut facts = entries.as_array().expect("entries").iter().map(|it| it["fact"].clone());
        facts.find(|it| it["what"] == what && it["grant"] == grant)
    }

    /// The same, once it says so.
    fn wait_for(&self, machine: &str, grant: &str, what: &str) -> Value {
        let mut found = None;
        wait(&format!("{grant} is {what}"), || {
            found = self.fact(machine, grant, what);
            found.is_some()
        });
        found.expect("waited for")
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn millis(fact: &Value, field: &str) -> i64 {
    fact[field].as_i64().unwrap_or_else(|| panic!("no `{field}` in {fact}"))
}

#[test]
fn a_lease_in_an_ordinary_azure_opens_and_closes_by_reading_not_by_retry_after() {
    let place = Place::new();
    place.enable("web-1");
    let grant = place.ask(&["web-1"]).remove(0);
    let opened = place.wait_for("web-1", &grant, "opened");
    let after = millis(&opened, "after_ms");
    assert!((WRITE_MS..=OPEN_MAX_MS).contains(&after), "open after {after} ms");
    assert!(place.passes("web-1"));
    let closed = place.wait_for("web-1", &grant, "closed");
    let (late, cloud) = (millis(&closed, "late_ms"), millis(&closed, "cloud_ms"));
    println!("open after {after} ms, shut after {late} ms, {cloud} ms of it the cloud's");
    assert!(late <= ALONE_MAX_MS, "shut after {late} ms");
    assert!(WRITE_MS <= cloud && cloud <= late, "{cloud} ms of {late} ms are the cloud's");
    assert!(late - cloud <= 1_000, "{} ms are ours", late - cloud);
    assert!(!place.passes("web-1"));
    let told = place.up.ask(&["activity", "web-1"]);
    let told = portcullis_tests::binary::text(&told.stdout);
    assert!(told.contains(&format!("of which {cloud} ms are the cloud's own write")), "{told}");
}

#[test]
fn three_leases_that_end_behind_one_security_group_close_one_after_another() {
    let machines = ["farm-1", "farm-2", "farm-3"];
    let place = Place::new();
    for machine in machines {
        place.up.json(&["enable", machine, "--port", "22"]);
        wait(&format!("{machine} is shut"), || !place.passes(machine));
    }
    let wanted: Vec<String> = machines.iter().map(|it| format!("{it}:22")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let grants = place.ask(&wanted);
    let closed = machines.iter().zip(&grants).map(|(machine, grant)| {
        place.wait_for(machine, grant, "opened");
        millis(&place.wait_for(machine, grant, "closed"), "late_ms")
    });
    let mut late: Vec<i64> = closed.collect();
    late.sort_unstable();
    println!("shut after {late:?} ms");
    for (n, late) in (1..).zip(late) {
        assert!(late <= n * NEXT_MAX_MS, "number {n} was shut after {late} ms");
    }
    assert!(machines.iter().all(|it| !place.passes(it)));
}

#[test]
fn a_token_that_is_refused_before_its_end_delays_no_closing() {
    let place = Place::new();
    place.enable("web-1");
    for claims in [json!({}), json!({ "claims": "{\"access_token\":{\"nbf\":{\"value\":\"1\"}}}" })] {
        let grant = place.ask(&["web-1"]).remove(0);
        place.wait_for("web-1", &grant, "opened");
        place.up.control("refuse-tokens", &claims);
        let closed = place.wait_for("web-1", &grant, "closed");
        let late = millis(&closed, "late_ms");
        println!("shut after {late} ms with {claims}");
        assert!(late <= MENDED_MAX_MS, "shut after {late} ms with {claims}");
        assert!(!place.passes("web-1"));
    }
}

#[test]
fn a_lock_against_deletion_delays_no_closing() {
    let place = Place::new();
    place.enable("web-1");
    let grant = place.ask(&["web-1"]).remove(0);
    place.wait_for("web-1", &grant, "opened");
    let id =
        place.up.json(&["targets"]).as_array().expect("a list")[0]["id"].as_str().expect("an id").to_owned();
    let scope = id.split("/providers/").next().expect("a resource group");
    let lock = json!({ "name": "keep", "scope": scope, "level": "CanNotDelete" });
    place.up.control("restrictions", &json!({ "locks": [lock] }));
    let closed = place.wait_for("web-1", &grant, "closed");
    let late = millis(&closed, "late_ms");
    println!("shut after {late} ms under a lock");
    assert!(late <= MENDED_MAX_MS, "shut after {late} ms");
    assert!(!place.passes("web-1"));
}
