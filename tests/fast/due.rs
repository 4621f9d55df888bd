//! When somebody has to look at a target: told by the target alone, and never too late or too often.

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Action, AddressSet, Bands, CLOSED_AT_ONCE_MAX, Existing, Fact, Families, Firewall, FirewallKind, Foreign,
    Grant, GrantState, Held, LOOK_AGAIN, Lease, Pass, Protocol, RETRY_OVERDUE_MAX, Request, Review, Snapshot,
    Sources, Standing, Target, Terms, Waits, What, diff, review,
};
use portcullis_tests::given::{self, at, guarded, named, person};

const MILLIS: SignedDuration = SignedDuration::from_millis(100);
/// How long before its end somebody is told that a lease of an hour is nearly over.
const SOON: SignedDuration = SignedDuration::from_mins(5);

/// A firewall that holds what it must for `target` at `now`, and a foreign rule above it that lets everybody in.
fn defeated(target: &Target, now: Timestamp) -> Firewall {
    let held = |(n, (name, rule)): (usize, (_, _))| {
        let priority = 200 + u16::try_from(n).expect("few");
        (name, Held { rule: Some(rule), priority, beside: vec![], etag: None })
    };
    let anybody = Foreign {
        name: "anybody".to_owned(),
        priority: 50,
        action: Action::Allow,
        protocol: Protocol::Any,
        sources: Sources::anywhere(),
        unsure: Sources::default(),
        ports: vec![22..=22],
        to: Sources::anywhere(),
        is_general: false,
    };
    Firewall {
        id: named("nsg"),
        kind: FirewallKind::Ordered { otherwise: Action::Deny },
        bands: Bands { allows: 200..300, denies: 200..300, existing: Existing::Override },
        inside: AddressSet::default(),
        families: Families::BOTH,
        ours: target.rules(now).into_iter().enumerate().map(held).collect(),
        foreign: vec![anybody],
    }
}

/// One worker's whole work: decides at `now`, and sees at `read_at` that the lock is defeated.
fn settled(target: Target, now: Timestamp, read_at: Timestamp) -> Target {
    let firewall = defeated(&target, now);
    let claimed = target.claim(&named("worker"), now).target;
    let seen = Snapshot::of(read_at, vec![firewall]);
    let decided = claimed.rules(now);
    claimed.confirm(&seen, false, &decided, now).target
}

/// A target whose lock is defeated for so long that the looks at it are as far apart as they get.
fn long_missed() -> (Target, Timestamp) {
    let (mut target, mut now) = (guarded("vm", at(0)).target, at(0));
    while target.misses() < 8 {
        now = target.due_at().expect("is missed");
        target = settled(target, now, now + MILLIS);
    }
    (target, now)
}

#[test]
fn more_leases_than_one_transaction_closes_are_closed_one_after_the_other() {
    let many = 2 * CLOSED_AT_ONCE_MAX + 1;
    let mut target = guarded("vm", at(0)).target;
    for n in 0..many {
        let request = given::request("ann", &n.to_string(), "vm", at(0));
        target = target.grant(vec![given::grant(&request, &named("vm"), at(0))], None, at(0)).target;
    }
    let over = at(10_000);
    let mut rounds = vec![];
    while !target.grants().is_empty() {
        assert!(target.due_at().is_some_and(|due_at| due_at <= over), "what is left over is due at once");
        let mut firewall = defeated(&target, over);
        firewall.foreign.clear();
        let claimed = target.claim(&named("worker"), over).target;
        let decided = claimed.rules(over);
        let next = claimed.confirm(&Snapshot::of(over, vec![firewall]), false, &decided, over);
        rounds.push(next.grants.len());
        target = next.target;
    }
    assert_eq!(rounds, [CLOSED_AT_ONCE_MAX, CLOSED_AT_ONCE_MAX, 1]);
}

