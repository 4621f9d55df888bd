//! The real functions, deployed from the real template to an emulator of AWS, guarding a simulated Azure.
//! Where the emulator cannot be installed, each test says `skipped` and why.

use jiff::Timestamp;
use portcullis_tests::{
    aws::{Auth, Stack},
    azure::{ANN, allow},
};
use serde_json::{Value, json};
use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

const BOB: &str = "198.51.100.7";
/// Late is what is told as late.
const LATE_MS: i64 = 2_000;

/// One deployment for the tests that harm no neighbour: each guards a machine of its own.
fn shared() -> Option<&'static Stack> {
    static SHARED: OnceLock<Option<Stack>> = OnceLock::new();
    SHARED.get_or_init(|| Stack::deploy(Auth::Open)).as_ref()
}

#[test]
fn what_is_asked_over_http_opens_and_ends_on_the_clock() {
    let Some(stack) = shared() else { return };
    lives_and_ends(stack, "web-1");
    let verified = stack.ask("GET", "/v1/verify", None).done();
    assert_eq!(verified["whole"], true, "{verified}");
}

/// One deployment where each function runs under its own role, and roles are enforced.
fn enforced() -> Option<&'static Stack> {
    static ENFORCED: OnceLock<Option<Stack>> = OnceLock::new();
    ENFORCED.get_or_init(|| Stack::deploy(Auth::Enforced)).as_ref()
}

#[test]
fn every_function_lives_by_its_own_role() {
    let Some(stack) = enforced() else { return };
    lives_and_ends(stack, "web-1");
}

