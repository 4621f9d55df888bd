//! Tokens of issuers: attacked in every known way, and the names that they may give.

use jiff::SignedDuration;
use portcullis_app::{
    Absent, BadToken, GroupsKnown, Issuer, Principal, PrincipalKind,
    ports::{Authentication, Store as _},
};
use portcullis_domain::Chain;
use portcullis_identity::{Authenticators, TOKEN_MAX};
use portcullis_tests::{
    given::{at, person},
    idp::{AUDIENCE, Document, Idp, Key, believed, signed},
    place::Place,
};
use ring::hmac;
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_default,
};

/// A provider with a key of each kind, and the proof by its tokens. The book of the proof fails where it is asked.
struct Proof {
    idp: Idp,
    ec: Key,
    rsa: Key,
    tokens: Authenticators<Absent>,
}

impl Proof {
    async fn new() -> Self {
        Self::with("", "prefix = 'corp:'").await
    }

    /// With more lines of settings for the issuer, and for its people.
    async fn with(issuer: &str, people: &str) -> Self {
        let (ec, rsa) = (Key::ec("e"), Key::rsa("r", "RS256"));
        let idp = Idp::with(&[&ec, &rsa]).await;
        let tokens = Authenticators { book: Absent, issuers: believed(&idp.settings(issuer, people)) };
        Self { idp, ec, rsa, tokens }
    }

    /// The claims of a sound token, with some in place of others; `null` leaves one out.
    fn claims(&self, changes: &Value) -> Value {
        let mut claims = self.idp.claims("ann@corp.example", at(0).as_second());
        let all = claims.as_object_mut().expect("claims");
        for (name, value) in changes.as_object().expect("claims") {
            if value.is_null() {
                all.remove(name);
            } else {
                all.insert(name.clone(), value.clone());
            }
        }
        claims
    }

    async fn of(&self, token: &str) -> Result<Principal, BadToken> {
        self.at(token, 0).await
    }

    async fn at(&self, token: &str, second: i64) -> Result<Principal, BadToken> {
        let answer = self.tokens.authenticate(token, at(second)).await;
        answer.unwrap_or_else(|error| panic!("{}", error.full()))
    }

    /// The principal of a sound token with these claims.
    async fn with_claims(&self, changes: Value) -> Result<Principal, BadToken> {
        self.of(&self.ec.token(&self.claims(&changes))).await
    }
}

#[tokio::test]
async fn token_is_refused_whatever_is_done_to_its_algorithm() {
    let it = Proof::new().await;
    let claims = it.claims(&json!({}));
    let secret = |key: &Key| hmac::Key::new(hmac::HMAC_SHA256, &key.public_bytes());
    let by_secret = |key: &Key, header: Value| {
        let secret = secret(key);
        signed(&header, &claims, move |message| hmac::sign(&secret, message).as_ref().to_vec())
    };
    let head = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid });
    let unsigned = |alg: &str| signed(&head(alg, "e"), &claims, |_| vec![]);
    let attacks = [
        ("HS256 with the public key as the secret", by_secret(&it.rsa, head("HS256", "r")), "algorithm"),
        ("the same with a key of a curve", by_secret(&it.ec, head("HS256", "e")), "algorithm"),
        ("a secret's signature that calls itself RS256", by_secret(&it.rsa, head("RS256", "r")), "signature"),
        ("none", unsigned("none"), "algorithm"),
        ("None", unsigned("None"), "algorithm"),
        ("no signature", unsigned("ES256"), "signature"),
        ("an algorithm that is not accepted", it.rsa.token_of(&head("RS512", "r"), &claims), "algorithm"),
        ("Ed25519 by its name of RFC 9864", it.ec.token_of(&head("Ed25519", "e"), &claims), "algorithm"),
        ("the algorithm of another kind of key", it.rsa.token_of(&head("RS256", "e"), &claims), "key"),
        ("another padding than the signature's", it.rsa.token_of(&head("PS256", "r"), &claims), "signature"),
        (
            "a key in the header",
            it.ec.token_of(&json!({ "alg": "ES256", "jwk": it.ec.public() }), &claims),
            "",
        ),
        (
            "a header that must be understood",
            it.ec.token_of(&json!({ "alg": "ES256", "kid": "e", "crit": ["b64"], "b64": false }), &claims),
            "critical",
        ),
        ("no algorithm", it.ec.token_of(&json!({ "kid": "e" }), &claims), "malformed"),
        ("a number for an algorithm", it.ec.token_of(&json!({ "alg": 1, "kid": "e" }), &claims), "malformed"),
    ];
    for (attack, token, word) in &attacks {
        match it.of(token).await {
            // The key of the header is not looked at: this one is the issuer's, and the only one that fits.
            Ok(_) => assert_eq!(*word, "", "{attack}"),
            Err(why) => assert_eq!(why.word(), *word, "{attack}: {why}"),
        }
    }
    let forged = Key::ec("e");
    let by_own_key = forged.token_of(&json!({ "alg": "ES256", "kid": "e", "jwk": forged.public() }), &claims);
    assert_eq!(it.of(&by_own_key).await, Err(BadToken::Signature), "a key in the header is nobody's");
}

