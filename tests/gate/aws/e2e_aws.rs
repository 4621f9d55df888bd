//! The real functions, deployed from the real template to an emulator of AWS, guarding a simulated Azure.

use jiff::Timestamp;
use portcullis_domain::LOOK_AGAIN;
use portcullis_gate::aws::{Auth, Ear, Stack};
use portcullis_tests::azure::{ANN, allow};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

const BOB: &str = "198.51.100.7";
/// Late is what is told as late.
const LATE_MS: i64 = 2_000;

/// One deployment for the tests that harm no neighbour: each guards a machine of its own.
fn shared() -> &'static Stack {
    static SHARED: OnceLock<Stack> = OnceLock::new();
    SHARED.get_or_init(|| Stack::deploy(Auth::Open))
}

#[test]
#[ignore = "needs pypi"]
fn what_is_asked_over_http_opens_and_ends_on_the_clock() {
    let stack = shared();
    lives_and_ends(stack, "web-1");
    let verified = stack.ask("GET", "/v1/verify", None).done();
    assert_eq!(verified["whole"], true, "{verified}");
}

/// One deployment where each function runs under its own role, and roles are enforced.
fn enforced() -> &'static Stack {
    static ENFORCED: OnceLock<Stack> = OnceLock::new();
    ENFORCED.get_or_init(|| Stack::deploy(Auth::Enforced))
}

#[test]
#[ignore = "needs pypi"]
fn every_function_lives_by_its_own_role() {
    let stack = enforced();
    let grant = lives_and_ends(stack, "web-1");
    is_measured(stack, stack.own_late_ms("web-1", &grant));
}

/// What is measured of a deployment in which one grant lived, and was shut so late by our doing: in the namespace that
/// alarms look at, and nothing that raises one.
fn is_measured(stack: &Stack, late_ms: i64) {
    const OWN: &str = "close_late_own_ms";
    let named = json!({ "AlarmNames": [Stack::function("close-late-portcullis")] });
    let alarm = stack.aws.call("cloudwatch", "describe_alarms", &named).expect("described");
    let alarm = &alarm["MetricAlarms"][0];
    assert_eq!(alarm["MetricName"], "late_closes");
    let measured = stack.aws.wait("the end is measured", |_| {
        let measured = measured(stack);
        measured.contains_key("closes").then_some(measured)
    });
    for (name, found) in &measured {
        for (namespace, dimensions, _) in found {
            assert_eq!(*namespace, alarm["Namespace"], "{name}");
            assert_eq!(*dimensions, json!([[]]), "{name}: nothing of it has parts");
        }
    }
    let count = |name: &str| -> u64 { values(&measured[name]).iter().filter_map(Value::as_u64).sum() };
    assert_eq!(["requests", "opens", "closes"].map(count), [1, 1, 1], "{measured:#?}");
    let late: Vec<f64> = values(&measured[OWN]).iter().filter_map(Value::as_f64).collect();
    let late_ms: f64 = i32::try_from(late_ms).expect("seconds").into();
    assert_eq!(late, [late_ms], "{measured:#?}");
    assert_eq!(values(&measured["open_latency_ms"]).len(), 1, "{measured:#?}");
    let known = ["close_late_ms", "close_late_own_ms", "closes", "open_latency_ms", "opens", "requests"];
    assert_eq!(measured.keys().collect::<Vec<_>>(), known, "and nothing that did not happen");
}

/// A line of the embedded metric format: its namespace, its dimensions, and what it says of one metric.
type Measured = (Value, Value, Value);

/// All that `relay` has printed of each metric.
fn measured(stack: &Stack) -> BTreeMap<String, Vec<Measured>> {
    let mut measured = BTreeMap::<String, Vec<Measured>>::new();
    for line in lines(stack, "relay", "_aws").iter().filter(|it| it["_aws"].is_object()) {
        for metrics in line["_aws"]["CloudWatchMetrics"].as_array().expect("metrics") {
            for metric in metrics["Metrics"].as_array().expect("metrics") {
                let name = metric["Name"].as_str().expect("a name").to_owned();
                let value = line[&name].clone();
                let found = (metrics["Namespace"].clone(), metrics["Dimensions"].clone(), value);
                measured.entry(name).or_default().push(found);
            }
        }
    }
    measured
}

