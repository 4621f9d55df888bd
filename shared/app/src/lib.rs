//! What we do: load, decide, commit. The only place where the domain meets the outside.
//!
//! The traits in [`ports`] say what the use cases need; their doc comments are the contract. Every use
//! case may run twice, be reordered, or die anywhere, with the same end.

mod adopt;
mod ask;
mod decide;
mod doctor;
mod error;
mod events;
mod guard;
mod hold;
mod look;
pub mod ports;
mod settle;
mod sweep;
mod tokens;
mod watch;

pub use adopt::{
    Adoptable, AdoptableMachine, AdoptablePort, AdoptableRule, Adoptables, Adopted, AdoptedMachine, Adopting,
    adopt,
};
pub use ask::{Answer, Asked, close, explain, extend, initiate};
pub use decide::{approve, lapse, reject};
pub use doctor::{Finding, Verdict, doctor};
pub use error::{BoxError, Error};
pub use events::{Event, events, relay};
pub use guard::{Guarded, Guarding, Plan, PlannedGate, confirm, disable, edit, enable, plan};
pub use hold::{Held, hold, live};
pub use look::{Discovered, TargetState, Verified, activity, check, discover, discover_one, verify};
pub use settle::settle;
pub use tokens::may_change_token;
pub use watch::{bury, expire, reconcile};

/// How often one commit may lose to other writers.
const CONFLICTS_MAX: usize = 100;
