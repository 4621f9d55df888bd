//! The real program as its users meet it, on the simulated Azure: what it prints, how it exits, and what
//! is left when it is killed.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::ports::{Batch, Store};
use portcullis_local::RedbStore;
use portcullis_tests::{
    binary::{Up, WITHOUT_SIGXFSZ, program, text},
    commands::BOTS,
    commands::every_command,
    given::named,
};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Addresses of nobody in particular (RFC 5737).
const ANN: &str = "203.0.113.9";
const STRANGER: &str = "198.51.100.7";
/// How long anything may take that is no promise.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the demonstration may take.
const DEMO_MAX: Duration = Duration::from_secs(15);
/// How late after its end a lease may be closed.
const LATE_MAX_MS: i64 = 2_000;
/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const BROKEN: i32 = 1;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const NOT_FOUND: i32 = 4;
const UNAVAILABLE: i32 = 5;

struct Place {
    up: Up,
    data: tempfile::TempDir,
}

impl Place {
    fn new(options: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        Self { up: Up::start(data.path(), options, &[]), data }
    }

    fn json(&self, words: &[&str]) -> Value {
        self.up.json(words)
    }

    /// As somebody else, whose token is made for it.
    fn ask_as(&self, person: &str, words: &[&str]) -> Output {
        let made = self.json(&["token", "create", person]);
        let token = made["token"].as_str().expect("a token");
        self.up.client().env("PORTCULLIS_TOKEN", token).args(words).output().expect("runs")
    }

    fn passes(&self, target: &str, from: &str) -> bool {
        match code(&self.up.ask(&["check", target, "22", "--from", from])) {
            DONE => true,
            REFUSED => false,
            other => panic!("`check` exits {other}"),
        }
    }

