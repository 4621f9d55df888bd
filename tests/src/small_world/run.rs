//! One step of the small world: what can happen next, and what becomes of the world then.

use super::{
    Extent, Fault,
    actor::{Asks, Steps},
    digest::digest_of,
    fault::{STARVED_MS, millis},
    world::{ACTORS, Call, PERSON, WORKERS, World},
};
use portcullis_domain::WORKER_LIFE;
use std::{fmt, sync::Arc};

/// How soon a worker that failed is followed by another: `hold` leaves a target to its worker for so long.
const HEAD_START_MS: i64 = 1_000;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Choice {
    /// The call of an actor is answered.
    Answer(usize, Option<Fault>),
    /// Time goes on, to the next time at which something happens.
    Pass,
    /// The person asks for the early close.
    Close,
    /// A write lands that was late.
    Land(usize),
}

/// One choice of a path, and those before it.
#[derive(Debug)]
pub(super) struct Step {
    at: i64,
    choice: Choice,
    /// The call that it is about.
    call: Option<Call>,
    pub(super) before: Option<Arc<Self>>,
}

impl World {
    pub(super) fn is_quiescent(&self) -> bool {
        self.desks.iter().all(|it| it.node.is_none())
    }

    /// All that can happen next; nothing at the end.
    pub(super) fn choices(&self, extent: &Extent, digest: u64) -> Vec<Choice> {
        let pending = (0..ACTORS).filter_map(|actor| Some((actor, self.pending(actor)?.call())));
        let mut pending: Vec<(usize, Call)> = pending.collect();
        // Two workers that are alike are one and the same worker: the first of them goes on.
        let is_twin = pending.len() > 1 && pending[0].0 == 0 && pending[1].0 == 1;
        if !extent.is_literal && is_twin && self.desk_digest(0) == self.desk_digest(1) {
            pending.remove(1);
        }
        // Whoever went on last goes on, unless this path may leave them once more.
        if extent.switches_max <= self.switches
            && let Some(last) = pending.iter().find(|(actor, _)| self.last == Some(*actor))
        {
            let mut choices = vec![Choice::Answer(last.0, None)];
            choices.extend(self.befalling(extent, digest, &[*last]));
            return choices;
        }
        let mut choices: Vec<Choice> =
            pending.iter().map(|(actor, _)| Choice::Answer(*actor, None)).collect();
        if self.next_time(!pending.is_empty()).is_some() {
            choices.push(Choice::Pass);
        }
        if !self.has_closed && self.table.leases[0].is_some_and(|it| it.is_live(self.now)) {
            choices.push(Choice::Close);
        }
        choices.extend((0..self.late.len()).map(Choice::Land));
        choices.extend(self.befalling(extent, digest, &pending));
        choices
    }

    /// What may go wrong with these calls.
    fn befalling(&self, extent: &Extent, digest: u64, calls: &[(usize, Call)]) -> Vec<Choice> {
        if extent.faults_max <= self.faults {
            return vec![];
        }
        let of = |(actor, call): &(usize, Call)| {
            let (actor, call) = (*actor, *call);
            let effect = self.pending(actor).and_then(|asks| self.effect(asks));
            let faults = extent.faults.iter();
            let faults = faults.filter(move |it| it.befalls(call, effect) && !self.is_befallen(**it));
            faults.map(move |fault| Choice::Answer(actor, Some(*fault)))
        };
        let all = calls.iter().flat_map(of);
        all.filter(|it| extent.has(self.faults, digest, *it)).collect()
    }

