//! Rules that are changed behind our back again and again: that is no accident.

use crate::Fact;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// So many drifts of one machine within that time are no accident.
const DRIFTS: usize = 3;
const WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// When rules of one machine were last found changed; at most [`DRIFTS`] times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Drifts(Vec<Timestamp>);

impl Drifts {
    /// Remembers one; tells if it is the last of [`DRIFTS`] within [`WITHIN`], and then forgets them all.
    pub fn found(&mut self, now: Timestamp) -> Option<Fact> {
        self.0.retain(|at| now.duration_since(*at) < WITHIN);
        self.0.push(now);
        if self.0.len() < DRIFTS {
            return None;
        }
        self.0.clear();
        Some(Fact::DriftRepeated { times: DRIFTS })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_that_comes_back_in_a_quarter_of_an_hour_is_no_accident_and_is_told_of_once() {
        let mut drifts = Drifts::default();
        let mut found = |minute: i64| {
            let now = Timestamp::from_second(minute * 60).expect("a time");
            drifts.found(now).is_some()
        };
        assert_eq!([found(0), found(14)], [false, false]);
        assert!(!found(15), "the first one was long ago");
        assert!(found(16));
        assert!(!found(16), "it was told of");
    }
}
