//! The real program guards a real machine: nftables in a network namespace, with real connections.

use portcullis_tests::{
    binary::{Up, program, text},
    network::{Network, PATIENCE, VISITOR_V6, VISITORS, plays_a_part},
};
use serde_json::Value;
use std::{
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The port that is guarded here, and one that is not.
pub const PORT: u16 = 2222;
pub const OTHER_PORT: u16 = 8080;
/// How long after its end a lease may still let anybody in.
const LATE_MAX: Duration = Duration::from_secs(2);
/// How long something may take that is no promise: a start, a settle, a lease of seconds.
const WAIT_MAX: Duration = Duration::from_secs(30);

pub struct Guarded {
    // Dropped before the network that it is in.
    up: Option<Up>,
    pub network: Network,
    data: tempfile::TempDir,
    /// What it is called among targets.
    pub host: String,
    test: &'static str,
    options: Vec<&'static str>,
}

impl Guarded {
    /// A machine with both ports answering, and the program on it.
    pub fn machine(test: &'static str, options: &[&'static str]) -> Self {
        let mut network = Network::lay();
        network.listen(test, PORT);
        network.listen(test, OTHER_PORT);
        let options =
            [&["--guard", "host", "--lease-min", "1s", "--reconcile-every", "1s"], options].concat();
        let data = tempfile::tempdir().expect("a folder");
        let mut guarded = Self { up: None, network, data, host: String::new(), test, options };
        guarded.start();
        let targets = guarded.up().json(&["targets"]);
        guarded.host = text_of(&targets[0]["id"]);
        guarded
    }

    fn start(&mut self) {
        let within = self.network.on_machine();
        self.up = Some(Up::start(self.data.path(), &self.options, &within));
    }

    fn kill(&mut self) {
        self.up.take().expect("is up").kill();
    }

    pub fn up(&self) -> &Up {
        self.up.as_ref().expect("is up")
    }

    pub fn enable(&self) {
        self.up().json(&["enable", &self.host, "--port", &PORT.to_string()]);
        wait("the port to be shut", || !self.reaches(VISITORS[0]));
    }

    /// Asks for the port, waits until it is open, and gives the grant.
    pub fn request(&self, from: &str, length: &str) -> Value {
        let target = format!("{}:{PORT}", self.host);
        let answer = self.up().json(&["request", &target, "--from", from, "--for", length, "--wait"]);
        answer["grants"][0].clone()
    }

    pub fn reaches(&self, from: &str) -> bool {
        self.network.reaches(self.test, from, PORT)
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Waits for something that must come about.
pub fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// How long after the end of a grant nobody got in any longer, at most: until an attempt that began
/// then failed.
fn shut_after(grant: &Value, reaches: impl Fn() -> bool) -> Duration {
    let end: jiff::Timestamp = grant["end"].as_str().expect("an end").parse().expect("a time");
    let end = Duration::try_from(end.as_duration()).expect("after 1970");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let start = Instant::now();
    loop {
        let began = now();
        // One attempt fails before the end where this machine is busy; a port that is shut fails the next one too.
        let got_in = reaches() || now() + PATIENCE < end && reaches();
        if !got_in {
            assert!(end <= began + PATIENCE, "it was shut {:?} before its end", end.saturating_sub(began));
            return began.saturating_sub(end);
        }
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for the end of a lease");
    }
}

#[test]
#[ignore = "needs nft"]
fn refused_then_open_for_one_address_then_refused() {
    const TEST: &str = "e2e_host::refused_then_open_for_one_address_then_refused";
    if plays_a_part() {
        return;
    }
    let it = Guarded::machine(TEST, &[]);
    let before = it.network.ruleset();
    assert!(it.reaches(VISITORS[0]) && it.reaches(VISITOR_V6), "nothing is guarded yet");
    it.enable();
    assert!(!it.reaches(VISITORS[1]) && !it.reaches(VISITOR_V6), "shut for everybody, over both families");
    assert!(it.network.reaches(TEST, VISITORS[0], OTHER_PORT), "what is not guarded stays open");
    let grant = it.request(VISITORS[0], "4s");
    assert!(it.reaches(VISITORS[0]), "open for the address that was asked for");
    assert!(!it.reaches(VISITORS[1]) && !it.reaches(VISITOR_V6), "and for no other");
    let late = shut_after(&grant, || it.reaches(VISITORS[0]));
    assert!(late <= LATE_MAX, "{late:?} after its end somebody still got in");
    let grant = it.request(VISITOR_V6, "3s");
    assert!(it.reaches(VISITOR_V6) && !it.reaches(VISITORS[0]), "the other family alone");
    let late = shut_after(&grant, || it.reaches(VISITOR_V6));
    assert!(late <= LATE_MAX, "{late:?} after its end somebody still got in");
    it.up().json(&["disable", &it.host]);
    wait("the table to be gone", || it.network.ruleset() == before);
    assert!(it.reaches(VISITORS[1]));
    let verified = it.up().ask(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified.stderr));
}

/// Another table may lead a guarded port to a port that nobody guards, on the machine or in a container of it: the lock is on
/// the port that the visitor asked for.
#[test]
#[ignore = "needs nft"]
fn a_port_that_another_table_translates_is_shut_and_opens_for_a_lease() {
    const TEST: &str = "e2e_host::a_port_that_another_table_translates_is_shut_and_opens_for_a_lease";
    const INSIDE: u16 = 2200;
    if plays_a_part() {
        return;
    }
    for to_container in [false, true] {
        for established in ["survive", "cut"] {
            let mut it = Guarded::machine(TEST, &["--established", established]);
            if to_container {
                it.network.publish(TEST, PORT, INSIDE);
            } else {
                it.network.nft(&format!(
                    "add table ip detour; \
                     add chain ip detour prerouting {{ type nat hook prerouting priority dstnat ; }}; \
                     add rule ip detour prerouting tcp dport {PORT} redirect to :{OTHER_PORT}"
                ));
            }
            let of = |from| (it.reaches(from), from);
            assert_eq!(VISITORS.map(of), VISITORS.map(|from| (true, from)), "nothing is guarded yet");
            it.enable();
            assert_eq!(VISITORS.map(of), VISITORS.map(|from| (false, from)), "{established} {to_container}");
            assert!(it.network.reaches(TEST, VISITORS[0], OTHER_PORT), "what is not guarded stays open");
            let grant = it.request(VISITORS[0], "4s");
            assert_eq!(VISITORS.map(of), [(true, VISITORS[0]), (false, VISITORS[1])]);
            let mut stays = it.network.connect(TEST, VISITORS[0], PORT);
            assert!(stays.answers());
            let late = shut_after(&grant, || it.reaches(VISITORS[0]));
            assert!(late <= LATE_MAX, "{late:?} after its end somebody still got in");
            assert_eq!(stays.answers(), established == "survive", "as connections to the machine itself do");
        }
    }
}

/// Two would open each other's ports in turn. A machine is a network namespace, as for its packet filter.
#[test]
#[ignore = "needs nft"]
fn one_portcullis_guards_a_machine_and_another_one_another_machine() {
    const TEST: &str = "e2e_host::one_portcullis_guards_a_machine_and_another_one_another_machine";
    if plays_a_part() {
        return;
    }
    let mut it = Guarded::machine(TEST, &[]);
    it.enable();
    let (before, other) = (it.network.ruleset(), tempfile::tempdir().expect("a folder"));
    let folder = other.path().join("data");
    let second = |within: &[&str]| {
        let mut command = Command::new(within[0]);
        command.args(&within[1..]).arg(program()).arg("up").arg("--data").arg(&folder);
        command.args(["--listen", "127.0.0.1:0", "--guard", "host"]).output().expect("runs")
    };
    let refused = second(&it.network.on_machine());
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{told}");
    let pid = it.up().id();
    assert!(told.contains(&format!("another portcullis (pid {pid}) guards this machine")), "{told}");
    assert_eq!(it.network.ruleset(), before, "nothing was written");
    assert!(!folder.exists(), "nor made");
    // Another machine is another one's to guard.
    let there = tempfile::tempdir().expect("a folder");
    let elsewhere = Up::start(there.path(), &["--guard", "host"], &it.network.on_visitor());
    assert_eq!(elsewhere.json(&["targets"]).as_array().map(Vec::len), Some(1));
    // One that is gone, however it went, guards nothing.
    it.kill();
    let after = Up::start(&folder, &["--guard", "host"], &it.network.on_machine());
    let refused = after.ask(&["enable", &it.host]);
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("another installation") && told.contains("--take-over"), "{told}");
    after.json(&["enable", &it.host, "--take-over"]);
}

