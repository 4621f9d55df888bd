//! What may go wrong with a call, and for how long that lets things be late.

use super::{firewall::Effect, world::Call};
use portcullis_domain::{CLAIM, RETRY_MIN};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It fails before it takes effect.
    Unreached,
    /// It takes effect, and the caller is told that it failed.
    Unheard,
    /// The caller dies before it.
    Dies,
    /// The caller gets no turn for `STARVED_MS`.
    Starved,
    /// A write is accepted, and lands at any time within `LANDS_WITHIN_MS`.
    Late,
    /// The same, and the caller is told that it failed.
    LateUnheard,
    /// A write lands at once, and once more at any time within `LANDS_WITHIN_MS`.
    Doubled,
    /// A write is refused for what it adds, and so is each one for `GROWTH_REFUSED_MS`. Those that only shut are not.
    GrowthRefused,
    /// An allow that stands may not be written anew, and so may none for `GROWTH_REFUSED_MS`. It may be deleted.
    RewriteRefused,
    /// A deletion is refused, and so is each one from then on. A rule may be written over so that it speaks of nobody.
    DeletionRefused,
    /// A commit finds no space on the disk, nor does any for `NO_SPACE_MS`: as in the local table what settles is stored in
    /// memory, and what a person takes away takes effect there and is not acknowledged.
    NoSpace,
    /// A commit is not taken, nor is any for `NO_COMMIT_MS`, as in an outage of a table that is elsewhere.
    NoCommit,
    /// The process dies with everybody in it, and with what it has in memory alone. It is back after `RESTARTS_MS`.
    Crash,
    /// The clock on the wall is set back by `CLOCK_BACK_MS` just before the answer.
    ClockBack,
}

/// For how long a caller gets no turn.
pub(super) const STARVED_MS: i64 = 15_000;
/// How late a write lands.
pub(super) const LANDS_WITHIN_MS: i64 = 150_000;
/// For how long a firewall takes no growth: longer than the leases have in common.
pub(super) const GROWTH_REFUSED_MS: i64 = 3_000;
/// For how long the disk has no room.
pub(super) const NO_SPACE_MS: i64 = 5_000;
/// For how long the table takes no commit.
pub(super) const NO_COMMIT_MS: i64 = 5_000;
/// How soon after a crash there is a process again.
pub(super) const RESTARTS_MS: i64 = 1_000;
/// How far the clock on the wall is set back: further than any lease is long.
pub(super) const CLOCK_BACK_MS: i64 = 600_000;

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Unreached,
        Self::Unheard,
        Self::Dies,
        Self::Starved,
        Self::Late,
        Self::LateUnheard,
        Self::Doubled,
        Self::GrowthRefused,
        Self::RewriteRefused,
        Self::DeletionRefused,
        Self::NoSpace,
        Self::NoCommit,
        Self::Crash,
        Self::ClockBack,
    ];

    /// May it befall such a call, with this effect if it is a write? A read that is not heard is as good as one that
    /// never arrived.
    pub(super) fn befalls(self, call: Call, effect: Option<Effect>) -> bool {
        match self {
            Self::Unreached | Self::Dies | Self::Starved | Self::Crash | Self::ClockBack => true,
            Self::Unheard => matches!(call, Call::Commit | Call::Write),
            Self::Late | Self::LateUnheard | Self::Doubled => call == Call::Write,
            Self::GrowthRefused => effect == Some(Effect::Opens),
            Self::RewriteRefused => effect == Some(Effect::Shuts),
            Self::DeletionRefused => effect == Some(Effect::Deletes),
            Self::NoSpace | Self::NoCommit => call == Call::Commit,
        }
    }

    /// For how long it lets workers be late.
    ///
    /// What grows, what may not be written anew or deleted, a disk without room and a clock that is set excuse no closing at
    /// all.
    pub(super) fn excuses_ms(self) -> i64 {
        match self {
            // Tried again at once; or after a miss, whose wait the promise covers, unless it is the second.
            Self::Unreached | Self::Unheard | Self::Late | Self::LateUnheard | Self::Doubled => {
                millis(RETRY_MIN)
            }
            // Its claim stands until its end.
            Self::Dies => millis(CLAIM),
            Self::Starved => STARVED_MS,
            // A worker that cannot even give its claim back leaves it standing.
            Self::NoCommit => NO_COMMIT_MS + millis(CLAIM),
            Self::Crash => RESTARTS_MS,
            Self::GrowthRefused
            | Self::RewriteRefused
            | Self::DeletionRefused
            | Self::NoSpace
            | Self::ClockBack => 0,
        }
    }
}

pub(super) fn millis(span: jiff::SignedDuration) -> i64 {
    i64::try_from(span.as_millis()).expect("short")
}
