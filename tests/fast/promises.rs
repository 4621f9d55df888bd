//! The promises of the README, each as a test of its name, through the real store and the real router.

use jiff::SignedDuration;
use portcullis_app::{
    self as app, Error,
    ports::{Firewalls, Inventory, Machine, Machines, OurRule, Store},
};
use portcullis_domain::{BadRecord, Chain, Change, Entry, Fact, Snapshot, TargetId, Window};
use portcullis_local::RedbStore;
use portcullis_tests::door::{self, Guarding};
use portcullis_tests::{
    given::{self, HOUR, Still, asked, named},
    place::Place,
};
use portcullis_wire::{AskBody, InitiateBody};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Who has leases here, and from where; and somebody who has none.
const ANN: &str = "198.51.100.1";
const BOB: &str = "203.0.113.0/24";
const IN_BOBS_RANGE: &str = "203.0.113.77";
const STRANGER: &str = "192.0.2.1";
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// Whoever takes longer waits for what never comes.
const HANGS_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

/// Asks for SSH on one machine for an hour; the grant's id.
async fn open(place: &Place, id: &TargetId, by: &str, key: &str, from: &str) -> portcullis_domain::GrantId {
    let asked = asked(by, key, &[id.as_str()], from);
    let answer = door::initiate(place.store(), place.terms(), &asked, place.now()).await.expect("granted");
    place.expire().await;
    answer.grants[0].id.clone()
}

/// Who passes, of ann, bob and a stranger.
async fn who(place: &Place, id: &TargetId) -> [bool; 3] {
    [place.passes(id, ANN).await, place.passes(id, IN_BOBS_RANGE).await, place.passes(id, STRANGER).await]
}

#[tokio::test]
async fn shut_by_default() {
    let place = Place::new();
    let id = place.id("web-1").await;
    assert_eq!(who(&place, &id).await, [true, true, true], "somebody left SSH open to the world");
    place.guard("web-1", &given::ssh()).await;
    assert_eq!(who(&place, &id).await, [false, false, false], "guarded, nobody passes");
    open(&place, &id, "ann", "1", ANN).await;
    assert_eq!(who(&place, &id).await, [true, false, false]);
    open(&place, &id, "bob", "2", BOB).await;
    assert_eq!(who(&place, &id).await, [true, true, false]);
    place.pass(HOUR);
    place.expire().await;
    assert_eq!(who(&place, &id).await, [false, false, false]);
    // Whoever loses the table, or names another one, must not find the machine open: its lock stays, and
    // what it let in goes, no sooner than the lease that it was for.
    open(&place, &id, "ann", "3", ANN).await;
    let folder = tempfile::tempdir().expect("a folder");
    let empty = RedbStore::open(&folder.path().join("portcullis.redb")).expect("opens");
    let reconcile = async || {
        app::reconcile(&empty, place.fleet(), place.rights(), &named("worker"), &Still(place.now())).await
    };
    place.pass(HOUR - SECOND);
    reconcile().await.expect("settled");
    assert_eq!(who(&place, &id).await, [true, false, false], "it may belong to another installation");
    place.pass(SECOND);
    reconcile().await.expect("settled");
    assert_eq!(who(&place, &id).await, [false, false, false]);
    let seen = door::discover_one(&empty, place.fleet(), &id, place.now()).await.expect("seen");
    assert!(seen.troubles.iter().any(|it| it.contains("enable it")), "{:?}", seen.troubles);
    let guarding =
        |take_over| Guarding { target: id.clone(), by: named("owner"), confirm_within: None, take_over };
    let enable = async |take_over| {
        door::enable(&empty, place.fleet(), &guarding(take_over), &given::ssh(), place.now()).await
    };
    let refused = enable(false).await.expect_err("it may belong to another installation");
    assert!(refused.full().contains("take it over"), "{}", refused.full());
    enable(true).await.expect("taken over");
    let told = given::all_entries(&empty, &Chain::from(&id)).await;
    let is_told = |it: &Entry| matches!(it.fact, Fact::PolicySet { take_over: true, .. });
    assert!(told.iter().any(is_told), "{told:?}");
    door::disable(&empty, place.fleet(), &id, &named("owner"), place.now()).await.expect("disabled");
    app::reconcile(&empty, place.fleet(), place.rights(), &named("worker-2"), &Still(place.now()))
        .await
        .expect("settled");
    assert_eq!(who(&place, &id).await, [true, true, true], "as it was before it was guarded");
}