    fn grant(&self, id: &Value) -> Value {
        let all = self.json(&["grants", "--all"]);
        let all = all.as_array().expect("a list");
        all.iter().find(|it| it["id"] == *id).expect("is listed").clone()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("exits by itself")
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The names that scripts and other tools rely on.
#[test]
fn the_story_of_the_readme() {
    let it = Place::new(&["--lease-min", "1s"]);
    let targets = it.json(&["targets"]);
    let targets = targets.as_array().expect("a list");
    for field in ["id", "name", "state", "location", "reason"] {
        assert!(targets.iter().all(|it| it.get(field).is_some()), "`{field}` of every target");
    }
    for state in ["configured", "not_configured", "unsupported"] {
        let is_linux = |it: &&Value| it["state"] == state && it["os"] == "linux";
        let found = targets.iter().find(is_linux).unwrap_or_else(|| panic!("a Linux machine is {state}"));
        assert!(found["id"].as_str().expect("text").starts_with("/subscriptions/"), "{found}");
        assert_eq!(found["reason"].is_string(), state == "unsupported", "{found}");
    }
    assert!(it.passes("web-1", STRANGER), "nothing guards it yet");
    let enabled = it.up.ask(&["enable", "web-1"]);
    assert!(code(&enabled) == DONE && told(&enabled).contains("portcullis request web-1"), "what comes next");
    assert!(!it.passes("web-1", STRANGER), "it says so once it is so");
    let asked = ["request", "web-1", "--for", "1h", "--from", ANN, "--why", "disk full", "--wait"];
    let answer = it.json(&asked);
    let grant = it.grant(&answer["grants"][0]["id"]);
    for (field, value) in
        [("target", targets_id(targets, "web-1")), ("port", 22.into()), ("state", "open".into())]
    {
        assert_eq!(grant[field], value, "{grant}");
    }
    assert!(grant["end"].as_str().is_some_and(|it| it.ends_with('Z')), "{grant}");
    assert!(it.passes("web-1", ANN) && !it.passes("web-1", STRANGER));
    let listed = told(&it.up.ask(&["grants"]));
    assert!(listed.contains("59 min left") || listed.contains("1 h left"), "what is left: {listed}");
    assert_eq!(code(&it.up.ask(&["close", "web-1"])), DONE);
    wait("the close", || it.grant(&grant["id"])["state"] == "closed");
    assert!(!it.passes("web-1", ANN));
    assert_eq!(code(&it.up.ask(&["verify"])), DONE);
    for told in ["is no longer guarded", "was not guarded, and is unchanged"] {
        let disabled = it.up.ask(&["disable", "web-1"]);
        assert_eq!(code(&disabled), DONE);
        assert!(text(&disabled.stdout).contains(told), "{disabled:?}");
    }
    assert!(it.passes("web-1", STRANGER), "and that everything is as it was");
}

fn targets_id(targets: &[Value], name: &str) -> Value {
    targets.iter().find(|it| it["name"] == name).expect("is there")["id"].clone()
}

#[test]
fn the_token_of_this_machine_is_sent_to_no_other() {
    let home = tempfile::tempdir().expect("a folder");
    let up = Up::start(&home.path().join("portcullis"), &[], &[]);
    let ask = |url: &str| {
        let mut command = up.client();
        command.env_remove("PORTCULLIS_DATA").env("XDG_DATA_HOME", home.path());
        command.args(["targets", "--url", url]).output().expect("runs")
    };
    assert_eq!(code(&ask(up.url())), DONE);
    // A name that nobody can tell to be this machine's, and that leads here.
    let elsewhere = ask(&up.url().replace("127.0.0.1", "127.1"));
    assert_eq!(code(&elsewhere), REFUSED, "{}", told(&elsewhere));
    assert!(told(&elsewhere).contains("PORTCULLIS_TOKEN"), "{}", told(&elsewhere));
}

#[test]
fn every_way_to_fail_has_its_exit_code_and_says_what_helps() {
    let it = Place::new(&[]);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["request", "web-1", "--for", "soon"], USAGE, "soon"),
        (&["request", "web-1", "--from", "10.0.0.0/33"], USAGE, "10.0.0.0/33"),
        (&["enable", "virtualMachines"], USAGE, "db-1"),
        (&["enable", "web-1", "--port", "70000"], USAGE, "70000"),
        (&["request", "web-1", "--from", "203.0.113.9/24"], USAGE, "the address `203.0.113.9`"),
        (&["enable", "web-1", "--port", "22,from=203.0.113.9/24"], USAGE, "the network `203.0.113.0/24`"),
        (&["request", "web-1:0"], USAGE, "`0` is not a port from 1 to 65535"),
        (&["request", "web-1:70000"], USAGE, "`70000` is not a port from 1 to 65535"),
        (&["edit", "db-1"], USAGE, "--add-port"),
        (&["approve"], USAGE, "REQUEST"),
        (&["request", "web-1"], REFUSED, "`portcullis enable web-1`"),
        (&["request", "web-1:22"], REFUSED, "`portcullis enable web-1`"),
        (&["request", "db-1", "--for", "9h"], REFUSED, "at most 3h"),
        (&["request", "db-1:443"], REFUSED, "22/tcp"),
        (&["enable", "wbe-1"], NOT_FOUND, "did you mean `web-1`?"),
        (&["close", "nothing"], NOT_FOUND, "portcullis grants"),
        (&["approve", "nothing", "--yes"], NOT_FOUND, "nothing"),
        (&["token", "revoke", "nobody"], NOT_FOUND, "nobody"),
        (&["token", "create", "operator"], REFUSED, "delete the file `token`"),
        (&["token", "revoke", "operator"], REFUSED, "delete the file `token`"),
        (&["targets", "--url", "http://127.0.0.1:9"], UNAVAILABLE, "portcullis up"),
        (&["targets", "--url", "127.0.0.1:9"], USAGE, "http://"),
    ];
    for (words, exit, named) in cases {
        let output = it.up.ask(words);
        assert_eq!(code(&output), *exit, "{words:?}: {}", told(&output));
        assert!(told(&output).contains(named), "{words:?} names `{named}`: {}", told(&output));
        assert!(output.stdout.is_empty(), "{words:?}: a failure is told on standard error");
    }
    // The server's no is recorded; one that the client said by itself would not be.
    let recorded = it.json(&["activity", "portcullis"]).to_string();
    assert!(recorded.contains("request_refused") && recorded.contains("virtualmachines/web-1"), "{recorded}");
    // A refusal gives every reason at once.
    let refused = it.up.ask(&["request", "db-1:22", "web-1:22", "--for", "9h"]);
    let refused = text(&refused.stderr);
    assert!(refused.contains("at most 3h") && refused.contains("`web-1` is not guarded"), "{refused}");
    // From here, "my IP" is an address that no other machine ever sees.
    let local = it.up.ask(&["request", "db-1"]);
    assert!(code(&local) == REFUSED && text(&local.stderr).contains("--from"), "{}", told(&local));
    let stranger = it.up.client().env("PORTCULLIS_TOKEN", "pct_wrong").arg("targets").output().expect("runs");
    assert_eq!(code(&stranger), REFUSED, "{}", told(&stranger));
    assert!(told(&stranger).contains("PORTCULLIS_TOKEN"), "{}", told(&stranger));
}

