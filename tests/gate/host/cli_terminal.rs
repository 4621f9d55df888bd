//! The real program as a person at a terminal uses it: lists that fit, the newest first where only some are wanted, several things in
//! one command.

use portcullis_tests::{
    binary::{Up, program, text},
    pty::on_terminal,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};
use tempfile::{TempDir, tempdir};

/// Addresses of nobody in particular (RFC 5737).
const ANN: &str = "203.0.113.9";
/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const NOT_FOUND: i32 = 4;
/// How long to wait for an event before something happens again.
const HEARD_WITHIN: Duration = Duration::from_millis(300);
/// How often something happens before an event of it has to be heard.
const TIMES_MAX: usize = 100;

struct Place {
    up: Up,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempdir().expect("a folder");
        Self { up: Up::start(&folder.path().join("data"), &["--lease-min", "1s"], &[]), folder }
    }

    fn token(&self, person: &str) -> String {
        let made = self.up.json(&["token", "create", person]);
        made["token"].as_str().expect("a token").to_owned()
    }

    fn ask_as(&self, token: &str, words: &[&str]) -> Output {
        self.up.client().env("PORTCULLIS_TOKEN", token).args(words).output().expect("runs")
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("exits by itself")
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Without colours.
fn plain(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or("", |(_, it)| it))
}

#[test]
fn lists_fit_a_terminal_of_80_and_of_100_columns_and_are_whole_without_one() {
    let it = Place::new();
    it.up.json(&["enable", "vault-1", "--port", "3389,from=10.0.0.0/8,approver=bob"]);
    let why = "a reason of many words that no terminal of some 80 or 100 columns has room for in one line";
    it.up.json(&["request", "db-1", "--from", "203.0.113.9,198.51.100.0/24", "--why", why]);
    let lists: [&[&str]; 5] =
        [&["targets"], &["grants"], &["requests"], &["activity", "db-1"], &["events", "--since", "1h"]];
    for words in lists {
        for columns in [80, 100] {
            let mut client = it.up.client();
            client.args(words).env("TERM", "xterm").env_remove("NO_COLOR");
            let (status, seen) = on_terminal(client, columns);
            assert!(status.success() && seen.contains("\u{1b}["), "{words:?}: {seen}");
            for line in plain(&seen).lines() {
                assert!(line.chars().count() <= usize::from(columns), "{words:?} at {columns}: {line}");
            }
            let mut wide = it.up.client();
            wide.args(words).arg("--wide").env("NO_COLOR", "1");
            let (_, wide) = on_terminal(wide, columns);
            assert!(!wide.contains('…'), "{words:?}: {wide}");
        }
        let piped = text(&it.up.ask(words).stdout);
        assert!(!piped.contains('…') && !piped.contains('\u{1b}'), "{words:?}: {piped}");
    }
    let mut client = it.up.client();
    client.args(["events", "--since", "1h"]).env("TERM", "xterm").env("NO_COLOR", "1");
    let (_, seen) = on_terminal(client, 80);
    let is_told = |it: &str| it.contains("  db-1            operator: grant ") && it.contains("/tcp from ");
    assert!(seen.lines().any(is_told), "the sentence has the room: {seen}");
    let piped = text(&it.up.ask(&["requests"]).stdout);
    assert!(piped.contains(why), "{piped}");
    let wide = text(&it.up.ask(&["grants", "--wide"]).stdout);
    assert!(wide.contains("/subscriptions/"), "{wide}");
}

