//! What it costs to close ten leases, among many that live on and among few: `cargo bench --workspace
//! --bench expire`. Its cost follows what is due, not what is live.
//!
//! What is done is what the function `expire` does when it is invoked, on firewalls that answer at once. In
//! redb it is timed, in rounds that alternate between the tables, so that whatever else the machine does meets
//! both. In DynamoDB, AWS's own for developers, calls and the units that they consume are counted: how long
//! that takes says nothing of AWS.

use futures_util::stream;
use jiff::Timestamp;
use portcullis_app::{
    Error, expire, hold, overdue,
    ports::{Batch, Clock, Firewalls, OurRule, Seen, Store},
};
use portcullis_aws::{Cloud, DynamoStore, Keys};
use portcullis_domain::{
    Action, AddressSet, Bands, Change, ChangeTo, ClaimToken, Existing, Families, Firewall, FirewallKind,
    Grant, GrantId, Held, Lease, Next, Rule, RuleName, Snapshot, TargetId,
};
use portcullis_gate::aws::{Local, Table, Wire, dynamodb};
use portcullis_local::RedbStore;
use portcullis_tests::given::{self, at, named};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How many leases live on, each on a target of its own.
const LIVE: [usize; 2] = [1_000, 100_000];
/// How many are due in a round.
const DUE: usize = 10;
/// How often it is timed, and how often counted.
const TIMED: usize = 41;
const COUNTED: usize = 3;
/// How much longer it may take among many.
const WANTED: f64 = 1.2;
/// How many targets are committed together.
const TOGETHER: usize = 20;
const TOGETHER_IN_DYNAMODB: usize = 5;
/// How many items are written at once, which is as many as may be, and by how many writers.
const WRITTEN_AT_ONCE: usize = 25;
const WRITERS: usize = 2;
/// Into how many parts the index is divided.
const SHARDS: usize = 4;
/// How far apart rounds are, by the tables' time: what was closed is looked at again after one minute and after
/// five, which is done between them.
const APART_SECS: i64 = 600;
const LOOKS_SECS: [i64; 2] = [70, 310];
/// How long what lives on has, at least; and the time over which its ends are spread.
const LIVES_ON_SECS: i64 = 8 * 3_600;
const SPREAD_SECS: usize = 7_200;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!(
        "{:<34} {:>18} {:>18} {:>10}",
        "ten leases that end", "among 1,000 live", "among 100,000", "wanted"
    );
    runtime.block_on(counted());
    runtime.block_on(timed());
}

async fn timed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut sides, mut times) = (vec![], [vec![], vec![]]);
    for live in LIVE {
        let store = RedbStore::open(&folder.path().join(format!("{live}.redb"))).expect("opens");
        let walls = Walls::default();
        commit(&store, &walls, &ending(TIMED), TOGETHER).await;
        let living: Vec<_> = (0..live).map(|n| (TIMED * DUE + n, lives_until(n))).collect();
        commit(&store, &walls, &living, TOGETHER).await;
        sides.push((store, walls));
    }
    for round in 0..TIMED {
        // Now the one is first, now the other.
        for n in [round % 2, (round + 1) % 2] {
            let (store, walls) = &sides[n];
            times[n].push(close(store, walls, round).await);
            look_again(store, walls, round).await;
        }
    }
    for side in &mut times {
        side.sort_unstable();
    }
    let shown = |n: usize| times.each_ref().map(|it| format!("{:.1?}", it[n]));
    let ([few_median, many_median], [few_best, many_best]) = (shown(TIMED / 2), shown(0));
    // What the work takes when nothing else is in the way: most of the median is the disk, and who else writes
    // to it.
    let ratio = times[1][0].as_secs_f64() / times[0][0].as_secs_f64();
    tell("in redb, median", &few_median, &many_median, "");
    tell("in redb, best", &few_best, &many_best, "");
    tell("the one against the other", "", &format!("{ratio:.2}"), &format!("<= {WANTED}"));
    assert!(ratio <= WANTED, "{ratio:.2} times as long: at most {WANTED}");
}