/// Calls with the very keys that each function was given: the ones of its own work are answered, all others are
/// refused.
#[test]
fn no_function_may_do_what_is_anothers() {
    let Some(stack) = enforced() else { return };
    let target = stack.enable("db-1");
    let ear = stack.listen("roles");
    // Whoever has run has keys: what a bot asks for runs `submit`, `relay` and `export`; enabling ran `api` and
    // `settle`.
    let wish = json!({ "version": 1, "correlation_id": "roles", "on_behalf_of": "ann", "format": "csv",
                       "from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z" });
    stack.put("chatops.example", "export.request", &wish);
    ear.hear("export.requested", |it| it["detail"]["correlation_id"] == "roles");
    stack.invoke("expire");
    stack.invoke("reconcile");
    let everybody = FUNCTIONS.map(|it| (it, stack.aws.wait(it, |_| stack.key_of(it))));

    let calls = calls(stack, &target);
    let mut wrong = vec![];
    for (function, key) in &everybody {
        let mut answered = 0;
        for (service, call, with, may) in &calls {
            let what = format!("{function}: {service} {call} {with}");
            match (may.contains(function), stack.aws.call_as(key, service, call, with)) {
                (true, Ok(_)) => answered += 1,
                (true, Err(refused)) => wrong.push(format!("{what} is its own work: {refused:?}")),
                (false, Ok(_)) => wrong.push(format!("{what} is none of its business, and was done")),
                // S3 and queues have a name of their own for it.
                (false, Err(it)) if ["AccessDenied", "AccessDeniedException"].contains(&it.code.as_str()) => {
                }
                (false, Err(refused)) => {
                    wrong.push(format!("{what} was not refused but broken: {refused:?}"));
                }
            }
        }
        assert_ne!(answered, 0, "{function}: a key that may do nothing proves nothing");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The functions.
const FUNCTIONS: [&str; 7] = ["api", "submit", "settle", "expire", "reconcile", "relay", "export"];
/// Whose work is in the table.
const KEEPERS: &[&str] = &["api", "submit", "settle", "expire", "reconcile"];
/// Who looks into it.
const READERS: &[&str] = &["api", "submit", "settle", "expire", "reconcile", "export"];
/// Who has to do with Azure.
const GUARDS: &[&str] = &["api", "settle", "expire", "reconcile"];
const NOBODY: &[&str] = &[];

/// A service, a call of it, with what, and whose work that is.
type Call = (&'static str, &'static str, Value, &'static [&'static str]);

/// What functions do, and what they could be made to do.
fn calls(stack: &Stack, target: &str) -> Vec<Call> {
    let (table, bucket, bus) =
        (stack.output("TableName"), stack.output("ArchiveName"), stack.output("BusName"));
    let key = json!({ "pk": { "S": format!("T#{target}") }, "sk": { "S": "STATE" } });
    let probe = json!({ "pk": { "S": "X#probe" }, "sk": { "S": "PROBE" } });
    let due = json!({ "TableName": table, "IndexName": "due", "KeyConditionExpression": "due_shard = :it",
                      "ExpressionAttributeValues": { ":it": { "S": "due#0" } } });
    let event = |source: &str| json!({ "Entries": [{ "Source": source, "DetailType": "probe", "Detail": "{}", "EventBusName": bus }] });
    let queue = |name: &str| stack.queue_url(&Stack::function(name));
    let receive = |name: &str| json!({ "QueueUrl": queue(name) });
    let send = |name: &str| json!({ "QueueUrl": queue(name), "MessageBody": "{}" });
    let token = json!({ "Audience": ["api://AzureADTokenExchange"], "SigningAlgorithm": "RS256" });
    let put = json!({ "Bucket": bucket, "Key": "probe", "Body": "", "IfNoneMatch": "*" });
    let object = json!({ "Bucket": bucket, "Key": "probe" });
    let role = "portcullis-us-east-1-api";
    let policy = json!({ "RoleName": role, "PolicyName": "more", "PolicyDocument": "{}" });
    vec![
        ("dynamodb", "get_item", json!({ "TableName": table, "Key": key }), READERS),
        ("dynamodb", "query", due, READERS),
        ("dynamodb", "put_item", json!({ "TableName": table, "Item": probe }), KEEPERS),
        ("dynamodb", "delete_item", json!({ "TableName": table, "Key": probe }), KEEPERS),
        ("dynamodb", "scan", json!({ "TableName": table }), NOBODY),
        (
            "dynamodb",
            "update_table",
            json!({ "TableName": table, "DeletionProtectionEnabled": false }),
            NOBODY,
        ),
        ("dynamodb", "delete_table", json!({ "TableName": table }), NOBODY),
        ("events", "put_events", event("portcullis"), &["relay"]),
        ("lambda", "invoke", json!({ "FunctionName": Stack::function("api"), "Payload": "{}" }), NOBODY),
        ("lambda", "invoke", json!({ "FunctionName": Stack::function("expire"), "Payload": "{}" }), NOBODY),
        // `export` may, but over TLS alone, which the emulator is not spoken to by: so wants the bucket's own
        // policy.
        ("s3", "put_object", put, NOBODY),
        ("s3", "get_object", object.clone(), NOBODY),
        ("s3", "delete_object", object, NOBODY),
        ("sqs", "receive_message", receive("submit"), &["submit"]),
        ("sqs", "receive_message", receive("settle"), &["settle"]),
        ("sqs", "receive_message", receive("export"), &["export"]),
        ("sqs", "send_message", send("settle"), NOBODY),
        ("sqs", "send_message", send("relay-dead"), &["relay"]),
        ("sts", "get_web_identity_token", token, GUARDS),
        ("iam", "put_role_policy", policy, NOBODY),
    ]
}

fn lives_and_ends(stack: &Stack, machine: &str) {
    stack.enable(machine);
    assert!(!stack.passes(machine, ANN), "it is shut for everybody");
    let grant = stack.request(machine, ANN, "PT20S");
    stack.wait_for(&grant, "open");
    assert!(stack.passes(machine, ANN) && !stack.passes(machine, BOB));
    // As the schedule does within a minute: what is due by then is held until its end.
    stack.invoke("expire");
    stack.wait_for(&grant, "closed");
    assert!(!stack.passes(machine, ANN));
    let late = stack.late_ms(machine, &grant);
    assert!((0..=LATE_MS).contains(&late), "{late} ms late");
}

/// Nobody invokes anything: the template's own schedule closes.
#[test]
fn the_schedule_closes() {
    let Some(stack) = shared() else { return };
    stack.enable("db-1");
    // The emulator's first minute and its grain, and a run that holds.
    let grant = stack.request("db-1", ANN, "PT100S");
    stack.wait_for(&grant, "open");
    stack.wait_for(&grant, "closed");
    let late = stack.late_ms("db-1", &grant);
    assert!((0..=LATE_MS).contains(&late), "{late} ms late");
}

#[test]
fn a_bot_asks_and_hears_its_answers() {
    let Some(stack) = shared() else { return };
    let id = stack.enable("app-1");
    let ear = stack.listen("answers");
    let port = json!({ "port": 22, "sources": [ANN], "duration": "PT30M" });
    let wish = json!({ "version": 1, "id": "incident-7", "correlation_id": "thread-7", "on_behalf_of": "ann",
                       "targets": [{ "target": id, "ports": [port] }], "justification": "disk full" });
    // Told twice, it is asked once.
    stack.put("chatops.example", "access.request", &wish);
    stack.put("chatops.example", "access.request", &wish);
    let opened = ear.hear("grant.opened", |it| it["detail"]["correlation_id"] == "thread-7");
    ear.hear("request.approved", |it| it["detail"]["correlation_id"] == "thread-7");
    assert!(stack.passes("app-1", ANN));
    let grant = opened["detail"]["grant"].as_str().expect("a grant").to_owned();
    assert_eq!(opened["detail"]["request"], grant.rsplit_once('-').expect("of a request").0);
    let of_it = stack.ask("GET", &format!("/v1/grants?target={}", segment(&id)), None).done();
    assert_eq!(of_it["items"].as_array().map(Vec::len), Some(1), "{of_it}");

    let end = json!({ "version": 1, "id": "incident-7-done", "correlation_id": "thread-7",
                      "on_behalf_of": "ann", "grant": grant });
    stack.put("chatops.example", "access.close", &end);
    ear.hear("grant.closed", |it| it["detail"]["grant"] == grant.as_str());
    assert!(!stack.passes("app-1", ANN));
}

/// Refused, recorded, told, and never tried again.
#[test]
fn a_bad_event_is_answered() {
    let Some(stack) = shared() else { return };
    let ear = stack.listen("refusals");
    let wish = |by: &str, version: u32, correlation: &str| json!({ "version": version, "correlation_id": correlation, "on_behalf_of": by, "targets": [] });
    let bad = [
        ("nobody.example", wish("ann", 1, "bad-bot"), "no bot"),
        ("chatops.example", wish("mallory", 1, "bad-person"), "may not speak for"),
        ("chatops.example", wish("ann", 9, "bad-version"), "version"),
        ("chatops.example", wish("ann", 1, "bad-wish"), "nothing"),
    ];
    for (source, wish, because) in bad {
        stack.put(source, "access.request", &wish);
        let correlation = &wish["correlation_id"];
        let refused = ear.hear("request.refused", |it| it["detail"]["correlation_id"] == *correlation);
        let reasons = refused["detail"]["fact"]["reasons"].to_string();
        assert!(reasons.contains(because), "{correlation}: {reasons}");
    }
    stack.send("submit", "this is no JSON");
    ear.hear("request.refused", |it| it["detail"]["fact"]["reasons"].to_string().contains("not JSON"));
}

/// The relay is dead for the whole life of a grant: nobody is told anything, and it opens and closes all the
/// same.
#[test]
fn without_a_bus_the_clock_opens_and_closes() {
    let Some(stack) = Stack::deploy(Auth::Open) else { return };
    stack.enable("web-1");
    stack.stop_the_relay();
    let grant = stack.request("web-1", ANN, "PT15S");
    stack.invoke("expire");
    stack.wait_for(&grant, "open");
    assert!(stack.passes("web-1", ANN));
    stack.wait_for(&grant, "closed");
    assert!(!stack.passes("web-1", ANN));
    let late = stack.late_ms("web-1", &grant);
    assert!((0..=LATE_MS).contains(&late), "{late} ms late");
}

/// Killed between the write and its confirmation, `settle` leaves a claim and a rule that may land yet: whoever
/// comes after its claim takes over.
#[test]
fn a_worker_that_is_killed_is_taken_over_from() {
    let Some(stack) = Stack::deploy(Auth::Open) else { return };
    stack.enable("web-1");
    stack.slow_down(5_000);
    let grant = stack.request("web-1", ANN, "PT1H");
    let is_allow = |path: &str| path.contains("/Portcullis-") && !path.ends_with("-lockdown");
    let is_written = || stack.azure.cloud.calls().iter().any(|it| it.method == "PUT" && is_allow(&it.path));
    stack.wait_until("settle writes", is_written);
    stack.kill("settle");
    stack.slow_down(100);
    // Its claim ends after 30 s, and the run of the clock that holds by then settles.
    let begun = Instant::now();
    while stack.state(&grant) != "open" {
        assert!(begun.elapsed() < Duration::from_secs(110), "{}", stack.state(&grant));
        stack.invoke("expire");
        thread::sleep(Duration::from_secs(5));
    }
    assert!(stack.passes("web-1", ANN));
    let activity = stack.activity("web-1");
    assert!(activity.iter().any(|it| it["fact"]["what"] == "taken_over"), "{activity:#?}");
    assert_eq!(stack.ask("GET", "/v1/verify", None).done()["whole"], true);
}

#[test]
fn a_rule_that_was_changed_by_hand_is_healed() {
    let Some(stack) = shared() else { return };
    // By a rule of others, as long as our lock does not stand above it.
    let put = stack.azure.call("PUT", &stack.azure.rule("build-1-nsg", "Ann"), Some(&allow(400)));
    assert!(put.status < 300, "{put:?}");
    stack.wait_until("a rule of others lets her in", || stack.passes("build-1", ANN));
    stack.enable("build-1");
    assert!(!stack.passes("build-1", ANN));
    let ear = stack.listen("drift");
    let group = stack.azure.path("Microsoft.Network/networkSecurityGroups", "/build-1-nsg");
    let held = stack.azure.call("GET", &group, None).body;
    let names = held["properties"]["securityRules"].as_array().expect("rules").iter();
    let ours = names.filter_map(|it| it["name"].as_str()).filter(|it| it.starts_with("Portcullis-"));
    for name in ours {
        let deleted = stack.azure.call("DELETE", &stack.azure.rule("build-1-nsg", name), None);
        assert!(deleted.status < 300, "{deleted:?}");
    }
    stack.wait_until("the rules are gone", || stack.passes("build-1", ANN));
    stack.invoke("reconcile");
    ear.hear("drift.healed", |it| it["detail"]["target"].as_str().is_some_and(|it| it.ends_with("/build-1")));
    assert!(!stack.passes("build-1", ANN));
}

/// Two copies of everything at once, on the same events.
#[test]
fn two_of_everything_are_as_one() {
    let Some(stack) = shared() else { return };
    stack.enable("farm-1");
    let grants: Vec<String> =
        (0..4).map(|n| stack.request("farm-1", &format!("203.0.113.{}", 20 + n), "PT40S")).collect();
    for function in ["expire", "expire", "reconcile", "reconcile"] {
        stack.invoke(function);
    }
    for grant in &grants {
        stack.wait_for(grant, "closed");
        assert!(stack.late_ms("farm-1", grant) <= LATE_MS);
    }
    assert!(!stack.passes("farm-1", "203.0.113.20"));
    assert_eq!(stack.ask("GET", "/v1/verify", None).done()["whole"], true);
}

/// Every night, and when somebody asks, evidence is put where it stays.
#[test]
fn evidence_is_put_into_the_archive() {
    let Some(stack) = shared() else { return };
    let ear = stack.listen("evidence");
    let wish = json!({ "version": 1, "correlation_id": "audit", "on_behalf_of": "ann", "format": "csv",
                       "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z" });
    stack.put("chatops.example", "export.request", &wish);
    ear.hear("export.requested", |it| it["detail"]["correlation_id"] == "audit");
    let asked =
        stack.aws.wait("what was asked for", |_| stack.archived("2020-01-01T00:00:00Z", "manifest.json"));
    let asked: Value = serde_json::from_str(&asked).expect("JSON");
    assert_eq!(asked["format"], "csv", "{asked}");
    assert!(asked["chains"].as_array().is_some_and(|it| !it.is_empty()), "{asked}");
    let ready = ear.hear("export.ready", |it| it["detail"]["correlation_id"] == "audit");
    let folder = ready["detail"]["fact"]["folder"].as_str().expect("a folder");
    assert!(stack.archived(folder, "manifest.json").is_some(), "{ready}");

    let day = Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let yesterday = day.to_string()[..10].to_owned();
    stack.send("export", r#"{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#);
    let manifest = stack.aws.wait("a manifest", |_| stack.archived(&yesterday, "manifest.json"));
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["version"], 1);
    assert_eq!(manifest["format"], "jsonl", "{manifest}");
    let is_nightly = |it: &Value| it["detail"]["fact"]["from"] == format!("{yesterday}T00:00:00Z");
    assert_eq!(ear.hear("export.ready", is_nightly)["detail"]["correlation_id"], Value::Null);
}

fn segment(id: &str) -> String {
    id.replace('/', "%2F")
}
