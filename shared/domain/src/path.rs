//! Effective access: who passes all the firewalls on a target's path, and which rule says so.
//!
//! The path decides, not our rules alone: a foreign rule above ours may defeat a lock or a lease.
//! [`Snapshot::decide`] follows one packet, [`Snapshot::admitted`] all of them at once.

use crate::{
    Action, AddressSet, Firewall, FirewallId, FirewallKind, Foreign, ForeignRule, Gate, Owner, Port,
    Protocol, Rule, Snapshot, Sources, Way,
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
    /// Those who may get a packet through, as far as can be told.
    pub any: AddressSet,
    /// Those who surely get every packet through.
    pub all: AddressSet,
}

impl Admitted {
    /// The same of a gate that has the packets of each of these.
    pub(crate) fn together<'a>(each: impl IntoIterator<Item = &'a Self>) -> Self {
        let nothing = Self { any: AddressSet::default(), all: AddressSet::all() };
        each.into_iter()
            .fold(nothing, |all, it| Self { any: all.any.union(&it.any), all: all.all.intersection(&it.all) })
    }
}

/// What is made of those of whom nobody can tell whether a foreign rule speaks of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// An allow speaks of them and a deny does not: who may get in.
    Opens,
    /// A deny speaks of them and an allow does not: who surely gets in.
    Shuts,
}

impl Snapshot {
    /// Follows one packet to the target that `owner` names. Where nobody can tell, it passes: a lock that may
    /// be open is none.
    pub fn decide(&self, owner: &Owner, packet: &Packet) -> Decision {
        self.decide_in(Doubt::Opens, owner, packet)
    }

    /// The same where a packet of which nobody can tell is stopped: a lease that may be shut is not open.
    pub fn decide_surely(&self, owner: &Owner, packet: &Packet) -> Decision {
        self.decide_in(Doubt::Shuts, owner, packet)
    }

    fn decide_in(&self, doubt: Doubt, owner: &Owner, packet: &Packet) -> Decision {
        let mut last = Decision { passes: true, firewall: None, rule: NO_RULE.to_owned() };
        for protocol in packet.protocol.transports() {
            last = self.decide_transport(doubt, owner, &Packet { protocol: *protocol, ..*packet });
            if !last.passes {
                break;
            }
        }
        last
    }

    /// The first way that lets it through, else what stops it on the last one.
    fn decide_transport(&self, doubt: Doubt, owner: &Owner, packet: &Packet) -> Decision {
        let mut stopped = Decision { passes: false, firewall: None, rule: NO_WAY.to_owned() };
        for way in self.ways.iter().filter(|it| it.from.contains(packet.source)) {
            let decision = self.follow(doubt, way, owner, *packet);
            if decision.passes {
                return decision;
            }
            stopped = decision;
        }
        stopped
    }

