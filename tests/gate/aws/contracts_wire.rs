//! What AWS does seldom, in the very form that it does it: successes with failures in them, and answers that are lost.

use portcullis_app::{
    Error, Event,
    ports::{
        Authentication as _, Batch, Bus, NotPublished, PageAsked, RequestFilter, Seen, Store, Tokens as _,
    },
    relay,
};
use portcullis_aws::{DynamoStore, EventBus, TokenBook};
use portcullis_domain::{Chain, Entry, Fact, Head, TokenTerms};
use portcullis_gate::aws::{Fault, Proxy, StandIn, Table, cloud, dynamodb};
use portcullis_tests::{
    binary::{program, text},
    contracts::bus::{entries, found, healed, told},
    given::{self, at, guarded, named, request},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How many events EventBridge takes at a time, and how many bytes.
const ENTRIES_MAX: usize = 10;
const BYTES_MAX: usize = 256 * 1024;
/// How often events that were not taken are put, the first time with the others.
const PUTS_MAX: usize = 4;
/// How often a transaction that meets another one is tried.
const MEETINGS_MAX: usize = 4;
const TRANSACTION: &str = "TransactWriteItems";

#[tokio::test]
async fn what_was_not_taken_alone_is_put_again() {
    const PUTS: usize = 3;
    let events = told(&healed(12));
    let slow = ids(&[&events[3], &events[11]]);
    let aws = eventbridge({
        let slow = slow.clone();
        move |id: &String, times: usize| !slow.contains(id) || PUTS <= times
    });
    let not = bus(&aws).publish(&events).await.expect("published");
    assert!(not.is_empty(), "{not:?}");
    let all: Vec<&Event> = events.iter().collect();
    assert_eq!(puts(&aws), [ids(&all[..ENTRIES_MAX]), ids(&all[ENTRIES_MAX..]), slow.clone(), slow]);
}

#[tokio::test]
async fn what_is_never_taken_is_named_one_by_one() {
    const NEVER: [usize; 3] = [2, 7, 11];
    let entries = healed(12);
    let events = told(&entries);
    let never = ids(&NEVER.map(|at| &events[at]));
    let aws = eventbridge({
        let never = never.clone();
        move |id: &String, _: usize| !never.contains(id)
    });
    let why = "ThrottlingException: too many".to_owned();
    let not = bus(&aws).publish(&events).await.expect("the others are published");
    assert_eq!(not, NEVER.map(|at| NotPublished { at, why: why.clone(), is_hopeless: false }));
    let puts = puts(&aws);
    let again = &puts[events.len().div_ceil(ENTRIES_MAX)..];
    assert_eq!(again, vec![never; PUTS_MAX - 1]);
    // Whoever relays is told, so that the stream gives it all of them once more.
    let relayed = relay(&bus(&aws), &entries).await.expect_err("not all were published");
    let said = relayed.full();
    assert!(matches!(relayed, Error::Unavailable { .. }), "{said}");
    assert!(said.contains(&why) && said.contains("3 of 12"), "{said}");
}

/// To the byte, as EventBridge counts them; the emulators take anything.
#[tokio::test]
async fn what_is_hopeless_is_never_put() {
    // So long that its sentence is cut, and grows no more.
    const LONG: usize = 2_000;
    let aws = eventbridge(|_, _| true);
    let long = told(&entries(vec![found(LONG)]));
    let most = LONG + BYTES_MAX - bytes(&long[0]);
    let facts = vec![Fact::DriftHealed, found(most + 1), found(most), Fact::DriftHealed];
    let events = told(&entries(facts));
    assert_eq!([bytes(&events[1]), bytes(&events[2])], [BYTES_MAX + 1, BYTES_MAX]);
    let not = bus(&aws).publish(&events).await.expect("the others are published");
    let hopeless: Vec<(usize, bool)> = not.iter().map(|it| (it.at, it.is_hopeless)).collect();
    assert_eq!(hopeless, [(1, true)]);
    assert!(not[0].why.contains(&events[1].detail.id), "{not:?}");
    assert_eq!(puts(&aws).concat(), ids(&[&events[0], &events[2], &events[3]]));
    // And it holds up no relay.
    let hopeless = relay(&bus(&aws), &entries(vec![found(most + 1)])).await;
    assert!(hopeless.is_ok(), "{hopeless:?}");
}

/// Whoever retries what took effect has not lost a race; whoever keeps meeting others has.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn an_answer_that_is_lost_is_no_lost_race() {
    let table = Table::local();
    let proxy = Proxy::before(table.endpoint());
    let store = in_table(&table, proxy.url());
    proxy.plan(TRANSACTION, Fault::Unanswered);
    store.commit(Batch::of(guarded("vm-1", at(0)), Seen::NEVER)).await.expect("it took effect");
    assert_eq!(proxy.fired(), [TRANSACTION]);
    is_there_once(&store, "vm-1").await;
    // The same where nothing but the end of a chain is written.
    proxy.plan(TRANSACTION, Fault::Unanswered);
    let rest = rest();
    store.commit(Batch { rest: rest.clone(), ..Batch::default() }).await.expect("it took effect");
    assert_eq!(store.entries(&Chain::rest(), 0, 10).await.expect("read"), rest);
    assert_eq!(proxy.fired(), [TRANSACTION]);

    for meetings in [MEETINGS_MAX - 1, MEETINGS_MAX] {
        let name = format!("met-{meetings}");
        for _ in 0..meetings {
            proxy.plan(TRANSACTION, Fault::Conflicting);
        }
        let outcome = store.commit(Batch::of(guarded(&name, at(0)), Seen::NEVER)).await;
        assert_eq!(proxy.fired(), vec![TRANSACTION; meetings], "each try met another one");
        if meetings < MEETINGS_MAX {
            outcome.expect("the last try met nobody");
            is_there_once(&store, &name).await;
        } else {
            assert!(matches!(outcome, Err(Error::Conflict)), "{outcome:?}");
            assert_eq!(store.target(&named(&name)).await.expect("read"), None, "nothing was written");
        }
    }
}

