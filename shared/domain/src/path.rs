//! Effective access: who passes all the firewalls on a target's path, and which rule says so.
//!
//! The path decides, not our rules alone: a foreign rule above ours may defeat a lock or a lease.
//! [`Snapshot::decide`] follows one packet, [`Snapshot::admitted`] all of them at once.

use crate::{
    Action, AddressSet, Firewall, FirewallId, FirewallKind, Foreign, Gate, Owner, Port, Protocol, Rule,
    Snapshot, Sources, Way,
};
use serde::Serialize;
use std::{fmt, net::IpAddr};

/// What somebody sends to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// From where.
    pub source: IpAddr,
    /// TCP or UDP; with [`Protocol::Any`] both must pass.
    pub protocol: Protocol,
    /// To which port.
    pub port: Port,
}

/// Whether a packet passes, and who said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Does it pass every firewall?
    pub passes: bool,
    /// The firewall that decided: the first to deny, or the last to allow; absent on an empty path.
    pub firewall: Option<FirewallId>,
    /// Its deciding rule, or `(no rule)` where none speaks of the packet.
    pub rule: String,
}

/// Who passes a gate of which both protocols may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Those who get any packet through.
    pub any: AddressSet,
    /// Those who get every packet through.
    pub all: AddressSet,
}

impl Snapshot {
    /// Follows one packet to the target that `owner` names.
    pub fn decide(&self, owner: &Owner, packet: &Packet) -> Decision {
        let mut last = Decision { passes: true, firewall: None, rule: NO_RULE.to_owned() };
        for protocol in packet.protocol.transports() {
            last = self.decide_transport(owner, &Packet { protocol: *protocol, ..*packet });
            if !last.passes {
                break;
            }
        }
        last
    }

    /// The first way that lets it through, else what stops it on the last one.
    fn decide_transport(&self, owner: &Owner, packet: &Packet) -> Decision {
        let mut stopped = Decision { passes: false, firewall: None, rule: NO_WAY.to_owned() };
        for way in self.ways.iter().filter(|it| it.from.contains(packet.source)) {
            let decision = self.follow(way, owner, *packet);
            if decision.passes {
                return decision;
            }
            stopped = decision;
        }
        stopped
    }

    fn follow(&self, way: &Way, owner: &Owner, mut packet: Packet) -> Decision {
        let mut passed = Decision { passes: true, firewall: None, rule: NO_RULE.to_owned() };
        let mut is_sent_on = false;
        for (n, firewall) in self.on(way, 0).enumerate() {
            let decision = firewall.first_match(owner, &packet, way.to);
            match firewall.kind {
                FirewallKind::Union => continue,
                FirewallKind::Ordered { .. } | FirewallKind::Translating if !decision.passes => {
                    return decision;
                }
                FirewallKind::Ordered { .. } => {}
                FirewallKind::Translating => {
                    // It sends from whichever of its addresses: from one that gets on, if there is any.
                    let (protocol, port) = (packet.protocol, packet.port);
                    let on = self.admitted_after(way, n + 1, owner, protocol, port);
                    let from = on.intersection(&firewall.inside).first().or_else(|| firewall.inside.first());
                    packet.source = from.unwrap_or(packet.source);
                    (is_sent_on, passed) = (true, decision.clone());
                }
            }
            // Whom a translating firewall sends on is its rule's doing: what comes after sees but the firewall.
            if !is_sent_on {
                passed = decision;
            }
        }
        let groups = || self.on(way, 0).filter(|it| it.kind == FirewallKind::Union);
        let decisions = || groups().map(|it| it.first_match(owner, &packet, way.to));
        let union = decisions().find(|it| it.passes).or_else(|| decisions().next());
        union.unwrap_or(passed)
    }

    /// Everybody who passes a gate of the target that `owner` names.
    pub fn admitted(&self, owner: &Owner, gate: Gate) -> Admitted {
        let mut admitted = Admitted { any: AddressSet::default(), all: AddressSet::all() };
        for protocol in gate.protocol.transports() {
            let ways = self
                .ways
                .iter()
                .map(|way| self.admitted_after(way, 0, owner, *protocol, gate.port).intersection(&way.from));
            let one = ways.fold(AddressSet::default(), |all, one| all.union(&one));
            admitted = Admitted { any: admitted.any.union(&one), all: admitted.all.intersection(&one) };
        }
        admitted
    }

    /// From the target backwards: who passes what is left of the way after its first `passed` firewalls.
    fn admitted_after(
        &self,
        way: &Way,
        passed: usize,
        owner: &Owner,
        protocol: Protocol,
        port: Port,
    ) -> AddressSet {
        let mut union: Option<AddressSet> = None;
        for firewall in self.on(way, passed).filter(|it| it.kind == FirewallKind::Union) {
            let admitted = firewall.admitted(owner, protocol, port, way.to);
            union = Some(union.unwrap_or_default().union(&admitted));
        }
        let mut through = union.unwrap_or_else(AddressSet::all);
        for firewall in self.on(way, passed).rev() {
            let admitted = firewall.admitted(owner, protocol, port, way.to);
            match firewall.kind {
                FirewallKind::Ordered { .. } => through = through.intersection(&admitted),
                FirewallKind::Union => {}
                FirewallKind::Translating if through.intersection(&firewall.inside).is_empty() => {
                    return AddressSet::default();
                }
                FirewallKind::Translating => through = admitted,
            }
        }
        through
    }

