//! The clock that closes: it holds until something is due, and settles it then, whatever else goes wrong.

use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    self as app, Error, Held, Message, handle_all,
    ports::{
        Batch, Clock, Due, FeedItem, Firewalls, GrantFilter, OurRule, Page, PageAsked, Rank, RequestFilter,
        Seen, Store, Turn,
    },
    settle_named,
};
use portcullis_domain::{
    Authority, Chain, Change, ClaimToken, Entry, Grant, GrantId, Head, Request, RequestId, Snapshot, Target,
    TargetId, WORKER_LIFE,
};
use portcullis_tests::{
    given::{self, named, ssh},
    stories::{Outside, calmly},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// A world with something wrong in it.
struct Wrong<'a> {
    world: &'a Outside,
    /// Whoever reads this target's firewalls waits for ever.
    hangs: Option<TargetId>,
    /// Whoever reads this target's firewalls panics.
    panics: Option<TargetId>,
    /// How many reads of firewalls fail yet.
    deaf: AtomicU64,
    /// How many looks at the index fail yet.
    blind: AtomicU64,
    /// How many commits yet meet somebody who was faster.
    rushed: AtomicU64,
    /// How long the index is behind the table.
    lag: SignedDuration,
    /// When the index first showed something.
    shown: Mutex<BTreeMap<Due, Timestamp>>,
    /// When each target's firewalls were read.
    reads: Mutex<BTreeMap<TargetId, Vec<Timestamp>>>,
    looks: AtomicU64,
}

impl<'a> Wrong<'a> {
    fn of(world: &'a Outside) -> Self {
        Self {
            world,
            hangs: None,
            panics: None,
            deaf: AtomicU64::new(0),
            blind: AtomicU64::new(0),
            rushed: AtomicU64::new(0),
            lag: SignedDuration::ZERO,
            shown: Mutex::default(),
            reads: Mutex::default(),
            looks: AtomicU64::new(0),
        }
    }

    async fn hold(&self, until: Timestamp) -> Held {
        let begun = RefCell::new(0);
        let token = || -> ClaimToken {
            *begun.borrow_mut() += 1;
            named(&format!("w{}", begun.borrow()))
        };
        app::hold(self, self, self.world, token, stream::pending(), Some(until))
            .await
            .expect("it has a clock")
    }

    /// When the firewalls of a target were first read.
    fn read_at(&self, id: &str) -> Option<Timestamp> {
        self.reads.lock().expect("one thread").get(&named::<TargetId>(id))?.first().copied()
    }
}

/// Guards a machine on trial: it is due when the trial ends.
async fn due_at(world: &Outside, id: &str, at: Timestamp) {
    let guarded =
        Target::unguarded(named(id)).set_policy(Some(ssh()), &named("owner"), Some(at), world.now());
    let next = guarded.expect("new");
    world.commit(Batch::of(next, Seen::NEVER)).await.expect("committed");
    app::settle(world, world, &named(id), &named("first"), world.now()).await.expect("settled");
}

