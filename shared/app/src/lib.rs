//! What we do: load, decide, commit. The only place where the domain meets the outside.
//!
//! The traits in [`ports`] say what the use cases need; their doc comments are the contract. Every use
//! case may run twice, be reordered, or die anywhere, with the same end.

mod absent;
mod accept;
mod adopt;
mod ask;
mod asking;
mod bad_token;
mod beforehand;
mod bots;
mod call;
mod caller;
pub mod command;
mod decide;
mod discover;
mod disk;
mod doctor;
mod door;
mod error;
mod events;
mod export;
mod foresee;
mod guard;
mod happened;
mod hold;
mod issue;
mod kept;
mod load;
mod look;
mod message;
mod operation;
mod permit;
mod policies;
pub mod ports;
pub mod query;
mod reached;
mod record;
mod revoke;
mod roles;
mod sentence;
mod settle;
mod steady;
mod submit;
mod sweep;
mod token_checks;
mod token_uses;
mod transact;
mod troubles;
mod turn;
mod unapproved;
mod unshut;
mod uphold;
mod vouch;
mod watch;
mod worker;

pub use absent::Absent;
pub use accept::Accepting;
pub use adopt::{Adopted, AdoptedMachine};
pub use ask::Answer;
pub use bad_token::BadToken;
pub use bots::Bots;
pub use call::{Call, GroupsKnown, Issuer, Principal};
pub use decide::lapse;
pub use discover::{Discovered, Found, Name, Names};
pub use disk::{Disk, DiskTold};
pub use door::{Parts, Unreadable, perform, refuse_unreadable};
pub use error::{BeingWritten, BoxError, Error};
pub use events::{events, relay};
pub use export::{Exporting, export};
pub use foresee::Met;
pub use guard::{Guarded, Plan, PlannedGate};
pub use happened::{Happened, Wanted};
pub use hold::{Held, hold, overdue, settle_on};
pub use issue::Issued;
pub use kept::Kept;
pub use look::{Checked, Verified, verify};
pub use message::{Message, first_untold, handle_all, settle_named};
pub use operation::{Operation, OperationKind};
pub use permit::Rights;
pub use policies::{Applied, PolicyVersion, VERSIONS_MAX};
pub use ports::{Adoptable, AdoptableMachine, AdoptablePort, AdoptableRule, Adoptables, Detail, Event};
pub use reached::{NoCursor, Reached};
pub use revoke::Revoked;
pub use roles::{Known, RoleChanged};
pub use settle::settle;
pub use steady::{JUMP_MIN, Jump, Reading, Steady, clock_jumped};
pub use submit::{EVENT_MAX, Incoming, Submitted, submit};
pub use token_uses::{TokenUses, USE_WAIT_MAX};
pub use troubles::Troubles;
pub use vouch::Vouchers;
pub use watch::{bury, expire, reconcile};
pub use worker::live;

pub use portcullis_domain::{
    BadExport, Evidence, Finding, Format, MANIFEST, Manifest, ManifestFile, PrincipalKind, Segment,
    TargetState, Verdict,
};