/// What becomes of a put on its way.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It takes effect, and nobody hears of it.
    Lost,
    /// It meets a transaction.
    Met,
}

/// What is alone in its commit goes without a transaction, and so without a token: a worker's claim, which has nothing to
/// record.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn an_answer_to_a_change_alone_that_is_lost_is_no_lost_race() {
    const PUT: &str = "PutItem";
    let table = Table::local();
    let known = Known { endpoint: table.endpoint().to_owned(), name: table.name().to_owned() };
    let fates = Arc::new(Mutex::new(vec![]));
    let planned = Arc::clone(&fates);
    let aws = StandIn::who(move |operation, with| {
        let fate = if operation == PUT { planned.lock().expect("whole").pop() } else { None };
        match fate {
            Some(Fate::Lost) => {
                dynamodb(&known.endpoint, operation, with).expect("it took effect");
                (500, json!({ "__type": "InternalServerError" }))
            }
            Some(Fate::Met) => (400, json!({ "__type": "TransactionConflictException" })),
            None => answered(dynamodb(&known.endpoint, operation, with)),
        }
    });
    let store = in_table(&table, aws.url());
    let mut puts = 0;
    for (name, plan, tries, is_written) in [
        ("vm-1", vec![Fate::Lost], 2, true),
        ("vm-2", vec![Fate::Met; MEETINGS_MAX - 1], MEETINGS_MAX, true),
        ("vm-3", vec![Fate::Met; MEETINGS_MAX], MEETINGS_MAX, false),
    ] {
        let known = guarded(name, at(0));
        let claimed = known.target.clone().claim(&named("worker"), at(0));
        assert!(claimed.entries.is_empty(), "it is alone");
        store.commit(Batch::of(known, Seen::NEVER)).await.expect("committed");
        *fates.lock().expect("whole") = plan;
        let outcome = store.commit(Batch::of(claimed.clone(), Seen(1))).await;
        puts += tries;
        assert_eq!(aws.calls(PUT).len(), puts, "{name}");
        let (target, seen) = store.target(&named(name)).await.expect("read").expect("there");
        assert_eq!((target.is_claimed(), seen), (is_written, Seen(1 + u64::from(is_written))), "{name}");
        assert_eq!(outcome.is_ok(), is_written, "{name}: {outcome:?}");
        // Whoever comes with what was seen before it has lost.
        if is_written {
            let late = store.commit(Batch::of(claimed, Seen(1))).await;
            assert!(matches!(late, Err(Error::Conflict)), "{name}: {late:?}");
            puts += 1;
        }
    }
}

