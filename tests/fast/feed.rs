//! Events for readers, by time: none is left out, none is told twice to a reader who gives the cursor back, and a reader who
//! finds nothing new costs the same however many machines there are.

use axum::{body::Body, http::Request};
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    Error, Happened, Reached, Wanted,
    ports::{Batch, Due, FeedItem, GrantFilter, Page, PageAsked, RequestFilter, Seen, Store},
};
use portcullis_domain::{
    Authority, Chain, Entry, Fact, Grant, GrantId, Head, Request as Asked, RequestId, Target, TargetId,
};
use portcullis_http::Stop;
use portcullis_local::RedbStore;
use portcullis_tests::{
    door,
    given::{self, at, guarded, named},
    place::{Answered, Place},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// A table of which it is counted how often it is read, and whose feed begins at a time.
struct Counted<'a> {
    table: &'a RedbStore,
    reads: AtomicUsize,
    begins: Timestamp,
}

const EVENTS_ALONE: &str = "events are read from entries alone";

impl<'a> Counted<'a> {
    fn of(table: &'a RedbStore) -> Self {
        Self { table, reads: AtomicUsize::new(0), begins: Timestamp::MIN }
    }

    fn count(&self) -> &RedbStore {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.table
    }
}

impl Store for Counted<'_> {
    async fn chains(&self, after: Option<&Chain>, at_most: usize) -> Result<Vec<Chain>, Error> {
        self.count().chains(after, at_most).await
    }

    async fn entries(&self, chain: &Chain, from: u64, at_most: usize) -> Result<Vec<Entry>, Error> {
        self.count().entries(chain, from, at_most).await
    }

    async fn last(&self, chain: &Chain) -> Result<Option<Entry>, Error> {
        self.count().last(chain).await
    }

    async fn feed(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> Result<Vec<FeedItem>, Error> {
        self.count().feed(since.max(self.begins), after, at_most).await
    }

    async fn recorded(&self, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        self.count().recorded(items).await
    }

    async fn feed_begins(&self) -> Result<Timestamp, Error> {
        self.count();
        Ok(self.begins)
    }

    async fn target(&self, _: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn request(&self, _: &RequestId) -> Result<Option<(Asked, Seen)>, Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn grant(&self, _: &GrantId) -> Result<Option<Grant>, Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        Ok(None)
    }

    async fn rest(&self) -> Result<Head, Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn commit(&self, _: Batch) -> Result<(), Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn targets(&self, _: Option<&TargetId>, _: usize) -> Result<Vec<Target>, Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn requests(&self, _: &RequestFilter, _: &PageAsked) -> Result<Page<Asked>, Error> {
        unreachable!("{EVENTS_ALONE}")
    }

    async fn grants(&self, _: &GrantFilter, _: &PageAsked) -> Result<Page<Grant>, Error> {
        unreachable!("{EVENTS_ALONE}")
    }
}

struct Table {
    store: RedbStore,
    _folder: tempfile::TempDir,
}

impl Table {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = RedbStore::open(&folder.path().join("table.redb")).expect("opens");
        Self { store, _folder: folder }
    }

    /// Guards a machine at a second.
    async fn guard(&self, name: &str, second: i64) {
        let next = guarded(name, at(second));
        self.store.commit(Batch::of(next, Seen::NEVER)).await.expect("committed");
    }

    /// Records so many events of a machine at a second.
    async fn drift(&self, name: &str, count: usize, second: i64) {
        let (target, seen) = self.store.target(&named(name)).await.expect("read").expect("guarded");
        let next = target.note(vec![Fact::DriftHealed; count], at(second));
        self.store.commit(Batch::of(next, seen)).await.expect("committed");
    }

    async fn happened(&self, from: &Reached, second: i64) -> Happened {
        happened(&self.store, from, second).await
    }
}

async fn happened(store: &impl Store, from: &Reached, second: i64) -> Happened {
    door::happened(store, from, &Wanted::default(), at(second)).await.expect("told")
}

