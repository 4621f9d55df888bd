//! Every implementation of a port passes the suite of that port.

use jiff::Timestamp;
use portcullis_app::ports::{Authentication, Inventory};
use portcullis_azure::Azure;
use portcullis_domain::{Existing, TargetId};
use portcullis_identity::Authenticators;
use portcullis_local::{LocalBus, RedbStore, TokenBook};
use portcullis_simcloud::Faults;
use portcullis_tests::{
    archive::Memory,
    contracts::{
        authentication::{self, ByBook, Proof},
        bus::as_heard,
        feed, firewalls, store,
    },
    fleet::Fleet,
    given,
    idp::{Idp, Key, believed},
    stories::{Outside, calmly},
};
use serde_json::Value;
use std::{cell::RefCell, sync::Arc};

portcullis_tests::every_contract_of_a_bus! { a_local_bus, the_bus_of_stories }
portcullis_tests::every_contract_of_tokens! { tokens_in_redb }
portcullis_tests::every_contract_of_authentication! { a_book_in_redb, an_issuer, a_book_beside_an_issuer }
portcullis_tests::every_contract_of_an_archive! { a_memory }
portcullis_tests::every_contract_of_a_store! { redb, the_table_of_stories }
portcullis_tests::every_contract_of_a_feed! { the_feed_of_redb, the_feed_of_stories }
portcullis_tests::every_contract_of_firewalls! { fleet, azure, the_firewalls_of_stories }

async fn redb(contract: impl AsyncFn(&RedbStore)) {
    let folder = tempfile::tempdir().expect("a folder");
    contract(&RedbStore::open(&folder.path().join("table.redb")).expect("opens")).await;
}

async fn the_feed_of_redb(contract: impl AsyncFn(&RedbStore)) {
    redb(contract).await;
}

async fn the_feed_of_stories(contract: impl AsyncFn(&Outside)) {
    calmly(contract).await;
}

async fn tokens_in_redb(contract: impl AsyncFn(&portcullis_local::TokenBook, &RedbStore)) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(RedbStore::open(&folder.path().join("table.redb")).expect("opens"));
    contract(&portcullis_local::TokenBook::of(&store, given::dice), &store).await;
}

/// An issuer as a proof.
struct ByIssuer {
    idp: Idp,
    key: Key,
    proof: Authenticators<TokenBook>,
    _table: tempfile::TempDir,
}

impl Proof for ByIssuer {
    fn proof(&self) -> &impl Authentication {
        &self.proof
    }

    async fn token(&self, name: &str) -> String {
        self.key.token(&self.idp.claims(name, given::at(0).as_second()))
    }

    fn known_as(&self, name: &str) -> String {
        format!("corp:{name}")
    }

    async fn expiring(&self, name: &str) -> (String, Timestamp) {
        (self.token(name).await, given::at(300 + 30))
    }

    async fn end(&self, _: &str, _: &str) -> Timestamp {
        given::at(300 + 30)
    }
}

async fn a_book_in_redb(contract: impl AsyncFn(&ByBook<TokenBook>)) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(RedbStore::open(&folder.path().join("table.redb")).expect("opens"));
    contract(&ByBook(TokenBook::of(&store, given::dice))).await;
}

async fn a_book_beside_an_issuer(contract: impl AsyncFn(&ByBook<Authenticators<TokenBook>>)) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(RedbStore::open(&folder.path().join("table.redb")).expect("opens"));
    let idp = Idp::with(&[]).await;
    let issuers = believed(&idp.settings("", "prefix = 'corp:'"));
    contract(&ByBook(Authenticators { book: TokenBook::of(&store, given::dice), issuers })).await;
}

