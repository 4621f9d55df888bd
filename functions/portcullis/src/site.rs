//! Everything that the router stands on, in one process.

use crate::outside::Outside;
use jiff::Timestamp;
use portcullis_app::{Bots, Error, Finding};
use portcullis_domain::{Person, Terms};
use portcullis_http::{Proxies, Site};
use portcullis_local::{RedbStore, TokenBook};
use std::sync::Arc;

/// The store, the firewalls and the tokens of one data folder.
#[derive(Debug)]
pub struct LocalSite {
    /// The table.
    pub store: Arc<RedbStore>,
    /// The firewalls.
    pub outside: Outside,
    /// Who may call.
    pub tokens: TokenBook,
    /// The settings that reviews depend on.
    pub terms: Terms,
    /// Whose word is taken for where a caller is.
    pub proxies: Proxies,
    /// Who makes tokens.
    pub operator: Person,
    /// Which bots may speak, and for whom.
    pub bots: Bots,
}

impl Site for LocalSite {
    type Store = RedbStore;
    type Outside = Outside;

    fn store(&self) -> &RedbStore {
        &self.store
    }

    fn outside(&self) -> &Outside {
        &self.outside
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    fn operator(&self) -> &Person {
        &self.operator
    }

    fn bots(&self) -> &Bots {
        &self.bots
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }

    fn checkup(&self) -> Vec<Finding> {
        vec![self.store.checkup()]
    }

    async fn authenticate(&self, bearer: &str) -> Result<Option<Person>, Error> {
        self.tokens.authenticate(bearer)
    }

    async fn issue_token(&self, person: &Person, by: &Person) -> Result<String, Error> {
        let secret = secret()
            .map_err(|error| Error::Broken { doing: "roll dice for a token", source: error.into() })?;
        self.tokens.issue(person, by, secret, self.now()).await
    }

    async fn revoke_token(&self, person: &Person, by: &Person) -> Result<(), Error> {
        self.tokens.revoke(person, by, self.now()).await
    }

    async fn tokens(&self) -> Result<Vec<(Person, Timestamp)>, Error> {
        self.tokens.list()
    }
}

/// 256 bits from the system: nobody guesses them.
pub fn secret() -> Result<[u8; 32], getrandom::Error> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
