//! Bearer tokens in the table: shown once, stored as a digest.

use crate::store::{
    DynamoStore, Item, delete,
    items::{
        BODY, COMMIT, Key, LIST, LISTED_AT, MADE_AT, TOKEN, TOKENS, USED_AT, body, corrupt, named, parse, s,
        text,
    },
    put,
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;
use portcullis_app::{
    BadToken, Error, Issuer, Principal, TokenUses, USE_WAIT_MAX,
    ports::{Authentication, Dice, Store, Tokens},
};
use portcullis_domain::{Chain, Fact, Person, Speaker, TOKEN_PREFIX, Token, TokenTerms};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};
use tokio::time::timeout;

/// How often a change of a token may lose to other writers.
const CONFLICTS_MAX: usize = 100;
/// How many tokens are listed.
const TOKENS_MAX: usize = 10_000;

/// Only if the person has the token that was seen, or still none. The builders are different types, made alike.
macro_rules! unchanged {
    ($change:expr, $before:expr) => {
        match $before {
            None => $change.condition_expression("attribute_not_exists(pk)"),
            Some(before) => $change
                .condition_expression("#token = :before")
                .expression_attribute_names("#token", TOKEN)
                .expression_attribute_values(":before", s(before)),
        }
    };
}

/// The token book of a table: one token a person.
pub struct TokenBook {
    store: Arc<DynamoStore>,
    dice: Dice,
    uses: TokenUses,
}

impl TokenBook {
    /// The tokens of a table, made with these dice.
    pub fn of(store: &Arc<DynamoStore>, dice: Dice) -> Self {
        Self { store: Arc::clone(store), dice, uses: TokenUses::default() }
    }

    /// The names under which a person has a token: a table of an older version may have several spellings of one. The list may
    /// be a moment behind, so the item of the name as it is given is read too.
    async fn spellings(&self, person: &Person) -> Result<Vec<Person>, Error> {
        let listed = self.listed().await?.into_iter().map(|it| it.person).filter(|it| it == person);
        let mut spellings = vec![];
        for spelling in listed {
            if self.store.get(&Key::token_of(&spelling)).await?.is_some() {
                spellings.push(spelling);
            }
        }
        let is_listed = spellings.iter().any(|it: &Person| it.as_str() == person.as_str());
        if !is_listed && self.store.get(&Key::token_of(person)).await?.is_some() {
            spellings.push(person.clone());
        }
        Ok(spellings)
    }

    /// Who has a token, and which.
    async fn listed(&self) -> Result<Vec<Listed>, Error> {
        let keys = self.store.listed(TOKENS, TOKENS_MAX).await?;
        let items = self.store.get_all(&keys).await?;
        let of = |(key, item): (Key, Item)| {
            let token = Key::token(text(&item, TOKEN)?);
            let made_at = named(&item, text(&item, MADE_AT)?)?;
            Ok(Listed { person: stored(&item, key.name())?, made_at, token })
        };
        items.into_iter().map(of).collect()
    }

    /// Keeps the use of a token, unless it was replaced or revoked meanwhile, or another process has kept a use.
    async fn keep_use(&self, digest: &[u8; 32], item: &Item, now: Timestamp) -> Result<(), Error> {
        if !self.uses.falls_to(digest, used_at(item)?, now) {
            return Ok(());
        }
        let seen = if item.contains_key(USED_AT) { Some(text(item, USED_AT)?) } else { None };
        let (key, now) = (Key::of(item)?, now.to_string());
        let why = match timeout(USE_WAIT_MAX, self.store.mark(&key, USED_AT, seen, &now)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.full(),
            Err(_) => format!("the table did not answer within {USE_WAIT_MAX:?}"),
        };
        tracing::warn!(error = why, "The last use of a token was not recorded");
        Ok(())
    }