#[test]
fn a_persistent_fault_is_retried_every_half_minute_however_many_workers_try() {
    let (mut target, start) = long_missed();
    let day = start + SignedDuration::from_hours(24);
    let minute = SignedDuration::from_mins(1);
    let (mut looks, mut backstop) = (0, start + minute);
    loop {
        let due_at = target.due_at().expect("is missed");
        let now = due_at.min(backstop);
        if day < now {
            break;
        }
        if now == backstop {
            backstop = now + minute;
        }
        looks += 1;
        target = settled(target, now, now + MILLIS);
    }
    // One every half minute, and the backstop's own every minute.
    let bound = 24 * 60 * 3 + 10;
    assert!((24 * 60..=bound).contains(&looks), "{looks} looks in a day");
}

#[test]
fn rules_that_were_seen_count_as_written_while_another_defeats_them_until_something_else_is_wanted() {
    let target = settled(guarded("vm", at(0)).target, at(0), at(1));
    assert!(target.is_written(at(1)) && !target.is_settled(at(1)));
    let edited = target.clone().set_policy(Some(given::ssh_with_approval()), &person("ann"), None, at(1));
    assert!(!edited.expect("allowed").target.is_written(at(1)));
    let failed = target.claim(&named("worker"), at(2)).target;
    assert!(!failed.is_written(at(2)), "somebody may be writing");
    assert!(!failed.give_up("no answer".to_owned(), at(3)).target.is_written(at(3)));
}

#[test]
fn work_that_came_due_during_a_pass_is_due_at_once() {
    let (target, missed_at) = long_missed();
    let request = given::request("ann", "1", "vm", missed_at);
    let grant = given::grant(&request, &target.id, missed_at);
    let end = grant.lease.end();
    let target = target.grant(vec![grant], None, missed_at).target;
    let target = settled(target, end - MILLIS, end + MILLIS);
    assert_eq!(target.due_at(), Some(end), "the worker had decided before the end");
    let tried = settled(target, end, end + MILLIS);
    let next = end + MILLIS + RETRY_OVERDUE_MAX;
    assert_eq!(tried.due_at(), Some(next), "and what was tried waits for the next look, but not for long");
}

/// Somebody keeps a lease out that was open: no write of ours changes that, so nothing waits for a retry of it, and nobody
/// comes sooner than they would anyway.
#[test]
fn a_lease_blocked_by_a_foreign_rule_is_shown_and_is_no_failed_attempt() {
    let target = guarded("vm", at(0)).target;
    let request = given::request("ann", "1", "vm", at(0));
    let grant = given::grant(&request, &target.id, at(0));
    let (id, soon) = (grant.id.clone(), grant.lease.end() - SOON);
    let mut target = target.grant(vec![grant], None, at(0)).target;
    let looks =
        [(1, false, GrantState::Open), (2, true, GrantState::OpenFailed), (3, false, GrantState::Open)];
    for (second, is_shut, state) in looks {
        let now = at(second);
        let mut firewall = defeated(&target, now);
        firewall.foreign.iter_mut().for_each(|it| it.action = Action::Deny);
        firewall.foreign.retain(|_| is_shut);
        // Under the allow.
        firewall.ours.first_entry().expect("the lock").get_mut().priority = 299;
        let claimed = target.claim(&named("worker"), now).target;
        let decided = claimed.rules(now);
        target = claimed.confirm(&Snapshot::of(now, vec![firewall]), false, &decided, now).target;
        let shown = target.grant_of(&id).expect("live");
        assert_eq!((shown.state(now), shown.opened_at), (state, Some(at(1))), "after {second} s");
        assert_eq!((target.misses(), target.due_at()), (0, Some(soon)), "after {second} s");
    }
}

/// Everything that one worker tells of a target that is as it should be.
fn told(target: Target, now: Timestamp) -> (Target, Vec<Fact>) {
    let mut firewall = defeated(&target, now);
    firewall.foreign.clear();
    // Allows stand above the lock.
    firewall.ours.first_entry().expect("the lock").get_mut().priority = 299;
    let claimed = target.claim(&named("worker"), now).target;
    let decided = claimed.rules(now);
    let next = claimed.confirm(&Snapshot::of(now, vec![firewall]), false, &decided, now);
    (next.target, next.entries.into_iter().map(|it| it.fact).collect())
}

