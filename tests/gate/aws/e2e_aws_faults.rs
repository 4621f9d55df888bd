//! What queues, wires and AWS itself do to the real functions: what cannot be done, what is told twice, in the
//! wrong order, or too late, and calls that fail or whose answers are lost. Deployed as in `e2e_aws.rs`.

use jiff::Timestamp;
use portcullis_domain::{GrantId, IdempotencyKey, Person, RequestId};
use portcullis_gate::aws::{Auth, Fault, Proxy, Stack};
use portcullis_tests::azure::ANN;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Read as _,
    net::TcpListener,
    sync::{
        OnceLock,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

/// The bot that every deployment knows.
const BOT: &str = "chatops.example";
/// How long a message is hidden between its tries where a test waits for all of them. As it is deployed it is
/// six of its function's lives, and nobody waits for ten minutes here.
const HIDDEN_SECS: u64 = 2;
/// How long it takes at most until somebody is told of what was committed.
const HEARD_WITHIN: Duration = Duration::from_mins(1);
/// Late is what is told as late.
const LATE_MS: i64 = 2_000;

/// One deployment for those that harm no neighbour. What comes to `submit` and `settle` comes twice, always.
fn doubled() -> &'static Stack {
    static DOUBLED: OnceLock<Stack> = OnceLock::new();
    let deploy = || {
        let stack = Stack::deploy(Auth::Open);
        stack.double("submit");
        stack.double("settle");
        stack
    };
    DOUBLED.get_or_init(deploy)
}

/// As often as the template says, and then it waits where somebody is told of it. What came with it is done.
#[test]
#[ignore = "needs pypi"]
fn what_cannot_be_done_ends_where_it_is_seen() {
    let stack = Stack::deploy(Auth::Open);
    let (broken, sound) = (stack.enable("web-1"), stack.enable("build-1"));
    for queue in ["submit", "settle"] {
        stack.hide_for(queue, HIDDEN_SECS);
        assert!(!stack.would_alarm(&format!("{queue}-dead")));
    }
    let body = damage(&stack, &broken);

    let poison = wish("access.request", "poison", &request(&broken));
    let whole = wish("access.request", "whole", &request(&sound));
    stack.send_all("submit", &[poison.clone(), whole]);
    is_given_up(&stack, "submit");
    assert!(!stack.would_alarm("settle-dead"), "an alarm speaks of its own queue alone");
    stack.wait_for(&grant("whole"), "open");
    assert!(stack.passes("build-1", ANN));

    // Behind our back, so that there is something to do for the one that is sound.
    delete_ours(&stack, "build-1-nsg");
    let poisonous = json!({ "detail": { "target": broken } }).to_string();
    let wholesome = json!({ "detail": { "target": sound } }).to_string();
    stack.send_all("settle", &[poisonous.clone(), wholesome]);
    is_given_up(&stack, "settle");
    stack.wait_until("the rules are back", || {
        stack.passes("build-1", ANN) && !stack.passes("build-1", "198.51.100.7")
    });

    // Mended and sent anew, as infra/aws/README.md says, they are done.
    set_body(&stack, &broken, &body);
    for (queue, letter) in [("submit", poison), ("settle", poisonous)] {
        let letters = stack.take(&format!("{queue}-dead"));
        assert_eq!(letters, [letter], "nothing else was given up");
        assert!(!stack.would_alarm(&format!("{queue}-dead")));
        stack.send_all(queue, &letters);
    }
    stack.wait_for(&grant("poison"), "open");
    stack.wait_until("all is done", || ["submit", "settle"].iter().all(|it| stack.is_drained(it)));
    assert_eq!(stack.visible("submit-dead") + stack.visible("settle-dead"), 0);
    is_whole(&stack);
}

/// Waits until one message is given up after all its tries, and the alarm for it would go off.
fn is_given_up(stack: &Stack, queue: &str) {
    let dead = format!("{queue}-dead");
    stack.wait_until(&format!("{queue} gives up"), || 0 < stack.visible(&dead));
    stack.wait_until("the rest is done", || stack.is_drained(queue));
    assert_eq!(stack.visible(&dead), 1);
    assert!(stack.would_alarm(&dead));
    let printed = stack.aws.printed(&Stack::function(queue));
    let tries =
        printed.iter().filter(|it| it.contains("A message failed for good: the operator has to act")).count();
    assert_eq!(u64::try_from(tries).expect("few"), stack.tries(queue), "{printed:#?}");
}

