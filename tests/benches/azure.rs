//! What guarding Azure costs, counted and measured on the simulated one: `cargo bench -p portcullis-tests
//! --bench azure`.
//!
//! Calls are counted by the cloud, so they are the same on every machine. Its writes are done at once here:
//! what is left of the time to open is ours.

use futures_util::future::join_all;
use portcullis_azure::Bounds;
use portcullis_domain::{Bands, Existing};
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
const SEED: u64 = 1;
const GUEST: &str = "203.0.113.9";
/// What median of the time to open is wanted, without the cloud's own.
const WANTED: Duration = Duration::from_millis(20);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("calls of Resource Manager: reads of security groups, other reads, writes");
    println!("{:<8} {:<8} {:>16} {:>16} {:>16}", "grants", "groups", "enable", "open", "close");
    for (grants, groups) in LIVES {
        runtime.block_on(life(grants, groups));
    }
    runtime.block_on(opening());
}

/// Calls of each kind.
#[derive(Clone, Copy)]
struct Calls {
    groups: usize,
    others: usize,
    writes: usize,
}

impl Calls {
    fn of(place: &AzurePlace) -> Self {
        let calls = place.azure.cloud.calls();
        let is_write = |method: &str| method == "PUT" || method == "DELETE";
        let writes = calls.iter().filter(|it| is_write(&it.method)).count();
        let is_group = |path: &str| path.to_ascii_lowercase().contains("/networksecuritygroups");
        let groups = calls.iter().filter(|it| !is_write(&it.method) && is_group(&it.path)).count();
        Self { groups, others: calls.len() - writes - groups, writes }
    }

    fn since(self, before: Self) -> String {
        let (groups, others) = (self.groups - before.groups, self.others - before.others);
        format!("{groups} + {others} + {}", self.writes - before.writes)
    }
}

async fn life(grants: u16, groups: u16) {
    let azure = Azure::with(|clock| Simcloud::farm(SEED, clock, groups, grants / groups));
    // Room for all: two rules that want one place are another round for one of them.
    let bands = Bands { allows: 100..2000, denies: 2000..4000, existing: Existing::Override };
    let place = AzurePlace::on(azure, Bounds { subscriptions: vec![], bands });
    let machines: Vec<String> = (0..grants).map(|n| format!("vm-{n:03}")).collect();
    let ids: Vec<_> = machines.iter().map(|it| place.id(it)).collect();
    let policy = given::ssh();
    let mut counted = vec![Calls::of(&place)];
    for enabled in join_all(ids.iter().map(|id| place.enable(id, &policy))).await {
        enabled.expect("enabled");
    }
    place.expire().await;
    counted.push(Calls::of(&place));
    for id in &ids {
        place.ask("ann", id, "22", &named(GUEST)).await;
    }
    place.expire().await;
    counted.push(Calls::of(&place));
    assert!(machines.iter().all(|it| place.passes(it, GUEST, 22)), "every grant is open");
    place.pass(LEASE);
    place.expire().await;
    counted.push(Calls::of(&place));
    assert!(!machines.iter().any(|it| place.passes(it, GUEST, 22)), "every grant is shut");
    let told: Vec<String> = counted.windows(2).map(|it| it[1].since(it[0])).collect();
    println!("{grants:<8} {groups:<8} {:>16} {:>16} {:>16}", told[0], told[1], told[2]);
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
