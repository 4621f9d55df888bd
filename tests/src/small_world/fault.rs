//! What may go wrong with a call, and for how long that lets things be late.

use super::world::Call;
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
}

/// For how long a caller gets no turn.
pub(super) const STARVED_MS: i64 = 15_000;
/// How late a write lands.
pub(super) const LANDS_WITHIN_MS: i64 = 150_000;

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Unreached,
        Self::Unheard,
        Self::Dies,
        Self::Starved,
        Self::Late,
        Self::LateUnheard,
        Self::Doubled,
    ];

    /// May it befall such a call? A read that is not heard is as good as one that never arrived.
    pub(super) fn befalls(self, call: Call) -> bool {
        match self {
            Self::Unreached | Self::Dies | Self::Starved => true,
            Self::Unheard => matches!(call, Call::Commit | Call::Write),
            Self::Late | Self::LateUnheard | Self::Doubled => call == Call::Write,
        }
    }

    /// For how long it lets workers be late.
    pub(super) fn excuses_ms(self) -> i64 {
        let millis = |span: jiff::SignedDuration| i64::try_from(span.as_millis()).expect("short");
        match self {
            // Tried again at once; or after a miss, whose wait the promise covers, unless it is the second.
            Self::Unreached | Self::Unheard | Self::Late | Self::LateUnheard | Self::Doubled => {
                millis(RETRY_MIN)
            }
            // Its claim stands until its end.
            Self::Dies => millis(CLAIM),
            Self::Starved => STARVED_MS,
        }
    }
}
