//! Bearer tokens: shown once, stored as a digest, compared in constant time.

use crate::store::{
    Class, Failed, Open, RedbStore, append, rest_head,
    tables::{TOKEN_TERMS, TOKENS, json, nanos, parse},
};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use portcullis_app::{
    BadToken, Error, Issuer, Principal, TokenUses, USE_WAIT_MAX,
    ports::{Authentication, Dice, Tokens},
};
use portcullis_domain::{Chain, Fact, Person, Speaker, TOKEN_PREFIX, Token, TokenTerms};
use redb::{ReadTransaction, ReadableTable, TableError};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, sync::Arc};
use subtle::ConstantTimeEq;
use tokio::time::timeout;

/// The token book of a table: one token a person.
pub struct TokenBook {
    store: Arc<RedbStore>,
    dice: Dice,
    uses: TokenUses,
}

impl TokenBook {
    /// The tokens of a table, made with these dice.
    pub fn of(store: &Arc<RedbStore>, dice: Dice) -> Self {
        Self { store: Arc::clone(store), dice, uses: TokenUses::default() }
    }

    fn all(&self) -> Result<Vec<Kept>, Error> {
        self.store.read(|table| {
            let mut terms = terms(table)?;
            let mut all = vec![];
            for found in table.open_table(TOKENS)?.iter()? {
                let (person, token) = found?;
                let (digest, made_at) = token.value();
                let (terms, used_at) =
                    terms.remove(person.value()).map_or((None, None), |(terms, used)| (Some(terms), used));
                let person = Person::try_from(person.value().to_owned()).map_err(|it| broken(it.into()))?;
                let token = Token { person, made_at: moment(made_at)?, terms, used_at };
                all.push(Kept { digest: *digest, token });
            }
            Ok(all)
        })
    }

    /// Keeps the use of a token, unless it was replaced or revoked meanwhile. It waits for no room on the disk.
    async fn keep_use(&self, Kept { digest, token }: &Kept, now: Timestamp) {
        if !self.uses.falls_to(digest, token.used_at, now) {
            return;
        }
        let (digest, name) = (*digest, token.person.clone());
        let write = self.store.write(Class::Asks, move |open| {
            let is_same = open.tokens.get(name.as_str())?.is_some_and(|it| *it.value().0 == digest);
            if is_same {
                let terms = open.token_terms.get(name.as_str())?.map(|it| it.value().0.to_vec());
                let terms = terms.map_or_else(|| json(&TokenTerms::default()), Ok)?;
                open.token_terms.insert(name.as_str(), (terms.as_slice(), Some(nanos(now))))?;
            }
            Ok(vec![])
        });
        // What is under way then goes on without the call.
        if let Ok(Err(error)) = timeout(USE_WAIT_MAX, write).await {
            tracing::warn!(error = error.full(), "The last use of a token was not recorded");
        }
    }
}

/// A token with its digest.
struct Kept {
    digest: [u8; 32],
    token: Token,
}

/// The terms of tokens, each with the last use; none in a file of an older version.
fn terms(table: &ReadTransaction) -> Result<BTreeMap<String, (TokenTerms, Option<Timestamp>)>, Failed> {
    let rows = match table.open_table(TOKEN_TERMS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        rows => rows?,
    };
    let mut all = BTreeMap::new();
    for row in rows.iter()? {
        let (person, row) = row?;
        let (terms, used_at) = row.value();
        let terms = parse("token_terms", person.value(), terms)?;
        all.insert(person.value().to_owned(), (terms, used_at.map(moment).transpose()?));
    }
    Ok(all)
}

fn moment(nanos: i128) -> Result<Timestamp, Failed> {
    Timestamp::from_nanosecond(nanos).map_err(|error| broken(error.into()))
}

fn broken(source: portcullis_app::BoxError) -> Failed {
    Failed::Whole(Error::Broken { doing: "read the tokens", source })
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

/// Takes away the token under a name, with its terms.
fn remove(name: &Person, open: &mut Open<'_>) -> Result<(), Failed> {
    open.tokens.remove(name.as_str())?;
    open.token_terms.remove(name.as_str())?;
    Ok(())
}

impl Authentication for TokenBook {
    /// Every token is compared with all of its digest, whichever fits, and the table is asked each time.
    async fn authenticate(&self, bearer: &str, now: Timestamp) -> Result<Result<Principal, BadToken>, Error> {
        let offered = digest(bearer);
        let mut fitting = None;
        for kept in self.all()? {
            if bool::from(kept.digest.ct_eq(&offered)) {
                fitting = Some(kept);
            }
        }
        let Some(kept) = fitting else { return Ok(Err(BadToken::Unknown)) };
        if let Some(end) = kept.token.expired(now) {
            return Ok(Err(BadToken::Ended(end)));
        }
        self.keep_use(&kept, now).await;
        Ok(Ok(Principal::person(kept.token.person, Issuer::Tokens)))
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
        let (name, digest, terms) = (person.clone(), digest(&bearer), terms.clone());
        let fact = Fact::token_made(person, &terms, by);
        // INVARIANT (nothing-unrecorded): a token and its entry are written together.
        let write = self.store.write(Class::Asks, move |open| {
            let (_, entries) = rest_head(open)?.append(&Chain::rest(), now, [fact.clone()]);
            append(&entries, open)?;
            let before = spellings(&name, open)?;
            for other in before.iter().skip(1) {
                remove(other, open)?;
            }
            // The spelling first given stays.
            let name = before.first().unwrap_or(&name);
            open.tokens.insert(name.as_str(), (&digest, nanos(now)))?;
            open.token_terms.insert(name.as_str(), (json(&terms)?.as_slice(), None))?;
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
                remove(&spelling, open)?;
            }
            Ok(entries)
        });
        write.await
    }

    async fn list(&self) -> Result<Vec<Token>, Error> {
        Ok(self.all()?.into_iter().map(|kept| kept.token).collect())
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
