//! One path through the small world: its live workers, and the choice of what happens next.

use super::{
    Extent, Fault,
    dependencies::Dependencies,
    fault::{STARVED_MS, millis},
    world::{ACTORS, Call, Desk, LEASES, PERSON, Step, Verdict, WORKERS, World, world_ms},
};
use crate::door;
use futures_util::task::noop_waker;
use portcullis_app::{self as app, Error};
use portcullis_domain::WORKER_LIFE;
use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

/// How soon a worker that failed is followed by another: `hold` leaves a target to its worker for so long.
const HEAD_START_MS: i64 = 1_000;
/// How often the person presses the button.
const PRESSES: usize = 3;

type Work = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

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

/// A world and who is alive in it.
pub(super) struct Run {
    world: Arc<Mutex<World>>,
    work: [Option<Work>; ACTORS],
}

impl Run {
    /// Goes on from a state in which nobody is alive.
    pub(super) fn of(world: World) -> Self {
        let mut run = Self { world: Arc::new(Mutex::new(world)), work: Default::default() };
        run.spawn_due();
        run
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("one thread")
    }

    pub(super) fn is_quiescent(&self) -> bool {
        self.work.iter().all(Option::is_none)
    }

    /// All that can happen next; first of all what happens where nothing goes wrong. Nothing at the end.
    pub(super) fn choices(&self, extent: &Extent, digest: u64) -> Vec<Choice> {
        let world = self.world();
        let pending = (0..ACTORS).filter_map(|actor| {
            let desk = &world.desks[actor];
            let (call, _) = desk.pending.as_ref().filter(|_| desk.starved_until <= world.now)?;
            Some((actor, *call))
        });
        let mut pending: Vec<(usize, Call)> = pending.collect();
        // Two workers that were told the same are one and the same worker: the first of them goes on.
        let told = |actor: usize| world.desks[actor].told;
        let is_twin = pending.len() > 1 && pending[0].0 == 0 && pending[1].0 == 1 && told(0) == told(1);
        if is_twin {
            pending.remove(1);
        }
        // Whoever went on last goes on, unless this path may leave them once more.
        if let Some(place) = pending.iter().position(|(actor, _)| world.last == Some(*actor)) {
            let first = pending.remove(place);
            pending.insert(0, first);
            if extent.switches_max <= world.switches {
                let mut choices = vec![Choice::Answer(first.0, None)];
                choices.extend(world.befalling(extent, digest, &[first]));
                return choices;
            }
        }
        let mut choices: Vec<Choice> =
            pending.iter().map(|(actor, _)| Choice::Answer(*actor, None)).collect();
        if world.next_time(!pending.is_empty()).is_some() {
            choices.push(Choice::Pass);
        }
        let is_live = world.lease(LEASES[0]).is_some_and(|it| it.lease.is_live(world.stamp()));
        if !world.has_closed && is_live {
            choices.push(Choice::Close);
        }
        choices.extend((0..world.late.len()).map(Choice::Land));
        choices.extend(world.befalling(extent, digest, &pending));
        choices
    }

    pub(super) fn take(&mut self, choice: Choice) {
        let mut world = self.world();
        let call = match choice {
            Choice::Answer(actor, _) => world.desks[actor].pending.as_ref().map(|(call, _)| *call),
            Choice::Pass | Choice::Close | Choice::Land(_) => None,
        };
        let before = world.path.take();
        world.path = Some(Arc::new(Step { at: world.now, choice, call, before }));
        if let Choice::Answer(_, Some(fault)) = choice {
            world.faults += 1;
            let until = world.now + fault.excuses_ms();
            world.oracle.excuse(until);
            world.befall(fault);
        }
        world.switch(choice);
        match choice {
            Choice::Answer(actor, Some(Fault::Dies)) => {
                world.desks[actor] = Desk::default();
                drop(world);
                self.work[actor] = None;
            }
            Choice::Answer(actor, Some(Fault::Starved)) => {
                world.desks[actor].starved_until = world.now + STARVED_MS;
                drop(world);
            }
            Choice::Answer(actor, fault) => {
                let desk = &mut world.desks[actor];
                desk.verdict = Some(Verdict(fault));
                let waker = desk.pending.take().map(|(_, waker)| waker);
                drop(world);
                waker.into_iter().for_each(std::task::Waker::wake);
                self.poll(actor);
            }
            Choice::Pass => {
                drop(world);
                self.pass();
            }
            Choice::Close => {
                world.has_closed = true;
                drop(world);
                self.spawn(PERSON);
            }
            Choice::Land(n) => {
                world.land_late(n);
                drop(world);
            }
        }
        self.world().observe();
        self.spawn_due();
    }

    pub(super) fn into_world(self) -> World {
        let Self { world, work } = self;
        drop(work);
        Arc::into_inner(world).expect("nobody is alive").into_inner().expect("one thread")
    }

