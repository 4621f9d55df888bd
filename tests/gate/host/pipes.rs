//! A command whose reader goes away, as `| head` does, ends as the tools of a shell end: in silence, by its code.

use portcullis_tests::binary::{Up, text};
use std::{
    io::{self, BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What a shell gives for a program that SIGPIPE ended.
const UNREAD: i32 = 141;
/// How long a command may go on once it has no reader.
const END_MAX: Duration = Duration::from_secs(20);

/// The end of a pipe that has no reader from the first byte on.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn every_command_without_a_reader_ends_in_silence_with_the_code_of_a_shells_tools() {
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    up.json(&["request", "db-1", "--from", "203.0.113.9", "--wait"]);
    let tool = Command::new("seq").arg("9").stdout(closed()).status().expect("runs");
    assert_eq!(tool.signal().map(|it| 128 + it), Some(UNREAD));
    for words in [
        "export --out -",
        "export --format flat-jsonl --out -",
        "export --format csv --out -",
        "export --format grants-csv --out -",
        "activity db-1",
        "activity db-1 --json",
        "activity db-1 --csv",
        "events",
        "events --json",
        "events --follow --since 1h",
        "grants --all",
        "grants --all --json",
        "requests",
        "requests --json",
        "targets",
        "targets --json",
        "plan web-1",
        "check db-1 22 --from 203.0.113.9",
        "explain db-1 --from 203.0.113.9",
        "adopt",
        "doctor",
        "verify",
        "whoami",
        "profiles",
        "token list",
        "role azure",
        "completions bash",
        "man",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = up.client().args(&words).stdout(closed()).stderr(Stdio::piped()).output().expect("runs");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(UNREAD), String::new()), "{words:?}");
    }
}

#[test]
fn following_events_ends_once_the_reader_has_its_lines() {
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    let mut following = up.client();
    let following = following.args(["events", "--follow", "--since", "1h", "--json"]).stdout(Stdio::piped());
    let mut following = following.stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    assert!(lines.next().expect("a line").expect("text").starts_with('{'));
    drop(lines);
    let start = Instant::now();
    let status = loop {
        // It finds out where it next has something to print.
        up.json(&["request", "db-1", "--from", "203.0.113.9", "--for", "10m"]);
        if let Some(status) = following.try_wait().expect("looked at") {
            break status;
        }
        assert!(start.elapsed() < END_MAX, "it follows on without a reader");
        thread::sleep(Duration::from_millis(300));
    };
    let told = io::read_to_string(following.stderr.take().expect("piped")).expect("text");
    assert_eq!((status.code(), told), (Some(UNREAD), String::new()));
}

#[test]
fn request_without_a_reader_is_granted_all_the_same() {
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    let words = ["request", "db-1", "--from", "203.0.113.9"];
    let status = up.client().args(words).stdout(closed()).status().expect("runs");
    assert_eq!(status.code(), Some(UNREAD));
    assert_eq!(up.json(&["grants"]).as_array().map(Vec::len), Some(1));
}
