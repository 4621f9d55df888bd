//! The contract of [`Firewalls`], as its doc comment says it. Every function begins with a target that
//! can be guarded and that nothing of ours guards yet.

use crate::given::{self, at, named};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    Error,
    ports::{Firewalls, Inventory},
};
use portcullis_domain::{Change, ChangeTo, Packet, Rule, RuleSet, Snapshot, Target, TargetId, diff};
use std::net::IpAddr;

/// Who has a lease in these contracts, and who has none.
const GUEST: &str = "198.51.100.1";
const STRANGER: &str = "198.51.100.2";

/// Writes bring what is held to what is wanted: shut for everybody, open for one source, shut again.
pub async fn what_is_written_is_read(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    let (shut, open) = (shut(id, now), open(id, now));
    make(firewalls, id, &shut).await;
    assert!(!passes(&read(firewalls, id).await, id, GUEST));
    make(firewalls, id, &open).await;
    let snapshot = read(firewalls, id).await;
    assert!(passes(&snapshot, id, GUEST) && !passes(&snapshot, id, STRANGER));
    assert!(diff(&snapshot, &id.into(), &open).is_empty());
    make(firewalls, id, &shut).await;
    assert!(!passes(&read(firewalls, id).await, id, GUEST));
}

/// The same changes again are no error and change nothing.
pub async fn writing_twice_is_once(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    let changes = diff(&read(firewalls, id).await, &id.into(), &open(id, now)).changes;
    done(firewalls.write(Some(id), &changes).await);
    let once = held(&read(firewalls, id).await);
    done(firewalls.write(Some(id), &changes).await);
    assert_eq!(held(&read(firewalls, id).await), once);
}

/// Deleting what is not there succeeds, the first time and the second.
pub async fn deleting_the_absent_succeeds(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    let before = held(&read(firewalls, id).await);
    make(firewalls, id, &shut(id, now)).await;
    let changes = diff(&read(firewalls, id).await, &id.into(), &RuleSet::new()).changes;
    assert!(!changes.is_empty());
    done(firewalls.write(Some(id), &changes).await);
    done(firewalls.write(Some(id), &changes).await);
    assert_eq!(held(&read(firewalls, id).await), before);
}

/// After everything of ours is gone, the firewall is what it was.
pub async fn what_is_not_ours_stays(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    let before = held(&read(firewalls, id).await);
    make(firewalls, id, &open(id, now)).await;
    assert_eq!(held(&read(firewalls, id).await).0, before.0, "foreign rules, while ours are there");
    make(firewalls, id, &RuleSet::new()).await;
    assert_eq!(held(&read(firewalls, id).await), before);
}

/// Every rule of ours is listed, wherever it is.
pub async fn ours_lists_every_rule(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    assert_eq!(listed(firewalls, id).await, Vec::<String>::new());
    make(firewalls, id, &open(id, now)).await;
    let snapshot = read(firewalls, id).await;
    let mut held: Vec<String> = vec![];
    for firewall in &snapshot.firewalls {
        held.extend(firewall.of(&id.into()).map(|(name, _)| format!("{name} in {}", firewall.id)));
    }
    held.sort();
    assert_eq!(listed(firewalls, id).await, held);
    make(firewalls, id, &RuleSet::new()).await;
    assert_eq!(listed(firewalls, id).await, Vec::<String>::new());
}

/// Whoever finds a rule of ours knows until when an allow is wanted, and which machine a lock is for: also who has
/// no other record of either.
pub async fn ours_tells_what_a_rule_tells(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    let wanted = open(id, now);
    make(firewalls, id, &wanted).await;
    let ours = firewalls.ours().await.unwrap_or_else(|error| panic!("{}", error.full()));
    let mut told = (false, false);
    for it in ours.into_iter().filter(|it| it.name.owner == id.into()) {
        match wanted.get(&it.name).expect("wanted") {
            Rule::Allow { until, .. } => {
                told.0 = true;
                assert_eq!((it.until, it.machine), (Some(*until), None), "{}", it.name);
            }
            Rule::Deny { .. } => {
                told.1 = true;
                assert_eq!((it.until, it.machine.as_ref()), (None, Some(id)), "{}", it.name);
            }
        }
    }
    assert_eq!(told, (true, true), "both are listed");
    make(firewalls, id, &RuleSet::new()).await;
}

/// What is there is not said to be gone; where nobody can tell, it may be there.
pub async fn what_is_there_is_not_gone(inventory: &impl Inventory, id: &TargetId, _: Timestamp) {
    let is_gone = inventory.is_gone(id).await.unwrap_or_else(|error| panic!("{}", error.full()));
    assert!(!is_gone, "{id}");
}

