//! Bearer tokens in the table: shown once, stored as a digest.

use crate::store::{
    DynamoStore, Item, delete,
    items::{COMMIT, Key, LIST, LISTED_AT, MADE_AT, TOKEN, TOKENS, corrupt, s, text},
    put,
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;
use portcullis_app::{
    BadToken, Error, Issuer, Principal,
    ports::{Authentication, Dice, Store, Tokens},
};
use portcullis_domain::{Chain, Fact, Person, Speaker, TOKEN_PREFIX};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

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
}

impl TokenBook {
    /// The tokens of a table, made with these dice.
    pub fn of(store: &Arc<DynamoStore>, dice: Dice) -> Self {
        Self { store: Arc::clone(store), dice }
    }

    /// The names under which a person has a token: a table of an older version may have several spellings of one. The list may
    /// be a moment behind, so the item of the name as it is given is read too.
    async fn spellings(&self, person: &Person) -> Result<Vec<Person>, Error> {
        let listed = self.list().await?.into_iter().map(|(it, _)| it).filter(|it| it == person);
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

    /// INVARIANT (nothing-unrecorded): a token and its entry are written together.
    async fn replace(
        &self,
        person: &Person,
        digest: Option<&str>,
        fact: Fact,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (key, table) = (Key::token_of(person), self.store.table());
        for _ in 0..CONFLICTS_MAX {
            let before = self.store.get(&key).await?;
            let before = before.as_ref().map(|it| text(it, TOKEN)).transpose()?;
            if before.is_none() && digest.is_none() {
                return Err(Error::NotFound { what: "token of", name: person.to_string() });
            }
            // No two tokens are alike: one that stands here was written by a try that was thought to have failed.
            if digest.is_some() && before == digest {
                return Ok(());
            }
            let mut changes = self.store.changes();
            if let Some(before) = before {
                changes.delete(delete(table, &Key::token(before)))?;
            }
            match digest {
                Some(digest) => {
                    let commit = changes.witnessed_by(key.clone());
                    let of_person = put(table, &key)
                        .item(TOKEN, s(digest))
                        .item(MADE_AT, s(now.to_string()))
                        .item(COMMIT, s(commit))
                        .item(LIST, s(TOKENS))
                        .item(LISTED_AT, s(person.as_str()));
                    changes.put(put(table, &Key::token(digest)).item(TOKEN, s(person.as_str())))?;
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

impl Authentication for TokenBook {
    /// A token is looked up by its digest: whoever could time the search would learn digests, of which none tells a token. The
    /// table is asked each time.
    async fn authenticate(&self, bearer: &str, _: Timestamp) -> Result<Result<Principal, BadToken>, Error> {
        let Some(item) = self.store.get(&Key::token(&digest(bearer))).await? else {
            return Ok(Err(BadToken::Unknown));
        };
        let person = stored(&item, text(&item, TOKEN)?)?;
        Ok(Ok(Principal::person(person, Issuer::Tokens)))
    }
}

impl Tokens for TokenBook {
    async fn issue(&self, person: &Person, by: Speaker<'_>, now: Timestamp) -> Result<String, Error> {
        let secret = (self.dice)().map_err(|source| Error::Broken { doing: "generate a token", source })?;
        let bearer = format!("{TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&secret));
        let fact = Fact::TokenMade { person: person.clone(), by: by.person.clone(), via: by.via.cloned() };
        let before = self.spellings(person).await?;
        for other in before.iter().skip(1) {
            let (person, by, via) = (other.clone(), by.person.clone(), by.via.cloned());
            let fact = Fact::TokenRevoked { person, by, keeps_access: false, via };
            self.replace(other, None, fact, now).await?;
        }
        // The spelling first given stays.
        self.replace(before.first().unwrap_or(person), Some(&digest(&bearer)), fact, now).await?;
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

    async fn list(&self) -> Result<Vec<(Person, Timestamp)>, Error> {
        let keys = self.store.listed(TOKENS, TOKENS_MAX).await?;
        let items = self.store.get_all(&keys).await?;
        let of = |(key, item): (Key, Item)| {
            let made_at = text(&item, MADE_AT)?.parse();
            let made_at = made_at.map_err(|error: jiff::Error| Error::Broken {
                doing: "read the tokens",
                source: error.into(),
            })?;
            Ok((stored(&item, key.name())?, made_at))
        };
        items.into_iter().map(of).collect()
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

/// The secret has 256 random bits, so a plain digest of it tells nothing.
fn digest(bearer: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(bearer))
}
