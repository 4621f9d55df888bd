//! What strangers write: their tokens are neither kept nor logged nor sent back, and their signs steer no terminal.

use portcullis_tests::{
    binary::{Up, program, text},
    commands::BOTS,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

/// What a token looks like.
const TOKEN: &str = "pct_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";
/// The same of an issuer: `{"alg":"none"}`, `{"AbCdEfGhIjKl":1}` and a part of a signature.
const JWT: &str = "eyJhbGciOiJub25lIn0.eyJBYkNkRWZHaElqS2wiOjF9.AbCdEfGhIjKl";
/// Signs that steer a terminal: an escape, its form in one character, a deletion, a text that runs backwards, an
/// isolated one, a line of its own.
const SIGNS: &str = "a\u{1b}[2Jb\u{9b}2Jc\u{7f}d\u{202e}e\u{2066}f\u{2028}g\u{200f}h\rk";
/// The same for where signs that control are refused.
const TURNS: &str = "it is\u{202e}down\u{2066}again\u{2028}and\u{200f}again";
const ANN: &str = "203.0.113.9";

struct Place {
    up: Up,
    data: tempfile::TempDir,
    log: PathBuf,
}

impl Place {
    fn new() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let bots = data.path().join("bots.json");
        fs::write(&bots, BOTS).expect("written");
        let log = data.path().join("log");
        let to_log = ["sh", "-c", "exec \"$@\" 2>>\"$0\"", &log.display().to_string()];
        let bots = ["--bots", &bots.display().to_string(), "--lease-min", "1s"];
        Self { up: Up::start(data.path(), &bots, &to_log), log, data }
    }

    /// A command of the client, without what runs the server.
    fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.env("PORTCULLIS_URL", self.up.url()).env("PORTCULLIS_DATA", self.data.path());
        command.env_remove("PORTCULLIS_TOKEN").args(words).output().expect("runs")
    }

    /// The answer to a call as somebody.
    fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let token = fs::read_to_string(self.data.path().join("token")).expect("a token");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.up.url()))
            .header("authorization", format!("Bearer {}", token.trim()))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = agent.run(request.body(body.to_owned()).expect("a request")).expect("an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    }

    fn id_of(&self, name: &str) -> String {
        let targets = self.ask(&["targets", "--json"]);
        let targets: Value = serde_json::from_slice(&targets.stdout).expect("JSON");
        let found =
            targets.as_array().expect("a list").iter().find(|it| it["name"] == name).expect("is there");
        found["id"].as_str().expect("an id").to_owned()
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_token_in_a_path_a_field_or_an_event_is_refused_and_is_nowhere_afterwards() {
    let it = Place::new();
    it.ask(&["enable", "web-1"]);
    let target = it.id_of("web-1");
    let ask = |target: &str, why: &str| {
        json!({ "asks": [{ "target": target, "port": 22, "for": "1h", "sources": [ANN] }], "justification": why })
            .to_string()
    };
    let event = |source: &str, kind: &str, detail: Value| {
        json!({ "source": source, "detail-type": kind, "id": "e-1", "detail": detail }).to_string()
    };
    let fit = ask(&target, "disk full");
    let calls = [
        ("GET", format!("/v1/targets/{TOKEN}"), vec![], String::new()),
        ("GET", format!("/v1/{TOKEN}"), vec![], String::new()),
        ("GET", format!("/v1/grants?by={}", TOKEN.replace('_', "%5F")), vec![], String::new()),
        ("DELETE", format!("/v1/tokens/{TOKEN}"), vec![], String::new()),
        ("POST", "/v1/requests".to_owned(), vec![], ask(&target, &format!("my token is {TOKEN}."))),
        ("POST", "/v1/requests".to_owned(), vec![], ask(TOKEN, "disk full")),
        ("POST", "/v1/requests".to_owned(), vec![("idempotency-key", TOKEN)], fit.clone()),
        ("POST", "/v1/requests".to_owned(), vec![("x-correlation-id", TOKEN)], fit),
        ("POST", "/v1/requests".to_owned(), vec![], format!("{{\"{TOKEN}\": 1}}")),
        ("POST", "/v1/requests".to_owned(), vec![], format!("{TOKEN} is no JSON")),
        ("POST", "/v1/tokens".to_owned(), vec![], json!({ "person": TOKEN }).to_string()),
        ("GET", format!("/v1/targets/{JWT}"), vec![], String::new()),
        ("POST", "/v1/requests".to_owned(), vec![], ask(&target, &format!("my token is {JWT}."))),
        ("POST", "/v1/requests".to_owned(), vec![("x-correlation-id", JWT)], ask(&target, "disk full")),
    ];
    for (method, path, headers, body) in &calls {
        let (status, answer) = it.call(method, path, headers, body);
        assert_eq!(status, 400, "{method} {path} {body}: {answer}");
        assert!(answer.contains("Authorization") && !answer.contains("AbCdEfGh"), "{answer}");
    }
    for body in [
        event("chatops", "access.request", json!({ "version": 1, "on_behalf_of": TOKEN })),
        event("chatops", TOKEN, json!({ "version": 1, "on_behalf_of": "ann" })),
        event("chatops", "access.request", json!({ "version": 1, "on_behalf_of": JWT })),
        event(
            "chatops",
            "access.close",
            json!({ "version": 1, "on_behalf_of": "ann", "correlation_id": TOKEN }),
        ),
        format!("{{ {TOKEN}"),
    ] {
        let (status, answer) = it.call("POST", "/v1/events", &[], &body);
        assert!(status == 202 && answer.contains("\"accepted\":false"), "{status} {answer}");
        assert!(!answer.contains("AbCdEfGh"), "{answer}");
    }
    for words in [
        &["request", "web-1", "--from", ANN, "--why", TOKEN][..],
        &["request", "web-1", "--from", ANN, "--correlation", TOKEN],
        &["requests", "--by", TOKEN],
        &["token", "create", TOKEN],
        &["token", "revoke", TOKEN],
        &["activity", TOKEN],
    ] {
        let refused = it.ask(words);
        assert!(!refused.status.success(), "{words:?}: {}", told(&refused));
    }
    // What was refused is recorded, without it.
    let events = told(&it.ask(&["events", "--json"]));
    assert!(events.matches("request.refused").count() >= 6, "{events}");
    let logged = fs::read_to_string(&it.log).expect("reads");
    let kept = fs::read(it.data.path().join("portcullis.redb")).expect("reads");
    let needle = b"AbCdEfGhIjKl";
    assert!(!kept.windows(needle.len()).any(|it| it == needle), "the table has it");
    assert!(!logged.contains("AbCdEfGhIjKl") && !events.contains("AbCdEfGhIjKl"), "{logged}{events}");
}

#[test]
fn no_command_prints_a_sign_that_steers_a_terminal() {
    let it = Place::new();
    for body in [
        json!({ "source": SIGNS, "detail-type": SIGNS, "id": SIGNS, "detail": { "on_behalf_of": SIGNS } }),
        json!({ "detail-type": "access.request", "id": "e", "detail": { "version": 1, "on_behalf_of": SIGNS } }),
        json!({ "detail-type": "access.request", "id": "e",
                "detail": { "version": 1, "on_behalf_of": "ann", SIGNS: SIGNS } }),
    ] {
        let (status, answer) = it.call("POST", "/v1/events", &[], &body.to_string());
        assert!(status == 202, "{answer}");
    }
    it.ask(&["enable", "web-1"]);
    it.ask(&["enable", "app-1"]);
    it.ask(&["edit", "app-1", "--set", "22,approver=bob"]);
    let asked = it.ask(&["request", "web-1", "--from", ANN, "--for", "1h", "--why", TURNS, "--wait"]);
    assert!(asked.status.success(), "{}", told(&asked));
    let waits = it.ask(&["request", "app-1", "--from", ANN, "--why", TURNS]);
    let (status, _) =
        it.call("POST", "/v1/requests", &[], &json!({ "asks": [{ "target": SIGNS }] }).to_string());
    assert_eq!(status, 400);
    let export = it.data.path().join("export").display().to_string();
    let event = it.data.path().join("event").display().to_string();
    fs::write(&event, json!({ "detail-type": SIGNS, "detail": {} }).to_string()).expect("written");
    let mut seen = vec![told(&asked), told(&waits)];
    for words in [
        &["targets"][..],
        &["plan", "build-1"],
        &["requests"],
        &["requests", "--state", "pending"],
        &["grants", "--all"],
        &["activity", "web-1"],
        &["activity", "web-1", "--csv"],
        &["activity", "app-1"],
        &["activity", "portcullis"],
        &["activity", "portcullis", "--csv"],
        &["activity", SIGNS],
        &["events"],
        &["send", &event],
        &["explain", "web-1", "--from", ANN, "--why", TURNS],
        &["request", "web-1", "--from", ANN, "--why", SIGNS],
        &["approve", SIGNS],
        &["reject", "app-1", "--why", TURNS],
        &["extend", "web-1", "--by", "5m"],
        &["check", "web-1", "22", "--from", ANN],
        &["adopt"],
        &["doctor"],
        &["whoami"],
        &["verify"],
        &["token", "list"],
        &["export", "--out", &export],
        &["verify", &export],
        &["close", "web-1"],
        &["disable", "app-1"],
    ] {
        seen.push(told(&it.ask(words)));
        if !words.contains(&"--csv") {
            seen.push(told(&it.ask(&[words, &["--json"]].concat())));
        }
    }
    let steers =
        |c: char| c.is_control() && !"\n\r".contains(c) || "\u{202e}\u{2066}\u{2028}\u{200f}".contains(c);
    for said in &seen {
        assert!(!said.contains(steers), "{said:?}");
    }
    // Nothing is lost to a program: it reads what was stored.
    let events = it.ask(&["events", "--json"]);
    let reads = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let kinds: Vec<Value> =
        text(&events.stdout).lines().map(|it| reads(it)["detail"]["fact"]["kind"].clone()).collect();
    assert!(kinds.contains(&json!(SIGNS)), "{kinds:?}");
}
