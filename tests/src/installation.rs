//! The real program, with every machine of a remote Azure guarded, and leases whose lateness packets tell.

use crate::{
    api::{Api, Granted},
    binary::Up,
    lateness::{Lateness, Watched, watch},
    remote_azure::RemoteAzure,
};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long the shut port of a lease is watched: it may open again.
const QUIET: Duration = Duration::from_secs(3);
/// How long leases are observed after the last of them has ended.
const OBSERVED_MAX: Duration = Duration::from_mins(2);
/// How long firewalls may take for a change while nothing is wrong.
const SETTLED_MAX: Duration = Duration::from_mins(2);
/// How often something is waited for.
const POLL: Duration = Duration::from_millis(20);

/// The program and its cloud.
#[derive(Debug)]
pub struct Installation {
    /// The program. It is dropped first.
    pub up: Up,
    /// Its operator.
    pub operator: Api,
    /// Its cloud.
    pub azure: RemoteAzure,
    /// Its data folder.
    pub data: tempfile::TempDir,
}

impl Installation {
    /// On a quick cloud of so many security groups with so many machines each, all of them guarded.
    pub fn farm(groups: u16, machines_per_group: u16) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let azure = RemoteAzure::farm(groups, machines_per_group);
        let up = azure.up(data.path(), &[], &[]);
        let operator = Api::operator(up.url(), data.path());
        let it = Self { up, operator, azure, data };
        it.guard(groups * machines_per_group);
        it
    }

    /// The same on a cloud that is there and with a program that is up; `seen` is the data folder as the test sees it.
    pub fn of(azure: RemoteAzure, up: Up, data: tempfile::TempDir, seen: &Path, machines: u16) -> Self {
        let operator = Api::operator(up.url(), seen);
        let it = Self { up, operator, azure, data };
        it.guard(machines);
        it
    }

    fn guard(&self, machines: u16) {
        for machine in 0..usize::from(machines) {
            self.operator.enable(&self.azure.target(machine));
        }
        for machine in 0..usize::from(machines) {
            let target = self.azure.target(machine);
            wait_for("the lock to be read back", || self.operator.is_settled(&target));
        }
    }

    /// A lease of a machine that lets packets pass.
    pub fn open(&self, machine: usize, seconds: u64) -> Watched {
        let from = guest(machine);
        let Granted { end, .. } = self.operator.lease(&self.azure.target(machine), &from, seconds);
        let lease = Watched { machine, from, end };
        wait_for("the lease to open", || self.azure.passes(lease.machine, &lease.from));
        lease
    }

    /// Leases of `count` machines, which end `apart` seconds one after another, the first after `first` seconds.
    pub fn open_many(&self, count: u16, first: u64, apart: u64) -> Vec<Watched> {
        let ends = (0..).map(|n| first + n * apart);
        ends.zip(0..usize::from(count)).map(|(seconds, machine)| self.open(machine, seconds)).collect()
    }

    /// Watches leases until they are shut and stay so.
    pub fn watch(&self, leases: &[Watched]) -> Vec<Lateness> {
        let last = leases.iter().map(|it| it.end).max().expect("a lease");
        let left = Duration::try_from(last.duration_since(jiff::Timestamp::now())).unwrap_or_default();
        watch(&self.azure, leases, QUIET, left + OBSERVED_MAX)
    }
}

/// The address that a lease of a machine admits, one for each of the first 250 machines.
pub fn guest(machine: usize) -> String {
    format!("203.0.113.{}", machine + 1)
}

/// Waits for something that must come about.
pub fn wait_for(event: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SETTLED_MAX, "waited {SETTLED_MAX:?} for {event}");
        thread::sleep(POLL);
    }
}