fn ids(part: &Happened) -> Vec<&str> {
    part.events.iter().map(|it| it.detail.id.as_str()).collect()
}

fn from(second: i64) -> Reached {
    Reached::time(at(second))
}

#[tokio::test]
async fn a_reader_who_finds_nothing_new_costs_the_same_with_500_chains_as_with_one() {
    let mut reads = vec![];
    for chains in [1, 500] {
        let table = Table::new();
        for n in 0..chains {
            table.guard(&format!("vm-{n}"), 0).await;
        }
        table.drift("vm-0", 1, 1000).await;
        let told = table.happened(&from(900), 1001).await;
        assert_eq!(told.events.len(), 1);
        let counted = Counted::of(&table.store);
        for second in [1002, 1010, 1100] {
            let none = happened(&counted, &told.reached, second).await;
            assert_eq!((ids(&none), none.more), (vec![], false));
        }
        reads.push(counted.reads.load(Ordering::Relaxed));
    }
    assert_eq!(reads, [6, 6], "where the feed begins, and one page of it, three times");
}

#[tokio::test]
async fn an_entry_that_is_written_later_than_its_time_is_told_once_and_what_was_told_is_not_told_again() {
    let table = Table::new();
    table.guard("vm-1", 0).await;
    table.guard("vm-2", 100).await;
    let first = table.happened(&from(50), 101).await;
    assert_eq!(ids(&first), ["vm-2#0#policy.changed"]);
    // A worker that claimed it at that time records it now.
    table.drift("vm-1", 1, 72).await;
    let late = table.happened(&first.reached, 101).await;
    assert_eq!(ids(&late), ["vm-1#1#drift.healed"]);
    let none = table.happened(&late.reached, 102).await;
    assert_eq!(ids(&none), Vec::<&str>::new());
    let by_time = table.happened(&Reached::time(first.next), 102).await;
    assert_eq!(ids(&by_time), ["vm-1#1#drift.healed", "vm-2#0#policy.changed"], "by time it is told again");
}

#[tokio::test]
async fn a_part_that_ends_in_the_middle_of_one_time_is_gone_on_with_by_cursor_and_by_time() {
    const MACHINES: usize = 30;
    const EVENTS: usize = 60;
    let table = Table::new();
    for n in 0..MACHINES {
        let name = format!("vm-{n}");
        table.guard(&name, 0).await;
        table.drift(&name, EVENTS, 10).await;
        table.drift(&name, EVENTS, 11).await;
    }
    for goes_by_cursor in [true, false] {
        let (mut reached, mut told, mut twice, mut parts) = (from(5), BTreeSet::new(), 0, 0);
        loop {
            let part = table.happened(&reached, 12).await;
            let all = ids(&part).into_iter().map(str::to_owned).collect::<Vec<_>>();
            twice += all.into_iter().filter(|it| !told.insert(it.clone())).count();
            parts += 1;
            assert!(parts < 20, "it goes on for ever");
            if !part.more {
                break;
            }
            reached = if goes_by_cursor { part.reached } else { Reached::time(part.next) };
        }
        assert_eq!(told.len(), 2 * MACHINES * EVENTS);
        assert!(1 < parts, "all of it came in one part");
        assert!(!goes_by_cursor || twice == 0, "{twice} were told twice");
    }
}

/// More than a cursor names, all of one time: a reader gets on all the same.
#[tokio::test]
async fn more_machines_of_one_time_than_a_cursor_names_are_all_told() {
    const MACHINES: usize = 1500;
    let table = Table::new();
    for n in 0..MACHINES {
        table.guard(&format!("vm-{n}"), if n < 1400 { 10 } else { 11 }).await;
    }
    let (mut reached, mut told, mut parts) = (from(5), BTreeSet::new(), 0);
    loop {
        let part = table.happened(&reached, 12).await;
        told.extend(ids(&part).into_iter().map(str::to_owned));
        parts += 1;
        assert!(parts < 20, "it goes on for ever");
        if !part.more {
            break;
        }
        reached = part.reached.to_string().parse().expect("a cursor");
    }
    assert_eq!(told.len(), MACHINES);
}