async fn counted() {
    let local = Local::shared();
    let (mut calls, mut units) = ([vec![], vec![]], [vec![], vec![]]);
    for (n, live) in LIVE.into_iter().enumerate() {
        let table = Table::local();
        let wire = Wire::measuring();
        wire.lead_to(local.url());
        let walls = Walls::default();
        let store = in_dynamodb(&table, &wire, &walls);
        commit(&store, &walls, &ending(COUNTED), TOGETHER_IN_DYNAMODB).await;
        let first = COUNTED * DUE;
        commit(&store, &walls, &[(first, lives_until(first))], 1).await;
        multiply(&table, first, live);
        for round in 0..COUNTED {
            let before = wire.calls().len();
            close(&store, &walls, round).await;
            let said = wire.calls().split_off(before);
            calls[n].push(said.len());
            units[n].push(said.iter().map(|it| it.consumed).sum::<f64>());
            look_again(&store, &walls, round).await;
        }
    }
    let shown = calls.each_ref().map(|it| it.iter().sum::<usize>().to_string());
    tell(&format!("in DynamoDB, calls of {COUNTED} rounds"), &shown[0], &shown[1], "the same");
    let sums = units.each_ref().map(|it| it.iter().sum::<f64>());
    tell(
        "units, as DynamoDB Local counts",
        &sums[0].to_string(),
        &sums[1].to_string(),
        &format!("<= {WANTED}"),
    );
    assert_eq!(calls[0], calls[1], "calls, round by round");
    // By when a worker is done, the clock finds an item more or less in the index, which is half a unit.
    assert!(sums[1] <= sums[0] * WANTED, "{sums:?}: at most {WANTED} times as many");
}

fn tell(what: &str, few: &str, many: &str, wanted: &str) {
    println!("{what:<34} {few:>18} {many:>18} {wanted:>10}");
}

/// What `expire` does when it is invoked.
async fn close(store: &impl Store, walls: &Walls, round: usize) -> Duration {
    walls.second.store(second(round), Ordering::Relaxed);
    let (begun, now) = (Instant::now(), walls.now());
    let token = || -> ClaimToken { named(&format!("round-{round}")) };
    let held = hold(store, walls, walls, token, stream::pending(), Some(now)).await;
    overdue(store, now).await.expect("nothing is late");
    let took = begun.elapsed();
    let held = held.expect("it has a clock");
    assert!(held.failure.is_none(), "{:?}", held.failure);
    assert_eq!(held.taken_on, DUE);
    took
}

async fn look_again(store: &impl Store, walls: &Walls, round: usize) {
    for (n, after) in LOOKS_SECS.into_iter().enumerate() {
        walls.second.store(second(round) + after, Ordering::Relaxed);
        let token = named(&format!("look-{round}-{n}"));
        expire(store, walls, &token, walls.now()).await.expect("looked at");
    }
}

/// When a round is.
fn second(round: usize) -> i64 {
    APART_SECS * i64::try_from(round + 1).expect("few")
}

/// What ends in each of so many rounds.
fn ending(rounds: usize) -> Vec<(usize, Timestamp)> {
    (0..rounds * DUE).map(|n| (n, at(second(n / DUE)))).collect()
}

fn lives_until(n: usize) -> Timestamp {
    at(LIVES_ON_SECS + i64::try_from(n % SPREAD_SECS).expect("small"))
}

async fn commit(store: &impl Store, walls: &Walls, all: &[(usize, Timestamp)], together: usize) {
    for part in all.chunks(together) {
        let one = |(n, end): &(usize, Timestamp)| (opened(*n, *end, walls), Seen::NEVER);
        let batch = Batch { targets: part.iter().map(one).collect(), ..Batch::default() };
        store.commit(batch).await.expect("committed");
    }
}

fn in_dynamodb(table: &Table, wire: &Wire, walls: &Walls) -> DynamoStore {
    let keys = Keys { id: "test".to_owned(), secret: "test".to_owned(), session: None };
    let cloud = Cloud::at("us-east-1".to_owned(), keys, Some(wire.url().to_owned())).expect("certificates");
    let clock = walls.clone();
    DynamoStore::new(cloud.dynamodb(), table.name(), table.name(), Arc::new(move || clock.now()))
}

/// As many targets as this one, each with an end and a place in the index of its own: what else the store keeps
/// of a target nobody asks for here, and the emulator takes long for it.
fn multiply(table: &Table, first: usize, live: usize) {
    let key = json!({ "pk": { "S": format!("T#{}", id(first)) }, "sk": { "S": "STATE" } });
    let wanted = json!({ "TableName": table.name(), "Key": key });
    let item = dynamodb(table.endpoint(), "GetItem", &wanted).expect("read")["Item"].to_string();
    let put = |n: usize| {
        let mut item: Value = serde_json::from_str(&item.replace(&id(first), &id(n))).expect("JSON still");
        assert!(item["due_shard"].is_object() && item["due_at"].is_object(), "it is in the index: {item}");
        item["due_shard"] = json!({ "S": format!("due#{}", n % SHARDS) });
        item["due_at"] = json!({ "S": format!("{:.9}", lives_until(n)) });
        json!({ "PutRequest": { "Item": item } })
    };
    let others: Vec<usize> = (first + 1..first + live).collect();
    let parts: Vec<&[usize]> = others.chunks(WRITTEN_AT_ONCE).collect();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (parts, put) = (&parts, &put);
            scope.spawn(move || {
                for part in parts.iter().skip(writer).step_by(WRITERS) {
                    let puts: Vec<Value> = part.iter().map(|n| put(*n)).collect();
                    let with = json!({ "RequestItems": { (table.name()): puts } });
                    let answer = dynamodb(table.endpoint(), "BatchWriteItem", &with).expect("written");
                    assert_eq!(answer["UnprocessedItems"], json!({}), "all of it");
                }
            });
        }
    });
}

