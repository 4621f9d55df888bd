//! What a review refuses: every limit just within it and just beyond it, and every reason at once.

#[path = "review/headroom.rs"]
mod headroom;
mod unusable;

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Ask, Fact, GRANTS_BYTES_MAX, Gate, Grant, GrantId, Lease, Outcome, Pane, People, Policy, PortRule,
    Refusal, Request, RequestId, Review, Room, Sources, Target, TargetId, Terms, Waits, What, Window, review,
};
use portcullis_tests::given::{self, HOUR, at, named, person};
use std::collections::BTreeMap;

/// The answer of the rules of ports alone.
fn decided(request: &Request, targets: &BTreeMap<TargetId, Target>, now: Timestamp) -> Review {
    review(request, targets, &Terms::default(), now, &Waits::default())
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Somebody, from whom most ports may be asked for.
const ANN: &str = "198.51.100.1";
/// What came of a request that was not refused.
const ALLOWED: &[&str] = &["allowed"];
const NEEDS_APPROVAL: &[&str] = &["needs approval"];

fn rule(gate: &str) -> PortRule {
    let gate: Gate = named(gate);
    PortRule::offered(gate.port, gate.protocol)
}

fn approved_by(gate: &str, names: &[&str]) -> PortRule {
    PortRule { approvers: Some(people(names)), ..rule(gate) }
}

fn sources(ranges: &[&str]) -> Sources {
    Sources::of(ranges.iter().flat_map(|it| named::<Sources>(it).ranges().to_vec()))
}

fn policy() -> Policy {
    let inside = sources(&["10.0.0.0/25", "10.0.0.128/25", "2001:db8::/33", "2001:db8:8000::/33"]);
    let rules = vec![
        rule("22"),
        rule("53/tcp"),
        rule("53/udp"),
        PortRule { sources: inside, max: DAY, ..rule("3389") },
        approved_by("5001", &["ann"]),
        approved_by("5002", &["ann", "bob"]),
        approved_by("5003", &["ann", "carol"]),
        approved_by("5004", &["bob", "carol"]),
        PortRule { max: MINUTE * 5, ..rule("8080") },
    ];
    Policy::of(rules, &Terms::default()).expect("valid")
}

fn target(id: &str, policy: Option<Policy>) -> (TargetId, Target) {
    let fresh = Target::unguarded(named(id));
    let guarded = fresh.set_policy(Some(given::ssh()), &person("owner"), None, at(0)).expect("new").target;
    let set = guarded.set_policy(policy, &person("owner"), None, at(0)).expect("set").target;
    (set.id.clone(), set)
}

fn known() -> BTreeMap<TargetId, Target> {
    [target("vm", Some(policy())), target("bare", None)].into()
}

/// A port of `vm` for an hour, from where most ports may be asked for.
fn ask(port: &str) -> Ask {
    Ask {
        target: named("vm"),
        port: named(port),
        protocol: None,
        sources: named(ANN),
        window: Window::For(HOUR),
    }
}

fn on(target: &str, port: &str) -> Ask {
    Ask { target: named(target), ..ask(port) }
}

fn from(port: &str, ranges: &[&str]) -> Ask {
    Ask { sources: sources(ranges), ..ask(port) }
}

fn during(port: &str, window: Window) -> Ask {
    let ranges: &[&str] = if port == "3389" { &["10.0.0.1"] } else { &[ANN] };
    Ask { window, ..from(port, ranges) }
}

fn by_protocol(port: &str, protocol: &str) -> Ask {
    Ask { protocol: Some(named(protocol)), ..ask(port) }
}

fn request(by: &str, what: What) -> Request {
    Request { what, ..given::request(by, "key", "vm", at(0)) }
}

fn initiate(asks: Vec<Ask>, break_glass: bool) -> What {
    What::Initiate { asks, break_glass }
}

fn answer(known: &BTreeMap<TargetId, Target>, by: &str, asks: &[Ask]) -> Review {
    decided(&request(by, initiate(asks.to_vec(), false)), known, at(0))
}

/// What it comes to, in words for programs.
fn told(review: &Review) -> Vec<&'static str> {
    match review {
        Review::Allowed(_) => ALLOWED.to_vec(),
        Review::NeedsApproval { .. } => NEEDS_APPROVAL.to_vec(),
        Review::Refused(reasons) => reasons.iter().map(Refusal::code).collect(),
    }
}

