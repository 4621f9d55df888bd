//! Commands of the real program that do not do what was wanted: each names the cause, helps with what is true, and ends with a code
//! that a script can go by.

use portcullis_tests::binary::{Up, text};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::{TempDir, tempdir};

/// An address of nobody in particular (RFC 5737).
const ANN: &str = "203.0.113.9";
/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const BROKEN: i32 = 1;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const NOT_FOUND: i32 = 4;
const UNAVAILABLE: i32 = 5;
/// How long a command may take that has nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(3);

struct Place {
    up: Up,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempdir().expect("a folder");
        Self { up: Up::start(&folder.path().join("data"), &["--lease-min", "1s"], &[]), folder }
    }

    fn ask(&self, words: &[&str]) -> Told {
        Told::of(&self.up.ask(words))
    }

    /// A caller with a token of their own.
    fn ask_as(&self, person: &str, words: &[&str]) -> Told {
        let made = self.up.json(&["token", "create", person]);
        let token = made["token"].as_str().expect("a token");
        Told::of(&self.up.client().env("PORTCULLIS_TOKEN", token).args(words).output().expect("runs"))
    }
}

/// How a command ended, and what it printed.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    fn of(output: &Output) -> Self {
        let code = output.status.code().expect("exits by itself");
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn has(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "`{part}` in {self:?}");
        }
    }
}

#[test]
fn disabling_a_machine_that_was_never_guarded_succeeds_at_once_and_asks_no_cloud() {
    let it = Place::new();
    let begun = Instant::now();
    let disabled = it.ask(&["disable", "app-1"]);
    disabled.has(DONE, &[]);
    assert!(disabled.out.contains("was not guarded, and is unchanged"), "{disabled:?}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(it.up.json(&["disable", "app-1"])["changed"], false);
}

#[test]
fn waiting_for_a_lease_that_never_opens_ends_with_the_cause() {
    let it = Place::new();
    it.up.json(&["enable", "web-1"]);
    let broken = json!({ "on": "write", "times": 1_000_000, "fault": "broken" });
    it.up.plan(&json!({ "planned": [broken] }));
    let asked = it.ask(&["request", "web-1", "--from", ANN, "--for", "25s", "--wait"]);
    asked.has(BROKEN, &["`web-1:22` never opened, and its time is over", "could not be settled"]);
    assert!(!asked.err.contains("expired") && asked.out.is_empty(), "{asked:?}");
    assert!(
        asked.err.contains("`web-1:22` is not open yet: its firewalls could not be settled"),
        "{asked:?}"
    );
}

#[test]
fn waiting_for_a_lease_that_begins_later_says_when_and_is_no_success() {
    let it = Place::new();
    let words = ["request", "db-1", "--from", ANN, "--for", "10m", "--wait", "--key", "later"];
    let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(6)).to_string();
    let words = [&words[..], &["--at", &at]].concat();
    let later = it.ask(&words);
    later.has(UNAVAILABLE, &["`db-1:22` is not open yet: the lease begins at ", "--key later --at "]);
    assert!(later.out.contains("scheduled"), "the request was made: {later:?}");
    // As it says; once the time has come the same command waits for the port.
    thread::sleep(Duration::from_secs(6));
    let open = it.ask(&words);
    open.has(DONE, &[]);
    assert!(open.out.contains("ssh "), "{open:?}");
    let listed = it.up.json(&["requests"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "it is the same request: {listed}");
    let plain = ["request", "db-1", "--from", ANN, "--for", "10m", "--at", "+10m"];
    it.ask(&plain).has(DONE, &[]);
}

#[test]
fn hints_name_commands_that_exist_and_the_things_of_the_command() {
    let it = Place::new();
    it.ask(&["adopt", "nope"]).has(NOT_FOUND, &["`portcullis adopt` lists"]);
    it.ask(&["token", "revoke", "nobody"]).has(NOT_FOUND, &["`nobody`", "`portcullis token list`"]);
    it.ask(&["grants", "--target", "nope"]).has(NOT_FOUND, &["`portcullis targets` lists"]);
    it.ask(&["enable", "db-1", "--port", "8443"]).has(REFUSED, &["`portcullis edit db-1`"]);
    it.ask(&["edit", "web-1", "--remove-port", "80"]).has(REFUSED, &["`portcullis enable web-1`"]);
    it.up.json(&["edit", "db-1", "--set", "22,approver=bob"]);
    let asked = it.ask_as("ann", &["request", "db-1", "--from", ANN, "--json"]);
    let asked: Value = serde_json::from_str(&asked.out).expect("JSON");
    let id = asked["request"]["id"].as_str().expect("an id");
    it.ask_as("ann", &["approve", id, "--yes"]).has(REFUSED, &[&format!("`portcullis approve {id}`")]);
    it.ask_as("carol", &["reject", id, "--yes"]).has(REFUSED, &[&format!("`portcullis reject {id}`")]);
    let admin = it.ask_as("ann", &["token", "create", "dan"]);
    admin.has(REFUSED, &["`ann` may not administer this installation", "ask the operator"]);
    assert!(!admin.err.contains("again"), "{admin:?}");
    // Where the reasons say all, no more is said.
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1000);
    let words = ["request", "db-1", "--from", ANN, "--at", &later.to_string(), "--for", "1h"];
    let ahead = it.ask(&words);
    ahead.has(REFUSED, &["too far ahead"]);
    assert_eq!(ahead.err.trim_end().lines().count(), 2, "{ahead:?}");
}

