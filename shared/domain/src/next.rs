//! The steps of a worker, and what comes of each: a target as it is next, with what says why.

use crate::{Entry, Fact, Grant, RuleSet, Target};
use jiff::Timestamp;

/// One pass of a worker over the firewalls: what it did before it read them back.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// It wrote, or a dead worker may have.
    pub wrote: bool,
    /// What it was after, by this time.
    pub decided: &'a RuleSet,
    /// When it decided that.
    pub now: Timestamp,
    /// What opens was left for the next pass: this one only shut.
    pub opens_later: bool,
    /// It goes on by itself if something is due by its read-back.
    pub may_go_on: bool,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The asker's.
    Mine,
    /// Nobody's, or a dead worker's.
    Free,
    /// Somebody else's.
    Taken,
}

/// A target as it should be stored, with what says why: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The target.
    pub target: Target,
    /// What its journal gains.
    pub entries: Vec<Entry>,
    /// Every grant that changed, as it is now, also those that are closed.
    pub grants: Vec<Grant>,
}

impl Next {
    /// The same with this told as well.
    #[must_use]
    pub fn telling(self, fact: Fact, now: Timestamp) -> Self {
        self.and(|target| target.note(vec![fact], now))
    }

    /// The same with what comes next, in one commit.
    #[must_use]
    pub fn and(self, next: impl FnOnce(Target) -> Self) -> Self {
        let Self { target, mut entries, mut grants } = self;
        let next = next(target);
        entries.extend(next.entries);
        grants.extend(next.grants);
        Self { target: next.target, entries, grants }
    }
}
