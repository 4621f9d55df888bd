//! A whole Portcullis over the simulated cloud: the real table, the real adapter, the real router, and a
//! clock that tests set.

use crate::door::{self, Guarding};
use crate::{
    azure::Azure,
    given::{Still, all_entries, named, person},
};
use jiff::Timestamp;
use portcullis_app::{
    self as app, Answer, Error, Rights,
    ports::{Store, Tokens as _},
};
use portcullis_domain::{
    Ask, Chain, ClaimToken, Existing, Fact, GrantId, LEASE_MIN, Policy, Target, TargetId, Terms, TokenTerms,
    What, Window,
};
use portcullis_http::{Proxies, Site, router};
use portcullis_local::{RedbStore, TokenBook};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Everything in one process, with nobody at work on its own: tests say when to settle.
#[derive(Debug)]
pub struct Guarded {
    /// The cloud.
    pub azure: Arc<Azure>,
    /// What Portcullis makes of it.
    pub outside: portcullis_azure::Azure,
    /// The table.
    pub store: Arc<RedbStore>,
    /// Who may call.
    pub tokens: TokenBook,
    terms: Terms,
    proxies: Proxies,
    rights: Rights,
    bots: app::Bots,
    counted: AtomicU32,
    _folder: tempfile::TempDir,
}

impl Guarded {
    /// A new one; writes are done at once.
    pub fn new() -> Self {
        let azure = Azure::new(1);
        let outside = azure.guarded(Existing::Override);
        Self::of(azure, outside)
    }

    /// One with this adapter.
    pub fn of(azure: Azure, outside: portcullis_azure::Azure) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(RedbStore::open(&folder.path().join("portcullis.redb")).expect("opens"));
        let tokens = TokenBook::of(&store, crate::given::dice);
        Self {
            azure: Arc::new(azure),
            outside,
            store,
            tokens,
            terms: Terms::default(),
            proxies: Proxies::default(),
            rights: Rights::of(named("operator")),
            bots: app::Bots::default(),
            counted: AtomicU32::new(0),
            _folder: folder,
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.azure.now()
    }

    /// Guards a machine, and settles it.
    pub async fn enable(&self, name: &str, policy: &Policy) -> Result<TargetId, Error> {
        let id = self.azure.machine(name);
        let guarding =
            Guarding { target: id.clone(), by: named("owner"), confirm_within: None, take_over: false };
        door::enable(&*self.store, &self.outside, &guarding, policy, self.now()).await?;
        self.expire().await.map(|()| id)
    }

    /// Guards a machine no longer, and settles it.
    pub async fn disable(&self, id: &TargetId) -> Result<(), Error> {
        door::disable(&*self.store, &self.outside, id, &named("owner"), self.now()).await?;
        self.expire().await
    }

    /// Asks for a port for five minutes, and settles what is due: a token of the cloud is good for an hour.
    pub async fn open(&self, id: &TargetId, port: u16, from: &str) -> Result<GrantId, Error> {
        let ask = Ask {
            target: id.clone(),
            port: named(&port.to_string()),
            protocol: None,
            sources: named(from),
            window: Window::For(LEASE_MIN),
        };
        let key = named(&format!("key-{}", self.count()));
        let what = What::Initiate { asks: vec![ask], break_glass: false };
        let asked = door::Asked { by: named("ann"), key, what, justification: None, correlation: None };
        let answer: Answer = door::initiate(&*self.store, &Terms::default(), &asked, self.now()).await?;
        self.expire().await?;
        Ok(answer.grants.first().expect("a grant").id.clone())
    }

    /// Ends a lease, and settles what is due.
    pub async fn close(&self, grant: &GrantId) -> Result<(), Error> {
        door::close(&*self.store, grant, &named("ann"), None, self.now()).await?;
        self.expire().await
    }

    /// Does what is due, with a worker of its own.
    pub async fn expire(&self) -> Result<(), Error> {
        app::expire(&*self.store, &self.outside, &self.worker(), self.now()).await
    }

    /// Settles everything, with a worker of its own.
    pub async fn reconcile(&self) -> Result<(), Error> {
        app::reconcile(&*self.store, &self.outside, &self.rights, &self.worker(), &Still(self.now())).await
    }

    /// A target as it is stored.
    pub async fn target(&self, id: &TargetId) -> Target {
        self.store.target(id).await.expect("loads").expect("is there").0
    }

    /// All that happened to a target.
    pub async fn facts(&self, id: &TargetId) -> Vec<Fact> {
        let entries = all_entries(&*self.store, &Chain::from(id)).await;
        entries.into_iter().map(|it| it.fact).collect()
    }

    /// Serves it to callers with this token, and settles what is due, until the test is over.
    pub async fn serve(self: &Arc<Self>) -> (String, String) {
        let token = self
            .tokens
            .issue(&named("ann"), &TokenTerms::default(), (&person("operator")).into(), self.azure.now())
            .await;
        let token = token.expect("issued");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = router(Arc::clone(self)).into_make_service_with_connect_info::<std::net::SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        let settles = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                settles.expire().await.expect("settled");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        (url, token)
    }

    fn worker(&self) -> ClaimToken {
        named(&format!("worker-{}", self.count()))
    }

    fn count(&self) -> u32 {
        self.counted.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for Guarded {
    fn default() -> Self {
        Self::new()
    }
}

impl Site for Guarded {
    type Store = RedbStore;
    type Outside = portcullis_azure::Azure;
    type Tokens = TokenBook;

    fn store(&self) -> &RedbStore {
        &self.store
    }

    fn outside(&self) -> &portcullis_azure::Azure {
        &self.outside
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    fn tokens(&self) -> &TokenBook {
        &self.tokens
    }

    fn rights(&self) -> &Rights {
        &self.rights
    }

    fn bots(&self) -> &app::Bots {
        &self.bots
    }

    fn now(&self) -> Timestamp {
        self.azure.now()
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }
}
