//! Every command of the command line that asks a server, in one round: whoever serves, it does the same.
//!
//! Left out is what asks none (`up`, `demo`, `simcloud`, `role azure`, `profiles`, `completions`), and `deploy-check` and `token create
//! --table`, which ask AWS itself. `adopt` only lists: what there is to take over is for the suite `azure_adopt`.

use crate::{azure::ANN, binary::text, schemas::Schemas};
use serde_json::{Map, Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// The bots where a round is made, and whom they may speak for.
pub const BOTS: &str = r#"[{"source":"chatops.example","for":["ann","bob"],"both_halves":true}]"#;

/// Who may speak for ann there.
const BOT: &str = "chatops.example";
/// How long the next event is waited for.
const HEARD_WITHIN: Duration = Duration::from_mins(1);
/// How often what nobody can do now is tried again, and how long after.
const AGAIN_MAX: usize = 40;
const AGAIN: Duration = Duration::from_millis(500);
/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const BROKEN: i32 = 1;
const REFUSED: i32 = 3;
const UNAVAILABLE: i32 = 5;

/// How commands are called.
struct Cli<'a> {
    operator: &'a dyn Fn() -> Command,
    bearer: &'a dyn Fn(&str) -> Command,
    machine: &'a str,
}

/// A round at a machine that nothing guards and that has SSH: `operator` calls as the operator, `bearer` as whoever has a token.
/// Bots may speak as [`BOTS`] say.
pub fn every_command(operator: &dyn Fn() -> Command, bearer: &dyn Fn(&str) -> Command, machine: &str) {
    let cli = Cli { operator, bearer, machine };
    guards(&cli);
    asks(&cli);
    decides(&cli);
    sends(&cli);
    tells(&cli);
    takes_away(&cli);
    gives_and_takes_tokens(&cli);
    gives_and_takes_roles(&cli);
    changes_policies(&cli);
    cli.object(&["disable", machine]);
    let target = cli.target();
    assert_ne!(target["state"], "configured", "{target}");
}

fn guards(cli: &Cli<'_>) {
    let machine = cli.machine;
    cli.object(&["plan", machine]);
    cli.list(&["enable", machine]);
    cli.object(&["edit", machine, "--add-port", "8443,max=1h"]);
    cli.object(&["edit", machine, "--add-port", "8444", "--confirm-within", "5m"]);
    cli.object(&["confirm", machine]);
    cli.object(&["edit", machine, "--remove-port", "8444"]);
    let ports = cli.target()["ports"].as_array().expect("ports").clone();
    let ports: Vec<&Value> = ports.iter().map(|it| &it["port"]).collect();
    assert_eq!(ports, [&json!(22), &json!(8443)]);
}

fn asks(cli: &Cli<'_>) {
    let (ssh, other) = (cli.port(22), cli.port(8443));
    cli.object(&["explain", &ssh, "--from", ANN]);
    assert!(!cli.passes());
    let answer =
        cli.object(&["request", &ssh, &other, "--from", ANN, "--for", "10m", "--why", "disk", "--wait"]);
    let grants = answer["grants"].as_array().expect("grants");
    assert!(grants.len() == 2 && grants.iter().all(|it| it["state"] == "open"), "{answer}");
    assert!(cli.passes());
    cli.object(&["extend", &ssh, "--by", "5m"]);
    let listed = cli.list(&["grants"]);
    assert!(grants.iter().all(|known| listed.iter().any(|it| it["id"] == known["id"])), "{listed:?}");
    cli.list(&["close", &ssh, &other]);
    let all = cli.list(&["grants", "--all"]);
    assert!(grants.iter().all(|known| all.iter().any(|it| it["id"] == known["id"])), "{all:?}");
}

