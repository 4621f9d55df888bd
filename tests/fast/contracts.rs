//! Every implementation of a port passes the suite of that port.

use portcullis_app::ports::Inventory;
use portcullis_azure::Azure;
use portcullis_domain::{Existing, TargetId};
use portcullis_local::{LocalBus, RedbStore};
use portcullis_simcloud::Faults;
use portcullis_tests::{
    archive::Memory,
    contracts::{bus::as_heard, feed, firewalls, store},
    fleet::Fleet,
    given,
    stories::{Outside, calmly},
};
use serde_json::Value;
use std::{cell::RefCell, sync::Arc};

portcullis_tests::every_contract_of_a_bus! { a_local_bus, the_bus_of_stories }
portcullis_tests::every_contract_of_tokens! { tokens_in_redb }
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
