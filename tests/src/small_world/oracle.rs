//! What must hold in every state of the small world. Its checks have the names of the rules in the design.

use super::{
    digest::digest_of,
    fault::millis,
    firewall::{Effect, Writing},
    table::{Committing, Stored},
    world::{LEASES, STRANGER, WORKERS, World, gate, parsed},
};
use portcullis_domain::{CLAIM, ChangeTo, LOOK_AGAIN, RETRY_MAX, Rule, WORKER_LIFE};
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

/// Shut on time, seen to be so as soon after that, and open as fast: what is late by more than this needs an excuse.
const PROMISED_MS: i64 = 2_000;

/// The addresses that knock: those of the leases, and one without a lease.
pub(super) fn knocking() -> [IpAddr; 3] {
    static KNOCKING: OnceLock<[IpAddr; 3]> = OnceLock::new();
    *KNOCKING.get_or_init(|| [LEASES[0].address, LEASES[1].address, STRANGER].map(parsed))
}

/// What it has seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Oracle {
    /// Until then a fault lets workers be late.
    late_until: i64,
    /// Until then a fault keeps from opening alone.
    waits_until: i64,
    /// Until then a rule that cannot be narrowed may be deleted, with those whom it lets in.
    cuts_until: i64,
    /// Until then the firewall may differ from what workers made of it.
    differs_until: i64,
    passes_since: [Option<i64>; 3],
    waits_since: [Option<i64>; 2],
    /// The end of a lease was not seen.
    unseen_since: [Option<i64>; 2],
    /// Whom a rule of ours has let in.
    let_in: [bool; 2],
    broken: Option<Arc<(&'static str, String)>>,
}

impl Oracle {
    /// What goes wrong lets workers be late until then.
    pub(super) fn excuse(&mut self, until: i64) {
        self.late_until = self.late_until.max(until);
    }

    /// The same, for what opens alone: whatever shuts is as late as ever.
    pub(super) fn excuse_opening(&mut self, until: i64) {
        self.waits_until = self.waits_until.max(until);
    }

    /// The same, and for who was let in by a rule that had to be deleted.
    pub(super) fn excuse_cuts(&mut self, until: i64) {
        self.excuse_opening(until);
        self.cuts_until = self.cuts_until.max(until);
    }

    /// What was stored of who was let in is lost.
    pub(super) fn forget_who_is_in(&mut self) {
        self.let_in = [false; 2];
    }

    pub(super) fn break_rule(&mut self, rule: &'static str, how: String) {
        self.broken.get_or_insert_with(|| Arc::new((rule, how)));
    }

    pub(super) fn broken(&self) -> Option<(&'static str, &str)> {
        self.broken.as_deref().map(|(rule, how)| (*rule, how.as_str()))
    }

    /// When whoever waits since then has no excuse any more. A worker that was refused what opens, and is late as well, sets
    /// the next try by when it saw that.
    fn opens_by(&self, since: i64) -> i64 {
        let is_refused = self.is_refused(since);
        self.late_until.max(if is_refused {
            self.waits_until.max(self.late_until + millis(RETRY_MAX))
        } else {
            0
        })
    }

    fn is_refused(&self, since: i64) -> bool {
        self.waits_until != 0 && since <= self.waits_until
    }

    /// All of it that can still break a rule.
    pub(super) fn digest(&self, now: i64) -> u64 {
        let untils = [self.late_until, self.waits_until, self.cuts_until, self.differs_until];
        // What is excused no longer keeps no states apart.
        let untils = untils.map(|until| (until - now).max(-PROMISED_MS - millis(RETRY_MAX) - 1));
        let are_refused = self.waits_since.map(|it| it.is_some_and(|since| self.is_refused(since)));
        let since = |it: Option<i64>| it.map(|since| since - now);
        let broken = self.broken.as_ref().map(|it| it.0);
        let waits = (self.waits_since.map(since), self.unseen_since.map(since), are_refused);
        digest_of((untils, self.passes_since.map(since), waits, self.let_in, broken))
    }
}

impl World {
    /// For how long some address has passed without a lease.
    pub(super) fn exposed_ms(&self) -> i64 {
        self.oracle.passes_since.iter().flatten().map(|since| self.now - since).max().unwrap_or(0)
    }

    /// A write landed late, and changed something: nobody looks before the last look that was set.
    pub(super) fn landed_late(&mut self) {
        let until = self.now + millis(LOOK_AGAIN[1]) - millis(LOOK_AGAIN[0]);
        self.oracle.excuse(until);
        self.oracle.differs_until = self.oracle.differs_until.max(until);
    }

    /// INVARIANT (journal-equals-state, closed-means-read-back, nothing-is-forgotten)
    pub(super) fn committed(&mut self, actor: usize, before: &Stored, committing: &Committing) {
        if let Some((rule, how)) = &committing.breaks {
            self.oracle.break_rule(rule, how.clone());
        }
        for n in &committing.closes {
            self.closed(before, *n);
        }
        if committing.reads_back {
            self.desks[actor].has_shut = false;
        }
        let is_free = actor < WORKERS && !self.table.is_claimed;
        if is_free && self.table.has_grants() {
            let latest = self.now + millis(CLAIM.max(RETRY_MAX));
            let latest = self.table.first_end().unwrap_or(latest).max(latest);
            if self.table.due_at.is_none_or(|at| latest < at) {
                let how = format!("it is due at {:?}, not by {latest} ms", self.table.due_at);
                self.oracle.break_rule("nothing-is-forgotten", how);
            }
        }
    }

