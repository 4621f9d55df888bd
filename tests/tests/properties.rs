//! What holds for every input: the evaluator and `rules` against a brute-force packet oracle, review is
//! monotone, enable then disable is the identity, and everything that is printed reads back.

use ipnet::{IpNet, Ipv4Net};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Action, Bands, ChangeTo, Firewall, FirewallKind, Foreign, Gate, Grant, GrantId, Held, Lease, Owner,
    Packet, Policy, PortRule, Protocol, Request, RequestState, Review, Rule, Snapshot, Sources, Target,
    TargetId, Terms, What, Window, diff, review,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

/// A small world in which every packet can be tried: 32 addresses, 3 ports, 2 protocols.
const NET: [u8; 4] = [10, 0, 0, 0];
const PORTS: [u16; 3] = [22, 3389, 5985];

fn address(n: u8) -> IpAddr {
    IpAddr::from([NET[0], NET[1], NET[2], n])
}

fn packets() -> impl Iterator<Item = Packet> {
    let outside: [IpAddr; 2] = [[192, 0, 2, 1].into(), "2001:db8::1".parse().expect("valid")];
    let sources: Vec<IpAddr> = (0..32).map(address).chain(outside).collect();
    let protocols = [Protocol::Tcp, Protocol::Udp];
    sources.into_iter().flat_map(move |source| {
        PORTS.into_iter().flat_map(move |port| {
            let port = port.try_into().expect("not zero");
            protocols.map(|protocol| Packet { source, protocol, port })
        })
    })
}

fn sources() -> impl Strategy<Value = Sources> {
    let range = (0_u8..32, 27_u8..=32).prop_map(|(n, bits)| {
        IpNet::V4(Ipv4Net::new(Ipv4Addr::new(NET[0], NET[1], NET[2], n), bits).expect("valid").trunc())
    });
    prop_oneof![
        8 => prop::collection::vec(range, 1..4).prop_map(Sources::of),
        1 => Just(Sources::anywhere()),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Any)]
}

fn foreign() -> impl Strategy<Value = Foreign> {
    let ports = prop_oneof![Just(vec![0..=u16::MAX]), Just(vec![22..=22]), Just(vec![1000..=6000])];
    (300_u16..400, any::<bool>(), protocol(), sources(), ports, any::<bool>()).prop_map(
        |(priority, allows, protocol, sources, ports, reaches)| Foreign {
            name: format!("foreign-{priority}"),
            priority,
            action: if allows { Action::Allow } else { Action::Deny },
            protocol,
            sources,
            ports,
            reaches,
        },
    )
}