#[tokio::test]
async fn a_table_that_is_older_than_its_feed_tells_what_is_in_chains_alone_and_then_the_feed() {
    let table = Table::new();
    for (name, second) in [("vm-1", 10), ("vm-2", 20), ("vm-3", 200)] {
        table.guard(name, second).await;
    }
    let older = Counted { begins: at(100), ..Counted::of(&table.store) };
    let all = happened(&older, &from(0), 201).await;
    assert_eq!(ids(&all), ["vm-1#0#policy.changed", "vm-2#0#policy.changed", "vm-3#0#policy.changed"]);
    let none = happened(&older, &all.reached, 202).await;
    assert_eq!(ids(&none), Vec::<&str>::new(), "what the chains told is not told again by the feed");
    let before = older.reads.load(Ordering::Relaxed);
    happened(&older, &none.reached, 203).await;
    assert_eq!(older.reads.load(Ordering::Relaxed), before + 2, "from then on the feed alone is read");
}

#[tokio::test]
async fn events_of_one_request_are_its_own_and_those_of_its_grants() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh()).await;
    let token = place.token("ann").await;
    let mut requests = vec![];
    for key in ["1", "2"] {
        let asked = given::asked("ann", key, &[id.as_str()], "198.51.100.1");
        let answer =
            door::initiate(place.store(), place.terms(), &asked, place.now()).await.expect("granted");
        requests.push(answer.request.id);
    }
    let path = format!("/v1/events?since=2020-01-01T00:00:00Z&request={}", requests[1]);
    let told = place.call(&token, "GET", &path, None).await;
    let of: BTreeMap<&str, &str> = list(&told)
        .iter()
        .map(|it| {
            (it["kind"].as_str().expect("a kind"), it["detail"]["request"].as_str().expect("a request"))
        })
        .collect();
    assert_eq!(of.keys().copied().collect::<Vec<_>>(), ["request.approved", "request.received"]);
    assert!(of.values().all(|it| *it == requests[1].as_str()), "{of:?}");
}

fn list(told: &Answered) -> &Vec<Value> {
    told.body["events"].as_array().unwrap_or_else(|| panic!("{told:?}"))
}

/// A reader who has been told of everything, over HTTP.
struct Reader {
    place: Place,
    token: String,
    stop: watch::Sender<bool>,
}

impl Reader {
    async fn new() -> Self {
        let place = Place::new();
        let token = place.token("ann").await;
        Self { place, token, stop: watch::channel(false).0 }
    }

    async fn ask(&self, query: &str) -> Answered {
        let request = Request::get(format!("/v1/events?{query}"))
            .header("authorization", format!("Bearer {}", self.token))
            .extension(Stop(self.stop.subscribe()))
            .body(Body::empty());
        self.place.send(request.expect("a request")).await
    }

    async fn cursor(&self) -> String {
        let told = self.ask("since=2020-01-01T00:00:00Z").await;
        told.body["cursor"].as_str().expect("a cursor").to_owned()
    }
}

/// How long something may take that comes at once, on a busy machine; and so much longer is waited for what never comes.
const AT_ONCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_reader_who_waits_is_answered_by_the_next_commit() {
    let reader = Reader::new().await;
    let query = format!("after={}&wait=PT30S", reader.cursor().await);
    let mut asked = Box::pin(reader.ask(&query));
    assert!(timeout(Duration::from_millis(100), &mut asked).await.is_err(), "there is nothing to tell yet");
    reader.place.guard("web-1", &given::ssh()).await;
    let told = timeout(AT_ONCE, asked).await.expect("long before the wait is over");
    assert_eq!(list(&told).len(), 1, "{told:?}");
    assert_eq!(list(&told)[0]["kind"], "policy.changed");
}

