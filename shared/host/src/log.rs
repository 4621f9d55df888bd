//! What `portcullis up` and `portcullis simcloud` say while they run: on standard error.
//!
//! Nothing waits for a reader: a terminal that is stopped or a pipe that nobody reads costs lines, never a closing.

use portcullis_domain::redacted;
use portcullis_program::output::Paint;
use std::{
    env,
    io::{self, IsTerminal as _, Write},
    panic,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// The pipeline to Azure says at `info` what we say ourselves where it matters.
const DEFAULT: &str = "info,azure_core=warn,azure_identity=warn,typespec_client_core=warn";
/// How many lines wait for standard error to take them; further ones are lost, and counted.
const WAITING_MAX: usize = 4096;
/// How long the last lines may take at the end.
const LAST_MAX: Duration = Duration::from_secs(1);

/// Which lines: `PORTCULLIS_LOG`, in the words of `tracing`, such as `debug` or `portcullis_http=debug`. Until the log is
/// dropped, what it was told is written.
pub fn begin() -> Log {
    let said = env::var("PORTCULLIS_LOG").ok().filter(|it| !it.is_empty());
    let filter = said.and_then(|it| EnvFilter::try_new(it).ok()).unwrap_or_else(|| EnvFilter::new(DEFAULT));
    let paint = Paint::of(io::stderr().is_terminal());
    let (lines, waiting) = sync_channel(WAITING_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Lines { lines: lines.clone(), lost: Arc::clone(&lost) };
    let written = thread::Builder::new().name("log".to_owned());
    // Without its thread every line is lost, as on a standard error that is gone.
    drop(written.spawn(move || write(&waiting, &lost, &mut io::stderr())));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(paint.has_colours())
        .with_target(false)
        // A line that cannot be written is lost; a complaint about it would be one more.
        .log_internal_errors(false)
        .init();
    // The default hook writes to standard error itself, and would wait for its reader.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "A thread panicked");
    }));
    Log(lines)
}

/// The log of a program that runs.
#[derive(Debug)]
pub struct Log(SyncSender<Job>);

impl Drop for Log {
    fn drop(&mut self) {
        let (written, all) = sync_channel(1);
        // A log that is full has nobody to read it.
        if self.0.try_send(Job::Tell(written)).is_ok() {
            // Lines that cannot be written in time are lost.
            let _ = all.recv_timeout(LAST_MAX);
        }
    }
}

#[derive(Debug)]
enum Job {
    Line(Vec<u8>),
    /// Says when everything before it is written.
    Tell(SyncSender<()>),
}

/// Takes lines without waiting.
#[derive(Debug, Clone)]
struct Lines {
    lines: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    /// A line, which comes in one piece, without bearer tokens: whatever it names, and whoever wrote that.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let said = redacted(&String::from_utf8_lossy(line)).as_bytes().to_vec();
        if self.lines.try_send(Job::Line(said)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(waiting: &Receiver<Job>, lost: &AtomicU64, to: &mut impl Write) {
    for job in waiting {
        match job {
            // A line that cannot be written, as on a full disk, is lost.
            Job::Line(line) => drop(to.write_all(&line)),
            Job::Tell(written) => drop(written.try_send(())),
        }
        let count = lost.swap(0, Ordering::Relaxed);
        if 0 < count {
            drop(writeln!(to, "{count} lines of this log are lost, since its reader was too slow"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_not_read_loses_lines_and_says_how_many() {
        let (lines, waiting) = sync_channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Lines { lines, lost: Arc::clone(&lost) };
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            assert_eq!(writer.write(line.as_bytes()).expect("never fails"), line.len());
        }
        drop(writer);
        let mut written = vec![];
        write(&waiting, &lost, &mut written);
        let written = String::from_utf8(written).expect("text");
        assert_eq!(written, "one\n2 lines of this log are lost, since its reader was too slow\ntwo\n");
    }
}
