//! Just-in-time access to management ports: everything in one process, and a thin client of it.

mod cli;
mod demo;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(failure) => failure.tell().into(),
    }
}
