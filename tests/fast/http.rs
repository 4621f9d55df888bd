//! The API as its users meet it: who is let in, what is answered, and what a refusal says.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
    response::IntoResponse as _,
};
use jiff::SignedDuration;
use portcullis_app::{Error, Issuer, Principal, ports::Store};
use portcullis_domain::{Chain, Fact, Terms};
use portcullis_http::{Problem, Proxies, Vouched};
use portcullis_tests::{
    given::{self, HOUR, named, ssh},
    place::{Answered, Place},
};
use serde_json::{Value, json};

/// A machine's path, its id as one segment.
fn path(id: &impl ToString, rest: &str) -> String {
    format!("/v1/targets/{}{rest}", id.to_string().replace('/', "%2F"))
}

fn wish(id: &impl ToString, port: u16, length: &str) -> Value {
    json!({ "asks": [{ "target": id.to_string(), "port": port, "for": length }], "justification": "an incident" })
}

#[tokio::test]
async fn a_port_is_asked_for_opened_extended_and_closed() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.id("web-1").await;
    let enabled = place.call(&token, "POST", &path(&id, "/enable"), Some(json!({}))).await;
    assert_eq!(enabled.status, 200, "{enabled:?}");
    assert_eq!(enabled.body["ports"][0]["port"], 22, "a Linux machine is managed over SSH");
    place.expire().await;

    let answer = place.call(&token, "POST", "/v1/requests", Some(wish(&id, 22, "PT1H"))).await;
    assert_eq!((answer.status, &answer.body["request"]["state"]), (StatusCode::ACCEPTED, &json!("approved")));
    assert_eq!(answer.body["grants"][0]["sources"], json!(["198.51.100.1/32"]), "my IP is the connection's");
    place.expire().await;
    let grant = format!("/v1/grants/{}", answer.body["grants"][0]["id"].as_str().expect("an id"));
    assert_eq!(place.call(&token, "GET", &grant, None).await.body["state"], "open");
    let check = path(&id, "/check?port=22&from=my-ip");
    let checked = place.call(&token, "GET", &check, None).await.body;
    assert_eq!((&checked["passes"], &checked["sessions"]), (&json!(true), &json!("survive")));

    place.pass(HOUR / 2);
    let later = json!({ "until": place.now() + HOUR * 2 });
    let extended = place.call(&token, "POST", &format!("{grant}/extend"), Some(later.clone())).await;
    assert_eq!(
        (extended.status, &extended.body["grants"][0]["end"]),
        (StatusCode::ACCEPTED, &later["until"])
    );
    let closed = place.call(&token, "POST", &format!("{grant}/close"), None).await;
    assert_eq!(closed.body["state"], "closing", "{closed:?}");
    place.expire().await;
    assert_eq!(place.call(&token, "GET", &check, None).await.body["passes"], false);
    assert_eq!(place.call(&token, "GET", &grant, None).await.body["reason"], "user_requested");
    assert_eq!(place.call(&token, "GET", "/v1/verify", None).await.body["whole"], true);
}

#[tokio::test]
async fn an_extension_that_waits_is_shown_with_the_grant_that_it_is_for() {
    let place = Place::new();
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let id = place.guard("web-1", &given::ssh()).await;
    let asked = place.call(&ann, "POST", "/v1/requests", Some(wish(&id, 22, "PT1H"))).await;
    let lease = asked.body["grants"][0].clone();
    assert!(asked.body["request"]["asks"][0].get("extends").is_none(), "{asked:?}");
    let ports = json!({ "ports": [{ "port": 22, "approvers": ["bob"] }] });
    assert_eq!(place.call(&bob, "POST", &path(&id, "/edit"), Some(ports)).await.status, 200);
    let grant = format!("/v1/grants/{}", lease["id"].as_str().expect("an id"));
    place.pass(HOUR / 2);
    let later = json!({ "until": place.now() + HOUR * 2 });
    let extension = place.call(&ann, "POST", &format!("{grant}/extend"), Some(later)).await;
    assert_eq!(extension.body["request"]["state"], "pending", "{extension:?}");
    let one = format!("/v1/requests/{}", extension.body["request"]["id"].as_str().expect("an id"));
    let shown = place.call(&bob, "GET", &one, None).await.body;
    let listed = place.call(&bob, "GET", "/v1/requests?state=pending", None).await.body["items"][0].clone();
    for request in [&extension.body["request"], &shown, &listed] {
        let ask = &request["asks"][0];
        assert_eq!(ask["sources"], lease["sources"], "{ask}");
        for field in ["id", "port", "protocol", "by", "sources", "end"] {
            assert_eq!(ask["extends"][field], lease[field], "{field}: {ask}");
        }
    }
    let body = Some(json!({ "shown": shown["shown"] }));
    let approved = place.call(&bob, "POST", &format!("{one}/approve"), body).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    assert_eq!(approved.body["request"]["asks"][0]["sources"], lease["sources"], "{approved:?}");
}