#[test]
fn closing_soon_is_published_once_for_each_end_of_a_lease() {
    let is_soon = |facts: &[Fact]| facts.iter().any(|it| matches!(it, Fact::ClosingSoon { .. }));
    let request = given::request("ann", "1", "vm", at(0));
    let grant = given::grant(&request, &named("vm"), at(0));
    let (id, lease) = (grant.id.clone(), grant.lease);
    let target = guarded("vm", at(0)).target.grant(vec![grant], None, at(0)).target;
    let (target, facts) = told(target, at(1));
    assert!(!is_soon(&facts), "it has only begun");
    assert_eq!(target.due_at(), Some(lease.end() - SOON));
    let (told_early, facts) = told(target, lease.end() - SOON);
    let tells = Fact::ClosingSoon { grant: id.clone(), end: lease.end(), correlation: None };
    assert_eq!(facts, [tells]);
    assert_eq!(told_early.due_at(), Some(lease.end()), "and now it waits for its end");
    let (_, facts) = told(told_early.clone(), lease.end() - MILLIS);
    assert_eq!(facts, [], "once");

    let later = lease.extended(lease.end() + given::HOUR).expect("later");
    let asked = Request { id: named("another"), ..request };
    let longer = told_early.prolong((&id, later), &asked, None, lease.end() - MILLIS).target;
    let (longer, facts) = told(longer, lease.end());
    assert!(!is_soon(&facts), "it goes on");
    assert_eq!(longer.due_at(), Some(later.end() - SOON));
    let closed = longer.close(&id, &person("ann"), None, lease.end() + MILLIS).target;
    assert_eq!(closed.due_at(), Some(lease.end() + MILLIS), "whoever closes it needs not be told");
    let (_, facts) = told(closed, lease.end() + MILLIS);
    assert!(!is_soon(&facts), "{facts:?}");
}

#[test]
fn a_short_lease_publishes_no_closing_soon() {
    for (secs, wait) in [(59, None), (60, Some(45)), (20 * 60, Some(15 * 60)), (40 * 60, Some(35 * 60))] {
        let request = given::request("ann", "1", "vm", at(0));
        let lease = Lease::starting(at(0), SignedDuration::from_secs(secs)).expect("a lease");
        let grant = Grant { lease, ..given::grant(&request, &named("vm"), at(0)) };
        let target = guarded("vm", at(0)).target.grant(vec![grant], None, at(0)).target;
        let (target, _) = told(target, at(1));
        assert_eq!(target.due_at(), Some(at(wait.unwrap_or(secs))), "a lease of {secs} s");
    }
}

#[test]
fn releasing_a_stale_claim_schedules_verification() {
    let target = guarded("vm", at(0)).target;
    assert!(target.clone().bury(at(1)).entries.is_empty(), "nobody is dead");
    let claimed = target.claim(&named("worker"), at(0)).target;
    assert_eq!(claimed.standing(&named("another"), at(1)), Standing::Taken);
    let next = claimed.bury(at(1));
    let told = next.entries.iter().map(|it| it.fact.clone()).collect::<Vec<_>>();
    assert_eq!(told, [Fact::TakenOver { from: named("worker") }]);
    assert_eq!(next.target.standing(&named("another"), at(1)), Standing::Free);
    let due = next.target.due_at();
    assert!(due.is_some_and(|it| it <= at(1)), "what it left is looked at, at once: {due:?}");
    // What it wrote may land yet.
    let firewall = Firewall { foreign: vec![], ..defeated(&next.target, at(1)) };
    let seen = Snapshot::of(at(1), vec![firewall]);
    let decided = next.target.rules(at(1));
    let claimed = next.target.claim(&named("another"), at(1)).target;
    let looked = claimed.confirm(&seen, false, &decided, at(1)).target;
    assert_eq!(looked.due_at(), Some(at(1) + LOOK_AGAIN[0]));
}