#[test]
fn a_plan_says_what_a_lock_would_shadow_and_what_would_defeat_it() {
    let it = Place::new(&[]);
    let planned = text(&it.up.ask(&["plan", "vault-1"]).stdout);
    for part in
        ["From-firewall in vault-subnet-nsg", "management/rdp-to-vault-1 in edge-fw (while a lease is open)"]
    {
        assert!(planned.contains(part), "{part}: {planned}");
    }
    let gate = &it.json(&["plan", "vault-1"])["gates"][0];
    assert!(gate["shadows"].to_string().contains("From-firewall in /subscriptions/"), "{gate}");
    assert!(gate["defeated_by"].to_string().contains("rdp-to-vault-1 in /subscriptions/"), "{gate}");
}

#[test]
fn foreign_rule_is_accepted_by_the_name_that_a_plan_prints_and_is_told_so() {
    let it = Place::new(&[]);
    it.json(&["enable", "vault-1"]);
    let rule = "management/rdp-to-vault-1 in edge-fw";
    let unknown = it.up.ask(&["edit", "vault-1", "--accept", "rdp-to-vault-2"]);
    assert_eq!(code(&unknown), REFUSED, "{}", told(&unknown));
    assert!(told(&unknown).contains(&format!("`{rule}`")), "{}", told(&unknown));
    let printed = format!("{rule} (while a lease is open)");
    let edited = it.up.ask(&["edit", "vault-1", "--accept", &printed, "--why", "the jump host"]);
    assert_eq!(code(&edited), DONE, "{}", told(&edited));
    assert!(told(&edited).contains(&format!("accepts {rule}")), "{}", told(&edited));
    let planned = text(&it.up.ask(&["plan", "vault-1"]).stdout);
    assert!(!planned.contains(&printed) && planned.contains("accepted: the jump host"), "{planned}");
    let gate = &it.json(&["plan", "vault-1"])["gates"][0];
    assert_eq!(gate["accepted"][0]["rule"], "management/rdp-to-vault-1", "{gate}");
    it.json(&["edit", "vault-1", "--no-longer-accept", "rdp-to-vault-1"]);
    let planned = text(&it.up.ask(&["plan", "vault-1"]).stdout);
    assert!(planned.contains(&printed), "{planned}");
}

#[test]
fn foreign_rule_is_accepted_by_the_command_that_guards_its_machine() {
    let it = Place::new(&[]);
    let rule = "management/rdp-to-vault-1";
    // Of several machines none is guarded where the rule is none of one of them.
    let unknown = it.up.ask(&["enable", "vault-1", "web-1", "--accept", rule]);
    assert_eq!(code(&unknown), REFUSED, "{}", told(&unknown));
    assert!(told(&unknown).contains("the command changed nothing"), "{}", told(&unknown));
    let enabled = it.up.ask(&["enable", "vault-1", "--accept", rule, "--why", "the jump host"]);
    assert_eq!(code(&enabled), DONE, "{}", told(&enabled));
    assert!(told(&enabled).contains(&format!("accepts {rule} in edge-fw")), "{}", told(&enabled));
    let gate = &it.json(&["plan", "vault-1"])["gates"][0];
    assert_eq!((&gate["accepted"][0]["rule"], &gate["defeated_by"]), (&json!(rule), &json!([])), "{gate}");
}

