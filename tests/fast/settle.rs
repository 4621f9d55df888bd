//! What shuts waits for nothing that opens: whatever becomes of a write that opens, an ended lease is shut, seen to be
//! shut and told of.

use futures_util::FutureExt as _;
use jiff::SignedDuration;
use portcullis_app::{
    self as app, Error,
    ports::{Firewalls, OurRule},
};
use portcullis_domain::{
    Ask, Change, ChangeTo, Fact, GrantId, GrantState, Owner, Policy, PortRule, Rule, RuleName, Snapshot,
    Sources, TargetId, Terms, What, Window,
};
use portcullis_tests::door;
use portcullis_tests::{
    fleet::Fleet,
    given::{HOUR, named},
    place::Place,
};
use std::{
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

const ANN: &str = "198.51.100.1";
const BOB: &str = "198.51.100.2";
const SHORT: SignedDuration = SignedDuration::from_mins(5);
/// How often somebody looks whether a closing was told, each time with a read of the table.
const LOOKS_MAX: usize = 10_000;

/// A firewall that refuses a call whole for one change in it.
struct Picky<'a> {
    place: &'a Place,
    /// It takes allows of so many ranges each.
    most: AtomicUsize,
    /// It never answers a write of an allow with more ranges than that.
    answers_most: usize,
    /// It keeps every allow of these ports.
    kept: Mutex<Vec<u16>>,
    reads: AtomicU64,
    /// How many changes each call had.
    writes: Mutex<Vec<usize>>,
    keys: AtomicU64,
}

impl<'a> Picky<'a> {
    fn of(place: &'a Place) -> Self {
        Self {
            place,
            most: AtomicUsize::new(usize::MAX),
            answers_most: usize::MAX,
            kept: Mutex::default(),
            reads: AtomicU64::new(0),
            writes: Mutex::default(),
            keys: AtomicU64::new(0),
        }
    }

    fn fleet(&self) -> &Fleet {
        self.place.fleet()
    }

    fn takes(&self, change: &Change) -> bool {
        match &change.to {
            ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. } => {
                sources.ranges().len() <= self.most.load(Ordering::Relaxed)
            }
            ChangeTo::Put { rule: Rule::Deny { .. }, .. } => true,
            ChangeTo::Delete => {
                let kept = self.kept.lock().expect("whole");
                change.name.gate.is_none_or(|gate| !kept.contains(&gate.port.number()))
            }
        }
    }

    async fn guard(&self, ports: &[&str]) -> TargetId {
        let rules = ports.iter().map(|port| PortRule::offered(named(port), named("tcp"))).collect();
        self.place.guard("web-1", &Policy::of(rules, &Terms::default()).expect("valid")).await
    }

    /// A grant that is asked for, and not settled yet.
    async fn ask(&self, id: &TargetId, port: &str, from: &Sources, length: SignedDuration) -> GrantId {
        let (target, sources) = (id.clone(), from.clone());
        let ask = Ask { target, port: named(port), protocol: None, sources, window: Window::For(length) };
        let key = format!("key-{}", self.keys.fetch_add(1, Ordering::Relaxed));
        let what = What::Initiate { asks: vec![ask], break_glass: false };
        let asked =
            door::Asked { by: named("ann"), key: named(&key), what, justification: None, correlation: None };
        let answer = door::initiate(self.place.store(), self.place.terms(), &asked, self.place.now()).await;
        answer.expect("granted").grants[0].id.clone()
    }

    /// What is due is done, once.
    async fn expire(&self) {
        let worker = format!("picky-{}", self.keys.fetch_add(1, Ordering::Relaxed));
        drop(app::expire(self.place.store(), self, &named(&worker), self.place.now()).await);
    }

    async fn open(&self, id: &TargetId, port: &str, from: &Sources, length: SignedDuration) -> GrantId {
        let grant = self.ask(id, port, from, length).await;
        self.expire().await;
        assert_eq!(self.state(id, &grant).await, GrantState::Open);
        self.place.pass(SignedDuration::from_secs(1));
        self.writes.lock().expect("whole").clear();
        self.reads.store(0, Ordering::Relaxed);
        grant
    }

    async fn state(&self, id: &TargetId, grant: &GrantId) -> GrantState {
        match self.place.target(id).await.grant_of(grant) {
            Some(grant) => grant.state(self.place.now()),
            None => GrantState::Closed,
        }
    }

    fn calls(&self) -> (u64, Vec<usize>) {
        (self.reads.load(Ordering::Relaxed), self.writes.lock().expect("whole").clone())
    }
}

impl Firewalls for Picky<'_> {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.fleet().read(target).await
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        self.fleet().ours().await
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        self.writes.lock().expect("whole").push(changes.len());
        let is_silent = |it: &Change| match &it.to {
            ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. } => {
                self.answers_most < sources.ranges().len()
            }
            ChangeTo::Put { rule: Rule::Deny { .. }, .. } | ChangeTo::Delete => false,
        };
        if changes.iter().any(is_silent) {
            return std::future::pending().await;
        }
        if !changes.iter().all(|it| self.takes(it)) {
            return Err(Error::Broken { doing: "write rules", source: "there is no room".into() });
        }
        self.fleet().write(target, changes).await
    }
}

