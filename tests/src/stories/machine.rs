//! The two clocks of the machine on which all workers of a story are: one on the wall, which somebody may set, and one that
//! runs. Workers go by the time that the product makes of both.
//!
//! A story is told by the first of the two, whatever any reading said: so lateness is counted by the clock that runs, and
//! by the one on the wall where that was set forward. A leap of it is a leap of the story.

use super::clock::stamp;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Jump, Reading, Steady};

/// What becomes of the clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// It is set, so far: back if that is negative.
    By(i64),
    /// It stands still.
    Stand,
    /// It goes on from where it stood.
    GoOn,
    /// It is set as if nobody had ever touched it.
    Right,
}

/// Both clocks, in milliseconds of the story.
#[derive(Debug)]
pub(super) struct Machine {
    /// The product's time.
    steady: Steady,
    /// How far the story leapt, all in all: so much less the machine has been running.
    leapt: i64,
    /// How far the wall is ahead of the running clock.
    ahead: i64,
    /// Where the wall stands still.
    stands_at: Option<i64>,
}

impl Machine {
    pub(super) fn begin() -> Self {
        let first = Reading { wall: stamp(0), running: SignedDuration::ZERO };
        let (steady, _) = Steady::begin(first, Timestamp::MIN);
        Self { steady, leapt: 0, ahead: 0, stands_at: None }
    }

    /// What workers take for the time, and whether they saw that the clock was set.
    pub(super) fn shows(&mut self, now: i64) -> (Timestamp, Option<Jump>) {
        let running = SignedDuration::from_millis(self.running(now));
        self.steady.next(Reading { wall: stamp(self.wall(now)), running })
    }

    /// When a time comes that is waited for from now on, if nobody sets the clock.
    pub(super) fn wakes_at(&mut self, at: Timestamp, now: i64) -> i64 {
        self.shows(now);
        let running = self.steady.running_at(at);
        // Never early: a story's time goes on by whole milliseconds.
        let up = SignedDuration::from_nanos(999_999);
        let whole = running.saturating_add(up).as_millis();
        i64::try_from(whole).map_or(i64::MAX, |it| it.saturating_add(self.leapt))
    }

    /// The clock on the wall is set; says to which time the story leaps.
    pub(super) fn set(&mut self, setting: Setting, now: i64) -> i64 {
        let wall = self.wall(now);
        match setting {
            Setting::By(by) => {
                self.ahead += by;
                self.stands_at = self.stands_at.map(|it| it + by);
            }
            Setting::Stand => self.stands_at = Some(wall),
            Setting::GoOn => {
                self.ahead = wall - self.running(now);
                self.stands_at = None;
            }
            Setting::Right => (self.ahead, self.stands_at) = (0, None),
        }
        let after = now.max(self.wall(now));
        self.leapt += after - now;
        after
    }

    fn running(&self, now: i64) -> i64 {
        now - self.leapt
    }

    fn wall(&self, now: i64) -> i64 {
        self.stands_at.unwrap_or(self.running(now) + self.ahead)
    }
}