#[tokio::test]
async fn token_with_a_claim_that_is_not_right_is_refused_by_the_name_of_the_fault() {
    let it = Proof::new().await;
    let now = at(0).as_second();
    for (changes, word) in [
        (json!({ "aud": "another" }), "audience"),
        (json!({ "aud": ["another", "third"] }), "audience"),
        (json!({ "aud": [] }), "audience"),
        (json!({ "aud": null }), "missing-claim"),
        (json!({ "aud": { "portcullis": 1 } }), "missing-claim"),
        (json!({ "iss": "https://idp.example" }), "issuer"),
        (json!({ "iss": format!("{}/", it.idp.url) }), "issuer"),
        (json!({ "iss": null }), "missing-claim"),
        (json!({ "iss": [it.idp.url] }), "malformed"),
        (json!({ "exp": null }), "missing-claim"),
        (json!({ "exp": "soon" }), "missing-claim"),
        (json!({ "exp": now - 30 }), "expired"),
        (json!({ "exp": 0 }), "expired"),
        (json!({ "exp": -1 }), "missing-claim"),
        (json!({ "nbf": now + 31 }), "early"),
        (json!({ "iat": now + 31 }), "early"),
        (json!({ "iat": "yesterday" }), "claim"),
        (json!({ "sub": null }), "missing-claim"),
        (json!({ "sub": 7 }), "claim"),
        (json!({ "email": null }), "missing-claim"),
        (json!({ "email": ["ann"] }), "claim"),
        (json!({ "email": "" }), "name"),
        (json!({ "email": " ann" }), "name"),
        (json!({ "email": "ann " }), "name"),
        (json!({ "email": "an\u{0}n" }), "name"),
        (json!({ "email": "a".repeat(200) }), "name"),
        (json!({ "email_verified": null }), "unverified"),
        (json!({ "email_verified": false }), "unverified"),
        (json!({ "cnf": { "jkt": "x" } }), "bound"),
    ] {
        let token = it.ec.token(&it.claims(&changes));
        let why = it.of(&token).await.expect_err("refused");
        assert_eq!(why.word(), word, "{changes}: {why}");
        assert!(!format!("{why} {why:?}").contains(&token[..20]), "{why}");
    }
    for changes in [
        json!({}),
        json!({ "aud": ["another", AUDIENCE] }),
        json!({ "exp": now - 29, "iat": now + 30, "nbf": now + 30 }),
        json!({ "iat": null }),
        json!({ "exp": 1e10, "email_verified": "true" }),
    ] {
        assert!(it.with_claims(changes.clone()).await.is_ok(), "{changes}");
    }
}

