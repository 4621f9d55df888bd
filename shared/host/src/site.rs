//! Everything that the scheduler and the router stand on, in one process.

use crate::{bots::BotsFile, outside::Outside, steady};
use jiff::Timestamp;
use portcullis_app::{Bots, Error, Finding, Rights};
use portcullis_domain::Terms;
use portcullis_http::{Proxies, Site, Strangers, Turns};
use portcullis_identity::Authenticators;
use portcullis_local::{RedbStore, TokenBook};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, watch};

/// The dependencies of the scheduler, the backstop and the relay.
#[derive(Debug)]
pub struct Settling {
    /// The table.
    pub store: Arc<RedbStore>,
    /// The firewalls, over connections that no caller uses: a connection is driven by the threads that opened it.
    pub outside: Outside,
    /// The rights of callers: leases end with them.
    pub rights: Rights,
}

/// The store, the firewalls and the tokens of one data folder, for callers.
#[derive(Debug)]
pub struct LocalSite {
    /// The table.
    pub store: Arc<RedbStore>,
    /// The firewalls, to look at them. Settling has connections of its own.
    pub outside: Outside,
    /// The proof of who calls.
    pub tokens: Authenticators<TokenBook>,
    /// The settings that reviews depend on.
    pub terms: Terms,
    /// Whose word is taken for where a caller is.
    pub proxies: Proxies,
    /// The rights of callers.
    pub rights: Rights,
    /// Which bots may speak, and for whom.
    pub bots: BotsFile,
    /// How many expensive answers are made at once.
    pub turns: Turns,
    /// Callers that failed to show a valid token.
    pub strangers: Strangers,
    /// Whether the table answers, as it was seen last.
    pub health: Health,
}

/// Whether the table answers, asked once for all callers who want to know at the same time: nobody needs a token to.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<Instant>>);

/// How long a table that answered is taken to answer.
const HEALTHY_FOR: Duration = Duration::from_millis(200);

impl Site for LocalSite {
    type Store = RedbStore;
    type Outside = Outside;
    type Tokens = Authenticators<TokenBook>;

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

    fn tokens(&self) -> &Authenticators<TokenBook> {
        &self.tokens
    }

    fn rights(&self) -> &Rights {
        &self.rights
    }

    fn bots(&self) -> &Bots {
        self.bots.now()
    }

    fn now(&self) -> Timestamp {
        steady::now()
    }

    fn findings(&self) -> Vec<Finding> {
        let found = vec![steady::finding(), self.store.checkup()];
        found.into_iter().chain(self.bots.finding()).collect()
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn commits(&self) -> Option<watch::Receiver<u64>> {
        Some(self.store.commits())
    }

    fn strangers(&self) -> Option<&Strangers> {
        Some(&self.strangers)
    }

    async fn probe(&self) -> Result<(), Error> {
        let mut healthy_at = self.health.0.lock().await;
        if healthy_at.is_some_and(|at| at.elapsed() < HEALTHY_FOR) {
            return Ok(());
        }
        *healthy_at = None;
        self.store.probe().await?;
        *healthy_at = Some(Instant::now());
        Ok(())
    }
}
