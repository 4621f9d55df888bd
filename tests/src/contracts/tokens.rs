//! What every book of tokens does, wherever it is kept. Every function begins with an empty table.

use crate::given::{at, person};
use futures_util::future::join_all;
use jiff::Timestamp;
use portcullis_app::{
    Error, Issuer, PrincipalKind,
    ports::{Authentication, Store, Tokens},
};
use portcullis_domain::{Chain, Fact, Person, Speaker, Via};
use serde_json::json;
use std::fmt::Debug;

/// A token book, and the proof of who calls that comes of it.
pub trait Book: Authentication + Tokens {}

impl<T: Authentication + Tokens> Book for T {}

/// A token says who calls, to the letter, and nobody calls with another.
pub async fn a_token_says_who_calls(tokens: &impl Book, _: &impl Store) {
    assert_eq!(none(whose(tokens, "").await), None, "an empty book knows nobody");
    let (anns, bobs) = (issue(tokens, "ann", 1).await, issue(tokens, "bob", 2).await);
    assert!(anns.starts_with("pct_") && anns != bobs, "who searches for leaked ones finds them");
    assert_eq!(none(whose(tokens, &anns).await), Some(person("ann")));
    assert_eq!(none(whose(tokens, &bobs).await), Some(person("bob")));
    let (short, long, other) = (&anns[..anns.len() - 1], format!("{anns}A"), anns.to_uppercase());
    for bearer in ["", "pct_", "ann", short, &long, &other] {
        assert_eq!(none(whose(tokens, bearer).await), None, "{bearer}");
    }
    assert_eq!(none(tokens.list().await), [(person("ann"), at(1)), (person("bob"), at(2))]);
}

/// Who gets a new one has one, and the one before is nobody's.
pub async fn a_new_token_replaces_the_one_before(tokens: &impl Book, _: &impl Store) {
    let bobs = issue(tokens, "bob", 9).await;
    let mut before = issue(tokens, "ann", 1).await;
    for n in 2..5 {
        let new = issue(tokens, "ann", n).await;
        assert_eq!(none(whose(tokens, &before).await), None, "it was replaced");
        assert_eq!(none(whose(tokens, &new).await), Some(person("ann")));
        before = new;
    }
    assert_eq!(none(tokens.list().await), [(person("ann"), at(4)), (person("bob"), at(9))]);
    assert_eq!(none(whose(tokens, &bobs).await), Some(person("bob")), "another one's stays");
}

/// What is taken away is nobody's at once, and only that; who has none has none to lose.
pub async fn what_is_revoked_is_refused(tokens: &impl Book, _: &impl Store) {
    let (operator, ann) = (person("operator"), person("ann"));
    let (anns, bobs) = (issue(tokens, "ann", 1).await, issue(tokens, "bob", 2).await);
    none(tokens.revoke(&ann, false, (&operator).into(), at(3)).await);
    assert_eq!(none(whose(tokens, &anns).await), None);
    assert_eq!(none(whose(tokens, &bobs).await), Some(person("bob")));
    assert_eq!(none(tokens.list().await), [(person("bob"), at(2))]);
    for who in [&ann, &person("nobody")] {
        let again = tokens.revoke(who, false, (&operator).into(), at(4)).await;
        assert!(matches!(&again, Err(Error::NotFound { name, .. }) if name == who.as_str()), "{again:?}");
    }
    // Whoever had one may have one again.
    let new = issue(tokens, "ann", 5).await;
    assert_eq!(none(whose(tokens, &new).await), Some(ann));
    assert_eq!(none(whose(tokens, &anns).await), None, "the old one stays what it is");
}

/// One token a person, however their name is spelled; the spelling first given is kept.
pub async fn a_second_spelling_is_the_same_person(tokens: &impl Book, _: &impl Store) {
    let spelled = |it: Vec<(Person, Timestamp)>| {
        it.into_iter().map(|(person, made_at)| (person.to_string(), made_at)).collect::<Vec<_>>()
    };
    let first = issue(tokens, "Ann", 1).await;
    let second = issue(tokens, "\u{430}nn", 2).await;
    assert_eq!(none(whose(tokens, &first).await), None, "it was replaced");
    assert_eq!(none(whose(tokens, &second).await).expect("theirs").as_str(), "Ann");
    assert_eq!(spelled(none(tokens.list().await)), [("Ann".to_owned(), at(2))]);
    none(tokens.revoke(&person("ANN"), false, (&person("operator")).into(), at(3)).await);
    assert_eq!(none(whose(tokens, &second).await), None);
    assert_eq!(spelled(none(tokens.list().await)), []);
}

/// INVARIANT (nothing-unrecorded): what becomes of a token is in the journal, and what becomes of nothing is not.
pub async fn every_change_is_recorded(tokens: &impl Book, store: &impl Store) {
    let (by, ann) = (person("operator"), person("ann"));
    issue(tokens, "ann", 1).await;
    issue(tokens, "ann", 2).await;
    let said = Speaker { person: &by, via: Some(&Via::Cli) };
    none(tokens.revoke(&ann, true, said, at(3)).await);
    assert!(tokens.revoke(&ann, true, said, at(4)).await.is_err(), "there is none any more");
    let made = || Fact::TokenMade { person: ann.clone(), by: by.clone(), via: None };
    let revoked =
        Fact::TokenRevoked { person: ann.clone(), by: by.clone(), keeps_access: true, via: Some(Via::Cli) };
    let recorded = none(store.entries(&Chain::rest(), 0, 100).await);
    let told = recorded.iter().map(|it| (it.at, it.fact.clone())).collect::<Vec<_>>();
    assert_eq!(told, [(at(1), made()), (at(2), made()), (at(3), revoked)]);
    assert!(recorded.iter().all(|it| !json!(it).to_string().contains("pct_")), "no token is in there");
}

/// Of many that are made at once for one person one stays, and each is recorded.
pub async fn of_many_at_once_one_stays(tokens: &impl Book, store: &impl Store) {
    const MANY: u8 = 6;
    let made = join_all((1..=MANY).map(|n| issue(tokens, "ann", n))).await;
    let mut stays = 0;
    for bearer in &made {
        stays += usize::from(none(whose(tokens, bearer).await).is_some());
    }
    assert_eq!(stays, 1);
    assert_eq!(none(tokens.list().await).len(), 1);
    let recorded = none(store.entries(&Chain::rest(), 0, 100).await);
    assert_eq!(recorded.len(), usize::from(MANY));
}

/// One that the operator makes at a time that follows from a number.
async fn issue(tokens: &impl Book, name: &str, n: u8) -> String {
    none(tokens.issue(&person(name), (&person("operator")).into(), at(n.into())).await)
}

/// The person whose token it is, by the word of the book itself.
async fn whose(tokens: &impl Book, bearer: &str) -> Result<Option<Person>, Error> {
    let proven = tokens.authenticate(bearer, at(0)).await?;
    Ok(proven.ok().map(|it| {
        assert_eq!((it.kind, &it.issuer), (PrincipalKind::Person, &Issuer::Tokens));
        it.id
    }))
}

/// No error.
fn none<T: Debug>(outcome: Result<T, Error>) -> T {
    outcome.unwrap_or_else(|error| panic!("{}", error.full()))
}