/// A target that is not there is said to be not there.
pub async fn an_unknown_target_is_not_found(firewalls: &impl Firewalls, _: &TargetId, _: Timestamp) {
    let outcome = firewalls.read(&named("nobody-knows-it")).await;
    assert!(matches!(outcome, Err(Error::NotFound { .. })), "{outcome:?}");
}

/// Where rules have versions, a write over something else than what was read conflicts.
pub async fn a_stale_version_conflicts(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    make(firewalls, id, &open(id, now)).await;
    let mut stale = diff(&read(firewalls, id).await, &id.into(), &RuleSet::new()).changes;
    // The lock will say the same again, and is then what was read.
    stale.retain(|it| it.name.gate.is_some() && it.if_match.is_some());
    if stale.is_empty() {
        return;
    }
    make(firewalls, id, &RuleSet::new()).await;
    make(firewalls, id, &open(id, now + SignedDuration::from_secs(1))).await;
    let before = held(&read(firewalls, id).await);
    for change in stale {
        let outcome = firewalls.write(Some(id), &[change]).await;
        assert!(matches!(outcome, Err(Error::Conflict)), "{outcome:?}");
    }
    assert_eq!(held(&read(firewalls, id).await), before);
}

/// Where rules have versions, no two rules stand at one priority.
pub async fn a_priority_is_used_once(firewalls: &impl Firewalls, id: &TargetId, now: Timestamp) {
    make(firewalls, id, &shut(id, now)).await;
    let snapshot = read(firewalls, id).await;
    let (lockdown, taken) = snapshot.firewalls[0].ours.first_key_value().expect("the lockdown");
    if taken.etag.is_none() {
        return;
    }
    let (name, rule) = open(id, now).into_iter().find(|(name, _)| name != lockdown).expect("an allow");
    let to = ChangeTo::Put { rule, priority: taken.priority };
    let change = Change { firewall: snapshot.firewalls[0].id.clone(), name, if_match: None, to };
    let outcome = firewalls.write(Some(id), &[change]).await;
    assert!(matches!(outcome, Err(Error::Conflict)), "{outcome:?}");
}

fn shut(id: &TargetId, now: Timestamp) -> RuleSet {
    guarded(id, now).rules(now)
}

fn open(id: &TargetId, now: Timestamp) -> RuleSet {
    let request = given::request("ann", "key", id.as_str(), now);
    guarded(id, now).grant(vec![given::grant(&request, id, now)], None, now).target.rules(now)
}

fn guarded(id: &TargetId, now: Timestamp) -> Target {
    let target = Target::unguarded(id.clone());
    target.set_policy(Some(given::ssh()), &given::person("owner"), None, now).expect("new").target
}

async fn read(firewalls: &impl Firewalls, id: &TargetId) -> Snapshot {
    firewalls.read(id).await.unwrap_or_else(|error| panic!("{}", error.full()))
}

/// Brings what is held to what is wanted.
async fn make(firewalls: &impl Firewalls, id: &TargetId, wanted: &RuleSet) {
    let diff = diff(&read(firewalls, id).await, &id.into(), wanted);
    assert_eq!(diff.unplaced, vec![]);
    done(firewalls.write(Some(id), &diff.changes).await);
    let after = portcullis_domain::diff(&read(firewalls, id).await, &id.into(), wanted);
    assert!(after.is_empty(), "still to do: {after:?}");
}

/// What is held apart from times and versions: foreign rules, and ours.
fn held(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    let (mut foreign, mut ours) = (vec![], vec![]);
    for it in &snapshot.firewalls {
        foreign.extend(it.foreign.iter().map(|rule| format!("{rule:?} in {}", it.id)));
        let rules = it.ours.iter();
        ours.extend(
            rules.map(|(name, held)| format!("{name} at {}: {:?} in {}", held.priority, held.rule, it.id)),
        );
    }
    (foreign, ours)
}

async fn listed(firewalls: &impl Firewalls, id: &TargetId) -> Vec<String> {
    let ours = firewalls.ours().await.unwrap_or_else(|error| panic!("{}", error.full()));
    let ours = ours.into_iter().filter(|it| it.name.owner == id.into());
    let mut listed: Vec<_> = ours.map(|it| format!("{} in {}", it.name, it.firewall)).collect();
    listed.sort();
    listed
}

fn passes(snapshot: &Snapshot, id: &TargetId, from: &str) -> bool {
    let source: IpAddr = named(from);
    let packet = Packet { source, protocol: named("tcp"), port: named("22") };
    snapshot.decide(&id.into(), &packet).passes
}

fn done(outcome: Result<(), Error>) {
    outcome.unwrap_or_else(|error| panic!("{}", error.full()));
}

/// When these contracts are checked where nothing shuts by itself.
pub fn any_time() -> Timestamp {
    at(0)
}
