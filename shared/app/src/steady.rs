//! One time out of two clocks: the clock on the wall, which somebody may set, and the one that runs since the machine
//! started, also in its sleep, which nobody can.

use crate::{
    Error,
    ports::Store,
    record::{Record, record},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::Fact;

/// A change of the clock on the wall against the running one that is told: less is how clocks are kept right.
pub const JUMP_MIN: SignedDuration = SignedDuration::from_secs(2);

/// What both clocks show at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The clock on the wall.
    pub wall: Timestamp,
    /// For how long the machine has been running, sleep included.
    pub running: SignedDuration,
}

/// A time that never goes back, and is never slower than either clock: whatever becomes of the clock on the wall, an end
/// comes by the first of the two.
///
/// Where the wall is set back it goes on by the running clock, where it is set forward it follows, and it never makes up
/// for having followed: whoever counts on an end counts on that.
///
/// INVARIANT (an-end-counts-by-both-clocks): for any two readings, no less passes than by either clock.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    last: Reading,
    now: Timestamp,
}

/// The clock on the wall was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// When, by the steady time.
    pub at: Timestamp,
    /// How far; back if it is negative.
    pub by: SignedDuration,
}

impl Steady {
    /// A time that begins with a first reading and no earlier than `floor`, the newest that was ever written down: a wall
    /// that is behind that was set back.
    pub fn begin(first: Reading, floor: Timestamp) -> (Self, Option<Jump>) {
        let now = first.wall.max(floor);
        (Self { last: first, now }, jump(first.wall.duration_since(floor).min(SignedDuration::ZERO), now))
    }

    /// The time at the next reading, and whether the wall was set since the one before it.
    pub fn next(&mut self, reading: Reading) -> (Timestamp, Option<Jump>) {
        let ran = reading.running.saturating_sub(self.last.running).max(SignedDuration::ZERO);
        let walked = reading.wall.duration_since(self.last.wall);
        self.now = after(self.now, ran).max(reading.wall);
        self.last = reading;
        (self.now, jump(walked.saturating_sub(ran), self.now))
    }

    /// The time at the last reading.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How far it is ahead of the clock on the wall, as both were last read.
    pub fn lead(&self) -> SignedDuration {
        self.now.duration_since(self.last.wall)
    }

    /// When `at` comes by the running clock, if nobody sets the other one forward until then.
    pub fn running_at(&self, at: Timestamp) -> SignedDuration {
        self.last.running.saturating_add(at.duration_since(self.now))
    }
}

/// Records that the clock on the wall was set.
pub async fn clock_jumped(store: &impl Store, jump: Jump) -> Result<(), Error> {
    let by_ms = i64::try_from(jump.by.as_millis()).unwrap_or(i64::MAX);
    record(store, &Record::of_rest(Fact::ClockJumped { by_ms }), jump.at).await
}

fn jump(by: SignedDuration, at: Timestamp) -> Option<Jump> {
    (JUMP_MIN < by.abs()).then_some(Jump { at, by })
}

fn after(now: Timestamp, time: SignedDuration) -> Timestamp {
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(wall: i64, running: i64) -> Reading {
        let wall = Timestamp::from_second(1_800_000_000 + wall).expect("in range");
        Reading { wall, running: SignedDuration::from_secs(running) }
    }

    fn begun(wall: i64, running: i64) -> Steady {
        let first = reading(wall, running);
        Steady::begin(first, Timestamp::MIN).0
    }

    /// What it says after some readings, in seconds from the beginning, and which jumps it tells.
    fn said(mut steady: Steady, readings: &[(i64, i64)]) -> (Vec<i64>, Vec<i64>) {
        let (mut times, mut jumps) = (vec![], vec![]);
        for (wall, running) in readings {
            let (now, jump) = steady.next(reading(*wall, *running));
            times.push(now.as_second() - 1_800_000_000);
            jumps.extend(jump.map(|it| it.by.as_secs()));
        }
        (times, jumps)
    }

    #[test]
    fn a_wall_clock_set_back_is_not_followed_and_is_reported_once() {
        let (times, jumps) = said(begun(0, 100), &[(1, 101), (-598, 102), (-597, 103), (-590, 110)]);
        assert_eq!((times, jumps), (vec![1, 2, 3, 10], vec![-600]));
    }

    #[test]
    fn a_wall_clock_set_forward_is_followed_and_is_reported_once() {
        let (times, jumps) = said(begun(0, 100), &[(1, 101), (602, 102), (603, 103)]);
        assert_eq!((times, jumps), (vec![1, 602, 603], vec![600]));
    }

    #[test]
    fn a_wall_clock_that_returns_is_not_waited_for() {
        let (times, jumps) = said(begun(0, 100), &[(601, 101), (2, 102), (3, 103)]);
        assert_eq!((times, jumps), (vec![601, 602, 603], vec![600, -600]));
    }

    #[test]
    fn a_machine_that_slept_or_was_frozen_has_lost_no_time() {
        let (slept, told) = said(begun(0, 100), &[(3_600, 3_700)]);
        assert_eq!((slept, told), (vec![3_600], vec![]), "both clocks ran on");
        let (frozen, told) = said(begun(0, 100), &[(3_600, 101)]);
        assert_eq!((frozen, told), (vec![3_600], vec![3_599]), "only the wall knows");
        let (still, told) = said(begun(0, 100), &[(0, 101), (0, 102), (0, 103), (0, 110)]);
        assert_eq!((still, told), (vec![1, 2, 3, 10], vec![-7]), "only the running clock knows");
    }

    #[test]
    fn a_slewed_wall_clock_has_not_jumped() {
        let mut steady = begun(0, 0);
        for hour in 1..=1_000 {
            // 500 parts in a million, as much as a kernel slews: 1.8 s in an hour.
            let wall = reading(0, 0).wall + SignedDuration::from_millis(hour * 3_600_000 - hour * 1_800);
            let running = SignedDuration::from_hours(hour);
            assert_eq!(steady.next(Reading { wall, running }).1, None);
        }
        assert_eq!(steady.lead(), SignedDuration::from_secs(1_800), "and no end came late by either");
    }

    #[test]
    fn it_begins_no_earlier_than_what_was_written_down() {
        let floor = reading(600, 0).wall;
        let (mut steady, jump) = Steady::begin(reading(0, 100), floor);
        assert_eq!(jump, Some(Jump { at: floor, by: SignedDuration::from_secs(-600) }));
        assert_eq!(steady.next(reading(1, 101)), (floor + SignedDuration::from_secs(1), None));
        assert_eq!(steady.lead(), SignedDuration::from_secs(600));
        assert_eq!(Steady::begin(reading(700, 100), floor).1, None, "time has passed since");
    }

    /// Over random readings: never back, and never less than by either clock.
    #[test]
    fn no_less_passes_than_by_either_clock() {
        let (mut seed, mut wall, mut running) = (7_u64, 0_i64, 0_i64);
        let mut dice = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from(seed >> 40).expect("24 bits")
        };
        let mut steady = begun(0, 0);
        for _ in 0..10_000 {
            let (before, was) = (steady, (wall, running));
            running += dice() % 20;
            wall += if dice() % 10 == 0 { dice() % 2_000 - 1_000 } else { running - was.1 };
            steady.next(reading(wall, running));
            let passed = steady.now.duration_since(before.now).as_secs();
            assert!(running - was.1 <= passed && reading(wall, 0).wall <= steady.now);
            let wake_at = before.running_at(steady.now).as_secs();
            assert!(wall != was.0 + running - was.1 || running <= wake_at, "{wake_at} of {running}");
        }
    }
}