/// Each value, whether a line says one or several.
fn values(measured: &[Measured]) -> Vec<Value> {
    let of_a_line = |(_, _, it): &Measured| it.as_array().cloned().unwrap_or_else(|| vec![it.clone()]);
    measured.iter().flat_map(of_a_line).collect()
}

/// Calls with the very keys that each function was given: the ones of its own work are answered, all others are
/// refused.
#[test]
#[ignore = "needs pypi"]
fn no_function_may_do_the_work_of_another() {
    let stack = enforced();
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
    // And what each of them did here it could do. The bucket admits nobody who comes in clear, as all do here.
    for function in FUNCTIONS.into_iter().filter(|it| *it != "export") {
        let refused = lines(stack, function, "AccessDenied");
        assert!(refused.is_empty(), "{function} was refused what it needs: {refused:#?}");
    }
}

/// The functions.
const FUNCTIONS: [&str; 7] = ["api", "submit", "settle", "expire", "reconcile", "relay", "export"];
/// Whose work is in the table.
const KEEPERS: &[&str] = &["api", "submit", "settle", "expire", "reconcile"];
/// Who reads several things in it at once.
const GATHERERS: &[&str] = &["api", "submit", "reconcile"];
/// Who looks through a partition of it.
const SEARCHERS: &[&str] = &["api", "submit", "reconcile", "export"];
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
    let query = |index: Option<&str>, key: &str| {
        let mut query = json!({ "TableName": table, "KeyConditionExpression": "#key = :it", "ExpressionAttributeNames": { "#key": key },
                                "ExpressionAttributeValues": { ":it": { "S": "probe" } } });
        if let Some(index) = index {
            query["IndexName"] = json!(index);
        }
        query
    };
    let check =
        json!({ "TableName": table, "Key": probe, "ConditionExpression": "attribute_not_exists(pk)" });
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
        ("dynamodb", "get_item", json!({ "TableName": table, "Key": key }), KEEPERS),
        ("dynamodb", "batch_get_item", json!({ "RequestItems": { table: { "Keys": [key] } } }), GATHERERS),
        ("dynamodb", "query", query(None, "pk"), SEARCHERS),
        ("dynamodb", "query", query(Some("due"), "due_shard"), &["api", "expire"]),
        ("dynamodb", "query", query(Some("listed"), "list"), &["api", "export"]),
        ("dynamodb", "query", query(Some("of_target"), "target"), &["api"]),
        ("dynamodb", "query", query(Some("of_person"), "person"), &["api"]),
        ("dynamodb", "put_item", json!({ "TableName": table, "Item": probe }), KEEPERS),
        // Nothing goes but a token that is good no more.
        ("dynamodb", "delete_item", json!({ "TableName": table, "Key": probe }), &["api"]),
        // Each write has its own condition.
        (
            "dynamodb",
            "transact_write_items",
            json!({ "TransactItems": [{ "ConditionCheck": check }] }),
            NOBODY,
        ),
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

/// Gives the grant.
fn lives_and_ends(stack: &Stack, machine: &str) -> String {
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
    grant
}

/// Nobody invokes anything: the template's own schedule closes.
#[test]
#[ignore = "needs pypi"]
fn the_schedule_closes() {
    let stack = shared();
    stack.enable("db-1");
    // The emulator's first minute and its grain, and a run that holds.
    let grant = stack.request("db-1", ANN, "PT100S");
    stack.wait_for(&grant, "open");
    stack.wait_for(&grant, "closed");
    let late = stack.late_ms("db-1", &grant);
    assert!((0..=LATE_MS).contains(&late), "{late} ms late");
}

#[test]
#[ignore = "needs pypi"]
fn a_bot_sends_a_request_and_receives_its_answers() {
    let stack = shared();
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
    can_be_followed(stack, "thread-7", &id, &grant);
}