/// Long after, DynamoDB does not know the token of the transaction any more: the name that it left tells.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn what_was_written_is_known_by_the_name_that_it_left() {
    let table = Table::local();
    let aws = losing_the_first(&table, |table, n, with| {
        with["ClientRequestToken"] = json!(format!("forgotten-{}-{n}", table.name));
    });
    let store = in_table(&table, aws.url());
    store.commit(Batch::of(guarded("vm-1", at(0)), Seen::NEVER)).await.expect("it was written");
    assert_eq!(aws.calls(TRANSACTION).len(), 2, "the first answer was lost");
    is_there_once(&store, "vm-1").await;
    // Somebody else's is not ours: they left another name.
    let other = in_table(&table, table.endpoint());
    let lost = other.commit(Batch::of(guarded("vm-1", at(0)), Seen::NEVER)).await;
    assert!(matches!(lost, Err(Error::Conflict)), "{lost:?}");
}

/// Somebody may have written over that name before the retry: the token tells then.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn what_was_written_is_known_by_its_token() {
    let table = Table::local();
    let aws = losing_the_first(&table, |table, n, _| {
        if 0 < n {
            let written_over = json!({
                "TableName": table.name,
                "Key": { "pk": { "S": "T#vm-1" }, "sk": { "S": "STATE" } },
                "UpdateExpression": "SET #commit = :other",
                "ExpressionAttributeNames": { "#commit": "commit" },
                "ExpressionAttributeValues": { ":other": { "S": "somebody-elses" } },
                "ConditionExpression": "attribute_exists(#commit)",
            });
            dynamodb(&table.endpoint, "UpdateItem", &written_over).expect("written over");
        }
    });
    let store = in_table(&table, aws.url());
    store.commit(Batch::of(guarded("vm-1", at(0)), Seen::NEVER)).await.expect("it was written");
    let tokens: Vec<Value> =
        aws.calls(TRANSACTION).iter().map(|it| it["ClientRequestToken"].clone()).collect();
    assert!(tokens.len() == 2 && tokens[0] == tokens[1] && tokens[0].is_string(), "{tokens:?}");
    is_there_once(&store, "vm-1").await;
}

/// Each partition of an index is behind for itself: what went from one to another stands in both for a moment, and nobody may
/// ask for one key twice.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn what_stands_in_two_lists_for_a_moment_is_listed_once() {
    let table = Table::local();
    let endpoint = table.endpoint().to_owned();
    let aws = StandIn::who(move |operation, with| {
        let mut with = with.clone();
        let partition = &mut with["ExpressionAttributeValues"][":pk"]["S"];
        if *partition == "requests#pending" {
            *partition = json!("requests#approved");
        }
        answered(dynamodb(&endpoint, operation, &with))
    });
    let store = in_table(&table, aws.url());
    let requests = ["1", "2", "3"].map(|key| request("ann", key, "vm-1", at(0)));
    for it in &requests {
        let batch = Batch { request: Some((it.clone(), Seen::NEVER)), ..Batch::default() };
        store.commit(batch).await.expect("committed");
    }
    for at_most in [2, 3, 10] {
        let (mut listed, mut after) = (vec![], None);
        loop {
            let page = store.requests(&RequestFilter::default(), &PageAsked { after, at_most }).await;
            let page = page.unwrap_or_else(|error| panic!("{}", error.full()));
            listed.extend(page.items.into_iter().map(|it| it.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        listed.sort_unstable();
        let mut wanted: Vec<_> = requests.iter().map(|it| it.id.clone()).collect();
        wanted.sort_unstable();
        assert_eq!(listed, wanted, "{at_most} a page");
    }
}

/// A table that is busy gives a part of what it is asked for, or nothing.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn what_a_busy_table_leaves_out_is_asked_for_again() {
    const BATCH: &str = "BatchGetItem";
    let table = Table::local();
    let (endpoint, busy) = (table.endpoint().to_owned(), Arc::new(AtomicUsize::new(0)));
    let left = Arc::clone(&busy);
    let aws = StandIn::who(move |operation, with| {
        let is_busy = |it: usize| it.checked_sub(1);
        let busy = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_busy).is_ok();
        if operation == BATCH && busy() {
            return (200, json!({ "Responses": {}, "UnprocessedKeys": with["RequestItems"] }));
        }
        answered(dynamodb(&endpoint, operation, with))
    });
    let store = in_table(&table, aws.url());
    store.commit(Batch::of(guarded("vm-1", at(0)), Seen::NEVER)).await.expect("committed");
    busy.store(2, Ordering::Relaxed);
    let targets = store.targets(None, 10).await.expect("at last");
    assert_eq!(targets, [guarded("vm-1", at(0)).target]);
    assert_eq!(aws.calls(BATCH).len(), 3);
    busy.store(usize::MAX, Ordering::Relaxed);
    let never = store.targets(None, 10).await;
    assert!(matches!(never, Err(Error::Unavailable { .. })), "{never:?}");
}

