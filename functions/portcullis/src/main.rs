//! Just-in-time access to management ports: everything in one process, and a thin client of it.

mod cli;
mod demo;
mod manual;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::of_process();
    let is_json = cli.globals.json;
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => failure.tell(is_json).into(),
    }
}
