//! A revoked token leaves no access behind, unless the operator says so; the answer and the journal name it.

use jiff::SignedDuration;
use portcullis_app::ports::Store as _;
use portcullis_domain::{Chain, Fact, TargetId};
use portcullis_tests::{
    given::{ssh, ssh_with_approval},
    place::{Answered, Place},
};
use serde_json::{Value, json};

/// A lease of ann on one machine, and a request of hers that waits on another.
async fn left_behind(place: &Place) -> (TargetId, TargetId) {
    let (open, waiting) =
        (place.guard("web-1", &ssh()).await, place.guard("db-1", &ssh_with_approval()).await);
    let ann = place.token("ann").await;
    for id in [&open, &waiting] {
        let body = json!({ "asks": [{ "target": id, "port": 22, "for": "PT1H" }] });
        assert_eq!(place.call(&ann, "POST", "/v1/requests", Some(body)).await.status, 202);
        // A request without a key is known by its time.
        place.pass(SignedDuration::from_secs(1));
    }
    place.expire().await;
    (open, waiting)
}

async fn revoke(place: &Place, person: &str, query: &str) -> Answered {
    let operator = place.token("operator").await;
    place.call(&operator, "DELETE", &format!("/v1/tokens/{person}{query}"), None).await
}

fn states(answer: &Value) -> (Vec<&Value>, Vec<&Value>) {
    let of =
        |list: &'static str| answer[list].as_array().expect("a list").iter().map(|it| &it["state"]).collect();
    (of("grants"), of("requests"))
}

async fn last_of_rest(place: &Place) -> Fact {
    let head = place.store().rest().await.expect("loads").n;
    place.store().entries(&Chain::rest(), head - 1, 1).await.expect("loads").pop().expect("an entry").fact
}

#[tokio::test]
async fn revoking_a_token_ends_the_leases_and_withdraws_the_requests_of_its_person() {
    let place = Place::new();
    let (open, waiting) = left_behind(&place).await;
    let answer = revoke(&place, "Ann", "").await;
    assert_eq!((answer.status.as_u16(), &answer.body["kept"]), (200, &json!(false)), "{answer:?}");
    assert_eq!(states(&answer.body), (vec![&json!("closing")], vec![&json!("withdrawn")]), "{answer:?}");
    place.expire().await;
    assert!(!place.passes(&open, "198.51.100.1").await);
    let is_by_operator = |it: &Fact| matches!(it, Fact::Ended { by, .. } | Fact::RequestWithdrawn { by, .. } if by.as_str() == "operator");
    for id in [&open, &waiting] {
        assert_eq!(place.facts(id).await.iter().filter(|it| is_by_operator(it)).count(), 1, "{id}");
    }
    let again = revoke(&place, "ann", "").await;
    assert_eq!(again.status, 404, "there is neither a token nor access: {again:?}");
    assert_eq!(portcullis_app::verify(place.store()).await.expect("verified").bad, vec![]);
}

#[tokio::test]
async fn revoking_a_token_keeps_the_access_where_the_operator_says_so_and_records_that() {
    let place = Place::new();
    let (open, _) = left_behind(&place).await;
    let answer = revoke(&place, "ann", "?keep_access=true").await;
    assert_eq!((answer.status.as_u16(), &answer.body["kept"]), (200, &json!(true)), "{answer:?}");
    assert_eq!(states(&answer.body), (vec![&json!("open")], vec![&json!("pending")]), "{answer:?}");
    place.expire().await;
    assert!(place.passes(&open, "198.51.100.1").await);
    let fact = last_of_rest(&place).await;
    assert!(matches!(fact, Fact::TokenRevoked { keeps_access: true, .. }), "{fact:?}");
    let again = revoke(&place, "ann", "?keep_access=true").await;
    assert_eq!(again.status, 404, "there is no token: {again:?}");
}

/// The call before took the token, and died before it ended the rest.
#[tokio::test]
async fn revoking_again_ends_what_the_first_time_left() {
    let place = Place::new();
    let (open, _) = left_behind(&place).await;
    assert_eq!(revoke(&place, "ann", "?keep_access=true").await.status, 200);
    let answer = revoke(&place, "ann", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(states(&answer.body), (vec![&json!("closing")], vec![&json!("withdrawn")]), "{answer:?}");
    place.expire().await;
    assert!(!place.passes(&open, "198.51.100.1").await);
}
