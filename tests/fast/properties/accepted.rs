//! Accepted rules: they hide the sources that only they let in, and no other.

use super::*;
use portcullis_domain::{Accept, Accepted, ForeignRule, standing};

/// The same target where foreign rules are accepted: of those that may be, those of these numbers.
fn accepting(target: &Target, seen: &Snapshot, chosen: &[prop::sample::Index]) -> Target {
    let policy = target.policy().expect("guarded").clone();
    let owner = target.owner();
    let of = |it: &PortRule| (it.gate(), standing(seen, &owner, it.gate(), &[], &[]));
    let standing: BTreeMap<Gate, Vec<ForeignRule>> = policy.ports().iter().map(of).collect();
    let all: Vec<&ForeignRule> = standing.values().flatten().collect();
    if all.is_empty() {
        return target.clone();
    }
    let asked: Vec<Accept> =
        chosen.iter().map(|it| Accept { rule: it.get(&all).to_string(), why: None }).collect();
    let by = "ann".parse().expect("valid");
    let policy = policy.accepting(&asked, &standing, seen, &by, at(0)).expect("they are there");
    target.clone().set_policy(Some(policy), &by, None, at(0)).expect("allowed").target
}

/// The rules that a target accepts at the gate of a packet.
fn accepted(target: &Target, packet: &Packet) -> Vec<ForeignRule> {
    let gate = guarding(packet);
    let rule = gate.and_then(|gate| target.policy().expect("guarded").rule(gate));
    rule.into_iter().flat_map(|it| &it.accepted).map(Accepted::of).collect()
}

fn without(snapshot: &Snapshot, rules: &[ForeignRule]) -> Snapshot {
    let mut without = snapshot.clone();
    for firewall in &mut without.firewalls {
        let id = firewall.id.clone();
        let is_one = |it: &Foreign| {
            rules.contains(&ForeignRule { name: it.name.clone(), firewall: id.clone() })
                && it.action == Action::Allow
        };
        firewall.foreign.retain(|it| !is_one(it));
    }
    without
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    /// A lock is told as defeated if, and only if, a packet without a lease passes that would pass without the accepted rules
    /// too; the packets that would not are told as accepted. No acceptance changes a rule that is written.
    #[test]
    fn accepted_rule_hides_no_source_that_another_rule_lets_in(
        leases in leases(), before in prop_oneof![crowded(), snapshot(), ways()], now in 0_i64..100,
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let (target, now) = (granted(&leases), at(now));
        let owner = target.owner();
        let mut seen = before;
        for _ in 0..ROUNDS_MAX {
            let changes = diff(&seen, &owner, &target.rules(now)).changes;
            apply(&mut seen, changes);
        }
        let target = accepting(&target, &seen, &chosen);
        prop_assert!(diff(&seen, &owner, &target.rules(now)).is_empty(), "an acceptance writes nothing");
        let (defeats, told) = (target.defeats_in(&seen, now), target.accepted_in(&seen, now));
        for gate in GATES.map(gate) {
            let of_gate: Vec<Packet> = packets().filter(|it| guarding(it) == Some(gate)).collect();
            let is_leased = |packet: &Packet| leases.iter().any(|(of, sources, lease)| {
                let is_of = of.port == packet.port && [Protocol::Any, packet.protocol].contains(&of.protocol);
                is_of && lease.is_live(now) && sources.ranges().iter().any(|it| is_in(it, packet.source))
            });
            let beside = |packet: &Packet| passes(&without(&seen, &accepted(&target, packet)), &owner, packet);
            let intruder = of_gate.iter().find(|it| beside(it) && !is_leased(it));
            // Sources in doubt or out of this small world are none here.
            prop_assert!(intruder.is_none() || defeats.contains_key(&gate), "{intruder:?} is hidden: {defeats:?}");
            if let Some(by) = defeats.get(&gate) {
                let rules = of_gate.iter().flat_map(|it| accepted(&target, it));
                prop_assert!(!rules.map(|it| it.to_string()).any(|it| it == *by), "{by} is accepted");
            }
            for packet in &of_gate {
                let is_told = told.get(&gate).is_some_and(|it| it.sources.contains(packet.source));
                let is_by_accepted = |it: &&Packet| it.source.to_canonical() == packet.source.to_canonical()
                    && passes(&seen, &owner, it) && !beside(it);
                prop_assert_eq!(is_told, of_gate.iter().any(|it| is_by_accepted(&it)), "{:?}", packet);
            }
        }
    }

    /// A rule that says anything else than when it was accepted is told again, and as one that changed.
    #[test]
    fn accepted_rule_that_changed_is_told_again(
        before in crowded(), chosen in any::<prop::sample::Index>(), wider in sources(),
    ) {
        let target = guarded();
        let owner = target.owner();
        let mut seen = before;
        for _ in 0..ROUNDS_MAX {
            let changes = diff(&seen, &owner, &target.rules(at(1))).changes;
            apply(&mut seen, changes);
        }
        let target = accepting(&target, &seen, &[chosen]);
        let policy = target.policy().expect("guarded").clone();
        let accepted: Vec<ForeignRule> =
            policy.ports().iter().flat_map(|it| &it.accepted).map(Accepted::of).collect();
        let mut changed = seen.clone();
        for firewall in &mut changed.firewalls {
            let id = firewall.id.clone();
            for it in firewall.foreign.iter_mut().filter(|it| it.action == Action::Allow) {
                if accepted.contains(&ForeignRule { name: it.name.clone(), firewall: id.clone() }) {
                    it.sources = Sources::of(it.sources.ranges().iter().chain(wider.ranges()).copied());
                }
            }
        }
        let defeats = target.defeats_in(&changed, at(1));
        if changed == seen {
            prop_assert_eq!(defeats, target.defeats_in(&seen, at(1)));
        } else {
            for gate in GATES.map(gate) {
                let is_in = packets().filter(|it| guarding(it) == Some(gate)).any(|it| passes(&changed, &owner, &it));
                prop_assert_eq!(defeats.contains_key(&gate), is_in);
            }
            let known = Target::defeats_in(&guarded(), &changed, at(1));
            for rule in policy.ports() {
                let by = defeats.get(&rule.gate()).map(String::as_str).unwrap_or_default();
                let is_accepted = |it: &ForeignRule| rule.accepted.iter().any(|held| held.of() == *it);
                if accepted.iter().any(|it| is_accepted(it) && by.starts_with(&format!("{it} "))) {
                    prop_assert!(by.starts_with(&known[&rule.gate()]) && by.contains("was changed since"), "{by}");
                }
                let is_bare = |it: &ForeignRule| is_accepted(it) && by == it.to_string();
                prop_assert!(!accepted.iter().any(is_bare), "{by}");
            }
        }
    }
}
