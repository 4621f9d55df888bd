//! What holds for every input: the evaluator and `rules` against a brute-force packet oracle, review is
//! monotone, enable then disable is the identity, and everything that is printed reads back.

mod accepted;
mod blocks;

use blocks::{blocked, blocked_at};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Action, AddressSet, Bands, ChangeTo, Existing, Families, Firewall, FirewallKind, Foreign, Gate, Grant,
    GrantId, Held, Lease, Owner, Packet, Person, Policy, PortRule, Protocol, Request, Review, Rule, RuleName,
    RuleSet, Snapshot, Sources, Target, TargetId, Terms, Way, What, Window, diff, review,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A small world in which every packet can be tried: 32 addresses of IPv4, of which some also come in IPv6
/// clothes, 16 of IPv6, one stranger of each; 4 ports, 2 protocols.
const PORTS: [u16; 4] = [22, 53, 3389, 5985];
const TRANSPORTS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];
/// The target's addresses.
const ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 1, 2)];
/// From where a firewall that translates sends packets on: one of the 32.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 17);

fn v4(n: u8) -> Ipv4Addr {
    Ipv4Addr::from([10, 0, 0, n])
}

fn v6(n: u8) -> Ipv6Addr {
    Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)])
}

/// As a socket that speaks both families shows an IPv4 address.
fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}

fn addresses() -> Vec<IpAddr> {
    let strangers: [IpAddr; 2] = [[192, 0, 2, 1].into(), [0x2001, 0xdb9, 0, 0, 0, 0, 0, 1].into()];
    let clothed = (0..32).step_by(5).map(|n| mapped(v4(n)).into());
    let ours = (0..32).map(|n| v4(n).into()).chain((0..16).map(|n| v6(n).into()));
    ours.chain(clothed).chain(strangers).collect()
}

fn packets() -> impl Iterator<Item = Packet> {
    let protocols = TRANSPORTS;
    addresses().into_iter().flat_map(move |source| {
        PORTS.into_iter().flat_map(move |port| {
            let port = port.try_into().expect("not zero");
            protocols.map(|protocol| Packet { source, protocol, port })
        })
    })
}

/// Ranges as somebody may write them: of either family, of IPv4 in IPv6 clothes, with bits behind the prefix.
fn ranges() -> impl Strategy<Value = Vec<IpNet>> {
    let range = |address: IpAddr, bits| IpNet::new(address, bits).expect("valid");
    let range = prop_oneof![
        4 => (0_u8..32, 27_u8..=32).prop_map(move |(n, bits)| range(v4(n).into(), bits)),
        2 => (0_u8..16, 124_u8..=128).prop_map(move |(n, bits)| range(v6(n).into(), bits)),
        1 => (0_u8..32, 123_u8..=128).prop_map(move |(n, bits)| range(mapped(v4(n)).into(), bits)),
    ];
    prop::collection::vec(range, 1..4)
}

fn sources() -> impl Strategy<Value = Sources> {
    prop_oneof![8 => ranges().prop_map(Sources::of), 1 => Just(Sources::anywhere())]
}

/// Bit by bit: an IPv4 address is one in whichever clothes, and `::/0` does not speak of it.
fn is_in(range: &IpNet, address: IpAddr) -> bool {
    let bits = |it: IpAddr| match it {
        IpAddr::V4(it) => mapped(it).to_bits(),
        IpAddr::V6(it) => it.to_bits(),
    };
    let len = u32::from(range.prefix_len() + if range.addr().is_ipv4() { 96 } else { 0 });
    if len < 96 && address.to_canonical().is_ipv4() {
        return false;
    }
    let differs = (bits(range.addr()) ^ bits(address)).checked_shr(128 - len).unwrap_or_default();
    differs == 0
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Any)]
}

fn foreign() -> impl Strategy<Value = Foreign> {
    let ports = prop_oneof![Just(vec![0..=u16::MAX]), Just(vec![22..=22, 53..=100]), Just(vec![1000..=6000])];
    let to = prop_oneof![
        4 => Just(Sources::anywhere()),
        2 => Just(Sources::default()),
        1 => Just(Sources::from(IpAddr::from(ENDS[0]))),
        1 => Just(Sources::from(IpAddr::from(ENDS[1]))),
    ];
    (300_u16..400, any::<bool>(), protocol(), sources(), ports, to).prop_map(
        |(priority, allows, protocol, sources, ports, to)| Foreign {
            name: format!("foreign-{priority}"),
            priority,
            action: if allows { Action::Allow } else { Action::Deny },
            protocol,
            sources,
            unsure: Sources::default(),
            ports,
            to,
            is_general: false,
        },
    )
}

