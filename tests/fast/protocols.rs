//! Leases of one protocol of a port that is guarded for both.

use jiff::Timestamp;
use portcullis_domain::{
    Action, AddressSet, Bands, EndReason, Existing, Fact, Families, Firewall, FirewallKind, Foreign, Gate,
    Grant, GrantId, Held, Lease, Next, Packet, Policy, PortRule, Protocol, Request, Review, Snapshot,
    Sources, Target, Terms, Waits, What, review,
};
use portcullis_tests::given::{self, HOUR, at, named, person};

const ANN: &str = "198.51.100.1";
const BOB: &str = "198.51.100.2";

fn policy(gates: &[&str]) -> Policy {
    let rule = |it: &&str| {
        let Gate { port, protocol } = named(it);
        PortRule::offered(port, protocol)
    };
    Policy::of(gates.iter().map(rule).collect(), &Terms::default()).expect("valid")
}

fn guarded(gates: &[&str]) -> Target {
    let fresh = Target::unguarded(named("vm"));
    fresh.set_policy(Some(policy(gates)), &person("owner"), None, at(0)).expect("new").target
}

/// A lease from the beginning of these tests' time.
fn lease(n: usize, gate: &str, from: &str, hours: i32) -> Grant {
    let request = given::request("ann", "key", "vm", at(0));
    let id = GrantId::derived(&request.id, n);
    let lease = Lease::starting(at(0), HOUR * hours).expect("valid");
    Grant::approved(id, &request, (named("vm"), named(gate)), named(from), lease)
}

/// A firewall that holds what it must, under a foreign rule where there is one.
fn holding(target: &Target, now: Timestamp, above: Option<Foreign>) -> Snapshot {
    let held = |(n, (name, rule)): (usize, (_, _))| {
        let priority = if matches!(rule, portcullis_domain::Rule::Deny { .. }) { 299 } else { 100 };
        let priority = priority + if priority == 299 { 0 } else { u16::try_from(n).expect("few") };
        (name, Held { rule: Some(rule), priority, beside: vec![], etag: None })
    };
    let firewall = Firewall {
        id: named("nsg"),
        kind: FirewallKind::Ordered { otherwise: Action::Deny },
        bands: Bands { allows: 100..200, denies: 200..300, existing: Existing::Override },
        inside: AddressSet::default(),
        families: Families::BOTH,
        ours: target.rules(now).into_iter().enumerate().map(held).collect(),
        foreign: above.into_iter().collect(),
    };
    Snapshot::of(now, vec![firewall])
}

/// One worker's whole work, where the firewall does what it is told.
fn settled(target: Target, now: Timestamp, above: Option<Foreign>) -> Next {
    let claimed = target.claim(&named("worker"), now).target;
    let (seen, decided) = (holding(&claimed, now, above), claimed.rules(now));
    claimed.confirm(&seen, true, &decided, now)
}

fn facts(next: &Next) -> Vec<Fact> {
    next.entries.iter().map(|it| it.fact.clone()).collect()
}

fn passes(seen: &Snapshot, target: &Target, from: &str, protocol: Protocol) -> bool {
    let source = from.parse().expect("an address");
    seen.decide(&target.owner(), &Packet { source, protocol, port: named("53") }).passes
}

#[test]
fn lease_of_one_protocol_opens_that_protocol_and_no_other() {
    let target = guarded(&["53/*"]).grant(vec![lease(1, "53/tcp", ANN, 1)], None, at(0)).target;
    let seen = holding(&target, at(1), None);
    assert!(passes(&seen, &target, ANN, Protocol::Tcp));
    assert!(!passes(&seen, &target, ANN, Protocol::Udp) && !passes(&seen, &target, BOB, Protocol::Tcp));
    let next = settled(target, at(1), None);
    assert!(facts(&next).iter().any(|it| matches!(it, Fact::Opened { .. })), "{:?}", facts(&next));
    assert!(next.target.is_settled(at(2)), "the lock of both protocols holds: {:?}", next.target);
}

