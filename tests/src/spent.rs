//! What a process has spent, as the kernel tells it.

use std::{fs, time::Duration};

/// How much memory it had at most until now, in bytes.
pub fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a status");
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).expect("its memory");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// How much of a processor it had, if all of its threads wait: of one that runs the kernel tells what it had when it
/// last looked.
pub fn cpu_at_rest(process: u32) -> Option<Duration> {
    let mut spent = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task")).expect("threads") {
        // One that ends meanwhile is no longer there.
        let thread = thread.ok()?.path();
        let stat = fs::read_to_string(thread.join("stat")).ok()?;
        // The state stands after the name, which is in parentheses.
        if !stat.rsplit_once(") ")?.1.starts_with('S') {
            return None;
        }
        let nanoseconds = fs::read_to_string(thread.join("schedstat")).ok()?;
        spent += Duration::from_nanos(nanoseconds.split(' ').next()?.parse().ok()?);
    }
    Some(spent)
}