fn secs(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// No later than it takes to look and to load.
fn on_time(at: Timestamp, read: Option<Timestamp>) -> bool {
    read.is_some_and(|read| at <= read && read.duration_since(at) < SignedDuration::from_millis(1_500))
}

#[tokio::test]
async fn nothing_due_is_nothing_to_wait_for() {
    calmly(async |world| {
        let begun = world.now();
        let held = Wrong::of(world).hold(begun + secs(60)).await;
        assert_eq!(held.taken_on, 0);
        assert!(world.now().duration_since(begun) < secs(1), "it returned at once");
    })
    .await;
}

#[tokio::test]
async fn each_target_is_settled_at_its_time_and_later_ones_are_left() {
    calmly(async |world| {
        let begun = world.now();
        for (id, after) in [("vm0", 20), ("vm1", 35), ("vm2", 300)] {
            due_at(world, id, begun + secs(after)).await;
        }
        let wrong = Wrong::of(world);
        let held = wrong.hold(begun + secs(50)).await;
        assert!(held.failure.is_none(), "{:?}", held.failure);
        assert!(on_time(begun + secs(20), wrong.read_at("vm0")), "{:?}", wrong.reads);
        assert!(on_time(begun + secs(35), wrong.read_at("vm1")), "{:?}", wrong.reads);
        assert_eq!(wrong.read_at("vm2"), None, "that is for the next one");
        let now = world.now().duration_since(begun);
        assert!(secs(35) <= now && now < secs(38), "nobody waits once nothing is left to wait for: {now}");
    })
    .await;
}

#[tokio::test]
async fn a_target_that_comes_due_meanwhile_is_found_without_an_event() {
    calmly(async |world| {
        let begun = world.now();
        due_at(world, "vm0", begun + secs(40)).await;
        let wrong = Wrong::of(world);
        let later = async {
            world.sleep_until(begun + secs(10)).await.expect("waits");
            due_at(world, "vm1", begun + secs(20)).await;
        };
        let (held, ()) = futures_util::future::join(wrong.hold(begun + secs(45)), later).await;
        assert!(held.failure.is_none(), "{:?}", held.failure);
        assert!(on_time(begun + secs(20), wrong.read_at("vm1")), "{:?}", wrong.reads);
        assert!(on_time(begun + secs(40), wrong.read_at("vm0")), "{:?}", wrong.reads);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_hangs_is_ended_and_delays_no_other_target() {
    calmly(async |world| {
        let begun = world.now();
        for (id, after) in [("vm0", 10), ("vm1", 10), ("vm2", 15)] {
            due_at(world, id, begun + secs(after)).await;
        }
        let wrong = Wrong { hangs: Some(named("vm0")), ..Wrong::of(world) };
        let held = wrong.hold(begun + secs(25)).await;
        assert!(on_time(begun + secs(10), wrong.read_at("vm1")), "{:?}", wrong.reads);
        assert!(on_time(begun + secs(15), wrong.read_at("vm2")), "{:?}", wrong.reads);
        assert!(matches!(held.failure, Some(Error::Unavailable { .. })), "{:?}", held.failure);
        let lived = world.now().duration_since(begun + secs(10));
        assert!(WORKER_LIFE <= lived && lived < WORKER_LIFE + secs(1), "a worker's life: {lived}");
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_panics_delays_no_other_target() {
    calmly(async |world| {
        let begun = world.now();
        // Also not those that are due with it, and are taken on by the same worker.
        for (id, after) in [("vm0", 10), ("vm1", 10), ("vm2", 12)] {
            due_at(world, id, begun + secs(after)).await;
        }
        let wrong = Wrong { panics: Some(named("vm0")), ..Wrong::of(world) };
        let held = wrong.hold(begun + secs(15)).await;
        for (id, after) in [("vm1", 10), ("vm2", 12)] {
            assert!(on_time(begun + secs(after), wrong.read_at(id)), "{id}: {:?}", wrong.reads);
            let (target, _) = world.target(&named(id)).await.expect("loads").expect("is there");
            assert!(target.policy().is_none() && !target.is_claimed(), "{id} is settled");
        }
        assert!(matches!(held.failure, Some(Error::Broken { .. })), "{:?}", held.failure);
    })
    .await;
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_asked_again() {
    calmly(async |world| {
        let begun = world.now();
        due_at(world, "vm0", begun + secs(10)).await;
        let wrong = Wrong { blind: AtomicU64::new(3), ..Wrong::of(world) };
        let held = wrong.hold(begun + secs(15)).await;
        assert!(matches!(held.failure, Some(Error::Unavailable { .. })), "and that is told");
        assert!(on_time(begun + secs(10), wrong.read_at("vm0")), "{:?}", wrong.reads);
    })
    .await;
}

#[tokio::test]
async fn a_stale_due_index_causes_no_error_and_no_busy_loop() {
    calmly(async |world| {
        let begun = world.now();
        due_at(world, "vm0", begun + secs(10)).await;
        due_at(world, "vm1", begun + secs(12)).await;
        let wrong = Wrong { lag: secs(4), ..Wrong::of(world) };
        let held = wrong.hold(begun + secs(20)).await;
        assert!(held.failure.is_none(), "{:?}", held.failure);
        for id in ["vm0", "vm1"] {
            let (target, _) = world.target(&named(id)).await.expect("loads").expect("is there");
            assert!(target.policy().is_none() && !target.is_claimed(), "{id} is settled");
            let reads = wrong.reads.lock().expect("one thread")[&named::<TargetId>(id)].len();
            assert!(reads <= 15, "{id} was read {reads} times");
        }
        let looks = wrong.looks.load(Ordering::Relaxed);
        assert!(looks <= 60, "the index was looked at {looks} times in 20 s");
    })
    .await;
}

/// What was tried and did not work is due again within seconds: nobody leaves while the index hides that.
#[tokio::test]
async fn a_stale_due_index_hides_no_retry() {
    calmly(async |world| {
        let begun = world.now();
        due_at(world, "vm0", begun + secs(10)).await;
        // As often as one worker goes round.
        let lag = SignedDuration::from_millis(600);
        let wrong = Wrong { deaf: AtomicU64::new(6), lag, ..Wrong::of(world) };
        let held = wrong.hold(begun + secs(20)).await;
        assert!(matches!(held.failure, Some(Error::Unavailable { .. })), "{:?}", held.failure);
        let (target, _) = world.target(&named("vm0")).await.expect("loads").expect("is there");
        assert!(target.policy().is_none() && target.misses() == 0, "it is settled: {target:?}");
        assert!(on_time(begun + secs(10), wrong.read_at("vm0")), "{:?}", wrong.reads);
    })
    .await;
}

impl Firewalls for Wrong<'_> {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        let at = self.world.now();
        self.reads.lock().expect("one thread").entry(target.clone()).or_default().push(at);
        if self.hangs.as_ref() == Some(target) {
            pending::<()>().await;
        }
        if let Some(panics) = &self.panics {
            // Once all who are due with it have claimed, and before any of them has read.
            let millis = if panics == target { 500 } else { 1_000 };
            self.world.sleep_until(at + SignedDuration::from_millis(millis)).await?;
            assert_ne!(panics, target, "as planned");
        }
        let deaf = self.deaf.load(Ordering::Relaxed);
        if 0 < deaf {
            self.deaf.store(deaf - 1, Ordering::Relaxed);
            return Err(Error::Unavailable { doing: "read", source: "it does not answer".into() });
        }
        self.world.read(target).await
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        self.world.ours().await
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        self.world.write(target, changes).await
    }
}

impl Store for Wrong<'_> {
    async fn target(&self, id: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        self.world.target(id).await
    }

    async fn request(&self, id: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        self.world.request(id).await
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Error> {
        self.world.grant(id).await
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        self.world.authority().await
    }

    async fn rest(&self) -> Result<Head, Error> {
        self.world.rest().await
    }

    async fn turn(&self, chain: &Chain, rank: Rank, lost: usize) -> Turn {
        self.world.turn(chain, rank, lost).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let rushed = self.rushed.load(Ordering::Relaxed);
        if 0 < rushed {
            self.rushed.store(rushed - 1, Ordering::Relaxed);
            return Err(Error::Conflict);
        }
        self.world.commit(batch).await
    }

    /// What is no longer due stays in it for a while, and hides what it is due by next.
    async fn due(&self, until: Timestamp, at_most: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let blind = self.blind.load(Ordering::Relaxed);
        if 0 < blind {
            self.blind.store(blind - 1, Ordering::Relaxed);
            return Err(Error::Unavailable { doing: "look", source: "it is dark".into() });
        }
        let now = self.world.now();
        let fresh = self.world.due(Timestamp::MAX, 100).await?;
        let mut shown = self.shown.lock().expect("one thread");
        for (at, due) in fresh {
            let old = shown.entry(due).or_insert(at);
            if *old + self.lag < now || now < *old {
                *old = at;
            }
        }
        let mut due: Vec<_> = shown.iter().map(|(due, at)| (*at, due.clone())).collect();
        due.retain(|(at, _)| *at <= until);
        due.sort();
        due.truncate(at_most);
        Ok(due)
    }

    async fn targets(&self, after: Option<&TargetId>, at_most: usize) -> Result<Vec<Target>, Error> {
        self.world.targets(after, at_most).await
    }

    async fn chains(&self, after: Option<&Chain>, at_most: usize) -> Result<Vec<Chain>, Error> {
        self.world.chains(after, at_most).await
    }

    async fn requests(&self, of: &RequestFilter, page: &PageAsked) -> Result<Page<Request>, Error> {
        self.world.requests(of, page).await
    }

    async fn grants(&self, of: &GrantFilter, page: &PageAsked) -> Result<Page<Grant>, Error> {
        self.world.grants(of, page).await
    }

    async fn entries(&self, chain: &Chain, from: u64, at_most: usize) -> Result<Vec<Entry>, Error> {
        self.world.entries(chain, from, at_most).await
    }

    async fn last(&self, chain: &Chain) -> Result<Option<Entry>, Error> {
        self.world.last(chain).await
    }

    async fn feed(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> Result<Vec<FeedItem>, Error> {
        self.world.feed(since, after, at_most).await
    }

    async fn recorded(&self, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        self.world.recorded(items).await
    }
}

/// INVARIANT (asks-do-not-send-us-round): a rush of them keeps nobody's turn from coming, and nothing open.
#[tokio::test]
async fn a_rush_of_requests_keeps_no_worker_from_claiming() {
    calmly(async |world| {
        let begun = world.now();
        due_at(world, "vm0", begun + secs(3)).await;
        world.sleep_until(begun + secs(3)).await.expect("slept");
        // Far more often than one worker goes round.
        let wrong = Wrong { rushed: AtomicU64::new(30), ..Wrong::of(world) };
        app::settle(&wrong, &wrong, &named("vm0"), &named("rushed"), world.now()).await.expect("settled");
        let (target, _) = world.target(&named("vm0")).await.expect("loads").expect("is there");
        assert!(target.policy().is_none(), "the trial is over: {target:?}");
        assert_eq!(wrong.rushed.load(Ordering::Relaxed), 0);
    })
    .await;
}

/// What was not seen to land is looked at again by the same worker: nobody else would for a minute.
#[tokio::test]
async fn a_notified_worker_goes_on_while_more_is_due_within_seconds() {
    calmly(async |world| {
        let begun = world.now();
        due_at(world, "vm0", begun + secs(3)).await;
        let (wrong, id) = (Wrong::of(world), named("vm0"));
        app::settle_on(&wrong, &wrong, world, &id, &named("told")).await.expect("settled");
        let reads = wrong.reads.lock().expect("one thread")[&id].clone();
        assert!(on_time(begun + secs(3), reads.last().copied()), "{reads:?}");
        let now = world.now().duration_since(begun);
        assert!(now < secs(10), "what is due in a minute is for others: {now}");
    })
    .await;
}

/// Whoever was killed at it would leave a claim, and nobody could close anything there before that is over.
#[tokio::test]
async fn a_notified_worker_stops_in_time_to_finish() {
    calmly(async |world| {
        let (begun, id) = (world.now(), named::<TargetId>("vm0"));
        due_at(world, "vm0", begun + secs(600)).await;
        // A lease ends every other second, for longer than a worker lives.
        let grants = (1..30).map(|n| {
            let it = given::grant(&given::request("ann", &n.to_string(), "vm0", begun), &id, begun);
            Grant { lease: it.lease.cut(begun + secs(2 * n)), ..it }
        });
        let (target, seen) = world.target(&id).await.expect("loads").expect("is there");
        let next = target.grant(grants.collect(), None, begun);
        world.commit(Batch::of(next, seen)).await.expect("committed");
        app::settle_on(world, world, world, &id, &named("told")).await.expect("settled");
        let lived = world.now().duration_since(begun);
        assert!(secs(5) < lived && lived < WORKER_LIFE - secs(5), "{lived}");
        let (target, _) = world.target(&id).await.expect("loads").expect("is there");
        assert!(!target.is_claimed(), "it gave back what it took on");
    })
    .await;
}

/// What was not done comes again; what was done does not, whatever becomes of its neighbours in the batch.
#[tokio::test]
async fn a_message_that_failed_is_delivered_again() {
    calmly(async |world| {
        let wrong = Wrong { hangs: Some(named("vm0")), ..Wrong::of(world) };
        for id in ["vm0", "vm2"] {
            due_at(world, id, world.now() + secs(3)).await;
        }
        let message = |id: &str| {
            let body = format!("{{\"detail\": {{\"target\": \"{id}\"}}}}");
            (id.to_owned(), Message { body, token: named(id) })
        };
        let settled = async |it| settle_named(&wrong, &wrong, world, it).await;
        let failed = handle_all(["vm0", "vm2", "stranger"].map(message), settled).await;
        assert_eq!(failed, ["vm0"]);
        assert!(wrong.read_at("vm2").is_some());
    })
    .await;
}