    fn pass(&mut self) {
        let mut world = self.world();
        let is_slow = world.desks.iter().any(|it| it.pending.is_some() && it.starved_until <= world.now);
        let Some(next) = world.next_time(is_slow) else { return };
        world.now = next;
        if is_slow {
            // Time passed under the feet of somebody who could have gone on.
            world.oracle.excuse(next);
        }
        while let Some(n) = world.late.iter().position(|(_, lands_by)| *lands_by <= next) {
            world.land_late(n);
        }
        let dead: Vec<usize> = (0..ACTORS).filter(|it| world.desks[*it].is_over(next)).collect();
        for actor in &dead {
            world.desks[*actor] = Desk::default();
            world.oracle.excuse(next + Fault::Dies.excuses_ms());
        }
        drop(world);
        for actor in dead {
            self.work[actor] = None;
        }
    }

    /// What is due is taken on at once, by everybody who is free.
    fn spawn_due(&mut self) {
        for worker in 0..WORKERS {
            let may_begin = |world: &World| world.rests_until[worker] <= world.now && world.is_due();
            if self.work[worker].is_none() && may_begin(&self.world()) {
                self.spawn(worker);
            }
        }
    }

    fn spawn(&mut self, actor: usize) {
        let mut world = self.world();
        let (id, now, token) = (world.target.id.clone(), world.time(), world.fresh_token());
        let at = world.now;
        let closes = world.grant(LEASES[0]);
        let desk = &mut world.desks[actor];
        desk.dies_at = at + millis(WORKER_LIFE);
        desk.token = (actor != PERSON).then(|| token.clone());
        world.tell(actor, at);
        drop(world);
        let o = Dependencies { world: Arc::clone(&self.world), actor };
        self.work[actor] = Some(if actor == PERSON {
            let (grant, by) = closes.expect("it was granted");
            Box::pin(async move {
                let mut outcome = Ok(());
                for _ in 0..PRESSES {
                    outcome = door::close(&o, &grant, &by, None, now).await.map(|_| ());
                    if outcome.is_ok() {
                        break;
                    }
                }
                outcome
            })
        } else {
            Box::pin(async move { app::settle(&o, &o, &id, &token, now).await })
        });
        self.poll(actor);
    }

    fn poll(&mut self, actor: usize) {
        let Some(work) = &mut self.work[actor] else { return };
        let waker = noop_waker();
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {}
            Poll::Ready(outcome) => {
                self.work[actor] = None;
                let mut world = self.world();
                world.desks[actor] = Desk::default();
                let rests_until = world.now + HEAD_START_MS;
                if let Some(it) = world.rests_until.get_mut(actor).filter(|_| outcome.is_err()) {
                    *it = rests_until;
                }
            }
        }
    }
}

impl World {
    /// What may go wrong with these calls.
    fn befalling(&self, extent: &Extent, digest: u64, calls: &[(usize, Call)]) -> Vec<Choice> {
        if extent.faults_max <= self.faults {
            return vec![];
        }
        let of = |(actor, call): &(usize, Call)| {
            let (actor, call) = (*actor, *call);
            let effect = self.desks[actor].writes.as_ref().map(|it| self.effect(it));
            let faults = extent.faults.iter();
            let faults = faults.filter(move |it| it.befalls(call, effect) && !self.is_befallen(**it));
            faults.map(move |fault| Choice::Answer(actor, Some(*fault)))
        };
        let all = calls.iter().flat_map(of);
        all.filter(|it| extent.has(self.faults, digest, *it)).collect()
    }

    /// Counts it if somebody is left who could go on.
    fn switch(&mut self, choice: Choice) {
        let next = match choice {
            Choice::Answer(actor, _) => Some(actor),
            Choice::Pass | Choice::Close | Choice::Land(_) => None,
        };
        let can_go_on = |actor: usize| {
            let desk = &self.desks[actor];
            desk.pending.is_some() && desk.starved_until <= self.now
        };
        if self.last.is_some_and(|last| next != Some(last) && can_go_on(last)) {
            self.switches += 1;
        }
        self.last = next.or(self.last);
    }

    /// When something happens next: where somebody could go on, only the start or the end of a lease comes in between.
    fn next_time(&self, is_slow: bool) -> Option<i64> {
        let edges = self.target.grants().values().flat_map(|it| [it.lease.start(), it.lease.end()]);
        let edges = edges.map(world_ms).filter(|at| self.now < *at).min();
        if is_slow {
            return edges;
        }
        let due = self.target.due_at().map(world_ms);
        let late = self.late.iter().map(|(_, lands_by)| *lands_by);
        let alive = || self.desks.iter().filter(|it| it.pending.is_some());
        let turns = alive().map(|it| it.starved_until).chain(alive().map(|it| it.dies_at));
        let rests = self.rests_until.into_iter().filter(|_| self.is_due());
        let all = edges.into_iter().chain(due).chain(late).chain(turns).chain(rests);
        all.filter(|at| self.now < *at).min()
    }

    fn land_late(&mut self, n: usize) {
        let (change, _) = self.late.remove(n);
        if self.land(&change).is_ok_and(|it| it) {
            self.landed_late();
        }
    }
}

impl Desk {
    fn is_over(&self, now: i64) -> bool {
        self.pending.is_some() && self.dies_at <= now
    }
}

impl Extent {
    /// Is this place for a fault after so many among those that are tried?
    fn has(&self, faults: u32, digest: u64, choice: Choice) -> bool {
        let mut hasher = DefaultHasher::new();
        (digest, choice).hash(&mut hasher);
        let place = hasher.finish();
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
