//! `portcullis up`, and what else of the program stands on a machine of its own: everything in one process.

mod alarm;
mod beyond;
mod bots;
mod clock;
mod cloud;
mod failed;
mod issuers;
pub mod log;
mod outside;
pub mod role;
mod serve;
mod short;
mod signals;
pub mod simcloud;
mod simulated;
mod site;
mod steady;
pub mod up;
