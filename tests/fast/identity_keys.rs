//! The keys of issuers: read, rotated, kept through an outage, and in nobody's way where an issuer does not answer.

use futures_util::future::join_all;
use portcullis_app::{
    BadToken, Error, Principal,
    ports::{Authentication, Tokens as _},
};
use portcullis_identity::Authenticators;
use portcullis_local::{RedbStore, TokenBook};
use portcullis_tests::{
    given::{self, at},
    idp::{Document, Idp, Key, believed},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

struct Proof {
    idp: Idp,
    tokens: Arc<Authenticators<TokenBook>>,
    _folder: tempfile::TempDir,
}

impl Proof {
    async fn of(keys: &[&Key]) -> Self {
        let idp = Idp::with(keys).await;
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(RedbStore::open(&folder.path().join("table.redb")).expect("opens"));
        let issuers = believed(&idp.settings("", "prefix = 'corp:'"));
        let tokens = Arc::new(Authenticators { book: TokenBook::of(&store, given::dice), issuers });
        Self { idp, tokens, _folder: folder }
    }

    /// A token that is good for two days from this second on.
    fn token(&self, key: &Key, second: i64) -> String {
        let mut claims = self.idp.claims("ann", at(second).as_second());
        claims["exp"] = json!(at(second + 172_800).as_second());
        key.token(&claims)
    }

    async fn ask(&self, token: &str, second: i64) -> Result<Result<Principal, BadToken>, Error> {
        self.tokens.authenticate(token, at(second)).await
    }

    async fn proves(&self, token: &str, second: i64) -> bool {
        self.ask(token, second).await.expect("answers").is_ok()
    }

    /// Why it is not known whether a token is valid.
    async fn unknown(&self, token: &str, second: i64) -> String {
        let error = self.ask(token, second).await.expect_err("unknown");
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let said = error.full();
        assert!(!said.contains(&token[..20]), "{said}");
        said
    }
}

#[tokio::test]
async fn keys_are_read_once_and_again_for_an_unknown_key_but_not_for_each_token_with_one() {
    let (old, new, strange) = (Key::ec("old"), Key::ec("new"), Key::ec("strange"));
    let it = Proof::of(&[&old]).await;
    let (olds, news) = (it.token(&old, 0), it.token(&new, 0));
    for second in 0..9 {
        assert!(it.proves(&olds, second).await);
    }
    assert_eq!(it.idp.asked(), 1);
    it.idp.publish(&[&new, &old]);
    assert!(!it.proves(&news, 9).await, "it was asked a moment ago");
    assert!(it.proves(&news, 10).await, "rotated");
    assert!(it.proves(&olds, 10).await, "the old key is still published");
    assert_eq!(it.idp.asked(), 2);
    // Tokens with keys that nobody has, of a stranger who sends many.
    for second in 10..110 {
        let token = it.token(&strange, 0);
        assert_eq!(it.ask(&token, second).await.expect("answers"), Err(BadToken::Key));
    }
    assert!(it.idp.asked() <= 2 + 10, "{}", it.idp.asked());
    it.idp.publish(&[&new]);
    assert!(it.proves(&olds, 200).await, "the keys are fresh");
    assert!(!it.proves(&olds, 2000).await, "the issuer withdrew the key");
}

#[tokio::test]
async fn token_without_the_id_of_a_key_is_taken_where_one_key_fits_and_guessed_nowhere() {
    let (one, two) = (Key::ec("one"), Key::ec("two"));
    let it = Proof::of(&[&one, &Key::ed("ed")]).await;
    let claims = it.idp.claims("ann", at(0).as_second());
    let nameless = one.token_of(&json!({ "alg": "ES256" }), &claims);
    assert!(it.proves(&nameless, 0).await);
    it.idp.publish(&[&one, &two]);
    assert!(it.proves(&nameless, 100).await, "the keys are fresh");
    let nameless = one.token_of(&json!({ "alg": "ES256" }), &it.idp.claims("ann", at(1000).as_second()));
    assert_eq!(it.ask(&nameless, 1000).await.expect("answers"), Err(BadToken::Key));
}

#[tokio::test]
async fn issuer_whose_documents_are_not_its_own_or_too_long_or_elsewhere_has_no_keys() {
    let key = Key::ec("e");
    let it = Proof::of(&[&key]).await;
    let other = Idp::with(&[&key]).await;
    let token = it.token(&key, 0);
    let keys = json!({ "keys": [key.public()] });
    let with = |name: &str, value: &str| {
        let mut document = it.idp.discovery();
        document[name] = json!(value);
        Document::Json(document)
    };
    let cases = [
        (other.discovery().into(), "is that of another issuer, `http://127.0.0.1"),
        (with("issuer", &format!("{}/", it.idp.url)), "is that of another issuer"),
        (
            Document::Redirect(format!("{}/.well-known/openid-configuration", other.url)),
            "sends callers elsewhere (302",
        ),
        (with("jwks_uri", "http://192.0.2.1/keys"), "no URL that begins with `https://`"),
        (with("jwks_uri", "file:///etc/passwd"), "no URL that begins with `https://`"),
        (Document::Json(json!({ "issuer": it.idp.url })), "it needs `issuer` and `jwks_uri`"),
        (Document::Text("<html>".to_owned()), "it needs `issuer` and `jwks_uri`"),
        (Document::Text(" ".repeat(300_000)), "answered with more than"),
        (Document::Status(404), "answered 404"),
    ];
    let mut second = 0;
    for (document, said) in cases {
        it.idp.say_discovery(document);
        let why = it.unknown(&token, second).await;
        assert!(why.contains(said), "{said}: {why}");
        second += 10;
    }
    it.idp.say_discovery(Document::Json(it.idp.discovery()));
    for (document, said) in [
        (Document::Redirect(format!("{}/keys", other.url)), "sends callers elsewhere (302"),
        (Document::Text("<html>".to_owned()), "are no key set"),
        (Document::Text(format!("{}{keys}", " ".repeat(300_000))), "answered with more than"),
        (Document::Status(500), "answered 500"),
    ] {
        it.idp.say_keys(document);
        let why = it.unknown(&token, second).await;
        assert!(why.contains(said), "{said}: {why}");
        second += 10;
    }
    it.idp.say_keys(Document::Json(keys));
    assert!(it.proves(&token, second).await, "and well again");
}

#[tokio::test]
async fn keys_are_kept_through_an_outage_for_a_day_and_no_longer() {
    let (old, new) = (Key::ec("old"), Key::ec("new"));
    let it = Proof::of(&[&old]).await;
    let token = it.token(&old, 0);
    assert!(it.proves(&token, 0).await);
    it.idp.say_discovery(Document::Status(503));
    for second in [1_000, 10_000, 86_399] {
        assert!(it.proves(&token, second).await, "{second}");
    }
    assert_eq!(it.ask(&it.token(&new, 0), 86_399).await.expect("answers"), Err(BadToken::Key));
    assert!(it.unknown(&token, 86_400).await.contains("answered 503"));
    it.idp.say_discovery(Document::Json(it.idp.discovery()));
    assert!(it.proves(&token, 86_410).await);
}

#[tokio::test]
async fn issuer_that_keeps_its_answer_back_delays_nobody_whose_key_is_known_and_no_token_of_the_book() {
    let (known, other) = (Key::ec("known"), Key::ec("other"));
    let it = Proof::of(&[&known]).await;
    let (by, bob) = (given::person("operator"), given::person("bob"));
    let of_book = it
        .tokens
        .issue(&bob, &portcullis_domain::TokenTerms::default(), (&by).into(), at(0))
        .await
        .expect("issued");
    assert!(it.proves(&it.token(&known, 0), 0).await);
    it.idp.publish(&[&known, &other]);
    it.idp.hold(true);
    let waits: Vec<_> = (0..5)
        .map(|_| {
            let (proof, token) = (Arc::clone(&it.tokens), it.token(&other, 0));
            tokio::spawn(async move { proof.authenticate(&token, at(10)).await })
        })
        .collect();
    while it.idp.asked() < 2 {
        tokio::task::yield_now().await;
    }
    // The first of them is asking now, and nothing answers: these are served all the same.
    assert!(it.proves(&it.token(&known, 0), 10).await && it.proves(&of_book, 10).await);
    assert!(it.proves(&it.token(&known, 0), 5_000).await, "keys that are no longer fresh, too");
    assert!(waits.iter().all(|it| !it.is_finished()));
    it.idp.hold(false);
    for answer in join_all(waits).await {
        assert!(answer.expect("runs").expect("answers").is_ok());
    }
    assert_eq!(it.idp.asked(), 2, "one asked for all");
}

#[tokio::test]
async fn caller_who_leaves_while_keys_are_read_takes_them_from_nobody() {
    let key = Key::ec("e");
    let it = Proof::of(&[&key]).await;
    it.idp.hold(true);
    let (proof, token) = (Arc::clone(&it.tokens), it.token(&key, 0));
    let leaves = tokio::spawn(async move { proof.authenticate(&token, at(0)).await });
    while it.idp.asked() < 1 {
        tokio::task::yield_now().await;
    }
    leaves.abort();
    assert!(leaves.await.expect_err("left").is_cancelled());
    it.idp.hold(false);
    assert!(it.proves(&it.token(&key, 0), 1).await, "the answer came all the same");
    assert_eq!(it.idp.asked(), 1);
}

#[tokio::test]
async fn issuer_that_never_answers_is_given_up_and_asked_again_later() {
    let key = Key::ec("e");
    let it = Proof::of(&[&key]).await;
    it.idp.say_keys(Document::Silence);
    let token = it.token(&key, 0);
    let given_up = tokio::time::timeout(Duration::from_mins(1), it.unknown(&token, 0)).await;
    assert!(given_up.expect("not waited for long").contains("did not answer within 5 s"));
    let at_once = it.unknown(&token, 9).await;
    assert!(at_once.contains("did not answer within 5 s"), "{at_once}");
    assert_eq!(it.idp.asked(), 1);
    it.idp.publish(&[&key]);
    assert!(it.proves(&token, 10).await);
}
