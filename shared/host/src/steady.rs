//! The time of this process: one for asks, ends and read-backs alike. Somebody may set the clock of the machine, and
//! no lease is longer for it.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Error, Finding, Jump, Reading, Steady, clock_jumped, ports::Store};
use portcullis_domain::{Cause, Delay, Hindrance};
use std::{
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time};

/// How long after a jump a checkup tells of it.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How often what could not be recorded is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How many jumps wait to be recorded: where a clock never stands still, the first ones say enough.
const WAITING_MAX: usize = 100;
/// Two clocks are read together if that took no longer: a process may be stopped between them.
const TOGETHER: SignedDuration = SignedDuration::from_millis(5);
const READINGS_MAX: usize = 5;

static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
    clock: Mutex::new(Clock {
        steady: Steady::begin(reading(), Timestamp::MIN).0,
        last: None,
        waiting: vec![],
        away: None,
    }),
    jumped: Notify::new(),
});

struct Process {
    clock: Mutex<Clock>,
    jumped: Notify,
}

struct Clock {
    steady: Steady,
    last: Option<Jump>,
    waiting: Vec<Jump>,
    /// Since when nothing was written down before this process began, and when that was.
    away: Option<(Timestamp, Timestamp)>,
}

/// The time, and when a later one comes by the clock that runs since the machine started.
pub fn now() -> Timestamp {
    PROCESS.read().0
}

/// How long the machine will have been running when `at` comes, if nobody sets its clock forward until then.
pub fn running_at(at: Timestamp) -> SignedDuration {
    PROCESS.read().1.running_at(at)
}

/// From now on time is no earlier than this: the newest that was ever written down.
pub fn not_before(floor: Timestamp) {
    let mut clock = PROCESS.lock();
    let (steady, jump) = Steady::begin(reading(), floor);
    clock.steady = steady;
    clock.away = Some((floor, steady.now()));
    PROCESS.tell(&mut clock, jump);
}

/// Records each jump of the clock once, until dropped.
pub async fn record_jumps(store: &impl Store) {
    loop {
        let jumped = PROCESS.jumped.notified();
        let next = PROCESS.lock().waiting.first().copied();
        let Some(jump) = next else {
            jumped.await;
            continue;
        };
        match clock_jumped(store, jump).await {
            Ok(()) => drop(PROCESS.lock().waiting.remove(0)),
            Err(error) => {
                tracing::debug!(
                    error = error.full(),
                    "A jump of the clock could not be recorded, and will \
                    be tried again"
                );
                time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// What kept closings waiting, as far as this process knows by its clocks: it was not running yet, or time was skipped
/// when the clock was set forward.
pub fn hindrances() -> Vec<Hindrance> {
    let clock = PROCESS.lock();
    let before = clock.away.map(|(from, to)| Hindrance { from, to, delay: Cause::NotRunning.into() });
    let skipped = clock.last.filter(|it| it.by.is_positive()).map(|Jump { at, by }| Hindrance {
        from: at.saturating_sub(by).unwrap_or(Timestamp::MIN),
        to: at,
        delay: Delay::of(Cause::ClockJumped, &format!("it was set {}", way(by))),
    });
    before.into_iter().chain(skipped).collect()
}

/// How the clock of this machine is, for a checkup.
pub fn finding() -> Finding {
    const CHECK: &str = "machine's clock";
    const ADVICE: &str = "find the program that sets the clock of this machine; no lease ends later because \
        of it, and requested times are kept by the later of the two clocks";
    let (now, steady) = PROCESS.read();
    let (lead, last) = (steady.lead(), PROCESS.lock().last);
    if portcullis_app::JUMP_MIN < lead {
        let lead = whole(lead);
        let found = format!("the clock of this machine is {lead:#} behind the clock by which leases end");
        return Finding::warning(CHECK, found, ADVICE);
    }
    match last.filter(|it| now.duration_since(it.at) < TOLD_FOR) {
        Some(Jump { at, by }) => {
            Finding::warning(CHECK, format!("the clock of this machine was set {} at {at}", way(by)), ADVICE)
        }
        None => Finding::ok(CHECK, "the clock of this machine runs evenly"),
    }
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Read within the lock: one reading is after the other.
    fn read(&self) -> (Timestamp, Steady) {
        let mut clock = self.lock();
        let (now, jump) = clock.steady.next(reading());
        self.tell(&mut clock, jump);
        (now, clock.steady)
    }

    fn tell(&self, clock: &mut Clock, jump: Option<Jump>) {
        let Some(jump) = jump else { return };
        tracing::warn!(
            by = way(jump.by),
            "The clock of the machine was set; no lease ends later because of it"
        );
        clock.last = Some(jump);
        if clock.waiting.len() < WAITING_MAX {
            clock.waiting.push(jump);
        }
        self.jumped.notify_one();
    }
}

/// How far, and which way.
fn way(by: SignedDuration) -> String {
    let way = if by.is_negative() { "back" } else { "forward" };
    format!("{way} by {:#}", whole(by.abs()))
}

/// To the nearest second.
fn whole(length: SignedDuration) -> SignedDuration {
    const HALF: SignedDuration = SignedDuration::from_millis(500);
    SignedDuration::from_secs(length.saturating_add(HALF).as_secs())
}

/// Both clocks, read together.
fn reading() -> Reading {
    let (mut before, mut wall) = (running(), Timestamp::now());
    for _ in 0..READINGS_MAX {
        let after = running();
        if after.saturating_sub(before) < TOGETHER {
            break;
        }
        (before, wall) = (running(), Timestamp::now());
    }
    Reading { wall, running: before }
}

/// For how long the machine has been running, its sleep included.
#[cfg(target_os = "linux")]
fn running() -> SignedDuration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    SignedDuration::new(time.tv_sec, i32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Elsewhere this clock stands still in sleep: then the wall alone tells of it.
#[cfg(not(target_os = "linux"))]
fn running() -> SignedDuration {
    static BEGAN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    SignedDuration::try_from(BEGAN.elapsed()).unwrap_or(SignedDuration::MAX)
}

/// The newest that was ever written down: a clock that is behind that was set back since.
pub async fn newest(store: &impl Store) -> Result<Option<Timestamp>, Error> {
    const PAGE: usize = 200;
    let (mut newest, mut after) = (None, None);
    loop {
        let chains = store.chains(after.as_ref(), PAGE).await?;
        let Some(last) = chains.last().cloned() else { return Ok(newest) };
        for chain in &chains {
            // One that cannot be read is for `verify` to name, and keeps nobody from starting.
            match store.last(chain).await {
                Err(Error::Broken { .. }) => {}
                last => newest = newest.max(last?.map(|it| it.at)),
            }
        }
        after = Some(last);
    }
}