#[tokio::test]
async fn a_refusal_says_every_reason_and_what_would_be_allowed() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.guard("web-1", &given::ssh()).await;
    let mut wishes = wish(&id, 22, "PT5H");
    let nobody = json!({ "target": "/nobody", "port": 22, "for": "PT1H" });
    wishes["asks"].as_array_mut().expect("a list").push(nobody);
    let refused = place.call(&token, "POST", "/v1/requests", Some(wishes)).await;
    assert_eq!(refused.body["type"], "urn:portcullis:refused", "{refused:?}");
    let reasons = refused.body["reasons"].as_array().expect("reasons");
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    let all = refused.body["reasons"].to_string();
    assert!(all.contains("5h") && all.contains("3h") && all.contains("/nobody"), "{all}");
}

#[tokio::test]
async fn a_body_is_as_long_as_its_path_takes() {
    const KIB: usize = 1024;
    let place = Place::new();
    let token = place.token("ann").await;
    let sent = async |path: &str, length: usize| {
        let envelope = json!({ "justification": "" }).to_string().len();
        let body = json!({ "justification": "x".repeat(length - envelope) });
        assert_eq!(body.to_string().len(), length);
        let answer = place.call(&token, "POST", path, Some(body)).await;
        (answer.status.as_u16(), answer.body["type"].as_str().unwrap_or_default().to_owned())
    };
    let (bad, long) = (|| "urn:portcullis:bad-input".to_owned(), || "urn:portcullis:too-large".to_owned());
    assert_eq!(sent("/v1/requests", 64 * KIB).await, (400, bad()));
    assert_eq!(sent("/v1/requests", 64 * KIB + 1).await, (413, long()));
    // Of an event, what is only a little too long is read, so that it is recorded.
    assert_eq!(sent("/v1/events", 64 * KIB + 1).await.0, 202);
    assert_eq!(sent("/v1/events", 128 * KIB).await.0, 202);
    assert_eq!(sent("/v1/events", 128 * KIB + 1).await, (413, long()));
}

#[tokio::test]
async fn the_same_key_is_the_same_request() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.guard("web-1", &given::ssh()).await;
    let send = async |length: &str| {
        let request = Request::post("/v1/requests")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", "incident-7")
            .body(Body::from(wish(&id, 22, length).to_string()));
        place.send(request.expect("a request")).await
    };
    let first = send("PT1H").await;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(send("PT1H").await.body, first.body);
    let other = send("PT2H").await;
    assert_eq!(
        (other.status, &other.body["reasons"][0]["code"]),
        (StatusCode::CONFLICT, &json!("key-reused"))
    );
    assert_eq!(place.target(&id).await.grants().len(), 1);
    let granted = first.body["request"]["id"].as_str().expect("an id");
    let why = other.body["detail"].as_str().expect("text");
    assert!(why.contains("`incident-7`") && why.contains(granted), "the key, and whose it is: {why}");
    // What is refused is the other ask, each time the same.
    send("PT2H").await;
    let facts = place.facts(&id).await;
    let refused: Vec<_> = facts
        .iter()
        .filter(|it| matches!(it, Fact::RequestRefused { .. }))
        .filter_map(Fact::request)
        .map(String::from)
        .collect();
    assert!(refused.len() == 2 && refused[0] == refused[1] && refused[0] != granted, "{refused:?}");
    assert_eq!(place.call(&token, "GET", &format!("/v1/requests/{}", refused[0]), None).await.status, 404);
}

/// Its targets tell a no that names them: of those that are unknown it is said in every no.
#[tokio::test]
async fn a_reused_key_is_refused_together_with_unknown_targets() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.guard("web-1", &given::ssh()).await;
    let send = async |wishes: Value| {
        let request = Request::post("/v1/requests")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", "incident-7")
            .body(Body::from(wishes.to_string()));
        place.send(request.expect("a request")).await
    };
    assert_eq!(send(wish(&id, 22, "PT1H")).await.status, 202);
    let mut wishes = wish(&"/nobody", 22, "PT1H");
    wishes["asks"].as_array_mut().expect("a list").push(wish(&id, 22, "PT1H")["asks"][0].take());
    let refused = send(wishes).await;
    let codes: Vec<_> =
        refused.body["reasons"].as_array().expect("reasons").iter().map(|it| it["code"].clone()).collect();
    assert_eq!(codes, ["key-reused", "unknown-target"], "{refused:?}");
    let facts = place.facts(&id).await;
    assert!(
        matches!(facts.last(), Some(Fact::RequestRefused { codes, .. }) if codes.len() == 2),
        "{facts:?}"
    );
}