    /// INVARIANT (nothing-unrecorded): a token and its entry are written together.
    async fn replace(
        &self,
        person: &Person,
        new: Option<&New<'_>>,
        fact: Fact,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (key, table) = (Key::token_of(person), self.store.table());
        for _ in 0..CONFLICTS_MAX {
            let before = self.store.get(&key).await?;
            let before = before.as_ref().map(|it| text(it, TOKEN)).transpose()?;
            if before.is_none() && new.is_none() {
                return Err(Error::NotFound { what: "token of", name: person.to_string() });
            }
            // No two tokens are alike: one that stands here was written by a try that was thought to have failed.
            if new.is_some() && before == new.map(|it| it.digest) {
                return Ok(());
            }
            let mut changes = self.store.changes();
            if let Some(before) = before {
                changes.delete(delete(table, &Key::token(before)))?;
            }
            match new {
                Some(New { digest, terms }) => {
                    let commit = changes.witnessed_by(key.clone());
                    let of_person = put(table, &key)
                        .item(TOKEN, s(*digest))
                        .item(MADE_AT, s(now.to_string()))
                        .item(COMMIT, s(commit))
                        .item(LIST, s(TOKENS))
                        .item(LISTED_AT, s(person.as_str()));
                    let of_digest = put(table, &Key::token(digest)).item(TOKEN, s(person.as_str()));
                    changes.put(of_digest.item(BODY, body(terms)?))?;
                    changes.put(unchanged!(of_person, before))?;
                }
                None => changes.delete(unchanged!(delete(table, &key), before))?,
            }
            let (_, rest) = self.store.rest().await?.append(&Chain::rest(), now, [fact.clone()]);
            changes.rest(table, &rest)?;
            match self.store.transact(changes).await {
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(Error::Conflict)
    }
}

/// A token that is made.
struct New<'a> {
    digest: &'a str,
    terms: &'a TokenTerms,
}

/// A person who has a token.
struct Listed {
    person: Person,
    made_at: Timestamp,
    /// Where the item of the token stands.
    token: Key,
}

impl Authentication for TokenBook {
    /// A token is looked up by its digest: whoever could time the search would learn digests, of which none tells a token. The
    /// table is asked each time.
    async fn authenticate(&self, bearer: &str, now: Timestamp) -> Result<Result<Principal, BadToken>, Error> {
        let digest = digest(bearer);
        let Some(item) = self.store.get(&Key::token(&HEXLOWER.encode(&digest))).await? else {
            return Ok(Err(BadToken::Unknown));
        };
        if let Some(end) = terms(&item)?.and_then(|it| it.expired(now)) {
            return Ok(Err(BadToken::Ended(end)));
        }
        let person = stored(&item, text(&item, TOKEN)?)?;
        self.keep_use(&digest, &item, now).await?;
        Ok(Ok(Principal::person(person, Issuer::Tokens)))
    }
}

impl Tokens for TokenBook {
    async fn issue(
        &self,
        person: &Person,
        terms: &TokenTerms,
        by: Speaker<'_>,
        now: Timestamp,
    ) -> Result<String, Error> {
        let secret = (self.dice)().map_err(|source| Error::Broken { doing: "generate a token", source })?;
        let bearer = format!("{TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&secret));
        let fact = Fact::token_made(person, terms, by);
        let before = self.spellings(person).await?;
        for other in before.iter().skip(1) {
            let (person, by, via) = (other.clone(), by.person.clone(), by.via.cloned());
            let fact = Fact::TokenRevoked { person, by, keeps_access: false, via };
            self.replace(other, None, fact, now).await?;
        }
        let new = New { digest: &HEXLOWER.encode(&digest(&bearer)), terms };
        // The spelling first given stays.
        self.replace(before.first().unwrap_or(person), Some(&new), fact, now).await?;
        Ok(bearer)
    }

    async fn revoke(
        &self,
        person: &Person,
        keeps_access: bool,
        by: Speaker<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let before = self.spellings(person).await?;
        if before.is_empty() {
            return Err(Error::NotFound { what: "token of", name: person.to_string() });
        }
        for spelling in before {
            let (person, by, via) = (spelling.clone(), by.person.clone(), by.via.cloned());
            let fact = Fact::TokenRevoked { person, by, keeps_access, via };
            self.replace(&spelling, None, fact, now).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Token>, Error> {
        let listed = self.listed().await?;
        let keys: Vec<Key> = listed.iter().map(|it| it.token.clone()).collect();
        let items = self.store.get_all(&keys).await?;
        let of = |Listed { person, made_at, token }: Listed| {
            // It may be replaced between the two reads.
            let Some(item) = items.get(&token) else {
                return Ok(Token { person, made_at, terms: None, used_at: None });
            };
            Ok(Token { person, made_at, terms: terms(item)?, used_at: used_at(item)? })
        };
        listed.into_iter().map(of).collect()
    }
}

impl fmt::Debug for TokenBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenBook")
    }
}

/// A person as the table has them.
fn stored(item: &Item, name: &str) -> Result<Person, Error> {
    Person::try_from(name.to_owned()).map_err(|error| corrupt(item, &error))
}

/// The terms of a token; none of one that an older version made.
fn terms(item: &Item) -> Result<Option<TokenTerms>, Error> {
    if item.contains_key(BODY) { parse(item).map(Some) } else { Ok(None) }
}

/// When a token was last used, if that is known.
fn used_at(item: &Item) -> Result<Option<Timestamp>, Error> {
    if item.contains_key(USED_AT) { named(item, text(item, USED_AT)?).map(Some) } else { Ok(None) }
}

/// The secret has 256 random bits, so a plain digest of it tells nothing.
fn digest(bearer: &str) -> [u8; 32] {
    Sha256::digest(bearer).into()
}
