//! One caller's appetite: many asks at once, expensive answers, and a machine that one person would fill.

use axum::http::StatusCode;
use futures_util::{FutureExt as _, future::join_all};
use portcullis_tests::{given, place::Place};
use serde_json::{Value, json};
use std::{pin::pin, sync::Arc, time::Duration};

/// A request for SSH from one address, for an hour.
fn ask(target: &impl ToString, source: &str) -> Value {
    json!({ "asks": [{ "target": target.to_string(), "port": 22, "sources": [source], "for": "PT1H" }] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn asks_of_32_callers_at_one_machine_are_all_granted_while_it_is_settled() {
    const CALLERS: usize = 32;
    const ASKS: usize = 8;
    let place = Arc::new(Place::new());
    let id = place.guard("web-1", &given::ssh()).await;
    let token = place.token("ann").await;
    let call = async |caller: usize| {
        let (place, token, id) = (Arc::clone(&place), token.clone(), id.clone());
        let calls = async move {
            for n in 0..ASKS {
                let answer = place
                    .call(&token, "POST", "/v1/requests", Some(ask(&id, &format!("198.51.{caller}.{n}"))))
                    .await;
                assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
            }
        };
        tokio::spawn(calls).await.expect("all are granted");
    };
    let settle = async {
        for _ in 0..ASKS {
            place.expire().await;
        }
    };
    tokio::join!(join_all((0..CALLERS).map(call)), settle);
    place.expire().await;
    let grants = place.target(&id).await.grants().values().cloned().collect::<Vec<_>>();
    assert_eq!(grants.len(), CALLERS * ASKS);
    assert!(grants.iter().all(|it| it.opened_at.is_some()), "all of them are open");
}

#[tokio::test]
async fn verify_recomputes_for_one_caller_at_a_time_and_the_next_one_is_told_to_come_back() {
    let place = Place::new();
    place.guard("web-1", &given::ssh()).await;
    let token = place.token("ann").await;
    let verify = || place.call(&token, "GET", "/v1/verify", None);
    let mut first = pin!(verify());
    assert!((&mut first).now_or_never().is_none(), "it lets others go on before it reads");
    let mut second = pin!(verify());
    assert!((&mut second).now_or_never().is_none(), "it waits");
    assert_eq!(first.await.body["whole"], true);
    assert_eq!(second.await.body["whole"], true, "it had its turn");
    let mut holding = pin!(verify());
    assert!((&mut holding).now_or_never().is_none());
    let refused = tokio::time::timeout(Duration::from_secs(30), verify()).await.expect("answered");
    assert_eq!(
        (refused.status, &refused.body["type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("urn:portcullis:busy"))
    );
    assert_eq!(holding.await.status, StatusCode::OK);
}
