//! The depth-first search over all choices, on as many threads as there are cores.

use super::{Broken, Extent, Tally, actor::Steps, digest::ByDigest, world::World};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// Parts of the set of states, each with a lock of its own.
const PARTS: u64 = 256;
/// How many states a thread has before it gives some to others.
const SHARES_FROM: usize = 64;
/// How many steps a thread makes before it says how many.
const COUNTS_EVERY: u64 = 1_000;

/// Tries all of it; the first path that is found to break a rule is told.
pub fn explore(extent: &Extent) -> Result<Tally, Box<Broken>> {
    let first = begun(extent)?;
    let search = Search {
        extent,
        seen: (0..PARTS).map(|_| Mutex::default()).collect(),
        shared: Mutex::new(Shared { worlds: vec![], idle: 0, is_over: false }),
        changed: Condvar::new(),
        threads: thread::available_parallelism().map_or(1, usize::from),
        steps: AtomicU64::new(0),
        is_cut: AtomicBool::new(false),
    };
    search.is_new(search.digest(&first));
    search.lock().worlds.push(first);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..search.threads).map(|_| scope.spawn(|| search.run())).collect();
        all.into_iter().map(|it| it.join().expect("no panic")).collect()
    });
    let mut tally = Tally { is_cut: search.is_cut.load(Ordering::Relaxed), ..Tally::default() };
    let mut broken = None;
    for (of_one, found) in outcomes {
        tally.add(&of_one);
        broken = broken.or(found);
    }
    broken.map_or(Ok(tally), Err)
}

/// The digests of the states that a search to the letter comes to at rest, and whether the reduced one takes for the
/// same only states that have the same future.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many states there are to the letter, and how many are left of them.
    pub states: (u64, u64),
    /// The digests of those in which nobody is alive.
    pub quiescent: BTreeSet<u64>,
    /// The rules that are broken somewhere.
    pub broken: BTreeSet<&'static str>,
    /// States that are taken for the same, and have another future.
    pub confused: Vec<String>,
}

/// Goes through all of it in one thread, and past every broken rule. To the letter it keeps two states apart if anything
/// in them differs, and looks whether those of one digest have the same choices, which lead to the same digests.
pub fn audit(extent: &Extent) -> Audit {
    let mut audit = Audit::default();
    let Ok(first) = begun(extent) else { return audit };
    let mut steps = Steps::of(World::cast(), extent.is_literal);
    let key = |world: &World| if extent.is_literal { world.letter() } else { world.digest() };
    let mut futures: HashMap<u64, (BTreeSet<u64>, bool), ByDigest> = HashMap::default();
    let mut seen: HashSet<u64, ByDigest> = HashSet::default();
    seen.insert(key(&first));
    let mut ahead = vec![first];
    while let Some(mut world) = ahead.pop() {
        let digest = world.digest();
        if world.is_quiescent() {
            audit.quiescent.insert(digest);
        }
        let choices = world.choices(extent, digest);
        if choices.is_empty() {
            world.conclude();
        }
        let broken = world.oracle.broken().map(|(rule, _)| rule);
        audit.broken.extend(broken);
        let mut future = BTreeSet::new();
        for choice in choices.into_iter().filter(|_| broken.is_none()) {
            let mut next = world.clone();
            next.take(choice, extent, &mut steps);
            future.insert(next.digest());
            if seen.insert(key(&next)) {
                ahead.push(next);
            }
        }
        let future = (future, broken.is_some());
        match futures.get(&digest) {
            Some(known) if *known != future => audit.confused.push(told(&world).join("\n")),
            Some(_) => {}
            None => drop(futures.insert(digest, future)),
        }
    }
    audit.states = (seen.len() as u64, futures.len() as u64);
    audit
}

struct Search<'a> {
    extent: &'a Extent,
    /// The digests of all states.
    seen: Vec<Mutex<HashSet<u64, ByDigest>>>,
    shared: Mutex<Shared>,
    changed: Condvar,
    threads: usize,
    steps: AtomicU64,
    is_cut: AtomicBool,
}

/// States that were reached, and that no thread goes on from yet.
struct Shared {
    worlds: Vec<World>,
    idle: usize,
    is_over: bool,
}

