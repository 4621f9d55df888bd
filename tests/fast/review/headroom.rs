//! The room that firewalls have beside what they hold for others.

use super::{ALLOWED, answer, ask, expect, extended, from, held, many, policy, told};
use portcullis_domain::{Ask, Headroom, Refusal, Review, Snapshot, Target, Window};
use portcullis_tests::given::{HOUR, at, named};
use std::collections::BTreeMap;

/// As a worker leaves it that saw so much room in its firewalls.
fn with_room(vm: Target, rooms: &[(&str, usize, usize)]) -> Target {
    let room = |(firewall, ranges, rules): &(&str, usize, usize)| Headroom {
        firewall: named(firewall),
        ranges: *ranges,
        rules: *rules,
    };
    let seen = Snapshot { headroom: rooms.iter().map(room).collect(), ..Snapshot::of(at(0), vec![]) };
    let decided = vm.rules(at(0));
    vm.claim(&named("worker"), at(0)).target.confirm(&seen, false, &decided, at(0)).target
}

#[test]
fn a_request_that_does_not_fit_beside_the_other_rules_of_a_firewall_is_refused() {
    let with = |port: &str, count| vec![Ask { sources: many(count), ..ask(port) }];
    let no_room: &[&str] = &["firewall-full"];
    let (vm, _) = held("3389", &["10.0.0.1", "10.0.0.3"], Some(policy()));
    let known = |rooms| BTreeMap::from([(vm.id.clone(), with_room(vm.clone(), rooms))]);
    expect(&known(&[]), &[(&with("22", 998), ALLOWED)]);
    let tight = known(&[("wide", 4000, 900), ("tight", 10, 900)]);
    expect(
        &tight,
        &[
            (&with("22", 8), ALLOWED),
            (&with("22", 9), no_room),
            // A rule for each protocol.
            (&with("53", 4), ALLOWED),
            (&with("53", 5), no_room),
            (&[with("22", 4), with("53", 2)].concat(), ALLOWED),
            (&[with("22", 4), with("53", 3)].concat(), no_room),
        ],
    );
    let Review::Refused(reasons) = answer(&tight, "ann", &with("22", 9)) else { panic!("too many") };
    let (target, firewall) = (vm.id.clone(), named("tight"));
    let told = Refusal::FirewallFull { target, firewall, what: "source ranges", asked: 9, room: 10, held: 2 };
    assert_eq!(reasons, told.into());
    // One rule is there.
    let few = known(&[("few", 4000, 2)]);
    let same_rule = [from("3389", &["10.0.0.9"])];
    expect(&few, &[(&with("22", 1), ALLOWED), (&same_rule, ALLOWED), (&with("53", 1), no_room)]);
}

#[test]
fn a_later_lease_and_an_extension_need_room_too() {
    let (vm, grant) = held("22", &["10.0.0.1", "10.0.0.3"], Some(policy()));
    let later = |count| {
        let window = Window::From { start: at(0) + HOUR * 2, length: HOUR };
        vec![Ask { sources: many(count), window, ..ask("22") }]
    };
    let tight = with_room(vm.clone(), &[("tight", 4, 900)]);
    let known = BTreeMap::from([(vm.id.clone(), tight.clone())]);
    expect(&known, &[(&later(2), ALLOWED), (&later(3), &["firewall-full"])]);
    assert_eq!(told(&extended(&tight, &grant, HOUR * 2, HOUR / 2)), ALLOWED);
    let full = with_room(vm, &[("full", 1, 900)]);
    assert_eq!(told(&extended(&full, &grant, HOUR * 2, HOUR / 2)), &["firewall-full"]);
}
