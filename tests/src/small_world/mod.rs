//! The small world: two workers, two leases of one gate, one of them closed early, and a few faults. The orders in
//! which their calls can be answered, and faults at every call, are tried to the end, as far as an [`Extent`] says.
//!
//! - `world` is the state without its workers: the table, the firewall, and the time. `oracle` judges it after
//!   every step.
//! - `dependencies` are what the use cases see of it: each call waits until the search answers it.
//! - `run` lets the workers of one path go on, one choice at a time. `search` is the depth-first search: a future
//!   cannot be copied, so that a branch is reached again by replaying its choices since the last quiescent state.
//!
//! Calls take no time. Time goes on only by a choice: to the next thing that is due, or under the feet of workers to
//! the next start or end of a lease. Some faults last: a firewall that takes no growth, no rewrite or no deletion, a table
//! without space, a clock that was set back, from which `portcullis_app::Steady` makes the time that everybody reads. No
//! refusal and no clock excuses a closing. Two states with the same digest have the same future, and the second is pruned: a worker
//! is a function of the answers that it was given, so that the digest of those stands for it.
//!
//! ```text
//! cargo test --workspace --test fast small_world::                  the part of every build
//! cargo test --workspace --test fast small_world:: -- --ignored     more, as `tests/night world` does
//! ```
//!
//! One fault at every call, in every interleaving with one switch, is 3.6 million states and 16 million steps, which is
//! some minutes. Each further switch is ten times as much with a fault, and two to three times without. So two faults in
//! every interleaving are more than a night: that search is cut into parts by where the first fault is, and each part
//! ends after so many steps, which is told.
//!
//! ```text
//! SMALL_WORLD_PART=3 SMALL_WORLD_PARTS=64 SMALL_WORLD_STEPS=1000000000   the fourth part of 64, so many steps of it
//! SMALL_WORLD_FAULTS=2 SMALL_WORLD_SWITCHES=1                            no more faults, no more switches
//! ```

mod dependencies;
mod fault;
mod oracle;
mod run;
mod search;
mod world;

pub use fault::Fault;
pub use search::explore;
use std::{collections::BTreeMap, fmt};

/// How much of the small world is tried.
#[derive(Debug, Clone)]
pub struct Extent {
    /// The kinds of faults.
    pub faults: Vec<Fault>,
    /// How many of them one path may have.
    pub faults_max: u32,
    /// How many choices may be made; what is left is not tried then.
    pub steps_max: u64,
    /// Of the places for a first fault, this part of so many is tried: all parts together are all of them.
    pub part: (u64, u64),
    /// Of the places for a fault after the first, one in so many is tried, picked by the digest of the state.
    pub later_fault_one_in: u64,
    /// How often one path may leave an actor that could go on, for another one, for the close, or for time: every
    /// interleaving with so many switches is tried.
    pub switches_max: u32,
}

/// How much was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Different states.
    pub states: u64,
    /// Of these, states in which no worker was alive.
    pub quiescent: u64,
    /// Paths that were begun.
    pub paths: u64,
    /// Paths that came to a state that another had been in.
    pub pruned: u64,
    /// Paths that came to rest.
    pub ends: u64,
    /// Choices that were made, also again.
    pub steps: u64,
    /// There were more than the extent allows, and something was left untried.
    pub is_cut: bool,
    /// The longest time for which an address passed without a lease, in milliseconds, by how many faults there were;
    /// also where time went on while a worker could have.
    pub latest_ms: BTreeMap<u32, i64>,
}

/// A rule of the design that does not hold, and the path to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub rule: &'static str,
    /// When, in milliseconds, and how.
    pub how: String,
    /// Every choice, and when it was made.
    pub path: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, quiescent, paths, pruned, ends, steps, is_cut, latest_ms } = self;
        write!(
            f,
            "{states} states, of which {quiescent} quiescent; {paths} paths, of which {pruned} pruned and {ends} "
        )?;
        write!(f, "to the end; {steps} steps; latest close in ms by number of faults: {latest_ms:?}")?;
        f.write_str(if *is_cut { "; NOT to the end" } else { "" })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "breaks {}: {}", self.rule, self.how)
    }
}