#[test]
fn activity_gives_the_newest_entries_and_only_those_that_are_wanted() {
    let it = Place::new();
    let ann = it.token("ann");
    it.up.json(&["enable", "web-1", "--port", "22,approver=bob"]);
    let asked = it.ask_as(&ann, &["request", "web-1", "--from", ANN, "--json"]);
    let asked: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let bob = it.token("bob");
    let id = asked["request"]["id"].as_str().expect("an id");
    assert_eq!(code(&it.ask_as(&bob, &["approve", id, "--yes"])), DONE);
    it.up.json(&["disable", "web-1"]);
    let list = |words: &[&str]| -> Vec<(u64, String)> {
        let found = it.up.json(&[&["activity", "web-1"], words].concat());
        let found = found.as_array().expect("a list").iter();
        let of = |it: &Value| {
            (it["n"].as_u64().expect("a number"), it["fact"]["what"].as_str().expect("a kind").to_owned())
        };
        found.map(of).collect()
    };
    // The end of a chain grows no more where its machine is guarded no longer.
    let all = list(&[]);
    assert!(8 < all.len(), "{all:?}");
    assert_eq!(list(&["--limit", "3"]), all[all.len() - 3..]);
    let kinds = list(&["--kind", "policy-set,approved"]);
    let wanted = ["policy_set", "approved", "policy_set"];
    assert_eq!(kinds.iter().map(|it| it.1.as_str()).collect::<Vec<_>>(), wanted);
    assert_eq!(list(&["--kind", "policy_set", "--limit", "1"]), kinds[2..]);
    let of_ann = list(&["--by", "Ann"]);
    assert_eq!(of_ann.iter().map(|it| it.1.as_str()).collect::<Vec<_>>(), ["approval_needed", "approved"]);
    assert_eq!(list(&["--by", "bob"]), of_ann[1..], "who approved it caused it too");
    assert_eq!(list(&["--since", "1h"]), all);
    let none = it.up.ask(&["activity", "web-1", "--since", "2031-01-01"]);
    assert!(told(&none).contains("has no such entries"), "{}", told(&none));
    let unknown = it.up.ask(&["activity", "web-1", "--by", "an"]);
    let said = "The person or bot `an` caused or approved no entry of the machine: its entries name ann, bob";
    assert!(code(&unknown) == DONE && told(&unknown).contains(said), "{}", told(&unknown));
    let later = it.up.ask(&["activity", "web-1", "--by", "ann", "--since", "2031-01-01"]);
    assert!(told(&later).contains("has no such entries"), "{}", told(&later));
    let table = text(&it.up.ask(&["activity", "web-1", "--kind", "approved"]).stdout);
    assert!(table.contains("KIND") && table.contains("ann, approved by bob"), "{table}");
}

#[test]
fn usage_error_names_each_option_that_would_do() {
    let cases: [(&[&str], [&str; 2]); 4] = [
        (&["close"], ["GRANT", "--mine"]),
        (&["extend", "--by", "5m"], ["GRANT", "--mine"]),
        (&["extend", "--mine"], ["--by <TIME>", "--until <TIME>"]),
        (&["enable", "--port", "22"], ["TARGET", "--all-recommended"]),
    ];
    for (words, options) in cases {
        let run = Command::new(program()).args(words).output().expect("runs");
        let said = text(&run.stderr);
        let lacking = said.lines().skip_while(|it| !it.contains("required")).nth(1).unwrap_or_default();
        assert!(code(&run) == USAGE && options.iter().all(|it| lacking.contains(it)), "{words:?}: {said}");
    }
}

#[test]
fn events_that_are_followed_begin_with_now() {
    let it = Place::new();
    it.up.json(&["request", "db-1", "--from", ANN, "--correlation", "before", "--wait"]);
    let mut following = it.up.client();
    following.args(["events", "--follow"]).stdout(Stdio::piped());
    let mut following = following.spawn().expect("starts");
    let lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let (heard, first) = channel();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|it| heard.send(it)));
    let line = (0..TIMES_MAX).find_map(|n| {
        it.up.json(&["request", "db-1", "--from", ANN, "--correlation", &format!("after-{n}")]);
        match first.recv_timeout(HEARD_WITHIN) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("it ended"),
        }
    });
    let line = line.expect("an event is heard");
    assert!(line.contains("  db-1            ") && line.contains("after-"), "columns: {line}");
    let mut seen = vec![line];
    seen.extend(first.try_iter());
    assert!(seen.iter().all(|it| !it.contains("before")), "{seen:?}");
    following.kill().expect("killed");
    following.wait().expect("gone");
    let before = text(&it.up.ask(&["events"]).stdout);
    assert!(before.contains("before"), "without --follow the last hour is printed: {before}");
}