/// A fleet in which something happens just when its rules are listed.
struct Listing<'a> {
    place: &'a Place,
    happens: Happens,
}

enum Happens {
    /// They cannot all be listed.
    Failure,
    /// Nobody answers until somebody was settled.
    Silence(Notify),
    /// A machine is guarded for the first time, and opened.
    Guarding,
}

impl Firewalls for Listing<'_> {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        self.place.fleet().read(target).await
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        match &self.happens {
            Happens::Failure => {
                let source = "one of the firewalls is away".into();
                Err(Error::Unavailable { doing: "list the rules", source })
            }
            Happens::Silence(over) => {
                over.notified().await;
                self.place.fleet().ours().await
            }
            Happens::Guarding => {
                let id = self.place.guard("web-1", &given::ssh()).await;
                open(self.place, &id, "ann", "1", ANN).await;
                self.place.fleet().ours().await
            }
        }
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        let outcome = self.place.fleet().write(target, changes).await;
        if let (Happens::Silence(over), Some(_)) = (&self.happens, target) {
            over.notify_one();
        }
        outcome
    }
}

impl Inventory for Listing<'_> {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        self.place.fleet().machines(after, at_most).await
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        self.place.fleet().machine(id).await
    }
}

/// Who lists the targets before the rules takes the rules of a target that came between for orphans.
#[tokio::test]
async fn unknown_is_asked_last() {
    let place = Place::new();
    let id = place.id("web-1").await;
    let listing = Listing { place: &place, happens: Happens::Guarding };
    app::reconcile(place.store(), &listing, place.rights(), &named("worker"), &Still(place.now()))
        .await
        .expect("settled");
    assert_eq!(who(&place, &id).await, [true, false, false]);
    let rest = place.store().entries(&Chain::rest(), 0, 10).await.expect("listed");
    assert!(rest.is_empty(), "nothing was an orphan: {rest:?}");
}

#[tokio::test]
async fn a_sweep_that_fails_keeps_no_target_from_being_settled() {
    let place = Place::new();
    let unguarded = std::fs::read(place.fleet_file()).expect("a copy");
    let id = place.guard("web-1", &given::ssh()).await;
    // Somebody takes our rules away.
    std::fs::write(place.fleet_file(), unguarded).expect("put back");
    assert_eq!(who(&place, &id).await, [true, true, true]);
    let blind = Listing { place: &place, happens: Happens::Failure };
    let told =
        app::reconcile(place.store(), &blind, place.rights(), &named("worker"), &Still(place.now())).await;
    assert!(matches!(told, Err(Error::Unavailable { .. })), "it is told: {told:?}");
    assert_eq!(who(&place, &id).await, [false, false, false], "and healed all the same");
}

/// A list of rules that comes late, or never, holds up no lease: here it comes once a target was settled.
#[tokio::test]
async fn a_sweep_that_hangs_keeps_no_target_from_being_settled() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    open(&place, &id, "ann", "1", ANN).await;
    place.pass(HOUR);
    assert_eq!(who(&place, &id).await, [true, false, false], "over, and nobody was there");
    let slow = Listing { place: &place, happens: Happens::Silence(Notify::new()) };
    let worker = named("worker");
    let clock = Still(place.now());
    let reconciled = app::reconcile(place.store(), &slow, place.rights(), &worker, &clock);
    tokio::time::timeout(HANGS_AFTER, reconciled).await.expect("it hangs").expect("settled, and swept");
    assert_eq!(who(&place, &id).await, [false, false, false]);
}

/// A rule that comes back when its target is guarded no longer, as from a saved ruleset, is cleaned up.
#[tokio::test]
async fn what_comes_back_after_disabling_is_cleaned_up() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    let fleet = place.fleet_file();
    let saved = std::fs::read(&fleet).expect("a copy");
    door::disable(place.store(), place.fleet(), &id, &named("owner"), place.now()).await.expect("disabled");
    place.expire().await;
    assert_eq!(who(&place, &id).await, [true, true, true]);
    std::fs::write(&fleet, saved).expect("put back");
    assert_eq!(who(&place, &id).await, [false, false, false]);
    place.reconcile().await;
    assert_eq!(who(&place, &id).await, [true, true, true]);
}

