//! What must hold in every state of the small world. Its checks have the names of the rules in the design.

use super::{
    fault::millis,
    world::{Effect, LEASES, STRANGER, WORKERS, World, gate, parsed, stamp, world_ms},
};
use portcullis_domain::{
    CLAIM, Chain, Change, ChangeTo, Entry, Fact, GrantId, LOOK_AGAIN, RETRY_MAX, Rule, Standing, Target,
    WORKER_LIFE,
};
use std::{net::IpAddr, sync::OnceLock};

/// Shut on time, seen to be so as soon after that, and open as fast: what is late by more than this needs an excuse.
const PROMISED_MS: i64 = 2_000;

/// The addresses that knock: those of the leases, and one without a lease.
fn knocking() -> &'static [IpAddr; 3] {
    static KNOCKING: OnceLock<[IpAddr; 3]> = OnceLock::new();
    KNOCKING.get_or_init(|| [LEASES[0].address, LEASES[1].address, STRANGER].map(parsed))
}

/// What it has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
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
    /// Who shut something of a lease that is over, and has not committed what came of it.
    shut_by: Option<usize>,
    /// Whom a rule of ours has let in.
    let_in: [bool; 2],
    /// The changes that the journal says will be written.
    intended: Vec<String>,
    broken: Option<(&'static str, String)>,
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

    pub(super) fn break_rule(&mut self, rule: &'static str, how: String) {
        self.broken.get_or_insert((rule, how));
    }

    pub(super) fn broken(&self) -> Option<(&'static str, String)> {
        self.broken.clone()
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
    pub(super) fn committed(&mut self, actor: usize, before: &Target, entries: &[Entry]) {
        let chain = Chain::from(&self.target.id);
        for entry in entries {
            match self.head.follow(&chain, entry) {
                Ok(head) => self.head = head,
                Err(bad) => self.oracle.break_rule("journal-equals-state", bad.to_string()),
            }
            self.told.hear(entry);
            if let Fact::Closed { grant, .. } = &entry.fact {
                self.closed(before, grant);
            }
            if let Fact::Writing { changes } = &entry.fact {
                self.oracle.intended.clone_from(changes);
            }
            if let Fact::ReadBack { .. } = &entry.fact {
                self.oracle.shut_by = None;
            }
        }
        if let Err(bad) = self.told.agrees_with(&self.target) {
            self.oracle.break_rule("journal-equals-state", bad.to_string());
        }
        if self.head != self.target.head() {
            self.oracle.break_rule("journal-equals-state", "the head is not where the chain ends".to_owned());
        }
        let is_free = actor < WORKERS && !self.target.is_claimed();
        if is_free && !self.target.grants().is_empty() {
            let latest = self.now + millis(CLAIM.max(RETRY_MAX));
            let edges = self.target.grants().values().map(|it| world_ms(it.lease.end()));
            let latest = edges.min().unwrap_or(latest).max(latest);
            if self.target.due_at().is_none_or(|at| latest < world_ms(at)) {
                let how = format!("it is due at {:?}, not by {latest} ms", self.target.due_at());
                self.oracle.break_rule("nothing-is-forgotten", how);
            }
        }
    }

    fn closed(&mut self, before: &Target, grant: &GrantId) {
        let Some(it) = before.grant_of(grant) else { return };
        let is_excused = self.now <= self.oracle.differs_until;
        let n = LEASES.iter().position(|of| of.by == it.by.as_str());
        if n.is_some_and(|n| self.passes(knocking()[n])) && !is_excused {
            self.oracle.break_rule("closed-means-read-back", format!("{grant} is closed, and open"));
        }
        if !it.lease.is_over(self.stamp()) {
            self.oracle.break_rule("closed-means-read-back", format!("{grant} is closed, and not over"));
        }
    }

    /// Every write, as its worker makes it.
    pub(super) fn wrote(&mut self, actor: usize, change: &Change) {
        let token = self.desks[actor].token.clone();
        let is_mine = token.is_some_and(|it| self.target.standing(&it, self.stamp()) == Standing::Mine);
        if !is_mine {
            let how = format!("worker {actor} writes without a claim: {change}");
            self.oracle.break_rule("a-claim-outlives-its-worker", how);
        }
        let effect = self.effect(change);
        // A worker decides by a time that is no earlier than that at which it began.
        let begun_at = stamp(self.desks[actor].dies_at - millis(WORKER_LIFE));
        let is_over = |n: usize| self.lease(LEASES[n]).is_some_and(|it| it.lease.is_over(begun_at));
        if let (Effect::Opens, ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. }) = (effect, &change.to)
        {
            let is_shutting =
                self.is_meant(change) && self.let_in(&change.name).is_some_and(|it| !sources.cover(it));
            let is_early = self.oracle.shut_by == Some(actor);
            if is_shutting || is_early {
                let how = format!("worker {actor} opens before it has shut, and told of it: {change}");
                self.oracle.break_rule("closing-waits-for-no-opening", how);
            }
        } else if (0..LEASES.len()).any(is_over) {
            self.oracle.shut_by = Some(actor);
        }
        // What an adapter makes of a deletion that is refused is within its intent.
        let is_retiring =
            matches!(&change.to, ChangeTo::Put { rule: Rule::Deny { gates }, .. } if gates.is_empty());
        if !is_retiring && !self.oracle.intended.contains(&change.to_string()) {
            self.oracle.break_rule("journal-equals-state", format!("nobody recorded the intent to {change}"));
        }
        if let ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. } = &change.to
            && sources.is_empty()
        {
            self.oracle.break_rule("empty-is-nothing", format!("{change} admits nobody"));
        }
    }

    /// INVARIANT (shut-by-default, the-clock-closes, no-neighbour-harmed): after every step, and whenever time went on.
    pub(super) fn observe(&mut self) {
        let now = self.stamp();
        let late = |since: i64, until: i64| since.max(until) + PROMISED_MS < self.now;
        let mut oracle = std::mem::take(&mut self.oracle);
        for (n, address) in knocking().iter().enumerate() {
            let lease = LEASES.get(n).and_then(|it| self.lease(*it));
            let is_live = lease.is_some_and(|it| it.lease.is_live(now));
            let passes = self.passes(*address);
            if passes && !is_live {
                let since = *oracle.passes_since[n].get_or_insert(self.now);
                if late(since, oracle.late_until) {
                    let rule = if lease.is_some() { "the-clock-closes" } else { "shut-by-default" };
                    oracle.break_rule(rule, format!("{address} passes since {since} ms"));
                }
            } else {
                oracle.passes_since[n] = None;
            }
            let is_unseen = lease.is_some_and(|it| it.lease.is_over(now));
            if let Some(it) = oracle.unseen_since.get_mut(n) {
                let since = it.filter(|_| is_unseen).or(is_unseen.then_some(self.now));
                *it = since;
                let late_until = oracle.late_until.max(oracle.differs_until);
                if since.is_some_and(|since| late(since + PROMISED_MS, late_until)) {
                    let how = format!("{address} is over since {since:?} ms, and nobody has seen it shut");
                    oracle.break_rule("the-clock-closes", how);
                }
            }
            let Some(lease) = lease.filter(|_| is_live) else {
                if let Some(since) = oracle.waits_since.get_mut(n) {
                    *since = None;
                }
                continue;
            };
            let was_open = oracle.let_in[n] && lease.opened_at.is_some();
            oracle.let_in[n] |= passes;
            if passes {
                oracle.waits_since[n] = None;
            } else if was_open && oracle.differs_until.max(oracle.cuts_until) < self.now {
                oracle.break_rule("no-neighbour-harmed", format!("{address} was let in, and is kept out"));
            } else {
                let since = *oracle.waits_since[n].get_or_insert(self.now);
                if late(since, oracle.late_until.max(oracle.waits_until)) {
                    oracle.break_rule("opens-on-time", format!("{address} waits since {since} ms"));
                }
            }
        }
        // What is excused no longer keeps no states apart.
        let Oracle { late_until, waits_until, cuts_until, differs_until, .. } = &mut oracle;
        for until in [late_until, waits_until, cuts_until, differs_until] {
            if *until + PROMISED_MS < self.now {
                *until = 0;
            }
        }
        self.oracle = oracle;
    }

    /// Nothing will happen any more: everything rests, and the firewall holds the lock alone.
    pub(super) fn conclude(&mut self) {
        let target = &self.target;
        if !target.grants().is_empty() || target.is_claimed() || target.misses() != 0 {
            let how = format!("it is restless, and not due: {target:?}");
            self.oracle.break_rule("nothing-is-forgotten", how);
        }
        if !self.held().eq([&self.lock()]) || knocking().iter().any(|it| self.passes(*it)) {
            let how = format!("{} is not shut: {:?}", gate(), self.read().firewalls);
            self.oracle.break_rule("shut-by-default", how);
        }
    }
}