/// Everything that came to the queues, twice as it happens, comes twice more in reverse order after it is over,
/// beginning with the end of what has not begun.
#[test]
#[ignore = "needs pypi"]
fn doubled_and_reordered_messages_have_the_same_end() {
    let stack = doubled();
    let (wishes, news, ear) = (stack.tap("submit"), stack.tap("settle"), stack.listen("backwards"));
    let ports = json!({ "ports": [{ "port": 22, "approvers": ["*"] }] });
    let target = stack.enable_with("farm-2", &ports);
    let is_ours = |it: &Value| it["detail"]["correlation_id"] == "backwards";

    let put = |kind: &str, id: &str, by: &str, more: Value| {
        let mut detail = json!({ "version": 1, "id": id, "correlation_id": "backwards", "on_behalf_of": by });
        detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        stack.put(BOT, kind, &detail);
    };
    let (asked, granted) = (requested("backwards"), grant("backwards"));
    put("access.close", "early", "ann", json!({ "grant": granted }));
    let refused = ear.hear("request.refused", is_ours);
    assert!(refused["detail"]["fact"]["reasons"].to_string().contains(&granted), "{refused}");
    put("access.request", "backwards", "ann", request(&target));
    ear.hear("request.needs_approval", is_ours);
    let shown = stack.ask("GET", &format!("/v1/requests/{asked}"), None).done()["shown"].take();
    put("access.approve", "yes", "bob", json!({ "request": asked, "shown": shown }));
    ear.hear("grant.opened", is_ours);
    assert!(stack.passes("farm-2", ANN));
    put("access.close", "done", "ann", json!({ "grant": granted }));
    ear.hear("grant.closed", is_ours);
    let is_quiet = || ["submit", "settle"].iter().all(|it| stack.is_drained(it));
    stack.wait_until("all is done", is_quiet);

    let before = picture(stack, "farm-2", &asked);
    assert_eq!(count(&before, "approved"), 1, "{before:#}");
    assert_eq!(count(&before, "opened"), 1, "{before:#}");
    assert_eq!(count(&before, "closed"), 1, "{before:#}");
    let kinds = |of: &[Value]| -> Vec<String> { of.iter().map(|it| it["detail-type"].to_string()).collect() };
    let wishes: Vec<Value> = wishes.heard().into_iter().filter(is_ours).collect();
    assert_eq!(wishes.len(), 4, "{:?}", kinds(&wishes));
    let is_of_it = |it: &Value| it["detail"]["target"] == target.as_str();
    let news: Vec<Value> = news.heard().into_iter().filter(is_of_it).collect();
    let told = ["\"policy.changed\"", "\"request.approved\"", "\"grant.ended\""];
    assert!(told.iter().all(|it| kinds(&news).iter().any(|kind| kind == it)), "{:?}", kinds(&news));
    for (queue, events) in [("submit", wishes), ("settle", news)] {
        let backwards = events.iter().rev().map(Value::to_string).flat_map(|it| [it.clone(), it]);
        stack.send_all(queue, &backwards.collect::<Vec<_>>());
        stack.wait_until("all is done once more", is_quiet);
        assert_eq!(picture(stack, "farm-2", &asked), before, "{queue}");
    }
    assert!(!stack.passes("farm-2", ANN));
    assert_eq!(stack.visible("submit-dead") + stack.visible("settle-dead"), 0);
    is_whole(stack);
}

/// An end and its beginning at once: whichever comes first, the end is answered, and said again it is the end.
#[test]
#[ignore = "needs pypi"]
fn an_end_beside_its_beginning_is_answered() {
    let stack = doubled();
    let target = stack.enable("app-1");
    let ear = stack.listen("beside");
    let granted = grant("beside");
    let end = |id: &str| wish("access.close", id, &json!({ "grant": granted }));
    let begin = wish("access.request", "beside", &request(&target));
    stack.send_all("submit", &[end("beside-end"), begin.clone(), end("beside-end"), begin.clone()]);
    ear.hear("request.approved", |it| it["detail"]["correlation_id"] == "beside");
    stack.wait_until("both are done", || stack.is_drained("submit"));
    let is_over = || !["approved", "open", "open_failed"].contains(&stack.state(&granted).as_str());
    if !is_over() {
        ear.hear("request.refused", |it| it["detail"]["correlation_id"] == "beside-end");
    }
    stack.send("submit", &end("beside-end-again"));
    stack.wait_for(&granted, "closed");
    stack.send("submit", &begin);
    stack.wait_until("it is done", || stack.is_drained("submit"));
    assert!(is_over() && !stack.passes("app-1", ANN), "what was closed stays closed");
    let of_it = picture(stack, "app-1", &requested("beside"));
    assert_eq!(of_it["grants"].as_array().map(Vec::len), Some(1), "{of_it:#}");
    assert_eq!(count(&of_it, "approved"), 1, "{of_it:#}");
    is_whole(stack);
}

