//! What every book of tokens does, wherever it is kept. Every function begins with an empty table.

use crate::given::{at, person};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    BadToken, Error, Issuer, PrincipalKind,
    ports::{Authentication, Store, Tokens},
};
use portcullis_domain::{Chain, Fact, Person, Speaker, Token, TokenTerms, Via};
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
    assert_eq!(listed(tokens).await, [(person("ann"), at(1)), (person("bob"), at(2))]);
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
    assert_eq!(listed(tokens).await, [(person("ann"), at(4)), (person("bob"), at(9))]);
    assert_eq!(none(whose(tokens, &bobs).await), Some(person("bob")), "another one's stays");
}

/// What is taken away is nobody's at once, and only that; who has none has none to lose.
pub async fn what_is_revoked_is_refused(tokens: &impl Book, _: &impl Store) {
    let (operator, ann) = (person("operator"), person("ann"));
    let (anns, bobs) = (issue(tokens, "ann", 1).await, issue(tokens, "bob", 2).await);
    none(tokens.revoke(&ann, false, (&operator).into(), at(3)).await);
    assert_eq!(none(whose(tokens, &anns).await), None);
    assert_eq!(none(whose(tokens, &bobs).await), Some(person("bob")));
    assert_eq!(listed(tokens).await, [(person("bob"), at(2))]);
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
    assert_eq!(spelled(listed(tokens).await), [("Ann".to_owned(), at(2))]);
    none(tokens.revoke(&person("ANN"), false, (&person("operator")).into(), at(3)).await);
    assert_eq!(none(whose(tokens, &second).await), None);
    assert_eq!(spelled(listed(tokens).await), []);
}