#[tokio::test]
async fn shut_on_time() {
    let place = Place::new();
    let id = place.guard("db-1", &given::ssh()).await;
    let grant = open(&place, &id, "ann", "1", ANN).await;
    place.pass(HOUR - SECOND);
    place.expire().await;
    assert!(place.passes(&id, ANN).await, "one second before its end it is open");
    place.pass(SECOND);
    place.expire().await;
    assert!(!place.passes(&id, ANN).await, "at its end it is shut");
    let closed = place.facts(&id).await.into_iter().find_map(|fact| {
        if let Fact::Closed { grant: it, late_ms, .. } = fact {
            (it == grant).then_some(late_ms)
        } else {
            None
        }
    });
    assert_eq!(closed, Some(0), "and that was read back and recorded, with its lateness");
    assert!(place.target(&id).await.grants().is_empty());
}

#[tokio::test]
async fn no_neighbour_harmed() {
    let place = Place::new();
    let id = place.id("web-1").await;
    let before = place.fleet().read(&id).await.expect("read").firewalls;
    place.guard("web-1", &given::ssh()).await;
    let first = open(&place, &id, "ann", "1", ANN).await;
    let second = open(&place, &id, "bob", "2", ANN).await;
    door::close(place.store(), &first, &named("ann"), None, place.now()).await.expect("closed");
    place.expire().await;
    assert!(place.passes(&id, ANN).await, "two people behind one address: the other one's lease is live");
    door::close(place.store(), &second, &named("bob"), None, place.now()).await.expect("closed");
    place.expire().await;
    assert!(!place.passes(&id, ANN).await);
    let guarded = place.fleet().read(&id).await.expect("read").firewalls;
    assert_eq!(guarded[0].foreign, before[0].foreign, "rules that are not ours are never edited");
    door::disable(place.store(), place.fleet(), &id, &named("owner"), place.now()).await.expect("disabled");
    place.expire().await;
    assert_eq!(
        place.fleet().read(&id).await.expect("read").firewalls,
        before,
        "as if we had never been there"
    );
}

#[tokio::test]
async fn nothing_unrecorded() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh_with_approval()).await;
    // A no, a yes, a no to one's own request: each leaves an entry.
    let mut refused = asked("ann", "1", &[id.as_str()], ANN);
    if let portcullis_domain::What::Initiate { asks, .. } = &mut refused.what {
        asks[0].window = Window::For(HOUR * 100);
    }
    let no = door::initiate(place.store(), place.terms(), &refused, place.now()).await;
    assert!(matches!(no, Err(Error::Refused(_))), "{no:?}");
    let wanted = asked("ann", "2", &[id.as_str()], ANN);
    let pending =
        door::initiate(place.store(), place.terms(), &wanted, place.now()).await.expect("waits").request;
    let (request, shown) = (pending.id.clone(), pending.shown());
    let own = door::approve(place.store(), place.terms(), &request, &named("ann"), &shown, place.now()).await;
    assert!(matches!(own, Err(Error::Refused(_))), "{own:?}");
    door::approve(place.store(), place.terms(), &request, &named("bob"), &shown, place.now())
        .await
        .expect("approved");
    place.expire().await;
    place.pass(HOUR);
    place.expire().await;
    // Neither is a no to a change of what is guarded, nor of who may call.
    let guarding = Guarding { target: id.clone(), by: named("ann"), confirm_within: None, take_over: false };
    let again = door::enable(place.store(), place.fleet(), &guarding, &given::ssh(), place.now()).await;
    assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");
    let token = place.token("ann").await;
    let made = place.call(&token, "POST", "/v1/tokens", Some(json!({ "person": "bob" }))).await;
    assert_eq!(made.status, 403, "{made:?}");
    let rest = place.store().entries(&Chain::rest(), 0, usize::MAX).await.expect("listed");
    assert!(rest.iter().any(|it| word(&it.fact) == "token_refused"), "{rest:#?}");
    // And one that waits.
    let waits = asked("ann", "3", &[id.as_str()], ANN);
    door::initiate(place.store(), place.terms(), &waits, place.now()).await.expect("waits");
    let facts = place.facts(&id).await;
    let has = |what: &str| facts.iter().filter(|it| word(it) == what).count();
    for what in [
        "policy_set",
        "policy_refused",
        "request_refused",
        "decision_refused",
        "approved",
        "opened",
        "closed",
    ] {
        assert_eq!(has(what), 1, "{what} in {facts:#?}");
    }
    assert_eq!(has("approval_needed"), 2, "{facts:#?}");
    // Shut, open, shut: each write was recorded before it, and what was read after it.
    assert_eq!((has("writing"), has("read_back")), (3, 3), "{facts:#?}");

    let whole = app::verify(place.store()).await.expect("verified");
    assert_eq!((whole.bad, whole.entries), (vec![], (facts.len() + rest.len()) as u64));
    let (_folder, table) = place.stop();
    for (tamper, is_found) in tampers(&id) {
        let before = std::fs::read(&table).expect("a copy");
        tamper(&redb::Database::open(&table).expect("opens"));
        let bad = app::verify(&RedbStore::open(&table).expect("opens")).await.expect("verified").bad;
        assert!(bad.len() == 1 && is_found(&bad[0]), "{bad:?}");
        std::fs::write(&table, before).expect("put back");
    }
}

