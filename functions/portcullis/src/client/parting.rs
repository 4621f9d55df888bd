//! What is told to whoever stops a command before its end.

use crate::output;
use std::{
    process,
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

/// How the program ends then. As shells have it: 128, and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Says how to go on, on Ctrl-C, and ends the program.
#[derive(Debug)]
pub struct Parting(Arc<Mutex<String>>);

impl Parting {
    /// These words from now on. Where nobody can listen for it Ctrl-C ends the program without a word.
    pub fn with(words: String) -> Self {
        let words = Arc::new(Mutex::new(words));
        let told = Arc::clone(&words);
        let listening = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let inside = runtime.enter();
            let interrupt = signal(SignalKind::interrupt());
            drop(inside);
            Ok((runtime, interrupt?))
        });
        if let Ok((runtime, mut interrupt)) = listening {
            thread::spawn(move || {
                if runtime.block_on(interrupt.recv()).is_some() {
                    let words = told.lock().unwrap_or_else(PoisonError::into_inner);
                    // Whatever turns on the terminal has no end of its line.
                    output::note(format_args!("\n{words}"));
                    process::exit(INTERRUPTED);
                }
            });
        }
        Self(words)
    }

    /// Other words from now on.
    pub fn say(&self, words: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}
