//! A stop of the real program: what it leaves open is named, and closed by the next start.

use portcullis_tests::binary::{Up, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const VISITOR: &str = "203.0.113.9";
const WAIT_MAX: Duration = Duration::from_secs(30);
const OPTIONS: [&str; 2] = ["--lease-min", "1s"];
const LEFT: &str = "No process closes these leases until `up` runs again";

/// Starts it, tells it to stop once it serves, and gives what it printed and what it logged.
fn stopped(data: &Path) -> (String, String) {
    let files = ["printed", "logged"].map(|it| data.join(it));
    let [printed, logged] = files.each_ref().map(|it| File::create(it).expect("made"));
    let mut command = Command::new(program());
    command.arg("up").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]).args(OPTIONS);
    let mut process = command.stdin(Stdio::null()).stdout(printed).stderr(logged).spawn().expect("starts");
    let start = Instant::now();
    let read = |n: usize| fs::read_to_string(&files[n]).expect("reads");
    while !read(0).contains("Stop with Ctrl-C") {
        assert!(start.elapsed() < WAIT_MAX, "it is not up: {}", read(1));
        thread::sleep(Duration::from_millis(50));
    }
    // It listens for signals a moment after its greeting.
    thread::sleep(Duration::from_millis(500));
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::TERM).expect("SIGTERM");
    assert!(process.wait().expect("ends").success(), "{}", read(1));
    (read(0), read(1))
}

#[test]
fn a_stop_names_the_leases_that_it_leaves_open_and_the_next_start_closes_what_is_over() {
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &OPTIONS, &[]);
    let ask = ["request", "db-1:22", "--from", VISITOR, "--for", "10s", "--wait"];
    let end = up.json(&ask)["grants"][0]["end"].clone();
    let end: jiff::Timestamp = end.as_str().expect("text").parse().expect("a time");
    up.kill();
    let (printed, logged) = stopped(data.path());
    let line = printed.lines().find(|it| it.contains("22/tcp of db-1")).expect("it is named");
    assert!(printed.contains(LEFT) && line.contains(&end.to_string()), "{printed}");
    assert!(line.contains("the port stays open in Azure"), "{line}");
    let line = logged.lines().find(|it| it.contains("A lease is left open")).expect("it is logged");
    assert!(line.contains("22/tcp") && line.contains("virtualmachines/db-1"), "{line}");
    while jiff::Timestamp::now() < end {
        thread::sleep(Duration::from_millis(100));
    }
    let up = Up::start(data.path(), &OPTIONS, &[]);
    assert!(!up.packet_passes("db-1", VISITOR, 22));
    let grants: Value = up.json(&["grants", "--all"]);
    assert_eq!(grants[0]["state"], "closed", "{grants}");
    up.kill();
    let (printed, logged) = stopped(data.path());
    assert!(!printed.contains(LEFT) && !logged.contains("left open"), "{printed}{logged}");
}
