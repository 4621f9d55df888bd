//! The first tables of docs/performance.md, measured: `cargo bench --workspace --bench ratios`.
//!
//! Machines differ and are noisy, so wherever it can be, a figure is a ratio of two things of one run.

use axum::Router;
use jiff::SignedDuration;
use portcullis_app::ports::{Batch, Seen, Store};
use portcullis_domain::{
    Action, AddressSet, Bands, Existing, Families, Firewall, FirewallKind, Grant, GrantId, Held, Lease, Next,
    Request, RequestId, Review, RuleSet, Snapshot, Sources, Target, TargetId, Terms, Waits, diff, review,
};
use portcullis_local::RedbStore;
use portcullis_tests::{
    given::{self, HOUR, at, guarded, named},
    place::Place,
};
use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

fn main() {
    println!("{:<58} {:>14} {:>12}", "what", "measured", "wanted");
    review_of_a_request();
    rules_and_diff();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(asks_per_commit());
    runtime.block_on(due_among_many());
}

fn tell(what: &str, measured: &str, wanted: &str) {
    println!("{what:<58} {measured:>14} {wanted:>12}");
}

/// The best of a few rounds: what the work costs when nothing else is in the way.
fn best(rounds: usize, each: u32, mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        (0..each).for_each(|_| work());
        start.elapsed() / each
    };
    (0..rounds).map(round).min().expect("at least one round")
}

/// A request for one port of one target with a policy, from a known network.
fn review_of_a_request() {
    let target = guarded("vm-1", at(0)).target;
    let request = given::request("ann", "key", "vm-1", at(0));
    let targets = BTreeMap::from([(target.id.clone(), target)]);
    let terms = Terms::default();
    assert!(matches!(review(&request, &targets, &terms, at(0), &Waits::default()), Review::Allowed(_)));
    let each = best(20, 10_000, || {
        drop(black_box(review(black_box(&request), &targets, &terms, at(0), &Waits::default())));
    });
    tell("review of a request", &format!("{:.2} µs", micros(each)), "< 10 µs");
}

/// What a target with 500 live leases must hold, and the way there from what it does hold.
fn rules_and_diff() {
    const LEASES: u8 = 250;
    let mut target = guarded("vm-1", at(0)).target;
    for n in 0..2 * u16::from(LEASES) {
        let request = given::request("ann", &n.to_string(), "vm-1", at(0));
        let [high, low] = n.to_be_bytes();
        let sources: Sources = named(&format!("198.51.{high}.{low}"));
        let grant = Grant { sources, ..given::grant(&request, &target.id, at(0)) };
        target = target.grant(vec![grant], None, at(0)).target;
    }
    let held = |rules: RuleSet| {
        let held =
            |(name, rule)| (name, Held { rule: Some(rule), priority: 200, beside: vec![], etag: None });
        let firewall = Firewall {
            id: named("nsg"),
            kind: FirewallKind::Ordered { otherwise: Action::Deny },
            bands: Bands { allows: 100..200, denies: 200..300, existing: Existing::Override },
            inside: AddressSet::default(),
            families: Families::BOTH,
            ours: rules.into_iter().map(held).collect(),
            foreign: vec![],
        };
        Snapshot::of(at(0), vec![firewall])
    };
    let actual = held(target.rules(at(-1)));
    let each = best(10, 20, || drop(black_box(diff(&actual, &target.owner(), &target.rules(at(1))))));
    tell(
        "rules and diff of a target with 500 live leases",
        &format!("{:.3} ms", micros(each) / 1e3),
        "< 1 ms",
    );
}

/// Asks over HTTP, each with its own durable commit, against the same commits without HTTP. They are spread over many
/// machines, and nothing settles them: `closing` measures whole lives.
async fn asks_per_commit() {
    const CALLERS: usize = 32;
    const TARGETS: usize = 512;
    const CALLS: usize = 4096;
    const ROUNDS: usize = 3;
    let place = Place::new();
    let token = place.token("ann").await;
    for n in 0..2 * TARGETS {
        let next = guarded(&format!("vm-{n}"), at(0));
        place.store().commit(Batch::of(next, Seen::NEVER)).await.expect("committed");
    }
    let app: Router = place.router();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("has an address");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let (mut commits, mut asks) = (0.0_f64, 0.0_f64);
    // Turn about, so that whatever else the machine does meets both.
    for round in 0..ROUNDS {
        let numbers = AtomicUsize::new(round * CALLS);
        let started = Instant::now();
        let work = (0..CALLERS).map(|_| async {
            while let Some(n) = next(&numbers, (round + 1) * CALLS) {
                commit_one(place.store(), n, TARGETS).await;
            }
        });
        futures_util::future::join_all(work).await;
        commits += per_second(CALLS, started.elapsed());

        let numbers = Arc::new(AtomicUsize::new(round * CALLS));
        let started = Instant::now();
        let work = (0..CALLERS).map(|_| {
            let (token, numbers) = (token.clone(), Arc::clone(&numbers));
            tokio::task::spawn_blocking(move || {
                let agent = ureq::Agent::new_with_defaults();
                while let Some(n) = next(&numbers, (round + 1) * CALLS) {
                    ask_one(&agent, address, &token, n, TARGETS);
                }
            })
        });
        futures_util::future::join_all(work).await.into_iter().for_each(|it| it.expect("called"));
        asks += per_second(CALLS, started.elapsed());
    }
    server.abort();
    let rounds = f64::from(u32::try_from(ROUNDS).expect("few"));
    tell("bare durable commits of a request, 32 at a time", &format!("{:.0} /s", commits / rounds), "");
    tell("asks over HTTP, 32 callers, 512 machines, none settled", &format!("{:.0} /s", asks / rounds), "");
    tell("asks over HTTP per bare commit", &format!("{:.2}", asks / commits), ">= 0.5");
}

