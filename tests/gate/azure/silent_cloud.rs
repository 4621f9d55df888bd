//! A cloud that does not answer: what the table knows is answered from there, at once, and the answer says so.

use axum::http::StatusCode;
use jiff::SignedDuration;
use portcullis_app::ports::Store as _;
use portcullis_tests::{
    binary::{Up, text},
    given,
    place::{Answered, Place},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

/// How long an answer from the table may take, on a machine that does much else. A call of Azure is tried for 12 s.
const QUICK: Duration = Duration::from_secs(5);
/// How long a command may take that waits for firewalls: for 1.5 s, and then 3 s for the cloud to answer at all.
const SETTLING: Duration = Duration::from_secs(9);
/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const UNAVAILABLE: i32 = 5;
/// An address of nobody in particular (RFC 5737).
const ANN: &str = "203.0.113.9";

/// A machine's path, its id as one segment.
fn path(id: &impl ToString, rest: &str) -> String {
    format!("/v1/targets/{}{rest}", id.to_string().replace('/', "%2F"))
}

async fn quick(answer: impl Future<Output = Answered>) -> Answered {
    let begun = Instant::now();
    let answer = answer.await;
    assert!(begun.elapsed() < QUICK, "{:?}: {answer:?}", begun.elapsed());
    answer
}

fn names(answer: &Answered) -> Vec<&str> {
    let items = answer.body["items"].as_array().expect("a list");
    items.iter().map(|it| it["name"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn names_join_the_table_with_the_catalogue_and_come_from_the_table_alone_while_it_is_silent() {
    let place = Place::new();
    let token = place.token("ann").await;
    let get = async |path: &str| quick(place.call(&token, "GET", path, None)).await;
    let id = place.guard("web-1", &given::ssh()).await;
    let all = get("/v1/names").await;
    assert_eq!(all.body["catalogue"], "answered");
    assert!(1 < names(&all).len() && names(&all).contains(&"web-1"), "{all:?}");
    let known = get("/v1/names?wait=PT0S").await;
    assert_eq!((&known.body["catalogue"], names(&known)), (&json!("not_asked"), vec!["web-1"]));
    let own = &known.body["items"][0];
    assert_eq!((&own["id"], &own["os"], &own["state"]), (&json!(id), &json!("linux"), &json!("configured")));
    assert_eq!(own["ports"][0]["port"], 22);
    let one = all.body["items"].as_array().expect("a list").iter().find(|it| it["name"] == "web-1");
    assert_eq!(one.expect("is listed"), own, "its addresses too, as they were when it was guarded");

    place.fleet().fall_silent(true);
    let silent = get("/v1/names?wait=PT0.1S").await;
    assert_eq!((&silent.body["catalogue"], names(&silent)), (&json!("silent"), vec!["web-1"]));
    let why = silent.body["unseen"].to_string();
    assert!(why.contains("the cloud did not answer"), "{why}");
    place.fleet().fall_silent(false);
    assert_eq!(get("/v1/names").await.body, all.body, "as soon as it answers again");
    assert_eq!(get("/v1/names?wait=PT31S").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_page_of_names_has_its_part_of_both_lists() {
    let place = Place::new();
    let token = place.token("ann").await;
    for name in ["web-1", "build-1"] {
        place.guard(name, &given::ssh()).await;
    }
    for wait in ["PT0S", "PT5S"] {
        let whole = place.call(&token, "GET", &format!("/v1/names?wait={wait}"), None).await;
        let (mut paged, mut after) = (vec![], String::new());
        loop {
            let page = format!("/v1/names?wait={wait}&limit=1{after}");
            let page = place.call(&token, "GET", &page, None).await;
            paged.extend(page.body["items"].as_array().expect("a list").clone());
            let Some(next) = page.body["next"].as_str() else { break };
            after = format!("&after={}", next.replace('/', "%2F"));
        }
        assert_eq!(Value::from(paged), whole.body["items"], "{wait}");
    }
}

#[tokio::test]
async fn a_silent_inventory_hides_no_target_of_the_table_and_stops_no_route_that_needs_only_the_table() {
    let place = Place::new();
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let get = async |path: &str| quick(place.call(&ann, "GET", path, None)).await;
    let post = async |path: &str, body: Option<Value>| quick(place.call(&ann, "POST", path, body)).await;
    let id = place.guard("web-1", &given::ssh()).await;
    let other = place.guard("build-1", &given::ssh_with_approval()).await;
    let ask = |id: &dyn ToString| json!({ "asks": [{ "target": id.to_string(), "port": 22, "for": "PT1H", "sources": [ANN] }] });
    let live = post("/v1/requests", Some(ask(&id))).await;
    place.expire().await;

    place.fleet().fall_silent(true);
    let listed = get("/v1/targets?wait=PT0.1S").await;
    assert_eq!(names(&listed), ["build-1", "web-1"]);
    assert!(listed.body["unseen"].to_string().contains("only the machines of the table"), "{listed:?}");
    let web = get(&path(&id, "?wait=PT0.1S")).await;
    assert_eq!((&web.body["state"], &web.body["healthy"]), (&json!("configured"), &Value::Null));
    assert_eq!(web.body["grants"][0]["state"], "open", "{web:?}");
    assert!(web.body["unseen"].as_str().is_some_and(|it| it.contains("did not answer")), "{web:?}");

    let tighter = json!({ "ports": [{ "port": 22, "max": "PT1H" }] });
    let edited = post(&path(&id, "/edit"), Some(tighter)).await;
    assert_eq!((edited.status, &edited.body["ports"][0]["max"]), (StatusCode::OK, &json!("PT1H")));
    let warned = edited.body["warnings"].to_string();
    assert!(warned.contains("could not be listed"), "{warned}");
    let again = post(&path(&id, "/enable"), Some(json!({ "ports": [{ "port": 22, "max": "PT1H" }] }))).await;
    assert_eq!((again.status, &again.body["changed"]), (StatusCode::OK, &json!(false)), "{again:?}");
    let anew = post(&path(&id, "/enable"), Some(json!({}))).await;
    assert_eq!(
        (anew.status, &anew.body["reasons"][0]["code"]),
        (StatusCode::CONFLICT, &json!("already-enabled"))
    );

    let checked = get(&path(&id, &format!("/check?port=22&from={ANN}"))).await;
    assert_eq!(
        (checked.status, &checked.body["type"]),
        (StatusCode::GATEWAY_TIMEOUT, &json!("urn:portcullis:silent"))
    );

    let explained = post("/v1/requests/explain", Some(ask(&id))).await;
    assert_eq!((&explained.body["answer"], &explained.body["unseen"]), (&json!("allowed"), &Value::Null));
    let explained = post("/v1/requests/explain?wait=PT0.1S", Some(ask(&id))).await;
    assert_eq!((explained.status, &explained.body["answer"]), (StatusCode::OK, &json!("allowed")));
    let unseen = explained.body["unseen"].as_str().unwrap_or_default();
    assert!(unseen.contains("get an answer from the cloud"), "{explained:?}");

    let grant = format!("/v1/grants/{}", live.body["grants"][0]["id"].as_str().expect("an id"));
    let extended = post(
        &format!("{grant}/extend"),
        Some(json!({ "until": place.now() + given::HOUR - given::HOUR / 60 })),
    )
    .await;
    assert_ne!(extended.status, StatusCode::SERVICE_UNAVAILABLE, "decided: {extended:?}");
    assert_eq!(post(&format!("{grant}/close"), None).await.body["state"], "closing");
    // Without a key of its own an ask is named by its time.
    place.pass(SignedDuration::from_secs(1));
    let waiting = post("/v1/requests", Some(ask(&other))).await.body["request"].clone();
    let approve = format!("/v1/requests/{}/approve", waiting["id"].as_str().expect("an id"));
    let shown = json!({ "shown": waiting["shown"] });
    assert_eq!(quick(place.call(&bob, "POST", &approve, Some(shown))).await.status, StatusCode::OK);
    for rest in ["/v1/requests", "/v1/grants", "/v1/events", "/v1/verify", &path(&id, "/activity")] {
        assert_eq!(get(rest).await.status, StatusCode::OK, "{rest}");
    }
    let disabled = post(&path(&other, "/disable"), None).await;
    assert_eq!((disabled.status, &disabled.body["changed"]), (StatusCode::OK, &json!(true)));
    assert_eq!(place.target(&other).await.policy(), None);

    // What the table does not know needs the cloud: nobody says that there is no such machine.
    let unknown = place.store().targets(None, 10).await.expect("listed").len();
    let new = get("/v1/targets/%2Fvm%2Fnew?wait=PT0.1S").await;
    assert_eq!((unknown, new.status), (2, StatusCode::SERVICE_UNAVAILABLE), "{new:?}");
}

#[tokio::test]
async fn a_machine_that_is_gone_from_the_cloud_keeps_its_activity_and_is_shown_as_the_table_has_it() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.guard("web-1", &given::ssh()).await;
    let file = place.fleet_file();
    let fleet: Value = serde_json::from_slice(&std::fs::read(&file).expect("reads")).expect("JSON");
    let mut without = fleet;
    without["machines"].as_array_mut().expect("a list").retain(|it| it["machine"]["name"] != "web-1");
    std::fs::write(&file, without.to_string()).expect("written");
    let found = place.call(&token, "GET", "/v1/names", None).await;
    assert!(names(&found).contains(&"web-1"), "{found:?}");
    let shown = place.call(&token, "GET", &path(&id, ""), None).await;
    assert!(
        shown.body["unseen"].as_str().is_some_and(|it| it.contains("does not list this machine")),
        "{shown:?}"
    );
    let activity = place.call(&token, "GET", &path(&id, "/activity"), None).await;
    assert!(!activity.body["items"].as_array().expect("a list").is_empty(), "{activity:?}");
}

/// A Portcullis whose cloud has been out of reach since it started.
struct Cut {
    up: Up,
    _data: tempfile::TempDir,
}

impl Cut {
    /// Guards machines and asks for ports while the cloud answers; then `fail` takes it away, and everything starts anew, so that
    /// nothing is remembered but what is stored.
    fn from(fail: impl FnOnce(&Up)) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let up = start(data.path());
        up.json(&["enable", "web-1"]);
        up.json(&["enable", "app-1", "--port", "22,approver=bob"]);
        up.json(&["enable", "build-1"]);
        up.json(&["request", "web-1", "--for", "1h", "--from", ANN, "--wait"]);
        up.json(&["request", "build-1", "--for", "1h", "--from", ANN, "--wait"]);
        fail(&up);
        assert!(up.stop().success());
        Self { up: start(data.path()), _data: data }
    }

    fn ask(&self, within: Duration, words: &[&str]) -> Output {
        let begun = Instant::now();
        let output = self.up.ask(words);
        assert!(begun.elapsed() < within, "{words:?} took {:?}: {}", begun.elapsed(), told(&output));
        output
    }

    fn done(&self, words: &[&str]) -> Output {
        let output = self.ask(QUICK, words);
        assert_eq!(output.status.code(), Some(DONE), "{words:?}: {}", told(&output));
        output
    }

    fn as_bob(&self, words: &[&str]) -> Output {
        let made = self.up.json(&["token", "create", "bob"]);
        let token = made["token"].as_str().expect("a token");
        self.up.client().env("PORTCULLIS_TOKEN", token).args(words).output().expect("runs")
    }

    fn pending(&self) -> String {
        let asked = self.up.json(&["request", "app-1", "--for", "1h", "--from", ANN]);
        assert_eq!(asked["request"]["state"], "pending", "{asked}");
        asked["request"]["id"].as_str().expect("an id").to_owned()
    }
}

fn start(data: &Path) -> Up {
    Up::start(data, &["--lease-min", "1s"], &[])
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Every command that the table can answer, and those that only the cloud can.
fn every_command_that_needs_no_cloud(it: &Cut) {
    let listed = it.done(&["targets", "--wait", "1s"]);
    assert!(text(&listed.stdout).contains("web-1"), "{}", told(&listed));
    let warned = text(&listed.stderr);
    assert!(warned.contains("the cloud did not answer") && warned.contains("of the table"), "{warned}");

    for words in [
        &["grants", "--target", "web-1"][..],
        &["activity", "web-1"],
        &["requests"],
        &["events", "--since", "1h"],
        &["verify"],
        &["extend", "web-1", "--by", "10m"],
        &["close", "web-1"],
    ] {
        let output = it.done(words);
        assert!(!output.stdout.is_empty(), "{words:?}");
        let warned = text(&output.stderr);
        assert!(!warned.contains("cloud"), "{words:?} asked nobody: {warned}");
    }
    let explained = text(&it.done(&["explain", "web-1", "--for", "30m", "--from", ANN]).stdout);
    assert!(explained.contains("would be granted at once"), "{explained}");
    assert!(explained.contains("that the leases would meet are not known"), "{explained}");
    let part = it.done(&["grants", "--target", "uild-"]);
    assert!(text(&part.stdout).contains("build-1"), "{}", told(&part));
    assert!(text(&part.stderr).contains("the names are those of the table"), "{}", told(&part));
    let whole =
        it.up.json(&["grants", "--target", "build-1"])[0]["target"].as_str().expect("text").to_uppercase();
    it.done(&["activity", &whole]);

    for (verb, state) in [("approve", "approved"), ("reject", "rejected")] {
        let request = it.pending();
        let begun = Instant::now();
        let decided = it.as_bob(&[verb, &request, "--yes"]);
        assert_eq!(decided.status.code(), Some(DONE), "{}", told(&decided));
        assert!(begun.elapsed() < 2 * QUICK, "{verb} took {:?}", begun.elapsed());
        let all = it.up.json(&["requests"]);
        let now = all
            .as_array()
            .expect("a list")
            .iter()
            .find(|it| it["id"] == request.as_str())
            .expect("is listed");
        assert_eq!(now["state"], state, "{now}");
    }

    let checked = it.ask(QUICK, &["check", "web-1", "22", "--from", ANN]);
    assert_eq!(checked.status.code(), Some(UNAVAILABLE), "{}", told(&checked));
    assert!(
        text(&checked.stderr).contains("the state is unknown, since the cloud did not answer"),
        "{}",
        told(&checked)
    );

    let edited = it.ask(SETTLING, &["edit", "build-1", "--set", "22,max=1h"]);
    assert_eq!(edited.status.code(), Some(UNAVAILABLE), "its firewalls are not settled: {}", told(&edited));
    assert!(text(&edited.stderr).contains("cloud does not answer"), "{}", told(&edited));
    let refused = it.ask(QUICK, &["request", "build-1", "--for", "2h", "--from", ANN]);
    assert!(text(&refused.stderr).contains("at most 1h"), "what is guarded is changed: {}", told(&refused));
    let disabled = it.ask(SETTLING, &["disable", "app-1"]);
    assert_eq!(disabled.status.code(), Some(UNAVAILABLE), "{}", told(&disabled));
    // What is wanted so already is no refusal; its firewalls are waited for all the same.
    let twice = it.ask(SETTLING, &["enable", &whole, "--port", "22,max=1h"]);
    assert_eq!(twice.status.code(), Some(UNAVAILABLE), "{}", told(&twice));
    assert!(text(&twice.stdout).contains("build-1 will be guarded"), "{}", told(&twice));
}

#[test]
fn a_cloud_that_never_answers_keeps_no_command_waiting_that_the_table_can_answer() {
    let it = Cut::from(|up| {
        let silent = |on: &str| json!({ "on": on, "times": 1_000_000, "fault": "silent" });
        up.plan(&json!({ "planned": [silent("read"), silent("write")] }));
    });
    every_command_that_needs_no_cloud(&it);
}

#[test]
fn a_cloud_that_forbids_everything_keeps_no_command_from_being_answered_by_the_table() {
    let it = Cut::from(|up| {
        up.control("permissions", &json!({ "actions": [] }));
    });
    every_command_that_needs_no_cloud(&it);
    let unknown = it.ask(QUICK, &["enable", "win-1"]);
    assert_ne!(unknown.status.code(), Some(DONE));
    assert!(text(&unknown.stderr).contains("may not"), "why it is not found: {}", told(&unknown));
}

#[test]
fn a_cloud_that_throttles_everything_keeps_no_command_waiting_that_the_table_can_answer() {
    let it = Cut::from(|up| {
        let busy = json!({ "throttled": { "retry_after_secs": 60 } });
        let planned = |on: &str| json!({ "on": on, "times": 1_000_000, "fault": busy });
        up.plan(&json!({ "planned": [planned("read"), planned("write")] }));
    });
    every_command_that_needs_no_cloud(&it);
}