/// The relay dies with what it was about to tell, and whoever it tells never answers again, for the whole life of a grant:
/// that opens by the clock, and closes on time.
#[test]
#[ignore = "needs pypi"]
fn a_relay_that_dies_before_a_bus_that_is_gone_makes_nothing_wrong() {
    let stack = Stack::deploy(Auth::Open);
    stack.enable("web-1");
    let (bus, heard) = deaf();
    stack.reroute(&["EVENTBRIDGE"], &bus);
    let granted = stack.request("web-1", ANN, "PT40S");
    let is_told = |call: String| call.contains(&granted);
    while !is_told(heard.recv_timeout(HEARD_WITHIN).expect("the relay tells of it")) {}
    stack.kill("relay");
    stack.invoke("expire");
    stack.wait_for(&granted, "open");
    assert!(stack.passes("web-1", ANN));
    stack.wait_for(&granted, "closed");
    assert!(!stack.passes("web-1", ANN));
    let late = stack.late_ms("web-1", &granted);
    assert!((0..=LATE_MS).contains(&late), "{late} ms late");
    is_whole(&stack);
}

/// A bus that everybody gets through to and that answers nobody, and what it is told, as it comes in.
fn deaf() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (told, heard) = channel();
    thread::spawn(move || {
        for caller in listener.incoming() {
            let (mut caller, told) = (caller.expect("a caller"), told.clone());
            // Whoever calls waits for an answer until they give up, and then there is nothing more to read.
            thread::spawn(move || {
                let (mut call, mut part) = (vec![], [0; 4096]);
                while let Ok(length @ 1..) = caller.read(&mut part) {
                    call.extend_from_slice(&part[..length]);
                    if told.send(String::from_utf8_lossy(&call).into_owned()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, heard)
}

/// A whole life while calls of the functions to DynamoDB and EventBridge fail in every way there is: who asks
/// notices nothing.
#[test]
#[ignore = "needs pypi"]
fn through_faults_on_the_wire_it_is_one_life() {
    let stack = Stack::deploy(Auth::Open);
    let proxy = Proxy::before(stack.aws.url());
    stack.reroute(&["DYNAMODB", "EVENTBRIDGE"], proxy.url());
    let mut planned: Vec<&str> = vec![];
    let mut plan = |faults: &[(&'static str, Fault)]| {
        for (operation, fault) in faults {
            let service = if *operation == "PutEvents" { "events" } else { "dynamodb" };
            proxy.plan_of(service, operation, *fault);
            planned.push(operation);
        }
    };
    // No more in a row than a call has tries: what fails for good fails its function, and that is tried anew
    // elsewhere.
    let every = [
        ("TransactWriteItems", Fault::Unanswered),
        ("TransactWriteItems", Fault::Conflicting),
        ("TransactWriteItems", Fault::Throttled),
        ("TransactWriteItems", Fault::Cut),
        ("TransactWriteItems", Fault::Failed),
        ("PutItem", Fault::Unanswered),
        ("GetItem", Fault::Throttled),
        ("GetItem", Fault::Cut),
        ("GetItem", Fault::Failed),
    ];
    let ear = stack.listen("faults");
    plan(&every);
    plan(&[("PutEvents", Fault::Unanswered), ("PutEvents", Fault::Throttled)]);
    let target = stack.enable("web-1");
    assert!(!stack.passes("web-1", ANN));
    plan(&every);
    plan(&[("PutEvents", Fault::Cut), ("PutEvents", Fault::Failed)]);
    let granted = stack.request("web-1", ANN, "PT20S");
    ear.hear("grant.opened", |it| it["detail"]["grant"] == granted.as_str());
    assert!(stack.passes("web-1", ANN));
    plan(&every[..2]);
    plan(&[("GetItem", Fault::Throttled), ("GetItem", Fault::Unanswered), ("Query", Fault::Cut)]);
    plan(&[("PutEvents", Fault::Unanswered)]);
    stack.invoke("expire");
    stack.wait_for(&granted, "closed");
    ear.hear("grant.closed", |it| it["detail"]["grant"] == granted.as_str());
    assert!(!stack.passes("web-1", ANN));
    let late = stack.late_ms("web-1", &granted);
    assert!((0..=LATE_MS).contains(&late), "{late} ms late");

    let asked = granted.rsplit_once('-').expect("of a request").0.to_owned();
    let of_it = picture(&stack, "web-1", &asked);
    for once in ["policy_set", "approved", "opened", "closed"] {
        assert_eq!(count(&of_it, once), 1, "{once}: {of_it:#}");
    }
    let of_target = stack.ask("GET", &format!("/v1/grants?target={}", segment(&target)), None).done();
    assert_eq!(of_target["items"].as_array().map(Vec::len), Some(1), "{of_target}");
    is_whole(&stack);
    // Each call that was to fail did fail.
    assert_eq!(counted(proxy.fired()), counted(planned));
}

/// What a bot puts on the bus, as a queue delivers it.
fn wish(kind: &str, id: &str, more: &Value) -> String {
    let mut detail = json!({ "version": 1, "id": id, "correlation_id": id, "on_behalf_of": "ann" });
    detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "source": BOT, "detail-type": kind, "id": id, "time": Timestamp::now(), "detail": detail })
        .to_string()
}

/// What it says to ask for a machine.
fn request(target: &str) -> Value {
    let port = json!({ "port": 22, "sources": [ANN], "duration": "PT30M" });
    json!({ "targets": [{ "target": target, "ports": [port] }], "justification": "disk full" })
}

/// What ann's request of this name is called.
fn requested(id: &str) -> String {
    derived(id).to_string()
}

/// And its grant.
fn grant(id: &str) -> String {
    GrantId::derived(&derived(id), 1).to_string()
}

fn derived(id: &str) -> RequestId {
    let (ann, key) = ("ann".parse::<Person>(), format!("{BOT} {id}").parse::<IdempotencyKey>());
    RequestId::derived(&ann.expect("a person"), &key.expect("a key"))
}

/// All that there is to see of a request for a machine: itself, its grants, the machine, its rules and its
/// journal.
fn picture(stack: &Stack, machine: &str, request: &str) -> Value {
    let target = segment(stack.azure.machine(machine).as_str());
    let get = |path: String| stack.ask("GET", &path, None).done();
    let requests = get("/v1/requests?by=ann".to_owned());
    let requests = requests["items"].as_array().expect("requests").iter().filter(|it| it["id"] == request);
    let grants = get(format!("/v1/grants?target={target}"));
    let grants = grants["items"].as_array().expect("grants").iter().filter(|it| it["request"] == request);
    json!({
        "requests": requests.collect::<Vec<_>>(),
        "grants": grants.collect::<Vec<_>>(),
        "target": get(format!("/v1/targets/{target}")),
        "journal": stack.activity(machine),
    })
}

/// How often something stands in the journal.
fn count(picture: &Value, what: &str) -> usize {
    picture["journal"].as_array().expect("entries").iter().filter(|it| it["fact"]["what"] == what).count()
}

fn counted<T: ToString>(names: Vec<T>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for name in names {
        *counted.entry(name.to_string()).or_default() += 1;
    }
    counted
}

fn is_whole(stack: &Stack) {
    let verified = stack.ask("GET", "/v1/verify", None).done();
    assert_eq!(verified["whole"], true, "{verified}");
}

/// Makes a machine's item one that nobody can read, and gives what stood there.
fn damage(stack: &Stack, target: &str) -> Value {
    let item = json!({ "TableName": stack.output("TableName"), "Key": key(target), "ConsistentRead": true });
    let item = stack.aws.call("dynamodb", "get_item", &item).expect("there");
    set_body(stack, target, &json!({ "S": "{" }));
    item["Item"]["body"].clone()
}

fn set_body(stack: &Stack, target: &str, body: &Value) {
    let update = json!({
        "TableName": stack.output("TableName"), "Key": key(target), "UpdateExpression": "SET body = :body",
        "ExpressionAttributeValues": { ":body": body },
    });
    stack.aws.call("dynamodb", "update_item", &update).expect("updated");
}

fn key(target: &str) -> Value {
    json!({ "pk": { "S": format!("T#{target}") }, "sk": { "S": "STATE" } })
}

/// Deletes what is ours in a security group.
fn delete_ours(stack: &Stack, group: &str) {
    let path = stack.azure.path("Microsoft.Network/networkSecurityGroups", &format!("/{group}"));
    let held = stack.azure.call("GET", &path, None).body;
    let names = held["properties"]["securityRules"].as_array().expect("rules").iter();
    let ours: Vec<&str> =
        names.filter_map(|it| it["name"].as_str()).filter(|it| it.starts_with("Portcullis-")).collect();
    assert!(!ours.is_empty(), "{group} has rules of ours");
    for name in ours {
        let deleted = stack.azure.call("DELETE", &stack.azure.rule(group, name), None);
        assert!(deleted.status < 300, "{deleted:?}");
    }
}

fn segment(id: &str) -> String {
    id.replace('/', "%2F")
}