    fn closed(&mut self, before: &Stored, n: usize) {
        let Some(it) = before.leases[n] else { return };
        let is_excused = self.now <= self.oracle.differs_until;
        let by = LEASES[n].by;
        if self.rules.passes[n] && !is_excused {
            self.oracle.break_rule("closed-means-read-back", format!("{by}'s lease is closed, and open"));
        }
        if !it.is_over(self.now) {
            self.oracle.break_rule("closed-means-read-back", format!("{by}'s lease is closed, and not over"));
        }
    }

    /// Every write, as its worker makes it.
    pub(super) fn wrote(&mut self, actor: usize, writing: &Writing, wants: Option<u64>) {
        let Writing { change, says, .. } = writing;
        if !self.is_claimed_by(actor) {
            let how = format!("worker {actor} writes without a claim: {says}");
            self.oracle.break_rule("a-claim-outlives-its-worker", how);
        }
        let effect = self.rules.effect(change);
        // A worker decides by a time that is no earlier than that at which it began.
        let begun_at = self.desks[actor].dies_at - millis(WORKER_LIFE);
        let is_any_over = self.table.leases.iter().flatten().any(|it| it.is_over(begun_at));
        if let (Effect::Opens, ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. }) = (effect, &change.to)
        {
            let is_meant = wants.is_some_and(|it| self.rules.versions.contains(&it));
            let is_shutting =
                is_meant && self.rules.let_in(&change.name).is_some_and(|it| !sources.cover(it));
            if is_shutting || self.desks[actor].has_shut {
                let how = format!("worker {actor} opens before it has shut, and told of it: {says}");
                self.oracle.break_rule("closing-waits-for-no-opening", how);
            }
        } else if is_any_over {
            self.desks[actor].has_shut = true;
        }
        // What an adapter makes of a deletion that is refused is within its intent.
        let is_retiring =
            matches!(&change.to, ChangeTo::Put { rule: Rule::Deny { gates }, .. } if gates.is_empty());
        let intended = self.desks[actor].intent.as_ref().and_then(|it| it.intends.as_ref());
        if !is_retiring && !intended.is_some_and(|it| it.contains(says)) {
            self.oracle.break_rule("journal-equals-state", format!("nobody recorded the intent to {says}"));
        }
        if let ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. } = &change.to
            && sources.is_empty()
        {
            self.oracle.break_rule("empty-is-nothing", format!("{says} admits nobody"));
        }
    }

    /// INVARIANT (shut-by-default, the-clock-closes, no-neighbour-harmed): after every step, and whenever time went on.
    pub(super) fn observe(&mut self) {
        let now = self.now;
        let late = |since: i64, until: i64| since.max(until) + PROMISED_MS < now;
        let (leases, passing) = (self.table.leases, self.rules.passes);
        let oracle = &mut self.oracle;
        for (n, passes) in passing.into_iter().enumerate() {
            let address = || knocking()[n];
            let lease = leases.get(n).copied().flatten();
            let is_live = lease.is_some_and(|it| it.is_live(now));
            if passes && !is_live {
                let since = *oracle.passes_since[n].get_or_insert(now);
                if late(since, oracle.late_until) {
                    let rule = if lease.is_some() { "the-clock-closes" } else { "shut-by-default" };
                    oracle.break_rule(rule, format!("{} passes since {since} ms", address()));
                }
            } else {
                oracle.passes_since[n] = None;
            }
            let is_unseen = lease.is_some_and(|it| it.is_over(now));
            if let Some(it) = oracle.unseen_since.get_mut(n) {
                let since = it.filter(|_| is_unseen).or(is_unseen.then_some(now));
                *it = since;
                let late_until = oracle.late_until.max(oracle.differs_until);
                if since.is_some_and(|since| late(since + PROMISED_MS, late_until)) {
                    let how =
                        format!("{} is over since {since:?} ms, and nobody has seen it shut", address());
                    oracle.break_rule("the-clock-closes", how);
                }
            }
            let Some(lease) = lease.filter(|_| is_live) else {
                if let Some(since) = oracle.waits_since.get_mut(n) {
                    *since = None;
                }
                continue;
            };
            let was_open = oracle.let_in[n] && lease.was_opened;
            oracle.let_in[n] |= passes;
            if passes {
                oracle.waits_since[n] = None;
            } else if was_open && oracle.differs_until.max(oracle.cuts_until) < now {
                oracle
                    .break_rule("no-neighbour-harmed", format!("{} was let in, and is kept out", address()));
            } else {
                let since = *oracle.waits_since[n].get_or_insert(now);
                if late(since, oracle.opens_by(since)) {
                    oracle.break_rule("opens-on-time", format!("{} waits since {since} ms", address()));
                }
            }
        }
    }

    /// Nothing will happen any more: everything rests, and the firewall holds the lock alone.
    pub(super) fn conclude(&mut self) {
        let table = &self.table;
        if table.has_grants() || table.is_claimed || table.misses != 0 {
            let how = format!("it is restless, and not due: {:?}", table.target(false));
            self.oracle.break_rule("nothing-is-forgotten", how);
        }
        if !self.rules.is_lock_alone() || self.rules.passes.contains(&true) {
            let how = format!("{} is not shut: {:?}", gate(), self.rules);
            self.oracle.break_rule("shut-by-default", how);
        }
    }
}