fn next(numbers: &AtomicUsize, until: usize) -> Option<usize> {
    Some(numbers.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < until)
}

/// What an ask commits: a request, a grant, their target, its entry.
async fn commit_one(store: &RedbStore, n: usize, targets: usize) {
    let id: TargetId = named(&format!("vm-{}", n % targets));
    let request = given::request("ann", &format!("bare-{n}"), id.as_str(), at(0));
    loop {
        let (target, seen) = store.target(&id).await.expect("loads").expect("is there");
        let next = target.grant(vec![given::grant(&request, &id, at(0))], None, at(0));
        let batch = Batch {
            targets: vec![(next, seen)],
            request: Some((request.clone(), Seen::NEVER)),
            ..Batch::default()
        };
        if store.commit(batch).await.is_ok() {
            return;
        }
    }
}

fn ask_one(agent: &ureq::Agent, address: SocketAddr, token: &str, n: usize, targets: usize) {
    let body = serde_json::json!({
        "asks": [{ "target": format!("vm-{}", targets + n % targets), "port": 22, "for": "PT1H" }],
    });
    let answer = agent
        .post(format!("http://{address}/v1/requests"))
        .header("authorization", format!("Bearer {token}"))
        .header("idempotency-key", format!("call-{n}"))
        .send_json(body);
    assert_eq!(answer.expect("answers").status(), 202);
}

/// The ten longest due among a thousand live leases, and among a million.
async fn due_among_many() {
    const FEW: usize = 1_000;
    const MANY: usize = 1_000_000;
    const EACH: u32 = 2_000;
    const ROUNDS: usize = 20;
    let folder = tempfile::tempdir().expect("a folder");
    let few = leases(&folder.path().join("few.redb"), FEW).await;
    let many = leases(&folder.path().join("many.redb"), MANY).await;
    let (mut among_few, mut among_many) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        among_few = among_few.min(due(&few, EACH).await);
        among_many = among_many.min(due(&many, EACH).await);
    }
    let ratio = among_many.as_secs_f64() / among_few.as_secs_f64();
    let memory = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory =
        memory.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap_or("unknown").trim().to_owned();
    tell("finding what is due among 1,000 live leases", &format!("{:.1} µs", micros(among_few)), "");
    tell("finding what is due among 1,000,000 live leases", &format!("{:.1} µs", micros(among_many)), "");
    tell("the one against the other", &format!("{ratio:.2}"), "<= 1.2");
    tell("memory with both tables open", &memory, "");
}

async fn due(store: &RedbStore, each: u32) -> Duration {
    const AT_MOST: usize = 10;
    let start = Instant::now();
    for _ in 0..each {
        assert_eq!(black_box(store.due(at(10 * 3600), AT_MOST).await.expect("listed")).len(), AT_MOST);
    }
    start.elapsed() / each
}

/// A table with so many live leases, twenty to a target.
async fn leases(path: &std::path::Path, count: usize) -> RedbStore {
    const EACH: usize = 20;
    const TOGETHER: usize = 20;
    let store = RedbStore::open(path).expect("opens");
    for first in (0..count / EACH).step_by(TOGETHER) {
        let batch = |n: usize| (leased(n, EACH), Seen::NEVER);
        let targets = (first..(first + TOGETHER).min(count / EACH)).map(batch).collect();
        store.commit(Batch { targets, ..Batch::default() }).await.expect("committed");
    }
    store
}

/// A target that was seen to be open for `count` leases, which end at times of their own.
fn leased(n: usize, count: usize) -> Next {
    let id: TargetId = named(&format!("vm-{n}"));
    let policy = given::ssh();
    let guarded =
        Target::unguarded(id.clone()).set_policy(Some(policy), &named("owner"), None, at(0)).expect("new");
    let grant = |k: usize| {
        let request: RequestId = named(&format!("r{n}-{k}"));
        let made = Request { id: request.clone(), ..given::request("ann", "key", id.as_str(), at(0)) };
        let length = HOUR + SignedDuration::from_secs(i64::try_from((n * 7 + k) % 7200).expect("small"));
        let lease = Lease::starting(at(0), length).expect("a lease");
        Grant { lease, id: GrantId::derived(&request, k), ..given::grant(&made, &id, at(0)) }
    };
    let granted = guarded.target.grant((0..count).map(grant).collect(), None, at(0));
    Next { entries: [guarded.entries, granted.entries].concat(), ..granted }
}

fn per_second(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).expect("few")) / time.as_secs_f64()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
