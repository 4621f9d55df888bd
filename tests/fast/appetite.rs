//! One caller's appetite: many asks at once, expensive answers, and a machine that one person would fill.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use futures_util::{FutureExt as _, future::join_all};
use portcullis_app::{
    self as app,
    ports::{GrantFilter, PageAsked, Store},
};
use portcullis_domain::CLOSED_AT_ONCE_MAX;
use portcullis_local::RedbStore;
use portcullis_tests::door;
use portcullis_tests::{
    given::{self, HOUR},
    place::{Answered, Place},
};
use redb::{ReadableTable, TableDefinition};
use serde_json::{Value, json};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// A request for SSH from one address, for an hour.
fn ask(target: &impl ToString, source: &str) -> Value {
    json!({ "asks": [{ "target": target.to_string(), "port": 22, "sources": [source], "for": "PT1H" }] })
}

/// Asks, under a key: the clock of these tests stands still, and one person's asks of one moment are one ask.
async fn send(place: &Place, token: &str, key: &str, body: &Value) -> Answered {
    let request = Request::post("/v1/requests")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", key)
        .body(Body::from(body.to_string()));
    place.send(request.expect("a request")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_of_32_callers_for_one_machine_are_all_granted_while_it_is_settled() {
    const CALLERS: usize = 32;
    const ASKS: usize = 8;
    let place = Arc::new(Place::new());
    let id = place.guard("web-1", &given::ssh()).await;
    let token = place.token("ann").await;
    let call = async |caller: usize| {
        let (place, token, id) = (Arc::clone(&place), token.clone(), id.clone());
        let calls = async move {
            for n in 0..ASKS {
                let source = format!("198.51.{caller}.{n}");
                let answer = send(&place, &token, &source, &ask(&id, &source)).await;
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
    // Its first use is written: the calls below wait for nothing but their turn.
    assert_eq!(place.call(&token, "GET", "/v1/whoami", None).await.status, StatusCode::OK);
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

/// Thousands of leases of one machine, asked for one by one: each is opened, none slows down the next, and all of them are
/// closed once they are over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_leases_of_one_machine_are_asked_for_opened_and_closed() {
    const PEOPLE: [&str; 4] = ["ann", "bob", "carol", "dave"];
    const LEASES: usize = 3_000;
    let place = Arc::new(Place::new());
    let id = place.guard("web-1", &given::ssh()).await;
    let asking = PEOPLE.into_iter().enumerate().map(|(who, name)| {
        let (place, id) = (Arc::clone(&place), id.clone());
        tokio::spawn(async move {
            let token = place.token(name).await;
            for n in 0..LEASES / PEOPLE.len() {
                let source = format!("203.{who}.{}.{}", n / 100, 2 * (n % 100));
                let answer = send(&place, &token, &source, &ask(&id, &source)).await;
                assert_eq!(answer.status, StatusCode::ACCEPTED, "lease {n} of {name}: {answer:?}");
            }
        })
    });
    let began = Instant::now();
    for asked in asking.collect::<Vec<_>>() {
        asked.await.expect("all are granted");
    }
    println!("{LEASES} leases were asked for in {:?}", began.elapsed());
    place.expire().await;
    let target = place.target(&id).await;
    assert_eq!(target.grants().len(), LEASES);
    assert!(target.grants().values().all(|it| it.opened_at.is_some()), "all of them are open");
    for address in ["203.0.0.0", "203.3.7.98"] {
        assert!(place.passes(&id, address).await, "{address}");
    }
    let token = place.token("operator").await;
    let verified = place.call(&token, "GET", "/v1/verify", None).await;
    assert_eq!(verified.body["whole"], true, "{verified:?}");

    place.pass(HOUR);
    let began = Instant::now();
    place.expire().await;
    println!("all of them were closed after {:?}", began.elapsed());
    assert!(!place.passes(&id, "203.0.0.0").await);
    // One that is left waits for the next worker, which leaves a target to the one before for a second.
    let left = place.target(&id).await.grants().len();
    assert_eq!(left, 0, "one worker records all of them, {CLOSED_AT_ONCE_MAX} in a commit");
    assert_eq!(place.call(&token, "GET", "/v1/verify", None).await.body["whole"], true);
}

#[tokio::test]
async fn a_person_whose_share_is_used_up_is_refused_and_others_are_not() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh_behind_glass(&["erin"])).await;
    let ask = |ranges: std::ops::Range<u32>, break_glass: bool| {
        let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0B00_0000 + 2 * n).to_string();
        let sources: Vec<String> = ranges.map(address).collect();
        json!({
            "asks": [{ "target": id.to_string(), "port": 22, "sources": sources, "for": "PT1H" }],
            "justification": "a build farm", "break_glass": break_glass,
        })
    };
    let (ann, bob, erin) = (place.token("ann").await, place.token("bob").await, place.token("erin").await);
    let granted = send(&place, &ann, "1", &ask(0..1000, false)).await;
    assert_eq!(granted.status, StatusCode::ACCEPTED, "{}", granted.body["detail"]);
    let request = &granted.body["request"];
    let path = format!("/v1/requests/{}/approve", request["id"].as_str().expect("an id"));
    let approved = place.call(&bob, "POST", &path, Some(json!({ "shown": request["shown"] }))).await;
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.body["detail"]);

    let refused = send(&place, &ann, "2", &ask(2000..2001, false)).await;
    let reason = &refused.body["reasons"][0];
    assert_eq!(
        (refused.status, &reason["code"]),
        (StatusCode::CONFLICT, &json!("share-used-up")),
        "{}",
        refused.body["detail"]
    );
    let message = reason["message"].as_str().expect("words");
    assert!(
        message.contains("`1000`") && message.contains("`1`") && message.contains("may hold 1000"),
        "{message}"
    );
    let other = send(&place, &bob, "3", &ask(2000..3000, false)).await;
    assert_eq!(other.status, StatusCode::ACCEPTED, "{}", other.body["detail"]);
    let broken = send(&place, &erin, "4", &ask(4000..5500, true)).await;
    assert_eq!(
        broken.status,
        StatusCode::ACCEPTED,
        "whoever breaks glass finds room: {}",
        broken.body["detail"]
    );
}

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// When it is due, and what it is.
type Row = ((u64, Option<i128>), &'static [u8]);
const TARGETS: TableDefinition<'_, &str, Row> = TableDefinition::new("targets");
const GRANTS_LIVE: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("grants_live");

#[tokio::test]
async fn a_table_in_which_targets_hold_their_grants_is_laid_out_anew_and_nothing_of_it_is_lost() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    let token = place.token("ann").await;
    for source in ["203.0.113.1", "203.0.113.2", "203.0.113.3"] {
        let answer = send(&place, &token, source, &ask(&id, source)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    place.expire().await;
    let held = place.target(&id).await;
    let one = held.grants().values().next().expect("three").id.clone();
    let (_folder, table) = place.stop();
    {
        let database = redb::Database::create(&table).expect("opens");
        let write = database.begin_write().expect("writes");
        {
            let mut rows = write.open_table(TARGETS).expect("opens");
            let version = rows.get(id.as_str()).expect("reads").expect("is there").value().0;
            let json = serde_json::to_vec(&held).expect("JSON");
            rows.insert(id.as_str(), (version, json.as_slice())).expect("inserted");
            write.open_table(META).expect("opens").insert("layout", b"1".as_slice()).expect("inserted");
        }
        write.delete_table(GRANTS_LIVE).expect("deleted");
        write.commit().expect("committed");
    }
    for _ in 0..2 {
        let store = RedbStore::open(&table).expect("opens");
        let (target, _) = store.target(&id).await.expect("loads").expect("is there");
        assert_eq!(target, held);
        assert_eq!(app::verify(&store).await.expect("verified").bad, []);
    }
    let store = RedbStore::open(&table).expect("opens");
    let closed = door::close(&store, &one, &given::person("ann"), None, given::at(5)).await.expect("closed");
    let (target, _) = store.target(&id).await.expect("loads").expect("is there");
    assert_eq!(target.grant_of(&one), Some(&closed));
    assert_eq!(target.grants().len(), 3);
}

const GRANTS_OF: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("grants_of");

#[tokio::test]
async fn grants_of_a_table_in_which_each_spelling_of_a_name_had_its_own_are_those_of_one_person() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    let token = place.token("Ann").await;
    for source in ["203.0.113.1", "203.0.113.2", "203.0.113.3"] {
        let answer = send(&place, &token, source, &ask(&id, source)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    let (_folder, table) = place.stop();
    {
        let database = redb::Database::create(&table).expect("opens");
        let write = database.begin_write().expect("writes");
        {
            let mut rows = write.open_table(GRANTS_OF).expect("opens");
            let folded = rows.range(("by:ann", 0)..=("by:ann", u64::MAX)).expect("reads");
            let folded = folded.map(|it| it.expect("a row"));
            let folded: Vec<(u64, String)> =
                folded.map(|(key, id)| (key.value().1, id.value().to_owned())).collect();
            assert_eq!(folded.len(), 3, "one key for all spellings");
            for ((number, id), spelling) in folded.iter().zip(["Ann", "ANN", "ann"]) {
                rows.remove(("by:ann", *number)).expect("removed");
                let spelled = format!("by:{spelling}");
                rows.insert((spelled.as_str(), *number), id.as_str()).expect("inserted");
            }
            write.open_table(META).expect("opens").insert("layout", b"3".as_slice()).expect("inserted");
        }
        write.commit().expect("committed");
    }
    for name in ["ann", "Ann", "aNN"] {
        let store = RedbStore::open(&table).expect("opens");
        let of = GrantFilter { by: Some(given::person(name)), ..GrantFilter::default() };
        let listed = store.grants(&of, &PageAsked { after: None, at_most: 10 }).await.expect("listed");
        assert_eq!(listed.items.len(), 3, "{name}");
        assert_eq!(app::verify(&store).await.expect("verified").bad, []);
    }
}