#[test]
fn several_leases_that_may_be_meant_are_listed_with_holder_and_end() {
    let it = Place::new();
    let (ann, bob) = (it.token("ann"), it.token("bob"));
    for token in [&ann, &bob] {
        let asked = it.ask_as(token, &["request", "db-1", "--from", ANN, "--for", "30m"]);
        assert_eq!(code(&asked), DONE, "{}", told(&asked));
    }
    let verbs: [&[&str]; 2] = [&["close", "db-1"], &["extend", "db-1", "--by", "5m"]];
    for words in verbs {
        let many = it.ask_as(&ann, words);
        assert_eq!(code(&many), USAGE, "{}", told(&many));
        for part in
            ["db-1:22/tcp of ann, until ", "db-1:22/tcp of bob, until ", "29 min left", "by its id", "--mine"]
        {
            assert!(told(&many).contains(part), "{part}: {}", told(&many));
        }
    }
    let extended = it.ask_as(&ann, &["extend", "--mine", "--by", "5m", "--json"]);
    assert_eq!(code(&extended), DONE, "{}", told(&extended));
    let extended: Value = serde_json::from_slice(&extended.stdout).expect("JSON");
    assert_eq!(extended["grants"][0]["by"], "ann");
    let closed = it.ask_as(&ann, &["close", "--mine", "db-1", "--json"]);
    assert_eq!(code(&closed), DONE, "{}", told(&closed));
    let closed: Value = serde_json::from_slice(&closed.stdout).expect("JSON");
    assert_eq!((closed.as_array().map(Vec::len), &closed[0]["by"]), (Some(1), &json!("ann")));
    let ended = it.ask_as(&bob, &["close", "--mine"]);
    assert!(code(&ended) == DONE && told(&ended).contains("bob"), "{}", told(&ended));
    // What is over may still be closing; then it is closed again, which is success.
    let again = it.ask_as(&bob, &["close", "--mine"]);
    assert_eq!(code(&again), DONE, "{}", told(&again));
    assert_eq!(code(&it.ask_as(&ann, &["close"])), USAGE);
}

#[test]
fn several_machines_are_guarded_changed_and_let_go_in_one_command_once_all_are_checked() {
    let it = Place::new();
    let state = |name: &str| {
        let targets = it.up.json(&["targets"]);
        let found = targets.as_array().expect("a list").iter().find(|it| it["name"] == name);
        found.expect("is there").clone()
    };
    let unsupported = it.up.json(&["targets", "--state", "unsupported"])[0]["name"].clone();
    let unsupported = unsupported.as_str().expect("a name");
    let refused = it.up.ask(&["enable", "web-1", unsupported, "app-1"]);
    assert_eq!(code(&refused), REFUSED, "{}", told(&refused));
    assert!(
        told(&refused).contains("changed nothing") && told(&refused).contains(unsupported),
        "{}",
        told(&refused)
    );
    assert_eq!(state("web-1")["state"], "not_configured");
    let enabled = it.up.ask(&["enable", "web-1", "app-1", "--port", "recommended,max=1h"]);
    assert_eq!(code(&enabled), DONE, "{}", told(&enabled));
    let ports = state("web-1")["ports"].clone();
    let ports: Vec<_> =
        ports.as_array().expect("a list").iter().map(|it| (it["port"].clone(), it["max"].clone())).collect();
    assert_eq!(ports, [22, 3389, 5985, 5986].map(|it| (json!(it), json!("PT1H"))));

    // All are checked first.
    let refused = it.up.ask(&["edit", "web-1", "db-1", "--add-port", "3389"]);
    assert_eq!(code(&refused), USAGE, "{}", told(&refused));
    assert!(
        told(&refused).contains("`web-1`: port `3389` of `web-1` is guarded already"),
        "{}",
        told(&refused)
    );
    assert_eq!(state("db-1")["policy_version"], 1);
    let edited = it.up.json(&["edit", "web-1", "db-1", "--set", "22,max=2h"]);
    assert_eq!(edited.as_array().map(Vec::len), Some(2), "{edited}");
    assert_eq!(it.up.json(&["edit", "db-1", "--set", "22,max=1h"])["changed"], true, "an object of one");

    // The outcome of each is told where the server refuses one of them.
    let part = it.up.ask(&["edit", "web-1", "db-1", "--remove-port", "5985"]);
    assert_eq!(code(&part), REFUSED, "{}", told(&part));
    assert!(text(&part.stdout).contains("web-1 is guarded"), "{}", told(&part));
    let why = text(&part.stderr);
    assert!(
        why.contains("for 1 of 2 machines") && why.contains("`db-1`: ") && !why.contains("`web-1`: "),
        "{why}"
    );

    // A rule of Microsoft's defeats the lock of one of them: its rules are there, and it is warned of.
    let all = it.up.ask(&["enable", "--all-recommended"]);
    assert_eq!(code(&all), DONE, "{}", told(&all));
    let warned = text(&all.stderr);
    assert!(warned.contains("is defeated by MicrosoftDefenderForCloud-JITRule"), "{}", told(&all));
    assert_eq!(it.up.json(&["targets", "--state", "not_configured"]), json!([]));
    let again = it.up.ask(&["enable", "--all-recommended"]);
    assert!(
        code(&again) == DONE && told(&again).contains("that could be guarded is guarded"),
        "{}",
        told(&again)
    );

    let missing = it.up.ask(&["disable", "web-1", "nope"]);
    assert_eq!(code(&missing), NOT_FOUND, "{}", told(&missing));
    assert_eq!(state("web-1")["state"], "configured");
    let disabled = it.up.json(&["disable", "web-1", "app-1"]);
    assert!(disabled.as_array().is_some_and(|it| it.iter().all(|it| it["changed"] == true)), "{disabled}");
}