#[test]
fn every_command_speaks_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let bots = folder.path().join("bots.json");
    fs::write(&bots, BOTS).expect("written");
    let it = Place::new(&["--lease-min", "1s", "--bots", bots.to_str().expect("text")]);
    let bearer = |token: &str| {
        let mut command = it.up.client();
        command.env("PORTCULLIS_TOKEN", token);
        command
    };
    every_command(&|| it.up.client(), &bearer, "web-1");
}

#[test]
fn another_person_has_to_approve() {
    let it = Place::new(&[]);
    it.json(&["enable", "web-1", "--port", "22,approver=bob"]);
    let asked = it.ask_as("ann", &["request", "web-1", "--from", ANN, "--for", "1h", "--json"]);
    assert_eq!(code(&asked), DONE, "{}", told(&asked));
    let asked: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let request = asked["request"]["id"].as_str().expect("an id");
    assert_eq!(asked["request"]["state"], "pending");
    let unattended = it.ask_as("bob", &["approve", request]);
    assert_eq!(code(&unattended), USAGE, "nobody is there to be shown it: {}", told(&unattended));
    for (person, why) in [("ann", "another person"), ("carol", "bob")] {
        let refused = it.ask_as(person, &["approve", request, "--yes"]);
        assert_eq!(code(&refused), REFUSED, "{person}: {}", told(&refused));
        assert!(told(&refused).contains(why), "{person}: {}", told(&refused));
    }
    let other = it.ask_as("bob", &["approve", request, "--shown", "something else"]);
    assert_eq!(code(&other), REFUSED, "{}", told(&other));
    assert!(!it.passes("web-1", ANN));
    let approved = it.ask_as("bob", &["approve", request, "--yes"]);
    assert_eq!(code(&approved), DONE, "{}", told(&approved));
    assert!(told(&approved).contains("disk") || told(&approved).contains(ANN), "what was shown is told");
    wait("the door", || it.passes("web-1", ANN));
    let late = it.ask_as("bob", &["reject", request, "--yes"]);
    assert_eq!(code(&late), REFUSED, "it is decided: {}", told(&late));
}

#[test]
fn a_named_person_opens_by_break_glass_without_an_approver() {
    let it = Place::new(&[]);
    let enabled = it.up.ask(&["enable", "web-1", "--port", "22,approver=bob,break-glass=ann"]);
    assert!(told(&enabled).contains("approved by bob, break-glass by ann"), "{}", told(&enabled));
    let asking = |verb: &'static str, more: &[&'static str]| {
        [&[verb, "web-1", "--from", ANN, "--for", "1h", "--break-glass"][..], more].concat()
    };
    let why = ["--why", "it is down"];
    let silent = it.ask_as("ann", &asking("request", &[]));
    assert_eq!(code(&silent), USAGE, "she says why: {}", told(&silent));
    let refused = it.ask_as("carol", &asking("request", &why));
    assert_eq!(code(&refused), REFUSED, "{}", told(&refused));
    assert!(told(&refused).contains("`carol` may not use break-glass"), "{}", told(&refused));
    let explained = it.ask_as("ann", &asking("explain", &why));
    assert!(told(&explained).contains("WOULD USE BREAK-GLASS"), "{}", told(&explained));
    let asked = it.ask_as("ann", &asking("request", &why));
    assert_eq!(code(&asked), DONE, "{}", told(&asked));
    assert!(told(&asked).contains("BREAK-GLASS"), "{}", told(&asked));
    wait("the door", || it.passes("web-1", ANN));
    for words in [&["requests"][..], &["grants"], &["events"], &["activity", "web-1"]] {
        let seen = told(&it.up.ask(words));
        assert!(seen.contains("BREAK-GLASS"), "{words:?}: {seen}");
    }
    // For a longer lease somebody can be asked.
    let longer = it.ask_as("ann", &["extend", "web-1", "--by", "30m"]);
    assert!(told(&longer).contains("waits for the approval of bob"), "{}", told(&longer));
}

