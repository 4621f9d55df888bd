//! The door: which operation each route and each event makes, and what a refusal leaves behind.

use portcullis_app::{Operation, OperationKind, ports::Store as _};
use portcullis_domain::{Chain, Fact};
use portcullis_http::openapi;
use portcullis_tests::{
    given::{self, at, named},
    place::Place,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_default,
};

/// The operations of all routes; none for those that need no token, and the events have a list of their own.
const ROUTES: [(&str, &str, &[Operation]); 41] = [
    ("get", "/v1/targets", &[Operation::Machines]),
    ("get", "/v1/targets/{target}", &[Operation::ShowMachine]),
    ("post", "/v1/targets/{target}/enable", &[Operation::Enable]),
    ("post", "/v1/targets/{target}/edit", &[Operation::Edit]),
    ("post", "/v1/targets/{target}/disable", &[Operation::Disable]),
    ("post", "/v1/targets/{target}/confirm", &[Operation::Confirm]),
    ("post", "/v1/targets/{target}/plan", &[Operation::Plan]),
    ("get", "/v1/targets/{target}/check", &[Operation::Check]),
    ("get", "/v1/targets/{target}/activity", &[Operation::Activity]),
    ("get", "/v1/names", &[Operation::Names]),
    ("get", "/v1/requests", &[Operation::Requests]),
    ("post", "/v1/requests", &[Operation::Initiate]),
    // The second one asks what permits it.
    ("post", "/v1/requests/explain", &[Operation::Explain, Operation::Explain, Operation::Foresee]),
    ("get", "/v1/requests/{request}", &[Operation::ShowRequest]),
    ("post", "/v1/requests/{request}/approve", &[Operation::Approve]),
    ("post", "/v1/requests/{request}/reject", &[Operation::Reject]),
    ("post", "/v1/requests/{request}/withdraw", &[Operation::Withdraw]),
    ("get", "/v1/grants", &[Operation::Grants]),
    ("get", "/v1/grants/{grant}", &[Operation::ShowGrant]),
    ("post", "/v1/grants/{grant}/close", &[Operation::Close]),
    ("post", "/v1/grants/{grant}/extend", &[Operation::Extend]),
    ("get", "/v1/adoptable", &[Operation::Adoptables]),
    ("post", "/v1/adopt", &[Operation::Adopt]),
    ("get", "/v1/events", &[Operation::Happened]),
    ("post", "/v1/events", &[]),
    ("get", "/v1/export", &[Operation::Export]),
    ("get", "/v1/verify", &[Operation::Verify]),
    ("get", "/v1/doctor", &[Operation::Doctor]),
    ("get", "/v1/whoami", &[Operation::Whoami]),
    ("get", "/v1/tokens", &[Operation::Tokens]),
    ("post", "/v1/tokens", &[Operation::IssueToken]),
    ("delete", "/v1/tokens/{person}", &[Operation::RevokeToken]),
    ("get", "/v1/roles", &[Operation::Roles]),
    ("post", "/v1/roles", &[Operation::GrantRole]),
    ("post", "/v1/roles/revoke", &[Operation::RevokeRole]),
    ("get", "/v1/policies", &[Operation::Policies]),
    ("post", "/v1/policies", &[Operation::ApplyPolicies]),
    ("post", "/v1/policies/rollback", &[Operation::RollBackPolicies]),
    ("get", "/v1/policies/history", &[Operation::PolicyVersions]),
    ("get", "/healthz", &[]),
    ("get", "/openapi.json", &[]),
];

/// The operations of all events of bots.
const EVENTS: [(&str, Operation); 8] = [
    ("access.request", Operation::Initiate),
    ("access.explain", Operation::Explain),
    ("access.extend", Operation::Extend),
    ("access.approve", Operation::Approve),
    ("access.reject", Operation::Reject),
    ("access.withdraw", Operation::Withdraw),
    ("access.close", Operation::Close),
    ("export.request", Operation::OrderExport),
];

/// Notes the operations that the door performs on this thread.
#[derive(Debug, Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Noted {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("one thread"))
    }
}