#[tokio::test]
async fn another_person_approves_the_request_as_shown() {
    let place = Place::new();
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let id = place.guard("web-1", &given::ssh_with_approval()).await;
    let answer = place.call(&ann, "POST", "/v1/requests", Some(wish(&id, 22, "PT1H"))).await;
    let request = answer.body["request"].clone();
    assert_eq!(
        (&request["state"], answer.body["grants"].as_array().map(Vec::len)),
        (&json!("pending"), Some(0))
    );
    let approve = format!("/v1/requests/{}/approve", request["id"].as_str().expect("an id"));
    let shown = Some(json!({ "shown": request["shown"] }));
    let own = place.call(&ann, "POST", &approve, shown.clone()).await;
    assert_eq!((own.status, &own.body["reasons"][0]["code"]), (StatusCode::FORBIDDEN, &json!("own-request")));
    let other = place.call(&bob, "POST", &approve, Some(json!({ "shown": "something else" }))).await;
    assert_eq!(other.status, 409, "{other:?}");
    let waiting = place.call(&bob, "GET", "/v1/requests?state=pending", None).await;
    assert_eq!(waiting.body["items"].as_array().map(Vec::len), Some(1));
    let approved = place.call(&bob, "POST", &approve, shown.clone()).await;
    assert_eq!((approved.status, &approved.body["request"]["decided_by"]), (StatusCode::OK, &json!("bob")));
    assert_eq!(
        place.call(&bob, "POST", &approve, shown).await.status,
        200,
        "approving twice is approving once"
    );
}

#[tokio::test]
async fn an_undecided_request_lapses_after_eight_hours() {
    let place = Place::new();
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let id = place.guard("web-1", &given::ssh_with_approval()).await;
    let asked_at = place.now();
    assert_eq!(*place.terms(), Terms::default(), "as it is where nobody says otherwise");
    let asked = place.call(&ann, "POST", "/v1/requests", Some(wish(&id, 22, "PT1H"))).await;
    let request = &asked.body["request"];
    assert_eq!(request["until"], json!(asked_at + HOUR * 8), "{request}");
    let shown = Some(json!({ "shown": request["shown"] }));
    let request = format!("/v1/requests/{}", request["id"].as_str().expect("an id"));
    for (time, state) in [(HOUR * 8 - SignedDuration::from_secs(1), "pending"), (HOUR * 8, "lapsed")] {
        place.pass(asked_at + time - place.now());
        place.expire().await;
        assert_eq!(place.call(&bob, "GET", &request, None).await.body["state"], state, "after {time:#}");
    }
    let late = place.call(&bob, "POST", &format!("{request}/approve"), shown).await;
    assert_eq!(
        (late.status, &late.body["reasons"][0]["code"]),
        (StatusCode::CONFLICT, &json!("not-pending"))
    );
    assert_eq!(place.target(&id).await.grants().len(), 0);
}

#[tokio::test]
async fn my_ip_is_the_address_that_a_trusted_proxy_saw() {
    // Callers of these tests come from 198.51.100.1.
    let ours = || Proxies::of(vec!["198.51.100.0/24".parse().expect("valid")]);
    let theirs = || Proxies::of(vec!["192.0.2.0/24".parse().expect("valid")]);
    let cases = [
        (Proxies::default(), "203.0.113.9", Some("198.51.100.1")),
        (theirs(), "203.0.113.9", Some("198.51.100.1")),
        (ours(), "203.0.113.9", Some("203.0.113.9")),
        (ours(), "10.9.9.9, 203.0.113.9", Some("203.0.113.9")),
        (ours(), "203.0.113.9, 198.51.100.7", Some("203.0.113.9")),
        (ours(), "somebody", None),
    ];
    for (proxies, forwarded, address) in cases {
        let place = Place::behind(proxies);
        let token = place.token("ann").await;
        let id = place.guard("web-1", &given::ssh()).await;
        let request = Request::post("/v1/requests")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-forwarded-for", forwarded)
            .body(Body::from(wish(&id, 22, "PT1H").to_string()));
        let answer = place.send(request.expect("a request")).await;
        let wanted = address.map_or(json!(null), |it| json!([format!("{it}/32")]));
        assert_eq!(answer.body["grants"][0]["sources"], wanted, "{forwarded}: {answer:?}");
        assert_eq!(answer.status.is_success(), address.is_some(), "{forwarded}: {answer:?}");
        place.expire().await;
        for from in ["198.51.100.1", "203.0.113.9", "10.9.9.9"] {
            assert_eq!(place.passes(&id, from).await, address == Some(from), "{forwarded}: {from}");
        }
    }
}

