//! Each entry says who spoke, by which channel, and by which program.

use axum::{
    body::Body,
    http::{Request, header},
};
use portcullis_app::{self as app, ports::Store as _};
use portcullis_domain::{Chain, Entry, Fact, Lease, TargetId, Via};
use portcullis_tests::{
    given::{HOUR, at, named},
    place::{Answered, Place},
};
use serde_json::{Value, json};

const CLI: &str = "portcullis/1.2.3";

/// A call by a program that names itself so.
async fn call_as(place: &Place, agent: &str, token: &str, path: &str, body: Value) -> Answered {
    let request = Request::builder()
        .method("POST")
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, agent);
    place.send(request.body(Body::from(body.to_string())).expect("a request")).await
}

/// An event of a bot about a request or a grant, or with what it asks for.
fn event(kind: &str, person: &str, more: &Value) -> Value {
    let mut detail = json!({ "version": 1, "on_behalf_of": person });
    detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "detail-type": kind, "id": format!("{kind} {person} {more}"), "detail": detail })
}

fn wanted(id: &TargetId) -> Value {
    json!({ "targets": [{ "target": id, "ports": [{ "port": 22, "duration": "PT1H", "sources": ["203.0.113.7"] }] }] })
}

async fn posted(place: &Place, token: &str, event: Value) -> Value {
    let answer = place.call(token, "POST", "/v1/events", Some(event)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body
}

/// The entries in which a person spoke, as `ann via cli: approved`, with the approver where there is one.
fn spoken(entries: &[Entry]) -> Vec<String> {
    let said = |it: &Entry| {
        let about = it.fact.about();
        let via = |via: Option<&Via>| via.map_or("?".to_owned(), ToString::to_string);
        let what = json!(it.fact)["what"].as_str().expect("a word").to_owned();
        let approver = about.approver.map(|approver| format!(", {approver} via {}", via(about.approver_via)));
        about.by.map(|by| format!("{what}: {by} via {}{}", via(about.via), approver.unwrap_or_default()))
    };
    entries.iter().filter_map(said).collect()
}

#[tokio::test]
async fn entry_of_each_command_names_the_channel_and_the_program_that_spoke() {
    let place = Place::new();
    let id = place.id("web-1").await;
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let chatops = place.token("chatops").await;
    let of_target = format!("/v1/targets/{}", id.as_str().replace('/', "%2F"));
    let ports = json!({ "ports": [{ "port": 22, "approvers": ["*"] }] });
    assert_eq!(call_as(&place, CLI, &ann, &format!("{of_target}/enable"), ports).await.status, 200);
    let asked = posted(&place, &chatops, event("access.request", "ann", &wanted(&id))).await;
    let (request, shown) = (&asked["answer"]["request"]["id"], &asked["answer"]["request"]["shown"]);
    assert_eq!(asked["answer"]["request"]["via"], "bot chatops");
    let approve = format!("/v1/requests/{}/approve", request.as_str().expect("an id"));
    let approved = call_as(&place, CLI, &bob, &approve, json!({ "shown": shown })).await;
    assert_eq!(approved.body["request"]["decided_via"], "cli", "{approved:?}");
    let grant = approved.body["grants"][0]["id"].as_str().expect("a grant").to_owned();
    assert_eq!(approved.body["grants"][0]["via"], "bot chatops");
    // Another program with the token of a person.
    let closed = call_as(&place, "curl/8.5.0", &bob, &format!("/v1/grants/{grant}/close"), json!({})).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let again = posted(&place, &chatops, event("access.request", "bob", &wanted(&id))).await;
    let request = &again["answer"]["request"]["id"];
    let refused = posted(
        &place,
        &chatops,
        event("access.approve", "bob", &json!({ "request": request, "shown": "?" })),
    )
    .await;
    assert_eq!(refused["accepted"], false);
    posted(&place, &chatops, event("access.reject", "ann", &json!({ "request": request }))).await;
    let never = json!({ "asks": [{ "target": id, "port": 23, "for": "PT1H" }] });
    assert_eq!(call_as(&place, CLI, &ann, "/v1/requests", never).await.status, 422);
    assert_eq!(call_as(&place, CLI, &ann, &format!("{of_target}/disable"), json!({})).await.status, 200);
    assert_eq!(
        spoken(&place.entries(&id).await),
        [
            "policy_set: ann via cli",
            "approval_needed: ann via bot chatops",
            "approved: ann via bot chatops, bob via cli",
            "ended: bob via http",
            "approval_needed: bob via bot chatops",
            "decision_refused: bob via bot chatops",
            "request_rejected: ann via bot chatops",
            "request_refused: ann via cli",
            "policy_set: ann via cli",
        ]
    );
    let verified = app::verify(place.store()).await.expect("verified");
    assert_eq!(verified.bad, vec![], "the channel of a request that waits is compared too");
}

#[tokio::test]
async fn entry_of_a_token_names_the_channel_of_the_operator() {
    let place = Place::new();
    let operator = place.token("operator").await;
    let head = place.store().rest().await.expect("loads").n;
    let made = call_as(&place, CLI, &operator, "/v1/tokens", json!({ "person": "ann" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(place.call(&operator, "DELETE", "/v1/tokens/ann", None).await.status, 204);
    let entries = place.store().entries(&Chain::rest(), head, 10).await.expect("loads");
    assert_eq!(spoken(&entries), ["token_made: operator via cli", "token_revoked: operator via http"]);
}

#[tokio::test]
async fn unreadable_request_names_the_channel_of_its_caller() {
    let place = Place::new();
    let ann = place.token("ann").await;
    let head = place.store().rest().await.expect("loads").n;
    let answer = call_as(&place, CLI, &ann, "/v1/requests", json!({ "asks": "web-1" })).await;
    assert!(answer.status.is_client_error(), "{answer:?}");
    let entries = place.store().entries(&Chain::rest(), head, 10).await.expect("loads");
    assert_eq!(spoken(&entries), ["event_refused: ann via cli"]);
}

#[test]
fn speakers_of_a_fact_are_people_and_the_bots_that_spoke_for_them() {
    let bot = || Some(Via::Bot("chatops".to_owned()));
    let said = |via, approver_via| {
        let fact = Fact::Extended {
            grant: named("r1-1"),
            request: named("r2"),
            lease: Lease::starting(at(0), HOUR).expect("a lease"),
            by: named("ann"),
            approver: Some(named("bob")),
            why: None,
            correlation: None,
            via,
            approver_via,
        };
        fact.about().speakers().expect("two people")
    };
    assert_eq!(said(bot(), Some(Via::Cli)), "ann via bot chatops, approved by bob");
    assert_eq!(said(Some(Via::Http), bot()), "ann, approved by bob via bot chatops");
    assert_eq!(said(None, None), "ann, approved by bob");
}