type Tamper = Box<dyn Fn(&redb::Database)>;
type IsFound = fn(&BadRecord) -> bool;
const ENTRIES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("entries");
/// A version, and when the record is due: nanoseconds since 1970.
type Version = (u64, Option<i128>);
const TARGETS: TableDefinition<'_, &str, (Version, &[u8])> = TableDefinition::new("targets");
const REQUESTS: TableDefinition<'_, &str, (Version, u64, &[u8])> = TableDefinition::new("requests");
const GRANTS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("grants");

/// Ways to change history, or what is stored beside it, and what tells.
fn tampers(id: &TargetId) -> Vec<(Tamper, IsFound)> {
    let chain = || id.to_string();
    let [one, two, three, four, five, six, seven] = [(); 7].map(|()| chain());
    vec![
        (
            Box::new(move |it| {
                let changed = entry(it, &one, 3).replace("ann", "bob");
                put(it, &one, 3, Some(&changed));
            }),
            |bad| matches!(bad, BadRecord::Changed { .. } | BadRecord::NotChained { .. }),
        ),
        (Box::new(move |it| put(it, &two, 2, None)), |bad| matches!(bad, BadRecord::OutOfOrder { n: 2, .. })),
        (
            Box::new(move |it| {
                let (a, b) = (entry(it, &three, 3), entry(it, &three, 4));
                put(it, &three, 3, Some(&b));
                put(it, &three, 4, Some(&a));
            }),
            |bad| matches!(bad, BadRecord::OutOfOrder { n: 3, found: 4, .. }),
        ),
        (Box::new(move |it| put(it, &four, last(it, &four), None)), |bad| {
            matches!(bad, BadRecord::CutShort { .. })
        }),
        (Box::new(move |it| put(it, &five, 1, Some("{}"))), |bad| {
            matches!(bad, BadRecord::Unreadable { n: 1, .. })
        }),
        (
            Box::new(move |it| {
                let (n, more) = (last(it, &six), entry(it, &six, 0));
                put(it, &six, n + 1, Some(&more));
            }),
            |bad| matches!(bad, BadRecord::BeyondHead { .. }),
        ),
        // A lock that would fall by itself.
        (
            Box::new(|it| {
                let trial = r#""trial":{"until":"2020-01-01T00:00:00Z","before":null}"#;
                change(it, TARGETS, |(version, text)| (version, text.replace(r#""trial":null"#, trial)));
            }),
            |bad| matches!(bad, BadRecord::OtherState { .. }),
        ),
        // A request that waits asks for more than it did.
        (
            Box::new(|it| {
                let transaction = it.begin_write().expect("writes");
                {
                    let mut requests = transaction.open_table(REQUESTS).expect("opens");
                    let all = requests.iter().expect("reads").map(|it| it.expect("reads"));
                    let pending = all
                        .map(|(id, row)| {
                            let (version, number, json) = row.value();
                            (id.value().to_owned(), version, number, text(json))
                        })
                        .find(|(.., json)| json.contains("pending"));
                    let (id, version, number, json) = pending.expect("one waits");
                    let json = json.replace(&format!("{ANN}/32"), "0.0.0.0/0");
                    requests.insert(id.as_str(), (version, number, json.as_bytes())).expect("inserted");
                }
                transaction.commit().expect("committed");
            }),
            |bad| matches!(bad, BadRecord::OtherState { .. }),
        ),
        // Somebody else had it.
        (
            Box::new(|it| {
                change(it, GRANTS, |(number, text)| (number, text.replace("ann", "eve")));
            }),
            |bad| matches!(bad, BadRecord::OtherGrant { .. }),
        ),
        (
            Box::new(move |it| {
                let transaction = it.begin_write().expect("writes");
                transaction.open_table(TARGETS).expect("opens").remove(seven.as_str()).expect("removed");
                transaction.commit().expect("committed");
            }),
            |bad| matches!(bad, BadRecord::NoState { .. }),
        ),
    ]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn entry(database: &redb::Database, chain: &str, n: u64) -> String {
    let entries = database.begin_read().expect("reads").open_table(ENTRIES).expect("opens");
    text(entries.get((chain, n)).expect("reads").expect("is there").value())
}

fn last(database: &redb::Database, chain: &str) -> u64 {
    let entries = database.begin_read().expect("reads").open_table(ENTRIES).expect("opens");
    let last = entries.range((chain, 0)..=(chain, u64::MAX)).expect("reads").next_back();
    last.expect("is there").expect("reads").0.value().1
}

fn put(database: &redb::Database, chain: &str, n: u64, value: Option<&str>) {
    let transaction = database.begin_write().expect("writes");
    {
        let mut entries = transaction.open_table(ENTRIES).expect("opens");
        match value {
            Some(value) => drop(entries.insert((chain, n), value.as_bytes()).expect("inserted")),
            None => drop(entries.remove((chain, n)).expect("removed")),
        }
    }
    transaction.commit().expect("committed");
}

/// Changes the only row of a table.
fn change<K>(
    database: &redb::Database,
    table: TableDefinition<'static, &'static str, (K, &'static [u8])>,
    change: impl Fn((K, String)) -> (K, String),
) where
    K: redb::Value + 'static + for<'a> redb::Value<SelfType<'a> = K>,
{
    let transaction = database.begin_write().expect("writes");
    {
        let mut rows = transaction.open_table(table).expect("opens");
        let (id, before) = {
            let (id, row) = rows.first().expect("reads").expect("one row");
            let (kept, json) = row.value();
            (id.value().to_owned(), (kept, text(json)))
        };
        let was = before.1.clone();
        let (kept, json) = change(before);
        assert_ne!(json, was, "it is changed");
        rows.insert(id.as_str(), (kept, json.as_bytes())).expect("inserted");
    }
    transaction.commit().expect("committed");
}

fn word(fact: &Fact) -> String {
    serde_json::to_value(fact).expect("writes")["what"].as_str().expect("a word").to_owned()
}

/// INVARIANT (break-glass-is-loud): one use of it is one event, with all that it opened.
#[tokio::test]
async fn break_glass_is_loud() {
    let place = Place::new();
    let (web, db) = (
        place.guard("web-1", &given::ssh_behind_glass(&["ann"])).await,
        place.guard("db-1", &given::ssh_behind_glass(&["ann", "bob"])).await,
    );
    let breaking = |by: &str, key: &str| {
        let mut asked = asked(by, key, &[web.as_str(), db.as_str()], ANN);
        asked.justification = Some(given::because("it is down and nobody answers"));
        if let portcullis_domain::What::Initiate { break_glass, .. } = &mut asked.what {
            *break_glass = true;
        }
        asked
    };
    let ask =
        async |asked: &door::Asked| door::initiate(place.store(), place.terms(), asked, place.now()).await;
    let refused = ask(&breaking("bob", "1")).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "bob is named for one of them: {refused:?}");
    let first = ask(&breaking("ann", "1")).await.expect("granted");
    let again = ask(&breaking("ann", "1")).await.expect("known");
    assert_eq!(first, again, "twice is once");
    place.expire().await;
    assert!(place.passes(&web, ANN).await && place.passes(&db, ANN).await, "nobody is waited for");

    let mut entries = place.entries(&web).await;
    entries.extend(place.entries(&db).await);
    let told: Vec<_> =
        entries.iter().flat_map(app::events).filter(|it| it.kind == "breakglass.used").collect();
    let [told] = &told[..] else { panic!("{told:?}") };
    let Fact::GlassBroken { by, opened, .. } = &told.detail.fact else { panic!("{told:?}") };
    assert_eq!((by, &told.detail.request), (&named("ann"), &Some(first.request.id.clone())));
    let opened: Vec<&TargetId> = opened.iter().map(|it| &it.target).collect();
    assert_eq!(opened, [&web, &db]);
    // Whoever looks at the other machine alone sees it too.
    let granted = |it: &Fact| matches!(it, Fact::Approved { grant, approver: None, .. } if grant.broke_glass);
    assert_eq!(place.facts(&db).await.iter().filter(|it| granted(it)).count(), 1);
    let verified = app::verify(place.store()).await.expect("recomputed");
    assert!(verified.bad.is_empty(), "{verified:?}");
}

#[tokio::test]
async fn one_door_in() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    let token = place.token("ann").await;
    // What the use case answers, the router answers, before and when asking; with every reason.
    let wishes: [(&str, &str, SignedDuration); 4] = [
        ("22", ANN, HOUR),
        ("22", ANN, HOUR * 24),
        ("23", ANN, SignedDuration::from_secs(1)),
        ("22", "::/0", SignedDuration::from_hours(3)),
    ];
    for (n, (port, from, length)) in wishes.into_iter().enumerate() {
        // Without a key of its own a request is told apart by its time.
        place.pass(SECOND);
        let mut direct = asked("ann", &n.to_string(), &[id.as_str()], from);
        if let portcullis_domain::What::Initiate { asks, .. } = &mut direct.what {
            asks[0].port = named(port);
            asks[0].window = Window::For(length);
        }
        let review =
            door::explain(place.store(), place.terms(), &direct, place.now()).await.expect("reviewed");
        let reasons: Vec<String> = match &review {
            portcullis_domain::Review::Refused(reasons) => reasons.iter().map(ToString::to_string).collect(),
            portcullis_domain::Review::Allowed(_) | portcullis_domain::Review::NeedsApproval { .. } => vec![],
        };
        let body = InitiateBody {
            asks: vec![AskBody {
                target: id.clone(),
                port: named(port),
                protocol: None,
                sources: Some(vec![from.to_owned()]),
                length: Some(length),
                until: None,
                start: None,
            }],
            justification: None,
            break_glass: false,
        };
        let body = serde_json::to_value(body).expect("writes");
        let explained = place.call(&token, "POST", "/v1/requests/explain", Some(body.clone())).await.body;
        let answered = place.call(&token, "POST", "/v1/requests", Some(body)).await;
        assert_eq!(messages(&explained), reasons);
        assert_eq!(messages(&answered.body), reasons);
        assert_eq!(answered.status == 202, reasons.is_empty(), "{answered:?}");
    }
    // And nobody comes in without a token.
    for (method, path) in [("POST", "/v1/requests"), ("GET", "/v1/targets"), ("GET", "/v1/verify")] {
        assert_eq!(place.call("pct_wrong", method, path, Some(json!({}))).await.status, 401);
    }
}

fn messages(body: &Value) -> Vec<String> {
    let reasons = body["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().filter_map(|it| it["message"].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn twice_is_once() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh_with_approval()).await;
    let guarding =
        Guarding { target: id.clone(), by: named("owner"), confirm_within: None, take_over: false };
    let wanted = asked("ann", "1", &[id.as_str()], ANN);
    let now = || place.now();
    let (store, terms) = (place.store(), place.terms());
    let pending = door::initiate(store, terms, &wanted, now()).await.expect("waits").request;
    let (request, shown) = (pending.id.clone(), pending.shown());
    let bob = given::person("bob");
    // Every step once more, and also much later: nothing is added to the journal.
    door::enable(store, place.fleet(), &guarding, &given::ssh_with_approval(), now())
        .await
        .expect("is enabled");
    assert_eq!(door::initiate(store, terms, &wanted, now()).await.expect("the same").request, pending);
    let granted = door::approve(store, terms, &request, &bob, &shown, now()).await.expect("approved").grants;
    let grant = &granted[0].id;
    place.expire().await;
    let open = place.facts(&id).await;
    door::approve(store, terms, &request, &bob, &shown, now()).await.expect("is approved");
    place.expire().await;
    assert_eq!(place.facts(&id).await, open, "approving and settling twice is once");
    door::close(store, grant, &bob, None, now()).await.expect("closed");
    place.expire().await;
    let shut = place.facts(&id).await;
    door::close(store, grant, &bob, None, now()).await.expect("is closed");
    let late = door::initiate(store, terms, &wanted, now()).await.expect("the same");
    assert_eq!(
        late.grants[0].state(now()),
        portcullis_domain::GrantState::Closed,
        "a late ask reopens nothing"
    );
    door::approve(store, terms, &request, &bob, &shown, now()).await.expect("is approved");
    place.expire().await;
    assert_eq!(place.facts(&id).await, shut);
    assert!(!place.passes(&id, ANN).await);
}
