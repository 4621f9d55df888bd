//! What goes wrong: one kind of weather a story, from nothing at all to everything at once.

use super::clock::ms;
use portcullis_domain::SKEW_MAX;

/// Faults stop here, so that the end must be rest.
pub(super) const STORM_ENDS_MS: i64 = 1_000_000;
/// How late a write may land.
pub(super) const LANDS_LATE_MS: i64 = 150_000;
/// How long another client has a whole firewall as it read it, before it writes that back.
pub(super) const HELD_MS: i64 = 10_000;
/// How old a firewall's answer may be.
pub(super) const STALE_MS: i64 = 4_000;
/// How long a call may take that is slow.
pub(super) const SLOW_MS: i64 = 12_000;
/// How long a host may sleep, or a firewall be out of order.
pub(super) const LONG_MS: i64 = 240_000;
/// How soon after a credential was refused another one is to be had.
pub(super) const RENEWS_MS: i64 = 3_000;
/// For how long a disk is so full that nothing at all is written to it, or a table takes no commit.
pub(super) const FULL_MS: i64 = 20_000;
/// What an ordinary cloud takes for one write, during which it takes no other to the same firewall.
pub(super) const PACE_MS: i64 = 2_000;
/// How far somebody sets a clock, and for how long one stands still.
pub(super) const SET_MS: i64 = 600_000;
/// For how long a worker that is starved gets no turn.
pub(super) const STARVED_MS: i64 = 8_000;

/// The kind of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weather {
    /// Nothing, but for duplicated, reordered or missing events.
    Calm,
    /// Clocks differ.
    Skewed,
    /// One call is lost, in either direction.
    OneLost,
    /// One worker dies.
    OneDeath,
    /// The host sleeps for minutes, with every worker on it.
    Asleep,
    /// Firewalls throttle, or fail for good until somebody repairs them; foreign hands meddle meanwhile.
    Outage,
    /// Writes land late, or twice.
    Late,
    /// Foreign hands delete and change our rules, and put theirs above.
    Meddled,
    /// Another client reads a whole firewall while it is written, and writes it back seconds later.
    WrittenBack,
    /// Firewalls answer with what they held some seconds ago.
    Stale,
    /// Workers die, calls are lost or slow.
    Stormy,
    /// A write takes seconds, and each firewall takes one at a time.
    Paced,
    /// Firewalls that are full refuse writes for what those add, for a time or for good.
    Limited,
    /// Firewalls refuse to delete any rule, for a time or for good; everything else is written as ever.
    DeletionRefused,
    /// Somebody sets the clock of the machine on which all workers are, back and forth, or it stands still.
    ClockSet,
    /// Workers get no turn for seconds, whatever they wait for.
    Starved,
    /// The cloud refuses a credential before its time: nobody gets an answer until another one was made.
    TokenRefused,
    /// The disk is full: what people ask for is not stored, and what shuts is, for some seconds in memory alone.
    NoSpace,
    /// For some seconds the table takes no commit at all.
    TableOut,
    /// All of it.
    Everything,
}

/// How often what goes wrong. `once in 0` is never.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// How far clocks are from the truth, either way.
    pub(super) skew_ms: i64,
    pub(super) lost_once_in: u64,
    pub(super) dies_once_in: u64,
    pub(super) slow_once_in: u64,
    pub(super) late_once_in: u64,
    pub(super) twice_once_in: u64,
    pub(super) written_back_once_in: u64,
    pub(super) stale_once_in: u64,
    pub(super) meddles_max: u64,
    pub(super) intrusions_max: u64,
    pub(super) outages_max: u64,
    pub(super) sleeps_max: u64,
    /// What a write takes, in milliseconds; 0 where it lands at once.
    pub(super) pace_ms: i64,
    pub(super) limits_max: u64,
    pub(super) squeezes_max: u64,
    pub(super) keeps_max: u64,
    pub(super) clock_sets_max: u64,
    pub(super) starved_once_in: u64,
    pub(super) revocations_max: u64,
    pub(super) fills_max: u64,
    pub(super) table_outs_max: u64,
    /// What happens once, at any call.
    pub(super) once: Option<Once>,
}

/// What happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Once {
    Lost,
    Death,
}

/// What becomes of a call that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It fails before it takes effect.
    Unreached,
    /// It fails after it took effect.
    Unheard,
}

impl Faults {
    /// May a worker die at its work, or give it up?
    pub(super) fn is_deadly(&self) -> bool {
        self.dies_once_in != 0 || self.lost_once_in != 0 || self.once.is_some()
    }

    /// Does a refused write fail for nothing but what it adds?
    pub(super) fn are_limits_alone(&self) -> bool {
        let others = [self.late_once_in, self.twice_once_in, self.stale_once_in, self.outages_max];
        self.limits_max != 0 && !self.is_deadly() && others == [0; 4]
    }
}

impl Weather {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::Calm,
        Self::Skewed,
        Self::OneLost,
        Self::OneDeath,
        Self::Asleep,
        Self::Outage,
        Self::Late,
        Self::Meddled,
        Self::WrittenBack,
        Self::Stale,
        Self::Stormy,
        Self::Paced,
        Self::Limited,
        Self::DeletionRefused,
        Self::ClockSet,
        Self::Starved,
        Self::TokenRefused,
        Self::NoSpace,
        Self::TableOut,
        Self::Everything,
    ];

    pub(super) fn faults(self) -> Faults {
        let calm = Faults::default();
        let skewed = Faults { skew_ms: ms(SKEW_MAX), ..calm };
        let stormy = Faults { lost_once_in: 16, dies_once_in: 100, slow_once_in: 33, ..skewed };
        match self {
            Self::Calm => calm,
            Self::Skewed => skewed,
            Self::OneLost => Faults { once: Some(Once::Lost), ..calm },
            Self::OneDeath => Faults { once: Some(Once::Death), ..calm },
            Self::Asleep => Faults { sleeps_max: 3, ..skewed },
            Self::Outage => Faults { outages_max: 3, meddles_max: 3, ..skewed },
            Self::Late => Faults { late_once_in: 4, twice_once_in: 8, ..skewed },
            Self::Meddled => Faults { meddles_max: 4, intrusions_max: 4, ..skewed },
            Self::WrittenBack => Faults { written_back_once_in: 4, ..skewed },
            Self::Stale => Faults { stale_once_in: 3, ..skewed },
            Self::Stormy => stormy,
            Self::Paced => Faults { pace_ms: PACE_MS, ..skewed },
            Self::Limited => Faults { limits_max: 12, squeezes_max: 3, ..skewed },
            Self::DeletionRefused => Faults { keeps_max: 8, ..skewed },
            Self::ClockSet => Faults { clock_sets_max: 16, ..calm },
            Self::Starved => Faults { starved_once_in: 40, ..skewed },
            Self::TokenRefused => Faults { revocations_max: 20, ..skewed },
            Self::NoSpace => Faults { fills_max: 8, ..skewed },
            Self::TableOut => Faults { table_outs_max: 8, ..skewed },
            Self::Everything => Faults {
                late_once_in: 5,
                twice_once_in: 10,
                stale_once_in: 8,
                meddles_max: 3,
                intrusions_max: 1,
                outages_max: 2,
                sleeps_max: 1,
                limits_max: 1,
                keeps_max: 1,
                starved_once_in: 200,
                revocations_max: 2,
                fills_max: 1,
                table_outs_max: 1,
                ..stormy
            },
        }
    }
}
