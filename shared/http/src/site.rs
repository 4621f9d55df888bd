//! What the router stands on.

use crate::{bounds::Bounds, proxies::Proxies, strangers::Strangers, turns::Turns};
use jiff::Timestamp;
use portcullis_app::{
    Bots, Error, Finding, Parts, Rights,
    ports::{Authentication, Outside, Store, Tokens},
};
use portcullis_domain::Terms;
use std::{future::Future, sync::LazyLock};
use tokio::sync::watch;

/// What the router stands on: the composition root implements it.
pub trait Site: Send + Sync + 'static {
    /// The table.
    type Store: Store;
    /// The firewalls and the machines behind them, with what else is known of them.
    type Outside: Outside;
    /// The token book, which also tells whose token a caller shows.
    type Tokens: Authentication + Tokens;

    /// The table.
    fn store(&self) -> &Self::Store;
    /// The firewalls and the machines behind them.
    fn outside(&self) -> &Self::Outside;
    /// The token book.
    fn tokens(&self) -> &Self::Tokens;
    /// The settings that reviews depend on.
    fn terms(&self) -> &Terms;
    /// Is there an archive that evidence is put into when an event asks for it? Else whoever wants it takes it away.
    fn has_archive(&self) -> bool {
        false
    }
    /// What the platform makes of a long answer.
    fn bounds(&self) -> Bounds {
        Bounds::NONE
    }
    /// How many expensive answers are made at once; as many as are asked for where one process answers one caller at a time.
    fn turns(&self) -> &Turns {
        static UNBOUNDED: LazyLock<Turns> = LazyLock::new(Turns::unbounded);
        &UNBOUNDED
    }
    /// Changes with every commit, so that a caller can wait for the next one; `None` where the platform does not tell of them.
    fn commits(&self) -> Option<watch::Receiver<u64>> {
        None
    }
    /// Where failed logins are counted and limited; `None` where the platform does that.
    fn strangers(&self) -> Option<&Strangers> {
        None
    }
    /// Whose word is taken for where a caller is.
    fn proxies(&self) -> &Proxies;
    /// The rights of callers.
    fn rights(&self) -> &Rights;
    /// Which bots may speak, and for whom.
    fn bots(&self) -> &Bots;
    /// The time.
    fn now(&self) -> Timestamp;
    /// What a checkup finds of the process itself.
    fn findings(&self) -> Vec<Finding> {
        vec![]
    }
    /// Can the table be read and written? `Unavailable` if not.
    fn probe(&self) -> impl Future<Output = Result<(), Error>> + Send;
    /// The dependencies of an operation.
    fn parts(&self) -> Parts<'_, Self::Store, Self::Outside, Self::Tokens> {
        self.parts_with(self.outside())
    }
    /// The same with other firewalls and machines, such as those that are asked for a bounded time.
    fn parts_with<'a, O>(&'a self, outside: &'a O) -> Parts<'a, Self::Store, O, Self::Tokens> {
        let (store, tokens) = (self.store(), self.tokens());
        Parts { store, outside, tokens, terms: self.terms(), rights: self.rights() }
    }
}