fn id(n: usize) -> String {
    format!("/subscriptions/s/resourcegroups/farm/providers/microsoft.compute/virtualmachines/vm-{n:06}")
}

/// A target that was seen to be open for one lease, long ago, of which it was told that it ends; its firewall holds that.
fn opened(n: usize, end: Timestamp, walls: &Walls) -> Next {
    let id: TargetId = named(&id(n));
    let before = at(-3_600);
    let guarded = given::guarded(id.as_str(), before);
    let request = given::request("ann", &format!("key-{n}"), id.as_str(), before);
    let lease = Lease::starting(before, end.duration_since(before)).expect("a lease");
    let grant = Grant { lease, ..given::grant(&request, &id, before) };
    let granted = guarded.target.grant(vec![grant], None, before);
    let claimed = granted.target.claim(&named("first"), before);
    let rules = claimed.target.rules(before);
    let held = rules.iter().map(|(name, rule)| {
        // Each is the only one of its kind, and an allow stands above a deny.
        let priority = match rule {
            Rule::Allow { .. } => 100,
            Rule::Deny { .. } => 200,
        };
        (name.clone(), Held { rule: Some(rule.clone()), priority, beside: vec![], etag: None })
    });
    let held: BTreeMap<RuleName, Held> = held.collect();
    let confirmed = claimed.target.confirm(&snapshot(&held, before), false, &rules, before);
    let soon = confirmed.target.due_at().expect("its end is near then");
    let again = confirmed.target.claim(&named("second"), soon);
    let told = again.target.confirm(&snapshot(&held, soon), false, &rules, soon);
    assert_eq!(told.target.due_at(), Some(end), "it was seen to be open, and nobody has to look again");
    walls.held.lock().expect("not poisoned").insert(id, held);
    let entries =
        [guarded.entries, granted.entries, claimed.entries, confirmed.entries, again.entries, told.entries];
    let grants = [granted.grants, confirmed.grants, told.grants].concat();
    let grants: BTreeMap<GrantId, Grant> = grants.into_iter().map(|it| (it.id.clone(), it)).collect();
    Next { target: told.target, entries: entries.concat(), grants: grants.into_values().collect() }
}

fn snapshot(held: &BTreeMap<RuleName, Held>, now: Timestamp) -> Snapshot {
    let firewall = Firewall {
        id: named("nsg"),
        kind: FirewallKind::Ordered { otherwise: Action::Deny },
        bands: Bands { allows: 100..200, denies: 200..300, existing: Existing::Override },
        inside: AddressSet::default(),
        families: Families::BOTH,
        ours: held.clone(),
        foreign: vec![],
    };
    Snapshot::of(now, vec![firewall])
}

/// Firewalls that answer at once, each of one target, and a clock that stands still.
#[derive(Clone, Default)]
struct Walls {
    held: Arc<Mutex<BTreeMap<TargetId, BTreeMap<RuleName, Held>>>>,
    second: Arc<AtomicI64>,
}

impl Firewalls for Walls {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        Ok(snapshot(&self.held.lock().expect("not poisoned")[target], self.now()))
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        Ok(vec![])
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        let mut all = self.held.lock().expect("not poisoned");
        let held = all.get_mut(target.expect("of a target")).expect("a known one");
        for change in changes {
            match &change.to {
                ChangeTo::Put { rule, priority } => {
                    let rule = Some(rule.clone());
                    let put = Held { rule, priority: *priority, beside: vec![], etag: None };
                    held.insert(change.name.clone(), put);
                }
                ChangeTo::Delete => drop(held.remove(&change.name)),
            }
        }
        Ok(())
    }
}

impl Clock for Walls {
    fn now(&self) -> Timestamp {
        at(self.second.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, at: Timestamp) -> Result<(), Error> {
        if self.now() < at {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
