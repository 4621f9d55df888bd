//! Policies in Cedar: who may do what to which machine, and why.
//!
//! An [`Engine`] decides by the bindings of roles and by policy files, in one evaluation: something has to permit, and whatever forbids wins.
//! It is made once for each version of an authority. [`check`] says what is wrong with policy files before they count; [`SCHEMA`] is what
//! they are written against.

mod asked;
mod binding;
mod cases;
mod compiled;
mod engine;
mod fault;
mod file;
mod installation;
mod known;
mod language;
mod lint;
mod port_rule;
mod schema;
mod slices;
#[cfg(test)]
mod tests;
mod who_can;

pub use asked::{in_json, request};
pub use binding::in_cedar;
pub use cases::{Cases, Tried, minutes, together};
pub use compiled::Compiled;
pub use engine::Engine;
pub use fault::{Fault, Faults};
pub use file::check;
pub use installation::{Caller, INSTALLATION, Installation};
pub use known::Known;
pub use language::Cedar;
pub use lint::{Bound, Kind, Remark, lint};
pub use port_rule::of_port_rule;
pub use schema::SCHEMA;
pub use who_can::{WhoCan, who_can};