fn families() -> impl Strategy<Value = Families> {
    let one = [Families { v4: true, v6: false }, Families { v4: false, v6: true }];
    prop_oneof![3 => Just(Families::BOTH), 1 => prop::sample::select(one.to_vec())]
}

fn firewall(kind: FirewallKind) -> impl Strategy<Value = Firewall> {
    prop::collection::btree_map(300_u16..400, foreign(), 0..6).prop_map(move |foreign| Firewall {
        id: "nsg".parse().expect("valid"),
        kind,
        bands: Bands { allows: 100..200, denies: 200..300, existing: Existing::Override },
        inside: AddressSet::default(),
        families: Families::BOTH,
        ours: BTreeMap::new(),
        // One rule a priority, as in an NSG.
        foreign: foreign.into_iter().map(|(priority, it)| Foreign { priority, ..it }).collect(),
    })
}

/// That denies.
fn walled() -> impl Strategy<Value = Firewall> {
    let otherwise = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    otherwise.prop_flat_map(|otherwise| firewall(FirewallKind::Ordered { otherwise }))
}

/// That nobody here writes.
fn read_only() -> impl Strategy<Value = Firewall> {
    let otherwise = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    otherwise.prop_flat_map(|otherwise| firewall(FirewallKind::ReadOnly { otherwise }))
}

fn numbered(mut firewalls: Vec<Firewall>) -> Vec<Firewall> {
    for (n, firewall) in firewalls.iter_mut().enumerate() {
        firewall.id = format!("nsg-{n}").parse().expect("valid");
    }
    firewalls
}

/// One way through everything.
fn snapshot() -> impl Strategy<Value = Snapshot> {
    let any = prop_oneof![2 => walled(), 1 => firewall(FirewallKind::Union)];
    (prop::collection::vec(any, 1..4), families()).prop_map(|(firewalls, families)| {
        let of = |it| Firewall { families, ..it };
        Snapshot::of(at(0), numbered(firewalls.into_iter().map(of).collect()))
    })
}

/// Several ways, by which not everybody comes, to either address of the target or to none in particular. Some
/// begin at a firewall that translates; those behind it admit what it sends.
fn ways() -> impl Strategy<Value = Snapshot> {
    let behind = prop_oneof![2 => walled(), 1 => read_only(), 1 => firewall(FirewallKind::Union)];
    let way = (
        prop::option::of(sources()),
        any::<[bool; 4]>(),
        prop::option::of(prop::sample::select(ENDS.to_vec())),
    );
    let (firewalls, ways) = (prop::collection::vec(behind, 1..4), prop::collection::vec(way, 0..4));
    (firewalls, firewall(FirewallKind::Translating), ways, any::<bool>()).prop_map(
        |(mut firewalls, translating, ways, has_front)| {
            let front = firewalls.len();
            firewalls.push(translating);
            if has_front {
                for firewall in &mut firewalls {
                    firewall.inside = AddressSet::from(&Sources::from(IpAddr::from(INSIDE)));
                }
            } else {
                firewalls.truncate(front);
            }
            let count = firewalls.len();
            let way = |(from, meets, to): (Option<Sources>, [bool; 4], Option<Ipv4Addr>)| {
                let in_order = std::iter::once(front).chain(0..front).filter(|at| *at < count);
                Way {
                    from: from.map_or_else(AddressSet::all, |it| AddressSet::from(&it)),
                    through: in_order.zip(meets).filter(|(_, meets)| *meets).map(|(at, _)| at).collect(),
                    to: to.map(IpAddr::from),
                }
            };
            let ways = ways.into_iter().map(way).collect();
            Snapshot { ways, ..Snapshot::of(at(0), numbered(firewalls)) }
        },
    )
}