#[tokio::test]
async fn token_that_is_meant_for_something_else_or_too_long_or_no_token_is_refused() {
    let it = Proof::new().await;
    let claims = it.claims(&json!({}));
    let typed = |typ: &str| it.ec.token_of(&json!({ "alg": "ES256", "kid": "e", "typ": typ }), &claims);
    for typ in ["logout+jwt", "secevent+jwt", "application/dpop+jwt", "jose"] {
        assert_eq!(it.of(&typed(typ)).await, Err(BadToken::Purpose), "{typ}");
    }
    for typ in ["JWT", "jwt", "at+jwt", "application/at+JWT"] {
        assert!(it.of(&typed(typ)).await.is_ok(), "{typ}");
    }
    let long = it.ec.token(&it.claims(&json!({ "x": "a".repeat(TOKEN_MAX) })));
    assert_eq!(it.of(&long).await, Err(BadToken::TooLong(TOKEN_MAX)));
    let (mine, other) =
        (it.ec.token(&claims), it.ec.token(&it.claims(&json!({ "email": "bob@corp.example" }))));
    let part = |token: &str, n: usize| token.split('.').nth(n).expect("three parts").to_owned();
    let mixed = format!("{}.{}.{}", part(&mine, 0), part(&other, 1), part(&mine, 2));
    assert_eq!(
        it.of(&mixed).await,
        Err(BadToken::Signature),
        "the claims of one with the signature of another"
    );
    for text in ["e.e.e", "eyJ9.eyJ9.e", "eyJhbGciOiJFUzI1NiJ9.W10.e"] {
        assert_eq!(it.of(text).await, Err(BadToken::Malformed), "{text}");
    }
}

#[tokio::test]
async fn a_name_has_one_authority() {
    let prefixed = Proof::new().await;
    let ann = prefixed.with_claims(json!({})).await.expect("proven");
    assert_eq!(ann.id.as_str(), "corp:ann@corp.example");
    assert_eq!((ann.kind, &ann.issuer), (PrincipalKind::Person, &Issuer::Oidc(prefixed.idp.url.clone())));
    assert_eq!(ann.groups_known, GroupsKnown::Nobody);
    assert_eq!(ann.claims["sub"], "subject-of-ann@corp.example");
    // In another letter case, or with a letter that looks alike, the same person.
    let again = prefixed.with_claims(json!({ "email": "\u{410}NN@corp.example" })).await.expect("proven");
    assert_eq!(again.id, ann.id);
    for taken in ["operator", "portcullis", "arn:aws:iam::1:user/ann", "ci:deploy"] {
        let named = prefixed.with_claims(json!({ "email": taken })).await.expect("proven").id;
        assert_eq!(named.namespace(), Some("corp"), "{taken}");
        assert_ne!(named, person(taken));
    }
    let shared = Proof::with("", "names = 'shared'").await;
    assert_eq!(shared.with_claims(json!({})).await.expect("proven").id.as_str(), "ann@corp.example");
    for taken in [
        "operator",
        "Operator",
        "\u{43e}perator",
        "portcullis",
        "PORTCULLIS",
        "arn:aws:iam::1:user/ann",
        "corp:ann",
        // Letters that look like a colon.
        "corp\u{2d0}ann",
        "*",
    ] {
        let why = shared.with_claims(json!({ "email": taken })).await.expect_err(taken);
        assert_eq!(why.word(), "name", "{taken}");
    }
}

#[tokio::test]
async fn workload_is_known_by_its_issuer_its_audience_and_its_subject_and_no_program_is_a_person() {
    let rules = "claims = ['repository', 'run']\n[[issuer.workload]]\nname = 'ci:web'\nsubject = \
        'repo:corp/web:ref:refs/heads/*'\naudience = 'portcullis'";
    let it = Proof::with(rules, "prefix = 'corp:'").await;
    let main = json!({ "sub": "repo:corp/web:ref:refs/heads/main", "repository": "corp/web", "run": 7, "email": null });
    let web = it.with_claims(main.clone()).await.expect("proven");
    assert_eq!((web.kind, web.id.as_str()), (PrincipalKind::Workload, "ci:web"));
    assert_eq!((web.claims["repository"].as_str(), web.claims["run"].as_str()), ("corp/web", "7"));
    let other = json!({ "sub": "repo:corp/web:pull_request", "email": null });
    assert_eq!(it.with_claims(other).await.expect_err("no such subject").word(), "missing-claim");
    for program in [
        json!({ "sub": "robot", "client_id": "robot" }),
        json!({ "sub": "robot", "azp": "robot" }),
        json!({ "sub": "robot", "cid": "robot" }),
        json!({ "sub": "robot", "appid": "robot" }),
        json!({ "sub": "robot", "idtyp": "app" }),
        json!({ "sub": "robot@clients", "gty": "client-credentials" }),
        json!({ "preferred_username": "service-account-robot" }),
    ] {
        assert_eq!(it.with_claims(program.clone()).await, Err(BadToken::Workload), "{program}");
    }
    assert!(it.with_claims(json!({ "azp": "the client of ann" })).await.is_ok());
    let idp = &it.idp.url;
    let alone =
        format!("[[issuer]]\nurl = '{idp}'\naudiences = ['{AUDIENCE}']\nalgorithms = ['ES256']\n{rules}");
    let alone = Authenticators { book: Absent, issuers: believed(&alone) };
    let of = async |changes: Value| {
        alone.authenticate(&it.ec.token(&it.claims(&changes)), at(0)).await.expect("asked")
    };
    assert!(of(main).await.is_ok());
    assert_eq!(of(json!({})).await, Err(BadToken::Subject), "an issuer without people names none");
}