#[test]
fn a_new_change_does_not_wait_for_the_retry_of_a_failed_attempt() {
    let (target, missed_at) = long_missed();
    // By a clock that is behind the worker's.
    let now = missed_at - MILLIS;
    let request = given::request("ann", "1", "vm", now);
    let grant = given::grant(&request, &target.id, now);
    let id = grant.id.clone();
    let asked = target.grant(vec![grant], None, now).target;
    assert_eq!(asked.due_at(), Some(now));
    let target = settled(asked, missed_at, missed_at + MILLIS);
    let closed = target.close(&id, &person("ann"), None, now).target;
    assert_eq!(closed.due_at(), Some(now));
}

#[test]
fn a_new_change_during_a_write_does_not_wait_for_the_retry_of_that_write() {
    let (target, missed_at) = long_missed();
    let now = missed_at + SignedDuration::from_secs(60);
    let claimed = target.claim(&named("worker"), now).target;
    let (decided, firewall) = (claimed.rules(now), defeated(&claimed, now));
    // By a clock that is behind the worker's.
    let request = given::request("ann", "1", "vm", now - MILLIS);
    let grant = given::grant(&request, &claimed.id, now - MILLIS);
    let asked = claimed.grant(vec![grant], None, now - MILLIS).target;
    let misses = asked.misses();
    let seen = Snapshot::of(now + MILLIS, vec![firewall]);
    let confirmed = asked.confirm(&seen, true, &decided, now).target;
    assert!(confirmed.due_at().is_some_and(|it| it <= now), "{:?}", confirmed.due_at());
    assert_eq!(confirmed.misses(), misses, "nobody missed anything");
}

#[test]
fn a_write_is_verified_again_later() {
    let target = guarded("vm", at(0)).target.claim(&named("worker"), at(0)).target;
    let mut firewall = defeated(&target, at(0));
    firewall.foreign.clear();
    let seen = Snapshot::of(at(1), vec![firewall]);
    let decided = target.rules(at(0));
    let written = target.confirm(&seen, true, &decided, at(0)).target;
    assert_eq!(written.due_at(), Some(at(1) + LOOK_AGAIN[0]));
    let looked =
        written.claim(&named("worker"), at(61)).target.confirm(&seen, false, &decided, at(61)).target;
    assert_eq!(looked.due_at(), Some(at(1) + LOOK_AGAIN[1]));
    let looked =
        looked.claim(&named("worker"), at(301)).target.confirm(&seen, false, &decided, at(301)).target;
    assert_eq!(looked.due_at(), None, "and then it rests");
}

/// INVARIANT (nothing-unrecorded): of what was intended and of what a dead worker did, a read-back shows what became of it.
#[test]
fn a_change_without_a_read_back_is_answered_by_exactly_one() {
    let held = |target: &Target, now| Firewall { foreign: vec![], ..defeated(target, now) };
    let settle = |target: Target, now| {
        let (decided, seen) = (target.rules(now), Snapshot::of(now, vec![held(&target, now)]));
        let next = target.claim(&named("worker"), now).target.confirm(&seen, false, &decided, now);
        let read_backs = next.entries.iter().filter(|it| matches!(it.fact, Fact::ReadBack { .. })).count();
        (next.target, read_backs)
    };
    let (target, read_backs) = settle(guarded("vm", at(0)).target, at(1));
    assert_eq!(read_backs, 1, "it is new");
    let (target, read_backs) = settle(target, at(2));
    assert_eq!(read_backs, 0, "all is as it was left");
    let claimed = target.claim(&named("dead"), at(3)).target;
    let (target, read_backs) = settle(claimed.clone().bury(at(4)).target, at(5));
    assert_eq!((read_backs, settle(target, at(6)).1), (1, 0), "the dead one's");
    let without = Snapshot::of(at(3), vec![Firewall { ours: [].into(), ..held(&claimed, at(3)) }]);
    let wanted = diff(&without, &claimed.owner(), &claimed.rules(at(3)));
    let given_up =
        claimed.intend(&without, &wanted.changes).target.give_up("no answer".to_owned(), at(4)).target;
    let (target, read_backs) = settle(given_up, at(5));
    assert_eq!((read_backs, settle(target, at(6)).1), (1, 0), "what was intended");
}

