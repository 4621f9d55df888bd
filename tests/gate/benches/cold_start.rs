//! How soon each function is ready, against one that does nothing: `cargo bench --workspace --bench
//! cold_start`.
//!
//! All are built as they are deployed and started in turn, so that whatever else the machine does meets all of them.
//! What is compared is processor time: before its first poll a function waits for nothing, so on a machine of
//! its own that is the time on the clock. The median of many rounds stands against the median of the empty one.

use portcullis_tests::{
    built::{FUNCTIONS, How, built},
    cold::{RuntimeApi, Start, environment},
};
use std::{fs, path::PathBuf, time::Duration};

/// How often each is started.
const ROUNDS: usize = 201;
/// How often before that, uncounted: until each is in memory.
const WARM_UP: usize = 5;
/// How much longer than the empty one a function may take.
const WANTED: f64 = 1.25;
/// What infra/azure gives, for a login that asks nobody before it is needed.
const GIVEN: [(&str, &str); 2] = [
    ("AzureTenant", "11111111-1111-4111-8111-111111111111"),
    ("AzureClient", "22222222-2222-4222-8222-222222222222"),
];
const EMPTY: &str = "empty";
/// What AWS's own SDK takes: no function is without it.
const SDK: &str = "sdk";

fn main() {
    let names: Vec<&str> = [EMPTY, SDK].into_iter().chain(FUNCTIONS).collect();
    let folder = tempfile::tempdir().expect("a folder");
    // As a deployment writes them, from the first byte to the last: how a linker wrote a file is how the kernel
    // keeps it.
    let deployed = |(name, file): (&&str, PathBuf)| {
        let copy = folder.path().join(name);
        fs::copy(file, &copy).expect("copied");
        copy
    };
    let files: Vec<PathBuf> = names.iter().zip(built(&names, How::AsDeployed)).map(deployed).collect();
    let api = RuntimeApi::listen();
    let environments: Vec<_> = names.iter().map(|it| environment(it, &GIVEN)).collect();
    let mut starts: Vec<Vec<Start>> = vec![vec![]; names.len()];
    for round in 0..WARM_UP + ROUNDS {
        for turn in 0..names.len() {
            // Each one comes after each other one.
            let n = (round + turn) % names.len();
            let start = api.start(&files[n], &environments[n]);
            if WARM_UP <= round {
                starts[n].push(start);
            }
        }
    }
    println!(
        "{:<10} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "function", "binary", "memory", "clock", "cpu", "to empty", "wanted"
    );
    let mut slow = vec![];
    let empty = median(&starts[0], |it| it.cpu);
    for ((name, file), starts) in names.iter().zip(&files).zip(&starts) {
        let size = fs::metadata(file).expect("a file").len();
        let memory = starts.iter().map(|it| it.memory).max().expect("started");
        let (clock, cpu) = (median(starts, |it| it.time), median(starts, |it| it.cpu));
        let ratio = cpu.as_secs_f64() / empty.as_secs_f64();
        let is_ours = FUNCTIONS.contains(name);
        let wanted = if is_ours { format!("<= {WANTED}") } else { String::new() };
        println!(
            "{name:<10} {:>8.1} MB {:>6.1} MB {:>6.2} ms {:>6.2} ms {ratio:>9.2} {wanted:>9}",
            megabytes(size),
            megabytes(memory),
            millis(clock),
            millis(cpu),
        );
        if is_ours && WANTED < ratio {
            slow.push(*name);
        }
    }
    assert!(slow.is_empty(), "slower than {WANTED} times the empty one: {slow:?}");
}

fn median(starts: &[Start], of: impl Fn(&Start) -> Duration) -> Duration {
    let mut times: Vec<Duration> = starts.iter().map(of).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "no program has 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