/// Whoever looks for a matter in the logs finds what was made of it, from the ask to the rule, and nobody's address.
fn can_be_followed(stack: &Stack, matter: &str, target: &str, grant: &str) {
    for function in ["submit", "settle"] {
        let handled = stack.aws.wait(&format!("{function} says that it is done"), |_| {
            said(stack, function, matter).into_iter().find(|it| it["message"] == "A message was processed")
        });
        assert!(belongs_to(&handled, matter), "{handled:#}");
        assert!(handled["spans"][0]["requestId"].is_string(), "{handled:#}");
    }
    // Whoever was first: the clock may be.
    let found = |wanted: &dyn Fn(&Value) -> bool| {
        let lines = ["settle", "expire", "reconcile"].iter().flat_map(|it| said(stack, it, matter));
        lines.filter(|it| it["target.id"] == target).any(|it| wanted(&it))
    };
    let has =
        |line: &Value, field: &str, word: &str| line[field].as_str().is_some_and(|it| it.contains(word));
    stack.wait_until("its rule is named", || {
        found(&|it| {
            has(it, "rules", "Portcullis-") && has(it, "correlation_ids", matter) && it["answer"] == "done"
        })
    });
    for field in ["opened", "closed"] {
        stack.wait_until(field, || found(&|it| has(it, field, grant) && has(it, "correlation_ids", matter)));
    }
    for function in FUNCTIONS {
        for line in said(stack, function, matter).iter().map(Value::to_string) {
            assert!(!line.contains(ANN) && !line.contains("disk full"), "{function}: {line}");
        }
    }
}

/// What a function has logged with this word in it, without what is for those who debug.
fn said(stack: &Stack, function: &str, word: &str) -> Vec<Value> {
    let is_said = |it: &Value| it["level"].is_string() && it["level"] != "DEBUG";
    lines(stack, function, word).into_iter().filter(is_said).collect()
}

/// The lines of a function's log with this word in it. Without one an emulator gives no more than the first ones.
fn lines(stack: &Stack, function: &str, word: &str) -> Vec<Value> {
    let group = format!("/aws/lambda/{}", Stack::function(function));
    let wanted = json!({ "logGroupName": group, "filterPattern": format!("\"{word}\"") });
    let found = stack.aws.call("logs", "filter_log_events", &wanted).expect("the template has the group");
    let lines = found["events"].as_array().expect("events").iter().filter_map(|it| it["message"].as_str());
    lines.filter_map(|it| serde_json::from_str(it.trim()).ok()).collect()
}

fn belongs_to(line: &Value, matter: &str) -> bool {
    line["spans"].as_array().is_some_and(|it| it.iter().any(|it| it["correlation_id"] == matter))
}

/// Refused, recorded, told, and never tried again.
#[test]
#[ignore = "needs pypi"]
fn a_bad_event_is_answered() {
    let stack = shared();
    let ear = stack.listen("refusals");
    let wish = |by: &str, version: u32, correlation: &str| json!({ "version": version, "correlation_id": correlation, "on_behalf_of": by, "targets": [] });
    let bad = [
        ("nobody.example", wish("ann", 1, "bad-bot"), "is not a bot", "unknown-bot"),
        ("chatops.example", wish("mallory", 1, "bad-person"), "may not act for", "not-for-them"),
        ("chatops.example", wish("ann", 9, "bad-version"), "version", "unknown-version"),
        ("chatops.example", wish("ann", 1, "bad-wish"), "nothing", "nothing-asked"),
    ];
    for (source, wish, because, code) in bad {
        stack.put(source, "access.request", &wish);
        let correlation = &wish["correlation_id"];
        let refused = ear.hear("request.refused", |it| it["detail"]["correlation_id"] == *correlation);
        let reasons = refused["detail"]["fact"]["reasons"].to_string();
        assert!(reasons.contains(because), "{correlation}: {reasons}");
        assert_eq!(refused["detail"]["fact"]["codes"], json!([code]), "{correlation}");
        let is_counted = |it: &Value| it["reason"] == code && it["refused"].is_u64();
        stack.wait_until("its reason is counted", || lines(stack, "relay", code).iter().any(is_counted));
    }
    stack.send("submit", "this is no JSON");
    ear.hear("request.refused", |it| it["detail"]["fact"]["reasons"].to_string().contains("not JSON"));
}

