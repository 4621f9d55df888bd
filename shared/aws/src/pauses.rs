//! Pauses between two attempts.

use backon::{BackoffBuilder as _, ExponentialBuilder};
use std::time::Duration;

/// `count` pauses, each about twice as long as the one before, and at random up to twice that: what failed at the same time is not
/// tried again at the same time.
pub(crate) fn pauses(first: Duration, count: u32) -> impl Iterator<Item = Duration> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    ExponentialBuilder::new().with_min_delay(first).with_max_times(count).with_jitter().build()
}