#[test]
#[ignore = "needs nft"]
fn two_people_behind_one_address() {
    const TEST: &str = "e2e_host::two_people_behind_one_address";
    if plays_a_part() {
        return;
    }
    let it = Guarded::machine(TEST, &[]);
    it.enable();
    let long = it.request(VISITORS[0], "1h");
    let short = it.request(VISITORS[0], "2s");
    let id = |grant: &Value| text_of(&grant["id"]);
    wait("the short lease to be closed", || {
        let grants = it.up().json(&["grants", "--all"]);
        let grants = grants.as_array().expect("a list").clone();
        grants.iter().any(|grant| id(grant) == id(&short) && grant["state"] == "closed")
    });
    assert!(it.reaches(VISITORS[0]), "the other one's lease is live");
    it.up().json(&["close", &id(&long)]);
    wait("the port to be shut", || !it.reaches(VISITORS[0]));
}

#[test]
#[ignore = "needs nft"]
fn killed_and_started_again_it_closes_on_time() {
    const TEST: &str = "e2e_host::killed_and_started_again_it_closes_on_time";
    if plays_a_part() {
        return;
    }
    let mut it = Guarded::machine(TEST, &[]);
    it.enable();
    let grant = it.request(VISITORS[0], "6s");
    it.kill();
    assert!(it.reaches(VISITORS[0]), "a lease outlives the program");
    it.start();
    assert!(it.reaches(VISITORS[0]), "and its restart");
    let late = shut_after(&grant, || it.reaches(VISITORS[0]));
    assert!(late <= LATE_MAX, "{late:?} after its end somebody still got in");
    wait("the grant to be closed", || {
        let grants = it.up().json(&["grants", "--all"]);
        grants[0]["state"] == "closed"
    });
    // Dead, it keeps what is shut shut, and the kernel shuts what is open.
    let grant = it.request(VISITORS[0], "4s");
    it.kill();
    assert!(it.reaches(VISITORS[0]) && !it.reaches(VISITORS[1]));
    let late = shut_after(&grant, || it.reaches(VISITORS[0]));
    assert!(late <= LATE_MAX, "{late:?} after its end somebody still got in");
}

