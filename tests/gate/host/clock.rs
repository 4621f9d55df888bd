//! The clock of the machine is set while a lease is open: the real program shuts by the first of two clocks, and tells
//! of it (INVARIANT: an-end-counts-by-both-clocks). Its clock is set by `libfaketime`, and nobody else's is.

use portcullis_tests::{
    binary::{Up, text},
    needs::lacking,
    network::{Network, VISITORS, plays_a_part},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Debian's libfaketime, for programs with threads.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const VISITOR: &str = "203.0.113.9";
const PORT: u16 = 2222;
/// How long leases are here, and how long after the end somebody may still get in.
const LEASE: Duration = Duration::from_secs(10);
const LATE_MAX: Duration = Duration::from_secs(2);
/// A clock that is set behind the kernel's back rings no alarm: it is noticed at the next look.
const NOTICED: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The clock of one program.
struct Wall {
    folder: tempfile::TempDir,
}

impl Wall {
    fn new() -> Self {
        if !Path::new(LIBRARY).exists() {
            lacking("faketime", "install libfaketime");
        }
        let wall = Self { folder: tempfile::tempdir().expect("a folder") };
        wall.set("+0");
        wall
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets it, so far from the true time. Whole or not at all.
    fn set(&self, offset: &str) {
        let draft = self.folder.path().join("draft");
        fs::write(&draft, offset).and_then(|()| fs::rename(&draft, self.file())).expect("written");
    }

    /// What is put before a program that lives by it.
    fn before(&self) -> Vec<String> {
        let file = self.file();
        let settings = [
            format!("LD_PRELOAD={LIBRARY}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ];
        std::iter::once("env".to_owned()).chain(settings).collect()
    }
}

/// A program on a clock of its own.
struct Timed {
    up: Up,
    wall: Wall,
    /// The table is here.
    data: tempfile::TempDir,
}

impl Timed {
    fn start(options: &[&str], within: &[&str]) -> Self {
        let wall = Wall::new();
        let before = wall.before();
        let within: Vec<&str> = within.iter().copied().chain(before.iter().map(String::as_str)).collect();
        let data = tempfile::tempdir().expect("a folder");
        let options = [&["--lease-min", "1s", "--reconcile-every", "1s"], options].concat();
        Self { up: Up::start(data.path(), &options, &within), wall, data }
    }

    /// Opens a port, and says since when it may be open.
    fn open(&self, port: &str, from: &str, length: &str) -> Instant {
        let asked = Instant::now();
        self.up.json(&["request", port, "--from", from, "--for", length, "--wait"]);
        asked
    }

    fn passes(&self) -> bool {
        let checked = self.up.ask(&["check", "db-1", "22", "--from", VISITOR]);
        checked.status.success()
    }

    /// How the clock is, by the checkup.
    fn clock(&self) -> (String, String) {
        let output = self.up.ask(&["doctor", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = told["findings"].as_array().or(told.as_array()).expect("a list").clone();
        let found =
            findings.into_iter().find(|it| it["check"] == "machine's clock").expect("it looks at the clock");
        let word = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        (word("verdict"), word("found"))
    }

    /// By how much the clock jumped, as the journal has it, in ms.
    fn jumps(&self) -> Vec<i64> {
        let entries = self.up.json(&["activity", "portcullis"]);
        let all = entries.as_array().expect("entries").iter();
        let facts = all.map(|it| it.get("fact").unwrap_or(it));
        facts.filter(|it| it["what"] == "clock_jumped").filter_map(|it| it["by_ms"].as_i64()).collect()
    }

    /// The journal's times are in its order, and it is whole.
    fn is_in_order(&self, target: &str) {
        let entries = self.up.json(&["activity", target]);
        let times: Vec<jiff::Timestamp> = entries
            .as_array()
            .expect("entries")
            .iter()
            .map(|it| it["at"].as_str().expect("a time").parse().expect("a time"))
            .collect();
        assert!(times.is_sorted(), "{times:?}");
        let verified = self.up.ask(&["verify"]);
        assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
    }
}

fn wait(what: &str, is_so: impl Fn() -> bool) -> Instant {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Instant::now()
}

#[test]
#[ignore = "needs faketime"]
fn a_clock_that_is_set_back_makes_no_lease_in_azure_longer() {
    let it = Timed::start(&[], &[]);
    assert_eq!(it.clock().0, "ok");
    let asked = it.open("db-1:22", VISITOR, "10s");
    assert!(it.passes());
    it.wall.set("-600");
    let shut = wait("the lease to be shut", || !it.passes());
    let open = shut.duration_since(asked);
    assert!(open <= LEASE + LATE_MAX, "it was open for {open:?}");
    let (verdict, found) = it.clock();
    assert!(verdict == "warning" && found.contains("10m") && found.contains("behind"), "{verdict}: {found}");
    wait("the jump to be recorded", || !it.jumps().is_empty());
    let jumps = it.jumps();
    assert!(matches!(jumps[..], [by] if (-601_000..=-599_000).contains(&by)), "once: {jumps:?}");
    // Whoever asks now gets all of their time.
    it.open("db-1:22", VISITOR, "1h");
    assert!(it.passes());
    it.is_in_order("db-1");
}

#[test]
#[ignore = "needs faketime"]
fn a_clock_that_is_set_forward_shuts_at_once() {
    let it = Timed::start(&[], &[]);
    it.open("db-1:22", VISITOR, "5m");
    assert!(it.passes());
    it.wall.set("+600");
    let set = Instant::now();
    let shut = wait("the lease to be shut", || !it.passes());
    let late = shut.duration_since(set);
    assert!(late <= LATE_MAX + NOTICED, "it was open for {late:?}");
    wait("the jump to be recorded", || !it.jumps().is_empty());
    // And back again: nobody is let in for it.
    it.wall.set("+0");
    thread::sleep(NOTICED);
    assert!(!it.passes());
    wait("the second jump to be recorded", || it.jumps().len() == 2);
    it.is_in_order("db-1");
}

#[test]
#[ignore = "needs faketime"]
fn a_start_with_a_clock_behind_the_journal_goes_on_from_the_journal() {
    let it = Timed::start(&[], &[]);
    it.open("db-1:22", VISITOR, "5s");
    let Timed { up, wall, data } = it;
    up.kill();
    wall.set("-3600");
    let before = wall.before();
    let within: Vec<&str> = before.iter().map(String::as_str).collect();
    let started = Instant::now();
    let up = Up::start(data.path(), &["--lease-min", "1s"], &within);
    let it = Timed { up, wall, data };
    let shut = wait("the lease to be shut", || !it.passes());
    let open = shut.duration_since(started);
    assert!(open <= Duration::from_secs(5) + LATE_MAX, "it was open for {open:?}");
    wait("the jump to be recorded", || !it.jumps().is_empty());
    assert!(matches!(it.jumps()[..], [by] if by < -3_500_000), "{:?}", it.jumps());
    it.is_in_order("db-1");
}

#[test]
#[ignore = "needs faketime and nft"]
fn a_clock_that_is_set_back_heals_no_port_of_this_machine_open() {
    const TEST: &str = "clock::a_clock_that_is_set_back_heals_no_port_of_this_machine_open";
    if plays_a_part() {
        return;
    }
    let mut network = Network::lay();
    network.listen(TEST, PORT);
    let it = Timed::start(&["--guard", "host"], &network.on_machine());
    let targets = it.up.json(&["targets"]);
    let host = targets[0]["id"].as_str().expect("an id").to_owned();
    it.up.json(&["enable", &host, "--port", &PORT.to_string()]);
    wait("the port to be shut", || !network.reaches(TEST, VISITORS[0], PORT));
    let asked = it.open(&format!("{host}:{PORT}"), VISITORS[0], "10s");
    assert!(network.reaches(TEST, VISITORS[0], PORT));
    it.wall.set("-600");
    let shut = wait("the lease to be shut", || !network.reaches(TEST, VISITORS[0], PORT));
    let open = shut.duration_since(asked);
    assert!(open <= LEASE + LATE_MAX, "it was open for {open:?}");
    // The backstop looks every second, and a table that the kernel has shut is none that somebody changed.
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert!(!network.reaches(TEST, VISITORS[0], PORT), "it was healed open");
    }
    it.is_in_order(&host);
}

#[test]
#[ignore = "needs faketime and nft"]
fn a_clock_that_is_set_forward_within_a_lease_accuses_nobody_of_a_change() {
    const TEST: &str = "clock::a_clock_that_is_set_forward_within_a_lease_accuses_nobody_of_a_change";
    if plays_a_part() {
        return;
    }
    let mut network = Network::lay();
    network.listen(TEST, PORT);
    let it = Timed::start(&["--guard", "host"], &network.on_machine());
    let targets = it.up.json(&["targets"]);
    let host = targets[0]["id"].as_str().expect("an id").to_owned();
    it.up.json(&["enable", &host, "--port", &PORT.to_string()]);
    wait("the port to be shut", || !network.reaches(TEST, VISITORS[0], PORT));
    it.open(&format!("{host}:{PORT}"), VISITORS[0], "1h");
    let told = || it.up.json(&["activity", &host]).to_string();
    let writes = || told().matches(r#""what":"writing""#).count();
    let before = writes();
    it.wall.set("+600");
    wait("the jump to be recorded", || !it.jumps().is_empty());
    // The kernel counts on: the backstop has it count to the same end as we do, once.
    wait("the time-outs to be written anew", || before < writes());
    thread::sleep(NOTICED + NOTICED);
    assert_eq!(writes(), before + 1, "{}", told());
    assert!(!told().contains("drift_found"), "{}", told());
    assert!(network.reaches(TEST, VISITORS[0], PORT));
    it.is_in_order(&host);
}