/// EventBridge that takes an entry or not, by the id of its event and how often it has been put.
fn eventbridge(is_taken: impl Fn(&String, usize) -> bool + Send + Sync + 'static) -> StandIn {
    let puts = Mutex::new(BTreeMap::<String, usize>::new());
    StandIn::who(move |operation, with| {
        assert_eq!(operation, "PutEvents");
        let mut puts = puts.lock().expect("not poisoned");
        let mut failed = 0;
        let mut answer = |entry: &Value| {
            let id = id(entry);
            let times = puts.entry(id.clone()).or_default();
            *times += 1;
            if is_taken(&id, *times) {
                return json!({ "EventId": id });
            }
            failed += 1;
            json!({ "ErrorCode": "ThrottlingException", "ErrorMessage": "too many" })
        };
        let answers: Vec<Value> = entries_of(with).iter().map(&mut answer).collect();
        (200, json!({ "FailedEntryCount": failed, "Entries": answers }))
    })
}

fn bus(aws: &StandIn) -> EventBus {
    EventBus::new(cloud(aws.url()).eventbridge(), "bus")
}

/// The ids of what was put, each time.
fn puts(aws: &StandIn) -> Vec<Vec<String>> {
    aws.calls("PutEvents").iter().map(|it| entries_of(it).iter().map(id).collect()).collect()
}

fn entries_of(put: &Value) -> &[Value] {
    put["Entries"].as_array().expect("entries")
}

fn id(entry: &Value) -> String {
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().expect("text")).expect("JSON");
    detail["id"].as_str().expect("text").to_owned()
}

fn ids(events: &[&Event]) -> Vec<String> {
    events.iter().map(|it| it.detail.id.clone()).collect()
}

/// As EventBridge counts them: source, type, detail, and 14 for the time.
fn bytes(event: &Event) -> usize {
    "portcullis".len() + event.kind.len() + json!(event.detail).to_string().len() + 14
}

/// A table, as whoever answers for it knows it.
struct Known {
    endpoint: String,
    name: String,
}

/// DynamoDB whose answer to the first transaction is lost after it took effect. What is told of each, and how many came before it,
/// is changed on its way.
fn losing_the_first(
    table: &Table,
    change: impl Fn(&Known, usize, &mut Value) + Send + Sync + 'static,
) -> StandIn {
    let known = Known { endpoint: table.endpoint().to_owned(), name: table.name().to_owned() };
    let count = AtomicUsize::new(0);
    StandIn::who(move |operation, with| {
        if operation != TRANSACTION {
            return answered(dynamodb(&known.endpoint, operation, with));
        }
        let (n, mut with) = (count.fetch_add(1, Ordering::Relaxed), with.clone());
        change(&known, n, &mut with);
        let answer = answered(dynamodb(&known.endpoint, operation, &with));
        if n == 0 {
            assert_eq!(answer.0, 200, "it took effect: {}", answer.1);
            return (500, json!({ "__type": "InternalServerError" }));
        }
        answer
    })
}

fn answered(answer: Result<Value, Value>) -> (u16, Value) {
    answer.map_or_else(|refused| (400, refused), |answer| (200, answer))
}

