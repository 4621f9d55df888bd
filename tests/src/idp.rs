//! An OpenID Connect provider of these tests, on loopback: it publishes what a test says, and signs whatever it is asked to.

use crate::{given::named, root};
use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use data_encoding::{BASE64_MIME_PERMISSIVE, BASE64URL_NOPAD};
use portcullis_identity::{Issuers, Settings};
use portcullis_outgoing::{Proxies, Roots};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// The audience of these tests.
pub const AUDIENCE: &str = "portcullis";

/// A provider that runs until it is dropped.
#[derive(Debug)]
pub struct Idp {
    /// Its `iss`.
    pub url: String,
    says: Arc<Says>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Says {
    discovery: Mutex<Document>,
    keys: Mutex<Document>,
    /// How often the discovery document was asked for.
    asked: AtomicUsize,
    is_held: watch::Sender<bool>,
}

/// An answer of the provider.
#[derive(Debug, Clone)]
pub enum Document {
    /// A document.
    Json(Value),
    /// Another text, as a page of a proxy.
    Text(String),
    /// A refusal.
    Status(u16),
    /// The place of the document is another one.
    Redirect(String),
    /// Nothing, ever.
    Silence,
}

impl Idp {
    /// One that publishes these keys.
    pub async fn with(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let says = Arc::new(Says {
            discovery: Mutex::new(Document::Json(discovery(&url))),
            keys: Mutex::new(published(keys)),
            asked: AtomicUsize::new(0),
            is_held: watch::Sender::new(false),
        });
        let (one, other) = (Arc::clone(&says), Arc::clone(&says));
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || {
                    one.asked.fetch_add(1, Ordering::Relaxed);
                    answer(Arc::clone(&one), |it| &it.discovery)
                }),
            )
            .route("/keys", get(move || answer(Arc::clone(&other), |it| &it.keys)));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { url, says, server }
    }

    /// Publishes other keys from now on.
    pub fn publish(&self, keys: &[&Key]) {
        self.say_keys(published(keys));
    }

    /// Answers so where its keys are asked for.
    pub fn say_keys(&self, document: Document) {
        *self.says.keys.lock().expect("alive") = document;
    }

    /// Answers so where its discovery document is asked for.
    pub fn say_discovery(&self, document: Document) {
        *self.says.discovery.lock().expect("alive") = document;
    }

    /// Keeps answers back, or lets them go.
    pub fn hold(&self, is_held: bool) {
        self.says.is_held.send_replace(is_held);
    }

    /// How often it was asked for its discovery document.
    pub fn asked(&self) -> usize {
        self.says.asked.load(Ordering::Relaxed)
    }

    /// Its discovery document.
    pub fn discovery(&self) -> Value {
        discovery(&self.url)
    }

    /// The usual settings, with more lines for the issuer and for its people.
    pub fn settings(&self, issuer: &str, people: &str) -> String {
        let url = &self.url;
        format!(
            "[[issuer]]\nurl = '{url}'\naudiences = ['{AUDIENCE}']\nalgorithms = ['RS256', 'PS256', 'ES256', 'EdDSA']\n{issuer}\n\
             [issuer.people]\n{people}\n"
        )
    }

    /// The claims of a person's token that is good for five minutes from this second on.
    pub fn claims(&self, name: &str, second: i64) -> Value {
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": format!("subject-of-{name}"), "email": name, "email_verified": true,
            "iat": second, "exp": second + 300,
        })
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The issuers of these settings.
pub fn believed(settings: &str) -> Issuers {
    let operator = named("operator");
    let settings = Settings::read(settings, &operator).unwrap_or_else(|why| panic!("{why}"));
    Issuers::of(settings, operator, &Roots::default(), Proxies::none).expect("issuers")
}

fn discovery(url: &str) -> Value {
    json!({ "issuer": url, "jwks_uri": format!("{url}/keys") })
}

fn published(keys: &[&Key]) -> Document {
    Document::Json(json!({ "keys": keys.iter().map(|it| it.public()).collect::<Vec<_>>() }))
}

async fn answer(says: Arc<Says>, of: impl Fn(&Says) -> &Mutex<Document>) -> Response {
    let _ = says.is_held.subscribe().wait_for(|it| !*it).await;
    let document = of(&says).lock().expect("alive").clone();
    match document {
        // The content type that one provider gives its key set.
        Document::Json(value) => {
            ([(header::CONTENT_TYPE, "application/jwk-set+json")], value.to_string()).into_response()
        }
        Document::Text(text) => text.into_response(),
        Document::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Document::Redirect(place) => {
            (StatusCode::FOUND, [(header::LOCATION, place)], Body::empty()).into_response()
        }
        Document::Silence => std::future::pending().await,
    }
}

/// A key of the provider.
#[derive(Debug)]
pub struct Key {
    /// Its id.
    pub kid: String,
    /// The algorithm of its signatures, as headers name it.
    pub alg: &'static str,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    /// A new one on the curve P-256.
    pub fn ec(kid: &str) -> Self {
        let (by, dice) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(by, &dice).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(by, made.as_ref(), &dice).expect("a key");
        Self { kid: kid.to_owned(), alg: "ES256", pair: Pair::Ec(pair) }
    }

    /// A new one on the curve Ed25519.
    pub fn ed(kid: &str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("a key");
        Self { kid: kid.to_owned(), alg: "EdDSA", pair: Pair::Ed(pair) }
    }

    /// The one of RSA that these tests have, for `RS256` or `PS256`.
    pub fn rsa(kid: &str, alg: &'static str) -> Self {
        let text = fs::read(root().join("tests/fixtures/identity/rsa_for_tests.base64")).expect("a fixture");
        let der = BASE64_MIME_PERMISSIVE.decode(&text).expect("base64");
        let pair = RsaKeyPair::from_pkcs8(&der).expect("a key");
        Self { kid: kid.to_owned(), alg, pair: Pair::Rsa(Box::new(pair)) }
    }

    /// The key as it is published.
    pub fn public(&self) -> Value {
        let said = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": said(x), "y": said(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": said(pair.public_key().as_ref()) })
            }
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({ "kty": "RSA", "n": said(&n), "e": said(&e) })
            }
        };
        key["kid"] = json!(self.kid);
        key["use"] = json!("sig");
        key
    }

    /// The public key in DER, which an attacker may take for a secret.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public().as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_of(&json!({ "alg": self.alg, "kid": self.kid, "typ": "JWT" }), claims)
    }

    /// The same, with another header.
    pub fn token_of(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, |message| self.sign(message))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let dice = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&dice, message).expect("signs").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = if self.alg == "PS256" {
                    pair.sign(&RSA_PSS_SHA256, &dice, message, &mut signature)
                } else {
                    pair.sign(&RSA_PKCS1_SHA256, &dice, message, &mut signature)
                };
                signed.expect("signs");
                signature
            }
        }
    }
}

/// A token with this header and these claims, signed in any way.
pub fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let said = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", said(header), said(claims));
    let signature = BASE64URL_NOPAD.encode(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

impl From<Value> for Document {
    fn from(document: Value) -> Self {
        Self::Json(document)
    }
}