#[tokio::test]
async fn groups_are_read_in_the_form_that_is_said_and_missing_ones_are_unknown() {
    let groups = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    for (form, claim) in
        [("list", json!(["ops", "dba"])), ("commas", json!("ops,dba")), ("spaces", json!("ops dba"))]
    {
        let it =
            Proof::with("", &format!("prefix = 'corp:'\ngroups = 'groups'\ngroups-form = '{form}'")).await;
        let ann = it.with_claims(json!({ "groups": claim })).await.expect("proven");
        assert_eq!(
            (ann.groups, ann.groups_known),
            (groups(&["corp:dba", "corp:ops"]), GroupsKnown::All),
            "{form}"
        );
        let ann = it.with_claims(json!({})).await.expect("proven");
        assert_eq!((ann.groups, ann.groups_known), (groups(&[]), GroupsKnown::Missing), "{form}");
        let why = it.with_claims(json!({ "groups": { "ops": true } })).await.expect_err("no list");
        assert_eq!(why, BadToken::Claim("groups".to_owned()), "{form}");
    }
    let it = Proof::with("", "names = 'shared'\ngroups = 'groups'").await;
    assert_eq!(
        it.with_claims(json!({ "groups": ["ops", 7] })).await,
        Err(BadToken::Claim("groups".to_owned()))
    );
    let none = it.with_claims(json!({ "groups": [] })).await.expect("proven");
    assert_eq!((none.groups, none.groups_known), (groups(&[]), GroupsKnown::All), "that is none, and known");
    let shared = it.with_claims(json!({ "groups": ["ops", "team:a"] })).await.expect("proven");
    assert_eq!(shared.groups, groups(&["ops", "team:a"]));
    for overage in [
        json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": "https://graph" } } }),
        json!({ "hasgroups": true }),
        json!({ "hasgroups": "true" }),
    ] {
        let ann = it.with_claims(overage.clone()).await.expect("proven");
        assert_eq!((ann.groups, ann.groups_known), (groups(&[]), GroupsKnown::Overage), "{overage}");
    }
}

#[tokio::test]
async fn groups_of_an_issuer_that_shares_names_are_never_those_of_another() {
    let key = Key::ec("e");
    let (one, other) = (Idp::with(&[&key]).await, Idp::with(&[&key]).await);
    let settings = [
        one.settings("", "names = 'shared'\ngroups = 'groups'"),
        other.settings("", "prefix = 'corp:'\ngroups = 'groups'"),
    ];
    let proof = Authenticators { book: Absent, issuers: believed(&settings.concat()) };
    let of = async |idp: &Idp, group: &str| {
        let mut claims = idp.claims("ann", at(0).as_second());
        claims["groups"] = json!([group]);
        let proven = proof.authenticate(&key.token(&claims), at(0)).await.expect("asked");
        proven.expect("proven").groups.into_iter().next()
    };
    assert_eq!(of(&other, "ops").await.as_deref(), Some("corp:ops"));
    assert_eq!(of(&one, "corp:ops").await, None);
    assert_eq!(of(&one, "ops").await.as_deref(), Some("ops"));
}

