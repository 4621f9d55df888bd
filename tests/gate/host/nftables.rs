//! nftables passes the suite of every firewall, and a foreign hand in our table is noticed and healed.
//!
//! Every test runs in a network namespace of its own; which takes root and `nft`.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Reading, Steady, ports::Firewalls};
use portcullis_domain::{Lease, Owner, Packet, Rule, RuleSet, Snapshot, Sources, TargetId, diff};
use portcullis_local::{Clock, Established, Host};
use portcullis_tests::{
    contracts::firewalls,
    given::{self, named},
    network::is_alone,
};
use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

/// Our table, as `nft` names it.
const OURS: &str = "inet portcullis";

macro_rules! every_contract {
    ($($contract:ident),* $(,)?) => {
        mod contract {
            $(#[tokio::test]
            #[ignore = "needs nft"]
            async fn $contract() {
                if super::is_alone(concat!("nftables::contract::", stringify!($contract))) {
                    let host = super::host();
                    super::firewalls::$contract(&host, host.id(), super::now()).await;
                }
            })*
        }
    };
}

every_contract! {
    what_is_written_is_read, writing_twice_is_once, deleting_the_absent_succeeds, what_is_not_ours_stays,
    ours_lists_every_rule, ours_tells_what_a_rule_tells, what_is_there_is_not_gone, an_unknown_target_is_not_found,
}

fn host() -> Host {
    Host::here("machine", None, Established::Survive, Arc::new(Timestamp::now)).expect("a name")
}

fn now() -> Timestamp {
    Timestamp::now()
}

/// SSH is guarded, and one address has a lease.
fn wanted(id: &TargetId, from: &str) -> RuleSet {
    let target = portcullis_domain::Target::unguarded(id.clone());
    let guarded = target.set_policy(Some(given::ssh()), &named("owner"), None, now()).expect("new").target;
    let request = given::request("ann", "key", id.as_str(), now());
    let sources =
        Sources::try_from(from.split(',').map(str::to_owned).collect::<Vec<_>>()).expect("addresses");
    let grant = portcullis_domain::Grant { sources, ..given::grant(&request, id, now()) };
    guarded.grant(vec![grant], None, now()).target.rules(now())
}

async fn read(host: &Host) -> Snapshot {
    host.read(host.id()).await.unwrap_or_else(|error| panic!("{}", error.full()))
}

/// Brings the table to what is wanted; says whether there was anything to do.
async fn heal(host: &Host, wanted: &RuleSet) -> bool {
    let changes = diff(&read(host).await, &host.id().into(), wanted).changes;
    host.write(Some(host.id()), &changes).await.unwrap_or_else(|error| panic!("{}", error.full()));
    // What shuts is written first, and what opens after it.
    let opens = diff(&read(host).await, &host.id().into(), wanted).changes;
    host.write(Some(host.id()), &opens).await.unwrap_or_else(|error| panic!("{}", error.full()));
    let left = diff(&read(host).await, &host.id().into(), wanted);
    assert!(left.is_empty(), "{left:?}");
    !changes.is_empty()
}

