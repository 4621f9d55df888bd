//! What `settle` still knows of what it was told, seen from outside: the rest is forgotten, so that workers that came to the
//! same by different ways are the same.
//!
//! - Where a round begins, after a failure, only this counts: by when it decides, whether anybody wrote, and how many
//!   rounds there were.
//! - Where it has the claim and is about to read: that, and the target.
//! - Where one pass was confirmed and it goes on with another one: that, and what was stored and read last.
//!
//! The person keeps how the calls ended, and what was loaded for the commit that is asked for. That all this is so is proven by `audit`: to the letter, states that are taken for the same have the same future.

use super::{
    actor::{Answer, Asks, Came, Node},
    digest::digest_of,
    firewall::Rules,
    table::{Claims, Committing},
    world::stamp,
};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// How often it loaded, claimed and read anew, and how often it went on without that.
    rounds: u32,
    passes: u32,
    /// The time by which a round decides, and a pass of it.
    now: i64,
    decides_by: i64,
    /// Somebody may have written.
    wrote: bool,
    /// It has read in this round.
    has_read: bool,
    /// It lost the race for a commit that confirms a pass, or for another one, and makes it anew.
    confirms_anew: Option<bool>,
    /// What could not be shut in an earlier pass of this round; 0 if nothing.
    unshut: u64,
}

impl Memory {
    /// Of somebody who begins then.
    pub(super) fn of(now: i64, rounds: u32) -> Self {
        Self { rounds, now, ..Self::default() }
    }

    /// What a worker knows after one more answer; gives a digest of what it keeps of it, where it forgets all else.
    pub(super) fn follow(&mut self, before: &Node, answer: &Answer, came: &Came, rounds: u32) -> Option<u64> {
        let began = before.began;
        let is_new_round = self.rounds < rounds;
        self.rounds = rounds;
        self.wrote |= matches!(came, Came::To(Asks::Write(_)));
        match answer {
            Answer::Loaded { stored, is_mine, .. } if !self.has_read => {
                // A claim that is found standing, and taken over, is a dead worker's.
                let claims = matches!(came, Came::To(Asks::Commit(_)));
                self.wrote |= claims && stored.is_claimed && !is_mine;
                let has_turn = matches!(came, Came::To(Asks::Read));
                return has_turn.then(|| answer.digest(began));
            }
            Answer::Committed(committing) if !self.has_read => {
                let stored = committing.next.shape.from(began);
                return Some(stored);
            }
            Answer::Read { at, .. } if !self.has_read => {
                self.has_read = true;
                self.decides_by = if 1 < self.rounds { self.now.max(*at) } else { self.now };
            }
            Answer::Conflict if self.has_read => {
                if let Some(Asks::Commit(committing)) = before.asks() {
                    self.confirms_anew.get_or_insert(confirms(committing));
                }
            }
            Answer::Committed(committing) => {
                let is_confirmed = self.confirms_anew.take().unwrap_or_else(|| confirms(committing));
                if !is_confirmed || committing.claims != Claims::Mine {
                    return None;
                }
                let (rules, at) = last_read(before)?;
                let is_shut = committing.next.is_shut_in(&rules.read(stamp(at)), stamp(self.decides_by));
                if !is_shut || self.unshut != 0 {
                    self.unshut = before.told;
                }
                self.passes += 1;
                (self.now, self.decides_by, self.wrote) = (at, at, matches!(came, Came::To(Asks::Write(_))));
                let read = (rules.shape.from(began), at - began);
                return Some(digest_of((committing.next.shape.from(began), read)));
            }
            Answer::Found
            | Answer::Loaded { .. }
            | Answer::Read { .. }
            | Answer::Written
            | Answer::Conflict
            | Answer::Unavailable
            | Answer::Refused(_) => {}
        }
        if is_new_round {
            (self.has_read, self.unshut, self.confirms_anew) = (false, 0, None);
            return Some(0);
        }
        None
    }

    pub(super) fn digest(&self, began: i64) -> u64 {
        let Self { rounds, passes, now, decides_by, wrote, has_read, confirms_anew: _, unshut } = *self;
        let decides_by = if has_read { decides_by - began } else { 0 };
        digest_of(((1 < rounds, rounds + passes, now - began, decides_by), (wrote, has_read, unshut)))
    }
}

/// What the person keeps after one more answer.
pub(super) fn pressed(before: &Node, answer: &Answer, came: &Came) -> u64 {
    let kept = matches!(came, Came::To(Asks::Commit(_))).then(|| answer.digest(before.began));
    digest_of((before.ended, std::mem::discriminant(answer), kept))
}

/// Does it confirm a pass, and not only say what will be written?
fn confirms(committing: &Committing) -> bool {
    let Committing { reads_back, prolongs, closes, intends, .. } = committing;
    *reads_back || *prolongs || !closes.is_empty() || intends.is_none()
}

/// What a worker read last.
fn last_read(node: &Node) -> Option<(Arc<Rules>, i64)> {
    let mut step = node.before.as_ref();
    while let Some((before, answer)) = step {
        if let Answer::Read { rules, at } = answer {
            return Some((Arc::clone(rules), *at));
        }
        step = before.before.as_ref();
    }
    None
}
