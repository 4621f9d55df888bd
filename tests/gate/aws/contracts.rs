//! What AWS keeps and tells passes the suites of the ports, like every other implementation.

use portcullis_app::{
    Happened, Reached, Wanted,
    ports::{Authentication as _, Batch, Seen, Store as _, Tokens as _},
};
use portcullis_aws::{Bucket, DynamoStore, EventBus, TokenBook};
use portcullis_domain::{Fact, Token, TokenTerms};
use portcullis_gate::aws::{Ministack, Table, cloud, dynamodb};
use portcullis_tests::{
    contracts::{
        authentication::{self, ByBook},
        feed, store,
    },
    door,
    given::{self, at},
};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

portcullis_tests::every_contract_of_a_bus! { #[ignore = "needs pypi"] an_event_bus }
portcullis_tests::every_contract_of_tokens! { #[ignore = "needs npm and pypi"] tokens_in_dynamodb_local, #[ignore = "needs pypi"] tokens_in_ministack }
portcullis_tests::every_contract_of_authentication! { #[ignore = "needs npm and pypi"] a_book_in_dynamodb_local, #[ignore = "needs pypi"] a_book_in_ministack }
portcullis_tests::every_contract_of_an_archive! { #[ignore = "needs pypi"] a_bucket }
portcullis_tests::every_contract_of_a_store! { #[ignore = "needs npm and pypi"] dynamodb_local, #[ignore = "needs pypi"] ministack }

portcullis_tests::every_contract_of_a_feed! { #[ignore = "needs npm and pypi"] the_feed_of_dynamodb_local, #[ignore = "needs pypi"] the_feed_of_ministack }

async fn the_feed_of_dynamodb_local(contract: impl AsyncFn(&DynamoStore)) {
    dynamodb_local(contract).await;
}

async fn the_feed_of_ministack(contract: impl AsyncFn(&DynamoStore)) {
    ministack(contract).await;
}

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

async fn a_book_in_dynamodb_local(contract: impl AsyncFn(&ByBook<TokenBook>)) {
    let table = Table::local();
    contract(&ByBook(TokenBook::of(&Arc::new(in_dynamodb(&table)), given::dice))).await;
}

async fn a_book_in_ministack(contract: impl AsyncFn(&ByBook<TokenBook>)) {
    let table = Table::ministack();
    contract(&ByBook(TokenBook::of(&Arc::new(in_dynamodb(&table)), given::dice))).await;
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

/// The entries of a version without a feed are in their chains alone: they are read there until the feed has every entry.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn a_table_of_a_version_without_a_feed_tells_all_of_its_entries() {
    const DEPLOYS_FOR: i64 = 15 * 60;
    let table = Table::local();
    let store = in_dynamodb(&table);
    let guard = async |name: &str, second: i64| {
        store.commit(Batch::of(given::guarded(name, at(second)), Seen::NEVER)).await.expect("committed");
    };
    let kinds = async |since: i64, now: i64| {
        let (from, all) = (Reached::time(at(since)), Wanted::default());
        let told: Happened = door::happened(&store, &from, &all, at(now)).await.expect("told");
        told.events.into_iter().map(|it| it.detail.id).collect::<Vec<_>>()
    };
    guard("vm-1", 10).await;
    guard("vm-2", 20).await;
    let stored = dynamodb(table.endpoint(), "Scan", &json!({ "TableName": table.name() })).expect("read");
    let of_entries = |it: &&Value| it["pk"]["S"].as_str().is_some_and(|it| it.starts_with("J#"));
    for item in stored["Items"].as_array().expect("items").iter().filter(of_entries) {
        let remove = json!({
            "TableName": table.name(), "Key": { "pk": item["pk"], "sk": item["sk"] },
            "UpdateExpression": "REMOVE due_shard, due_at",
        });
        dynamodb(table.endpoint(), "UpdateItem", &remove).expect("as the version before wrote it");
    }
    assert_eq!(store.feed(at(0), None, 10).await.expect("read"), []);
    let [one, two, three, four] = [1, 2, 3, 4].map(|n| format!("vm-{n}#0#policy.changed"));
    assert_eq!(kinds(0, 30).await, [one.clone(), two.clone()]);
    guard("vm-3", 1000).await;
    assert_eq!(store.feed_begins().await.expect("read"), at(1000 + DEPLOYS_FOR));
    assert_eq!(kinds(0, 1001).await, [one, two, three]);
    guard("vm-4", 3000).await;
    assert_eq!(kinds(2900, 3001).await, [four]);
}

/// A token of a version without terms has no end, and its use is kept from now on.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn a_token_of_an_older_version_in_dynamodb_is_valid_without_an_end() {
    let table = Table::local();
    let book = TokenBook::of(&Arc::new(in_dynamodb(&table)), given::dice);
    let terms = TokenTerms { purpose: None, expires_at: Some(at(600)) };
    let ann = given::person("ann");
    let bearer = book.issue(&ann, &terms, (&given::person("operator")).into(), at(0)).await.expect("issued");
    let stored = dynamodb(table.endpoint(), "Scan", &json!({ "TableName": table.name() })).expect("read");
    let of_digests = |it: &&Value| it["pk"]["S"].as_str().is_some_and(|it| it.starts_with("K#"));
    let items: Vec<&Value> = stored["Items"].as_array().expect("items").iter().filter(of_digests).collect();
    let [item] = items[..] else { panic!("{stored}") };
    let remove = json!({
        "TableName": table.name(), "Key": { "pk": item["pk"], "sk": item["sk"] }, "UpdateExpression": "REMOVE body",
    });
    dynamodb(table.endpoint(), "UpdateItem", &remove).expect("as the version before wrote it");
    let old = Token { person: ann.clone(), made_at: at(0), terms: None, used_at: None };
    assert_eq!(book.list().await.expect("listed"), [old]);
    let proven = book.authenticate(&bearer, at(1_000)).await.expect("answers").expect("it has no end");
    assert_eq!(proven.id, ann);
}

/// What `docs/performance.md` reckons with: the feed is one write of one index for each commit that records something.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn an_item_of_entries_takes_one_write_of_one_index() {
    let (table, other) = (Table::local(), Table::local());
    let store = in_dynamodb(&table);
    let guarded = given::guarded("vm-1", at(0));
    store.commit(Batch::of(guarded.clone(), Seen::NEVER)).await.expect("committed");
    let noted = guarded.target.note(vec![Fact::DriftHealed, Fact::DriftHealed], at(1));
    let last = noted.entries.last().expect("two").n;
    store.commit(Batch::of(noted, Seen::NEVER.next())).await.expect("committed");
    let key = json!({ "pk": { "S": "J#vm-1" }, "sk": { "S": format!("{last:020}") } });
    let get = json!({ "TableName": table.name(), "Key": key });
    let item = dynamodb(table.endpoint(), "GetItem", &get).expect("read")["Item"].clone();
    let put = json!({ "TableName": other.name(), "Item": item, "ReturnConsumedCapacity": "INDEXES" });
    let consumed = dynamodb(other.endpoint(), "PutItem", &put).expect("written")["ConsumedCapacity"].clone();
    let indexes = consumed["GlobalSecondaryIndexes"].as_object().expect("one is written");
    assert_eq!(indexes.keys().collect::<Vec<_>>(), ["due"]);
    assert_eq!(
        (&indexes["due"]["CapacityUnits"], &consumed["Table"]["CapacityUnits"]),
        (&json!(1.0), &json!(1.0))
    );
}
