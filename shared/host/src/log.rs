//! What `portcullis up` and `portcullis simcloud` say while they run: on standard error.
//!
//! Nothing waits for a reader: a terminal that is stopped or a pipe that nobody reads costs lines, never a closing.

use crate::short::Short;
use clap::ValueEnum;
use portcullis_domain::redacted;
use portcullis_program::output::{self, Paint};
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
/// At `info` the API says each call, and the scheduler each write; what comes of them is published, and said once for each event.
const SHORT: &str = "info,azure_core=warn,azure_identity=warn,typespec_client_core=warn,portcullis_http=warn,\
    portcullis_app=warn";
/// How many lines wait for standard error to take them; further ones are lost, and counted.
const WAITING_MAX: usize = 4096;
/// How long the last lines may take at the end.
const LAST_MAX: Duration = Duration::from_secs(1);

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A short line for each event: when, what, about what
    Short,
    /// Each call and each write too, with every field
    Full,
    /// The same as full, one JSON object per line
    Json,
}

impl Form {
    /// A person who watches a terminal is not drowned; one who says which lines are wanted gets all that they hold.
    fn usual(is_terminal: bool, is_chosen: bool) -> Self {
        if is_terminal && !is_chosen { Self::Short } else { Self::Full }
    }

    fn filter(self) -> &'static str {
        match self {
            Self::Short => SHORT,
            Self::Full | Self::Json => DEFAULT,
        }
    }
}

/// Which lines: `PORTCULLIS_LOG`, in the words of `tracing`, such as `debug` or `portcullis_http=debug`. Until the log is
/// dropped, what it was told is written.
pub fn begin(form: Option<Form>) -> Log {
    let said = env::var("PORTCULLIS_LOG").ok().filter(|it| !it.is_empty());
    let said = said.and_then(|it| EnvFilter::try_new(it).ok());
    let is_terminal = io::stderr().is_terminal();
    let form = form.unwrap_or_else(|| Form::usual(is_terminal, said.is_some()));
    let filter = said.unwrap_or_else(|| EnvFilter::new(form.filter()));
    let paint = Paint::of(is_terminal);
    let (lines, waiting) = sync_channel(WAITING_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Lines { lines: lines.clone(), lost: Arc::clone(&lost) };
    let written = thread::Builder::new().name("log".to_owned());
    // Without its thread every line is lost, as on a standard error that is gone.
    drop(written.spawn(move || write(&waiting, &lost, &mut io::stderr())));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(paint.has_colours())
        .with_target(false)
        // A line that cannot be written is lost; a complaint about it would be one more.
        .log_internal_errors(false);
    match form {
        Form::Short => log.event_format(Short { paint, width: output::width_of_notes() }).init(),
        Form::Full => log.init(),
        Form::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(true).init(),
    }
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

    /// What a log of this form writes of some lines.
    fn written(form: Form, say: impl FnOnce()) -> String {
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let writer = Lines { lines, lost: Arc::default() };
        let log =
            tracing_subscriber::fmt().with_env_filter(EnvFilter::new(form.filter())).with_writer(writer);
        let short = log.event_format(Short { paint: Paint::NONE, width: Some(60) }).finish();
        tracing::subscriber::with_default(short, say);
        let mut text = vec![];
        write(&waiting, &AtomicU64::new(0), &mut text);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn event_is_a_short_line_and_a_fault_is_whole() {
        let said = written(Form::Short, || {
            let (target, grant) = ("/subscriptions/s/virtualMachines/web-1", "4f3kq-1");
            tracing::info!(target: "portcullis_host::up::relay", target, grant, "grant.opened");
            tracing::info!(target: "portcullis_http", status = 200, "A call was answered");
            tracing::info!(target: "portcullis_app::settle", target, "Rules were written");
            let why = "a reason of so many words that they do not fit into sixty columns";
            tracing::info!(target: "portcullis_host::up", why, "A thing");
            tracing::warn!(target: "portcullis_app::settle", target, why, "A target was not settled");
        });
        let lines: Vec<&str> = said.lines().map(|it| it.split_once("  ").expect("a time").1).collect();
        let wanted = [
            "grant.opened  web-1  4f3kq-1",
            "A thing  why=a reason of so many words that they …",
            "warning: A target was not settled  web-1  why=a reason of so many words that they do not fit into sixty columns",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn form_is_short_on_a_terminal_unless_lines_are_chosen() {
        assert_eq!(Form::usual(true, false), Form::Short);
        assert_eq!(Form::usual(true, true), Form::Full);
        assert_eq!(Form::usual(false, false), Form::Full);
    }

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
