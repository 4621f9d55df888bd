//! What we do: load, decide, commit. The only place where the domain meets the outside.
//!
//! The traits in [`ports`] say what the use cases need; their doc comments are the contract. Every use
//! case may run twice, be reordered, or die anywhere, with the same end.

mod adopt;
mod ask;
mod csv;
mod decide;
mod discover;
mod disk;
mod doctor;
mod error;
mod events;
mod evidence;
mod export;
mod guard;
mod happened;
mod hold;
mod kept;
mod look;
pub mod ports;
mod settle;
mod steady;
mod submit;
mod sweep;
mod tokens;
mod troubles;
mod turn;
mod watch;
mod worker;

pub use adopt::{Adopted, AdoptedMachine, Adopting, adopt};
pub use ask::{Answer, Asked, Extending, close, explain, extend, initiate};
pub use csv::csv_line;
pub use decide::{approve, lapse, reject};
pub use discover::{Discovered, Name, Names, discover, discover_one, names};
pub use disk::{Disk, DiskTold};
pub use doctor::doctor;
pub use error::{BoxError, Error};
pub use events::{events, relay};
pub use evidence::{BadExport, Evidence};
pub use export::{Exporting, MANIFEST, Manifest, ManifestFile, Segment, export};
pub use guard::{Guarded, Guarding, Plan, PlannedGate, confirm, disable, edit, enable, plan};
pub use happened::{Happened, happened};
pub use hold::{Held, hold, overdue, settle_on};
pub use kept::Kept;
pub use look::{Verified, activity, check, verify};
pub use ports::{Adoptable, AdoptableMachine, AdoptablePort, AdoptableRule, Adoptables, Detail, Event};
pub use settle::settle;
pub use steady::{JUMP_MIN, Jump, Reading, Steady, clock_jumped};
pub use submit::{Bots, EVENT_MAX, Incoming, Submitted, refuse_unread, submit};
pub use tokens::may_change_token;
pub use troubles::Troubles;
pub use watch::{bury, expire, reconcile};
pub use worker::live;

pub use portcullis_domain::{Finding, Format, TargetState, Verdict};

/// How often one commit may lose to other writers.
const CONFLICTS_MAX: usize = 100;