#[track_caller]
fn expect(known: &BTreeMap<TargetId, Target>, cases: &[(&[Ask], &[&str])]) {
    for (asks, wanted) in cases {
        let answer = answer(known, "ann", asks);
        assert_eq!(told(&answer), *wanted, "{asks:?}: {answer:?}");
    }
}

#[test]
fn each_impossible_request_for_a_port_has_its_refusal() {
    let cases: [(&[Ask], &[&str]); 8] = [
        (&[], &["nothing-asked"]),
        (&[on("elsewhere", "22")], &["unknown-target"]),
        (&[on("bare", "22")], &["not-enabled"]),
        (&[ask("23")], &["not-guarded"]),
        (&[by_protocol("22", "udp")], &["not-guarded"]),
        (&[ask("22"), ask("22")], &["asked-twice"]),
        (&[ask("53"), by_protocol("53", "udp")], &["asked-twice"]),
        (&[by_protocol("53", "tcp"), by_protocol("53", "udp"), ask("22")], ALLOWED),
    ];
    expect(&known(), &cases);
}

/// As with sources: what is asked for is within what the policy allows, and no more of it is granted.
#[test]
fn request_for_one_protocol_is_granted_under_a_rule_for_both() {
    let rules =
        vec![rule("22"), PortRule { max: MINUTE * 5, ..rule("3389/*") }, rule("53/tcp"), rule("53/udp")];
    let known = [target("vm", Some(Policy::of(rules, &Terms::default()).expect("valid")))].into();
    let brief = |protocol| Ask { window: Window::For(MINUTE * 5), ..by_protocol("3389", protocol) };
    let cases: [(&[Ask], &[&str]); 9] = [
        (&[brief("tcp")], ALLOWED),
        (&[brief("udp")], ALLOWED),
        (&[brief("tcp"), brief("udp")], ALLOWED),
        (&[brief("*")], ALLOWED),
        (&[brief("tcp"), brief("*")], &["asked-twice"]),
        (&[brief("*"), brief("udp")], &["asked-twice"]),
        (&[by_protocol("3389", "tcp")], &["too-long"]),
        (&[by_protocol("53", "*")], ALLOWED),
        (&[by_protocol("22", "*")], &["not-guarded"]),
    ];
    expect(&known, &cases);
    let gates = |asks: &[Ask]| {
        let answer = answer(&known, "ann", asks);
        let Review::Allowed(Outcome::Granted(grants)) = answer else { panic!("{answer:?}") };
        grants.iter().map(|it| it.gate.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(gates(&[brief("tcp")]), ["3389/tcp"]);
    assert_eq!(gates(&[brief("*")]), ["3389/*"]);
    assert_eq!(gates(&[by_protocol("53", "*")]), ["53/tcp", "53/udp"]);
}

#[test]
fn a_window_is_within_its_limits() {
    let ahead = |far, length| Window::From { start: at(0) + far, length };
    let for_ = Window::For;
    let cases: [(&str, Window, &[&str]); 17] = [
        ("22", for_(MINUTE * 5), ALLOWED),
        ("22", for_(MINUTE * 5 - SECOND), &["too-short"]),
        ("22", Window::Until(at(0) + MINUTE * 5 - SECOND), &["too-short"]),
        ("22", for_(HOUR * 3), ALLOWED),
        ("22", for_(HOUR * 3 + SECOND), &["too-long"]),
        ("22", Window::Until(at(0) + HOUR * 3 + SECOND), &["too-long"]),
        ("8080", for_(MINUTE * 5), ALLOWED),
        ("8080", for_(MINUTE * 5 + SECOND), &["too-long"]),
        ("3389", for_(DAY), ALLOWED),
        ("3389", for_(DAY + SECOND), &["too-long"]),
        ("22", for_(SignedDuration::ZERO), &["over"]),
        ("22", Window::Until(at(-1)), &["over"]),
        ("22", ahead(DAY * 7, HOUR), ALLOWED),
        ("22", ahead(DAY * 7 + SECOND, HOUR), &["starts-too-late"]),
        ("22", ahead(-HOUR, HOUR + MINUTE * 5), ALLOWED),
        ("22", ahead(-HOUR, HOUR + MINUTE * 4), &["too-short"]),
        ("22", ahead(-HOUR, HOUR), &["over"]),
    ];
    for (port, window, wanted) in cases {
        let answer = answer(&known(), "ann", &[during(port, window)]);
        assert_eq!(told(&answer), wanted, "{port} {window:?}: {answer:?}");
    }
}

/// Of addresses, not of texts; IPv4 that is written as IPv6 is IPv4.
#[test]
fn sources_are_within_what_the_policy_allows() {
    let no: &[&str] = &["source-not-allowed"];
    let cases: [(&[&str], &[&str]); 15] = [
        (&[], &["no-sources"]),
        (&["10.0.0.0/24"], ALLOWED),
        (&["10.0.0.127", "10.0.0.128"], ALLOWED),
        (&["10.0.0.255"], ALLOWED),
        (&["10.0.1.0"], no),
        (&["9.255.255.255"], no),
        (&["10.0.0.0/23"], no),
        (&["10.0.0.1", "192.0.2.1"], no),
        (&["2001:db8::/32"], ALLOWED),
        (&["2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ALLOWED),
        (&["2001:db9::"], no),
        (&["2001:db8::/31"], no),
        (&["10.0.0.1", "2001:db9::1"], no),
        (&["::ffff:10.0.0.1"], ALLOWED),
        (&["*"], no),
    ];
    for (ranges, wanted) in cases {
        let answer = answer(&known(), "ann", &[from("3389", ranges)]);
        assert_eq!(told(&answer), wanted, "{ranges:?}: {answer:?}");
    }
}

#[test]
fn a_request_is_of_a_size() {
    let all: Vec<String> = (0..21).map(|n| format!("vm-{n}")).collect();
    let known = all.iter().map(|id| target(id, Some(policy()))).collect();
    let of = |ports: &[&str], targets: usize| {
        let names = all[..targets].iter();
        names.flat_map(|id| ports.iter().map(move |port| on(id, port))).collect::<Vec<_>>()
    };
    let one_more = [of(&["22", "8080"], 20), vec![on("vm-0", "53")]].concat().into_iter();
    let one_more: Vec<Ask> = one_more.map(|it| Ask { window: Window::For(MINUTE * 5), ..it }).collect();
    let forty = &one_more[..40];
    expect(
        &known,
        &[
            (&of(&["22"], 20), ALLOWED),
            (&of(&["22"], 21), &["too-many-targets"]),
            (forty, ALLOWED),
            // Port 53 is two gates.
            (&one_more, &["too-many-ports"]),
        ],
    );
    let Review::Refused(reasons) = answer(&known, "ann", &one_more) else { panic!("too many") };
    assert_eq!(reasons, Refusal::TooManyGates { count: 42, max: 40 }.into());
}

/// Every other address, so that no two of them are one range.
fn many(count: u32) -> Sources {
    let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0B00_0000 + 2 * n);
    Sources::of((0..count).map(|n| ipnet::Ipv4Net::from(address(n)).into()))
}

/// The machine with so many leases more of one person, each with a range of its own.
fn held_by(by: &str, vm: Target, leases: usize) -> Target {
    let first = vm.grants().len();
    let grant = |n: usize| {
        let request = given::request(by, &n.to_string(), "vm", at(0));
        let address = std::net::Ipv4Addr::from_bits(0x0C00_0000 + 2 * u32::try_from(n).expect("few"));
        Grant { sources: named(&address.to_string()), ..given::grant(&request, &vm.id, at(0)) }
    };
    let grants = (first..first + leases).map(grant).collect();
    vm.grant(grants, None, at(0)).target
}

/// Port 5001 needs an approval, and `ann` may break its glass.
fn with_glass() -> Policy {
    let glass = PortRule { break_glass: Some(people(&["ann"])), ..approved_by("5001", &["bob"]) };
    Policy::of(vec![rule("22"), rule("53"), glass], &Terms::default()).expect("valid")
}

fn through_glass(asks: Vec<Ask>, vm: &Target) -> Review {
    decided(&breaking("ann", asks, Some("an outage")), &[(vm.id.clone(), vm.clone())].into(), at(0))
}

#[test]
fn one_person_holds_a_quarter_of_the_ranges_of_a_machine_over_all_its_gates() {
    let with = |port: &str, count| vec![Ask { sources: many(count), ..ask(port) }];
    let used_up: &[&str] = &["share-used-up"];
    let both = |one, other| [with("22", one), with("8080", other)].concat();
    let both = |one, other| -> Vec<Ask> {
        both(one, other).into_iter().map(|it| Ask { window: Window::For(MINUTE * 5), ..it }).collect()
    };
    expect(
        &known(),
        &[
            (&with("22", 1000), ALLOWED),
            (&with("22", 1001), used_up),
            (&both(500, 500), ALLOWED),
            (&both(500, 501), used_up),
            // Two gates.
            (&with("53", 500), ALLOWED),
            (&with("53", 501), used_up),
        ],
    );
    // What another person holds is not hers; what she holds is, until it was seen to be shut.
    let (id, vm) = target("vm", Some(policy()));
    for (holder, wanted) in [("bob", ALLOWED), ("ann", used_up)] {
        let known = BTreeMap::from([(id.clone(), held_by(holder, vm.clone(), 1))]);
        let asked = request("ann", initiate(with("22", 1000), false));
        for when in [at(0), at(100_000)] {
            assert_eq!(told(&decided(&asked, &known, when)), wanted, "{holder} at {when}");
        }
    }
    let known = BTreeMap::from([(id.clone(), held_by("ann", vm, 400))]);
    let Review::Refused(reasons) = answer(&known, "ann", &with("22", 601)) else { panic!("too many") };
    let wanted = Refusal::ShareUsedUp {
        target: id,
        by: person("ann"),
        room: Room::Ranges,
        held: 400,
        asked: 601,
        max: 1000,
    };
    assert_eq!(reasons, wanted.into());
}

#[test]
fn one_person_holds_a_quarter_of_the_leases_and_of_what_is_stored_of_them() {
    let (id, vm) = target("vm", Some(policy()));
    let known = |vm: Target| BTreeMap::from([(id.clone(), vm)]);
    assert_eq!(told(&answer(&known(held_by("ann", vm.clone(), 999)), "ann", &[ask("22")])), ALLOWED);
    let full = known(held_by("ann", vm.clone(), 1000));
    assert_eq!(told(&answer(&full, "ann", &[ask("22")])), ["share-used-up"; 2], "of leases and of ranges");
    assert_eq!(told(&answer(&full, "bob", &[ask("22")])), ALLOWED);
    // Leases that say much of themselves: as many as a quarter of the bytes takes.
    let mut vm = vm;
    let reasons = loop {
        let mut asked = request("ann", initiate(vec![ask("22")], false));
        asked.id = RequestId::derived(&person("ann"), &named(&vm.grants().len().to_string()));
        asked.justification = Some(named(&"w".repeat(1_000)));
        match decided(&asked, &known(vm.clone()), at(0)) {
            Review::Allowed(Outcome::Granted(grants)) => vm = vm.grant(grants, None, at(0)).target,
            Review::Refused(reasons) => break reasons,
            other @ (Review::Allowed(_) | Review::NeedsApproval { .. }) => panic!("{other:?}"),
        }
    };
    let codes: Vec<&str> = reasons.iter().map(Refusal::code).collect();
    assert_eq!(codes, ["share-used-up"], "{reasons}");
    assert!(400 < vm.grants().len(), "only {}", vm.grants().len());
    let length = serde_json::to_vec(vm.grants()).expect("JSON").len();
    assert!(length < GRANTS_BYTES_MAX / 4, "{length} bytes are more than a share");
}

#[test]
fn three_thousand_leases_of_several_people_fit_and_the_reserve_is_left_for_break_glass() {
    let (id, vm) = target("vm", Some(with_glass()));
    let people = ["ann", "bob", "carol"];
    let vm = people.into_iter().fold(vm, |vm, by| held_by(by, vm, 1000));
    assert_eq!(vm.grants().len(), 3000);
    let known = |vm: &Target| BTreeMap::from([(id.clone(), vm.clone())]);
    assert_eq!(told(&answer(&known(&vm), "dave", &[ask("22")])), ALLOWED);
    let vm = held_by("dave", vm, 599);
    assert_eq!(told(&answer(&known(&vm), "erin", &[ask("22")])), ALLOWED, "the last one of all others");
    let vm = held_by("dave", vm, 1);
    let last = answer(&known(&vm), "erin", &[ask("22")]);
    assert_eq!(told(&last), ["only-reserve-left"; 2], "of leases, and of the ranges of that gate");
    assert_eq!(told(&answer(&known(&vm), "erin", &[ask("5001")])), ["only-reserve-left"], "of leases");

    // Whoever breaks glass has room, whatever they hold already, up to what the firewall takes.
    let with = |count| vec![Ask { sources: many(count), ..ask("5001") }];
    assert_eq!(told(&through_glass(with(4000), &vm)), ALLOWED);
    assert_eq!(told(&through_glass(with(4001), &vm)), ["too-many-sources"]);
    // A port that needs no approval has no glass, so that to say so opens no reserve.
    assert_eq!(
        told(&through_glass(vec![ask("22")], &vm)),
        ["share-used-up", "share-used-up", "only-reserve-left", "only-reserve-left"]
    );
    let full = held_by("dave", vm, 400);
    assert_eq!(told(&through_glass(with(1), &full)), ["too-many-leases"]);
}

#[test]
fn the_ranges_of_leases_that_are_over_are_free_for_others() {
    let (id, vm) = target("vm", Some(policy()));
    let vm = ["bob", "carol", "dave"].into_iter().fold(vm, |vm, by| held_by(by, vm, 1000));
    let vm = held_by("erin", vm, 600);
    let known = BTreeMap::from([(id, vm)]);
    let asked = request("ann", initiate(vec![ask("22")], false));
    let told_at = |when| told(&decided(&asked, &known, when));
    assert_eq!(told_at(at(0)), ["only-reserve-left"; 2]);
    assert_eq!(
        told_at(at(100_000)),
        ["only-reserve-left"],
        "they are leases until they were seen to be shut"
    );
}

#[test]
fn a_request_without_a_possible_approver_is_refused() {
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("bob", &["5001"], NEEDS_APPROVAL),
        ("ann", &["5001"], &["nobody-may-approve"]),
        ("ann", &["5002", "22"], NEEDS_APPROVAL),
        ("bob", &["5001", "5004"], &["no-common-approver"]),
        // Of both lists only who asks, and nobody approves their own request.
        ("ann", &["5002", "5003"], &["no-common-approver"]),
        ("dave", &["5002", "5003", "5004"], &["no-common-approver"]),
        ("ann", &["5001", "5004"], &["nobody-may-approve"]),
    ];
    for (by, ports, wanted) in cases {
        let asks: Vec<Ask> = ports.iter().map(|port| ask(port)).collect();
        let answer = answer(&known(), by, &asks);
        assert_eq!(told(&answer), wanted, "{by} {ports:?}: {answer:?}");
    }
    let both = answer(&known(), "dave", &[ask("5002"), ask("5003")]);
    let Review::NeedsApproval { approvers, .. } = both else { panic!("{both:?}") };
    assert_eq!(approvers.people(), [person("ann")], "who is in both lists");
}

#[test]
fn every_reason_is_given_at_once_and_each_once() {
    let asks = [
        on("elsewhere", "22"),
        on("elsewhere", "23"),
        on("bare", "22"),
        ask("23"),
        from("22", &[]),
        ask("22"),
        from("3389", &["192.0.2.1"]),
        during("53", Window::For(MINUTE)),
        during("5001", Window::For(HOUR * 4)),
        during("8080", Window::From { start: at(0) + DAY * 8, length: MINUTE * 5 }),
    ];
    let reasons = [
        "unknown-target",
        "not-enabled",
        "not-guarded",
        "no-sources",
        "asked-twice",
        "source-not-allowed",
        "too-short",
        "nobody-may-approve",
        "too-long",
        "starts-too-late",
    ];
    expect(&known(), &[(&asks, &reasons)]);
    let answer = answer(&known(), "ann", &asks[6..8]);
    let Review::Refused(refusals) = answer else { panic!("{answer:?}") };
    let said = [
        "`192.0.2.1` may not reach port `3389/tcp` of `vm`: sources within 10.0.0.0/24, 2001:db8::/32 may",
        "`1m` is too short: at least 5m",
    ];
    assert_eq!(refusals.to_string(), said.join("; "));
}

/// Who hears that no lease is longer than a day, and asks for a day, would hear another no.
#[test]
fn a_lease_beyond_every_limit_is_refused_with_the_limit_of_its_port() {
    for (length, said) in
        [(DAY * 2, "`48h` is too long: at most 3h"), (HOUR * 4, "`4h` is too long: at most 3h")]
    {
        let Review::Refused(refusals) = answer(&known(), "ann", &[during("22", Window::For(length))]) else {
            panic!("{length:#} is allowed");
        };
        assert_eq!(refusals.to_string(), said);
    }
}

#[test]
fn a_lease_of_less_than_a_second_is_refused_with_its_length() {
    for (nanos, said) in [(1, "1ns"), (1_000_000, "1ms"), (999_999_999, "999ms"), (1_999_999_999, "1s")] {
        let length = SignedDuration::from_nanos(nanos);
        let answer = answer(&known(), "ann", &[during("53", Window::For(length))]);
        let Review::Refused(refusals) = answer else { panic!("{said} is allowed") };
        assert_eq!(refusals.to_string(), format!("`{said}` is too short: at least 5m"));
    }
}

/// A grant on `vm` from now for an hour.
fn held(port: &str, ranges: &[&str], policy: Option<Policy>) -> (Target, GrantId) {
    let (id, vm) = target("vm", Some(self::policy()));
    let request = given::request("ann", "first", "vm", at(0));
    let lease = Lease::starting(at(0), HOUR).expect("short");
    let grant = Grant::approved(
        GrantId::derived(&request.id, 1),
        &request,
        (id, named(port)),
        sources(ranges),
        lease,
    );
    let held = grant.id.clone();
    let vm = vm.grant(vec![grant], None, at(0)).target;
    (vm.set_policy(policy, &person("owner"), None, at(0)).expect("set").target, held)
}

fn extended(vm: &Target, grant: &GrantId, end: SignedDuration, now: SignedDuration) -> Review {
    let what = What::Extend { target: vm.id.clone(), grant: grant.clone(), end: at(0) + end };
    let known = BTreeMap::from([(vm.id.clone(), vm.clone())]);
    decided(&request("ann", what), &known, at(0) + now)
}

/// What a new request from now on may not have, an extension may not have either.
#[test]
fn an_extension_is_a_request_and_no_lease_is_longer_than_a_day() {
    let (vm, grant) = held("22", &[ANN], Some(policy()));
    let (long, of_a_day) = held("3389", &["10.0.0.1"], Some(policy()));
    let stranger: GrantId = named("nobody-knows-it");
    let (zero, four) = (SignedDuration::ZERO, SECOND * 4);
    let cases: [(&Target, &GrantId, [SignedDuration; 2], &[&str]); 12] = [
        (&vm, &grant, [HOUR + SECOND, HOUR / 2], ALLOWED),
        (&vm, &grant, [HOUR * 3, zero], ALLOWED),
        (&vm, &grant, [HOUR * 3 + SECOND, zero], &["too-long"]),
        (&vm, &grant, [HOUR * 3 + SECOND, SECOND], ALLOWED),
        (&vm, &grant, [HOUR, HOUR / 2], &["not-later"]),
        (&vm, &grant, [HOUR * 2, HOUR - four], ALLOWED),
        (&vm, &grant, [HOUR * 2, HOUR - four + SECOND], &["last-seconds"]),
        (&vm, &grant, [HOUR, HOUR - SECOND], &["last-seconds", "not-later"]),
        (&vm, &grant, [HOUR * 2, HOUR], &["grant-over"]),
        (&vm, &stranger, [HOUR * 2, zero], &["grant-over"]),
        (&long, &of_a_day, [DAY, HOUR / 2], ALLOWED),
        (&long, &of_a_day, [DAY + SECOND, HOUR / 2], &["too-long"]),
    ];
    for (vm, grant, [end, now], wanted) in cases {
        let answer = extended(vm, grant, end, now);
        assert_eq!(told(&answer), wanted, "to {end:#} at {now:#}: {answer:?}");
    }
    let answer = extended(&vm, &grant, HOUR * 2, HOUR / 2);
    let Review::Allowed(Outcome::Extended { lease, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((lease.start(), lease.end()), (at(0), at(0) + HOUR * 2), "without a gap");
}

/// What the policy has become since the lease began is what decides.
#[test]
fn an_extension_is_decided_by_the_policy_of_now() {
    let narrower = PortRule { sources: sources(&["10.0.0.0/8"]), ..rule("22") };
    let cases: [(Option<PortRule>, &[&str]); 6] = [
        (Some(rule("22")), ALLOWED),
        (Some(PortRule { max: HOUR, ..rule("22") }), &["too-long"]),
        (Some(PortRule { max: HOUR, ..narrower }), &["source-not-allowed", "too-long"]),
        (Some(approved_by("22", &["bob"])), NEEDS_APPROVAL),
        (Some(approved_by("22", &["ann"])), &["nobody-may-approve"]),
        (None, &["not-enabled"]),
    ];
    for (rule, wanted) in cases {
        let policy = rule.map(|it| Policy::of(vec![it], &Terms::default()).expect("valid"));
        let (vm, grant) = held("22", &[ANN], policy);
        let answer = extended(&vm, &grant, HOUR * 2, HOUR / 2);
        assert_eq!(told(&answer), wanted, "{answer:?}");
    }
}

fn people(names: &[&str]) -> People {
    People::Only(names.iter().map(|it| person(it)).collect())
}

/// A machine with ports that need an approval, and with different people who may do without it.
fn behind_glass() -> BTreeMap<TargetId, Target> {
    let behind = |gate: &str, approvers: &[&str], break_glass| PortRule {
        break_glass,
        ..approved_by(gate, approvers)
    };
    let narrow = PortRule { sources: sources(&["10.0.0.0/8"]), max: MINUTE * 5, ..rule("22") };
    let rules = vec![
        rule("22"),
        behind("5001", &["bob"], Some(people(&["ann"]))),
        behind("5002", &[], Some(People::Anybody)),
        behind("5003", &["bob"], Some(people(&[]))),
        behind("5004", &["bob"], None),
        PortRule { break_glass: Some(people(&["ann"])), ..rule("5005") },
        PortRule {
            sources: narrow.sources,
            max: narrow.max,
            ..behind("5006", &["carol"], Some(people(&["ann"])))
        },
    ];
    [target("vm", Some(Policy::of(rules, &Terms::default()).expect("valid")))].into()
}

fn breaking(by: &str, asks: Vec<Ask>, why: Option<&str>) -> Request {
    Request { justification: why.map(given::because), ..request(by, initiate(asks, true)) }
}

/// Which glass would be broken.
fn broken(review: &Review) -> Vec<String> {
    match review {
        Review::Allowed(outcome) => outcome.broken().map(|it| it.gate.port.to_string()).collect(),
        Review::NeedsApproval { .. } | Review::Refused(_) => vec![],
    }
}

/// Who asks, for which ports, what comes of it, and which glass is broken.
type Breaking<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);

/// INVARIANT (empty-is-nothing): who is not named may not.
#[test]
fn a_person_named_for_a_port_may_use_break_glass() {
    let cases: [Breaking<'_>; 11] = [
        ("ann", &["5001"], ALLOWED, &["5001"]),
        ("ann", &["22", "5001"], ALLOWED, &["5001"]),
        ("ann", &["5001", "5002"], ALLOWED, &["5001", "5002"]),
        // Where nobody has to say yes there is nothing to break.
        ("ann", &["22", "5005"], ALLOWED, &[]),
        ("carol", &["5005"], ALLOWED, &[]),
        ("carol", &["5001"], &["may-not-break-glass"], &[]),
        ("carol", &["5002"], ALLOWED, &["5002"]),
        ("ann", &["5003"], &["may-not-break-glass"], &[]),
        ("ann", &["5004"], &["may-not-break-glass"], &[]),
        ("bob", &["5001", "5002", "5004"], &["may-not-break-glass", "may-not-break-glass"], &[]),
        // Whatever else the policy says holds as ever.
        ("ann", &["5006", "23"], &["source-not-allowed", "too-long", "not-guarded"], &[]),
    ];
    for (by, ports, wanted, glass) in cases {
        let asks = ports.iter().map(|port| ask(port)).collect();
        let request = breaking(by, asks, Some("it is down"));
        let answer = decided(&request, &behind_glass(), at(0));
        assert_eq!(told(&answer), wanted, "{by} {ports:?}: {answer:?}");
        assert_eq!(broken(&answer), glass, "{by} {ports:?}: {answer:?}");
    }
    let asks = vec![Ask { window: Window::For(MINUTE * 5), ..from("5006", &["10.0.0.1"]) }];
    assert_eq!(broken(&decided(&breaking("ann", asks, Some("w")), &behind_glass(), at(0))), ["5006"]);
    // And who does not say that they want to, waits as ever.
    let asked = request("ann", initiate(vec![ask("5001")], false));
    assert_eq!(told(&decided(&asked, &behind_glass(), at(0))), NEEDS_APPROVAL);
}

/// Until then somebody can be asked.
#[test]
fn break_glass_opens_at_once() {
    let of = |port: &str, start| {
        let window = Window::From { start, length: MINUTE * 5 };
        let request = breaking("ann", vec![Ask { window, ..ask(port) }], Some("it is down"));
        decided(&request, &behind_glass(), at(0))
    };
    assert_eq!(told(&of("5001", at(0))), ALLOWED);
    assert_eq!(told(&of("5001", at(2))), ALLOWED, "clocks differ");
    assert_eq!(told(&of("5001", at(3))), ["glass-later"]);
    assert_eq!(told(&of("22", at(3))), ALLOWED, "there is no glass");
}

#[test]
fn break_glass_needs_a_justification() {
    let of = |ports: &[&str]| {
        let asks = ports.iter().map(|port| ask(port)).collect();
        decided(&breaking("ann", asks, None), &behind_glass(), at(0))
    };
    assert_eq!(told(&of(&["5001"])), ["glass-without-why"]);
    assert_eq!(told(&of(&["22"])), ["glass-without-why"]);
    let both = of(&["5003"]);
    assert_eq!(told(&both), ["glass-without-why", "may-not-break-glass"]);
    let Review::Refused(refusals) = both else { panic!("{both:?}") };
    let said = [
        "break-glass needs a reason: give a justification",
        "`ann` may not use break-glass for port `5003/tcp` of `vm`: no person may",
    ];
    assert_eq!(refusals.to_string(), said.join("; "));
}

/// INVARIANT (break-glass-is-loud): with all that was opened, and whose yes it did without.
#[test]
fn the_fact_of_break_glass_has_every_port_and_every_skipped_approver() {
    let policy = behind_glass().into_values().next().expect("a machine").policy().cloned();
    let known = BTreeMap::from(["vm", "vm-2"].map(|id| target(id, policy.clone())));
    let asks = vec![on("vm-2", "22"), on("vm-2", "5001"), on("vm", "5002"), on("vm", "5001")];
    let request = breaking("ann", asks, Some("it is down"));
    let answer = decided(&request, &known, at(0));
    let Review::Allowed(outcome) = &answer else { panic!("{answer:?}") };
    let (first, fact) = outcome.glass_broken(&request, |id| known.get(id)?.policy()).expect("it is told");
    let opened = [("vm-2", "5001"), ("vm", "5002"), ("vm", "5001")];
    let opened = opened.map(|(id, port)| Pane { target: named(id), gate: named(port) }).to_vec();
    let (request, by, why) = (request.id, person("ann"), "it is down".to_owned());
    let skipped = People::Only([person("bob")].into());
    assert_eq!(first, named("vm-2"));
    assert_eq!(fact, Fact::GlassBroken { request, by, why, opened, skipped, correlation: None, via: None });
}

/// However many may say yes: what is told is an event, and has a bound.
#[test]
fn the_fact_of_break_glass_has_at_most_100_skipped_approvers() {
    let names: Vec<String> = (0..500).map(|n| format!("person-{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rule = PortRule { break_glass: Some(people(&["ann"])), ..approved_by("22", &names) };
    let known =
        BTreeMap::from([target("vm", Some(Policy::of(vec![rule], &Terms::default()).expect("valid")))]);
    let request = breaking("ann", vec![ask("22")], Some("it is down"));
    let answer = decided(&request, &known, at(0));
    let Review::Allowed(outcome) = &answer else { panic!("{answer:?}") };
    let (_, fact) = outcome.glass_broken(&request, |id| known.get(id)?.policy()).expect("it is told");
    let Fact::GlassBroken { skipped, .. } = fact else { panic!("{fact:?}") };
    assert_eq!(skipped.people().len(), 100);
}

/// The night is over, and somebody can be asked.
#[test]
fn an_extension_needs_the_same_approval() {
    let rule = PortRule { break_glass: Some(people(&["ann"])), ..approved_by("22", &["bob"]) };
    let policy = Policy::of(vec![rule], &Terms::default()).expect("valid");
    let (id, vm) = target("vm", Some(policy));
    let asked = breaking("ann", vec![ask("22")], Some("it is down"));
    let known = BTreeMap::from([(id, vm.clone())]);
    let answer = decided(&asked, &known, at(0));
    let Review::Allowed(Outcome::Granted(grants)) = answer else { panic!("{answer:?}") };
    let grant = grants[0].id.clone();
    let vm = vm.grant(grants, None, at(0)).target;
    assert!(vm.grant_of(&grant).is_some_and(|it| it.broke_glass));
    assert_eq!(told(&extended(&vm, &grant, HOUR * 2, HOUR / 2)), NEEDS_APPROVAL);
}