/// Addresses of which no two make a range together.
fn scattered(count: u32) -> Sources {
    let texts = (0..count).map(|n| Ipv4Addr::from_bits(0xC612_0000 + 2 * n).to_string());
    texts.collect::<Vec<_>>().try_into().expect("valid")
}

async fn is_told(place: &Place, id: &TargetId, grant: &GrantId) -> bool {
    let facts = place.facts(id).await;
    facts.iter().any(|it| matches!(it, Fact::Closed { grant: closed, .. } if closed == grant))
}

#[tokio::test]
async fn a_growth_that_is_refused_keeps_no_ended_lease_open() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22"]).await;
    let lease = picky.open(&id, "22", &named(ANN), SHORT).await;
    picky.most.store(20, Ordering::Relaxed);
    let many = picky.ask(&id, "22", &scattered(40), HOUR).await;
    place.pass(SHORT);
    picky.expire().await;
    assert!(!place.passes(&id, ANN).await);
    assert!(is_told(&place, &id, &lease).await);
    assert_eq!(picky.state(&id, &many).await, GrantState::OpenFailed);
    let why = place.target(&id).await.grant_of(&many).and_then(|it| it.refused.clone());
    assert!(why.as_ref().is_some_and(|it| it.contains("there is no room")), "{why:?}");
    picky.most.store(usize::MAX, Ordering::Relaxed);
    place.pass(SignedDuration::from_secs(31));
    picky.expire().await;
    assert_eq!(picky.state(&id, &many).await, GrantState::Open, "once there is room");
}

#[tokio::test]
async fn a_growth_that_is_refused_cuts_no_other_lease_of_the_rule() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22"]).await;
    picky.open(&id, "22", &named(ANN), SHORT).await;
    let bob = picky.open(&id, "22", &named(BOB), HOUR).await;
    picky.most.store(20, Ordering::Relaxed);
    picky.ask(&id, "22", &scattered(40), HOUR).await;
    place.pass(SHORT);
    picky.expire().await;
    assert!(!place.passes(&id, ANN).await && place.passes(&id, BOB).await);
    assert_eq!(picky.state(&id, &bob).await, GrantState::Open);
}

#[tokio::test]
async fn a_growth_that_is_never_answered_keeps_no_ended_lease_from_being_confirmed_closed() {
    let place = Place::new();
    let picky = Picky { answers_most: 20, ..Picky::of(&place) };
    let id = picky.guard(&["22"]).await;
    let lease = picky.open(&id, "22", &named(ANN), SHORT).await;
    picky.ask(&id, "22", &scattered(40), HOUR).await;
    place.pass(SHORT);
    let mut expiring = std::pin::pin!(picky.expire());
    let mut looks = 0;
    while !is_told(&place, &id, &lease).await {
        assert!(expiring.as_mut().now_or_never().is_none(), "it waits for the growth");
        assert!(looks < LOOKS_MAX, "the closing waits for the growth too");
        looks += 1;
        tokio::task::yield_now().await;
    }
    assert!(!place.passes(&id, ANN).await);
}

/// Loses its first write, of which it says so after a lease's time, and the read after it.
struct Lossy<'a> {
    place: &'a Place,
    lost: AtomicUsize,
    writes: AtomicUsize,
}

impl Firewalls for Lossy<'_> {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        if self.lost.load(Ordering::Relaxed) == 1 {
            self.lost.store(2, Ordering::Relaxed);
            return Err(Error::Unavailable { doing: "read rules", source: "there was no answer".into() });
        }
        self.place.fleet().read(target).await
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        self.place.fleet().ours().await
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if self.lost.load(Ordering::Relaxed) == 0 {
            self.lost.store(1, Ordering::Relaxed);
            self.place.pass(SHORT);
            return Err(Error::Unavailable { doing: "write rules", source: "there was no answer".into() });
        }
        self.place.fleet().write(target, changes).await
    }
}

#[tokio::test]
async fn a_worker_that_waited_for_a_lost_write_opens_nothing_that_was_over_meanwhile() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22"]).await;
    let lease = picky.ask(&id, "22", &named(ANN), SHORT).await;
    let lossy = Lossy { place: &place, lost: AtomicUsize::new(0), writes: AtomicUsize::new(0) };
    drop(app::expire(place.store(), &lossy, &named("lossy"), place.now()).await);
    assert_eq!(
        lossy.writes.load(Ordering::Relaxed),
        1,
        "the write that was lost, and none after the lease's end"
    );
    assert!(!place.passes(&id, ANN).await);
    assert!(is_told(&place, &id, &lease).await);
}