/// What is not wanted ends no wait; nor does the end of the wait tell anything.
#[tokio::test]
async fn a_reader_who_waits_for_another_request_is_not_answered_by_a_commit() {
    let reader = Reader::new().await;
    let query = format!("after={}&request=another&wait=PT1S", reader.cursor().await);
    let mut asked = Box::pin(reader.ask(&query));
    assert!(timeout(Duration::from_millis(100), &mut asked).await.is_err());
    reader.place.guard("web-1", &given::ssh()).await;
    assert!(timeout(Duration::from_millis(300), &mut asked).await.is_err(), "it waits on");
    let told = timeout(AT_ONCE, asked).await.expect("the wait is over");
    assert_eq!((list(&told).len(), told.status.as_u16()), (0, 200));
    let query = format!("after={}", told.body["cursor"].as_str().expect("a cursor"));
    assert_eq!(list(&reader.ask(&query).await).len(), 0, "the cursor goes past what was not wanted");
}

#[tokio::test]
async fn a_reader_who_waits_is_answered_when_the_process_stops() {
    let reader = Reader::new().await;
    let query = format!("after={}&wait=PT30S", reader.cursor().await);
    let mut asked = Box::pin(reader.ask(&query));
    assert!(timeout(Duration::from_millis(100), &mut asked).await.is_err());
    reader.stop.send_replace(true);
    let told = timeout(AT_ONCE, asked).await.expect("long before the wait is over");
    assert_eq!((list(&told).len(), told.status.as_u16()), (0, 200));
}

#[tokio::test]
async fn a_reader_whose_token_is_revoked_while_they_wait_is_told_nothing() {
    let reader = Reader::new().await;
    let query = format!("after={}&wait=PT30S", reader.cursor().await);
    let mut asked = Box::pin(reader.ask(&query));
    assert!(timeout(Duration::from_millis(100), &mut asked).await.is_err());
    let operator = reader.place.token("operator").await;
    let revoked = reader.place.call(&operator, "DELETE", "/v1/tokens/ann", None).await;
    assert!(revoked.status.is_success(), "{revoked:?}");
    reader.place.guard("web-1", &given::ssh()).await;
    let told = timeout(AT_ONCE, asked).await.expect("long before the wait is over");
    assert_eq!(told.status.as_u16(), 401, "{told:?}");
}

/// The places of those who wait are a part of those of known callers, so that others are still answered.
#[tokio::test]
async fn where_many_wait_another_reader_is_answered_at_once() {
    const WAITING_MAX: usize = 64;
    let reader = Reader::new().await;
    let query = format!("after={}&wait=PT30S", reader.cursor().await);
    let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(reader.ask(&query))).collect();
    for it in &mut waiting {
        assert!(it.now_or_never().is_none());
    }
    let told = timeout(AT_ONCE, reader.ask(&query)).await.expect("at once");
    assert_eq!((list(&told).len(), told.status.as_u16()), (0, 200));
    drop(waiting.pop());
    let mut next = Box::pin(reader.ask(&query));
    assert!(timeout(Duration::from_millis(100), &mut next).await.is_err(), "a place was given back");
}

#[tokio::test]
async fn a_query_that_cannot_be_is_refused() {
    let reader = Reader::new().await;
    let cursor = reader.cursor().await;
    for query in [
        format!("after={cursor}&since=2020-01-01T00:00:00Z"),
        "after=somewhere".to_owned(),
        "wait=PT31S".to_owned(),
        "wait=-PT1S".to_owned(),
    ] {
        let told = reader.ask(&query).await;
        assert_eq!(told.status.as_u16(), 400, "{query}: {told:?}");
    }
}

#[tokio::test]
async fn the_time_to_look_back_is_no_longer_than_a_claim() {
    let table = Table::new();
    table.guard("vm-1", 0).await;
    let told = table.happened(&from(0), 1000).await;
    assert_eq!(told.next, at(1000) - SignedDuration::from_secs(30));
    assert_eq!(told.reached, Reached::time(told.next), "nothing is named that is older");
}
