//! An issuer as it is asked: its discovery document, and the keys that this leads to, kept for a while.

use crate::{
    algorithm::Algorithm,
    fetch::{Document, Fetch, Lost, shortened, usable},
    keys::Keys,
};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// How often an issuer is asked at most, whatever tokens arrive and however it answers.
pub const ASKED_EVERY: SignedDuration = SignedDuration::from_secs(10);
/// For how long keys are used without asking whether they still are the issuer's.
pub const FRESH_FOR: SignedDuration = SignedDuration::from_mins(15);
/// For how long keys are used while their issuer does not answer.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// One issuer.
#[derive(Debug)]
pub struct Provider {
    /// Its `iss`, to the letter.
    url: String,
    /// Is it on this machine, and asked without TLS?
    is_clear: bool,
    fetch: Fetch,
    seen: Mutex<Seen>,
    /// One caller asks; the others wait for the same answer.
    turn: Arc<Turn<()>>,
}

/// All that is known of an issuer.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub keys: Option<Arc<Keys>>,
    /// When those were read.
    pub read_at: Option<Timestamp>,
    /// When it was asked last.
    pub asked_at: Option<Timestamp>,
    /// Why the last answer was none.
    pub why: Option<Arc<Unread>>,
    /// How far its clock is ahead of ours.
    pub ahead: Option<SignedDuration>,
}

/// Why an issuer has no keys for us.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("the discovery document of `{0}` cannot be read")]
    Discovery(String, #[source] Lost),
    #[error("the discovery document of `{0}` is not one: it needs `issuer` and `jwks_uri`")]
    NoDocument(String, #[source] serde_json::Error),
    #[error(
        "the discovery document of `{expected}` is that of another issuer, `{found}`: correct `url` in the settings"
    )]
    OtherIssuer { expected: String, found: String },
    #[error("the keys of `{0}` cannot be read")]
    Keys(String, #[source] Lost),
    #[error("the keys of `{0}` are no key set")]
    NoKeys(String, #[source] serde_json::Error),
}

/// The keys of an issuer are not known: whether a token is valid is not known either.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unknown {
    #[error("the keys of the issuer of the token are not known")]
    Because(#[source] Arc<Unread>),
    #[error("the issuer of the token was asked for its keys a moment ago")]
    Asked,
}

/// What is read of a discovery document.
/// <https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata>
#[derive(Debug, Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Provider {
    pub fn new(url: &str, is_clear: bool, fetch: Fetch) -> Self {
        let (seen, turn) = (Mutex::default(), Arc::default());
        Self { url: url.to_owned(), is_clear, fetch, seen, turn }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// The key that a token was signed with; none where the issuer has no such key.
    ///
    /// A key that is known is there at once, but for one caller in [`FRESH_FOR`] who waits until the keys are read anew, at most as
    /// long as two documents may take. Callers with an unknown key wait no longer than that either.
    pub async fn key(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Option<DecodingKey>, Unknown> {
        let seen = self.seen();
        match seen.key(kid, algorithm, now) {
            Some(key) if seen.is_fresh(now) || !seen.may_ask(now) => return Ok(Some(key)),
            Some(key) => match Arc::clone(&self.turn).try_lock_owned() {
                Ok(turn) => self.ask(turn, now).await,
                Err(_) => return Ok(Some(key)),
            },
            None => {
                let turn = Arc::clone(&self.turn).lock_owned().await;
                let seen = self.seen();
                if seen.key(kid, algorithm, now).is_none() && seen.may_ask(now) {
                    self.ask(turn, now).await;
                }
            }
        }
        let seen = self.seen();
        match (seen.usable(now), &seen.why) {
            (Some(keys), _) => Ok(keys.find(kid, algorithm).cloned()),
            (None, Some(why)) => Err(Unknown::Because(Arc::clone(why))),
            (None, None) => Err(Unknown::Asked),
        }
    }

    /// Asks now, unless that was done a moment ago: for a checkup.
    pub async fn look(self: &Arc<Self>, now: Timestamp) -> Seen {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if self.seen().may_ask(now) {
            self.ask(turn, now).await;
        }
        self.seen()
    }

    /// On a task of its own: a caller who leaves, as a stranger may on purpose, takes the answer from nobody.
    async fn ask(self: &Arc<Self>, turn: OwnedMutexGuard<()>, now: Timestamp) {
        self.lock().asked_at = Some(now);
        let own = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let read = own.read().await;
            own.learn(read, now);
            drop(turn);
        });
        if let Err(error) = asked.await {
            tracing::error!(issuer = self.url, %error, "Reading the keys of an issuer failed");
        }
    }

    fn learn(&self, read: Result<(Keys, Option<Timestamp>), Unread>, now: Timestamp) {
        let mut seen = self.lock();
        match read {
            Ok((keys, sent_at)) => {
                tracing::info!(issuer = self.url, keys = keys.count(), "The keys of an issuer were read");
                seen.keys = Some(Arc::new(keys));
                seen.read_at = Some(now);
                seen.ahead = sent_at.map(|it| it.duration_since(now));
                seen.why = None;
            }
            Err(why) => {
                let why = Arc::new(why);
                let error = full(&*why);
                tracing::warn!(issuer = self.url, error, "The keys of an issuer could not be read");
                seen.why = Some(why);
            }
        }
    }

    async fn read(&self) -> Result<(Keys, Option<Timestamp>), Unread> {
        const DOCUMENT: &str = "/.well-known/openid-configuration";
        let url = || self.url.clone();
        let place = usable(&format!("{}{DOCUMENT}", self.url.trim_end_matches('/')), self.is_clear);
        let document = self.fetch.get(&place.map_err(|it| Unread::Discovery(url(), it))?).await;
        let Document { bytes, .. } = document.map_err(|it| Unread::Discovery(url(), it))?;
        let Discovery { issuer, jwks_uri } =
            serde_json::from_slice(&bytes).map_err(|it| Unread::NoDocument(url(), it))?;
        // Else whoever can publish a document anywhere on that host could name keys for this issuer.
        if issuer != self.url {
            return Err(Unread::OtherIssuer { expected: url(), found: shortened(&issuer) });
        }
        let place = usable(&jwks_uri, self.is_clear).map_err(|it| Unread::Keys(url(), it))?;
        let set = self.fetch.get(&place).await.map_err(|it| Unread::Keys(url(), it))?;
        let keys = Keys::of(&set.bytes).map_err(|it| Unread::NoKeys(url(), it))?;
        Ok((keys, set.sent_at))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The keys, unless they are too old to be used.
    pub fn usable(&self, now: Timestamp) -> Option<&Arc<Keys>> {
        self.keys.as_ref().filter(|_| is_within(self.read_at, KEPT_FOR, now))
    }

    fn key(&self, kid: Option<&str>, algorithm: Algorithm, now: Timestamp) -> Option<DecodingKey> {
        self.usable(now)?.find(kid, algorithm).cloned()
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        is_within(self.read_at, FRESH_FOR, now)
    }

    fn may_ask(&self, now: Timestamp) -> bool {
        !is_within(self.asked_at, ASKED_EVERY, now)
    }
}

/// Was it less than so long ago? A clock that was set back makes nothing recent.
fn is_within(at: Option<Timestamp>, length: SignedDuration, now: Timestamp) -> bool {
    at.is_some_and(|it| now.duration_since(it).abs() < length)
}

/// An error with its causes, in a line.
pub fn full(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line = format!("{line}: {cause}");
        next = cause.source();
    }
    line
}