/// As where the commit was lost that should have told of it.
#[tokio::test]
async fn a_lease_that_is_closed_already_is_confirmed_before_anything_opens() {
    let place = Place::new();
    let picky = Picky { answers_most: 20, ..Picky::of(&place) };
    let id = picky.guard(&["22"]).await;
    let lease = picky.open(&id, "22", &named(ANN), SHORT).await;
    picky.ask(&id, "22", &scattered(40), HOUR).await;
    place.pass(SHORT);
    let name = RuleName { owner: Owner::from(&id), gate: Some(named("22/tcp")) };
    for firewall in picky.fleet().read(&id).await.expect("an answer").firewalls {
        let if_match = firewall.ours[&name].etag.clone();
        let deletion = Change { firewall: firewall.id, name: name.clone(), if_match, to: ChangeTo::Delete };
        picky.fleet().write(Some(&id), &[deletion]).await.expect("done");
    }
    let mut expiring = std::pin::pin!(picky.expire());
    let mut looks = 0;
    while !is_told(&place, &id, &lease).await {
        assert!(expiring.as_mut().now_or_never().is_none(), "it waits for the growth");
        assert!(looks < LOOKS_MAX, "the closing waits for the growth too");
        looks += 1;
        tokio::task::yield_now().await;
    }
    assert!(!place.passes(&id, ANN).await);
}

#[tokio::test]
async fn shutting_alone_and_opening_alone_are_one_write_and_two_reads() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22"]).await;
    let entries = async || place.entries(&id).await.len();
    picky.ask(&id, "22", &named(ANN), SHORT).await;
    picky.expire().await;
    assert_eq!(picky.calls(), (2, vec![1]), "opened");
    picky.open(&id, "22", &named(BOB), HOUR).await;
    place.pass(SHORT);
    let before = entries().await;
    picky.expire().await;
    assert_eq!(picky.calls(), (2, vec![1]), "shut");
    assert_eq!(entries().await - before, 3, "what is written, what is read, what is closed");
}

#[tokio::test]
async fn shutting_and_opening_are_two_writes_and_three_reads() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22"]).await;
    let lease = picky.open(&id, "22", &named(ANN), SHORT).await;
    let bob = picky.ask(&id, "22", &named(BOB), HOUR).await;
    place.pass(SHORT);
    picky.expire().await;
    assert_eq!(picky.calls(), (3, vec![1, 1]));
    assert!(is_told(&place, &id, &lease).await && picky.state(&id, &bob).await == GrantState::Open);
    assert!(!place.target(&id).await.is_claimed());
}

/// The wide lease is over, and what is left of its rule needs more ranges than there is room for.
#[tokio::test]
async fn the_rest_of_a_wide_rule_is_cut_to_the_room_that_the_rule_had() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22"]).await;
    let many = picky.open(&id, "22", &scattered(40), HOUR).await;
    let wide = picky.open(&id, "22", &Sources::anywhere(), SHORT).await;
    picky.most.store(20, Ordering::Relaxed);
    place.pass(SHORT);
    picky.expire().await;
    assert!(is_told(&place, &id, &wide).await && !place.passes(&id, ANN).await);
    assert!(
        place.passes(&id, "198.18.0.0").await && place.passes(&id, "198.18.0.2").await,
        "as many as stood"
    );
    assert_eq!(picky.state(&id, &many).await, GrantState::OpenFailed);
    picky.most.store(usize::MAX, Ordering::Relaxed);
    place.pass(SignedDuration::from_secs(31));
    picky.expire().await;
    assert_eq!(picky.state(&id, &many).await, GrantState::Open, "once there is room");
}

#[tokio::test]
async fn a_rule_that_may_not_be_written_any_more_is_deleted() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22"]).await;
    let lease = picky.open(&id, "22", &named(ANN), SHORT).await;
    picky.open(&id, "22", &named(BOB), HOUR).await;
    picky.most.store(0, Ordering::Relaxed);
    place.pass(SHORT);
    picky.expire().await;
    assert!(is_told(&place, &id, &lease).await && !place.passes(&id, ANN).await);
}

#[tokio::test]
async fn a_rule_that_cannot_be_closed_keeps_no_other_from_closing_or_opening() {
    let place = Place::new();
    let picky = Picky::of(&place);
    let id = picky.guard(&["22", "3389", "443"]).await;
    let stuck = picky.open(&id, "3389", &named(ANN), SHORT).await;
    let lease = picky.open(&id, "22", &named(ANN), SHORT).await;
    picky.kept.lock().expect("whole").push(3389);
    let bob = picky.ask(&id, "443", &named(BOB), HOUR).await;
    place.pass(SHORT);
    picky.expire().await;
    assert!(is_told(&place, &id, &lease).await && !place.passes(&id, ANN).await);
    assert_eq!(picky.state(&id, &bob).await, GrantState::Open);
    assert!(!is_told(&place, &id, &stuck).await, "it is still open");
    let target = place.target(&id).await;
    assert!(target.refused().is_some_and(|it| it.contains("there is no room")), "{:?}", target.refused());
    assert_eq!(target.misses(), 1);
    picky.kept.lock().expect("whole").clear();
    place.pass(SignedDuration::from_secs(6));
    picky.expire().await;
    assert!(is_told(&place, &id, &stuck).await);
    assert_eq!(place.target(&id).await.refused(), None);
}
