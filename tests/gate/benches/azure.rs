//! What guarding Azure costs, counted and measured on the simulated one: `cargo bench --workspace
//! --bench azure`.
//!
//! Calls are counted by the cloud, so they are the same on every machine. Its writes are done at once here:
//! what is left of the time to open is ours.

use futures_util::future::join_all;
use jiff::SignedDuration;
use portcullis_azure::Bounds;
use portcullis_domain::{Bands, Existing, TargetId};
use portcullis_simcloud::Simcloud;
use portcullis_tests::{
    azure::Azure,
    azure_place::{AzurePlace, LEASE},
    given::{self, named},
};
use std::time::{Duration, Instant};

/// How often opening is measured.
const ROUNDS: usize = 51;
/// How many grants are due together, on how many security groups; each on a machine of its own.
const LIVES: [(u16, u16); 5] = [(1, 1), (10, 1), (100, 1), (10, 10), (100, 10)];
/// How many grants are due together behind one firewall, each on a machine of its own.
const BEHIND_FIREWALL: [u16; 3] = [1, 10, 100];
/// How often what is due is done until all is: two who want one place at the same time are due again.
const SETTLES_MAX: usize = 5;
const SEED: u64 = 1;
const GUEST: &str = "203.0.113.9";
/// What median of the time to open is wanted, without the cloud's own.
const WANTED: Duration = Duration::from_millis(20);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("calls of Resource Manager: reads of security groups, other reads, writes");
    println!("{:<8} {:<8} {:>16} {:>16} {:>16}", "grants", "groups", "enable", "open", "close");
    for (grants, groups) in LIVES {
        let azure = Azure::with(|clock| Simcloud::farm(SEED, clock, groups, grants / groups));
        let told = runtime.block_on(life(azure, grants)).map(Calls::direct);
        println!("{grants:<8} {groups:<8} {:>16} {:>16} {:>16}", told[0], told[1], told[2]);
    }
    println!("\nbehind one firewall with classic rules: the same, and writes of the firewall");
    println!("{:<8} {:>20} {:>20} {:>20}", "grants", "enable", "open", "close");
    for grants in BEHIND_FIREWALL {
        let azure = Azure::with(|clock| Simcloud::farm_behind_firewall(SEED, clock, grants));
        let told = runtime.block_on(life(azure, grants)).map(Calls::behind_firewall);
        println!("{grants:<8} {:>20} {:>20} {:>20}", told[0], told[1], told[2]);
    }
    runtime.block_on(opening());
}

/// Calls of each kind.
#[derive(Clone, Copy)]
struct Calls {
    groups: usize,
    others: usize,
    writes: usize,
    walls: usize,
}

impl Calls {
    fn of(place: &AzurePlace) -> Self {
        let calls = place.azure.cloud.calls();
        let is_write = |method: &str| method == "PUT" || method == "DELETE";
        let is_at = |path: &str, what: &str| path.to_ascii_lowercase().contains(what);
        let all_writes = calls.iter().filter(|it| is_write(&it.method)).count();
        let walls =
            calls.iter().filter(|it| is_write(&it.method) && is_at(&it.path, "/azurefirewalls/")).count();
        let is_group = |path: &str| is_at(path, "/networksecuritygroups");
        let groups = calls.iter().filter(|it| !is_write(&it.method) && is_group(&it.path)).count();
        Self { groups, others: calls.len() - all_writes - groups, writes: all_writes - walls, walls }
    }

    fn since(self, before: Self) -> Self {
        Self {
            groups: self.groups - before.groups,
            others: self.others - before.others,
            writes: self.writes - before.writes,
            walls: self.walls - before.walls,
        }
    }

    fn direct(self) -> String {
        assert_eq!(self.walls, 0, "there is no firewall");
        format!("{} + {} + {}", self.groups, self.others, self.writes)
    }

    fn behind_firewall(self) -> String {
        format!("{} + {} + {} + {}", self.groups, self.others, self.writes, self.walls)
    }
}

/// What enabling, opening and closing cost.
async fn life(azure: Azure, grants: u16) -> [Calls; 3] {
    // Room for all.
    let bands = Bands { allows: 100..2000, denies: 2000..4000, existing: Existing::Override };
    let place = AzurePlace::on(azure, Bounds { subscriptions: vec![], bands });
    let machines: Vec<String> = (0..grants).map(|n| format!("vm-{n:03}")).collect();
    let ids: Vec<_> = machines.iter().map(|it| place.id(it)).collect();
    let policy = given::ssh();
    let first = Calls::of(&place);
    for enabled in join_all(ids.iter().map(|id| place.enable(id, &policy))).await {
        enabled.expect("enabled");
    }
    settle(&place, &ids).await;
    let enabled = Calls::of(&place);
    for id in &ids {
        place.ask("ann", id, "22", &named(GUEST)).await;
    }
    settle(&place, &ids).await;
    let opened = Calls::of(&place);
    assert!(machines.iter().all(|it| place.passes(it, GUEST, 22)), "every grant is open");
    place.pass(LEASE);
    settle(&place, &ids).await;
    let closed = Calls::of(&place);
    assert!(!machines.iter().any(|it| place.passes(it, GUEST, 22)), "every grant is shut");
    [enabled.since(first), opened.since(enabled), closed.since(opened)]
}

/// Does what is due, and what is due again a moment later.
async fn settle(place: &AzurePlace, ids: &[TargetId]) {
    for _ in 0..SETTLES_MAX {
        place.expire().await;
        let mut rest = 0;
        for id in ids {
            rest += usize::from(!place.target(id).await.is_settled(place.now()));
        }
        if rest == 0 {
            return;
        }
        place.pass(SignedDuration::from_secs(1));
    }
    panic!("not settled after {SETTLES_MAX} seconds");
}

/// From the ask to the read-back that shows it open.
async fn opening() {
    let place = AzurePlace::new(SEED);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let mut times = vec![];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let grant = place.open("ann", &id, "22", GUEST).await;
        times.push(start.elapsed());
        assert!(place.passes("web-1", GUEST, 22));
        place.close(&grant).await;
    }
    times.sort_unstable();
    let (median, worst) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    println!(
        "\nfrom the ask to open, without the cloud's own time: {median:.1?} median, {worst:.1?} worst of {ROUNDS}"
    );
    assert!(median < WANTED, "wanted is less than {WANTED:?}");
}
