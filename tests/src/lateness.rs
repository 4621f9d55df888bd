//! How late leases close, as packets tell: the lateness of a lease is the time from its end to the last moment at which
//! a packet of its source still passed.

use crate::remote_azure::RemoteAzure;
use jiff::Timestamp;
use std::{
    thread,
    time::{Duration, Instant},
};

/// How often packets are sent.
const EVERY: Duration = Duration::from_millis(10);

/// A lease that is watched.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The number of its machine.
    pub machine: usize,
    /// Its source.
    pub from: String,
    /// Its end.
    pub end: Timestamp,
}

/// How late a lease closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lateness {
    /// In seconds; zero where nothing passed after its end.
    pub seconds: f64,
    /// Did packets still pass when the observation ended?
    pub is_open: bool,
}

/// Watches leases until none of them has let a packet through for `quiet` after its end, but for `at_most`. The
/// lateness of each, in their order.
pub fn watch(azure: &RemoteAzure, leases: &[Watched], quiet: Duration, at_most: Duration) -> Vec<Lateness> {
    let start = Instant::now();
    let quiet = quiet.as_secs_f64();
    let mut last: Vec<f64> = vec![0.0; leases.len()];
    loop {
        let mut is_quiet = true;
        let mut late = vec![];
        for (lease, last) in leases.iter().zip(&mut last) {
            let after_end = Timestamp::now().duration_since(lease.end).as_secs_f64();
            let passes = azure.passes(lease.machine, &lease.from);
            if passes && 0.0 < after_end {
                *last = after_end;
            }
            is_quiet &= quiet <= after_end - *last;
            late.push(Lateness { seconds: *last, is_open: passes });
        }
        if is_quiet || at_most < start.elapsed() {
            return late;
        }
        thread::sleep(EVERY);
    }
}

/// The worst of them, open ones first.
pub fn worst(late: &[Lateness]) -> Lateness {
    let none = Lateness { seconds: 0.0, is_open: false };
    late.iter().copied().fold(none, |worst, it| Lateness {
        seconds: worst.seconds.max(it.seconds),
        is_open: worst.is_open || it.is_open,
    })
}