#[test]
fn killed_with_a_live_lease_it_closes_on_time_all_the_same() {
    let Place { up, data } = Place::new(&["--lease-min", "1s"]);
    up.json(&["enable", "web-1"]);
    let answer = up.json(&["request", "web-1", "--from", ANN, "--for", "4s", "--wait"]);
    up.kill();
    let it = Place { up: Up::start(data.path(), &["--lease-min", "1s"], &[]), data };
    let id = &answer["grants"][0]["id"];
    wait("the end of the lease", || it.grant(id)["state"] == "closed");
    assert!(!it.passes("web-1", ANN));
    let activity = it.json(&["activity", "web-1"]);
    let closed = activity.as_array().expect("a list").iter().find(|it| it["fact"]["what"] == "closed");
    let late_ms = closed.expect("is told")["fact"]["late_ms"].as_i64().expect("a number");
    assert!(late_ms <= LATE_MAX_MS, "{late_ms} ms late");
    // Offline, with nobody serving, and not while somebody does.
    let folder = it.data.path().display().to_string();
    let offline = || Command::new(program()).args(["verify", "--data", &folder]).output().expect("runs");
    let served = offline();
    assert_eq!(code(&served), UNAVAILABLE, "{}", told(&served));
    it.up.kill();
    let alone = offline();
    assert_eq!(code(&alone), DONE, "{}", told(&alone));
    change_an_entry(&it.data.path().join("portcullis.redb"));
    let changed = offline();
    assert_eq!(code(&changed), BROKEN, "{}", told(&changed));
    assert!(told(&changed).contains("was changed"), "the first bad record is named: {}", told(&changed));
}

#[test]
fn a_lock_that_is_not_in_place_is_not_reported_as_in_place() {
    let it = Place::new(&[]);
    let broken = json!({ "on": "write", "times": 1_000_000, "fault": "broken" });
    it.up.plan(&json!({ "planned": [broken] }));
    let enabled = it.up.ask(&["enable", "web-1"]);
    assert_eq!(code(&enabled), UNAVAILABLE, "{}", told(&enabled));
    let told = told(&enabled);
    assert!(!told.contains("is guarded:") && told.contains("could not be settled"), "{told}");
    assert!(it.passes("web-1", STRANGER));
    it.up.plan(&json!({ "operation_millis": 0 }));
    wait("the lock", || !it.passes("web-1", STRANGER));
}

/// Else whoever asks next would find a port shut until the claim of the dead ends, or, worse, open.
#[test]
fn killed_at_work_it_goes_on_at_once() {
    let Place { up, data } = Place::new(&["--lease-min", "1s"]);
    up.json(&["enable", "web-1"]);
    let answer = up.json(&["request", "web-1", "--from", ANN, "--for", "2s", "--wait"]);
    let grant = &answer["grants"][0];
    up.kill();
    claim(&data.path().join("portcullis.redb"), grant["target"].as_str().expect("an id"));
    let it = Place { up: Up::start(data.path(), &["--lease-min", "1s"], &[]), data };
    wait("the end of the lease", || it.grant(&grant["id"])["state"] == "closed");
    let closed = it.grant(&grant["id"]);
    let time = |field: &str| closed[field].as_str().expect("a time").parse::<Timestamp>().expect("a time");
    let late = time("closed_at").duration_since(time("end"));
    // A restart is in it; the claim would have stood for half a minute.
    assert!(late < SignedDuration::from_secs(10), "{late:#} late");
    let activity = it.json(&["activity", "web-1"]).to_string();
    assert!(activity.contains("taken_over") && activity.contains("the-dead-one"), "{activity}");
}