    pub(super) fn take(&mut self, choice: Choice, extent: &Extent, steps: &mut Steps) {
        let call = match choice {
            Choice::Answer(actor, _) => self.pending(actor).map(Asks::call),
            Choice::Pass | Choice::Close | Choice::Land(_) => None,
        };
        let before = self.path.take();
        self.path = Some(Arc::new(Step { at: self.now, choice, call, before }));
        if extent.switches_max != u32::MAX {
            self.switch(choice);
        }
        if let Choice::Answer(_, Some(fault)) = choice {
            self.faults += 1;
            self.befall(fault);
        }
        match choice {
            Choice::Answer(_, Some(Fault::Crash)) => {}
            Choice::Answer(actor, Some(Fault::Dies)) => self.leave(actor),
            Choice::Answer(actor, Some(Fault::Starved)) => {
                self.desks[actor].starved_until = self.now + STARVED_MS;
            }
            Choice::Answer(actor, fault) => {
                let ended = self.answer(actor, fault, steps);
                let rests_until = self.now + HEAD_START_MS;
                if let Some(it) = self.rests_until.get_mut(actor).filter(|_| ended == Some(false)) {
                    *it = rests_until;
                }
            }
            Choice::Pass => self.pass(),
            Choice::Close => {
                self.has_closed = true;
                self.spawn(PERSON, self.now + millis(WORKER_LIFE), steps);
            }
            Choice::Land(n) => self.land_late(n),
        }
        self.observe();
        self.spawn_due(steps);
    }

    fn pass(&mut self) {
        let is_slow = (0..ACTORS).any(|actor| self.pending(actor).is_some());
        let Some(next) = self.next_time(is_slow) else { return };
        self.now = next;
        if is_slow {
            // Time passed under the feet of somebody who could have gone on.
            self.oracle.excuse(next);
        }
        while let Some(n) = self.late.iter().position(|it| it.lands_by <= next) {
            self.land_late(n);
        }
        for actor in 0..ACTORS {
            if self.desks[actor].node.is_some() && self.desks[actor].dies_at <= next {
                self.leave(actor);
                self.oracle.excuse(next + Fault::Dies.excuses_ms());
            }
        }
        self.recover();
    }

    /// What is due is taken on at once, by everybody who is free.
    pub(super) fn spawn_due(&mut self, steps: &mut Steps) {
        for worker in 0..WORKERS {
            let is_free = self.desks[worker].node.is_none() && self.rests_until[worker] <= self.now;
            if is_free && self.is_due() {
                self.spawn(worker, self.now + millis(WORKER_LIFE), steps);
            }
        }
    }

    /// Counts it if somebody is left who could go on.
    fn switch(&mut self, choice: Choice) {
        let next = match choice {
            Choice::Answer(actor, _) => Some(actor),
            Choice::Pass | Choice::Close | Choice::Land(_) => None,
        };
        if self.last.is_some_and(|last| next != Some(last) && self.pending(last).is_some()) {
            self.switches += 1;
        }
        self.last = next.or(self.last);
    }

    /// When something happens next: where somebody could go on, only the start or the end of a lease comes in between.
    fn next_time(&self, is_slow: bool) -> Option<i64> {
        let edges = self.table.edges().filter(|at| self.now < *at).min();
        if is_slow {
            return edges;
        }
        let late = self.late.iter().map(|it| it.lands_by);
        let alive = || self.desks.iter().filter(|it| it.node.is_some());
        let turns = alive().map(|it| it.starved_until).chain(alive().map(|it| it.dies_at));
        let rests = self.rests_until.into_iter().filter(|_| self.is_due());
        let all = edges.into_iter().chain(self.table.due_at).chain(late).chain(turns).chain(rests);
        all.filter(|at| self.now < *at).min()
    }
}

impl Extent {
    /// Is this place for a fault after so many among those that are tried?
    fn has(&self, faults: u32, digest: u64, choice: Choice) -> bool {
        let place = digest_of((digest, choice));
        let (part, parts) = self.part;
        if faults == 0 {
            place % parts.max(1) == part
        } else {
            place.is_multiple_of(self.later_fault_one_in.max(1))
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms  ", self.at)?;
        let name =
            |actor: usize| if actor == PERSON { "the person".to_owned() } else { format!("worker {actor}") };
        match (self.choice, self.call) {
            (Choice::Answer(actor, None), Some(call)) => write!(f, "{}: {call:?}", name(actor)),
            (Choice::Answer(actor, Some(fault)), Some(call)) => {
                write!(f, "{}: {call:?}: {fault:?}", name(actor))
            }
            (Choice::Answer(actor, _), None) => write!(f, "{}", name(actor)),
            (Choice::Pass, _) => f.write_str("time goes on"),
            (Choice::Close, _) => f.write_str("the first lease is to be closed"),
            (Choice::Land(n), _) => write!(f, "late write {n} lands"),
        }
    }
}
