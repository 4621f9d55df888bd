//! Every implementation of a port passes the suite of that port.

use portcullis_app::ports::Inventory;
use portcullis_aws::{Bucket, DynamoStore, EventBus};
use portcullis_azure::Azure;
use portcullis_domain::{Existing, TargetId};
use portcullis_local::{Folder, LocalBus, RedbStore};
use portcullis_simcloud::Faults;
use portcullis_tests::{
    archive::Memory,
    aws::{Ministack, Table, cloud},
    contracts::{bus::as_heard, firewalls, store},
    fleet::Fleet,
    given,
    stories::{Outside, calmly},
};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

macro_rules! every_contract {
    ($on:ident: $suite:ident { $($contract:ident),* $(,)? }) => {
        mod $on {
            $(#[tokio::test]
            async fn $contract() {
                super::$on(async |it| super::$suite::$contract(it).await).await;
            })*
        }
    };
    ($on:ident: $suite:ident at a target { $($contract:ident),* $(,)? }) => {
        mod $on {
            $(#[tokio::test]
            async fn $contract() {
                super::$on(async |it, id| super::$suite::$contract(it, id, super::$suite::any_time()).await).await;
            })*
        }
    };
}

macro_rules! every_contract_of_a_store {
    ($($on:ident),*) => {
        $(every_contract! { $on: store {
            what_is_committed_is_loaded, a_conflict_leaves_no_trace, one_of_many_writers_wins, writers_in_turn_all_commit, granted_once,
            the_rest_is_one_chain, due_follows_every_commit, what_comes_due_has_its_time, targets_are_listed_in_parts,
            chains_are_listed_in_parts, entries_are_read_in_parts_of_bounded_length,
            requests_are_listed_newest_first, grants_are_listed_newest_first,
        } })*
    };
}

macro_rules! every_contract_of_firewalls {
    ($($on:ident),*) => {
        $(every_contract! { $on: firewalls at a target {
            what_is_written_is_read, writing_twice_is_once, deleting_the_absent_succeeds,
            what_is_not_ours_stays, ours_lists_every_rule, ours_tells_what_a_rule_tells,
            what_is_there_is_not_gone, an_unknown_target_is_not_found,
            a_stale_version_conflicts, a_priority_is_used_once,
        } })*
    };
}

macro_rules! every_contract_of_an_archive {
    ($($on:ident),*) => {
        $(mod $on {
            use portcullis_tests::contracts::archive;
            #[tokio::test]
            async fn what_is_put_is_kept() {
                super::$on(async |it, read| archive::what_is_put_is_kept(it, read).await).await;
            }
            #[tokio::test]
            async fn what_is_kept_is_never_overwritten() {
                super::$on(async |it, read| archive::what_is_kept_is_never_overwritten(it, read).await).await;
            }
            #[tokio::test]
            async fn one_of_many_writers_is_kept_whole() {
                super::$on(async |it, read| archive::one_of_many_writers_is_kept_whole(it, read).await).await;
            }
        })*
    };
}

macro_rules! every_contract_of_a_bus {
    ($($on:ident),*) => {
        $(every_contract_of_a_bus! { $on:
            what_is_published_is_heard, more_than_go_at_a_time_are_heard, what_is_long_together_is_heard,
            what_is_too_long_holds_up_nothing
        })*
    };
    ($on:ident: $($contract:ident),*) => {
        mod $on {
            use portcullis_tests::contracts::bus;
            $(#[tokio::test]
            async fn $contract() {
                super::$on(async |it, heard| bus::$contract(it, heard).await).await;
            })*
        }
    };
}

macro_rules! every_contract_of_tokens {
    ($($on:ident),*) => {
        $(every_contract_of_tokens! { $on:
            a_token_says_who_calls, a_new_token_replaces_the_one_before, what_is_revoked_is_refused,
            every_change_is_recorded, of_many_at_once_one_stays
        })*
    };
    ($on:ident: $($contract:ident),*) => {
        mod $on {
            use portcullis_tests::contracts::tokens;
            $(#[tokio::test]
            async fn $contract() {
                super::$on(async |it, store| tokens::$contract(it, store).await).await;
            })*
        }
    };
}

every_contract_of_a_bus! { a_local_bus, an_event_bus, the_bus_of_stories }
every_contract_of_tokens! { tokens_in_redb, tokens_in_dynamodb_local, tokens_in_ministack }
every_contract_of_an_archive! { a_memory, a_folder, a_bucket }
every_contract_of_a_store! { redb, dynamodb_local, ministack, the_table_of_stories }
every_contract_of_firewalls! { fleet, azure, the_firewalls_of_stories }

