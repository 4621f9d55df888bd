//! The small world: two workers, two leases of one gate, one of them closed early, and a few faults. The orders in
//! which their calls can be answered, and faults at every call, are tried to the end, as far as an [`Extent`] says.
//!
//! - `world` is the state: plain data, which can be copied. `table` is what is stored in it, `firewall` what the firewall
//!   holds, `oracle` judges all of it after every step.
//! - `actor` makes of the real use cases what an actor asks next after the answers that it was given, once for each
//!   answer; `run` is one step of the world; `search` goes through all of them, depth first.
//!
//! Calls take no time. Time goes on only by a choice: to the next thing that is due, or under the feet of workers to
//! the next start or end of a lease. Some faults last: a firewall that takes no growth, no rewrite or no deletion, a disk
//! without room, a table that takes no commit, a clock that was set back, from which `portcullis_app::Steady` makes the time
//! that everybody reads. A crash ends everybody and loses what is in memory alone; the time goes on. No refusal, no full disk
//! and no clock excuses a closing.
//!
//! Two states with the same digest have the same future, and the second is pruned. A digest (`digest`, `World::digest`) counts
//!
//! - of what an actor was told only what it has not forgotten (`memory`),
//! - of versions and hashes of the journal only whether they are the newest: they are compared and nothing else,
//! - of times how far they are from now, so that a state is the same at any hour,
//! - of workers not which of the two it is, nor by which name it claims.
//!
//! That this is so is proven for small extents, not argued: [`audit`] goes through all states to the letter, and finds any
//! two that are taken for the same and have not the same next ones. A digest has 64 bits: that two of a billion states
//! share one by chance, so that one of them is left out, has a probability of 3 %.
//!
//! ```text
//! cargo test --workspace --test fast small_world::                         the part of every build
//! cargo test --workspace --release --test fast small_world:: -- --ignored  more, as `tests/night world` does
//! ```
//!
//! How much there is, and what a release build takes for it on one core:
//!
//! | extent | states | steps | time |
//! | --- | --- | --- | --- |
//! | no fault, every interleaving | 61,481 | 181,335 | under a second |
//! | one fault, every interleaving | 11.6 million | 35.7 million | 60 s |
//! | two faults, no switch | 3.9 million | 4.8 million | 36 s |
//! | two faults, every interleaving with one switch | 30.8 million | 42.3 million | 171 s |
//! | two faults, every interleaving, one of 1,024 parts by where the first fault is | 16.7 million | 46 million | 90 s |
//!
//! So two faults in every interleaving are up to 17 billion states, counted once for each part that comes to them, and 26 hours
//! on one core, or 13 on two: a night does half of the parts, two nights with one seed after the other do all. It is told how many.
//!
//! ```text
//! SMALL_WORLD_PART=3 SMALL_WORLD_PARTS=1024 SMALL_WORLD_STEPS=1000000000   from the fourth part on, as far as so many steps go
//! SMALL_WORLD_SWITCHES=1                                                   no more switches
//! ```

mod actor;
mod digest;
mod fault;
mod firewall;
mod memory;
mod oracle;
mod run;
mod search;
mod table;
mod world;

pub use fault::Fault;
pub use search::{Audit, audit, explore};
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
    /// interleaving with so many switches is tried, and with `u32::MAX` each one.
    pub switches_max: u32,
    /// States are kept apart if anything in them differs, also what cannot matter.
    pub is_literal: bool,
    /// What is wrong with the world, to see that it is found.
    pub planted: Option<Planted>,
}

/// A bug of the world itself, which no worker can make up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The table takes a commit over any version.
    VersionsAreIgnored,
    /// Whoever finds a claim takes it for its own.
    ClaimsAreShared,
    /// Where the disk is full, what settles is refused as well.
    SettlingIsRefused,
}

/// How much was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Different states.
    pub states: u64,
    /// Of these, states in which no worker was alive.
    pub quiescent: u64,
    /// Of these, states in which all is over.
    pub ends: u64,
    /// Choices that were made.
    pub steps: u64,
    /// Of these, those that came to a state that another had come to.
    pub pruned: u64,
    /// Steps of actors that were made by their use cases; the others were remembered.
    pub made: u64,
    /// There were more than the extent allows, and something was left untried.
    pub is_cut: bool,
    /// The longest time for which an address passed without a lease, in milliseconds, by how many faults there were;
    /// also where time went on while a worker could have.
    pub latest_ms: BTreeMap<u32, i64>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        let Self { states, quiescent, ends, steps, pruned, made, is_cut, latest_ms } = other;
        self.states += states;
        self.quiescent += quiescent;
        self.ends += ends;
        self.steps += steps;
        self.pruned += pruned;
        self.made += made;
        self.is_cut |= is_cut;
        for (faults, ms) in latest_ms {
            let latest = self.latest_ms.entry(*faults).or_default();
            *latest = (*latest).max(*ms);
        }
    }
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
        let Self { states, quiescent, ends, steps, pruned, made, is_cut, latest_ms } = self;
        write!(f, "{states} states, of which {quiescent} quiescent and {ends} at the end; {steps} steps, ")?;
        write!(f, "of which {pruned} to a known state; {made} steps of actors; ")?;
        write!(f, "latest close in ms by number of faults: {latest_ms:?}")?;
        f.write_str(if *is_cut { "; NOT to the end" } else { "" })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "breaks {}: {}", self.rule, self.how)
    }
}