/// What the table's file tells is who has a token, and not the token.
#[tokio::test]
async fn no_token_is_ever_stored() {
    const PART_BYTES: usize = 16;
    let place = Place::new();
    let token = place.token("somebody-with-a-long-name").await;
    assert_eq!(place.call(&token, "GET", "/v1/whoami", None).await.status, 200);
    let (folder, table) = place.stop();
    let table = std::fs::read(table).expect("the table");
    drop(folder);
    let holds = |text: &[u8]| table.windows(text.len()).any(|it| it == text);
    assert!(holds(b"somebody-with-a-long-name"), "who has one is there");
    for part in token.as_bytes().chunks_exact(PART_BYTES) {
        assert!(!holds(part), "`{}` of `{token}`", String::from_utf8_lossy(part));
    }
}

#[test]
fn an_unavailable_dependency_is_answered_with_retry_after() {
    let retry_after = |error: Error| {
        let response = Problem::from(error).into_response();
        let after = response.headers().get(header::RETRY_AFTER);
        let secs: Option<u64> = after.map(|it| it.to_str().expect("text").parse().expect("seconds"));
        (response.status(), secs)
    };
    let (doing, source) = ("reach it", || "nobody is there".into());
    let unavailable = retry_after(Error::Unavailable { doing, source: source() });
    assert_eq!(unavailable, (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
    let broken = retry_after(Error::Broken { doing, source: source() });
    assert_eq!(broken, (StatusCode::INTERNAL_SERVER_ERROR, None), "trying again would not help");
}

#[tokio::test]
async fn calls_without_a_valid_token_are_refused() {
    let place = Place::new();
    let owner = place.token("operator").await;
    let described = portcullis_http::openapi();
    assert!(20 < described.paths.paths.len(), "the description is of the whole API");
    for (path, item) in described.paths.paths {
        let path = path.replace(['{', '}'], "");
        for (method, operation) in [("GET", item.get), ("POST", item.post), ("DELETE", item.delete)] {
            let Some(operation) = operation else { continue };
            let is_open = operation.security.is_some();
            let answer = place.call("pct_guessed", method, &path, Some(json!({}))).await;
            assert_eq!(answer.status == 401, !is_open, "{method} {path}: {answer:?}");
        }
    }
    // A token that was replaced or revoked is valid no longer, at once.
    let bob = place.token("bob").await;
    assert_eq!(place.call(&bob, "GET", "/v1/whoami", None).await.body["person"], "bob");
    // Who could make tokens could approve their own requests by another name.
    for (method, path) in [("POST", "/v1/tokens"), ("DELETE", "/v1/tokens/operator")] {
        let refused = place.call(&bob, method, path, Some(json!({ "person": "ann" }))).await;
        assert_eq!(
            (refused.status, &refused.body["reasons"][0]["code"]),
            (StatusCode::FORBIDDEN, &json!("not-the-operator"))
        );
    }
    let unseen = place.call(&owner, "POST", "/v1/tokens", Some(json!({ "person": "ann\u{200b}" }))).await;
    assert_eq!(unseen.status, 400, "two that look alike are one: {unseen:?}");
    assert_eq!(place.call(&owner, "DELETE", "/v1/tokens/bob", None).await.status, 200);
    assert_eq!(place.call(&bob, "GET", "/v1/whoami", None).await.status, 401);
    assert_eq!(place.call(&owner, "DELETE", "/v1/tokens/bob", None).await.status, 404);
    let made = place.call(&owner, "POST", "/v1/tokens", Some(json!({ "person": "eve" }))).await;
    let eve = made.body["token"].as_str().expect("a token").to_owned();
    assert_eq!(place.call(&eve, "GET", "/v1/whoami", None).await.body["address"], "198.51.100.1");
    let listed = place.call(&owner, "GET", "/v1/tokens", None).await.body.to_string();
    assert!(listed.contains("eve") && !listed.contains(&eve), "no secret is ever listed");
}

#[tokio::test]
async fn person_whom_a_policy_names_and_nothing_vouches_for_is_warned_of_and_found_by_doctor() {
    let place = Place::with_bots(r#"[{"source": "chatops", "for": ["ann"]}]"#);
    let token = place.token("ann").await;
    let id = place.id("web-1").await;
    let ports = |approvers: Value| json!({ "ports": [{ "port": 22, "approvers": approvers, "break_glass": ["Dora"] }] });
    let warnings = |it: &Answered| it.body["warnings"].to_string();
    let enabled =
        place.call(&token, "POST", &path(&id, "/enable"), Some(ports(json!(["ANN", "carol"])))).await;
    assert_eq!(enabled.status, 200);
    let said = warnings(&enabled);
    for part in [
        "`carol` may approve `22/tcp`, and no token, issuer, bot or platform vouches",
        "`Dora` may use break-glass on `22/tcp`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("ANN"), "a bot speaks for her: {said}");
    let found = place.call(&token, "GET", "/v1/doctor", None).await.body["findings"].to_string();
    assert!(found.contains("names `carol`, and no token, issuer, bot or platform vouches"), "{found}");
    for name in ["Carol", "dora"] {
        place.token(name).await;
    }
    let edited = place.call(&token, "POST", &path(&id, "/edit"), Some(ports(json!(["carol"])))).await;
    assert_eq!((edited.status, &edited.body["warnings"]), (StatusCode::OK, &json!([])));
    let found = place.call(&token, "GET", "/v1/doctor", None).await.body["findings"].to_string();
    assert!(!found.contains("vouches"), "{found}");
    let anybody = place.call(&token, "POST", &path(&id, "/edit"), Some(ports(json!(["*"])))).await;
    assert_eq!(anybody.body["warnings"], json!([]));
}

#[tokio::test]
async fn bad_input_is_named_and_changes_nothing() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.guard("web-1", &given::ssh()).await;
    let before = place.facts(&id).await.len();
    let both = json!({ "ports": [{ "port": 22, "approvers": ["bob"], "no_approval": true }] });
    let bad: [(&str, &str, Option<Value>, &str); 18] = [
        ("POST", "/v1/requests", Some(json!({ "asks": [{ "target": "x", "port": 0, "for": "PT1H" }] })), "0"),
        (
            "POST",
            "/v1/requests",
            Some(json!({ "asks": [{ "target": "x", "port": 22, "for": "an hour" }] })),
            "asks[0].for: `an hour` is not a length of time, such as `90m`",
        ),
        ("POST", "/v1/tokens", Some(json!({ "person": "*" })), "person: `*` is not a person"),
        (
            "POST",
            "/v1/requests",
            Some(json!({ "asks": [{ "target": "x", "port": 22, "for": "1:30:00" }] })),
            "asks[0].for: `1:30:00` is not a length of time, such as `90m`, `1h 30m`, `1d` or `PT1H30M`: a clock time is no length",
        ),
        (
            "GET",
            "/v1/export?from=soon&to=2026-05-01T00:00:00Z&format=csv",
            None,
            "`soon` is not a time, such as",
        ),
        ("POST", "/v1/requests", Some(json!({ "asks": [{ "target": "x", "port": 22 }] })), "until"),
        ("POST", "/v1/requests", Some(json!({ "wishes": [] })), "wishes"),
        ("POST", "/v1/requests", None, "application/json"),
        ("GET", "/v1/grants?limit=0", None, "0"),
        ("GET", "/v1/requests?state=open", None, "open"),
        ("GET", "/v1/nothing", None, "/v1/nothing"),
        ("GET", "/v1/targets/x/activity", None, "x"),
        ("GET", "/v1/targets/x/activity?newest=true&after=1", None, "either `after` or `newest`"),
        ("POST", "/v1/targets/x/disable", None, "x"),
        ("POST", "/v1/targets/x/confirm", None, "x"),
        ("POST", &path(&id, "/edit"), Some(both), "no_approval"),
        ("POST", "/v1/requests", Some(json!({ "justification": "x".repeat(70_000) })), "65536"),
        ("GET", "/v1/targets/x/check?port=ssh&from=my-ip", None, "ssh"),
    ];
    for (method, path, body, named) in bad {
        let Answered { status, body } = place.call(&token, method, path, body).await;
        assert!(status.is_client_error(), "{method} {path}: {status} {body}");
        assert!(body["detail"].as_str().is_some_and(|it| it.contains(named)), "{method} {path}: {body}");
    }
    assert_eq!(place.facts(&id).await.len(), before);
}

/// Of whoever is known: what strangers send would fill the journal.
#[tokio::test]
async fn an_unreadable_request_is_recorded() {
    let place = Place::new();
    let token = place.token("ann").await;
    let rest = async || place.store().entries(&Chain::rest(), 0, usize::MAX).await.expect("listed");
    let before = rest().await.len();
    let (anew, extend) = ("/v1/requests", "/v1/grants/a-grant/extend");
    let bad = [
        (anew, json!({ "wishes": "hush" }), "unknown field `wishes`"),
        (anew, wish(&"/vm", 0, "PT1H"), "0"),
        (
            anew,
            json!({ "asks": [{ "target": "/vm", "port": 22, "for": "1h", "sources": ["here"] }] }),
            "`here`",
        ),
        (anew, json!({ "asks": [{ "target": "/vm", "port": 22 }] }), "`until`"),
        (extend, json!({ "until": "soon" }), "`soon`"),
        ("/v1/grants/a%20grant/extend", json!({ "until": place.now() }), "`a grant`"),
        (extend, json!({ "until": place.now(), "justification": "" }), "justification"),
    ];
    for (n, (path, body, why)) in (1..).zip(bad) {
        let stranger = place.call("pct_guessed", "POST", path, Some(body.clone())).await;
        assert_eq!(stranger.status, 401, "{stranger:?}");
        let answer = place.call(&token, "POST", path, Some(body)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let recorded = rest().await;
        assert_eq!(recorded.len(), before + n, "once: {recorded:?}");
        let Some(Fact::EventRefused { source, reasons, codes, .. }) = recorded.last().map(|it| &it.fact)
        else {
            panic!("{recorded:?}");
        };
        assert_eq!((source.as_str(), codes.as_slice()), ("ann", &["unreadable".to_owned()][..]));
        assert!(reasons[0].contains(why) && !reasons[0].contains("hush"), "{reasons:?}");
    }
}

#[tokio::test]
async fn lists_come_in_parts() {
    let place = Place::new();
    let token = place.token("ann").await;
    let (mut names, mut after) = (vec![], String::new());
    loop {
        let page = place.call(&token, "GET", &format!("/v1/targets?limit=4{after}"), None).await.body;
        let items = page["items"].as_array().expect("a list").clone();
        names.extend(items.iter().map(|it| it["name"].as_str().expect("a name").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace('/', "%2F"));
    }
    names.sort();
    let fleet = ["build-1", "db-1", "hub-1", "lab-1", "old-1", "spare-1", "vault-1", "web-1", "win-1"];
    assert_eq!(names, fleet);
    let targets = place.call(&token, "GET", "/v1/targets", None).await.body;
    let of = |name: &str| {
        targets["items"].as_array().expect("a list").iter().find(|it| it["name"] == name).cloned()
    };
    let web = of("web-1").expect("listed");
    assert_eq!(
        (&web["state"], &web["healthy"]),
        (&json!("not_configured"), &json!(false)),
        "open to the world"
    );
    // Guarded, but not where it is managed.
    let enable = json!({ "ports": [{ "port": 8080 }] });
    let id = place.id("web-1").await;
    assert_eq!(place.call(&token, "POST", &path(&id, "/enable"), Some(enable)).await.status, 200);
    place.expire().await;
    let web = place.call(&token, "GET", &path(&id, ""), None).await.body;
    assert_eq!((&web["state"], &web["healthy"]), (&json!("configured"), &json!(false)), "{web}");
    let unsupported = of("old-1").expect("listed")["id"].as_str().expect("an id").to_owned();
    let check = path(&unsupported, "/check?port=22&from=192.0.2.1");
    assert_eq!(place.call(&token, "GET", &check, None).await.status, 409, "nothing says who gets through");
    let old = of("old-1").expect("listed");
    assert_eq!((&old["state"], &old["reason"]), (&json!("unsupported"), &json!("classic")));
}

#[tokio::test]
async fn an_unconfirmed_policy_lapses() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.id("web-1").await;
    let body = Some(json!({ "confirm_within": "PT60S" }));
    let enabled = place.call(&token, "POST", &path(&id, "/enable"), body.clone()).await;
    assert!(enabled.body["confirm_by"].is_string(), "{enabled:?}");
    place.expire().await;
    assert!(!place.passes(&id, "192.0.2.1").await);
    place.pass(SignedDuration::from_secs(60));
    place.expire().await;
    assert!(place.passes(&id, "192.0.2.1").await, "as it was before");
    assert_eq!(place.call(&token, "POST", &path(&id, "/confirm"), None).await.status, 409, "too late");
    place.call(&token, "POST", &path(&id, "/enable"), body).await;
    assert_eq!(place.call(&token, "POST", &path(&id, "/confirm"), None).await.status, 200);
    place.pass(HOUR);
    place.expire().await;
    assert!(!place.passes(&id, "192.0.2.1").await, "confirmed, it stays");
}

#[tokio::test]
async fn editing_and_disabling_end_what_is_no_longer_guarded() {
    let place = Place::new();
    let token = place.token("ann").await;
    let id = place.guard("web-1", &given::ssh()).await;
    let add = json!({ "ports": [{ "port": 5985, "max": "PT1H" }] });
    let edited = place.call(&token, "POST", &path(&id, "/edit"), Some(add)).await;
    assert_eq!(edited.body["ports"].as_array().map(Vec::len), Some(2), "{edited:?}");
    place.call(&token, "POST", "/v1/requests", Some(wish(&id, 5985, "PT1H"))).await;
    place.expire().await;
    let remove = json!({ "remove": ["5985/tcp"] });
    assert_eq!(place.call(&token, "POST", &path(&id, "/edit"), Some(remove)).await.status, 200);
    place.expire().await;
    let grants = place.call(&token, "GET", "/v1/grants", None).await.body;
    assert_eq!(grants["items"][0]["reason"], "policy_changed", "{grants}");
    let planned = place.call(&token, "POST", &path(&id, "/plan"), Some(json!({}))).await;
    assert_eq!(planned.body["changes"], json!([]), "{planned:?}");
    let other = place.id("win-1").await;
    let planned = place.call(&token, "POST", &path(&other, "/plan"), Some(json!({}))).await;
    assert!(planned.body["gates"][0]["shadows"].to_string().contains("RDP"), "{planned:?}");
    // Twice is once, and never is as well: it is said what changed.
    for (id, changed) in [(&id, true), (&id, false), (&other, false)] {
        let disabled = place.call(&token, "POST", &path(id, "/disable"), None).await;
        assert_eq!((disabled.status, &disabled.body["changed"]), (StatusCode::OK, &json!(changed)));
        assert_eq!(disabled.body["ports"], json!([]), "{disabled:?}");
    }
    let both = json!({ "ports": [{ "port": 3389, "protocol": "TCP" }, { "port": 3389, "protocol": "UDP" }] });
    assert_eq!(place.call(&token, "POST", &path(&other, "/enable"), Some(both)).await.status, 200);
    let edit = json!({ "ports": [{ "port": 3389, "approvers": ["carol"] }] });
    let edited = place.call(&token, "POST", &path(&other, "/edit"), Some(edit)).await.body;
    let approved =
        edited["ports"].as_array().expect("a list").iter().filter(|it| it["approvers"] == json!(["carol"]));
    assert_eq!(approved.count(), 2, "without a protocol every rule of the port is meant: {edited}");
    let unsupported = place.id("old-1").await;
    let refused = place.call(&token, "POST", &path(&unsupported, "/enable"), Some(json!({}))).await;
    assert!(refused.body["detail"].as_str().is_some_and(|it| it.contains("classic")), "{refused:?}");
}

#[tokio::test]
async fn break_glass_by_a_named_person_needs_a_reason_and_is_shown() {
    let place = Place::new();
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let id = place.guard("web-1", &given::ssh()).await;
    let edit = json!({ "ports": [{ "port": 22, "approvers": ["carol"], "break_glass": ["ann"] }] });
    let edited = place.call(&bob, "POST", &path(&id, "/edit"), Some(edit)).await;
    assert_eq!(edited.body["ports"][0]["break_glass"], json!(["ann"]), "{edited:?}");
    let mut breaking = wish(&id, 22, "PT1H");
    breaking["break_glass"] = true.into();
    let mut silent = breaking.clone();
    silent.as_object_mut().expect("an object").remove("justification");
    for (token, body, status, code) in [
        (&bob, &breaking, StatusCode::FORBIDDEN, "may-not-break-glass"),
        (&ann, &silent, StatusCode::UNPROCESSABLE_ENTITY, "glass-without-why"),
    ] {
        let refused = place.call(token, "POST", "/v1/requests", Some(body.clone())).await;
        assert_eq!((refused.status, &refused.body["reasons"][0]["code"]), (status, &json!(code)));
    }
    let explained = place.call(&ann, "POST", "/v1/requests/explain", Some(breaking.clone())).await.body;
    assert_eq!((&explained["answer"], &explained["breaks_glass"]), (&json!("allowed"), &json!(true)));
    let explained = place.call(&ann, "POST", "/v1/requests/explain", Some(wish(&id, 22, "PT1H"))).await.body;
    assert_eq!(
        (&explained["answer"], &explained["breaks_glass"]),
        (&json!("needs_approval"), &json!(false)),
        "unless she says so"
    );

    let answer = place.call(&ann, "POST", "/v1/requests", Some(breaking.clone())).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let request = &answer.body["request"];
    assert_eq!((&request["state"], &request["broke_glass"]), (&json!("approved"), &json!(true)));
    place.expire().await;
    let granted = place.call(&bob, "GET", "/v1/grants", None).await.body;
    let grant = &granted["items"][0];
    assert_eq!((&grant["state"], &grant["broke_glass"]), (&json!("open"), &json!(true)), "{grant}");
    let listed = place.call(&bob, "GET", "/v1/requests", None).await.body;
    assert_eq!(listed["items"][0]["broke_glass"], true, "{listed}");

    place.pass(HOUR / 2);
    let later = json!({ "until": place.now() + HOUR, "justification": "still down" });
    let longer = format!("/v1/grants/{}/extend", grant["id"].as_str().expect("an id"));
    let extended = place.call(&ann, "POST", &longer, Some(later)).await;
    assert_eq!(extended.body["request"]["state"], "pending", "{extended:?}");

    place.pass(HOUR / 4);
    let nobody = json!({ "ports": [{ "port": 22, "break_glass": [] }] });
    let edited = place.call(&bob, "POST", &path(&id, "/edit"), Some(nobody)).await;
    let rule = &edited.body["ports"][0];
    assert_eq!((&rule["approvers"], &rule["break_glass"]), (&json!(["carol"]), &Value::Null));
    let refused = place.call(&ann, "POST", "/v1/requests", Some(breaking)).await;
    assert_eq!(refused.body["reasons"][0]["code"], "may-not-break-glass", "{refused:?}");
    // Whoever asks for approvals again does not thereby name her again.
    let mut edited = Value::Null;
    for setting in
        [("break_glass", json!(["ann"])), ("no_approval", json!(true)), ("approvers", json!(["carol"]))]
    {
        let mut rule = json!({ "port": 22 });
        rule[setting.0] = setting.1;
        edited = place.call(&bob, "POST", &path(&id, "/edit"), Some(json!({ "ports": [rule] }))).await.body;
    }
    let rule = &edited["ports"][0];
    assert_eq!((&rule["approvers"], &rule["break_glass"]), (&json!(["carol"]), &Value::Null));
    assert_eq!(place.call(&ann, "GET", "/v1/verify", None).await.body["whole"], true);
}

#[tokio::test]
async fn the_description_is_complete_and_health_is_told() {
    let place = Place::new();
    let request = |path: &str| Request::get(path).body(Body::empty()).expect("a request");
    let described = place.send(request("/openapi.json")).await;
    assert_eq!(described.body["openapi"].as_str().map(|it| &it[..2]), Some("3."));
    assert!(described.body["paths"]["/v1/requests"]["post"]["requestBody"].is_object());
    let health = place.send(request("/healthz")).await;
    assert_eq!((health.status, &health.body["status"]), (StatusCode::OK, &json!("ok")));
}

#[tokio::test]
async fn a_caller_proven_by_the_platform_needs_no_token_and_other_callers_do() {
    let place = Place::new();
    let whoami = || Request::builder().uri("/v1/whoami").body(Body::empty()).expect("a request");
    let mut vouched = whoami();
    vouched
        .extensions_mut()
        .insert(Vouched(Principal::person(named("arn:aws:iam::111122223333:role/deploy"), Issuer::Aws)));
    let answer = place.send(vouched).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["person"], "arn:aws:iam::111122223333:role/deploy");
    assert_eq!(place.send(whoami()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_answer_has_the_correlation_id_of_the_caller() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let token = place.token("ann").await;
    let body = json!({ "asks": [{ "target": id, "port": 22, "sources": ["203.0.113.9"], "for": "PT1H" }] });
    let ask = |correlation: &str| {
        let request = Request::builder().method("POST").uri("/v1/requests");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.header("x-correlation-id", correlation).body(Body::from(body.to_string()));
        request.expect("a request")
    };
    let answer = place.send(ask("ticket-1")).await;
    assert_eq!(answer.body["request"]["correlation_id"], "ticket-1", "{:?}", answer.body);
    assert_eq!(answer.body["grants"][0]["correlation_id"], "ticket-1");
    assert_eq!(place.send(ask("two words")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(place.send(ask(&"x".repeat(129))).await.status, StatusCode::BAD_REQUEST);
}
