//! What every proof of who calls does, whatever vouches for the caller.

use crate::given::{at, person};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    BadToken, Error, Principal,
    ports::{Authentication, Tokens},
};
use portcullis_domain::TokenTerms;
use std::collections::BTreeSet;

/// A proof of who calls, with a way to get a token that it takes.
pub trait Proof {
    /// The proof.
    fn proof(&self) -> &impl Authentication;
    /// A token of a person that is good at second 0.
    fn token(&self, name: &str) -> impl Future<Output = String>;
    /// The name under which this person is known.
    fn known_as(&self, name: &str) -> String;
    /// A token of a person that is good at second 0, and the time from which on it has expired.
    fn expiring(&self, name: &str) -> impl Future<Output = (String, Timestamp)>;
    /// Makes this token worthless, and gives the time from which on it is.
    fn end(&self, name: &str, token: &str) -> impl Future<Output = Timestamp>;
}

/// Each token is its own person's.
pub async fn a_token_proves_one_principal(it: &impl Proof) {
    let (anns, bobs) = (it.token("ann").await, it.token("bob").await);
    for (token, name) in [(&anns, "ann"), (&bobs, "bob"), (&anns, "ann")] {
        let principal = proven(it, token, at(0)).await.expect("proven");
        assert_eq!(principal.id.as_str(), it.known_as(name));
    }
    let issuers: BTreeSet<_> = [
        proven(it, &anns, at(0)).await.expect("proven").issuer,
        proven(it, &bobs, at(0)).await.expect("proven").issuer,
    ]
    .into();
    assert_eq!(issuers.len(), 1, "one authority vouches for both");
}

/// No text that is merely like a token proves anything, and no answer repeats it.
pub async fn a_changed_token_proves_nobody(it: &impl Proof) {
    let token = it.token("ann").await;
    let half = token.len() / 2;
    let flipped: String = token
        .char_indices()
        .map(|(at, c)| if at == half { if c == 'A' { 'B' } else { 'A' } } else { c })
        .collect();
    let texts = [
        String::new(),
        token[..token.len() - 1].to_owned(),
        token[1..].to_owned(),
        format!("{token}A"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token} {token}"),
        token.to_uppercase(),
        flipped,
        "ann".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "eyJ.eyJ.".to_owned(),
        "x".repeat(100_000),
        format!("{token}{}", "A".repeat(100_000)),
    ];
    for text in &texts {
        let why = proven(it, text, at(0)).await.expect_err("proves nobody");
        let said = format!("{why} {why:?} {}", why.word());
        assert!(text.len() < 12 || !said.contains(&text[..12]), "{said}");
    }
    assert!(proven(it, &token, at(0)).await.is_ok());
}

/// A token that ended proves nobody any more, and another one of the same person may.
pub async fn a_token_that_ended_proves_nobody(it: &impl Proof) {
    let (anns, bobs) = (it.token("ann").await, it.token("bob").await);
    let from = it.end("ann", &anns).await;
    proven(it, &anns, from).await.expect_err("it ended");
    assert!(proven(it, &bobs, at(0)).await.is_ok());
}

/// A token that expired proves nobody; by a clock that was set back it does for as long as that clock is behind.
pub async fn a_token_that_expired_proves_nobody_but_by_a_clock_that_is_behind(it: &impl Proof) {
    let (token, end) = it.expiring("ann").await;
    let behind = SignedDuration::from_secs(60);
    for since in [SignedDuration::ZERO, behind - SignedDuration::from_secs(1), behind, behind * 2] {
        let time = end + since;
        proven(it, &token, time).await.expect_err("it expired");
        assert_eq!(proven(it, &token, time - behind).await.is_ok(), since < behind, "{since}");
    }
}

/// A token book as a proof.
#[derive(Debug)]
pub struct ByBook<P>(pub P);

impl<P: Authentication + Tokens> ByBook<P> {
    async fn made(&self, name: &str, terms: &TokenTerms) -> String {
        self.0.issue(&person(name), terms, (&person("operator")).into(), at(0)).await.expect("issued")
    }
}

impl<P: Authentication + Tokens> Proof for ByBook<P> {
    fn proof(&self) -> &impl Authentication {
        &self.0
    }

    async fn token(&self, name: &str) -> String {
        self.made(name, &TokenTerms::default()).await
    }

    fn known_as(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn expiring(&self, name: &str) -> (String, Timestamp) {
        let end = at(600);
        (self.made(name, &TokenTerms { purpose: None, expires_at: Some(end) }).await, end)
    }

    async fn end(&self, name: &str, _: &str) -> Timestamp {
        self.0.revoke(&person(name), false, (&person("operator")).into(), at(1)).await.expect("revoked");
        at(1)
    }
}

async fn proven(it: &impl Proof, token: &str, now: Timestamp) -> Result<Principal, BadToken> {
    let answer: Result<_, Error> = it.proof().authenticate(token, now).await;
    answer.unwrap_or_else(|error| panic!("{}", error.full()))
}