impl Search<'_> {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic")
    }

    fn digest(&self, world: &World) -> u64 {
        if self.extent.is_literal { world.letter() } else { world.digest() }
    }

    fn is_new(&self, digest: u64) -> bool {
        let part = usize::try_from(digest >> 56).expect("small");
        self.seen[part].lock().expect("no panic").insert(digest)
    }

    /// What one thread does; gives the path that broke a rule, if one did.
    fn run(&self) -> (Tally, Option<Box<Broken>>) {
        let mut tally = Tally::default();
        let mut steps = Steps::of(World::cast(), self.extent.is_literal);
        let (mut ahead, mut counted) = (vec![], 0);
        while let Some(mut world) = ahead.pop().or_else(|| self.taken()) {
            let digest = world.digest();
            tally.states += 1;
            tally.quiescent += u64::from(world.is_quiescent());
            let latest = tally.latest_ms.entry(world.faults).or_default();
            *latest = (*latest).max(world.exposed_ms());
            let choices = world.choices(self.extent, digest);
            if choices.is_empty() {
                tally.ends += 1;
                world.conclude();
            }
            if let Some((rule, how)) = world.oracle.broken() {
                let how = format!("at {} ms: {how}", world.now);
                let broken = Box::new(Broken { rule, how, path: told(&world) });
                self.end();
                return (tally, Some(broken));
            }
            for choice in choices {
                let mut next = world.clone();
                next.take(choice, self.extent, &mut steps);
                tally.steps += 1;
                if self.is_new(self.digest(&next)) {
                    ahead.push(next);
                } else {
                    tally.pruned += 1;
                }
            }
            if counted + COUNTS_EVERY <= tally.steps {
                let all = self.steps.fetch_add(tally.steps - counted, Ordering::Relaxed);
                counted = tally.steps;
                if self.extent.steps_max <= all {
                    self.is_cut.store(true, Ordering::Relaxed);
                    self.end();
                }
                if self.share(&mut ahead) {
                    break;
                }
            }
        }
        tally.made = steps.made;
        (tally, None)
    }

    /// Gives half of what is ahead to those who have nothing; says whether the search is over.
    fn share(&self, ahead: &mut Vec<World>) -> bool {
        let mut shared = self.lock();
        if shared.idle != 0 && shared.worlds.is_empty() && SHARES_FROM <= ahead.len() {
            // The oldest of them have most before them.
            shared.worlds.extend(ahead.drain(..ahead.len() / 2));
            self.changed.notify_all();
        }
        shared.is_over
    }

    /// Waits for a state to go on from; nothing when all is done.
    fn taken(&self) -> Option<World> {
        let mut shared = self.lock();
        shared.idle += 1;
        loop {
            if shared.is_over {
                return None;
            }
            if let Some(world) = shared.worlds.pop() {
                shared.idle -= 1;
                return Some(world);
            }
            if shared.idle == self.threads {
                shared.is_over = true;
                self.changed.notify_all();
                return None;
            }
            shared = self.changed.wait(shared).expect("no panic");
        }
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

/// The target is guarded and settled, all looks at it are over, and both leases are granted.
fn begun(extent: &Extent) -> Result<World, Box<Broken>> {
    let calm = Extent { faults_max: 0, switches_max: 0, ..extent.clone() };
    let mut steps = Steps::of(World::cast(), extent.is_literal);
    let mut world = World::begin();
    world.spawn_due(&mut steps);
    while let Some(choice) = world.choices(&calm, 0).first() {
        world.take(*choice, &calm, &mut steps);
        if let Some((rule, how)) = world.oracle.broken() {
            return Err(Box::new(Broken { rule, how: how.to_owned(), path: told(&world) }));
        }
    }
    (world.last, world.switches) = (None, 0);
    world.grant_both();
    world.plant(extent.planted);
    world.spawn_due(&mut steps);
    Ok(world)
}

/// Every choice of its path.
fn told(world: &World) -> Vec<String> {
    let mut path = vec![];
    let mut step = world.path.as_ref();
    while let Some(it) = step {
        path.push(it.to_string());
        step = it.before.as_ref();
    }
    path.reverse();
    path
}
