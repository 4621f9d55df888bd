//! What a person or a script gets to see.

pub use crate::terminal::{Paint, escaped, printable, tame};

use crate::failure::Failure;
use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

/// Lines for people, or whatever else is text already. They may hold our own colours.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// A line for the person that is no result: on standard error.
pub fn note(line: impl Display) {
    // Nobody is left to be told that standard error is gone.
    let _ = writeln!(io::stderr(), "{}", printable(&line.to_string()));
}

/// Whether a person is there to be asked.
pub fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks the person; anything but a yes is a no.
pub fn ask(question: &str) -> Result<bool, Failure> {
    let cannot = |error: io::Error| Failure::broken(format!("cannot ask for a confirmation: {error}"));
    let mut stderr = io::stderr();
    write!(stderr, "{} [y/N] ", printable(question)).and_then(|()| stderr.flush()).map_err(cannot)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(cannot)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Prints. Where the reader has closed standard output, the command ends there, in silence.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::unread()
        } else {
            Failure::broken(format!("cannot write to standard output: {error}"))
        }
    })
}
