//! What must hold at every moment of a story, by the world's own clock.
//!
//! A lateness is allowed if it was promised, or if a fault excuses it: every fault says from when until
//! when at the latest. What is excused by nothing breaks the story.

mod asked;
mod bus;
mod gates;
mod permitted;
mod record;
mod rest;
mod told;

pub(super) use asked::Heard;

use super::{
    Broken, Ending, Plot,
    clock::ms,
    cloud::{Cloud, Glimpse},
    faults::Faults,
    log::{Actor, Log},
    store::Table,
    world::RECONCILE_EVERY_MS,
};
use portcullis_app::Jump;
use portcullis_domain::{GrantId, Person, RequestId, TargetId};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Shut-on-time, as promised: a rule outlives its lease by at most this.
const PROMISED_MS: i64 = 2_000;
/// When nothing is wrong, a lease that is longer than this gets used.
const OPENS_WITHIN_MS: i64 = 5_000;

/// Who watches.
#[derive(Debug, Default)]
pub(in crate::stories) struct Oracle {
    skew_ms: i64,
    /// A write that is refused is refused for what it adds.
    are_limits_alone: bool,
    counts: BTreeMap<&'static str, u64>,
    broken: Option<(i64, Broken)>,
    is_stirred: bool,
    excuses: Vec<Excuse>,
    reconciles: Vec<i64>,
    doors: BTreeMap<TargetId, gates::Doors>,
    exposed_since: BTreeMap<(TargetId, usize, usize), i64>,
    cut_since: BTreeMap<GrantId, i64>,
    let_in: BTreeSet<GrantId>,
    approved_at: BTreeMap<GrantId, i64>,
    shown: BTreeSet<(RequestId, Person, String)>,
    orphans: BTreeSet<String>,
    written_at: BTreeMap<TargetId, i64>,
    looked_at: BTreeMap<TargetId, i64>,
    glimpses: BTreeMap<(u64, TargetId), Vec<Glimpse>>,
    missed_at: BTreeMap<TargetId, i64>,
    awake_at: i64,
    /// How far the clock was set, where that was not recorded yet.
    jumps: Vec<i64>,
    asked: asked::Asked,
    bus: bus::Bus,
    lost: permitted::Lost,
}

/// Until when a fault lets things be late.
#[derive(Debug)]
struct Excuse {
    of: Option<TargetId>,
    from: i64,
    until: i64,
    of_what: Excuses,
}

/// What a fault lets be late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stories) enum Excuses {
    /// What workers do.
    Work,
    /// The same, and for longer what another fault cut: nobody heals a firewall that is out of order.
    WorkAndHealing,
    /// Letting in who was not let in before, and healing what another fault cut: what is over is shut in time.
    Growth,
    /// Also keeping out who should be let in: a firewall may differ from what workers made of it.
    WorkAndCuts,
}

/// What is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// Shutting, and whatever else workers do.
    Work,
    /// Letting somebody in.
    Opening,
    /// Letting somebody in again who was kept out.
    Healing,
}

/// What there is to see.
pub(in crate::stories) struct Scene<'a> {
    pub(in crate::stories) table: &'a Table,
    pub(in crate::stories) cloud: &'a Cloud,
    pub(in crate::stories) now: i64,
}

impl Oracle {
    pub(in crate::stories) fn of(faults: &Faults) -> Self {
        Self { skew_ms: faults.skew_ms, are_limits_alone: faults.are_limits_alone(), ..Self::default() }
    }

    pub(in crate::stories) fn stir(&mut self) {
        self.is_stirred = true;
    }

    pub(in crate::stories) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(in crate::stories) fn reconciles_at(&mut self, at: i64) {
        self.reconciles.push(at);
    }

    /// When a reconcile has healed what is wrong now; the first one may be lost in a storm.
    pub(in crate::stories) fn next_reconcile(&self, now: i64, may_be_lost: bool) -> i64 {
        let next = self.reconciles.iter().copied().find(|at| now < *at).unwrap_or(now);
        PROMISED_MS + if may_be_lost { next + RECONCILE_EVERY_MS } else { next }
    }

    /// The host, with every worker on it, sleeps until then.
    pub(in crate::stories) fn sleeps_until(&mut self, until: i64) {
        self.awake_at = self.awake_at.max(until);
    }

    /// INVARIANT (nothing-unrecorded): somebody set the clock, and a worker saw that.
    pub(in crate::stories) fn jumped(&mut self, jump: Jump) {
        self.jumps.push(ms(jump.by));
    }

    /// What goes wrong lets things be late until then, for one target or for all.
    pub(in crate::stories) fn excuse(
        &mut self,
        of: Option<TargetId>,
        from: i64,
        until: i64,
        of_what: Excuses,
    ) {
        self.excuses.push(Excuse { of, from, until, of_what });
    }

    pub(in crate::stories) fn break_rule(&mut self, rule: &'static str, now: i64, how: impl fmt::Display) {
        if self.broken.is_none() {
            self.broken = Some((now, Broken { rule, how: format!("at {now} ms: {how}") }));
        }
    }

    pub(in crate::stories) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(in crate::stories) fn into_ending(self, plot: Plot, mut log: Log) -> Ending {
        let broken = self.broken.map(|(now, broken)| {
            log.note(now, Actor::World, || format!("BROKEN {}: {}", broken.rule, broken.how));
            broken
        });
        Ending { plot, counts: self.counts, broken, story: log.into_lines() }
    }

    /// How long something may last that began at `since`, and is promised to be over in `promised`:
    /// as long as one excuse follows the other.
    fn deadline(&self, of: Option<&TargetId>, since: i64, promised: i64) -> i64 {
        let promised = promised + 2 * self.skew_ms;
        self.last(of, since + promised, since, promised, Late::Work)
    }

    /// The same for letting somebody in.
    fn open_deadline(&self, of: &TargetId, since: i64, promised: i64) -> i64 {
        let promised = promised + 2 * self.skew_ms;
        self.last(Some(of), since + promised, since, promised, Late::Opening)
    }

    /// The same for what must not happen at all.
    fn cut_deadline(&self, of: &TargetId, since: i64) -> i64 {
        self.last(Some(of), since, since, 0, Late::Healing)
    }

    fn last(&self, of: Option<&TargetId>, start: i64, since: i64, promised: i64, late: Late) -> i64 {
        let fits = |it: &Excuse, deadline: i64| match it.of_what {
            Excuses::Work => late != Late::Healing,
            Excuses::WorkAndHealing => late != Late::Healing || start < deadline,
            Excuses::Growth => late == Late::Opening || late == Late::Healing && start < deadline,
            Excuses::WorkAndCuts => true,
        };
        let concerns =
            |it: &Excuse| since <= it.until && (of.is_none() || it.of.is_none() || it.of.as_ref() == of);
        let mut deadline = start;
        loop {
            let applies = self.excuses.iter();
            let applies = applies.filter(|it| it.from <= deadline && fits(it, deadline) && concerns(it));
            match applies.map(|it| it.until + promised).max() {
                Some(later) if deadline < later => deadline = later,
                Some(_) | None => return deadline,
            }
        }
    }
}
