//! What the HTTP API stands on in a function.

use crate::{BadSetting, Place, WallClock};
use jiff::Timestamp;
use portcullis_app::{
    Bots, Error, Rights,
    ports::{Clock as _, Dice},
};
use portcullis_aws::{DynamoStore, TokenBook};
use portcullis_azure::Azure;
use portcullis_domain::{Language, Terms};
use portcullis_http::{Bounds, Proxies, Site};
use portcullis_identity::Authenticators;
use std::{fmt, sync::Arc, time::Duration};

/// Lambda takes 6 MB of an answer, in which four bytes of base64 are three of it, and `template.yaml` gives it 25 s: with
/// room for an envelope, and to say so.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const ANSWER: Bounds = Bounds { bytes: 4_600_000, time: Duration::from_secs(20) };

/// The table, the tokens in it, and Azure.
pub struct LambdaSite {
    store: Arc<DynamoStore>,
    outside: Azure,
    tokens: Authenticators<TokenBook>,
    terms: Terms,
    bots: Bots,
    /// None: the platform says where callers are.
    proxies: Proxies,
    rights: Rights,
    clock: WallClock,
}

impl LambdaSite {
    /// As the environment says it, where this reads policies.
    pub fn of(place: &Place, dice: Dice, policies: Arc<dyn Language>) -> Result<Self, BadSetting> {
        let store = Arc::new(place.store()?);
        let bots = place.environment.bots()?;
        // The platform vouches for callers who sign, by their ARN.
        let operator = place.environment.operator()?;
        let issuers = place.environment.issuers(&operator)?;
        let (beginnings, is_shared) = issuers.names();
        let vouchers = bots.vouchers().and_platform("arn:").and_issuers(beginnings, is_shared);
        Ok(Self {
            outside: place.azure()?,
            tokens: Authenticators {
                book: TokenBook::of(&store, dice),
                issuers: place.issuers(issuers, operator.clone())?,
            },
            terms: place.environment.terms()?,
            proxies: Proxies::default(),
            rights: place.environment.rights()?.with_vouchers(vouchers).with_policies(policies),
            bots,
            clock: place.clock,
            store,
        })
    }
}

impl Site for LambdaSite {
    type Store = DynamoStore;
    type Outside = Azure;
    type Tokens = Authenticators<TokenBook>;

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

    fn tokens(&self) -> &Authenticators<TokenBook> {
        &self.tokens
    }

    fn rights(&self) -> &Rights {
        &self.rights
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }
}

impl fmt::Debug for LambdaSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LambdaSite")
    }
}