async fn redb(contract: impl AsyncFn(&RedbStore)) {
    let folder = tempfile::tempdir().expect("a folder");
    contract(&RedbStore::open(&folder.path().join("table.redb")).expect("opens")).await;
}

/// Where it cannot be installed, each contract says so.
async fn dynamodb_local(contract: impl AsyncFn(&DynamoStore)) {
    if let Some(table) = Table::local() {
        contract(&in_dynamodb(&table)).await;
    }
}

/// The same.
async fn ministack(contract: impl AsyncFn(&DynamoStore)) {
    if let Some(table) = Table::ministack() {
        contract(&in_dynamodb(&table)).await;
    }
}

fn in_dynamodb(table: &Table) -> DynamoStore {
    // What is listed has its place by when it came: no two come at once.
    let moments = AtomicI64::new(0);
    let clock = Arc::new(move || given::at(moments.fetch_add(1, Ordering::Relaxed)));
    // Whoever writes has a name of its own, as each table has.
    DynamoStore::new(cloud(table.endpoint()).dynamodb(), table.name(), table.name(), clock)
}

async fn tokens_in_redb(contract: impl AsyncFn(&portcullis_local::TokenBook, &RedbStore)) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(RedbStore::open(&folder.path().join("table.redb")).expect("opens"));
    contract(&portcullis_local::TokenBook::of(&store, given::dice), &store).await;
}

/// Where it cannot be installed, each contract says so.
async fn tokens_in_dynamodb_local(contract: impl AsyncFn(&portcullis_aws::TokenBook, &DynamoStore)) {
    if let Some(table) = Table::local() {
        let store = Arc::new(in_dynamodb(&table));
        contract(&portcullis_aws::TokenBook::of(&store, given::dice), &store).await;
    }
}

/// The same.
async fn tokens_in_ministack(contract: impl AsyncFn(&portcullis_aws::TokenBook, &DynamoStore)) {
    if let Some(table) = Table::ministack() {
        let store = Arc::new(in_dynamodb(&table));
        contract(&portcullis_aws::TokenBook::of(&store, given::dice), &store).await;
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

/// Where it cannot be installed, each contract says so.
async fn an_event_bus(contract: impl AsyncFn(&EventBus, Heard<'_>)) {
    let Some(aws) = Ministack::shared() else { return };
    let bus = aws.bus();
    let heard = |count: usize| bus.heard(count);
    contract(&EventBus::new(cloud(aws.url()).eventbridge(), bus.name()), &heard).await;
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

async fn a_folder(contract: impl AsyncFn(&Folder, Read<'_>)) {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("new");
    contract(&Folder::at(&path).expect("made"), &|name| fs::read(path.join(name)).ok()).await;
    let names = fs::read_dir(&path).expect("listed").map(|it| it.expect("an entry").file_name());
    let drafts: Vec<_> = names.filter(|it| it.to_string_lossy().starts_with('.')).collect();
    assert!(drafts.is_empty(), "no draft is left: {drafts:?}");
}

/// Where it cannot be installed, each contract says so.
async fn a_bucket(contract: impl AsyncFn(&Bucket, Read<'_>)) {
    static BUCKETS: AtomicI64 = AtomicI64::new(0);
    let Some(aws) = Ministack::shared() else { return };
    let name = format!("archive-{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
    aws.call("s3", "create_bucket", &json!({ "Bucket": name })).expect("made");
    let bucket = Bucket::new(cloud(aws.url()).s3(), name.clone(), "folder");
    let read = |file: &str| {
        let mut found = ureq::get(format!("{}/{name}/folder/{file}", aws.url())).call().ok()?;
        Some(found.body_mut().read_to_vec().expect("read"))
    };
    contract(&bucket, &read).await;
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
async fn thousands_of_live_grants_of_one_target_are_kept_in_dynamodb_local() {
    dynamodb_local(async |it| store::thousands_of_live_grants_of_one_target_are_kept(it).await).await;
}

#[tokio::test]
async fn thousands_of_live_grants_of_one_target_are_kept_in_ministack() {
    ministack(async |it| store::thousands_of_live_grants_of_one_target_are_kept(it).await).await;
}

#[tokio::test]
async fn turns_in_redb_go_by_rank_and_then_by_arrival() {
    redb(async |it| store::turns_go_by_rank_and_then_by_arrival(it).await).await;
}
