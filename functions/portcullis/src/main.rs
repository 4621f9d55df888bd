//! Just-in-time access to management ports: everything in one process, and a thin client of it.

mod cli;
mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::of_process().run() {
        Ok(exit) => exit.into(),
        Err(failure) => failure.tell().into(),
    }
}
