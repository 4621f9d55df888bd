//! What AWS keeps and tells passes the suites of the ports, like every other implementation.

use portcullis_aws::{Bucket, DynamoStore, EventBus, TokenBook};
use portcullis_gate::aws::{Ministack, Table, cloud};
use portcullis_tests::{contracts::store, given};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

portcullis_tests::every_contract_of_a_bus! { #[ignore = "needs pypi"] an_event_bus }
portcullis_tests::every_contract_of_tokens! { #[ignore = "needs npm and pypi"] tokens_in_dynamodb_local, #[ignore = "needs pypi"] tokens_in_ministack }
portcullis_tests::every_contract_of_an_archive! { #[ignore = "needs pypi"] a_bucket }
portcullis_tests::every_contract_of_a_store! { #[ignore = "needs npm and pypi"] dynamodb_local, #[ignore = "needs pypi"] ministack }

async fn dynamodb_local(contract: impl AsyncFn(&DynamoStore)) {
    contract(&in_dynamodb(&Table::local())).await;
}

async fn ministack(contract: impl AsyncFn(&DynamoStore)) {
    contract(&in_dynamodb(&Table::ministack())).await;
}

fn in_dynamodb(table: &Table) -> DynamoStore {
    // What is listed has its place by when it came: no two come at once.
    let moments = AtomicI64::new(0);
    let clock = Arc::new(move || given::at(moments.fetch_add(1, Ordering::Relaxed)));
    // Whoever writes has a name of its own, as each table has.
    DynamoStore::new(cloud(table.endpoint()).dynamodb(), table.name(), table.name(), clock)
}

async fn tokens_in_dynamodb_local(contract: impl AsyncFn(&TokenBook, &DynamoStore)) {
    let table = Table::local();
    let store = Arc::new(in_dynamodb(&table));
    contract(&TokenBook::of(&store, given::dice), &store).await;
}

async fn tokens_in_ministack(contract: impl AsyncFn(&TokenBook, &DynamoStore)) {
    let table = Table::ministack();
    let store = Arc::new(in_dynamodb(&table));
    contract(&TokenBook::of(&store, given::dice), &store).await;
}

/// How the contract of a bus sees what was heard: all of it, once it is so many events.
type Heard<'a> = &'a dyn Fn(usize) -> Vec<(String, Value)>;

async fn an_event_bus(contract: impl AsyncFn(&EventBus, Heard<'_>)) {
    let aws = Ministack::shared();
    let bus = aws.bus();
    let heard = |count: usize| bus.heard(count);
    contract(&EventBus::new(cloud(aws.url()).eventbridge(), bus.name()), &heard).await;
}

/// How the contract of an archive sees what is kept under a name.
type Read<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

async fn a_bucket(contract: impl AsyncFn(&Bucket, Read<'_>)) {
    static BUCKETS: AtomicI64 = AtomicI64::new(0);
    let aws = Ministack::shared();
    let name = format!("archive-{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
    aws.call("s3", "create_bucket", &json!({ "Bucket": name })).expect("made");
    let bucket = Bucket::new(cloud(aws.url()).s3(), name.clone(), "folder");
    let read = |file: &str| {
        let mut found = ureq::get(format!("{}/{name}/folder/{file}", aws.url())).call().ok()?;
        Some(found.body_mut().read_to_vec().expect("read"))
    };
    contract(&bucket, &read).await;
}

#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn thousands_of_live_grants_of_one_target_are_kept_in_dynamodb_local() {
    dynamodb_local(async |it| store::thousands_of_live_grants_of_one_target_are_kept(it).await).await;
}

#[tokio::test]
#[ignore = "needs pypi"]
async fn thousands_of_live_grants_of_one_target_are_kept_in_ministack() {
    ministack(async |it| store::thousands_of_live_grants_of_one_target_are_kept(it).await).await;
}
