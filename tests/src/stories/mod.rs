//! Stories: the real use cases of `portcullis-app`, interleaved, in a world that lies, loses, delays and
//! kills as real ones do. One seed is one story; nothing else decides what happens in it.
//!
//! - `executor` polls one future per worker; `clock` holds all that is yet to come, and nobody waits for
//!   anything but it. A worker may wait for several things at once, each with its own waker.
//! - `faults` is the weather: what goes wrong, one kind a story, or everything at once. `outside` lets
//!   calls be *unreached* (lost before they took effect), *unheard* (lost after), slow or fatal.
//! - `store` is the table, with a due index that is kept at every commit; `cloud` is the ground truth of
//!   the firewalls, and `firewalls` what workers see of it: late, stale, throttled, broken, keeping what they should delete.
//! - `machine` has the two clocks by which workers go, through the product's own steady time.
//! - `calm` lets others than workers use both, and the bus, so that they pass the suites of every table, firewall and bus.
//! - `relay` is the way of what was committed: the table's stream in parts, the relay, and a bus that leaves out,
//!   doubles and never takes. `queue` are the queues before `settle` and `submit`: what fails comes again, also while
//!   somebody is still at it, and is a dead letter in the end.
//! - `actors` are the people: they guard, edit on trial, disable, ask, approve, extend and close; `bots` say some of
//!   it for them, and some that nobody may say.
//! - `oracle` watches every moment by the world's own clock. Its checks have the names of the rules in the
//!   design, and each kind of fault excuses a lateness that is bounded by that fault.
//!
//! After a million milliseconds the faults stop and time goes on: then everything must come to rest.
//!
//! ```text
//! cargo test --workspace --test fast stories::                       the seeds of `cargo test`
//! STORIES_SEEDS=100000 cargo test --workspace --test fast stories::  many more
//! STORIES_WEATHER=Paced cargo test --workspace --test fast stories::         those of one weather
//! STORIES_SEED=7 cargo test --workspace --test fast -- --nocapture stories::stories   one, told line by line
//! tests/mutants/run [NAME]...                                         what the oracle must catch
//! ```

mod actors;
mod bots;
mod calm;
mod clock;
mod cloud;
mod dice;
mod executor;
mod faults;
mod firewalls;
mod log;
mod machine;
mod oracle;
mod outside;
mod queue;
mod relay;
mod rights;
mod store;
mod world;

pub use calm::calmly;
pub use dice::Dice;
pub use faults::Weather;
pub use outside::Outside;
use std::collections::BTreeMap;

/// What decides a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plot {
    /// Every chance in it.
    pub seed: u64,
    /// What goes wrong.
    pub weather: Weather,
}

/// What came of a story.
#[derive(Debug)]
pub struct Ending {
    /// Which.
    pub plot: Plot,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// The rule that was broken first, and how.
    pub broken: Option<Broken>,
    /// Line by line, if it was told.
    pub story: Vec<String>,
}

/// A rule of the design that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub rule: &'static str,
    /// When, in milliseconds, and how.
    pub how: String,
}

impl Plot {
    /// Every seed has its weather.
    pub fn of(seed: u64) -> Self {
        let kinds = Weather::ALL.len() as u64;
        let at = usize::try_from(seed % kinds).unwrap_or_default();
        Self { seed, weather: Weather::ALL[at] }
    }

    /// Lets it happen.
    pub fn play(self) -> Ending {
        executor::tell(self, false)
    }

    /// Lets it happen, and tells it.
    pub fn tell(self) -> Ending {
        executor::tell(self, true)
    }
}