#[test]
fn lease_that_ends_is_closed_while_a_lease_of_both_protocols_goes_on() {
    let leases = vec![lease(1, "53/tcp", ANN, 1), lease(2, "53/*", BOB, 2)];
    let open = settled(guarded(&["53/*"]).grant(leases, None, at(0)).target, at(1), None).target;
    let next = settled(open, at(3600), None);
    let closed = |it: &Fact| matches!(it, Fact::Closed { reason: EndReason::Expired, .. });
    assert_eq!(facts(&next).iter().filter(|it| closed(it)).count(), 1, "{:?}", facts(&next));
    assert_eq!(next.target.grants().values().map(|it| it.gate.to_string()).collect::<Vec<_>>(), ["53/*"]);
    let seen = holding(&next.target, at(3600), None);
    assert!(!passes(&seen, &next.target, ANN, Protocol::Tcp));
    assert!(passes(&seen, &next.target, BOB, Protocol::Any));
}

/// INVARIANT (closed-means-read-back): whom a lease lets in by one protocol is a stranger by the other.
#[test]
fn foreign_rule_for_the_other_protocol_defeats_the_lock_and_keeps_a_lease_from_closing() {
    let by_udp = || {
        Some(Foreign {
            name: "udp-for-ann".to_owned(),
            priority: 50,
            action: Action::Allow,
            protocol: Protocol::Udp,
            sources: named(ANN),
            unsure: Sources::default(),
            ports: vec![53..=53],
            to: Sources::anywhere(),
            is_general: false,
        })
    };
    let leases = vec![lease(1, "53/tcp", ANN, 2), lease(2, "53/*", BOB, 1)];
    let open = settled(guarded(&["53/*"]).grant(leases, None, at(0)).target, at(1), by_udp());
    let defeats = facts(&open).into_iter().filter(|it| matches!(it, Fact::LockDefeated { .. }));
    let defeats: Vec<Fact> = defeats.collect();
    let [Fact::LockDefeated { gate, by: Some(_), .. }] = &defeats[..] else { panic!("once: {defeats:?}") };
    assert_eq!(gate.to_string(), "53/*", "for the gate of the policy");
    let next = settled(open.target, at(3600), by_udp());
    assert!(!facts(&next).iter().any(|it| matches!(it, Fact::Closed { .. })), "{:?}", facts(&next));
    let healed = settled(next.target, at(3700), None);
    assert!(facts(&healed).iter().any(|it| matches!(it, Fact::Closed { .. })), "{:?}", facts(&healed));
}

#[test]
fn lease_goes_on_while_the_policy_covers_its_protocol() {
    let leases = vec![lease(1, "53/tcp", ANN, 2), lease(2, "53/*", BOB, 2)];
    let target = guarded(&["53/*"]).grant(leases, None, at(0)).target;
    let narrowed = target.set_policy(Some(policy(&["53/tcp"])), &person("owner"), None, at(60)).expect("set");
    let live = |target: &Target| {
        let live = target.grants().values().filter(|it| it.lease.is_live(at(61)));
        live.map(|it| it.gate.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(live(&narrowed.target), ["53/tcp"], "no policy covers udp any longer");
    let widened =
        narrowed.target.set_policy(Some(policy(&["53/*"])), &person("owner"), None, at(61)).expect("set");
    assert_eq!(live(&widened.target), ["53/tcp"]);
}

#[test]
fn lease_of_one_protocol_is_extended_under_a_rule_for_both() {
    let grant = lease(1, "53/tcp", ANN, 1);
    let (id, end) = (grant.id.clone(), at(5400));
    let target = guarded(&["53/*"]).grant(vec![grant], None, at(0)).target;
    let what = What::Extend { target: named("vm"), grant: id, end };
    let request = Request { what, ..given::request("ann", "more", "vm", at(60)) };
    let answer =
        review(&request, &[(target.id.clone(), target)].into(), &Terms::default(), at(60), &Waits::default());
    assert!(matches!(answer, Review::Allowed(_)), "{answer:?}");
}