/// Whoever writes has a name of its own.
/// A use that cannot be written fails no call, keeps none waiting, and is written by a later one.
#[tokio::test]
#[ignore = "needs npm and pypi"]
async fn an_unwritten_use_of_a_token_holds_up_no_call_and_is_written_later() {
    const UPDATE: &str = "UpdateItem";
    const LATE: Duration = Duration::from_secs(10);
    const TRIES_MAX: i64 = 30;
    let table = Table::local();
    let proxy = Proxy::before(table.endpoint());
    let book = TokenBook::of(&Arc::new(in_table(&table, proxy.url())), given::dice);
    let (ann, by) = (given::person("ann"), given::person("operator"));
    let bearer = book.issue(&ann, &TokenTerms::default(), (&by).into(), at(0)).await.expect("issued");
    proxy.plan(UPDATE, Fault::Late(LATE));
    let began = Instant::now();
    let proven = book.authenticate(&bearer, at(0)).await.expect("answers").expect("valid");
    assert!(proven.id == ann && began.elapsed() < LATE, "{:?}", began.elapsed());
    assert_eq!(proxy.fired(), [UPDATE]);
    for tried in 1..TRIES_MAX {
        assert!(book.authenticate(&bearer, at(60 * tried)).await.expect("answers").is_ok());
        if book.list().await.expect("listed")[0].used_at.is_some() {
            return;
        }
    }
    panic!("no use was written in {TRIES_MAX} tries");
}

fn in_table(table: &Table, endpoint: &str) -> DynamoStore {
    let writer = format!("{} by {endpoint}", table.name());
    DynamoStore::new(cloud(endpoint).dynamodb(), table.name(), writer, Arc::new(|| at(0)))
}

async fn is_there_once(store: &DynamoStore, name: &str) {
    let wanted = guarded(name, at(0));
    let (target, seen) = store.target(&wanted.target.id).await.expect("read").expect("there");
    assert_eq!((&target, seen), (&wanted.target, Seen(1)));
    let entries = store.entries(&Chain::from(&target.id), 0, 10).await.expect("read");
    assert_eq!(entries, wanted.entries);
}

/// What concerns no target.
fn rest() -> Vec<Entry> {
    Head::default().append(&Chain::rest(), at(0), [Fact::DriftHealed]).1
}

/// The program with keys that a command gives, which says by a file how often it was run; asks whether there is a stack.
fn looks_for_a_stack(aws: &StandIn, id: &str) -> (Output, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let runs = at("runs");
    let keys = format!(
        "#!/bin/sh\necho run >>{0}\nn=$(wc -l <{0})\necho '{{\"Version\":1,\"AccessKeyId\":\"'\"{id}\"'\",\"SecretAccessKey\":\"s\"}}'\n",
        runs.display()
    );
    fs::write(at("keys.sh"), keys).expect("written");
    let config =
        format!("[profile p]\nregion = eu-central-1\ncredential_process = sh {}\n", at("keys.sh").display());
    fs::write(at("config"), config).expect("written");
    let output = Command::new(program())
        .args(["deploy-check", "--aws-profile", "p"])
        .env("HOME", folder.path())
        .env("AWS_CONFIG_FILE", at("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", at("none"))
        .env("AWS_ENDPOINT_URL", aws.url())
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_PROFILE")
        .output()
        .expect("runs");
    (output, fs::read_to_string(runs).unwrap_or_default().lines().count())
}

/// Answers every look: the first time that the keys have expired, and then that there is no such stack.
fn expired_once() -> (StandIn, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let aws = StandIn::who(move |_, _| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => (403, json!({ "__type": "ExpiredTokenException", "message": "the token is expired" })),
        _ => (400, json!({ "__type": "ValidationError", "message": "Stack does not exist" })),
    });
    (aws, calls)
}

#[test]
fn keys_that_are_refused_before_their_end_are_replaced_and_the_call_made_once_more() {
    let (aws, calls) = expired_once();
    let (output, runs) = looks_for_a_stack(&aws, "key-$n");
    let told = text(&output.stderr);
    assert!(
        !told.contains("Expired") && told.contains("does not exist") || told.contains("no stack"),
        "{told}"
    );
    assert!(2 <= calls.load(Ordering::Relaxed) && 2 <= runs, "{runs} runs: {told}");
}

#[test]
fn keys_that_are_refused_and_have_no_others_in_their_place_are_told_so() {
    let (aws, calls) = expired_once();
    let (output, _) = looks_for_a_stack(&aws, "key");
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(told.contains("ExpiredToken"), "{told}");
    assert_eq!(calls.load(Ordering::Relaxed), 1, "nothing else would have come of it");
}