/// With each kind of key.
async fn an_issuer(contract: impl AsyncFn(&ByIssuer)) {
    for key in [Key::ec("1"), Key::ed("1"), Key::rsa("1", "RS256"), Key::rsa("1", "PS256")] {
        let idp = Idp::with(&[&key]).await;
        let table = tempfile::tempdir().expect("a folder");
        let store = Arc::new(RedbStore::open(&table.path().join("table.redb")).expect("opens"));
        let issuers = believed(&idp.settings("", "prefix = 'corp:'"));
        let proof = Authenticators { book: TokenBook::of(&store, given::dice), issuers };
        contract(&ByIssuer { idp, key, proof, _table: table }).await;
    }
}

/// How the contract of a bus sees what was heard: all of it, once it is so many events.
type Heard<'a> = &'a dyn Fn(usize) -> Vec<(String, Value)>;

async fn a_local_bus(contract: impl AsyncFn(&LocalBus, Heard<'_>)) {
    let bus = LocalBus::default();
    let (ear, all) = (RefCell::new(bus.subscribe()), RefCell::new(vec![]));
    let heard = |_: usize| {
        while let Ok(event) = ear.borrow_mut().try_recv() {
            all.borrow_mut().push(as_heard(&event));
        }
        all.borrow().clone()
    };
    contract(&bus, &heard).await;
}

/// What stories prove of whoever listens is worth no more than the bus that tells them.
async fn the_bus_of_stories(contract: impl AsyncFn(&Outside, Heard<'_>)) {
    calmly(async |it| {
        let heard = |_: usize| it.heard().iter().map(as_heard).collect::<Vec<_>>();
        contract(it, &heard).await;
    })
    .await;
}

/// How the contract of an archive sees what is kept under a name.
type Read<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

async fn a_memory(contract: impl AsyncFn(&Memory, Read<'_>)) {
    let memory = Memory::default();
    contract(&memory, &|name| memory.files().remove(name)).await;
}

/// Once on a machine with one security group, once on one with two.
async fn fleet(contract: impl AsyncFn(&Fleet, &TargetId)) {
    for name in ["web-1", "db-1"] {
        let folder = tempfile::tempdir().expect("a folder");
        let fleet = Fleet::open(&folder.path().join("fleet.json"), Arc::new(firewalls::any_time));
        let fleet = fleet.expect("opens");
        let machines = fleet.machines(None, 100).await.expect("listed").items;
        let machine = machines.iter().find(|it| it.name == name).expect("in the fleet");
        contract(&fleet, &machine.id).await;
    }
}

/// On machines with one security group, with two, with two families, with two interfaces, behind a firewall;
/// where rules have etags of their own, and where they have their group's.
async fn azure(contract: impl AsyncFn(&Azure, &TargetId)) {
    for one_etag_per_group in [false, true] {
        for name in ["web-1", "app-1", "duo-1", "farm-1", "vault-1"] {
            let cloud = portcullis_tests::azure::Azure::new(1);
            let azure = cloud.guarded(Existing::Override);
            let faults = Faults { one_etag_per_group, ..Faults::quick() };
            cloud.cloud.plan(faults);
            contract(&azure, &cloud.machine(name)).await;
        }
    }
}

/// What stories prove is worth no more than the table and the firewalls that they are told on.
async fn the_table_of_stories(contract: impl AsyncFn(&Outside)) {
    calmly(contract).await;
}

/// On a machine behind two firewalls, and on one that shares one of them.
async fn the_firewalls_of_stories(contract: impl AsyncFn(&Outside, &TargetId)) {
    for name in ["vm0", "vm1"] {
        let id = name.parse().expect("a target");
        calmly(async |it| contract(it, &id).await).await;
    }
}

/// Not in stories: their table holds targets as they are, and takes no machine that is not in their cloud.
#[tokio::test]
async fn thousands_of_live_grants_of_one_target_are_kept_in_redb() {
    redb(async |it| store::thousands_of_live_grants_of_one_target_are_kept(it).await).await;
}

#[tokio::test]
async fn turns_in_redb_go_by_rank_and_then_by_arrival() {
    redb(async |it| store::turns_go_by_rank_and_then_by_arrival(it).await).await;
}
