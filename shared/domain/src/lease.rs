//! A grant's window in time.

use crate::Refusal;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// No lease is longer, whatever a policy says.
pub const LEASE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// The shortest lease that may be asked for; a demonstration may allow less.
pub const LEASE_MIN: SignedDuration = SignedDuration::from_mins(5);
/// What a port rule allows when it does not say.
pub const LEASE_DEFAULT: SignedDuration = SignedDuration::from_hours(3);
/// How far ahead a lease may start.
pub const START_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Half open: live at `start`, over at `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Span", into = "Span")]
pub struct Lease {
    start: Timestamp,
    end: Timestamp,
}

/// How long somebody wants a port, as they said it. It becomes a [`Lease`] when it is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// This long from when it is granted.
    For(SignedDuration),
    /// Until then, from when it is granted.
    Until(Timestamp),
    /// From then on, this long; what of it is over already is not granted.
    From {
        /// When it starts.
        start: Timestamp,
        /// How long it lasts.
        length: SignedDuration,
    },
}

impl Lease {
    /// A lease of `length`, which is positive and at most [`LEASE_MAX`].
    pub fn starting(start: Timestamp, length: SignedDuration) -> Result<Self, Refusal> {
        if length <= SignedDuration::ZERO {
            return Err(Refusal::Over);
        }
        match start.checked_add(length) {
            Ok(end) if length <= LEASE_MAX => Ok(Self { start, end }),
            Ok(_) | Err(_) => Err(Refusal::TooLong { asked: length, max: LEASE_MAX }),
        }
    }

    /// The same lease with a later end, without a gap.
    pub fn extended(self, end: Timestamp) -> Result<Self, Refusal> {
        if end <= self.end {
            return Err(Refusal::NotLater { end: self.end });
        }
        Self::starting(self.start, end.duration_since(self.start))
    }

    /// The same lease, over at `now` at the latest.
    #[must_use]
    pub fn cut(self, now: Timestamp) -> Self {
        Self { end: self.end.min(now), start: self.start.min(now) }
    }

    /// From its start to just before its end.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.start <= now && !self.is_over(now)
    }

    /// From its end on.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.end <= now
    }

    /// When it is first live.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// When it is no longer live.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// From its start to its end.
    pub fn length(&self) -> SignedDuration {
        self.end.duration_since(self.start)
    }
}

impl Window {
    /// The lease, if it is granted at `now`.
    pub fn lease(self, now: Timestamp) -> Result<Lease, Refusal> {
        match self {
            Self::For(length) => Lease::starting(now, length),
            Self::Until(end) => Lease::starting(now, end.duration_since(now)),
            Self::From { start, length } => {
                if START_WITHIN < start.duration_since(now) {
                    return Err(Refusal::StartsTooLate { start, within: START_WITHIN });
                }
                // Nobody was let in before they asked, whatever start they gave.
                let Lease { end, .. } = Lease::starting(start, length)?;
                let start = start.max(now);
                Lease::starting(start, end.duration_since(start))
            }
        }
    }
}

/// A lease as it is stored: also one that was cut before it started.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    start: Timestamp,
    end: Timestamp,
}

impl From<Lease> for Span {
    fn from(Lease { start, end }: Lease) -> Self {
        Self { start, end }
    }
}

impl TryFrom<Span> for Lease {
    type Error = &'static str;
    fn try_from(Span { start, end }: Span) -> Result<Self, Self::Error> {
        if end < start { Err("a lease ends before it starts") } else { Ok(Self { start, end }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn half_open() {
        let lease = Lease::starting(at(10), SignedDuration::from_secs(5)).expect("short");
        let live: Vec<bool> = [9, 10, 14, 15].map(|it| lease.is_live(at(it))).to_vec();
        assert_eq!(live, [false, true, true, false]);
    }

    #[test]
    fn a_day_at_most() {
        assert!(Lease::starting(at(0), LEASE_MAX).is_ok());
        let longer = LEASE_MAX + SignedDuration::from_nanos(1);
        assert!(Lease::starting(at(0), longer).is_err());
        assert!(Lease::starting(at(0), SignedDuration::ZERO).is_err());
        let lease = Lease::starting(at(0), LEASE_MAX).expect("a day");
        assert!(lease.extended(at(86_401)).is_err());
    }

    #[test]
    fn an_extension_has_no_gap_and_is_later() {
        let lease = Lease::starting(at(0), SignedDuration::from_secs(10)).expect("short");
        assert_eq!(lease.extended(at(20)).map(|it| (it.start(), it.end())), Ok((at(0), at(20))));
        assert!(lease.extended(at(10)).is_err());
    }

    #[test]
    fn cut_before_the_start_is_empty() {
        let lease = Lease::starting(at(10), SignedDuration::from_secs(5)).expect("short").cut(at(3));
        assert!(!lease.is_live(at(3)) && !lease.is_live(at(11)) && lease.is_over(at(3)));
    }
}
