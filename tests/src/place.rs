//! A whole Portcullis on a folder of its own, with a clock that tests set: the real store, the real
//! router, a fake fleet.

use crate::door::{self, Guarding};
use crate::{
    fleet::Fleet,
    given::{self, Still, named},
    idp::believed,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{Request, StatusCode, header},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    self as app, Bots, Error, Rights,
    ports::{Firewalls, Inventory, Store, Tokens as _},
};
use portcullis_domain::{
    Chain, ClaimToken, Decision, Entry, Fact, Packet, Policy, Target, TargetId, Terms, TokenTerms,
};
use portcullis_http::{Proxies, Site, Turns, router};
use portcullis_identity::{Authenticators, Issuers};
use portcullis_local::{RedbStore, TokenBook};
use portcullis_policy::Cedar;
use serde_json::Value;
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tokio::sync::watch;
use tower::ServiceExt as _;

/// Where callers of these tests are, unless they say otherwise.
pub const CALLER: [u8; 4] = [198, 51, 100, 1];
/// Which bots may speak here, and for whom.
pub const BOTS: &str = r#"[{"source": "chatops", "for": ["ann", "bob"]}, {"source": "deploy", "for": "*"}]"#;
/// How long an answer may be, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Everything in one process, with nobody at work on its own: tests say when to settle.
#[derive(Debug)]
pub struct Place {
    site: Arc<OnePlace>,
    router: Router,
    folder: tempfile::TempDir,
    workers: AtomicI64,
}

/// What the router stands on.
#[derive(Debug)]
struct OnePlace {
    store: Arc<RedbStore>,
    fleet: Fleet,
    tokens: Authenticators<TokenBook>,
    terms: Terms,
    proxies: Proxies,
    rights: Rights,
    bots: Bots,
    turns: Turns,
    clock: Arc<AtomicI64>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The body; `null` where there is none.
    pub body: Value,
}

impl Place {
    /// A new one, at [`given::at`] zero, with the demonstration's fleet and nothing guarded.
    pub fn new() -> Self {
        Self::behind(Proxies::default())
    }

    /// The same, with proxies that are believed.
    pub fn behind(proxies: Proxies) -> Self {
        Self::made(proxies, named(BOTS), believed(""))
    }

    /// The same, with these bots.
    pub fn with_bots(bots: &str) -> Self {
        Self::made(Proxies::default(), named(bots), believed(""))
    }

    /// The same, with these issuers of tokens.
    pub fn believing(settings: &str) -> Self {
        Self::made(Proxies::default(), named(BOTS), believed(settings))
    }