#[test]
fn a_port_beside_targets_with_ports_of_their_own_is_an_error_that_names_both() {
    let it = Place::new();
    let asked = it.ask(&["request", "db-1:22", "--port", "23", "--from", ANN]);
    asked.has(USAGE, &["`db-1:22`", "`--port 23`"]);
    assert_eq!(it.up.json(&["requests"]), json!([]), "nothing was asked for");
}

#[test]
fn a_command_without_a_token_is_told_what_to_set_and_nothing_of_headers() {
    let it = Place::new();
    let none = it.folder.path().join("none");
    let mut client = it.up.client();
    client.env("PORTCULLIS_DATA", &none);
    let told = Told::of(&client.arg("whoami").output().expect("runs"));
    let file = none.join("token").display().to_string();
    told.has(REFUSED, &["needs a token", "set PORTCULLIS_TOKEN", &format!("`{file}` does not exist")]);
    assert!(!told.err.contains("Authorization") && !told.err.contains("this machine alone"), "{told:?}");
}

#[test]
fn a_token_file_that_is_not_the_servers_is_told_with_the_remedy_that_works() {
    let it = Place::new();
    let token = it.folder.path().join("data/token");
    std::fs::write(&token, "pct_another\n").expect("written");
    let mut client = it.up.client();
    client.env_remove("PORTCULLIS_URL").env("PORTCULLIS_CONFIG", "/nowhere");
    let told = Told::of(&client.arg("whoami").output().expect("runs"));
    told.has(REFUSED, &["remove the file and start `portcullis up` again"]);
}