/// A worker that goes on keeps its claim only where something is due by what it has just read.
#[test]
fn a_claim_stays_where_more_is_due_and_the_worker_goes_on() {
    let target = guarded("vm", at(0)).target.claim(&named("worker"), at(0)).target;
    let without = Firewall { foreign: vec![], ours: [].into(), ..defeated(&target, at(0)) };
    let seen = Snapshot::of(at(1), vec![without]);
    let decided = target.rules(at(0));
    let concluded = |opens_later, may_go_on| {
        let pass = Pass { wrote: true, decided: &decided, now: at(0), opens_later, may_go_on };
        target.clone().conclude(&seen, &pass).target
    };
    let missed = concluded(false, true);
    assert_eq!((missed.is_claimed(), missed.misses()), (false, 1), "nothing is due before it is tried again");
    let kept = concluded(true, true);
    assert_eq!(kept.standing(&named("worker"), at(1)), Standing::Mine);
    assert_eq!(kept.misses(), 0, "what is done in the next pass was not tried in vain");
    let last = concluded(true, false);
    assert!(!last.is_claimed() && last.due_at().is_some_and(|it| it <= at(1)), "it is the next worker's");
}

/// INVARIANT (nothing-is-forgotten): what a new claim does must not wait for one that stays.
#[test]
fn a_claim_is_released_where_an_unconfirmed_policy_lapses() {
    let target = guarded("vm", at(0)).target;
    let target = target.set_policy(None, &person("owner"), Some(at(2)), at(0)).expect("set").target;
    let claimed = target.claim(&named("worker"), at(1)).target;
    let (decided, seen) = (claimed.rules(at(1)), Snapshot::of(at(2), vec![]));
    let pass = Pass { wrote: false, decided: &decided, now: at(1), opens_later: false, may_go_on: true };
    let given_back = claimed.conclude(&seen, &pass).target;
    assert!(!given_back.is_claimed() && given_back.due_at().is_some_and(|it| it <= at(2)));
    let lapsed = given_back.claim(&named("another"), at(2)).target;
    assert!(lapsed.trial().is_none() && lapsed.policy().is_some());
}

/// Else there would be a gap: what the worker shuts comes back only after it.
#[test]
fn an_extension_that_took_long_does_not_undo_what_a_worker_has_begun() {
    let target = guarded("vm", at(0)).target;
    let request = given::request("ann", "1", "vm", at(0));
    let grant = given::grant(&request, &target.id, at(0));
    let (id, end) = (grant.id.clone(), grant.lease.end());
    let target = target.grant(vec![grant], None, at(0)).target;
    let what = What::Extend { target: target.id.clone(), grant: id, end: end + given::HOUR };
    let request = Request { what, ..request };
    let asked_at = end - SignedDuration::from_secs(10);
    let answer = |target: &Target| {
        let known = [(target.id.clone(), target.clone())].into();
        review(&request, &known, &Terms::default(), asked_at, &Waits::default())
    };
    assert!(matches!(answer(&target), Review::Allowed(_)), "{:?}", answer(&target));
    let claimed = target.claim(&named("worker"), end).target;
    assert!(matches!(answer(&claimed), Review::Refused(_)), "{:?}", answer(&claimed));
    let given_up = claimed.give_up("no answer".to_owned(), end).target;
    assert!(matches!(answer(&given_up), Review::Refused(_)), "{:?}", answer(&given_up));
}