/// Foreign rules also stand in our bands, which may be almost full, and may be respected.
fn crowded() -> impl Strategy<Value = Snapshot> {
    let firewall = (walled(), prop::collection::btree_map(90_u16..130, foreign(), 0..16), any::<bool>());
    let firewall = firewall.prop_map(|(firewall, foreign, overrides)| Firewall {
        bands: Bands {
            allows: 100..110,
            denies: 110..120,
            existing: if overrides { Existing::Override } else { Existing::Respect },
        },
        foreign: foreign.into_iter().map(|(priority, it)| Foreign { priority, ..it }).collect(),
        ..firewall
    });
    prop::collection::vec(firewall, 1..3).prop_map(|firewalls| Snapshot::of(at(0), numbered(firewalls)))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// The brute-force oracle: walks the rules as the documentation of each cloud says, packet by packet. One way
/// is enough.
fn passes(snapshot: &Snapshot, owner: &Owner, packet: &Packet) -> bool {
    let comes = |way: &&Way| way.from.to_sources().ranges().iter().any(|it| is_in(it, packet.source));
    snapshot.ways.iter().filter(comes).any(|way| arrives(snapshot, way, owner, *packet))
}

/// Security groups are the machine's own: they see what arrives, wherever they are named.
fn arrives(snapshot: &Snapshot, way: &Way, owner: &Owner, mut packet: Packet) -> bool {
    let mut groups = vec![];
    for firewall in way.through.iter().map(|at| &snapshot.firewalls[*at]) {
        let verdicts = verdicts(firewall, owner, &packet, way.to);
        match firewall.kind {
            FirewallKind::Ordered { otherwise } | FirewallKind::ReadOnly { otherwise } => {
                if verdicts.first().map_or(otherwise, |it| it.1) == Action::Deny {
                    return false;
                }
            }
            FirewallKind::Union => groups.push(firewall),
            FirewallKind::Translating => {
                if verdicts.iter().all(|it| it.1 == Action::Deny) {
                    return false;
                }
                packet.source = INSIDE.into();
            }
        }
    }
    let admits = |it: &&Firewall| verdicts(it, owner, &packet, way.to).iter().any(|it| it.1 == Action::Allow);
    groups.is_empty() || groups.iter().any(admits)
}

/// What the rules of a firewall that speak of a packet say, by their priorities.
fn verdicts(firewall: &Firewall, owner: &Owner, packet: &Packet, to: Option<IpAddr>) -> Vec<(u16, Action)> {
    let comes_from = |it: &Sources| it.ranges().iter().any(|range| is_in(range, packet.source));
    let mut verdicts: Vec<(u16, Action)> = vec![];
    for it in &firewall.foreign {
        let reaches = match to {
            Some(to) => it.to.ranges().iter().any(|range| is_in(range, to)),
            None => !it.to.is_empty(),
        };
        let speaks = reaches
            && (it.protocol == Protocol::Any || it.protocol == packet.protocol)
            && it.ports.iter().any(|ports| ports.contains(&packet.port.number()))
            && comes_from(&it.sources);
        if speaks {
            verdicts.push((it.priority, it.action));
        }
    }
    for (_, held) in firewall.ours.iter().filter(|(name, _)| name.owner == *owner) {
        let of = |gate: &Gate| {
            gate.port == packet.port && (gate.protocol == Protocol::Any || gate.protocol == packet.protocol)
        };
        // Behind a firewall that translates, whom it let in comes from its address.
        let is_sent_on =
            firewall.kind != FirewallKind::Translating && firewall.inside.contains(packet.source);
        match &held.rule {
            Some(Rule::Deny { gates }) if gates.iter().any(of) => {
                verdicts.push((held.priority, Action::Deny));
            }
            Some(Rule::Allow { gate, sources, .. }) if of(gate) && (is_sent_on || comes_from(sources)) => {
                verdicts.push((held.priority, Action::Allow));
            }
            Some(Rule::Deny { .. } | Rule::Allow { .. }) | None => {}
        }
    }
    verdicts.sort_by_key(|(priority, _)| *priority);
    verdicts
}

fn id() -> TargetId {
    "vm".parse().expect("valid")
}

/// Three ports are guarded, each for other packets; the fourth is not.
const GATES: [(u16, Protocol); 3] = [(22, Protocol::Tcp), (53, Protocol::Any), (3389, Protocol::Udp)];

/// A lease may also be of one protocol of a guarded port.
const PARTS: [(u16, Protocol); 2] = [(53, Protocol::Tcp), (53, Protocol::Udp)];

fn gate((port, protocol): (u16, Protocol)) -> Gate {
    Gate { port: port.try_into().expect("not zero"), protocol }
}

/// The gate of which a packet would have to be let in.
fn guarding(packet: &Packet) -> Option<Gate> {
    let speaks =
        |it: &Gate| it.port == packet.port && [Protocol::Any, packet.protocol].contains(&it.protocol);
    GATES.map(gate).into_iter().find(speaks)
}

fn policy() -> Policy {
    let rules = GATES.map(gate).map(|it| PortRule::offered(it.port, it.protocol));
    Policy::of(rules.into(), &Terms::default()).expect("valid")
}

fn guarded() -> Target {
    let by = "ann".parse().expect("valid");
    Target::unguarded(id()).set_policy(Some(policy()), &by, None, at(0)).expect("allowed").target
}

/// Grants on the guarded ports, each from a second on, for some seconds.
fn leases() -> impl Strategy<Value = Vec<(Gate, Sources, Lease)>> {
    let lease = (0_i64..50, 1_i64..50).prop_map(|(start, length)| {
        Lease::starting(at(start), SignedDuration::from_secs(length)).expect("short")
    });
    let gate = prop::sample::select([&GATES[..], &PARTS].concat().into_iter().map(gate).collect::<Vec<_>>());
    prop::collection::vec((gate, sources(), lease), 0..8)
}

fn granted(leases: &[(Gate, Sources, Lease)]) -> Target {
    let request = request(vec![]);
    let grant = |(n, (gate, sources, lease)): (usize, &(Gate, Sources, Lease))| {
        Grant::approved(GrantId::derived(&request.id, n), &request, (id(), *gate), sources.clone(), *lease)
    };
    guarded().grant(leases.iter().enumerate().map(grant).collect(), None, at(0)).target
}

fn request(asks: Vec<portcullis_domain::Ask>) -> Request {
    let what = What::Initiate { asks, break_glass: false };
    Request { what, ..portcullis_tests::given::request("ann", "r", "vm", at(0)) }
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
                firewall
                    .ours
                    .insert(change.name, Held { rule: Some(rule), priority, beside: vec![], etag: None });
            }
            ChangeTo::Delete => drop(firewall.ours.remove(&change.name)),
        }
    }
}

