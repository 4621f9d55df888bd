//! Bearer tokens: shown once, stored as a digest, compared in constant time.

use crate::store::{Class, Failed, Open, RedbStore, append, rest_head, tables::TOKENS};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use portcullis_app::{
    BadToken, Error, Issuer, Principal,
    ports::{Authentication, Dice, Tokens},
};
use portcullis_domain::{Chain, Fact, Person, Speaker, TOKEN_PREFIX};
use redb::ReadableTable;
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};
use subtle::ConstantTimeEq;

/// The token book of a table: one token a person.
pub struct TokenBook {
    store: Arc<RedbStore>,
    dice: Dice,
}

impl TokenBook {
    /// The tokens of a table, made with these dice.
    pub fn of(store: &Arc<RedbStore>, dice: Dice) -> Self {
        Self { store: Arc::clone(store), dice }
    }

    fn all(&self) -> Result<Vec<(Person, [u8; 32], Timestamp)>, Error> {
        let broken = |error| Failed::Whole(Error::Broken { doing: "read the tokens", source: error });
        self.store.read(|table| {
            let mut all = vec![];
            for found in table.open_table(TOKENS)?.iter()? {
                let (person, token) = found?;
                let (digest, made_at) = token.value();
                let person =
                    Person::try_from(person.value().to_owned()).map_err(|error| broken(Box::new(error)))?;
                let made_at = Timestamp::from_nanosecond(made_at).map_err(|error| broken(error.into()))?;
                all.push((person, *digest, made_at));
            }
            Ok(all)
        })
    }
}

/// The names under which a person has a token: a table of an older version may have several spellings of one.
fn spellings(person: &Person, open: &Open<'_>) -> Result<Vec<Person>, Failed> {
    let mut found = vec![];
    for token in open.tokens.iter()? {
        let (name, _) = token?;
        found.extend(Person::try_from(name.value().to_owned()).ok().filter(|it| it == person));
    }
    Ok(found)
}

impl Authentication for TokenBook {
    /// Every token is compared with all of its digest, whichever fits, and the table is asked each time.
    async fn authenticate(&self, bearer: &str, _: Timestamp) -> Result<Result<Principal, BadToken>, Error> {
        let offered = digest(bearer);
        let mut whose = Err(BadToken::Unknown);
        for (person, known, _) in self.all()? {
            if bool::from(known.ct_eq(&offered)) {
                whose = Ok(Principal::person(person, Issuer::Tokens));
            }
        }
        Ok(whose)
    }
}

impl Tokens for TokenBook {
    async fn issue(&self, person: &Person, by: Speaker<'_>, now: Timestamp) -> Result<String, Error> {
        let secret = (self.dice)().map_err(|source| Error::Broken { doing: "generate a token", source })?;
        let bearer = format!("{TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&secret));
        let (name, digest) = (person.clone(), digest(&bearer));
        let fact = Fact::TokenMade { person: person.clone(), by: by.person.clone(), via: by.via.cloned() };
        // INVARIANT (nothing-unrecorded): a token and its entry are written together.
        let write = self.store.write(Class::Asks, move |open| {
            let (_, entries) = rest_head(open)?.append(&Chain::rest(), now, [fact.clone()]);
            append(&entries, open)?;
            let before = spellings(&name, open)?;
            for other in before.iter().skip(1) {
                open.tokens.remove(other.as_str())?;
            }
            // The spelling first given stays.
            let name = before.first().unwrap_or(&name);
            open.tokens.insert(name.as_str(), (&digest, now.as_nanosecond()))?;
            Ok(entries)
        });
        write.await.map(|()| bearer)
    }

    async fn revoke(
        &self,
        person: &Person,
        keeps_access: bool,
        by: Speaker<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let name = person.clone();
        let (by, via) = (by.person.clone(), by.via.cloned());
        let fact = Fact::TokenRevoked { person: person.clone(), by, keeps_access, via };
        let write = self.store.write(Class::Ends, move |open| {
            let before = spellings(&name, open)?;
            if before.is_empty() {
                return Err(Error::NotFound { what: "token of", name: name.to_string() }.into());
            }
            let (_, entries) = rest_head(open)?.append(&Chain::rest(), now, [fact.clone()]);
            append(&entries, open)?;
            for spelling in before {
                open.tokens.remove(spelling.as_str())?;
            }
            Ok(entries)
        });
        write.await
    }

    async fn list(&self) -> Result<Vec<(Person, Timestamp)>, Error> {
        Ok(self.all()?.into_iter().map(|(person, _, made_at)| (person, made_at)).collect())
    }
}

impl fmt::Debug for TokenBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenBook")
    }
}

/// The secret has 256 random bits, so a plain digest of it tells nothing.
fn digest(bearer: &str) -> [u8; 32] {
    Sha256::digest(bearer).into()
}
