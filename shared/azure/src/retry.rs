//! When to ask again: decided from what was said and how much time is left, and nothing else.

use std::time::Duration;

/// How long a call may take, with all its tries and waits: a worker lives 20 s, and reads, writes and
/// reads back in them.
pub const BUDGET: Duration = Duration::from_secs(12);
/// How long to wait after the first try that failed; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How long to wait at most where nobody said how long.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long to wait before the next try where another operation is under way on the resource, whatever `Retry-After`
/// says: Azure asks for ten seconds, and most operations take two.
const ANOTHER_OPERATION: Duration = Duration::from_millis(500);
/// How long after a write was accepted its resource is read, in milliseconds: most rules take about two seconds, and
/// `Retry-After` asks for ten.
const VERIFY_MILLIS: [u64; 7] = [500, 1000, 2000, 2500, 3000, 4000, 6000];
/// How long after the last of these times it is read again, and so on.
const VERIFY_EVERY: Duration = Duration::from_secs(2);
/// What a write has at least to be verified in, however long it waited for its turn.
pub const VERIFY_MIN: Duration = Duration::from_secs(4);
/// What is kept of the time for the answer to the last read.
const LAST_READ: Duration = Duration::from_millis(500);

/// How long to wait before the next try, after this many failed. `after` is what `Retry-After` asked: it
/// is honoured, and where it does not fit into the time that is left, there is no next try.
pub fn next_try(after: Option<Duration>, failed: u32, left: Duration) -> Option<Duration> {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
    let wait = doubled.min(WAIT_MAX).max(after.unwrap_or_default());
    (wait < left).then_some(wait)
}

/// How long to wait before the next try of a write that met another operation on its resource.
pub fn next_turn(left: Duration) -> Option<Duration> {
    (ANOTHER_OPERATION < left).then_some(ANOTHER_OPERATION)
}

/// How long to wait before a write is verified by reading its resource, this long after it was accepted. The last read
/// comes early enough to be answered.
pub fn next_read(since: Duration, left: Duration) -> Option<Duration> {
    let times = VERIFY_MILLIS.map(Duration::from_millis);
    let wait = match times.into_iter().find(|it| since < *it) {
        Some(at) => at.saturating_sub(since),
        None => VERIFY_EVERY,
    };
    let longest = left.checked_sub(LAST_READ).filter(|it| !it.is_zero())?;
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
    fn a_write_is_verified_half_a_second_after_it_was_accepted_and_when_most_are_done() {
        let (mut since, mut times) = (Duration::ZERO, vec![]);
        while let Some(wait) = next_read(since, BUDGET.saturating_sub(since)) {
            since += wait;
            times.push(since.as_millis());
        }
        assert_eq!(
            times,
            [500, 1000, 2000, 2500, 3000, 4000, 6000, 8000, 10_000, 11_500],
            "once more at the end"
        );
        assert_eq!(next_read(millis(700), BUDGET), Some(millis(300)), "however long a read took");
        assert_eq!(next_read(Duration::ZERO, millis(500)), None);
    }

    #[test]
    fn another_operation_is_waited_for_in_short_steps() {
        assert_eq!(next_turn(BUDGET), Some(millis(500)));
        assert_eq!(next_turn(millis(500)), None);
    }
}
