//! When to ask again: decided from what was said and how much time is left, and nothing else.

use std::time::Duration;

/// How long a call may take, with all its tries and waits: a worker lives 20 s, and reads, writes and
/// reads back in them.
pub const BUDGET: Duration = Duration::from_secs(12);
/// How long to wait after the first try that failed; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How long to wait at most where nobody said how long.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// When to look first how a write gets on, where nobody said when: most are done at once.
const FIRST_POLL: Duration = Duration::from_millis(50);
/// When to look again, where nobody said when.
const POLL: Duration = Duration::from_millis(250);
/// How often to look at most.
const POLL_MIN: Duration = Duration::from_millis(100);
/// What is kept of the time for the answer to the last look.
const LAST_POLL: Duration = Duration::from_millis(500);

/// How long to wait before the next try, after this many failed. `after` is what `Retry-After` asked: it
/// is honoured, and where it does not fit into the time that is left, there is no next try.
pub fn next_try(after: Option<Duration>, failed: u32, left: Duration) -> Option<Duration> {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
    let wait = doubled.min(WAIT_MAX).max(after.unwrap_or_default());
    (wait < left).then_some(wait)
}

/// How long to wait before looking how a write gets on. The last look comes early enough to be answered,
/// also where `Retry-After` asked for a later one.
pub fn next_poll(after: Option<Duration>, polls: u32, left: Duration) -> Option<Duration> {
    let wait = match after {
        Some(after) => after.max(POLL_MIN),
        None if polls == 0 => FIRST_POLL,
        None => POLL,
    };
    let longest = left.checked_sub(LAST_POLL).filter(|it| !it.is_zero())?;
    Some(wait.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn waits_double_up_to_two_seconds() {
        let waits: Vec<_> = (1..=6).map(|failed| next_try(None, failed, BUDGET)).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 2000, 2000].map(|it| Some(millis(it))));
        assert_eq!(next_try(None, u32::MAX, BUDGET), Some(WAIT_MAX));
    }

    #[test]
    fn retry_after_is_honoured_or_ends_it() {
        let secs = Duration::from_secs;
        assert_eq!(next_try(Some(secs(5)), 1, BUDGET), Some(secs(5)));
        assert_eq!(next_try(Some(secs(0)), 1, BUDGET), Some(millis(200)), "but never at once");
        assert_eq!(next_try(Some(secs(12)), 1, BUDGET), None);
        assert_eq!(next_try(Some(secs(5)), 1, secs(4)), None);
        assert_eq!(next_try(None, 1, millis(200)), None);
        assert_eq!(next_try(None, 1, Duration::ZERO), None);
    }

    #[test]
    fn a_write_is_looked_at_soon_and_as_azure_asks() {
        assert_eq!(next_poll(None, 0, BUDGET), Some(millis(50)));
        assert_eq!(next_poll(None, 1, BUDGET), Some(millis(250)));
        assert_eq!(next_poll(Some(Duration::ZERO), 0, BUDGET), Some(millis(100)));
        assert_eq!(next_poll(Some(millis(10_000)), 0, BUDGET), Some(millis(10_000)));
        assert_eq!(
            next_poll(Some(millis(10_000)), 1, millis(2000)),
            Some(millis(1500)),
            "once more at the end"
        );
        assert_eq!(next_poll(Some(millis(10_000)), 2, millis(500)), None);
        assert_eq!(next_poll(None, 9, millis(100)), None);
    }
}