    fn follow(&self, doubt: Doubt, way: &Way, owner: &Owner, mut packet: Packet) -> Decision {
        let mut passed = Decision { passes: true, firewall: None, rule: NO_RULE.to_owned() };
        let mut is_sent_on = false;
        for (n, firewall) in self.on(way, 0).enumerate() {
            let decision = firewall.first_match(doubt, owner, &packet, way.to);
            match firewall.kind {
                FirewallKind::Union => continue,
                FirewallKind::Ordered { .. } | FirewallKind::ReadOnly { .. } | FirewallKind::Translating
                    if !decision.passes =>
                {
                    return decision;
                }
                FirewallKind::Ordered { .. } | FirewallKind::ReadOnly { .. } => {}
                FirewallKind::Translating => {
                    // It sends from whichever of its addresses: from one that gets on, if there is any.
                    let (protocol, port) = (packet.protocol, packet.port);
                    let on = self.admitted_after(doubt, way, n + 1, owner, protocol, port);
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
        let decisions = || groups().map(|it| it.first_match(doubt, owner, &packet, way.to));
        let union = decisions().find(|it| it.passes).or_else(|| decisions().next());
        union.unwrap_or(passed)
    }

    /// Everybody who passes a gate of the target that `owner` names.
    pub fn admitted(&self, owner: &Owner, gate: Gate) -> Admitted {
        let each = gate.protocol.transports().iter().map(|protocol| {
            let by = |doubt| {
                let through = |way: &Way| self.admitted_after(doubt, way, 0, owner, *protocol, gate.port);
                let ways = self.ways.iter().map(|way| through(way).intersection(&way.from));
                ways.fold(AddressSet::default(), |all, one| all.union(&one))
            };
            let may = by(Doubt::Opens);
            let surely = if self.is_sure() { may.clone() } else { by(Doubt::Shuts) };
            Admitted { any: may, all: surely }
        });
        Admitted::together(&each.collect::<Vec<_>>())
    }

    /// Can be told of everybody whether a rule speaks of them?
    fn is_sure(&self) -> bool {
        self.firewalls.iter().flat_map(|it| &it.foreign).all(|it| it.unsure.is_empty())
    }

    /// From the target backwards: who passes what is left of the way after its first `passed` firewalls.
    fn admitted_after(
        &self,
        doubt: Doubt,
        way: &Way,
        passed: usize,
        owner: &Owner,
        protocol: Protocol,
        port: Port,
    ) -> AddressSet {
        let mut union: Option<AddressSet> = None;
        for firewall in self.on(way, passed).filter(|it| it.kind == FirewallKind::Union) {
            let admitted = firewall.admitted(doubt, owner, protocol, port, way.to);
            union = Some(union.unwrap_or_default().union(&admitted));
        }
        let mut through = union.unwrap_or_else(AddressSet::all);
        for firewall in self.on(way, passed).rev() {
            let admitted = firewall.admitted(doubt, owner, protocol, port, way.to);
            match firewall.kind {
                FirewallKind::Ordered { .. } | FirewallKind::ReadOnly { .. } => {
                    through = through.intersection(&admitted);
                }
                FirewallKind::Union => {}
                FirewallKind::Translating if through.intersection(&firewall.inside).is_empty() => {
                    return AddressSet::default();
                }
                FirewallKind::Translating => through = admitted,
            }
        }
        through
    }

    /// The foreign rules of a way that let somebody in: those on whom they decide get on to its end.
    pub(crate) fn admitting_on(
        &self,
        way: &Way,
        owner: &Owner,
        protocol: Protocol,
        port: Port,
    ) -> Vec<ForeignRule> {
        let mut arriving = way.from.clone();
        let mut found = vec![];
        for (n, firewall) in self.on(way, 0).enumerate() {
            let after = self.admitted_after(Doubt::Opens, way, n + 1, owner, protocol, port);
            let shares = firewall.shares(Doubt::Opens, owner, protocol, port, way.to);
            // Of those who come here, who gets to the end.
            let getting_on = match firewall.kind {
                FirewallKind::Ordered { .. } | FirewallKind::ReadOnly { .. } => after.intersection(&arriving),
                FirewallKind::Union => self.admitted_after(Doubt::Opens, way, 0, owner, protocol, port),
                FirewallKind::Translating if after.intersection(&firewall.inside).is_empty() => {
                    AddressSet::default()
                }
                FirewallKind::Translating => arriving.clone(),
            };
            let lets_in = |(it, share): &&(Speaks<'_>, AddressSet)| {
                !it.is_ours && it.action == Action::Allow && !share.intersection(&getting_on).is_empty()
            };
            found.extend(shares.iter().filter(lets_in).map(|(it, _)| firewall.foreign_rule(it.name)));
            let admitted =
                arriving.intersection(&firewall.admitted(Doubt::Opens, owner, protocol, port, way.to));
            match firewall.kind {
                FirewallKind::Ordered { .. } | FirewallKind::ReadOnly { .. } => arriving = admitted,
                FirewallKind::Union => {}
                FirewallKind::Translating if admitted.is_empty() => arriving = admitted,
                FirewallKind::Translating => arriving = firewall.inside.clone(),
            }
        }
        found
    }

    /// The foreign rules of a way by which a translating firewall sends somebody on.
    pub(crate) fn sending_on(&self, way: &Way, gate: Gate) -> Vec<ForeignRule> {
        let translating = self.on(way, 0).filter(|it| it.kind == FirewallKind::Translating);
        let sends = |it: &&Foreign| {
            let reaches = way.to.map_or(!it.to.is_empty(), |to| it.to.admit(to));
            let spoken_of = AddressSet::from(&it.sources).union(&(&it.unsure).into());
            let from = spoken_of.intersection(&way.from);
            it.action == Action::Allow && reaches && it.speaks_of(gate) && !from.is_empty()
        };
        let of = |firewall: &Firewall| {
            let rules = firewall.foreign.iter().filter(sends);
            rules.map(|it| firewall.foreign_rule(&it.name)).collect::<Vec<_>>()
        };
        translating.flat_map(of).collect()
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
const NO_WAY: &str = "(no network path from there)";

/// One rule, ours or not, that speaks of some packets.
struct Speaks<'a> {
    is_ours: bool,
    priority: u16,
    name: &'a dyn fmt::Display,
    action: Action,
    /// Nothing stands for everybody.
    sources: Option<&'a Sources>,
    /// And whom else.
    also: Option<&'a AddressSet>,
    /// And, maybe, whom else.
    unsure: Option<&'a Sources>,
}

impl Speaks<'_> {
    fn of(&self, doubt: Doubt, source: IpAddr) -> bool {
        self.sources.is_none_or(|it| it.admit(source))
            || self.also.is_some_and(|it| it.contains(source))
            || self.maybe(doubt).is_some_and(|it| it.admit(source))
    }

    fn spoken_of(&self, doubt: Doubt) -> AddressSet {
        let sources = self.sources.map_or_else(AddressSet::all, AddressSet::from);
        let also = self.also.cloned().into_iter().chain(self.maybe(doubt).map(AddressSet::from));
        also.fold(sources, |all, one| all.union(&one))
    }

    /// Those of whom nobody can tell, where they count.
    fn maybe(&self, doubt: Doubt) -> Option<&Sources> {
        match (doubt, self.action) {
            (Doubt::Opens, Action::Allow) | (Doubt::Shuts, Action::Deny) => self.unsure,
            (Doubt::Opens, Action::Deny) | (Doubt::Shuts, Action::Allow) => None,
        }
    }
}

impl Firewall {
    fn foreign_rule(&self, name: &dyn fmt::Display) -> ForeignRule {
        ForeignRule { name: name.to_string(), firewall: self.id.clone() }
    }

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
            Some(Speaks { is_ours: true, priority: held.priority, name, action, sources, also, unsure: None })
        });
        let speaks = |it: &&Foreign| {
            let reaches = to.map_or(!it.to.is_empty(), |to| it.to.admit(to));
            reaches && it.speaks_of(Gate { port, protocol })
        };
        let foreign = self.foreign.iter().filter(speaks).map(|it| Speaks {
            is_ours: false,
            priority: it.priority,
            name: &it.name,
            action: it.action,
            sources: Some(&it.sources),
            also: None,
            unsure: Some(&it.unsure),
        });
        let mut speaking: Vec<_> = ours.chain(foreign).collect();
        speaking.sort_by_key(|it| it.priority);
        speaking
    }