#[test]
fn a_stopped_wait_prints_how_the_request_continues() {
    let it = Place::new(&[]);
    it.json(&["enable", "web-1", "--port", "22,approver=bob"]);
    // The client, once it waits for a yes; what it said so far; and the request.
    let wait_for_a_yes = |key: &str| {
        let words = ["request", "web-1", "--from", ANN, "--for", "1h", "--wait", "--key", key];
        let mut waiting = it.up.client().args(words).stderr(Stdio::piped()).spawn().expect("starts");
        let mut said = BufReader::new(waiting.stderr.take().expect("piped"));
        let mut first = String::new();
        said.read_line(&mut first).expect("says how it goes on");
        let pending = it.json(&["requests", "--state", "pending"]);
        let mut ids = pending.as_array().expect("a list").iter().filter_map(|it| it["id"].as_str());
        let id =
            ids.find(|it| first.contains(it)).unwrap_or_else(|| panic!("no request: {first}")).to_owned();
        (waiting, said, first, id)
    };
    let (mut stopped, mut rest, first, _) = wait_for_a_yes("one");
    // As by Ctrl-C, which whoever runs tests may have us ignore.
    rustix::process::kill_process(Pid::from_child(&stopped), Signal::TERM).expect("SIGTERM");
    // By the signal itself: a script that it is part of learns of it.
    assert_eq!(stopped.wait().expect("ends").signal(), Some(Signal::TERM.as_raw()));
    rest.read_to_string(&mut String::new()).expect("nothing more");
    assert!(first.contains("`one`") && first.contains("portcullis grants"), "{first}");
    let (mut lost, mut rest, _, id) = wait_for_a_yes("two");
    let Place { up, data: _data } = it;
    up.kill();
    let mut told = String::new();
    rest.read_to_string(&mut told).expect("says why");
    assert_eq!(lost.wait().expect("ends").code(), Some(UNAVAILABLE), "{told}");
    for part in [id.as_str(), "--key two", "portcullis grants"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// A server that is asked and never answers: perhaps it has written it down.
#[test]
fn a_request_without_an_answer_may_be_repeated_by_its_key() {
    let it = Place::new(&[]);
    let names = json!({ "items": it.json(&["targets"]), "next": null, "catalogue": "answered" });
    let targets = names.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut caller in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            // Whoever is not answered is hung up on.
            if BufReader::new(&caller).read_line(&mut line).is_ok() && line.starts_with("GET ") {
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n";
                let length = targets.len();
                write!(caller, "{head}content-length: {length}\r\n\r\n{targets}").expect("written");
            }
        }
    });
    let words = ["request", "db-1", "--from", ANN, "--url", &url];
    let keys: [&[&str]; 2] = [&[], &["--key", "mine"]];
    for more in keys {
        let output = it.up.ask(&[&words[..], more].concat());
        assert_eq!(code(&output), UNAVAILABLE, "{}", told(&output));
        let key = more.last().map_or("with `--key ", |_| "with `--key mine`");
        assert!(told(&output).contains(key), "{}", told(&output));
    }
}

/// What a worker leaves behind that dies at work.
fn claim(table: &std::path::Path, target: &str) {
    let store = RedbStore::open(table).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (target, seen) = store.target(&named(target)).await.expect("loads").expect("is there");
        let claimed = target.claim(&named("the-dead-one"), Timestamp::now());
        store.commit(Batch::of(claimed, seen)).await.expect("committed");
    });
}

