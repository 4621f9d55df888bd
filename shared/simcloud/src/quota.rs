//! How many calls are left of those that a subscription may make in an hour.

use crate::faults::{Faults, On};
use jiff::Timestamp;

const HOUR_SECS: i64 = 3600;

/// The calls of an hour. They are no part of what there is: snapshots go without.
#[derive(Debug, Clone, Default)]
pub struct Spent {
    hour: i64,
    reads: u32,
    writes: u32,
}

impl Spent {
    /// Counts a call, and says what is left after it: the header, and the number.
    pub fn count(&mut self, on: On, faults: &Faults, now: Timestamp) -> (&'static str, u32) {
        let hour = now.as_second().div_euclid(HOUR_SECS);
        if self.hour != hour {
            *self = Self { hour, ..Self::default() };
        }
        let (header, spent, all) = match on {
            On::Read => {
                ("x-ms-ratelimit-remaining-subscription-reads", &mut self.reads, faults.reads_remaining)
            }
            On::Write => {
                ("x-ms-ratelimit-remaining-subscription-writes", &mut self.writes, faults.writes_remaining)
            }
        };
        *spent = spent.saturating_add(1);
        (header, all.saturating_sub(*spent))
    }
}
