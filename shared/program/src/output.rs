//! What a person or a script gets to see.

pub use crate::terminal::{Paint, cut, escaped, printable, tame};

use crate::{failure::Failure, terminal::columns};
use console::Term;
use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

/// Lines for people, or whatever else is text already. They may hold our own colours.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Is nothing said on standard error but failures?
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on no line that is no result is printed: a shell that completes a word has nobody to read it.
pub fn keep_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// A line for the person that is no result: on standard error.
pub fn note(line: impl Display) {
    if IS_QUIET.load(Ordering::Relaxed) {
        return;
    }
    // Nobody is left to be told that standard error is gone.
    let _ = writeln!(io::stderr(), "{}", printable(&line.to_string()));
}

/// The columns of the terminal that standard output is; none where it is no terminal, which has no edge.
pub fn width() -> Option<usize> {
    columns(&Term::stdout()).filter(|_| io::stdout().is_terminal())
}

/// The same of standard error.
pub fn width_of_notes() -> Option<usize> {
    columns(&Term::stderr()).filter(|_| io::stderr().is_terminal())
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