/// The second worst thing is a port that does not open. The worst is one that never shuts again, because
/// the disk was full for a minute.
#[test]
fn a_full_disk_is_reported_and_survived() {
    let data = tempfile::tempdir().expect("a folder");
    let log = data.path().join("log").display().to_string();
    let within = [WITHOUT_SIGXFSZ.as_slice(), &[&log]].concat();
    let it = Place { up: Up::start(data.path(), &["--lease-min", "1s"], &within), data };
    let health = || it.up.health();
    it.json(&["enable", "web-1"]);
    // Longer than a client tries again: the disk has room before the end, so that the log can tell of it.
    let ask = ["request", "web-1", "--from", ANN, "--for", "6s", "--wait"];
    let grant = it.json(&ask)["grants"][0].clone();
    assert_eq!(health(), 200);
    it.up.limit_files(Some(0));
    let refused = it.up.ask(&["request", "web-1", "--from", STRANGER]);
    assert_eq!(code(&refused), UNAVAILABLE, "{}", told(&refused));
    assert_eq!(health(), 503);
    it.up.limit_files(None);
    wait("the table to be written again", || health() == 200);
    wait("the end of the lease", || it.grant(&grant["id"])["state"] == "closed");
    assert!(!it.passes("web-1", ANN) && !it.passes("web-1", STRANGER));
    it.json(&ask);
    assert!(it.passes("web-1", ANN));
    assert_eq!(code(&it.up.ask(&["verify"])), DONE);
    let log = fs::read_to_string(log).expect("reads");
    assert!(log.contains("grant.closed") && !log.contains("panicked"), "{log}");
}

/// Nobody needs a token to connect and say nothing.
#[test]
fn callers_who_never_finish_hold_up_neither_the_clock_nor_the_end() {
    const FEW_FILES: [&str; 4] = ["sh", "-c", "ulimit -n 96 && exec \"$@\"", "sh"];
    let data = tempfile::tempdir().expect("a folder");
    let it = Place { up: Up::start(data.path(), &["--lease-min", "1s"], &FEW_FILES), data };
    it.json(&["enable", "web-1"]);
    let answer = it.json(&["request", "web-1", "--from", ANN, "--for", "2s", "--wait"]);
    let address = it.up.url().trim_start_matches("http://").to_owned();
    let half = || {
        let mut caller = TcpStream::connect(&address).expect("connects");
        caller.write_all(b"GET /healthz HTTP/1.1\r\nHos").expect("written");
        caller
    };
    let callers: Vec<TcpStream> = (0..150).map(|_| half()).collect();
    let end: Timestamp = answer["grants"][0]["end"].as_str().expect("an end").parse().expect("a time");
    let until = end + SignedDuration::from_millis(LATE_MAX_MS);
    while Timestamp::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    drop(callers);
    let id = &answer["grants"][0]["id"];
    wait("the end of the lease", || it.grant(id)["state"] == "closed");
    let activity = it.json(&["activity", "web-1"]);
    let closed = activity.as_array().expect("a list").iter().find(|it| it["fact"]["what"] == "closed");
    let late_ms = closed.expect("is told")["fact"]["late_ms"].as_i64().expect("a number");
    assert!(late_ms <= LATE_MAX_MS, "{late_ms} ms late");
    let stays = half();
    let told = Instant::now();
    assert!(it.up.stop().success());
    assert!(told.elapsed() < Duration::from_secs(10), "it waited {:?} for one caller", told.elapsed());
    drop(stays);
}