    fn first_match(&self, doubt: Doubt, owner: &Owner, packet: &Packet, to: Option<IpAddr>) -> Decision {
        let speaking = self.speaking(owner, packet.protocol, packet.port, to);
        let first = speaking.iter().find(|it| it.of(doubt, packet.source) && self.kind.heeds(it.action));
        let (action, rule) = match first {
            Some(it) => (it.action, it.name.to_string()),
            None => (self.kind.otherwise(), NO_RULE.to_owned()),
        };
        Decision { passes: action == Action::Allow, firewall: Some(self.id.clone()), rule }
    }

    fn admitted(
        &self,
        doubt: Doubt,
        owner: &Owner,
        protocol: Protocol,
        port: Port,
        to: Option<IpAddr>,
    ) -> AddressSet {
        let shares = self.shares(doubt, owner, protocol, port, to);
        let sum = |action: Option<Action>| {
            let some = shares.iter().filter(|(it, _)| action.is_none_or(|action| it.action == action));
            some.fold(AddressSet::default(), |all, (_, share)| all.union(share))
        };
        let admitted = sum(Some(Action::Allow));
        match self.kind.otherwise() {
            Action::Allow => admitted.union(&AddressSet::all().without(&sum(None))),
            Action::Deny => admitted,
        }
    }

    /// On whom each rule that speaks decides: on those of whom none before it speaks.
    fn shares(
        &self,
        doubt: Doubt,
        owner: &Owner,
        protocol: Protocol,
        port: Port,
        to: Option<IpAddr>,
    ) -> Vec<(Speaks<'_>, AddressSet)> {
        let mut undecided = AddressSet::all();
        let mut speaking = self.speaking(owner, protocol, port, to);
        speaking.retain(|it| self.kind.heeds(it.action));
        let shares = speaking.into_iter().map(|it| {
            let spoken_of = it.spoken_of(doubt);
            let share = undecided.intersection(&spoken_of);
            undecided = undecided.without(&spoken_of);
            (it, share)
        });
        shares.collect()
    }
}

impl FirewallKind {
    fn otherwise(self) -> Action {
        match self {
            Self::Ordered { otherwise } | Self::ReadOnly { otherwise } => otherwise,
            Self::Union | Self::Translating => Action::Deny,
        }
    }

    fn heeds(self, action: Action) -> bool {
        match self {
            Self::Ordered { .. } | Self::ReadOnly { .. } => true,
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
        unsure: Sources::default(),
        ports: vec![0..=u16::MAX],
        to: Sources::anywhere(),
        is_general: false,
    };
    [
        rule("AllowVnetInBound", 65000, Action::Allow, virtual_network.clone()),
        rule("AllowAzureLoadBalancerInBound", 65001, Action::Allow, IpAddr::from(LOAD_BALANCER).into()),
        rule("DenyAllInBound", 65500, Action::Deny, Sources::anywhere()),
    ]
}