/// The same path without the firewalls that have an order, and whether there are any.
fn groups(snapshot: &Snapshot) -> (Snapshot, bool) {
    let mut groups = snapshot.clone();
    groups.firewalls.retain(|it| it.kind == FirewallKind::Union);
    let is_walled = groups.firewalls.len() < snapshot.firewalls.len();
    (groups, is_walled)
}

/// By when a diff is empty where rules have to make room for each other.
const ROUNDS_MAX: usize = 4;

/// The evaluator and the oracle say the same of every packet there is.
fn agrees(snapshot: &Snapshot, owner: &Owner) -> Result<(), TestCaseError> {
    for port in PORTS.map(|it| it.try_into().expect("not zero")) {
        let admitted = [Protocol::Tcp, Protocol::Udp, Protocol::Any]
            .map(|protocol| snapshot.admitted(owner, Gate { port, protocol }));
        for source in addresses() {
            let packet = |protocol| Packet { source, protocol, port };
            let each = TRANSPORTS.map(|it| passes(snapshot, owner, &packet(it)));
            for ((protocol, passes), admitted) in TRANSPORTS.into_iter().zip(each).zip(&admitted) {
                prop_assert_eq!(
                    snapshot.decide(owner, &packet(protocol)).passes,
                    passes,
                    "{:?}",
                    packet(protocol)
                );
                prop_assert_eq!(admitted.any.contains(source), passes, "{:?}", packet(protocol));
                prop_assert_eq!(admitted.all.contains(source), passes, "{:?}", packet(protocol));
            }
            let any = packet(Protocol::Any);
            prop_assert_eq!(snapshot.decide(owner, &any).passes, each == [true, true], "{:?}", any);
            prop_assert_eq!(admitted[2].any.contains(source), each[0] || each[1], "{:?}", any);
            prop_assert_eq!(admitted[2].all.contains(source), each[0] && each[1], "{:?}", any);
        }
    }
    Ok(())
}

