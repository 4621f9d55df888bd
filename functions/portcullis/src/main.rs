//! Just-in-time access to management ports: everything in one process, and a thin client of it.

mod account;
mod alarm;
mod beyond;
mod cli;
mod client;
mod clock;
mod cloud;
mod demo;
mod failure;
mod log;
mod output;
mod outside;
mod private;
mod profile;
mod role;
mod serve;
mod simcloud;
mod site;
mod steady;
mod table;
mod up;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match client::run(cli::Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.tell().into(),
    }
}