#[test]
#[ignore = "needs nft"]
fn a_machine_that_is_renamed_stays_guarded() {
    const TEST: &str = "e2e_host::a_machine_that_is_renamed_stays_guarded";
    if plays_a_part() {
        return;
    }
    let mut it = Guarded::machine(TEST, &[]);
    it.enable();
    it.kill();
    // As after a reboot, under another name.
    it.network.nft("delete table inet portcullis");
    assert!(it.reaches(VISITORS[1]), "nobody guards it");
    let renamed = ["unshare", "--uts", "sh", "-c", "hostname renamed && exec \"$@\"", "sh"];
    let within = [it.network.on_machine().as_slice(), &renamed].concat();
    it.up = Some(Up::start(it.data.path(), &it.options, &within));
    assert!(!it.reaches(VISITORS[1]), "shut before anything is served");
    let targets = it.up().json(&["targets"]);
    assert_eq!(
        (text_of(&targets[0]["id"]), text_of(&targets[0]["name"])),
        (it.host.clone(), "renamed".to_owned())
    );
}

#[test]
#[ignore = "needs nft"]
fn a_table_that_was_edited_by_hand_is_healed() {
    const TEST: &str = "e2e_host::a_table_that_was_edited_by_hand_is_healed";
    if plays_a_part() {
        return;
    }
    let it = Guarded::machine(TEST, &[]);
    it.enable();
    let grant = it.request(VISITORS[0], "1h");
    for edit in ["flush table inet portcullis", "delete table inet portcullis"] {
        it.network.nft(edit);
        assert!(it.reaches(VISITORS[1]), "`{edit}` opens the port to everybody");
        wait("the lock to be back", || !it.reaches(VISITORS[1]));
        assert!(it.reaches(VISITORS[0]), "and the lease with it");
    }
    let activity = it.up().json(&["activity", &it.host]).to_string();
    assert!(activity.contains("drift_found") && activity.contains("drift_healed"), "{activity}");
    let opened = grant["id"].as_str().expect("an id");
    assert!(!activity.contains(&format!("{opened} closed")), "{activity}");
}

