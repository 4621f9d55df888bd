//! Each entry says who spoke, by which channel, and by which program.

use axum::{
    body::Body,
    http::{Request, header},
};
use jiff::SignedDuration;
use portcullis_app::{self as app, ports::Store as _};
use portcullis_domain::{Chain, Entry, Fact, Lease, People, Policy, PortRule, TargetId, Via};
use portcullis_tests::{
    given::{HOUR, at, named, ssh, ssh_with_approval},
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

fn ask(id: &TargetId) -> Value {
    json!({ "asks": [{ "target": id, "port": 22, "for": "PT1H" }] })
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

/// A request of ann by the bot `chatops` for a machine that needs an approval: what an approval of it names.
async fn asked_by_the_bot(place: &Place, chatops: &str) -> (TargetId, Value) {
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let asked = posted(place, chatops, event("access.request", "ann", &wanted(&id))).await;
    let request = &asked["answer"]["request"];
    (id, json!({ "request": request["id"], "shown": request["shown"] }))
}

/// The codes of the refused decisions in the journal of a machine.
async fn refused_decisions(place: &Place, id: &TargetId) -> Vec<String> {
    let facts = place.facts(id).await.into_iter();
    let why = |it| {
        if let Fact::DecisionRefused { by, reasons, .. } = it {
            Some(format!("{by}: {}", reasons.join("; ")))
        } else {
            None
        }
    };
    facts.filter_map(why).collect()
}

#[tokio::test]
async fn one_bot_that_asks_for_one_person_does_not_approve_for_another() {
    let place = Place::new();
    let (chatops, bob) = (place.token("chatops").await, place.token("bob").await);
    let (id, approval) = asked_by_the_bot(&place, &chatops).await;
    let refused = posted(&place, &chatops, event("access.approve", "bob", &approval)).await;
    let why = refused["reasons"][0].as_str().expect("a reason");
    assert!(why.starts_with("the bot `chatops` made this request and may not approve it too"), "{why}");
    assert!(why.contains("`portcullis approve`") && why.contains("`both_halves`"), "{why}");
    // The same token, by its own name.
    let path = format!("/v1/requests/{}/approve", approval["request"].as_str().expect("an id"));
    let itself = place.call(&chatops, "POST", &path, Some(json!({ "shown": approval["shown"] }))).await;
    assert_eq!((itself.status.as_u16(), &itself.body["reasons"][0]["code"]), (403, &json!("one-bot")));
    let recorded = refused_decisions(&place, &id).await;
    assert_eq!(recorded, [format!("bob: {why}"), format!("chatops: {why}")]);
    // Another program, in the person's own hands.
    let approved = call_as(&place, CLI, &bob, &path, json!({ "shown": approval["shown"] })).await;
    assert_eq!(approved.status, 200, "{approved:?}");
}

#[tokio::test]
async fn bot_that_has_its_own_request_approved_by_a_person_for_whom_it_speaks_is_refused() {
    let place = Place::new();
    let chatops = place.token("chatops").await;
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let asked = place.call(&chatops, "POST", "/v1/requests", Some(ask(&id))).await.body;
    let approval = json!({ "request": asked["request"]["id"], "shown": asked["request"]["shown"] });
    let refused = posted(&place, &chatops, event("access.approve", "bob", &approval)).await;
    assert!(
        refused["reasons"][0].as_str().expect("a reason").starts_with("the bot `chatops` made"),
        "{refused}"
    );
}

#[tokio::test]
async fn another_bot_approves_and_one_that_is_named_for_it_brings_both_halves() {
    for bots in [
        r#"[{"source": "chatops", "for": ["ann"]}, {"source": "pager", "for": ["bob"]}]"#,
        r#"[{"source": "chatops", "for": ["ann", "bob"], "both_halves": true}]"#,
    ] {
        let place = Place::with_bots(bots);
        let other = if bots.contains("pager") { "pager" } else { "chatops" };
        let chatops = place.token("chatops").await;
        let (_, approval) = asked_by_the_bot(&place, &chatops).await;
        let token = if other == "chatops" { chatops } else { place.token(other).await };
        let approved = posted(&place, &token, event("access.approve", "bob", &approval)).await;
        assert_eq!(approved["accepted"], true, "{bots}: {approved}");
        assert_eq!(approved["answer"]["request"]["decided_via"], format!("bot {other}"));
    }
}

#[tokio::test]
async fn holder_of_a_lease_does_not_approve_the_extension_that_another_person_asked_for() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let (ann, bob, carol) = (place.token("ann").await, place.token("bob").await, place.token("carol").await);
    let asked = place.call(&ann, "POST", "/v1/requests", Some(ask(&id))).await.body;
    let approve = async |token: &str, request: &Value| {
        let path = format!("/v1/requests/{}/approve", request["id"].as_str().expect("an id"));
        place.call(token, "POST", &path, Some(json!({ "shown": request["shown"] }))).await
    };
    let granted = approve(&bob, &asked["request"]).await;
    place.expire().await;
    let grant = granted.body["grants"][0]["id"].as_str().expect("a grant").to_owned();
    let until = json!({ "until": at(7_200).to_string() });
    let longer = place.call(&bob, "POST", &format!("/v1/grants/{grant}/extend"), Some(until)).await.body;
    assert_eq!(longer["request"]["state"], "pending", "{longer}");
    let own = approve(&ann, &longer["request"]).await;
    assert_eq!((own.status.as_u16(), &own.body["reasons"][0]["code"]), (403, &json!("own-lease")), "{own:?}");
    assert_eq!(
        refused_decisions(&place, &id).await,
        [format!(
            "ann: `ann` holds the lease of `{grant}` and may not approve a later end of it: another approver has to"
        )]
    );
    assert_eq!(approve(&carol, &longer["request"]).await.status, 200);
}

#[tokio::test]
async fn extension_that_only_the_requester_or_the_holder_could_approve_is_refused_at_once() {
    let place = Place::new();
    let rule = PortRule {
        approvers: Some(People::Only([named("ann"), named("bob"), named("carol")].into())),
        ..ssh().ports()[0].clone()
    };
    let id = place.guard("web-1", &Policy::of(vec![rule.clone()], place.terms()).expect("a policy")).await;
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let asked = place.call(&ann, "POST", "/v1/requests", Some(ask(&id))).await.body;
    let path = format!("/v1/requests/{}/approve", asked["request"]["id"].as_str().expect("an id"));
    let granted =
        place.call(&bob, "POST", &path, Some(json!({ "shown": asked["request"]["shown"] }))).await.body;
    let grant = granted["grants"][0]["id"].as_str().expect("a grant").to_owned();
    let fewer = json!({ "ports": [{ "port": 22, "approvers": ["ann", "bob"] }] });
    let edit = format!("/v1/targets/{}/edit", id.as_str().replace('/', "%2F"));
    assert_eq!(place.call(&bob, "POST", &edit, Some(fewer)).await.status, 200);
    let until = json!({ "until": at(7_200).to_string() });
    let refused = place.call(&bob, "POST", &format!("/v1/grants/{grant}/extend"), Some(until.clone())).await;
    assert_eq!(refused.body["reasons"][0]["code"], "nobody-may-approve", "{refused:?}");
    place.pass(SignedDuration::from_secs(1));
    let own = place.call(&ann, "POST", &format!("/v1/grants/{grant}/extend"), Some(until)).await;
    assert_eq!(own.body["request"]["state"], "pending", "bob may approve it: {own:?}");
}

#[tokio::test]
async fn entry_of_a_token_names_the_channel_of_the_operator() {
    let place = Place::new();
    let operator = place.token("operator").await;
    let head = place.store().rest().await.expect("loads").n;
    let made = call_as(&place, CLI, &operator, "/v1/tokens", json!({ "person": "ann" })).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(place.call(&operator, "DELETE", "/v1/tokens/ann", None).await.status, 200);
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
            authority: None,
        };
        fact.about().speakers().expect("two people")
    };
    assert_eq!(said(bot(), Some(Via::Cli)), "ann via bot chatops, approved by bob");
    assert_eq!(said(Some(Via::Http), bot()), "ann, approved by bob via bot chatops");
    assert_eq!(said(None, None), "ann, approved by bob");
}
