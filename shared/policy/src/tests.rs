//! What the tests of this crate have in common, and what holds of the engine for every question.

pub mod given;
mod nearest;
mod proofs;