fn decides(cli: &Cli<'_>) {
    let ssh = cli.port(22);
    cli.object(&["edit", cli.machine, "--set", "22,approver=bob,break-glass=ann"]);
    let (ann, bob) = (cli.token("ann"), cli.token("bob"));
    for (verb, state) in [("reject", "rejected"), ("approve", "approved")] {
        let asked = object((cli.bearer)(&ann), &["request", &ssh, "--from", ANN, "--for", "10m"]);
        assert_eq!(asked["request"]["state"], "pending", "{asked}");
        let id = asked["request"]["id"].as_str().expect("an id");
        let pending = cli.list(&["requests", "--state", "pending"]);
        assert!(pending.iter().any(|it| it["id"] == id), "{pending:?}");
        let own = call((cli.bearer)(&ann), &[verb, id, "--yes"]);
        assert_eq!(code(&own), REFUSED, "it is her own: {}", told(&own));
        let decided = object((cli.bearer)(&bob), &[verb, id, "--yes"]);
        assert_eq!(decided["request"]["state"], state, "{decided}");
    }
    let asked = object((cli.bearer)(&ann), &["request", &ssh, "--from", ANN, "--for", "10m"]);
    let id = asked["request"]["id"].as_str().expect("an id");
    let others = call((cli.bearer)(&bob), &["withdraw", id]);
    assert_eq!(code(&others), REFUSED, "it is another person's: {}", told(&others));
    let withdrawn = object((cli.bearer)(&ann), &["withdraw", id]);
    assert_eq!(withdrawn["request"]["state"], "withdrawn", "{withdrawn}");
    let asked = ["request", &ssh, "--from", ANN, "--for", "10m", "--break-glass", "--why", "nobody answers"];
    let broke = object((cli.bearer)(&ann), &asked);
    assert_eq!(
        (&broke["request"]["state"], &broke["request"]["broke_glass"]),
        (&json!("approved"), &json!(true))
    );
    let listed = cli.list(&["requests"]);
    assert!(2 <= listed.len(), "{listed:?}");
}