#[tokio::test]
async fn api_takes_a_token_of_an_issuer_and_tells_why_it_does_not_take_another() {
    let key = Key::ec("e");
    let idp = Idp::with(&[&key]).await;
    let place = Place::believing(&idp.settings("claims = ['acr']", "prefix = 'corp:'\ngroups = 'groups'"));
    let noted = Noted::default();
    let _guard = set_default(noted.clone());
    let mut claims = idp.claims("ann@corp.example", place.now().as_second());
    claims["groups"] = json!(["ops"]);
    claims["acr"] = json!("2");
    let token = key.token(&claims);
    let mut me = place.call(&token, "GET", "/v1/whoami", None).await.body;
    let roles = me.as_object_mut().and_then(|it| it.remove("roles"));
    assert!(roles.is_some_and(|it| it.as_array().is_some_and(|it| it.len() == 5)), "as everyone");
    assert_eq!(
        me,
        json!({
            "person": "corp:ann@corp.example", "address": "198.51.100.1", "kind": "person", "issuer": idp.url,
            "groups": ["corp:ops"], "groups_known": "all",
            "claims": { "acr": "2", "sub": "subject-of-ann@corp.example" },
        })
    );
    let of_book = place.call(&place.token("bob").await, "GET", "/v1/whoami", None).await.body;
    assert_eq!((&of_book["issuer"], &of_book["groups_known"]), (&json!("tokens"), &json!("not_told")));
    let id = place.guard("web-1", &portcullis_tests::given::ssh()).await;
    let ask = json!({ "asks": [{ "target": id, "port": 22, "for": "1h" }] });
    let asked = place.call(&token, "POST", "/v1/requests", Some(ask.clone())).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    place.pass(SignedDuration::from_mins(6));
    let refused = place.call(&token, "POST", "/v1/requests", Some(ask.clone())).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.body["detail"], "the token expired: have a new one issued");
    assert_eq!(refused.body["reasons"][0]["code"], "expired");
    // A token of a person is told from one that stands where none belongs.
    for (path, body) in
        [(format!("/v1/targets/{token}"), None), ("/v1/requests".to_owned(), Some(json!({ "x": token })))]
    {
        let operator = place.token("operator").await;
        let method = if body.is_some() { "POST" } else { "GET" };
        let refused = place.call(&operator, method, &path, body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(!refused.body.to_string().contains(&token[..30]), "{refused:?}");
    }
    let recorded = place.store().entries(&Chain::rest(), 0, 1000).await.expect("read");
    let recorded = format!("{recorded:?}{:?}", place.entries(&id).await);
    let logged = noted.0.lock().expect("alive").join("\n");
    assert!(recorded.contains("corp:ann@corp.example") && logged.contains("expired"), "{logged}");
    for part in token.split('.') {
        assert!(!recorded.contains(part) && !logged.contains(part), "{logged}");
    }
}

#[tokio::test]
async fn doctor_says_of_each_issuer_whether_its_keys_can_be_read_and_how_its_clock_runs() {
    let key = Key::ec("e");
    let (well, ill) = (Idp::with(&[&key]).await, Idp::with(&[&key]).await);
    ill.say_keys(Document::Status(503));
    let place =
        Place::believing(&[well.settings("", "prefix = 'a:'"), ill.settings("", "prefix = 'b:'")].concat());
    let operator = place.token("operator").await;
    let doctor = place.call(&operator, "GET", "/v1/doctor", None).await.body;
    let findings = doctor["findings"].as_array().expect("findings");
    let found: Vec<&Value> = findings.iter().filter(|it| it["check"] == "issuers").collect();
    assert_eq!(found.len(), 2, "{doctor}");
    let said = |n: usize| found[n]["found"].as_str().expect("text");
    // The clock of these tests stands in another year.
    assert!(said(0).contains(&format!("the clock of `{}` is ", well.url)), "{}", said(0));
    let wanted = format!(
        "no token of `{0}` is accepted: the keys of `{0}` cannot be read: `{0}/keys` answered 503",
        ill.url
    );
    assert!(said(1).starts_with(&wanted), "{}", said(1));
    assert_eq!(found[1]["verdict"], "failed");
}

/// Everything that is logged.
#[derive(Debug, Default, Clone)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Visit for Noted {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().expect("alive").push(format!("{field}={value:?}"));
    }
}

impl Subscriber for Noted {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