fn nft(words: &str) -> String {
    let output = Command::new("nft").args(["-s", words]).output().expect("nft runs");
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
#[ignore = "needs nft"]
async fn a_change_by_another_party_is_noticed_and_healed() {
    if !is_alone("nftables::a_change_by_another_party_is_noticed_and_healed") {
        return;
    }
    let host = host();
    let wanted = wanted(host.id(), "198.51.100.1,2001:db8::/64");
    assert!(heal(&host, &wanted).await);
    let written = nft("list table inet portcullis");
    let set = written.lines().find_map(|it| it.trim().strip_prefix("set ")).expect("a set");
    let set = set.trim_end_matches(" {").to_owned();
    let handle = |what: &str| {
        let listed =
            Command::new("nft").args(["-a", "list table inet portcullis"]).output().expect("nft runs");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let line = listed.lines().find(|it| it.contains(what)).expect("listed").to_owned();
        line.rsplit("handle ").next().expect("a handle").to_owned()
    };
    let edits = [
        format!("flush table {OURS}"),
        format!("delete table {OURS}"),
        format!("insert rule {OURS} input tcp dport 22 accept"),
        format!("add rule {OURS} input tcp dport 80 drop"),
        format!("delete rule {OURS} arriving handle {{lock}}"),
        format!("flush chain {OURS} input"),
        format!("add element {OURS} {set} {{ 192.0.2.9 }}"),
        format!("add element {OURS} {set} {{ 192.0.2.9 timeout 9h }}"),
        format!("add element {OURS} {set} {{ 192.0.2.9 timeout 30m }}"),
        format!("delete element {OURS} {set} {{ 198.51.100.1 }}"),
        format!("flush set {OURS} {set}"),
        format!("add chain {OURS} other {{ type filter hook input priority -20 ; }}"),
        format!("add set {OURS} other {{ type ipv4_addr ; }}"),
        format!("add map {OURS} other {{ type ipv4_addr : verdict ; }}"),
        format!("add table {OURS} {{ flags dormant ; }}"),
    ];
    for edit in edits {
        let edit = if edit.contains("{lock}") { edit.replace("{lock}", &handle("drop")) } else { edit };
        nft(&edit);
        assert!(heal(&host, &wanted).await, "`{edit}` was not noticed");
        assert_eq!(
            nft("list table inet portcullis").lines().count(),
            written.lines().count(),
            "after `{edit}`"
        );
    }
    assert!(!heal(&host, &wanted).await, "nobody changed anything");
}

#[tokio::test]
#[ignore = "needs nft"]
async fn a_rule_changed_by_hand_counts_as_open() {
    if !is_alone("nftables::a_rule_changed_by_hand_counts_as_open") {
        return;
    }
    let host = host();
    heal(&host, &wanted(host.id(), "198.51.100.1")).await;
    let stranger = Packet { source: named("192.0.2.1"), protocol: named("tcp"), port: named("22") };
    let decide = async || read(&host).await.decide(&host.id().into(), &stranger);
    assert!(!decide().await.passes);
    nft("insert rule inet portcullis input tcp dport 22 accept");
    let decision = decide().await;
    assert!(decision.passes && decision.rule.contains("by hand"), "{decision:?}");
}

/// Who lost the data folder and renamed the machine must not find its ports open.
#[tokio::test]
#[ignore = "needs nft"]
async fn a_lock_of_another_name_of_this_machine_stays() {
    if !is_alone("nftables::a_lock_of_another_name_of_this_machine_stays") {
        return;
    }
    let before = host();
    heal(&before, &wanted(before.id(), "198.51.100.1")).await;
    let clock = Arc::new(Timestamp::now);
    let renamed = Host::here("renamed", None, Established::Survive, clock).expect("a name");
    let stray = |it: &portcullis_app::ports::OurRule| it.name.gate.is_none();
    let ours = renamed.ours().await.expect("listed");
    assert!(!ours.iter().any(stray), "nobody sweeps it away: {ours:?}");
    // Nor does it keep the new name from being guarded, also after a foreign hand was there.
    nft("insert rule inet portcullis input tcp dport 22 accept");
    heal(&renamed, &wanted(renamed.id(), "198.51.100.2")).await;
    let held = read(&renamed).await.firewalls.remove(0).ours;
    let locks = held.iter().filter(|(name, it)| name.gate.is_none() && it.rule.is_some()).count();
    assert_eq!((locks, held.len()), (2, 3), "{held:?}");
}

#[tokio::test]
#[ignore = "needs nft"]
async fn foreign_tables_stay_as_they_are() {
    if !is_alone("nftables::foreign_tables_stay_as_they_are") {
        return;
    }
    nft(
        "add table inet filter; add chain inet filter input { type filter hook input priority 0 ; policy drop ; }; \
        add rule inet filter input tcp dport 443 accept; add table ip nat",
    );
    let before = nft("list ruleset");
    let host = host();
    assert!(heal(&host, &wanted(host.id(), "0.0.0.0/0,::/0")).await);
    assert!(nft("list ruleset").starts_with(&before), "ours stands behind what was there");
    assert!(heal(&host, &RuleSet::new()).await);
    assert_eq!(nft("list ruleset"), before, "enable then disable is identity");
}

#[tokio::test]
#[ignore = "needs nft"]
async fn every_kind_of_source_reads_back() {
    if !is_alone("nftables::every_kind_of_source_reads_back") {
        return;
    }
    let host = host();
    for sources in [
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/0,::/0",
        "10.0.0.0/25,10.0.0.128/26,10.0.0.192/32",
        "255.255.255.255,0.0.0.0",
        "2001:db8::1,2001:db8::2,2001:db8::4/126,ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        let wanted = wanted(host.id(), sources);
        assert!(heal(&host, &wanted).await, "{sources}");
        assert!(!heal(&host, &wanted).await, "{sources}");
    }
}

#[tokio::test]
#[ignore = "needs nft"]
async fn the_kernel_shuts_by_itself() {
    if !is_alone("nftables::the_kernel_shuts_by_itself") {
        return;
    }
    let host = host();
    let end = now() + SignedDuration::from_secs(2);
    let until_end = |(name, rule)| match rule {
        Rule::Allow { gate, sources, until: _ } => (name, Rule::Allow { gate, sources, until: end }),
        Rule::Deny { .. } => (name, rule),
    };
    let wanted: RuleSet = wanted(host.id(), "198.51.100.1").into_iter().map(until_end).collect();
    let changes = diff(&read(&host).await, &host.id().into(), &wanted).changes;
    host.write(Some(host.id()), &changes).await.expect("written");
    let guest = Packet { source: named("198.51.100.1"), protocol: named("tcp"), port: named("22") };
    assert!(read(&host).await.decide(&host.id().into(), &guest).passes);
    // Nobody writes from here on.
    let shut_at = loop {
        let snapshot = read(&host).await;
        if !snapshot.decide(&host.id().into(), &guest).passes {
            break snapshot.read_at;
        }
        assert!(now() < end + SignedDuration::from_secs(10), "it is still open");
    };
    assert!(end <= shut_at && shut_at <= end + SignedDuration::from_secs(2), "{end} {shut_at}");
    let lock = wanted.into_iter().filter(|(name, _)| name.gate.is_none()).collect();
    assert!(
        diff(&read(&host).await, &host.id().into(), &lock).is_empty(),
        "what the kernel shut is no drift"
    );
}

/// A time as that of the program, by a wall clock that is set so many seconds off.
fn settable(offset: &Arc<AtomicI64>) -> Clock {
    let (began, set) = (Instant::now(), Arc::clone(offset));
    let reading = move || Reading {
        wall: Timestamp::now() + SignedDuration::from_secs(set.load(Ordering::Relaxed)),
        running: SignedDuration::try_from(began.elapsed()).expect("short"),
    };
    let steady = Mutex::new(Steady::begin(reading(), Timestamp::MIN).0);
    Arc::new(move || steady.lock().expect("whole").next(reading()).0)
}

/// SSH is guarded, and there is one lease of this length.
fn leased(id: &TargetId, length: SignedDuration, now: Timestamp) -> portcullis_domain::Target {
    let target = portcullis_domain::Target::unguarded(id.clone());
    let guarded = target.set_policy(Some(given::ssh()), &named("owner"), None, now).expect("new").target;
    let request = given::request("ann", "key", id.as_str(), now);
    let lease = Lease::starting(now, length).expect("short");
    let grant = portcullis_domain::Grant { lease, ..given::grant(&request, id, now) };
    guarded.grant(vec![grant], None, now).target
}

/// The kernel counts by a clock that nobody sets, and so does whoever decides what is drift.
///
/// INVARIANT (an-end-counts-by-both-clocks): else the lease would be written anew, for as long as the clock was set back.
#[tokio::test]
#[ignore = "needs nft"]
async fn what_the_kernel_shut_is_not_opened_anew_by_a_clock_that_is_set_back() {
    if !is_alone("nftables::what_the_kernel_shut_is_not_opened_anew_by_a_clock_that_is_set_back") {
        return;
    }
    let offset = Arc::new(AtomicI64::new(0));
    let clock = settable(&offset);
    let host = Host::here("machine", None, Established::Survive, Arc::clone(&clock)).expect("a name");
    let owner = Owner::from(host.id());
    let target = leased(host.id(), SignedDuration::from_secs(2), clock());
    assert!(heal(&host, &target.rules(clock())).await);
    let guest = Packet { source: named("198.51.100.1"), protocol: named("tcp"), port: named("22") };
    assert!(read(&host).await.decide(&owner, &guest).passes);
    offset.store(-600, Ordering::Relaxed);
    let give_up = Instant::now() + std::time::Duration::from_secs(10);
    while read(&host).await.decide(&owner, &guest).passes {
        assert!(Instant::now() < give_up, "the kernel does not shut it");
    }
    assert!(target.rules(clock()).iter().all(|(name, _)| name.gate.is_none()), "the lease is over here too");
    assert!(!heal(&host, &target.rules(clock())).await, "there is nothing to heal");
    assert!(!read(&host).await.decide(&owner, &guest).passes);
}

#[tokio::test]
#[ignore = "needs nft"]
async fn what_lasts_too_long_since_the_clock_was_set_forward_is_nobodys_change_and_is_written_anew() {
    if !is_alone(
        "nftables::what_lasts_too_long_since_the_clock_was_set_forward_is_nobodys_change_and_is_written_anew",
    ) {
        return;
    }
    let offset = Arc::new(AtomicI64::new(0));
    let clock = settable(&offset);
    let host = Host::here("machine", None, Established::Survive, Arc::clone(&clock)).expect("a name");
    let wanted = leased(host.id(), SignedDuration::from_hours(1), clock()).rules(clock());
    assert!(heal(&host, &wanted).await);
    let before = read(&host).await;
    assert!(before.outlasting.is_empty(), "{before:?}");
    offset.store(1_800, Ordering::Relaxed);
    let after = read(&host).await;
    assert_eq!(after.firewalls, before.firewalls, "nobody changed anything");
    assert_eq!(after.outlasting.len(), 1);
    assert!(heal(&host, &wanted).await, "it would be shut half an hour late");
    assert!(read(&host).await.outlasting.is_empty());
    assert!(!heal(&host, &wanted).await);
    // A hand that makes it last longer is one all the same.
    let written = nft("list table inet portcullis");
    let set = written.lines().find_map(|it| it.trim().strip_prefix("set ")).expect("a set");
    let set = set.trim_end_matches(" {");
    nft(&format!("add element {OURS} {set} {{ 192.0.2.9 timeout 9h }}"));
    assert_ne!(read(&host).await.firewalls, before.firewalls);
    assert!(heal(&host, &wanted).await);
}
