//! What the HTTP API stands on in a function.

use crate::{BadSetting, Place, WallClock};
use jiff::Timestamp;
use portcullis_app::{Bots, BoxError, Error, ports::Clock as _};
use portcullis_aws::{DynamoStore, TokenBook};
use portcullis_azure::Azure;
use portcullis_domain::{Person, Terms};
use portcullis_http::{Bounds, Proxies, Site};
use std::{fmt, sync::Arc, time::Duration};

/// Throws 256 bits.
pub type Dice = fn() -> Result<[u8; 32], BoxError>;

/// Lambda takes 6 MB of an answer, in which four bytes of base64 are three of it, and `template.yaml` gives it 25 s: with
/// room for an envelope, and to say so.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const ANSWER: Bounds = Bounds { bytes: 4_600_000, time: Duration::from_secs(20) };

/// The table, the tokens in it, and Azure.
pub struct LambdaSite {
    store: Arc<DynamoStore>,
    outside: Azure,
    tokens: TokenBook,
    terms: Terms,
    bots: Bots,
    /// None: the platform says where callers are.
    proxies: Proxies,
    operator: Person,
    clock: WallClock,
    dice: Dice,
}

impl LambdaSite {
    /// As the environment says it.
    pub fn of(place: &Place, dice: Dice) -> Result<Self, BadSetting> {
        let store = Arc::new(place.store()?);
        Ok(Self {
            outside: place.azure()?,
            tokens: TokenBook::of(&store),
            terms: place.environment.terms()?,
            bots: place.environment.bots()?,
            proxies: Proxies::default(),
            operator: place.environment.operator()?,
            clock: place.clock,
            dice,
            store,
        })
    }
}

impl Site for LambdaSite {
    type Store = DynamoStore;
    type Outside = Azure;

    fn store(&self) -> &DynamoStore {
        &self.store
    }

    fn outside(&self) -> &Azure {
        &self.outside
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn bots(&self) -> &Bots {
        &self.bots
    }

    fn has_archive(&self) -> bool {
        true
    }

    fn bounds(&self) -> Bounds {
        ANSWER
    }

    fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    fn operator(&self) -> &Person {
        &self.operator
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }

    async fn authenticate(&self, bearer: &str) -> Result<Option<Person>, Error> {
        self.tokens.authenticate(bearer).await
    }

    async fn issue_token(&self, person: &Person, by: &Person) -> Result<String, Error> {
        let secret = (self.dice)();
        let secret = secret.map_err(|source| Error::Broken { doing: "roll dice for a token", source })?;
        self.tokens.issue(person, by, secret, self.now()).await
    }

    async fn revoke_token(&self, person: &Person, by: &Person) -> Result<(), Error> {
        self.tokens.revoke(person, by, self.now()).await
    }

    async fn tokens(&self) -> Result<Vec<(Person, Timestamp)>, Error> {
        self.tokens.list().await
    }
}

impl fmt::Debug for LambdaSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LambdaSite")
    }
}