/// A lock stands on the right side of every rule that lets somebody into one of its gates, if there is room.
fn lock_is_placed(firewall: &Firewall, wanted: &RuleSet) -> Result<(), TestCaseError> {
    let contradicts = |it: &&Foreign| {
        let meets = |gate: &Gate| {
            let port = gate.port.number();
            it.ports.iter().any(|ports| ports.contains(&port))
                && (it.protocol == Protocol::Any
                    || gate.protocol == Protocol::Any
                    || it.protocol == gate.protocol)
        };
        it.action == Action::Allow && !it.to.is_empty() && GATES.map(gate).iter().any(meets)
    };
    let bands = &firewall.bands;
    let others = || firewall.foreign.iter().filter(contradicts).map(|it| it.priority);
    let is_right = |seat: u16| match bands.existing {
        Existing::Override => others().all(|it| seat < it),
        Existing::Respect => others().filter(|it| *it < bands.denies.end).all(|it| it < seat),
    };
    let is_free = |seat: &u16| firewall.foreign.iter().all(|it| it.priority != *seat);
    let has_room = bands.denies.clone().filter(is_free).any(is_right);
    let is_lock = |it: &&RuleName| matches!(wanted.get(it), Some(Rule::Deny { .. }));
    if let Some(held) = firewall.ours.iter().find_map(|(name, held)| is_lock(&name).then_some(held)) {
        prop_assert!(!has_room || is_right(held.priority), "at {}: {:?}", held.priority, firewall);
        prop_assert!(bands.denies.contains(&held.priority));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    /// The evaluator follows a packet as the brute-force oracle does, and the set that it computes is
    /// the set of the packets that pass.
    #[test]
    fn the_evaluator_agrees_with_brute_force(before in prop_oneof![snapshot(), ways()], leases in leases(), now in 0_i64..100) {
        let target = granted(&leases);
        let owner = target.owner();
        let mut after = before.clone();
        let changes = diff(&after, &owner, &target.rules(at(now))).changes;
        apply(&mut after, changes);
        agrees(&before, &owner)?;
        agrees(&after, &owner)?;
    }

    /// Whomever rules really speak of, among those of whom nobody can tell: of who gets in nobody is missed, and
    /// of who does not, nobody is said to get in for sure.
    #[test]
    fn in_doubt_a_lock_is_open_and_a_lease_is_shut(
        before in prop_oneof![snapshot(), ways()], leases in leases(), now in 0_i64..100,
        doubts in prop::collection::vec((sources(), any::<bool>()), 24),
    ) {
        let target = granted(&leases);
        let owner = target.owner();
        let mut told = before;
        let changes = diff(&told, &owner, &target.rules(at(now))).changes;
        apply(&mut told, changes);
        let mut truth = told.clone();
        let rules = told.firewalls.iter_mut().zip(&mut truth.firewalls);
        let rules = rules.flat_map(|(told, truth)| told.foreign.iter_mut().zip(&mut truth.foreign));
        for ((told, truth), (maybe, is_so)) in rules.zip(doubts) {
            if is_so {
                let both = told.sources.ranges().iter().chain(maybe.ranges()).copied();
                truth.sources = Sources::of(both);
            }
            told.unsure = maybe;
        }
        for (port, protocol) in PORTS.into_iter().flat_map(|port| TRANSPORTS.map(|it| (port, it))) {
            let port = port.try_into().expect("not zero");
            let admitted = told.admitted(&owner, Gate { port, protocol });
            for source in addresses() {
                let packet = Packet { source, protocol, port };
                let (may, does) = (told.decide(&owner, &packet).passes, told.decide_surely(&owner, &packet).passes);
                let truth = passes(&truth, &owner, &packet);
                prop_assert!((may || !truth) && (truth || !does), "{packet:?}: {does} <= {truth} <= {may}");
                prop_assert_eq!((admitted.any.contains(source), admitted.all.contains(source)), (may, does));
            }
        }
    }

    /// What a diff says is enough: where nothing of ours stood, nothing is left to say once it is done, however
    /// little room there is; and where something else of ours stood, soon. A lock that has room stands above all
    /// that contradict it, or under them where they are respected.
    #[test]
    fn a_diff_that_was_applied_is_empty(leases in leases(), before in prop_oneof![crowded(), ways()], times in prop::collection::vec(0_i64..100, 1..4)) {
        let (mut after, target) = (before.clone(), granted(&leases));
        let owner = target.owner();
        for (n, now) in times.into_iter().enumerate() {
            let wanted = target.rules(at(now));
            let rounds = if n == 0 { 1 } else { ROUNDS_MAX };
            for _ in 0..rounds {
                let changes = diff(&after, &owner, &wanted).changes;
                apply(&mut after, changes);
            }
            let left = diff(&after, &owner, &wanted);
            prop_assert_eq!(&left.changes, &[], "after round {}: {:?}", rounds, after);
            for firewall in &after.firewalls {
                let is_unplaced = |name: &RuleName| left.unplaced.contains(&(firewall.id.clone(), name.clone()));
                let held = |name: &RuleName| firewall.ours.contains_key(name);
                prop_assert!(!wanted.iter().any(|(name, _)| is_unplaced(name) && held(name)));
                lock_is_placed(firewall, &wanted)?;
            }
        }
    }

    /// INVARIANT (closing-waits-for-no-opening): what shuts leaves of each allow exactly whom it admits and shall
    /// admit, until the earlier of the two ends; what opens takes nobody and nothing away; and no rule is in both.
    #[test]
    fn no_change_both_shuts_and_opens(one in leases(), other in leases(), before in prop_oneof![snapshot(), ways()], times in (0_i64..100, 0_i64..100)) {
        let (before_rules, target) = (granted(&one).rules(at(times.0)), granted(&other));
        let (owner, wanted) = (target.owner(), target.rules(at(times.1)));
        let mut held = before;
        for _ in 0..ROUNDS_MAX {
            let changes = diff(&held, &owner, &before_rules).changes;
            apply(&mut held, changes);
        }
        let allow = |snapshot: &Snapshot, change: &portcullis_domain::Change| {
            let firewall = snapshot.firewalls.iter().find(|it| it.id == change.firewall).expect("known");
            match firewall.ours.get(&change.name).and_then(|it| it.rule.clone()) {
                Some(Rule::Allow { sources, until, .. }) => (AddressSet::from(&sources), Some(until)),
                Some(Rule::Deny { .. }) | None => (AddressSet::default(), None),
            }
        };
        let step = diff(&held, &owner, &wanted);
        let mut after = held.clone();
        apply(&mut after, step.shuts().to_vec());
        for change in step.shuts().iter().filter(|it| it.name.gate.is_some()) {
            let ((stood, ended), (stands, ends)) = (allow(&held, change), allow(&after, change));
            let at = held.firewalls.iter().position(|it| it.id == change.firewall).expect("known");
            let shall = match wanted.get(&change.name) {
                Some(Rule::Allow { gate, sources, .. }) => AddressSet::from(sources).without(&blocked_at(&held, at, *gate)),
                Some(Rule::Deny { .. }) | None => AddressSet::default(),
            };
            prop_assert_eq!(&stands, &stood.intersection(&shall), "{}", change);
            prop_assert!(ends.is_none() || ends <= ended, "{}", change);
            prop_assert!(!step.opens().iter().any(|it| (&it.name, &it.firewall) == (&change.name, &change.firewall)));
            for less in change.narrower(&held) {
                let mut narrowed = held.clone();
                apply(&mut narrowed, vec![less]);
                prop_assert!(allow(&narrowed, change).0.is_within(&stands));
            }
        }
        apply(&mut after, step.opens().to_vec());
        for change in step.opens() {
            let ((stood, ended), (stands, ends)) = (allow(&held, change), allow(&after, change));
            prop_assert!(stood.is_within(&stands) && ended <= ends, "{}", change);
        }
        for _ in 1..ROUNDS_MAX {
            let changes = diff(&after, &owner, &wanted).changes;
            apply(&mut after, changes);
        }
        prop_assert!(diff(&after, &owner, &wanted).is_empty());
    }

    /// Once `rules` are written, a guarded port admits the sources of live leases and nobody else,
    /// whatever foreign rules there are under ours; an unguarded one is as it was. Where there are only
    /// security groups, which cannot deny, foreign rules go on admitting; none keeps out who has a lease. Who
    /// is of a family of which the target has no address behind a firewall, or on a foreign block list, is let in by
    /// none of our rules.
    #[test]
    fn rules_admit_the_live_and_nobody_else(leases in leases(), before in snapshot(), now in 0_i64..100) {
        let (target, now) = (granted(&leases), at(now));
        let mut after = before.clone();
        let owner = target.owner();
        let changes = diff(&after, &owner, &target.rules(now)).changes;
        apply(&mut after, changes);
        prop_assert!(diff(&after, &owner, &target.rules(now)).is_empty());
        let (groups, is_walled) = groups(&before);
        let families = before.firewalls[0].families;
        let has_way = |it: IpAddr| if it.to_canonical().is_ipv4() { families.v4 } else { families.v6 };
        let held = after.firewalls.iter().filter(|it| it.kind == FirewallKind::Union).flat_map(|it| it.ours.values());
        prop_assert!(!held.into_iter().any(|it| matches!(it.rule, Some(Rule::Deny { .. }))), "a group cannot deny");
        for packet in packets() {
            let is_live = || leases.iter().any(|(of, sources, lease)| {
                let is_of = of.port == packet.port && [Protocol::Any, packet.protocol].contains(&of.protocol);
                let is_blocked = blocked(&before, *of).contains(packet.source);
                is_of && lease.is_live(now) && !is_blocked && sources.ranges().iter().any(|it| is_in(it, packet.source))
            });
            let wanted = match guarding(&packet) {
                Some(_) => is_live() && has_way(packet.source) || !is_walled && passes(&groups, &owner, &packet),
                None => passes(&before, &owner, &packet),
            };
            prop_assert_eq!(passes(&after, &owner, &packet), wanted, "{:?}", packet);
            prop_assert_eq!(after.decide(&owner, &packet).passes, wanted, "{:?}", packet);
        }
    }

    /// Whoever is in one of the ranges that were written is in the sources that are made of them, and
    /// nobody else; what is contained is contained as addresses.
    #[test]
    fn sources_are_the_addresses_that_were_written(one in ranges(), two in ranges()) {
        let (made, other) = (Sources::of(one.clone()), Sources::of(two.clone()));
        for address in addresses() {
            let is_meant = |ranges: &[IpNet]| ranges.iter().any(|it| is_in(it, address));
            prop_assert_eq!(made.admit(address), is_meant(&one), "{}", address);
            prop_assert_eq!(AddressSet::from(&made).contains(address), is_meant(&one), "{}", address);
        }
        prop_assert_eq!(AddressSet::from(&made).to_sources(), made.clone());
        // Every range lies in the small world, so its addresses tell everything.
        let all_of = |of: &Sources| addresses().into_iter().filter(|it| of.admit(*it)).collect::<Vec<_>>();
        prop_assert_eq!(made.cover(&other), all_of(&other).iter().all(|it| made.admit(*it)));
    }

    /// Writing the rules at any times and then disabling leaves the firewalls as they were.
    #[test]
    fn enable_then_disable_is_the_identity(leases in leases(), before in snapshot(), times in prop::collection::vec(0_i64..100, 1..4)) {
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
            let target = Target::unguarded(id()).set_policy(Some(policy), &"ann".parse().expect("valid"), None, at(0));
            let (target, none) = (target.expect("allowed").target, portcullis_domain::Waits::default());
            let ask = portcullis_domain::Ask {
                target: id(),
                port: "22".parse().expect("valid"),
                protocol: None,
                sources: sources.clone(),
                window: Window::For(SignedDuration::from_mins(minutes)),
            };
            let answer = review(&request(vec![ask]), &[(id(), target)].into(), &terms, at(0), &none);
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

    /// However the letters of a name are written, it is the same person; and no other name in ASCII is.
    #[test]
    fn every_spelling_of_a_name_is_one_person(
        name in "[a-z0-9]([a-z0-9 .@-]{0,18}[a-z0-9])?", other in "[a-z0-9]{1,6}", turns in prop::collection::vec(0_usize..4, 20),
    ) {
        let alike = |c: char| match c {
            'a' => 'а', 'c' => 'с', 'e' => 'е', 'i' => 'і', 'j' => 'ј', 'o' => 'о', 'p' => 'р', 's' => 'ѕ', 'x' => 'х', 'y' => 'у',
            other => other,
        };
        let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).filter(|_| c.is_ascii_alphanumeric()).unwrap_or(c);
        let spelled: String = name.chars().zip(turns).map(|(c, turn)| match turn {
            0 => c,
            1 => c.to_ascii_uppercase(),
            2 => wide(c),
            _ => alike(c),
        }).collect();
        let person = |name: &str| name.parse::<Person>().expect("a person");
        prop_assert_eq!(person(&spelled), person(&name), "{}", &spelled);
        prop_assert_eq!(person(&spelled).to_string(), spelled);
        prop_assert_eq!(person(&name) == person(&other), name == other);
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
