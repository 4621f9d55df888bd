//! The depth-first search over all choices.

use super::{
    Broken, Extent, Tally,
    run::{Choice, Run},
    world::World,
};
use std::collections::HashSet;

/// A path that makes more choices between two quiescent states goes round in circles.
const CHOICES_MAX: usize = 500;

/// Tries all of it; the first path that breaks a rule is told.
pub fn explore(extent: &Extent) -> Result<Tally, Box<Broken>> {
    let mut search = Search { extent, tally: Tally::default(), seen: HashSet::new(), ahead: vec![] };
    let world = begun()?;
    search.seen.insert(world.quiescent_digest());
    search.ahead.push(world);
    while let Some(world) = search.ahead.pop().filter(|_| !search.tally.is_cut) {
        search.tally.quiescent += 1;
        search.from(&world)?;
    }
    search.tally.states = search.seen.len() as u64;
    Ok(search.tally)
}

struct Search<'a> {
    extent: &'a Extent,
    tally: Tally,
    /// The digests of all states.
    seen: HashSet<u64>,
    /// Quiescent states that were reached, and not yet left.
    ahead: Vec<World>,
}

impl Search<'_> {
    /// Every path from one quiescent state to the next ones.
    fn from(&mut self, world: &World) -> Result<(), Box<Broken>> {
        let mut branches: Vec<Vec<Choice>> = vec![vec![]];
        while let Some(mut path) = branches.pop() {
            if self.extent.steps_max <= self.tally.steps {
                self.tally.is_cut = true;
                return Ok(());
            }
            self.tally.paths += 1;
            let mut run = Run::of(world.clone());
            for choice in &path {
                run.take(*choice);
                self.tally.steps += 1;
            }
            let mut is_new = path.is_empty();
            loop {
                judged(&run)?;
                let digest = run.world().digest();
                if !is_new && run.is_quiescent() {
                    self.arrive(run);
                    break;
                }
                if !is_new && !self.seen.insert(digest) {
                    self.tally.pruned += 1;
                    break;
                }
                is_new = false;
                let latest = self.tally.latest_ms.entry(run.world().faults).or_default();
                *latest = (*latest).max(run.world().exposed_ms());
                let mut choices = run.choices(self.extent, digest).into_iter();
                let Some(first) = choices.next() else {
                    self.tally.ends += 1;
                    run.world().conclude();
                    judged(&run)?;
                    break;
                };
                // The last of them is tried first: what goes wrong.
                branches.extend(choices.map(|choice| [path.as_slice(), &[choice]].concat()));
                run.take(first);
                self.tally.steps += 1;
                path.push(first);
                if CHOICES_MAX < path.len() {
                    run.world().oracle.break_rule("nothing-is-forgotten", "it never rests".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Nobody is alive: whoever comes here again need not go on.
    fn arrive(&mut self, run: Run) {
        let mut world = run.into_world();
        world.forget_versions();
        world.origin = world.quiescent_digest();
        if self.seen.insert(world.origin) {
            self.ahead.push(world);
        } else {
            self.tally.pruned += 1;
        }
    }
}

/// The target is guarded and settled, all looks at it are over, and both leases are granted.
fn begun() -> Result<World, Box<Broken>> {
    let calm = Extent {
        faults: vec![],
        faults_max: 0,
        part: (0, 1),
        later_fault_one_in: 1,
        switches_max: 0,
        steps_max: 0,
    };
    let mut run = Run::of(World::begin());
    while let Some(choice) = run.choices(&calm, 0).first() {
        run.take(*choice);
        judged(&run)?;
    }
    let mut world = run.into_world();
    world.grant_both();
    world.forget_versions();
    Ok(world)
}

fn judged(run: &Run) -> Result<(), Box<Broken>> {
    let world = run.world();
    let Some((rule, how)) = world.oracle.broken() else { return Ok(()) };
    let mut path = vec![];
    let mut step = world.path.as_ref();
    while let Some(it) = step {
        path.push(it.to_string());
        step = it.before.as_ref();
    }
    path.reverse();
    Err(Box::new(Broken { rule, how: format!("at {} ms: {how}", world.now), path }))
}
