//! What is stored, with all that is asked of it often.

use super::{
    digest::{Shape, digest_of},
    world::{LEASES, parsed, world_ms},
};
use jiff::Timestamp;
use portcullis_app::ports::{Batch, Seen};
use portcullis_domain::{Chain, ClaimToken, Fact, Next, Snapshot, Target, Told, diff};
use portcullis_local::Class;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a worker claims by, as it knows itself; and all others, as it knows them.
const MINE: &str = "mine";
const OTHERS: &str = "others";

/// The target as it is stored, and what its journal tells.
#[derive(Debug)]
pub(super) struct Stored {
    /// A claim that stands is of others.
    target: Target,
    /// The same where the claim is of whoever loads it.
    mine: Option<Target>,
    told: Told,
    /// Without the end of the chain, and without whose claim stands.
    pub(super) shape: Shape,
    /// Digest of all of it, to the letter.
    pub(super) letter: u64,
    pub(super) due_at: Option<i64>,
    pub(super) is_claimed: bool,
    pub(super) misses: u32,
    /// Those of [`LEASES`] that are not closed.
    pub(super) leases: [Option<Leased>; 2],
}

/// One lease, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leased {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) was_opened: bool,
}

/// A commit that waits for its answer: what is stored if it is made.
#[derive(Debug)]
pub(super) struct Committing {
    pub(super) next: Arc<Stored>,
    /// Digest of what it was made of.
    pub(super) of: u64,
    /// What it is for, as the local table has it.
    pub(super) class: Class,
    /// Whose claim stands then.
    pub(super) claims: Claims,
    /// The leases that it closes.
    pub(super) closes: Vec<usize>,
    /// The changes that it says will be written.
    pub(super) intends: Option<Vec<String>>,
    pub(super) reads_back: bool,
    /// It moves the end of the claim that stands.
    pub(super) prolongs: bool,
    /// A rule that it breaks by itself.
    pub(super) breaks: Option<(&'static str, String)>,
}

/// Whose claim a target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claims {
    Nobodys,
    /// That of whoever stores it.
    Mine,
    /// That of whoever had it before.
    Others,
}

impl Leased {
    pub(super) fn is_live(&self, now: i64) -> bool {
        self.start <= now && !self.is_over(now)
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        self.end <= now
    }
}

pub(super) fn mine() -> ClaimToken {
    parsed(MINE)
}

impl Stored {
    pub(super) fn of(target: &Target, told: Told) -> Self {
        let mut value = serde_json::to_value(target).expect("it is stored as JSON");
        let letter = digest_of(value.to_string());
        let is_claimed = target.is_claimed();
        let claimed = |by: &str, value: &mut Value| {
            if is_claimed {
                value["claim"]["token"] = json!(by);
            }
            serde_json::from_value::<Target>(value.clone()).expect("it is read as it is stored")
        };
        let mine = is_claimed.then(|| claimed(MINE, &mut value));
        let target = claimed(OTHERS, &mut value);
        if let Some(fields) = value.as_object_mut() {
            fields.remove("head");
        }
        let lease = |by: &str| {
            let it = target.grants().values().find(|it| it.by.as_str() == by)?;
            let (start, end) = (world_ms(it.lease.start()), world_ms(it.lease.end()));
            Some(Leased { start, end, was_opened: it.opened_at.is_some() })
        };
        Self {
            mine,
            told,
            shape: Shape::of(&value),
            letter,
            due_at: target.due_at().map(world_ms),
            is_claimed,
            misses: target.misses(),
            leases: LEASES.map(|it| lease(it.by)),
            target,
        }
    }

    /// As an actor loads it whose claim stands, or not.
    pub(super) fn target(&self, is_mine: bool) -> &Target {
        self.mine.as_ref().filter(|_| is_mine).unwrap_or(&self.target)
    }

    /// Digest of what it says, at whatever hour it says so.
    pub(super) fn says(&self) -> u64 {
        self.shape.from(0)
    }

    pub(super) fn has_grants(&self) -> bool {
        !self.target.grants().is_empty()
    }

    /// The times at which its leases start and end.
    pub(super) fn edges(&self) -> impl Iterator<Item = i64> {
        self.leases.iter().flatten().flat_map(|it| [it.start, it.end])
    }

    /// When the first of its leases ends.
    pub(super) fn first_end(&self) -> Option<i64> {
        self.leases.iter().flatten().map(|it| it.end).min()
    }

    /// Has nothing of what is read to be shut, of what is wanted at that time?
    pub(super) fn is_shut_in(&self, seen: &Snapshot, now: Timestamp) -> bool {
        diff(seen, &self.target.owner(), &self.target.rules(now)).shuts().is_empty()
    }

    /// What is stored once the claim of a worker that died was taken away; nothing where there is none.
    pub(super) fn without_claim(&self, now: Timestamp) -> Option<Committing> {
        let next = self.target.clone().bury(now);
        (!next.entries.is_empty()).then(|| self.committing(next))
    }

    /// What a batch makes of this, as it was loaded.
    pub(super) fn batched(&self, batch: Batch) -> Committing {
        let [(next, _)] = <[_; 1]>::try_from(batch.targets).expect("there is one target");
        self.committing(next)
    }

    /// INVARIANT (journal-equals-state): the entries follow the chain, and tell what is stored.
    pub(super) fn committing(&self, next: Next) -> Committing {
        let batch = Batch::of(next, Seen::NEVER);
        let class = Class::of(&batch, |_| self.target.policy());
        let [(next, _)] = <[_; 1]>::try_from(batch.targets).expect("there is one target");
        let chain = Chain::from(&self.target.id);
        let (mut head, mut told, mut breaks) = (self.target.head(), self.told.clone(), None);
        let mut broken = |how: String| {
            breaks.get_or_insert(("journal-equals-state", how));
        };
        for entry in &next.entries {
            match head.follow(&chain, entry) {
                Ok(followed) => head = followed,
                Err(bad) => broken(bad.to_string()),
            }
            told.hear(entry);
        }
        if let Err(bad) = told.agrees_with(&next.target) {
            broken(bad.to_string());
        }
        if head != next.target.head() {
            broken("the head is not where the chain ends".to_owned());
        }
        let facts = || next.entries.iter().map(|it| &it.fact);
        let over = facts().filter_map(|fact| {
            let Fact::Closed { grant, .. } = fact else { return None };
            let by = &self.target.grant_of(grant)?.by;
            LEASES.iter().position(|it| it.by == by.as_str())
        });
        let closes = over.collect();
        let intends = facts().rev().find_map(|fact| {
            let Fact::Writing { changes } = fact else { return None };
            Some(changes.clone())
        });
        let reads_back = facts().any(|it| matches!(it, Fact::ReadBack { .. }));
        let token = serde_json::to_value(&next.target).expect("JSON")["claim"]["token"].clone();
        let claims = match token.as_str() {
            None => Claims::Nobodys,
            Some(MINE) => Claims::Mine,
            Some(_) => Claims::Others,
        };
        let next = Arc::new(Self::of(&next.target, told));
        let prolongs = self.is_claimed && next.is_claimed && self.due_at != next.due_at;
        Committing { next, of: self.says(), class, claims, closes, intends, reads_back, prolongs, breaks }
    }
}
