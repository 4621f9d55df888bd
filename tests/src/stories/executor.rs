//! Who goes on next: every worker is one future, woken by the world's clock alone.

use super::{
    Ending, Plot,
    clock::{NEVER, stamp},
    log::Actor,
    outside::Outside,
    world::{Job, STORY_ENDS_MS, World},
};
use futures_util::stream;
use portcullis_app::{self as app, Error, ports::Clock as _};
use portcullis_domain::ClaimToken;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// How often the platform asks whether anything is due.
const TICK_MS: i64 = 1_000;

/// How many workers of its own one invocation may begin.
pub(super) const CLAIMS_MAX: u64 = 50;

type Work = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// Every worker that lives.
struct Executor {
    world: Arc<Mutex<World>>,
    workers: BTreeMap<u64, (Work, Waker)>,
    ready: Arc<Mutex<VecDeque<u64>>>,
    born: u64,
}

/// Wakes one worker; which of its futures waited is for the worker to know.
struct Alarm {
    worker: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

/// Tells one story from its beginning to its end.
pub(super) fn tell(plot: Plot, is_told: bool) -> Ending {
    let world = Arc::new(Mutex::new(World::begin(plot, is_told)));
    let mut executor = Executor { world, workers: BTreeMap::new(), ready: Arc::default(), born: 0 };
    executor.run();
    drop(executor.workers);
    let mut world = lock(&executor.world);
    world.conclude();
    let log = std::mem::take(&mut world.log);
    std::mem::take(&mut world.oracle).into_ending(plot, log)
}

impl Executor {
    fn run(&mut self) {
        let mut tick = TICK_MS;
        loop {
            let mut world = lock(&self.world);
            let (timer, event) = (world.time.next_timer(), world.time.next_event());
            let (worker, death) = world
                .lives
                .iter()
                .map(|(worker, life)| (*worker, life.dies_at))
                .min_by_key(|(_, at)| *at)
                .unwrap_or((0, NEVER));
            let now = timer.min(event).min(death).min(tick).max(world.time.now);
            if STORY_ENDS_MS < now || world.oracle.is_broken() {
                break;
            }
            world.time.now = now;
            let mut job = None;
            if death <= now {
                drop(world);
                self.kill(worker);
            } else if timer <= now {
                let waker = world.time.pop_timer();
                drop(world);
                waker.into_iter().for_each(Waker::wake);
                self.step();
            } else if event <= now {
                job = world.happen();
                // A host that slept missed its ticks.
                tick = tick.max(world.awake_at());
                drop(world);
            } else {
                tick += TICK_MS;
                job = world.is_anything_due_by(tick).then_some(Job::Expire { until: tick });
                drop(world);
            }
            if let Some(job) = job {
                self.spawn(job);
                self.step();
            }
            lock(&self.world).observe();
        }
    }

    fn spawn(&mut self, job: Job) {
        self.born += 1;
        let worker = self.born;
        let mut world = lock(&self.world);
        let skew = world.skew();
        let now = world.time.now;
        world.note(Actor::Worker(worker), || format!("begins to {job}, its clock is {skew} ms ahead"));
        world.lives.insert(worker, job.begin(now));
        drop(world);
        let outside = Outside { world: Arc::clone(&self.world), worker, skew };
        let waker = Waker::from(Arc::new(Alarm { worker, ready: Arc::clone(&self.ready) }));
        self.workers.insert(worker, (Box::pin(run(outside, job)), waker));
        lock(&self.ready).push_back(worker);
    }

    /// Lets everybody go on who was woken.
    fn step(&mut self) {
        loop {
            let Some(worker) = lock(&self.ready).pop_front() else { return };
            let Some((work, waker)) = self.workers.get_mut(&worker) else { continue };
            if lock(&self.world).is_starved(worker, waker) {
                continue;
            }
            if let Poll::Ready(outcome) = work.as_mut().poll(&mut Context::from_waker(waker)) {
                self.workers.remove(&worker);
                let mut world = lock(&self.world);
                match outcome {
                    Ok(()) => world.note(Actor::Worker(worker), || "is done".to_owned()),
                    Err(error) => world.gave_up(worker, &error, "worker gave up"),
                }
                world.lives.remove(&worker);
            }
        }
    }

    fn kill(&mut self, worker: u64) {
        self.workers.remove(&worker);
        lock(&self.world).lost_worker(worker);
    }
}

async fn run(outside: Outside, job: Job) -> Result<(), Error> {
    let (o, now) = (&outside, outside.now());
    let token = claim(outside.worker, 0);
    match job {
        Job::Relay(batch) => batch.tell(o).await,
        Job::Handle(delivery) => delivery.handle(o).await,
        Job::Expire { until } => {
            // Each of its workers claims by a name of its own.
            let begun = AtomicU64::new(0);
            let token = || claim(outside.worker, begun.fetch_add(1, Ordering::Relaxed));
            let until = stamp(until + outside.skew);
            let held = app::hold(o, o, o, token, stream::pending(), Some(until)).await?;
            held.failure.map_or(Ok(()), Err)
        }
        Job::Record(jump) => app::clock_jumped(o, jump).await,
        Job::Reconcile => app::reconcile(o, o, &app::Rights::default(), &token, o).await,
        Job::Wish(wish) => wish.utter(o, now).await,
        Job::Verify => {
            let bad = app::verify(o).await?.bad;
            let mut world = outside.world();
            let now = world.time.now;
            for it in &bad {
                world.oracle.break_rule("journal-equals-state", now, it);
            }
            Ok(())
        }
    }
}

/// What a worker claims by. One that is in fact several has several.
pub(super) fn claim(worker: u64, n: u64) -> ClaimToken {
    assert!(n < CLAIMS_MAX, "w{worker} claims without end");
    format!("w{worker}.{n}").parse().expect("a token")
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).push_back(self.worker);
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relay(batch) => write!(f, "relay {} records", batch.len()),
            Self::Handle(delivery) => write!(f, "handle {delivery}"),
            Self::Expire { until } => write!(f, "expire until {until} ms"),
            Self::Reconcile => f.write_str("reconcile"),
            Self::Verify => f.write_str("verify"),
            Self::Record(jump) => write!(f, "record {jump:?}"),
            Self::Wish(wish) => write!(f, "{wish}"),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("one thread")
}
