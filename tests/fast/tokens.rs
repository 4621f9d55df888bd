//! Tokens of the token book as callers have them: purpose, end and last use over HTTP, the checkup, and tables of older versions.

use jiff::SignedDuration;
use portcullis_app::{
    BadToken,
    ports::{Authentication as _, Tokens as _},
};
use portcullis_domain::{Chain, Fact, Token, TokenTerms};
use portcullis_local::{RedbStore, TokenBook};
use portcullis_tests::{
    given::{self, HOUR, all_entries, at, person},
    place::{Answered, Place},
};
use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use std::{fs, path::Path, sync::Arc};

const DAY: SignedDuration = SignedDuration::from_hours(24);

async fn make(place: &Place, operator: &str, body: Value) -> Answered {
    place.call(operator, "POST", "/v1/tokens", Some(body)).await
}

/// A new token with what more is said of it.
async fn made(place: &Place, operator: &str, body: Value) -> String {
    let answer = make(place, operator, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["token"].as_str().expect("a token").to_owned()
}

async fn listed(place: &Place, operator: &str, name: &str) -> Value {
    let all = place.call(operator, "GET", "/v1/tokens", None).await.body;
    let all = all.as_array().expect("a list");
    all.iter().find(|it| it["person"] == name).expect("listed").clone()
}

#[tokio::test]
async fn token_is_listed_with_its_purpose_its_end_and_its_last_use_to_the_hour() {
    let place = Place::new();
    let operator = place.token("operator").await;
    let body = json!({ "person": "backups", "purpose": "nightly backups", "expires_in": "P90D" });
    let token = made(&place, &operator, body).await;
    let end = at(0) + DAY * 90;
    let new = json!({
        "person": "backups", "purpose": "nightly backups", "made_at": at(0), "expires_at": end, "last_used_at": null,
    });
    assert_eq!(listed(&place, &operator, "backups").await, new);
    place.pass(HOUR);
    for _ in 0..3 {
        assert_eq!(place.call(&token, "GET", "/v1/whoami", None).await.status, 200);
        place.pass(SignedDuration::from_mins(10));
    }
    assert_eq!(listed(&place, &operator, "backups").await["last_used_at"], json!(at(3_600)));
    place.pass(HOUR);
    assert_eq!(place.call(&token, "GET", "/v1/whoami", None).await.status, 200);
    assert_eq!(listed(&place, &operator, "backups").await["last_used_at"], json!(at(9_000)));
    let plain = made(&place, &operator, json!({ "person": "ann" })).await;
    assert_eq!(place.call(&plain, "GET", "/v1/whoami", None).await.status, 200);
    let it = listed(&place, &operator, "ann").await;
    assert_eq!(
        (&it["purpose"], &it["expires_at"]),
        (&Value::Null, &Value::Null),
        "it has no end unless one is said"
    );
}

#[tokio::test]
async fn expired_token_is_refused_with_its_end_and_makes_no_other_one() {
    let place = Place::new();
    let operator = place.token("operator").await;
    let granted = json!({ "member": "person:deputy", "role": "operator", "on": "everything" });
    assert_eq!(place.call(&operator, "POST", "/v1/roles", Some(granted)).await.status, 200);
    let token = made(&place, &operator, json!({ "person": "deputy", "expires_in": "PT1H" })).await;
    assert_eq!(make(&place, &token, json!({ "person": "bob" })).await.status, 201);
    let before = all_entries(place.store(), &Chain::rest()).await.len();
    place.pass(HOUR);
    for (method, path, body) in [
        ("GET", "/v1/whoami", None),
        ("GET", "/v1/tokens", None),
        ("POST", "/v1/tokens", Some(json!({ "person": "bob" }))),
        ("POST", "/v1/tokens", Some(json!({ "person": "deputy" }))),
        ("DELETE", "/v1/tokens/bob", None),
    ] {
        let Answered { status, body } = place.call(&token, method, path, body).await;
        assert_eq!((status.as_u16(), &body["reasons"][0]["code"]), (401, &json!("token-expired")), "{body}");
        let detail = body["detail"].as_str().expect("words");
        let end = at(3_600).to_string();
        assert!(detail.contains(&end) && detail.contains("`portcullis token create`"), "{detail}");
        assert!(!body.to_string().contains(&token[..12]), "{body}");
    }
    assert_eq!(all_entries(place.store(), &Chain::rest()).await.len(), before, "nothing was changed");
    let next = made(&place, &operator, json!({ "person": "deputy", "expires_in": "PT1H" })).await;
    assert_eq!(place.call(&next, "GET", "/v1/whoami", None).await.status, 200);
}

#[tokio::test]
async fn purpose_or_end_that_is_not_accepted_is_refused_with_its_bound_and_recorded() {
    let place = Place::new();
    let operator = place.token("operator").await;
    for (more, status, words) in [
        (json!({ "purpose": "x".repeat(101) }), 400, "has 101 characters: at most 100"),
        (json!({ "purpose": "" }), 400, "1 to 100 characters"),
        (json!({ "purpose": "a\nb" }), 400, "on one line"),
        (json!({ "expires_in": "PT9M59S" }), 422, "at least 10m"),
        (json!({ "expires_at": at(0) }), 422, "at least 10m"),
        (json!({ "expires_in": "P401D" }), 422, "at most 400 days"),
        (json!({ "expires_in": "soon" }), 400, "`soon` is not a length of time"),
        (json!({ "expires_at": "soon" }), 400, "`soon` is not a time"),
        (
            json!({ "expires_in": "P1D", "expires_at": at(0) + DAY }),
            400,
            "either `expires_in` or `expires_at`",
        ),
    ] {
        let mut body = json!({ "person": "bob" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let before = all_entries(place.store(), &Chain::rest()).await.len();
        let answer = make(&place, &operator, body).await;
        let detail = answer.body["detail"].as_str().expect("words");
        assert!(answer.status == status && detail.contains(words), "{more}: {answer:?}");
        let recorded = all_entries(place.store(), &Chain::rest()).await.split_off(before);
        let refused = recorded.iter().filter(|it| matches!(it.fact, Fact::TokenRefused { .. })).count();
        assert_eq!(
            (recorded.len(), refused),
            if status == 422 { (1, 1) } else { (0, 0) },
            "{more}: {recorded:?}"
        );
    }
    let token = format!("pct_{}", "A".repeat(43));
    let answer = make(&place, &operator, json!({ "person": "bob", "purpose": token })).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let all = place.call(&operator, "GET", "/v1/tokens", None).await.body;
    assert_eq!(all.as_array().map(Vec::len), Some(1), "none was made");
}

#[tokio::test]
async fn checkup_names_tokens_that_expire_within_a_week_have_expired_or_are_not_used() {
    let place = Place::new();
    let operator = place.token("operator").await;
    for body in [
        json!({ "person": "ann", "expires_in": "P1D" }),
        json!({ "person": "bob", "purpose": "nightly backups", "expires_in": "P8D" }),
        json!({ "person": "carol", "expires_in": "P100D" }),
        json!({ "person": "dave" }),
    ] {
        made(&place, &operator, body).await;
    }
    let found = async || {
        let body = place.call(&operator, "GET", "/v1/doctor", None).await.body;
        assert!(body["findings"].as_array().is_some_and(|it| !it.is_empty()), "{body}");
        let all = body["findings"].as_array().expect("a list").clone().into_iter();
        let all = all.filter(|it| it["check"] == "tokens");
        all.map(|it| it["found"].as_str().expect("words").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found().await, [format!("these tokens expire within 7 days: `ann` ({})", at(86_400))]);
    place.pass(DAY);
    let bobs = at(8 * 86_400);
    assert_eq!(
        found().await,
        [
            format!("these tokens expired, so that calls with them are refused: `ann` ({})", at(86_400)),
            format!("these tokens expire within 7 days: `bob` for \"nightly backups\" ({bobs})"),
        ]
    );
    for name in ["ann", "bob"] {
        assert_eq!(place.call(&operator, "DELETE", &format!("/v1/tokens/{name}"), None).await.status, 200);
    }
    place.pass(DAY * 88);
    assert_eq!(found().await, [""; 0]);
    place.pass(DAY);
    let carols = at(100 * 86_400);
    let unused = format!("these tokens were not used for 90 days: `carol` ({carols}), `dave`");
    assert_eq!(found().await, [unused], "the operator's is used");
}

/// A row of a table that an older version made is one without terms, of which no use was kept.
fn without_terms(table: &Path) {
    const TOKEN_TERMS: TableDefinition<'_, &str, (&[u8], Option<i128>)> = TableDefinition::new("token_terms");
    let database = Database::open(table).expect("opens");
    let write = database.begin_write().expect("begins");
    assert!(write.delete_table(TOKEN_TERMS).expect("deleted"), "it is there");
    write.commit().expect("committed");
}

#[tokio::test]
async fn token_of_an_older_version_is_valid_without_an_end_and_its_use_is_kept_from_now_on() {
    let place = Place::new();
    let token = place.token("ann").await;
    let (_folder, table) = place.stop();
    without_terms(&table);
    let store = Arc::new(RedbStore::open(&table).expect("opens"));
    let book = TokenBook::of(&store, given::dice);
    let old = Token { person: person("ann"), made_at: at(0), terms: None, used_at: None };
    assert_eq!(book.list().await.expect("listed"), std::slice::from_ref(&old));
    assert_eq!(old.unused_since(), None, "nobody looked");
    let later = at(1_000_000_000);
    let proven = book.authenticate(&token, later).await.expect("answers").expect("it has no end");
    assert_eq!(proven.id, person("ann"));
    let used = book.list().await.expect("listed").remove(0);
    assert_eq!((used.used_at, used.expires_at()), (Some(later), None));
    assert_eq!(book.authenticate("pct_guessed", later).await.expect("answers"), Err(BadToken::Unknown));
}

/// The table in `tests/fixtures`, whose tokens are known by their digests alone.
#[tokio::test]
async fn tokens_of_the_table_of_an_older_version_are_listed_and_replaced() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/c2844c8/portcullis.redb");
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("portcullis.redb");
    fs::copy(fixture, &table).expect("copied");
    let store = Arc::new(RedbStore::open(&table).expect("opens"));
    let book = TokenBook::of(&store, given::dice);
    let before = book.list().await.expect("listed");
    assert!(
        1 < before.len() && before.iter().all(|it| it.terms.is_none() && it.used_at.is_none()),
        "{before:?}"
    );
    let terms = TokenTerms { purpose: None, expires_at: Some(at(600)) };
    let name = &before[0].person;
    book.issue(name, &terms, (&person("operator")).into(), at(0)).await.expect("issued");
    let after = book.list().await.expect("listed");
    assert_eq!(after.len(), before.len());
    assert_eq!(after[0], Token { person: name.clone(), made_at: at(0), terms: Some(terms), used_at: None });
}
