//! Events and evidence on the command line: what bots send, what everybody hears, what auditors take away.

use portcullis_domain::Hash;
use portcullis_tests::binary::{Up, text};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Output, Stdio},
};

/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const BROKEN: i32 = 1;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const NOT_FOUND: i32 = 4;

fn code(output: &Output) -> i32 {
    output.status.code().expect("exits by itself")
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn send(up: &Up, event: &str) -> Output {
    let mut sending = up.client();
    let sending =
        sending.args(["send", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sending = sending.spawn().expect("starts");
    sending.stdin.take().expect("piped").write_all(event.as_bytes()).expect("written");
    sending.wait_with_output().expect("ends")
}

/// An event for the machine that a new fleet guards already.
fn event(up: &Up, person: &str) -> String {
    let targets = up.json(&["targets"]);
    let guarded =
        targets.as_array().expect("a list").iter().find(|it| it["name"] == "db-1").expect("guarded");
    let port = json!({ "port": guarded["ports"][0]["port"], "sources": ["203.0.113.9"], "duration": "PT1H" });
    let detail = json!({
        "version": 1, "id": "4711", "on_behalf_of": person, "correlation_id": "deploy-4711",
        "targets": [{ "target": guarded["id"], "ports": [port] }],
    });
    json!({ "detail-type": "access.request", "detail": detail }).to_string()
}

fn events(output: &Output) -> Vec<Value> {
    assert_eq!(code(output), DONE, "{}", told(output));
    text(&output.stdout).lines().map(|it| serde_json::from_str(it).expect("an event a line")).collect()
}

#[test]
fn the_answer_to_an_event_is_published_to_every_subscriber() {
    let data = tempfile::tempdir().expect("a folder");
    let bots = data.path().join("bots.json");
    fs::write(&bots, r#"[{"source": "operator", "for": ["ann"]}]"#).expect("written");
    let up = Up::start(data.path(), &["--bots", bots.to_str().expect("text")], &[]);
    // Whoever listens hears it as it happens.
    let mut listening = up.client();
    let listening =
        listening.args(["events", "--follow", "--since", "1m", "--json", "--correlation", "deploy-4711"]);
    let mut listening = listening.stdout(Stdio::piped()).spawn().expect("starts");
    let mut heard = BufReader::new(listening.stdout.take().expect("piped")).lines();
    let sent = send(&up, &event(&up, "ann"));
    assert_eq!(code(&sent), DONE, "{}", told(&sent));
    let mut kinds = vec![];
    while kinds.last().is_none_or(|it| it != "grant.opened") {
        let line = heard.next().expect("it goes on").expect("reads");
        let event: Value = serde_json::from_str(&line).expect("an event a line");
        assert_eq!(event["detail"]["correlation_id"], "deploy-4711");
        kinds.push(event["kind"].as_str().expect("text").to_owned());
    }
    assert_eq!(kinds, ["request.received", "request.approved", "grant.opened"], "each once");
    listening.kill().expect("killed");
    listening.wait().expect("gone");
    // Twice is once.
    let again = send(&up, &event(&up, "ann"));
    assert_eq!(code(&again), DONE, "{}", told(&again));
    let all = events(&up.ask(&["events", "--json", "--correlation", "deploy-4711"]));
    assert_eq!(all.iter().filter(|it| it["kind"] == "request.approved").count(), 1);
    // Nobody is spoken for without leave.
    let eve = send(&up, &event(&up, "eve"));
    assert_eq!(code(&eve), REFUSED, "{}", told(&eve));
    assert!(told(&eve).contains("may not act for `eve`"), "{}", told(&eve));
    let rubbish = send(&up, "rubbish");
    assert!(code(&rubbish) == REFUSED && told(&rubbish).contains("not JSON"), "{}", told(&rubbish));
    let all = events(&up.ask(&["events", "--json"]));
    assert_eq!(all.iter().filter(|it| it["kind"] == "request.refused").count(), 2);
    let words = told(&up.ask(&["events"]));
    let tells = |kind: &str, what: &str| words.lines().any(|it| it.contains(kind) && it.contains(what));
    assert!(tells("grant.opened", "deploy-4711") && tells("grant.opened", "is open"), "{words}");
    assert!(tells("request.refused", "may not act for `eve`"), "{words}");
}

/// As `aws events put-events` takes them, in a file as some editors write one. A variable that is empty is none.
#[test]
fn entries_of_put_events_with_a_byte_order_mark_are_sent_one_after_another() {
    let data = tempfile::tempdir().expect("a folder");
    let bots = data.path().join("bots.json");
    fs::write(&bots, "\u{feff}[{\"source\": \"operator\", \"for\": [\"Ann\"]}]").expect("written");
    let options = ["--bots", bots.to_str().expect("text")];
    let up = Up::start_with(data.path(), &options, &[], |it| {
        it.env("PORTCULLIS_LEASE_MIN", "");
    });
    let event: Value = serde_json::from_str(&event(&up, "ann")).expect("JSON");
    let entry = |kind: &str| json!({ "Source": "chatops", "DetailType": kind, "EventBusName": "bus", "Detail": event["detail"].to_string() });
    let sent = send(&up, &format!("\u{feff}{}", json!([entry("access.request")])));
    assert_eq!(code(&sent), DONE, "{}", told(&sent));
    let sent =
        send(&up, &json!({ "Entries": [entry("access.request"), entry("access.anything")] }).to_string());
    assert_eq!(code(&sent), REFUSED, "{}", told(&sent));
    assert!(told(&sent).contains("`access.anything` is not a `detail-type` of a command"), "{}", told(&sent));
    let all = events(&up.ask(&["events", "--json", "--correlation", "deploy-4711"]));
    assert_eq!(all.iter().filter(|it| it["kind"] == "request.approved").count(), 1, "twice is once: {all:?}");
}

#[test]
fn a_request_is_followed_by_its_correlation_id() {
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    let asked = ["request", "db-1", "--from", "203.0.113.9", "--correlation", "ticket-1", "--wait"];
    let answer = up.json(&asked);
    assert_eq!(answer["request"]["correlation_id"], "ticket-1");
    let grant = answer["grants"][0]["id"].as_str().expect("text").to_owned();
    assert_eq!(code(&up.ask(&["close", &grant])), DONE);
    let all = events(&up.ask(&["events", "--json", "--correlation", "ticket-1"]));
    assert!(
        all.iter().any(|it| it["kind"] == "grant.ended" && it["detail"]["grant"] == grant.as_str()),
        "{all:?}"
    );
    assert_eq!(code(&up.ask(&["request", "db-1", "--correlation", "two words"])), USAGE);
}

#[test]
fn an_export_is_downloaded_and_verified_offline() {
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    up.json(&["request", "db-1", "--from", "203.0.113.9", "--why", "=cmd()", "--wait"]);
    for (format, ending) in [("jsonl", "jsonl"), ("flat-jsonl", "jsonl"), ("csv", "csv")] {
        let out = data.path().join(format);
        let path = out.to_str().expect("text");
        let exported = up.json(&["export", "--from", "24h", "--format", format, "--out", path]);
        assert!(3 < exported["records"].as_u64().expect("a number"), "{exported}");
        let again = up.ask(&["export", "--format", format, "--out", path]);
        assert_eq!(code(&again), USAGE, "nothing is overwritten: {}", told(&again));
        let whole = up.ask(&["verify", path]);
        assert!(code(&whole) == DONE && told(&whole).contains("is whole"), "{}", told(&whole));
        let manifest = fs::read(out.join("manifest.json")).expect("a manifest");
        let (digest, said): (String, Value) =
            (Hash::of(&manifest).into(), serde_json::from_slice(&manifest).expect("JSON"));
        assert_eq!(exported["sha256"], digest, "who exports can keep it elsewhere");
        let seen = up.json(&["verify", path]);
        assert_eq!(up.json(&["verify", &format!("{path}/manifest.json")]), seen, "it names its folder");
        assert_eq!((&seen["sha256"], &seen["files"]), (&json!(digest), &json!(1)), "{seen}");
        for field in ["from", "to", "format", "records"] {
            assert_eq!(seen[field], said[field], "{field}");
        }
        for part in
            [digest.as_str(), said["from"].as_str().expect("text"), said["to"].as_str().expect("text")]
        {
            assert!(told(&whole).contains(part), "{part}: {}", told(&whole));
        }
        let file = out.join(format!("journal-00001.{ending}"));
        let records = fs::read_to_string(&file).expect("text");
        let printed = up.ask(&["export", "--from", "24h", "--format", format, "--out", "-"]);
        assert!(text(&printed.stdout).starts_with(&records[..100]), "the records alone");
        // A stray file is no part of it, and a changed one is found by its record.
        fs::write(out.join("journal-00002.jsonl"), "").expect("written");
        let more = up.ask(&["verify", path]);
        assert!(code(&more) == BROKEN && told(&more).contains("not in the manifest"), "{}", told(&more));
        fs::remove_file(out.join("journal-00002.jsonl")).expect("removed");
        fs::write(&file, records.replacen("203.0.113.9", "203.0.113.8", 1)).expect("written");
        let changed = up.ask(&["verify", path, "--json"]);
        let seen: Value = serde_json::from_slice(&changed.stdout).expect("JSON");
        assert_eq!((code(&changed), &seen["whole"]), (BROKEN, &json!(false)));
        assert!(seen["bad"].as_str().expect("text").contains("was changed"), "{seen}");
    }
    assert_eq!(
        code(&up.ask(&["verify", data.path().to_str().expect("text")])),
        NOT_FOUND,
        "there is no manifest"
    );
    let backwards = ["export", "--from", "1h", "--to", "2h", "--out", "-"];
    assert_eq!(code(&up.ask(&backwards)), USAGE, "{}", told(&up.ask(&backwards)));
}