    /// Everybody who has any way to the target, whatever the rules on it say.
    pub fn near(&self) -> AddressSet {
        self.ways.iter().fold(AddressSet::default(), |all, way| all.union(&way.from))
    }

    fn on(&self, way: &Way, passed: usize) -> impl DoubleEndedIterator<Item = &Firewall> {
        way.through.iter().skip(passed).filter_map(|at| self.firewalls.get(*at))
    }
}

const NO_RULE: &str = "(no rule)";
const NO_WAY: &str = "(no way to it from there)";

/// One rule, ours or not, that speaks of some packets.
struct Speaks<'a> {
    priority: u16,
    name: &'a dyn fmt::Display,
    action: Action,
    /// Nothing stands for everybody.
    sources: Option<&'a Sources>,
    /// And whom else.
    also: Option<&'a AddressSet>,
}

impl Speaks<'_> {
    fn of(&self, source: IpAddr) -> bool {
        self.sources.is_none_or(|it| it.admit(source)) || self.also.is_some_and(|it| it.contains(source))
    }

    fn spoken_of(&self) -> AddressSet {
        let sources = self.sources.map_or_else(AddressSet::all, AddressSet::from);
        self.also.map_or(sources.clone(), |also| sources.union(also))
    }
}

impl Firewall {
    /// The rules that speak of a protocol and port at an address, in the order in which they decide.
    fn speaking(&self, owner: &Owner, protocol: Protocol, port: Port, to: Option<IpAddr>) -> Vec<Speaks<'_>> {
        let of_gate = |gate: &Gate| gate.port == port && gate.protocol.meets(protocol);
        // A translating firewall never sees what it sends.
        let also = Some(&self.inside).filter(|_| self.kind != FirewallKind::Translating);
        let ours = self.of(owner).filter_map(|(name, held)| {
            let (action, sources, also) = match held.rule.as_ref()? {
                Rule::Deny { gates } if gates.iter().any(of_gate) => (Action::Deny, None, None),
                Rule::Allow { gate, sources, .. } if of_gate(gate) => (Action::Allow, Some(sources), also),
                Rule::Deny { .. } | Rule::Allow { .. } => return None,
            };
            Some(Speaks { priority: held.priority, name, action, sources, also })
        });
        let speaks = |it: &&Foreign| {
            let reaches = to.map_or(!it.to.is_empty(), |to| it.to.admit(to));
            reaches && it.speaks_of(Gate { port, protocol })
        };
        let foreign = self.foreign.iter().filter(speaks).map(|it| Speaks {
            priority: it.priority,
            name: &it.name,
            action: it.action,
            sources: Some(&it.sources),
            also: None,
        });
        let mut speaking: Vec<_> = ours.chain(foreign).collect();
        speaking.sort_by_key(|it| it.priority);
        speaking
    }

    fn first_match(&self, owner: &Owner, packet: &Packet, to: Option<IpAddr>) -> Decision {
        let speaking = self.speaking(owner, packet.protocol, packet.port, to);
        let first = speaking.iter().find(|it| it.of(packet.source) && self.kind.heeds(it.action));
        let (action, rule) = match first {
            Some(it) => (it.action, it.name.to_string()),
            None => (self.kind.otherwise(), NO_RULE.to_owned()),
        };
        Decision { passes: action == Action::Allow, firewall: Some(self.id.clone()), rule }
    }

    fn admitted(&self, owner: &Owner, protocol: Protocol, port: Port, to: Option<IpAddr>) -> AddressSet {
        let mut undecided = AddressSet::all();
        let mut admitted = AddressSet::default();
        let speaking = self.speaking(owner, protocol, port, to);
        for it in speaking.iter().filter(|it| self.kind.heeds(it.action)) {
            let spoken_of = it.spoken_of();
            match it.action {
                Action::Allow => admitted = admitted.union(&undecided.intersection(&spoken_of)),
                Action::Deny => {}
            }
            undecided = undecided.without(&spoken_of);
        }
        match self.kind.otherwise() {
            Action::Allow => admitted.union(&undecided),
            Action::Deny => admitted,
        }
    }
}

impl FirewallKind {
    fn otherwise(self) -> Action {
        match self {
            Self::Ordered { otherwise } => otherwise,
            Self::Union | Self::Translating => Action::Deny,
        }
    }

    fn heeds(self, action: Action) -> bool {
        match self {
            Self::Ordered { .. } => true,
            Self::Union | Self::Translating => action == Action::Allow,
        }
    }
}

/// The rules that every Azure NSG ends with: the virtual network and Azure's load balancer pass,
/// everybody else does not. Source: learn.microsoft.com, "Network security groups", default rules.
pub fn azure_default_rules(virtual_network: &Sources) -> [Foreign; 3] {
    // Azure's load balancer probes from this address alone.
    const LOAD_BALANCER: [u8; 4] = [168, 63, 129, 16];
    let rule = |name: &str, priority, action, sources| Foreign {
        name: name.to_owned(),
        priority,
        action,
        protocol: Protocol::Any,
        sources,
        ports: vec![0..=u16::MAX],
        to: Sources::anywhere(),
    };
    [
        rule("AllowVnetInBound", 65000, Action::Allow, virtual_network.clone()),
        rule("AllowAzureLoadBalancerInBound", 65001, Action::Allow, IpAddr::from(LOAD_BALANCER).into()),
        rule("DenyAllInBound", 65500, Action::Deny, Sources::anywhere()),
    ]
}
