//! When tokens are used: kept seldom, and never at the cost of the call.

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::is_use_kept;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long a call waits at most until the use of its token is written.
pub const USE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long after a write of a use that was tried no other one of the same token is: it may have failed, or be under way.
const TRY_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// The uses of tokens that this process tried to write within a minute, by the digests of the tokens.
#[derive(Debug, Default)]
pub struct TokenUses(Mutex<BTreeMap<[u8; 32], Timestamp>>);

impl TokenUses {
    /// Is it on this call, at `now`, to write the use of a token whose last use that was kept is `used_at`? Then it is on no other one
    /// for a while.
    pub fn falls_to(&self, digest: &[u8; 32], used_at: Option<Timestamp>, now: Timestamp) -> bool {
        if !is_use_kept(used_at, now) {
            return false;
        }
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.retain(|_, at| now.duration_since(*at).abs() < TRY_EVERY);
        if tried.contains_key(digest) {
            return false;
        }
        tried.insert(*digest, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    #[test]
    fn use_falls_to_one_call_and_after_a_failure_to_another_one_a_minute_later() {
        let (uses, one, other) = (TokenUses::default(), [1; 32], [2; 32]);
        assert!(uses.falls_to(&one, None, at(0)));
        assert!(uses.falls_to(&other, None, at(0)), "each token has its own");
        for second in 0..60 {
            assert!(!uses.falls_to(&one, None, at(second)), "{second}");
        }
        assert!(uses.falls_to(&one, None, at(60)), "nothing was kept");
        assert!(
            !uses.falls_to(&one, Some(at(60)), at(3_659)) && uses.falls_to(&one, Some(at(60)), at(3_660))
        );
        assert!(uses.falls_to(&one, None, at(-60)), "a clock that was set back keeps nobody waiting");
    }
}