impl Visit for Noted {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "operation" {
            self.0.lock().expect("one thread").push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl Subscriber for Noted {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("portcullis_app::door")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn names(operations: &[Operation]) -> Vec<String> {
    operations.iter().map(|it| it.name().to_owned()).collect()
}

/// A body that each route can read, whatever it then answers.
fn body(method: &str, path: &str, machine: &str) -> Option<Value> {
    let ask = json!({ "asks": [{ "target": machine, "port": 22, "for": "PT1H" }] });
    match (method, path.rsplit('/').next().unwrap_or_default()) {
        ("post", "requests" | "explain") => Some(ask),
        ("post", "enable" | "edit" | "plan") => Some(json!({ "ports": [{ "port": 22 }] })),
        ("post", "approve" | "reject") => Some(json!({ "shown": "it" })),
        ("post", "extend") => Some(json!({ "until": at(7_200).to_string() })),
        ("post", "adopt") => Some(json!({ "what": "policy-1", "delete": false })),
        ("post", "roles" | "revoke") => {
            Some(json!({ "role": "reader", "member": "person:bob", "on": "everything" }))
        }
        ("post", "policies") => Some(json!({ "files": { "a.cedar": "" } })),
        ("post", "rollback") => Some(json!({ "version": 0 })),
        ("post", "tokens") => Some(json!({ "person": "bob" })),
        _ => None,
    }
}

#[tokio::test]
async fn each_route_of_the_description_performs_its_operation() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    let token = place.token("operator").await;
    let described = serde_json::to_value(openapi()).expect("writes");
    let paths = described["paths"].as_object().expect("paths");
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").keys();
            methods.map(|it| (it.clone(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let listed: BTreeMap<(String, String), &[Operation]> =
        ROUTES.iter().map(|(method, path, all)| (((*method).to_owned(), (*path).to_owned()), *all)).collect();
    assert_eq!(described, listed.keys().cloned().collect(), "each route is in the list, and no other");
    let noted = Noted::default();
    let _guard = set_default(noted.clone());
    let target = id.as_str().replace('/', "%2F");
    for ((method, path), operations) in listed {
        let query = match path.as_str() {
            "/v1/targets/{target}/check" => "?port=22&from=203.0.113.9",
            "/v1/requests/explain" => "?wait=PT30S",
            "/v1/export" => "?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&format=jsonl",
            _ => "",
        };
        let url = path.replace("{target}", &target).replace("{request}", "r1").replace("{grant}", "r1-1");
        let url = format!("{}{query}", url.replace("{person}", "bob"));
        let answer =
            place.call(&token, &method.to_uppercase(), &url, body(&method, &path, id.as_str())).await;
        assert_eq!(noted.taken(), names(operations), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn each_event_of_a_bot_performs_its_operation() {
    let place = Place::new();
    let bots = r#"[{"source": "chatops", "for": ["ann"]}]"#.parse().expect("bots");
    let noted = Noted::default();
    let _guard = set_default(noted.clone());
    for (kind, operation) in EVENTS {
        let mut detail = json!({ "version": 1, "on_behalf_of": "ann" });
        let more = match kind {
            "access.request" | "access.explain" => {
                json!({ "targets": [{ "target": "web-1", "ports": [{ "port": 22, "duration": "PT1H",
                "sources": ["203.0.113.9"] }] }] })
            }
            "access.approve" => json!({ "request": "r1", "shown": "it" }),
            "access.extend" => json!({ "grant": "r1-1", "end": at(7_200) }),
            "access.reject" | "access.withdraw" => json!({ "request": "r1" }),
            "access.close" => json!({ "grant": "r1-1" }),
            _ => json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "format": "jsonl" }),
        };
        detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let body =
            json!({ "source": "chatops", "detail-type": kind, "id": kind, "time": at(0), "detail": detail });
        let body = body.to_string();
        let incoming = portcullis_app::Incoming { body: body.as_bytes(), source: None, has_archive: true };
        let terms = portcullis_domain::Terms::default();
        let submitted =
            portcullis_app::submit(place.store(), &terms, place.rights(), &bots, incoming, at(1)).await;
        assert_eq!(noted.taken(), names(&[operation]), "{kind}: {submitted:?}");
    }
}

#[test]
fn each_operation_is_behind_a_route_or_an_event() {
    let routes = ROUTES.iter().flat_map(|(_, _, all)| all.iter().copied());
    let reached: BTreeSet<Operation> = routes.chain(EVENTS.map(|(_, operation)| operation)).collect();
    assert_eq!(reached, Operation::ALL.iter().copied().collect());
    let names: BTreeSet<&str> = Operation::ALL.iter().map(|it| it.name()).collect();
    assert_eq!(names.len(), Operation::ALL.len(), "no two operations have one name");
}

#[test]
fn routes_that_only_read_perform_queries() {
    for (method, path, operations) in ROUTES {
        let is_query = |it: &&Operation| it.kind() == OperationKind::Query;
        // Two questions are too long for a path.
        let reads = method == "get" || path.ends_with("/plan") || path.ends_with("/explain");
        assert!(operations.iter().all(|it| is_query(&it) == reads), "{method} {path}");
    }
}

#[tokio::test]
async fn administering_without_the_right_is_refused_and_recorded_once() {
    let place = Place::new();
    let token = place.token("ann").await;
    let head = place.store().rest().await.expect("loads").n;
    let answer = place.call(&token, "POST", "/v1/tokens", Some(json!({ "person": "bob" }))).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let entries = place.store().entries(&Chain::rest(), head, 10).await.expect("loads");
    let facts: Vec<Fact> = entries.into_iter().map(|it| it.fact).collect();
    let [Fact::TokenRefused { person, by, reasons, .. }] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!((person, by, reasons.len()), (&named("bob"), &named("ann"), 1));
}

#[tokio::test]
async fn a_policy_that_cannot_be_is_refused_and_recorded() {
    let place = Place::new();
    let id = place.id("web-1").await;
    let token = place.token("ann").await;
    let head = place.store().rest().await.expect("loads").n;
    let path = format!("/v1/targets/{}/enable", id.as_str().replace('/', "%2F"));
    let twice = json!({ "ports": [{ "port": 22 }, { "port": 22 }] });
    let answer = place.call(&token, "POST", &path, Some(twice)).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    let entries = place.store().entries(&Chain::rest(), head, 10).await.expect("loads");
    let facts: Vec<Fact> = entries.into_iter().map(|it| it.fact).collect();
    let [Fact::PolicyRefused { target, reasons, .. }] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!((target, reasons.len()), (&id, 1));
}