/// The relay is dead for the whole life of a grant: nobody is told anything, and it opens and closes all the
/// same.
#[test]
#[ignore = "needs pypi"]
fn without_a_bus_the_clock_opens_and_closes() {
    let stack = Stack::deploy(Auth::Open);
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
#[ignore = "needs pypi"]
fn a_worker_that_is_killed_is_taken_over_from() {
    let stack = Stack::deploy(Auth::Open);
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

/// By `reconcile`: it is healed before the clock looks again at what enabling wrote.
#[test]
#[ignore = "needs pypi"]
fn a_rule_that_was_changed_by_hand_is_healed() {
    let stack = shared();
    // By a rule of others, as long as our lock does not stand above it.
    let put = stack.azure.call("PUT", &stack.azure.rule("build-1-nsg", "Ann"), Some(&allow(400)));
    assert!(put.status < 300, "{put:?}");
    stack.wait_until("a rule of others lets her in", || stack.passes("build-1", ANN));
    let enabled = Timestamp::now();
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
    let is_of_it = |it: &Value| it["detail"]["target"].as_str().is_some_and(|it| it.ends_with("/build-1"));
    let healed = ear.hear("drift.healed", is_of_it);
    assert!(!stack.passes("build-1", ANN));
    let at: Timestamp = healed["detail"]["at"].as_str().expect("a time").parse().expect("a time");
    assert!(at < enabled + LOOK_AGAIN[0], "enabled at {enabled}, and healed by the clock at {at}");
}

/// Two copies of everything at once, on the same events.
#[test]
#[ignore = "needs pypi"]
fn doubled_messages_have_the_effect_of_one() {
    let stack = shared();
    let target = stack.enable("farm-1");
    let ear = stack.listen("twice");
    let mut grants = vec![asked_twice(stack, &target)];
    grants.push(submitted_twice(stack, &target));
    let settle = json!({ "detail": { "target": target } });
    run_twice(stack, "settle", &settle);
    for grant in &grants {
        stack.wait_for(grant, "open");
    }
    told_twice(stack, &ear, &target, &grants[1]);
    exported_twice(stack, &ear);

    let short: Vec<String> =
        (0..4).map(|n| stack.request("farm-1", &format!("203.0.113.{}", 20 + n), "PT40S")).collect();
    for function in ["expire", "expire", "reconcile", "reconcile"] {
        stack.invoke(function);
    }
    for grant in &short {
        stack.wait_for(grant, "closed");
        assert!(stack.late_ms("farm-1", grant) <= LATE_MS);
    }
    assert!(!stack.passes("farm-1", "203.0.113.20"));
    let activity = stack.activity("farm-1");
    let count = |what: &str, grant: &str| {
        let facts = activity.iter().map(|it| &it["fact"]).filter(|it| it["what"] == what);
        facts.filter(|it| it["grant"] == grant || it["grant"]["id"] == grant).count()
    };
    for grant in grants.iter().chain(&short) {
        assert_eq!((count("approved", grant), count("opened", grant)), (1, 1), "{grant}: {activity:#?}");
        let is_short = short.contains(grant);
        assert_eq!(count("closed", grant), usize::from(is_short), "{grant}: {activity:#?}");
    }
    let of_it = stack.ask("GET", &format!("/v1/grants?target={}", segment(&target)), None).done();
    assert_eq!(of_it["items"].as_array().map(Vec::len), Some(grants.len() + short.len()), "{of_it}");
    assert_eq!(stack.ask("GET", "/v1/verify", None).done()["whole"], true);
}

/// Two calls at once with the same key; gives their one grant.
fn asked_twice(stack: &Stack, target: &str) -> String {
    let ask = json!({ "target": target, "port": 22, "sources": ["203.0.113.30"], "for": "PT30M" });
    let body = json!({ "asks": [ask] }).to_string();
    let call = || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let call = agent
            .post(format!("{}/v1/requests", stack.api()))
            .header("authorization", format!("Bearer {}", stack.token()))
            .header("content-type", "application/json")
            .header("idempotency-key", "twice")
            .header("x-correlation-id", "twice-api");
        let mut answer = call.send(body.as_str()).expect("answers");
        let answered: Value = answer.body_mut().read_json().expect("JSON");
        assert_eq!(answer.status(), 202, "{answered}");
        answered["grants"][0]["id"].as_str().expect("a grant").to_owned()
    };
    let [one, other] = thread::scope(|scope| {
        [scope.spawn(call), scope.spawn(call)].map(|it| it.join().expect("it is answered"))
    });
    assert_eq!(one, other, "the same key is the same request");
    stack.wait_until("both are logged", || {
        let answered = said(stack, "api", "twice-api").into_iter();
        let answered = answered.filter(|it| it["message"] == "A call was answered" && it["status"] == 202);
        answered.filter(|it| belongs_to(it, "twice-api")).count() == 2
    });
    one
}

/// Two copies of `submit` on what a bot asked for once; gives its one grant.
fn submitted_twice(stack: &Stack, target: &str) -> String {
    let port = json!({ "port": 22, "sources": ["203.0.113.31"], "duration": "PT30M" });
    let detail = json!({ "version": 1, "id": "twice", "correlation_id": "twice-bot", "on_behalf_of": "ann",
                         "targets": [{ "target": target, "ports": [port] }] });
    let wish = json!({ "source": "chatops.example", "detail-type": "access.request", "id": "twice",
                       "time": Timestamp::now(), "detail": detail });
    run_twice(stack, "submit", &wish);
    let of_it = stack.ask("GET", &format!("/v1/grants?target={}&by=ann", segment(target)), None).done();
    let [grant] = of_it["items"].as_array().expect("grants").as_slice() else { panic!("one grant: {of_it}") };
    grant["id"].as_str().expect("an id").to_owned()
}

/// Two copies of `relay` on all that a target's journal has: whoever hears it again can tell by its id.
fn told_twice(stack: &Stack, ear: &Ear<'_>, target: &str, grant: &str) {
    let opened = ear.hear("grant.opened", |it| it["detail"]["grant"] == grant);
    let journal = json!({ "TableName": stack.output("TableName"), "KeyConditionExpression": "pk = :it",
                          "ExpressionAttributeValues": { ":it": { "S": format!("J#{target}") } } });
    let items = stack.aws.call("dynamodb", "query", &journal).expect("read")["Items"].take();
    let record = |(n, item): (usize, &Value)| {
        let change =
            json!({ "NewImage": item, "SequenceNumber": n.to_string(), "StreamViewType": "NEW_IMAGE" });
        json!({ "eventName": "INSERT", "eventSource": "aws:dynamodb", "dynamodb": change })
    };
    let records: Vec<Value> = items.as_array().expect("items").iter().enumerate().map(record).collect();
    invoke_twice(stack, "relay", &json!({ "Records": records }));
    let heard = |it: &Value| it["detail"]["id"] == opened["detail"]["id"];
    stack.wait_until("both have told it", || 3 <= ear.heard().iter().filter(|it| heard(it)).count());
    let mut told = BTreeMap::new();
    for event in ear.heard() {
        let id = event["detail"]["id"].as_str().expect("an id").to_owned();
        let before = told.entry(id).or_insert_with(|| event["detail"].clone());
        assert_eq!(*before, event["detail"], "the same id is the same event");
    }
}

/// Two copies of `export` on one wish: each puts a whole export beside the other's, and both are told.
fn exported_twice(stack: &Stack, ear: &Ear<'_>) {
    let fact = json!({ "what": "export_asked", "from": "2021-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z",
                       "format": "jsonl", "by": "ann", "correlation": "twice-export" });
    let asked = json!({ "source": "portcullis", "detail-type": "export.requested",
                        "detail": { "correlation_id": "twice-export", "fact": fact } });
    run_twice(stack, "export", &asked);
    let is_of_it =
        |it: &Value| it["detail-type"] == "export.ready" && it["detail"]["correlation_id"] == "twice-export";
    let folders = || -> BTreeSet<String> {
        let ready = ear.heard().into_iter().filter(is_of_it);
        ready.map(|it| it["detail"]["fact"]["folder"].as_str().expect("a folder").to_owned()).collect()
    };
    stack.wait_until("both are told", || folders().len() == 2);
    for folder in folders() {
        assert!(stack.archived(&folder, "manifest.json").is_some(), "{folder}");
    }
}

/// Runs two copies of a function at once on one message of its queue, and waits until both are done.
fn run_twice(stack: &Stack, function: &str, body: &Value) {
    let id = format!("twice-{function}");
    let message = json!({ "messageId": id, "receiptHandle": id, "body": body.to_string(), "attributes": {},
                          "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1" });
    invoke_twice(stack, function, &json!({ "Records": [message] }));
    stack.wait_until(&format!("both copies of {function} are done"), || {
        let lines = said(stack, function, &id).into_iter();
        lines.filter(|it| it["message"] == "A message was processed").count() == 2
    });
}

fn invoke_twice(stack: &Stack, function: &str, event: &Value) {
    let call = json!({ "FunctionName": Stack::function(function), "Payload": event.to_string(),
                       "InvocationType": "Event" });
    for _ in 0..2 {
        stack.aws.call("lambda", "invoke", &call).expect("invoked");
    }
}

/// Every night, and when somebody asks, evidence is put where it stays.
#[test]
#[ignore = "needs pypi"]
fn evidence_is_put_into_the_archive() {
    let stack = shared();
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