    fn made(proxies: Proxies, bots: Bots, issuers: Issuers) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(AtomicI64::new(0));
        let ticks = Arc::clone(&clock);
        let now: portcullis_local::Clock = Arc::new(move || given::at(0) + millis(&ticks));
        let store = Arc::new(RedbStore::open(&folder.path().join("portcullis.redb")).expect("opens"));
        let site = OnePlace {
            fleet: Fleet::open(&folder.path().join("fleet.json"), now).expect("opens"),
            tokens: Authenticators { book: TokenBook::of(&store, given::dice), issuers },
            store,
            terms: Terms::default(),
            proxies,
            rights: Rights::of(given::person("operator"))
                .with_vouchers(bots.vouchers())
                .with_policies(Arc::new(Cedar)),
            bots,
            turns: Turns::bounded(),
            clock,
        };
        let site = Arc::new(site);
        Self { router: router(Arc::clone(&site)), site, folder, workers: AtomicI64::new(0) }
    }

    /// The store.
    pub fn store(&self) -> &RedbStore {
        &self.site.store
    }

    /// The firewalls.
    pub fn fleet(&self) -> &Fleet {
        &self.site.fleet
    }

    /// The rights of callers.
    pub fn rights(&self) -> &Rights {
        &self.site.rights
    }

    /// The settings.
    pub fn terms(&self) -> &Terms {
        &self.site.terms
    }

    /// What it is called, in full.
    pub async fn id(&self, name: &str) -> TargetId {
        let machines = self.fleet().machines(None, 100).await.expect("listed").items;
        machines.into_iter().find(|it| it.name == name).expect("in the fleet").id
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.site.now()
    }

    /// Lets time pass.
    pub fn pass(&self, time: SignedDuration) {
        let ms = i64::try_from(time.as_millis()).expect("short");
        self.site.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// Guards a machine.
    pub async fn guard(&self, name: &str, policy: &Policy) -> TargetId {
        let id = self.id(name).await;
        let guarding =
            Guarding { target: id.clone(), by: named("owner"), confirm_within: None, take_over: false };
        door::enable(self.store(), self.fleet(), &guarding, policy, self.now()).await.expect("enabled");
        self.expire().await;
        id
    }

    /// Does what is due, with a worker of its own.
    pub async fn expire(&self) {
        app::expire(self.store(), self.fleet(), &self.worker(), self.now()).await.expect("settled");
    }

    /// Settles everything, with a worker of its own.
    pub async fn reconcile(&self) {
        app::reconcile(self.store(), self.fleet(), self.rights(), &self.worker(), &Still(self.now()))
            .await
            .expect("settled");
    }

    fn worker(&self) -> ClaimToken {
        named(&format!("worker-{}", self.workers.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whether a packet from somewhere to SSH passes: the firewalls are asked.
    pub async fn check(&self, id: &TargetId, from: &str) -> Decision {
        let snapshot = self.fleet().read(id).await.expect("read");
        let source: IpAddr = named(from);
        snapshot.decide(&id.into(), &Packet { source, protocol: named("tcp"), port: named("22") })
    }

    /// Does it?
    pub async fn passes(&self, id: &TargetId, from: &str) -> bool {
        self.check(id, from).await.passes
    }

    /// A target as it is stored.
    pub async fn target(&self, id: &TargetId) -> Target {
        self.store().target(id).await.expect("loads").expect("is there").0
    }

    /// All that happened to a target.
    pub async fn entries(&self, id: &TargetId) -> Vec<Entry> {
        given::all_entries(self.store(), &Chain::from(id)).await
    }

    /// The same, without times and hashes.
    pub async fn facts(&self, id: &TargetId) -> Vec<Fact> {
        self.entries(id).await.into_iter().map(|it| it.fact).collect()
    }

    /// A new token for somebody.
    pub async fn token(&self, person: &str) -> String {
        self.site
            .tokens
            .issue(&named(person), &TokenTerms::default(), (&given::person("owner")).into(), self.now())
            .await
            .expect("issued")
    }

    /// Calls the router as somebody, from [`CALLER`].
    pub async fn call(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a request")).await
    }

    /// The router on top of it all.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Calls the router.
    pub async fn send(&self, mut request: Request<Body>) -> Answered {
        let caller = ConnectInfo(SocketAddr::from((CALLER, 50_000)));
        request.extensions_mut().insert(caller);
        let response = self.router().oneshot(request).await.expect("answers");
        let status = response.status();
        let bytes = to_bytes(response.into_body(), ANSWER_MAX).await.expect("a body");
        Answered { status, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// Where the fleet is kept.
    pub fn fleet_file(&self) -> PathBuf {
        self.folder.path().join("fleet.json")
    }

    /// Stops everything, and gives the folder with what was left.
    pub fn stop(self) -> (tempfile::TempDir, PathBuf) {
        drop((self.router, self.site));
        let table = self.folder.path().join("portcullis.redb");
        (self.folder, table)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Site for OnePlace {
    type Store = RedbStore;
    type Outside = Fleet;
    type Tokens = Authenticators<TokenBook>;

    fn store(&self) -> &RedbStore {
        &self.store
    }

    fn outside(&self) -> &Fleet {
        &self.fleet
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
        &self.bots
    }

    fn commits(&self) -> Option<watch::Receiver<u64>> {
        Some(self.store.commits())
    }

    fn turns(&self) -> &Turns {
        &self.turns
    }

    fn now(&self) -> Timestamp {
        given::at(0) + millis(&self.clock)
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }
}

fn millis(clock: &AtomicI64) -> SignedDuration {
    SignedDuration::from_millis(clock.load(Ordering::Relaxed))
}