fn firewall(kind: FirewallKind) -> impl Strategy<Value = Firewall> {
    prop::collection::btree_map(300_u16..400, foreign(), 0..6).prop_map(move |foreign| Firewall {
        id: "nsg".parse().expect("valid"),
        kind,
        bands: Bands { allows: 100..200, denies: 200..300 },
        ours: BTreeMap::new(),
        // One rule a priority, as in an NSG.
        foreign: foreign.into_iter().map(|(priority, it)| Foreign { priority, ..it }).collect(),
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let otherwise = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let ordered = otherwise.prop_flat_map(|otherwise| firewall(FirewallKind::Ordered { otherwise }));
    let any = prop_oneof![3 => ordered, 1 => firewall(FirewallKind::Union)];
    prop::collection::vec(any, 1..4).prop_map(|firewalls| Snapshot {
        read_at: at(0),
        firewalls,
        connected: vec![],
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// The brute-force oracle: walks the rules as the documentation of each cloud says, packet by packet.
fn passes(snapshot: &Snapshot, owner: &Owner, packet: &Packet) -> bool {
    let (mut groups, mut admitted) = (0, 0);
    for firewall in &snapshot.firewalls {
        let mut verdicts: Vec<(u16, Action)> = vec![];
        for it in &firewall.foreign {
            let speaks = it.reaches
                && (it.protocol == Protocol::Any || it.protocol == packet.protocol)
                && it.ports.iter().any(|ports| ports.contains(&packet.port.number()))
                && it.sources.ranges().iter().any(|range| range.contains(&packet.source));
            if speaks {
                verdicts.push((it.priority, it.action));
            }
        }
        for (name, held) in &firewall.ours {
            let of = |gate: &Gate| {
                gate.port == packet.port
                    && (gate.protocol == Protocol::Any || gate.protocol == packet.protocol)
            };
            match &held.rule {
                Some(Rule::Deny { gates }) if name.owner == *owner && gates.iter().any(of) => {
                    verdicts.push((held.priority, Action::Deny));
                }
                Some(Rule::Allow { gate, sources, .. })
                    if name.owner == *owner
                        && of(gate)
                        && sources.ranges().iter().any(|it| it.contains(&packet.source)) =>
                {
                    verdicts.push((held.priority, Action::Allow));
                }
                Some(Rule::Deny { .. } | Rule::Allow { .. }) | None => {}
            }
        }
        verdicts.sort_by_key(|(priority, _)| *priority);
        match firewall.kind {
            FirewallKind::Ordered { otherwise } => {
                if verdicts.first().map_or(otherwise, |it| it.1) == Action::Deny {
                    return false;
                }
            }
            FirewallKind::Union => {
                groups += 1;
                admitted += usize::from(verdicts.iter().any(|it| it.1 == Action::Allow));
            }
        }
    }
    groups == 0 || 0 < admitted
}

fn id() -> TargetId {
    "vm".parse().expect("valid")
}

fn policy() -> Policy {
    let rule = |port: u16| PortRule::offered(port.try_into().expect("not zero"), Protocol::Tcp);
    Policy::of(vec![rule(22), rule(3389)], &Terms::default()).expect("valid")
}

fn guarded() -> Target {
    let by = "ann".parse().expect("valid");
    Target::unguarded(id()).set_policy(Some(policy()), &by, None, at(0)).expect("allowed").target
}

/// Grants on the two guarded ports, each from a second on, for some seconds.
fn leases() -> impl Strategy<Value = Vec<(u16, Sources, Lease)>> {
    let lease = (0_i64..50, 1_i64..50).prop_map(|(start, length)| {
        Lease::starting(at(start), SignedDuration::from_secs(length)).expect("short")
    });
    let port = prop_oneof![Just(22_u16), Just(3389)];
    prop::collection::vec((port, sources(), lease), 0..8)
}

fn granted(leases: &[(u16, Sources, Lease)]) -> Target {
    let request = request(vec![]);
    let grant = |(n, (port, sources, lease)): (usize, &(u16, Sources, Lease))| {
        let gate = Gate { port: (*port).try_into().expect("not zero"), protocol: Protocol::Tcp };
        Grant::approved(GrantId::derived(&request.id, n), &request, (id(), gate), sources.clone(), *lease)
    };
    guarded().grant(leases.iter().enumerate().map(grant).collect(), None, at(0)).target
}

fn request(asks: Vec<portcullis_domain::Ask>) -> Request {
    Request {
        id: "r".parse().expect("valid"),
        by: "ann".parse().expect("valid"),
        what: What::Initiate { asks },
        justification: None,
        asked_at: at(0),
        state: RequestState::Approved { at: at(0), by: None },
    }
}

/// Does what the changes say, as a firewall without faults would.
fn apply(snapshot: &mut Snapshot, changes: Vec<portcullis_domain::Change>) {
    for change in changes {
        let firewall = snapshot.firewalls.iter_mut().find(|it| it.id == change.firewall).expect("known");
        match change.to {
            ChangeTo::Put { rule, priority } => {
                let clash = firewall
                    .ours
                    .iter()
                    .any(|(name, held)| *name != change.name && held.priority == priority)
                    || firewall.foreign.iter().any(|it| it.priority == priority);
                assert!(!clash, "a priority is used twice");
                firewall.ours.insert(change.name, Held { rule: Some(rule), priority, etag: None });
            }
            ChangeTo::Delete => drop(firewall.ours.remove(&change.name)),
        }
    }
}

fn ordered(snapshot: Snapshot) -> Snapshot {
    let is_ordered = |it: &Firewall| it.kind != FirewallKind::Union;
    let mut firewalls: Vec<_> = snapshot.firewalls.into_iter().filter(is_ordered).collect();
    for (n, firewall) in firewalls.iter_mut().enumerate() {
        firewall.id = format!("nsg-{n}").parse().expect("valid");
    }
    Snapshot { firewalls, ..snapshot }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    /// The evaluator follows a packet as the brute-force oracle does, and the set that it computes is
    /// the set of the packets that pass.
    #[test]
    fn the_evaluator_agrees_with_brute_force(snapshot in snapshot()) {
        let owner = Owner::from(&id());
        for packet in packets() {
            let decision = snapshot.decide(&owner, &packet);
            prop_assert_eq!(decision.passes, passes(&snapshot, &owner, &packet), "{:?}", packet);
            let gate = Gate { port: packet.port, protocol: packet.protocol };
            prop_assert_eq!(snapshot.admitted(&owner, gate).any.contains(packet.source), decision.passes);
        }
        for port in PORTS {
            let port = port.try_into().expect("not zero");
            let admitted = snapshot.admitted(&owner, Gate { port, protocol: Protocol::Any });
            for source in (0..32).map(address) {
                let each = [Protocol::Tcp, Protocol::Udp].map(|protocol| passes(&snapshot, &owner, &Packet { source, protocol, port }));
                prop_assert_eq!(admitted.any.contains(source), each[0] || each[1]);
                prop_assert_eq!(admitted.all.contains(source), each[0] && each[1]);
            }
        }
    }

    /// Once `rules` are written, a guarded port admits the sources of live leases and nobody else,
    /// whatever foreign rules there are under ours; an unguarded one is as it was.
    #[test]
    fn rules_admit_the_live_and_nobody_else(leases in leases(), snapshot in snapshot(), now in 0_i64..100) {
        let (before, target, now) = (ordered(snapshot), granted(&leases), at(now));
        let mut after = before.clone();
        let owner = target.owner();
        let changes = diff(&after, &owner, &target.rules(now)).changes;
        apply(&mut after, changes);
        prop_assert!(diff(&after, &owner, &target.rules(now)).is_empty());
        for packet in packets().filter(|_| !after.firewalls.is_empty()) {
            let is_guarded = packet.protocol == Protocol::Tcp && packet.port.number() != 5985;
            let is_live = leases.iter().any(|(port, sources, lease)| {
                *port == packet.port.number() && sources.admit(packet.source) && lease.is_live(now)
            });
            let wanted = if is_guarded { is_live } else { passes(&before, &owner, &packet) };
            prop_assert_eq!(passes(&after, &owner, &packet), wanted, "{:?}", packet);
        }
    }

    /// Writing the rules at any times and then disabling leaves the firewalls as they were.
    #[test]
    fn enable_then_disable_is_the_identity(leases in leases(), snapshot in snapshot(), times in prop::collection::vec(0_i64..100, 1..4)) {
        let before = ordered(snapshot);
        let (mut after, target) = (before.clone(), granted(&leases));
        let owner = target.owner();
        for now in times {
            let changes = diff(&after, &owner, &target.rules(at(now))).changes;
            apply(&mut after, changes);
        }
        let disabled = target.set_policy(None, &"ann".parse().expect("valid"), None, at(100)).expect("allowed").target;
        let changes = diff(&after, &owner, &disabled.rules(at(100))).changes;
        apply(&mut after, changes);
        prop_assert_eq!(after, before);
    }

    /// A wider policy never turns a yes into a no, and neither does asking for less.
    #[test]
    fn review_is_monotone(
        asked in sources(), narrower in sources(), allowed in sources(), wider in sources(),
        minutes in 1_i64..2000, shorter in 1_i64..2000, max in 5_i64..1440, longer in 0_i64..600,
    ) {
        let terms = Terms::default();
        let answer = |sources: &Sources, minutes: i64, allowed: &Sources, max: i64| {
            let rule = PortRule {
                sources: allowed.clone(),
                max: SignedDuration::from_mins(max),
                ..PortRule::offered("22".parse().expect("valid"), Protocol::Tcp)
            };
            let policy = Policy::of(vec![rule], &terms).expect("valid");
            let by = "ann".parse().expect("valid");
            let target = Target::unguarded(id()).set_policy(Some(policy), &by, None, at(0)).expect("allowed").target;
            let ask = portcullis_domain::Ask {
                target: id(),
                port: "22".parse().expect("valid"),
                protocol: None,
                sources: sources.clone(),
                window: Window::For(SignedDuration::from_mins(minutes)),
            };
            let answer = review(&request(vec![ask]), &BTreeMap::from([(id(), target)]), &terms, at(0));
            matches!(answer, Review::Allowed(_))
        };
        if answer(&asked, minutes, &allowed, max) {
            let union = |one: &Sources, two: &Sources| Sources::of(one.ranges().iter().chain(two.ranges()).copied());
            prop_assert!(answer(&asked, minutes, &union(&allowed, &wider), (max + longer).min(1440)));
            let shorter = shorter.min(minutes).max(5);
            prop_assert!(answer(&asked, shorter, &allowed, max));
            if asked.cover(&narrower) {
                prop_assert!(answer(&narrower, minutes, &allowed, max));
            }
        }
    }

    /// What is printed reads back.
    #[test]
    fn printed_reads_back(sources in sources(), port in 1_u16.., protocol in protocol()) {
        let gate = Gate { port: port.try_into().expect("not zero"), protocol };
        prop_assert_eq!(gate.to_string().parse::<Gate>().expect("reads"), gate);
        let texts: Vec<String> = sources.clone().into();
        prop_assert_eq!(Sources::try_from(texts).expect("reads"), sources);
    }

    /// A lease and its extension have no moment between them at which nobody is admitted.
    #[test]
    fn an_extension_leaves_no_gap(start in 0_i64..1000, length in 1_i64..1000, more in 1_i64..1000) {
        let lease = Lease::starting(at(start), SignedDuration::from_secs(length)).expect("short");
        let longer = lease.extended(at(start + length + more)).expect("later");
        prop_assert!((start..start + length + more).all(|second| longer.is_live(at(second))));
        prop_assert!(longer.is_over(at(start + length + more)) && lease.is_live(at(start)));
    }
}