#[test]
fn a_body_that_is_too_large_is_told_so_over_the_network_and_over_the_socket() {
    let it = Place::new();
    for megabytes in [0, 1, 3, 8] {
        for over_socket in [false, true] {
            let mut client = it.up.client();
            if over_socket {
                client.env_remove("PORTCULLIS_URL").env("PORTCULLIS_CONFIG", "/nowhere");
            }
            let mut client = client
                .args(["send", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts");
            let why = "x".repeat(140_000 + (megabytes << 20));
            let event = json!({ "detail-type": "access.request", "detail": { "why": why } });
            // The reader may have had enough.
            drop(client.stdin.take().expect("piped").write_all(event.to_string().as_bytes()));
            let told = Told::of(&client.wait_with_output().expect("ends"));
            assert!(told.err.contains("at most 65536 bytes"), "{megabytes} MB, {over_socket}: {told:?}");
            assert!(matches!(told.code, USAGE | REFUSED), "{told:?}");
        }
    }
}

#[test]
fn with_json_each_failure_is_an_object_in_the_last_line_of_standard_error() {
    let it = Place::new();
    it.up.json(&["edit", "db-1", "--set", "22,max=1h"]);
    let cases: [(&[&str], i32, &str); 6] = [
        (&["request", "db-1", "--from", ANN, "--for", "2h"], REFUSED, "refused"),
        (&["disable", "nope"], NOT_FOUND, "not-found"),
        (&["request", "db-1", "--for", "soon"], USAGE, "usage"),
        (&["nonsense"], USAGE, "usage"),
        (&["approve"], USAGE, "usage"),
        (&["targets", "--url", "http://127.0.0.1:9"], UNAVAILABLE, "unavailable"),
    ];
    for (words, exit, error) in cases {
        let told = it.ask(&[words, &["--json"]].concat());
        assert_eq!(told.code, exit, "{told:?}");
        assert!(told.out.is_empty(), "{told:?}");
        let last = told.err.lines().last().unwrap_or_default();
        let failure: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{told:?}"));
        assert_eq!((&failure["error"], &failure["exit"]), (&json!(error), &json!(exit)), "{failure}");
        assert!(failure["message"].as_str().is_some_and(|it| !it.is_empty()), "{failure}");
        if exit == REFUSED {
            assert_eq!(failure["reasons"][0]["code"], "too-long", "{failure}");
            assert_eq!(failure["reasons"][0]["message"], "`2h` is too long: at most 1h", "{failure}");
        }
    }
}

#[test]
fn numbers_that_are_none_are_named_in_plain_words() {
    let it = Place::new();
    for command in ["targets", "grants", "requests"] {
        for count in ["0", "-1", "many"] {
            let told = it.ask(&[command, "--limit", count]);
            told.has(USAGE, &[&format!("'{count}'"), "not a whole number of at least 1"]);
            assert!(!told.err.contains("-- -1"), "{told:?}");
        }
    }
    for words in [&["request", "db-1", "--port", "-1"][..], &["enable", "web-1", "--port", "-1"]] {
        let told = it.ask(words);
        told.has(USAGE, &["`-1` is not a port from 1 to 65535"]);
        assert!(!told.err.contains("tip"), "{told:?}");
    }
}

#[test]
fn an_export_that_fails_leaves_no_folder_and_names_the_period() {
    let it = Place::new();
    let out = it.folder.path().join("outer/inner");
    let path = out.display().to_string();
    let empty = ["export", "--from", "2026-01-02", "--to", "2026-01-01", "--out", &path];
    it.ask(&empty).has(USAGE, &["2026-01-02", "2026-01-01", "--from"]);
    let unreachable = ["export", "--out", &path, "--url", "http://127.0.0.1:9"];
    it.ask(&unreachable).has(UNAVAILABLE, &[]);
    assert!(!out.exists() && out.parent().is_some_and(|it| !it.exists()), "nothing is left behind");
    it.ask(&["export", "--out", &path]).has(DONE, &[]);
    it.ask(&["export", "--out", &path]).has(USAGE, &["is not empty"]);
}

#[test]
fn an_extension_is_shown_to_its_approver_with_port_sources_holder_and_both_ends() {
    let it = Place::new();
    it.up.json(&["edit", "db-1", "--set", "22,break-glass=ann,approver=bob,approver=carol"]);
    let words =
        ["request", "db-1", "--from", "0.0.0.0/0,::/0", "--for", "30m", "--break-glass", "--why", "down"];
    it.ask_as("ann", &words).has(DONE, &[]);
    let asked = it.ask_as("bob", &["extend", "db-1", "--by", "1h", "--json"]);
    let asked: Value = serde_json::from_str(&asked.out).expect("JSON");
    let id = asked["request"]["id"].as_str().expect("an id");
    let grant = it.up.json(&["grants"])[0].clone();
    let approved = it.ask_as("carol", &["approve", id, "--yes"]);
    let (name, end) = (grant["id"].as_str().expect("an id"), grant["end"].as_str().expect("an end"));
    let target = grant["target"].as_str().expect("an id");
    let extends = "db-1 22/tcp from anywhere until ";
    approved.has(DONE, &["bob asks", extends, " in place of ", &format!(": extends {name} of ann"), target]);
    assert!(!approved.err.contains(end), "times are those of the person: {approved:?}");
    // A request is shown with the same names and times in the list and to its approver.
    let asked = it.ask_as("ann", &["request", "db-1", "--from", ANN, "--until", "+20m", "--json"]);
    let asked: Value = serde_json::from_str(&asked.out).expect("JSON");
    let id = asked["request"]["id"].as_str().expect("an id");
    let listed = it.ask(&["requests", "--state", "pending"]).out;
    let shown = it.ask_as("bob", &["approve", id, "--yes"]).err;
    let line = shown.lines().find(|it| it.contains("until")).expect("a line").trim();
    assert!(
        line.starts_with("db-1 22/tcp from 203.0.113.9 until ") && listed.contains(line),
        "{line}: {listed}"
    );
}

#[test]
fn hint_after_a_command_names_what_helps_where_the_api_is_on_this_machine() {
    let it = Place::new();
    let enabled = it.ask(&["enable", "web-1", "--port", "22,approver=bob"]);
    assert!(enabled.out.contains("`portcullis request web-1 --from ADDRESS`"), "{enabled:?}");
    // The last port goes with the guarding itself.
    it.ask(&["edit", "web-1", "--remove-port", "22"]).has(REFUSED, &["`portcullis disable web-1`"]);
    let asked = it.ask_as("ann", &["request", "web-1", "--from", ANN, "--for", "1h", "--json"]);
    let asked: Value = serde_json::from_str(&asked.out).expect("JSON");
    let request = asked["request"]["id"].as_str().expect("an id");
    let approved = it.ask_as("bob", &["approve", request, "--yes"]);
    assert_eq!(approved.code, DONE, "{approved:?}");
    let again = it.ask_as("bob", &["approve", request]);
    again.has(REFUSED, &["the request is approved, so there is nothing left to decide"]);
    assert!(!again.err.contains("--yes"), "{again:?}");
}

#[test]
fn activity_refuses_a_kind_that_there_is_not_and_two_formats_at_once() {
    let it = Place::new();
    let enabled = it.ask(&["enable", "web-1"]);
    assert_eq!(enabled.code, DONE, "{enabled:?}");
    let unknown = it.ask(&["activity", "web-1", "--kind", "opend"]);
    unknown.has(USAGE, &["`opend` is no kind of entry", "policy_set", "opened", "lock_defeated"]);
    let both = it.ask(&["activity", "web-1", "--csv", "--json"]);
    both.has(USAGE, &["`--csv` and `--json` are two formats"]);
    assert!(both.out.is_empty(), "{both:?}");
}

#[test]
fn manual_has_a_page_for_a_command_of_a_command() {
    let it = Place::new();
    let page = it.ask(&["man", "token", "create"]);
    assert!(page.code == DONE && page.out.contains("portcullis token create"), "{page:?}");
    it.ask(&["man", "token", "mint"]).has(NOT_FOUND, &["`token mint`"]);
}