/// What a shell is offered for the last of these words.
fn offered(client: &mut Command, words: &[&str]) -> Vec<String> {
    let index = (words.len() - 1).to_string();
    let client = client.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n");
    let output = client.env("_CLAP_COMPLETE_COMP_TYPE", "9").arg("--").args(words).output().expect("runs");
    assert!(output.stderr.is_empty(), "a shell hears nothing else: {}", told(&output));
    text(&output.stdout).lines().map(|it| it.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn shell_is_offered_the_names_of_machines_grants_and_requests() {
    let it = Place::new();
    let asked = it.up.json(&["request", "db-1", "--from", ANN]);
    let grant = asked["grants"][0]["id"].as_str().expect("an id");
    it.up.json(&["edit", "db-1", "--set", "22,approver=bob"]);
    let pending = it.up.json(&["request", "db-1", "--from", ANN]);
    let request = pending["request"]["id"].as_str().expect("an id");
    assert_eq!(offered(&mut it.up.client(), &["portcullis", "enable", "web"]), ["web-1"]);
    assert_eq!(offered(&mut it.up.client(), &["portcullis", "request", "db"]), ["db-1"]);
    assert_eq!(
        offered(&mut it.up.client(), &["portcullis", "close", ""]).first().map(String::as_str),
        Some(grant)
    );
    assert_eq!(
        offered(&mut it.up.client(), &["portcullis", "approve", ""]).first().map(String::as_str),
        Some(request)
    );
    let url = it.up.url().to_owned();
    let mut elsewhere = it.up.client();
    let named = ["portcullis", "--url", &url, "plan", "web"];
    assert_eq!(offered(elsewhere.env("PORTCULLIS_URL", "http://127.0.0.1:9"), &named), ["web-1"]);
    // Where no server answers, and where a token would be asked for with a dialogue, nothing is offered or said.
    let mut nowhere = it.up.client();
    assert_eq!(
        offered(nowhere.env("PORTCULLIS_URL", "http://127.0.0.1:9"), &["portcullis", "enable", "web"]),
        [""; 0]
    );
    let config = it.folder.path().join("config.toml");
    let used = it.folder.path().join("used");
    let profile = format!("[profiles.lab]\nurl = '{url}'\ntoken-command = \"touch '{}'\"\n", used.display());
    fs::write(&config, profile).expect("written");
    let mut dialogue = it.up.client();
    let words = ["portcullis", "--profile", "lab", "enable", "web"];
    let dialogue = dialogue.env_remove("PORTCULLIS_URL").env("PORTCULLIS_CONFIG", &config);
    assert_eq!(offered(dialogue, &words), [""; 0]);
    assert!(!used.exists(), "the command was not run");
}

#[test]
fn script_of_each_shell_asks_the_program() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = Command::new(program()).args(["completions", shell]).output().expect("runs");
        assert_eq!(code(&script), DONE, "{}", told(&script));
        assert!(
            text(&script.stdout).contains("COMPLETE") && text(&script.stdout).contains("portcullis"),
            "{shell}"
        );
    }
}

#[test]
fn manual_page_of_each_command_is_printed_or_written() {
    let run = |words: &[&str]| Command::new(program()).arg("man").args(words).output().expect("runs");
    let all = text(&run(&[]).stdout);
    assert!(all.contains(".TH portcullis 1") && all.contains("portcullis\\-enable"), "{all}");
    let enable = text(&run(&["enable"]).stdout);
    assert!(
        enable.contains(".TH portcullis-enable 1") && enable.contains("\\-\\-all\\-recommended"),
        "{enable}"
    );
    assert_eq!(code(&run(&["nonsense"])), NOT_FOUND);
    let folder = tempdir().expect("a folder");
    let man = folder.path().join("man1");
    let written = run(&["--out", man.to_str().expect("text")]);
    assert_eq!(code(&written), DONE, "{}", told(&written));
    for page in ["portcullis.1", "portcullis-request.1", "portcullis-token-create.1"] {
        assert!(man.join(page).is_file(), "{page}");
    }
}