/// INVARIANT (nothing-unrecorded): what becomes of a token is in the journal, and what becomes of nothing is not.
pub async fn every_change_is_recorded(tokens: &impl Book, store: &impl Store) {
    let (by, ann) = (person("operator"), person("ann"));
    issue(tokens, "ann", 1).await;
    issue(tokens, "ann", 2).await;
    let said = Speaker { person: &by, via: Some(&Via::Cli) };
    none(tokens.revoke(&ann, true, said, at(3)).await);
    assert!(tokens.revoke(&ann, true, said, at(4)).await.is_err(), "there is none any more");
    let made = || Fact::token_made(&ann, &TokenTerms::default(), (&by).into());
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

/// A token is refused from its end on, with the time of its end, and also by a clock that goes back and forth: it is let in again for as
/// long as that clock is behind. The token of another caller, and the next one of the same, have nothing of that end.
pub async fn a_token_is_refused_from_its_end_on(tokens: &impl Book, _: &impl Store) {
    let terms = TokenTerms { purpose: None, expires_at: Some(at(1_000)) };
    let (anns, bobs) = (issue_with(tokens, "ann", &terms, at(1)).await, issue(tokens, "bob", 2).await);
    let proven = async |bearer: &str, second| none(tokens.authenticate(bearer, at(second)).await);
    for second in [1, 999] {
        assert_eq!(proven(&anns, second).await.expect("valid").id, person("ann"));
    }
    for second in [1_000, 1_001, 1_000_000_000] {
        assert_eq!(proven(&anns, second).await, Err(BadToken::Ended(at(1_000))), "{second}");
        assert_eq!(proven(&bobs, second).await.expect("it has no end").id, person("bob"));
    }
    for behind in [0, 1, 300] {
        assert!(proven(&anns, 999 - behind).await.is_ok(), "the clock is behind");
        assert_eq!(proven(&anns, 1_000).await, Err(BadToken::Ended(at(1_000))), "and right again");
    }
    let next = issue(tokens, "ann", 3).await;
    assert_eq!(proven(&next, 1_000_000_000).await.expect("it has no end").id, person("ann"));
    assert_eq!(proven(&anns, 1_000).await, Err(BadToken::Unknown), "it was replaced");
}

/// Purpose and end are listed and recorded as they were given; the next token has its own.
pub async fn terms_of_a_token_are_listed_and_recorded(tokens: &impl Book, store: &impl Store) {
    let purpose = "nightly backups, \"all\" of them: é".parse().expect("a purpose");
    let terms = TokenTerms { purpose: Some(purpose), expires_at: Some(at(5_000)) };
    issue_with(tokens, "ann", &terms, at(1)).await;
    let token = only(tokens).await;
    assert_eq!((token.terms.as_ref(), token.used_at), (Some(&terms), None));
    assert_eq!((token.expires_at(), token.unused_since()), (Some(at(5_000)), Some(at(1))));
    issue(tokens, "ann", 2).await;
    assert_eq!(only(tokens).await.terms, Some(TokenTerms::default()));
    let recorded = none(store.entries(&Chain::rest(), 0, 100).await);
    let told: Vec<Fact> = recorded.into_iter().map(|it| it.fact).collect();
    let by = person("operator");
    let made = |terms: &TokenTerms| Fact::token_made(&person("ann"), terms, (&by).into());
    assert_eq!(told, [made(&terms), made(&TokenTerms::default())]);
}

/// The last use is kept once an hour, by no call that is refused; the next token of the same person was never used.
pub async fn the_last_use_of_a_token_is_kept_once_an_hour(tokens: &impl Book, _: &impl Store) {
    const HOUR: i64 = 3_600;
    let terms = TokenTerms { purpose: None, expires_at: Some(at(9 * HOUR)) };
    let bearer = issue_with(tokens, "ann", &terms, at(0)).await;
    assert_eq!(only(tokens).await.used_at, None);
    assert_eq!(none(whose(tokens, "pct_guessed").await), None);
    assert_eq!(only(tokens).await.used_at, None, "a guess is no use");
    let first = used_from(tokens, &bearer, 1).await;
    let seconds_later = |second| first + SignedDuration::from_secs(second);
    for second in [0, 1, 100, HOUR - 1] {
        none(tokens.authenticate(&bearer, seconds_later(second)).await).expect("valid");
        assert_eq!(only(tokens).await.used_at, Some(first), "{second}");
    }
    let second = used_from(tokens, &bearer, 2 * HOUR).await;
    assert_eq!(none(tokens.authenticate(&bearer, at(9 * HOUR)).await), Err(BadToken::Ended(at(9 * HOUR))));
    assert_eq!(only(tokens).await.used_at, Some(second), "an expired token is not used");
    assert_eq!(only(tokens).await.terms, Some(terms), "a use changes no term");
    let next = issue(tokens, "ann", 3).await;
    assert_eq!(only(tokens).await.used_at, None);
    let third = used_from(tokens, &next, 3 * HOUR).await;
    assert_eq!(only(tokens).await.used_at, Some(third));
}

/// One that the operator makes at a time that follows from a number.
async fn issue(tokens: &impl Book, name: &str, n: u8) -> String {
    issue_with(tokens, name, &TokenTerms::default(), at(n.into())).await
}

/// One that the operator makes with these terms.
async fn issue_with(tokens: &impl Book, name: &str, terms: &TokenTerms, now: Timestamp) -> String {
    none(tokens.issue(&person(name), terms, (&person("operator")).into(), now).await)
}

/// Who has a token, since when.
async fn listed(tokens: &impl Book) -> Vec<(Person, Timestamp)> {
    none(tokens.list().await).into_iter().map(|it| (it.person, it.made_at)).collect()
}

/// The only token that there is.
async fn only(tokens: &impl Book) -> Token {
    let mut all = none(tokens.list().await);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Uses a token at a second until that is kept, each time a minute later, since no call waits long for it; the time that was kept.
async fn used_from(tokens: &impl Book, bearer: &str, second: i64) -> Timestamp {
    const TRIES_MAX: i64 = 30;
    for tried in 0..TRIES_MAX {
        let now = at(second + 60 * tried);
        none(tokens.authenticate(bearer, now).await).expect("valid");
        if let Some(kept) = only(tokens).await.used_at.filter(|it| (at(second)..=now).contains(it)) {
            return kept;
        }
    }
    panic!("no use was kept in {TRIES_MAX} tries");
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