/// A bot asks for ann, and whoever listens hears what comes of it.
fn sends(cli: &Cli<'_>) {
    let correlation = format!("round-{}", cli.machine);
    let port = json!({ "port": 8443, "sources": [ANN], "duration": "10m" });
    let detail = json!({
        "version": 1, "id": correlation, "correlation_id": correlation, "on_behalf_of": "ann",
        "targets": [{ "target": cli.target()["id"], "ports": [port] }],
    });
    let event = json!({ "detail-type": "access.request", "detail": detail });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("event.json");
    fs::write(&file, event.to_string()).expect("written");
    let send = ["send", file.to_str().expect("text")];

    let listener = Listener::follow((cli.operator)(), &["--correlation", &correlation]);
    let refused = call((cli.operator)(), &send);
    assert_eq!(code(&refused), REFUSED, "the operator is no bot: {}", told(&refused));
    let answer = object((cli.bearer)(&cli.token(BOT)), &send);
    assert_eq!(answer["accepted"], true, "{answer}");
    let mut kinds = vec![];
    while kinds.last().is_none_or(|it| it != "grant.opened") {
        let event = listener.hear();
        assert_eq!(event["detail"]["correlation_id"], correlation.as_str());
        kinds.push(event["kind"].as_str().expect("text").to_owned());
    }
    assert_eq!(
        kinds,
        ["request.refused", "request.received", "request.approved", "grant.opened"],
        "each once"
    );
    let events = call((cli.operator)(), &["events", "--json"]);
    let events = text(&events.stdout);
    assert!(events.lines().any(|it| it.contains(r#""kind":"policy.changed""#)), "{events}");
    for line in events.lines() {
        heard(line);
    }
}

fn tells(cli: &Cli<'_>) {
    let machine = cli.machine;
    assert!(cli.list(&["targets"]).iter().any(|it| it["state"] == "configured"));
    for what in [machine, "portcullis"] {
        assert!(!cli.list(&["activity", what]).is_empty(), "{what}");
    }
    let csv = call((cli.operator)(), &["activity", machine, "--csv"]);
    let csv = text(&csv.stdout);
    assert!(
        csv.starts_with("n,occurred_at,what,caused_by,words,detail,hash\n") && csv.contains("policy_set"),
        "{csv}"
    );
    // Whoever has the machine may have shut it.
    let checked = call((cli.operator)(), &["check", machine, "443", "--from", ANN, "--json"]);
    let decision: Value =
        serde_json::from_slice(&checked.stdout).unwrap_or_else(|_| panic!("{}", told(&checked)));
    assert_eq!(code(&checked), if decision["passes"] == true { DONE } else { REFUSED }, "{decision}");
    assert_eq!(cli.object(&["verify"])["whole"], true);
    assert_eq!(cli.object(&["whoami"])["person"], "operator");
    cli.list(&["adopt"]);
    let doctor = call((cli.operator)(), &["doctor", "--json"]);
    let seen: Value = serde_json::from_slice(&doctor.stdout).unwrap_or_else(|_| panic!("{}", told(&doctor)));
    assert!(seen["findings"].as_array().is_some_and(|it| !it.is_empty()), "{seen}");
    assert_eq!(code(&doctor), if seen["healthy"] == true { DONE } else { BROKEN }, "{seen}");
}

/// As evidence, which is whole.
fn takes_away(cli: &Cli<'_>) {
    let folder = tempfile::tempdir().expect("a folder");
    for format in ["jsonl", "flat-jsonl", "csv", "grants-csv"] {
        let out = folder.path().join(format).to_str().expect("text").to_owned();
        let exported = cli.object(&["export", "--from", "1h", "--format", format, "--out", &out]);
        assert!(exported["records"].as_u64().is_some_and(|it| 0 < it), "{exported}");
        assert_eq!(cli.object(&["verify", &out])["whole"], true);
    }
}

fn gives_and_takes_tokens(cli: &Cli<'_>) {
    let person = format!("carol-at-{}", cli.machine);
    let token = cli.token(&person);
    let listed = || cli.list(&["token", "list"]).into_iter().find(|it| it["person"] == person.as_str());
    let plain = listed().expect("listed");
    assert!(["purpose", "expires_at", "last_used_at"].iter().all(|it| plain[it].is_null()), "{plain}");
    assert_eq!(object((cli.bearer)(&token), &["whoami"])["person"], person.as_str());
    let create = ["token", "create", &person, "--purpose", "nightly backups", "--expires", "90d"];
    let made = call((cli.operator)(), &create);
    let said = told(&made);
    assert!(
        code(&made) == DONE && said.contains("It expires at ") && said.contains("in 89 d 23 h"),
        "{said}"
    );
    let replaced = call((cli.bearer)(&token), &["whoami"]);
    assert_eq!(code(&replaced), REFUSED, "{}", told(&replaced));
    let next = listed().expect("listed");
    assert!(next["purpose"] == "nightly backups" && next["last_used_at"].is_null(), "{next}");
    let words = told(&call((cli.operator)(), &["token", "list"]));
    let row = words.lines().find(|it| it.contains(&person)).unwrap_or_else(|| panic!("{words}"));
    for word in ["nightly backups", "in 89 d 23 h", "never used"] {
        assert!(row.contains(word), "{row}");
    }
    for (option, wrong, why) in [
        ("--expires", "1m", "at least 10m"),
        ("--expires", "3mo", "such as `90d`"),
        ("--purpose", "", "1 to 100 characters"),
    ] {
        let refused = call((cli.operator)(), &["token", "create", &person, option, wrong]);
        assert!(code(&refused) != DONE && told(&refused).contains(why), "{wrong}: {}", told(&refused));
    }
    cli.object(&["token", "revoke", &person]);
    assert!(!cli.list(&["token", "list"]).iter().any(|it| it["person"] == person.as_str()));
    let revoked = call((cli.bearer)(&token), &["whoami"]);
    assert_eq!(code(&revoked), REFUSED, "{}", told(&revoked));
}

fn gives_and_takes_roles(cli: &Cli<'_>) {
    let member = format!("dave-at-{}", cli.machine);
    let token = cli.token(&member);
    let on = ["--on", cli.machine];
    let change = |what: &str| cli.object(&[&["role", what, &member, "approver"], &on[..]].concat());
    let version = change("grant")["version"].as_u64().expect("a version");
    let known = cli.object(&["role", "show", &member]);
    let theirs = |it: &Value| it["member"] == format!("person:{member}") && it["role"] == "approver";
    assert!(known["roles"].as_array().is_some_and(|it| it.iter().any(theirs)), "{known}");
    let me = object((cli.bearer)(&token), &["whoami"]);
    assert!(me["roles"].as_array().is_some_and(|it| it.iter().any(theirs)), "{me}");
    // A machine is named as it is on the command line.
    for words in
        [&["role", "grant", &member, "approver", "--on", cli.machine][..], &["role", "show", &member]]
    {
        let said = told(&call((cli.operator)(), words));
        assert!(said.contains(cli.machine) && !said.contains("target:"), "{words:?}: {said}");
    }
    assert_eq!(change("revoke")["version"], version + 1);
    let all = cli.object(&["role", "list"]);
    assert!(!all["roles"].as_array().is_some_and(|it| it.iter().any(theirs)), "{all}");
    // Whoever is no operator gives none.
    let words = [&["role", "grant", &member, "approver"], &on[..]].concat();
    let refused = call((cli.bearer)(&token), &words);
    assert_eq!(code(&refused), REFUSED, "{}", told(&refused));
    cli.object(&["token", "revoke", &member]);
}

/// Policies that forbid what only dave asks for, and back to none.
fn changes_policies(cli: &Cli<'_>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let text = "@id(\"not-dave\") @reason(\"On leave.\")\nforbid (principal == Person::\"dave\", action == Action::\"request\", resource);\n";
    fs::write(folder.path().join("leave.cedar"), text).expect("written");
    let version = cli.object(&["policy", "show"])["version"].to_string();
    let diff = call((cli.operator)(), &["policy", "diff", path]);
    assert_eq!(code(&diff), BROKEN, "{}", told(&diff));
    assert!(told(&diff).contains("leave.cedar: added"), "{}", told(&diff));
    let applied = cli.object(&["policy", "apply", path, "--expect", &version, "--why", "dave is on leave"]);
    assert_eq!((&applied["is_new"], &applied["added"]), (&Value::Bool(true), &Value::from(vec!["not-dave"])));
    assert_eq!(cli.object(&["policy", "diff", path])["same"], true);
    let token = cli.token("dave");
    let asked = ["explain", &cli.port(22), "--from", ANN, "--for", "1h"];
    let explain = || told(&call((cli.bearer)(&token), &asked));
    let mut explained = explain();
    // Another process sees a change within ten seconds.
    for _ in 0..AGAIN_MAX {
        if explained.contains("would be refused") {
            break;
        }
        thread::sleep(AGAIN);
        explained = explain();
    }
    assert!(explained.contains("forbidden by the policy `not-dave`: On leave."), "{explained}");
    // One file leaves the others as they are.
    let other = folder.path().join("other.cedar");
    fs::write(&other, "permit (principal == Person::\"dave\", action == Action::\"read\", resource);\n")
        .expect("written");
    cli.object(&["policy", "apply", other.to_str().expect("text")]);
    let shown = cli.object(&["policy", "show"]);
    assert_eq!(shown["files"].as_object().map(Map::len), Some(2), "{shown}");
    let late = call((cli.operator)(), &["policy", "apply", path, "--expect", &version]);
    assert_eq!(code(&late), REFUSED, "{}", told(&late));
    let back = cli.object(&["policy", "rollback", "0"]);
    assert_eq!((&back["back_to"], &back["is_new"]), (&Value::from(0), &Value::Bool(true)), "{back}");
    let versions = cli.list(&["policy", "history"]);
    let first = versions[2]["version"].to_string();
    assert_eq!(cli.object(&["policy", "show", "--version", &first])["files"]["leave.cedar"], text);
    cli.object(&["token", "revoke", "dave"]);
}

impl Cli<'_> {
    fn object(&self, words: &[&str]) -> Value {
        object((self.operator)(), words)
    }

    fn list(&self, words: &[&str]) -> Vec<Value> {
        let given = json_of((self.operator)(), words);
        given.as_array().unwrap_or_else(|| panic!("{words:?} gives a list: {given}")).clone()
    }

    /// A new token of somebody's.
    fn token(&self, person: &str) -> String {
        let made = self.object(&["token", "create", person]);
        made["token"].as_str().expect("a token").to_owned()
    }

    fn target(&self) -> Value {
        let targets = self.list(&["targets"]);
        targets.into_iter().find(|it| it["name"] == self.machine).expect("is there")
    }

    fn port(&self, port: u16) -> String {
        format!("{}:{port}", self.machine)
    }

    /// Does SSH get through for ann?
    fn passes(&self) -> bool {
        let checked = call((self.operator)(), &["check", self.machine, "22", "--from", ANN]);
        match code(&checked) {
            DONE => true,
            REFUSED => false,
            other => panic!("`check` exits {other}: {}", told(&checked)),
        }
    }
}

/// Somebody who follows the events, until it is dropped.
struct Listener {
    process: Child,
    lines: Receiver<String>,
}

impl Listener {
    fn follow(mut command: Command, words: &[&str]) -> Self {
        let command = command.args(["events", "--follow", "--since", "1m", "--json"]).args(words);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("starts");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (heard, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|it| heard.send(it)));
        Self { process, lines }
    }

    fn hear(&self) -> Value {
        heard(&self.lines.recv_timeout(HEARD_WITHIN).expect("something is told"))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A line of `events --json`: what `infra/events` says.
fn heard(line: &str) -> Value {
    let event: Value = serde_json::from_str(line).expect("an event a line");
    Schemas::ours().hold(event["kind"].as_str().expect("text"), &event["detail"]);
    event
}

fn call(mut command: Command, words: &[&str]) -> Output {
    command.args(words).output().expect("runs")
}

/// What a command that succeeds answers. While a cloud writes a rule nobody can read it: then it says to run the same
/// again, and so it is.
fn json_of(mut command: Command, words: &[&str]) -> Value {
    command.args(words).arg("--json");
    let mut output = command.output().expect("runs");
    for _ in 0..AGAIN_MAX {
        if code(&output) != UNAVAILABLE {
            break;
        }
        thread::sleep(AGAIN);
        output = command.output().expect("runs");
    }
    assert_eq!(code(&output), DONE, "{words:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", told(&output)))
}

fn object(command: Command, words: &[&str]) -> Value {
    let given = json_of(command, words);
    assert!(given.is_object(), "{words:?} gives an object: {given}");
    given
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("exits by itself")
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
