//! Policies in Cedar: who may do what to which machine, and why.
//!
//! An [`Engine`] decides by the bindings of roles and by policy files, in one evaluation: something has to permit, and whatever forbids wins.
//! It is made once for each version of an authority. [`check`] says what is wrong with policy files before they count; [`SCHEMA`] is what
//! they are written against.

mod asked;
mod binding;
mod engine;
mod fault;
mod file;
mod known;
mod schema;
mod slices;
#[cfg(test)]
mod tests;

pub use binding::in_cedar;
pub use engine::Engine;
pub use fault::{Fault, Faults};
pub use file::check;
pub use known::Known;
pub use schema::SCHEMA;
