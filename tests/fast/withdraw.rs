//! A request that waits is taken back by its requester, over every channel.

use portcullis_app::{self as app, events};
use portcullis_domain::{Fact, TargetId};
use portcullis_tests::{
    given::ssh_with_approval,
    place::{Answered, Place},
};
use serde_json::json;

/// A machine that needs approvals, and the request of ann that waits there.
async fn waiting(place: &Place) -> (TargetId, String, String) {
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let ann = place.token("ann").await;
    let body = json!({ "asks": [{ "target": id, "port": 22, "for": "PT1H" }] });
    let asked = place.call(&ann, "POST", "/v1/requests", Some(body)).await;
    assert_eq!(asked.body["request"]["state"], "pending", "{asked:?}");
    (id, ann, asked.body["request"]["id"].as_str().expect("an id").to_owned())
}

async fn withdraw(place: &Place, token: &str, request: &str) -> Answered {
    place.call(token, "POST", &format!("/v1/requests/{request}/withdraw"), None).await
}

#[tokio::test]
async fn requester_withdraws_a_request_that_waits_and_nobody_approves_it_any_more() {
    let place = Place::new();
    let (id, ann, request) = waiting(&place).await;
    let withdrawn = withdraw(&place, &ann, &request).await;
    assert_eq!((withdrawn.status.as_u16(), &withdrawn.body["request"]["state"]), (200, &json!("withdrawn")));
    assert_eq!(withdrawn.body["request"]["decided_by"], "ann");
    assert_eq!(withdraw(&place, &ann, &request).await.status, 200, "twice is once");
    let entries = place.entries(&id).await;
    let told: Vec<_> = entries.iter().filter(|it| matches!(it.fact, Fact::RequestWithdrawn { .. })).collect();
    let [entry] = told.as_slice() else { panic!("{entries:?}") };
    assert_eq!(events(entry).iter().map(|it| it.kind).collect::<Vec<_>>(), ["request.withdrawn"]);
    let bob = place.token("bob").await;
    let shown = json!({ "shown": withdrawn.body["request"]["shown"] });
    let late = place.call(&bob, "POST", &format!("/v1/requests/{request}/approve"), Some(shown)).await;
    assert_eq!((late.status.as_u16(), &late.body["reasons"][0]["code"]), (409, &json!("not-pending")));
    let listed = place.call(&ann, "GET", "/v1/requests?state=withdrawn", None).await;
    assert_eq!(listed.body["items"].as_array().expect("items").len(), 1, "{listed:?}");
    // It lapses no more, and the journal tells of it what the table has.
    place.pass(place.terms().pending_for * 2);
    place.expire().await;
    assert_eq!(withdraw(&place, &ann, &request).await.body["request"]["state"], "withdrawn");
    assert_eq!(app::verify(place.store()).await.expect("verified").bad, vec![]);
}

#[tokio::test]
async fn request_of_another_person_is_not_withdrawn_and_the_refusal_is_recorded() {
    let place = Place::new();
    let (id, ann, request) = waiting(&place).await;
    let bob = place.token("bob").await;
    let refused = withdraw(&place, &bob, &request).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["reasons"][0]["code"]),
        (403, &json!("not-the-requester"))
    );
    let facts = place.facts(&id).await;
    let is_recorded = |it: &Fact| matches!(it, Fact::DecisionRefused { by, .. } if by.as_str() == "bob");
    assert!(facts.iter().any(is_recorded), "{facts:?}");
    assert_eq!(withdraw(&place, &ann, "none").await.status, 404, "there is no such request");
}

#[tokio::test]
async fn request_that_was_approved_is_not_withdrawn() {
    let place = Place::new();
    let (_, ann, request) = waiting(&place).await;
    let bob = place.token("bob").await;
    let seen = place.call(&bob, "GET", &format!("/v1/requests/{request}"), None).await;
    let shown = json!({ "shown": seen.body["shown"] });
    let approved = place.call(&bob, "POST", &format!("/v1/requests/{request}/approve"), Some(shown)).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    let late = withdraw(&place, &ann, &request).await;
    assert_eq!(
        (late.status.as_u16(), &late.body["reasons"][0]["code"]),
        (409, &json!("not-pending")),
        "{late:?}"
    );
}