#[test]
#[ignore = "needs nft"]
fn connections_survive_the_end_or_are_cut() {
    const TEST: &str = "e2e_host::connections_survive_the_end_or_are_cut";
    if plays_a_part() {
        return;
    }
    for (setting, survives) in [("survive", true), ("cut", false)] {
        let it = Guarded::machine(TEST, &["--established", setting]);
        it.enable();
        let grant = it.request(VISITORS[0], "4s");
        let mut connection = it.network.connect(TEST, VISITORS[0], PORT);
        assert!(connection.answers(), "{setting}: while the lease lives");
        shut_after(&grant, || it.reaches(VISITORS[0]));
        assert_eq!(connection.answers(), survives, "{setting}: after its end");
    }
}

#[test]
#[ignore = "needs nft"]
fn an_unconfirmed_lock_is_taken_back() {
    const TEST: &str = "e2e_host::an_unconfirmed_lock_is_taken_back";
    if plays_a_part() {
        return;
    }
    let it = Guarded::machine(TEST, &[]);
    let mut connection = it.network.connect(TEST, VISITORS[0], PORT);
    assert!(connection.answers());
    let port = PORT.to_string();
    let enabled = it.up().ask(&["enable", &it.host, "--port", &port, "--confirm-within", "5s"]);
    let warned = text(&enabled.stderr);
    assert!(
        enabled.status.success() && warned.contains(VISITORS[0]),
        "whoever is connected is named: {warned}"
    );
    wait("the port to be shut", || !it.reaches(VISITORS[1]));
    wait("the lock to be taken back", || it.reaches(VISITORS[1]));
    it.up().json(&["enable", &it.host, "--port", &port, "--confirm-within", "5s"]);
    it.up().json(&["confirm", &it.host]);
    wait("the port to be shut", || !it.reaches(VISITORS[1]));
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        assert!(!it.reaches(VISITORS[1]), "confirmed, it stays");
    }
}

#[test]
#[ignore = "needs nft"]
fn a_lease_that_the_kernel_shut_while_nothing_ran_is_not_told_late() {
    const TEST: &str = "e2e_host::a_lease_that_the_kernel_shut_while_nothing_ran_is_not_told_late";
    if plays_a_part() {
        return;
    }
    let mut it = Guarded::machine(TEST, &[]);
    it.enable();
    let first = it.request(VISITORS[0], "3s");
    let last = it.request(VISITORS[1], "6s");
    it.kill();
    assert!(shut_after(&last, || it.reaches(VISITORS[1])) < LATE_MAX);
    // Later than a closing may be seen.
    thread::sleep(Duration::from_secs(3));
    it.start();
    let entries = it.up().json(&["activity", &it.host]);
    let closed = |grant: &Value| {
        let all = entries.as_array().expect("entries").iter().map(|it| &it["fact"]);
        let mut of_it = all.filter(|it| it["what"] == "closed" && it["grant"] == grant["id"]);
        of_it.next().expect("it is closed").clone()
    };
    let told = closed(&last);
    assert_eq!((&told["by_kernel"], &told["late_ms"]), (&Value::from(true), &Value::from(0)), "{told}");
    assert_eq!(told["delay"], Value::Null, "{told}");
    // Its neighbour kept the kernel from shutting the first one: nobody did until then.
    let told = closed(&first);
    assert_eq!(
        (&told["by_kernel"], &told["delay"]["cause"]),
        (&Value::Null, &Value::from("not-running")),
        "{told}"
    );
}