/// What somebody does who can write the file: one address is another.
fn change_an_entry(table: &std::path::Path) {
    use redb::{ReadableTable, TableDefinition};
    const ENTRIES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("entries");
    let database = redb::Database::open(table).expect("opens");
    let transaction = database.begin_write().expect("writes");
    {
        let mut entries = transaction.open_table(ENTRIES).expect("opens");
        let found = entries.iter().expect("reads").map(|it| it.expect("reads")).find_map(|(key, value)| {
            let (chain, n) = key.value();
            let text = String::from_utf8(value.value().to_vec()).expect("text");
            text.contains(ANN).then(|| (chain.to_owned(), n, text.replace(ANN, STRANGER)))
        });
        let (chain, n, text) = found.expect("is there");
        entries.insert((chain.as_str(), n), text.as_bytes()).expect("written");
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_folder_has_one_server_and_one_reader() {
    let it = Place::new(&[]);
    let mode =
        |path: &str| fs::metadata(it.data.path().join(path)).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode("token"), 0o600);
    assert_eq!(mode("portcullis.redb") & 0o077, 0, "nobody else reads the journal");
    let second = Command::new(program())
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(it.data.path())
        .output()
        .expect("runs");
    assert_eq!(code(&second), UNAVAILABLE, "{}", told(&second));
    assert!(told(&second).contains("another process"), "{}", told(&second));
    let address = it.up.url().trim_start_matches("http://").to_owned();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let third =
        Command::new(program()).args(["up", "--listen", &address, "--data"]).arg(elsewhere.path()).output();
    let third = third.expect("runs");
    assert_eq!(code(&third), UNAVAILABLE, "{}", told(&third));
    assert!(told(&third).contains(&address) && told(&third).contains("--listen"), "{}", told(&third));
}

#[test]
fn nothing_that_is_guarded_is_left_alone() {
    let Place { up, data } = Place::new(&[]);
    up.kill();
    let other = Command::new(program())
        .args(["up", "--guard", "host", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .output()
        .expect("runs");
    assert_eq!(code(&other), USAGE, "{}", told(&other));
    assert!(told(&other).contains("db-1") && told(&other).contains("--guard simcloud"), "{}", told(&other));
}

#[test]
fn a_token_that_is_refused_is_replaced_by_the_one_that_its_command_prints_next() {
    let it = Place::new(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let made = it.json(&["token", "create", "ann"]);
    fs::write(folder.path().join("next"), made["token"].as_str().expect("a token")).expect("written");
    let config = folder.path().join("config.toml");
    let command = "if [ -e used ]; then cat next; else touch used; echo stale; fi";
    let (url, command) = (it.up.url(), format!("cd '{}' && {command}", folder.path().display()));
    let profile = format!("[profiles.here]\nurl = '{url}'\ntoken-command = \"{command}\"\n");
    fs::write(&config, profile).expect("written");
    let ask = || {
        let mut client = Command::new(program());
        client.env("PORTCULLIS_CONFIG", &config).args(["--profile", "here", "targets"]);
        client.env_remove("PORTCULLIS_URL").env_remove("PORTCULLIS_TOKEN").output().expect("runs")
    };
    let answered = ask();
    assert_eq!(code(&answered), DONE, "{}", told(&answered));
    // A command that has nothing else to say is asked once more, and no oftener.
    fs::write(folder.path().join("next"), "stale").expect("written");
    let refused = ask();
    assert_ne!(code(&refused), DONE);
    assert!(told(&refused).contains("401") || told(&refused).contains("token"), "{}", told(&refused));
}

#[test]
fn the_demonstration_tells_the_whole_story() {
    let start = Instant::now();
    let demo = Command::new(program()).arg("demo").output().expect("runs");
    assert_eq!(code(&demo), DONE, "{}", told(&demo));
    assert!(start.elapsed() < DEMO_MAX, "{:?}", start.elapsed());
    let story = text(&demo.stdout);
    for part in [
        "is unhealthy: port `22/tcp` is open to anywhere",
        "`9h` is too long: at most 3h",
        "bob's lease is live",
        "no lease is live",
        "pending until another person approves",
        "whole",
        "portcullis up",
    ] {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert!(!story.contains('\u{1b}'), "no colours where nobody sees them");
}

#[test]
fn help_is_everywhere() {
    let run = |words: &[&str]| Command::new(program()).args(words).output().expect("runs");
    let help = text(&run(&["--help"]).stdout);
    let commands = help.lines().skip_while(|it| *it != "Commands:").skip(1).take_while(|it| !it.is_empty());
    // What is indented further goes on from the line before.
    let commands = commands.filter_map(|it| it.strip_prefix("  ")).filter(|it| !it.starts_with(' '));
    let commands: Vec<&str> = commands.filter_map(|it| it.split_whitespace().next()).collect();
    assert!(commands.contains(&"request") && commands.contains(&"verify"), "{help}");
    for command in commands.iter().filter(|it| **it != "help") {
        let help = run(&[command, "--help"]);
        assert_eq!(code(&help), DONE, "{command}");
        assert!(text(&help.stdout).contains("Usage:"), "{command}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert!(code(&script) == DONE && text(&script.stdout).contains("portcullis"), "{shell}");
    }
    assert_eq!(code(&run(&[])), USAGE);
    assert_eq!(code(&run(&["--version"])), DONE);
}
