//! Effective access: who passes all the firewalls on a target's path, and which rule says so.
//!
//! The path decides, not our rules alone: a foreign rule above ours may defeat a lock or a lease.
//! [`Snapshot::decide`] follows one packet, [`Snapshot::admitted`] all of them at once.

use crate::{
    Action, AddressSet, Firewall, FirewallId, FirewallKind, Foreign, Gate, Owner, Port, Protocol, Rule,
    Snapshot, Sources,
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

    fn decide_transport(&self, owner: &Owner, packet: &Packet) -> Decision {
        let mut passed = Decision { passes: true, firewall: None, rule: NO_RULE.to_owned() };
        for firewall in self.firewalls.iter().filter(|it| matches!(it.kind, FirewallKind::Ordered { .. })) {
            let decision = firewall.first_match(owner, packet);
            if !decision.passes {
                return decision;
            }
            passed = decision;
        }
        let groups = || self.firewalls.iter().filter(|it| it.kind == FirewallKind::Union);
        if groups().next().is_none() {
            return passed;
        }
        let admits = |it: &Firewall| Some(it.first_match(owner, packet)).filter(|it| it.passes);
        let denied = |it: &Firewall| it.first_match(owner, packet);
        let union = groups().find_map(admits).or_else(|| groups().next().map(denied));
        union.unwrap_or(passed)
    }

    /// Everybody who passes a gate of the target that `owner` names.
    pub fn admitted(&self, owner: &Owner, gate: Gate) -> Admitted {
        let mut admitted = Admitted { any: AddressSet::default(), all: AddressSet::all() };
        for protocol in gate.protocol.transports() {
            let one = self.admitted_transport(owner, *protocol, gate.port);
            admitted = Admitted { any: admitted.any.union(&one), all: admitted.all.intersection(&one) };
        }
        admitted
    }

    fn admitted_transport(&self, owner: &Owner, protocol: Protocol, port: Port) -> AddressSet {
        let mut through = AddressSet::all();
        let mut union: Option<AddressSet> = None;
        for firewall in &self.firewalls {
            let admitted = firewall.admitted(owner, protocol, port);
            match firewall.kind {
                FirewallKind::Ordered { .. } => through = through.intersection(&admitted),
                FirewallKind::Union => union = Some(union.unwrap_or_default().union(&admitted)),
            }
        }
        union.map_or(through.clone(), |it| through.intersection(&it))
    }
}

const NO_RULE: &str = "(no rule)";

/// One rule, ours or not, that speaks of some packets.
struct Speaks<'a> {
    priority: u16,
    name: &'a dyn fmt::Display,
    action: Action,
    sources: Option<&'a Sources>,
}

impl Firewall {
    /// The rules that speak of a protocol and port, in the order in which they decide.
    fn speaking(&self, owner: &Owner, protocol: Protocol, port: Port) -> Vec<Speaks<'_>> {
        let of_gate = |gate: &Gate| gate.port == port && gate.protocol.meets(protocol);
        let ours = self.of(owner).filter_map(|(name, held)| {
            let (action, sources) = match held.rule.as_ref()? {
                Rule::Deny { gates } if gates.iter().any(of_gate) => (Action::Deny, None),
                Rule::Allow { gate, sources, .. } if of_gate(gate) => (Action::Allow, Some(sources)),
                Rule::Deny { .. } | Rule::Allow { .. } => return None,
            };
            Some(Speaks { priority: held.priority, name, action, sources })
        });
        let speaks = |it: &&Foreign| {
            it.reaches
                && it.protocol.meets(protocol)
                && it.ports.iter().any(|range| range.contains(&port.number()))
        };
        let foreign = self.foreign.iter().filter(speaks).map(|it| Speaks {
            priority: it.priority,
            name: &it.name,
            action: it.action,
            sources: Some(&it.sources),
        });
        let mut speaking: Vec<_> = ours.chain(foreign).collect();
        speaking.sort_by_key(|it| it.priority);
        speaking
    }

    fn first_match(&self, owner: &Owner, packet: &Packet) -> Decision {
        let of_source = |it: &Speaks<'_>| it.sources.is_none_or(|sources| sources.admit(packet.source));
        let speaking = self.speaking(owner, packet.protocol, packet.port);
        let first = speaking.iter().find(|it| of_source(it) && self.kind.heeds(it.action));
        let (action, rule) = match first {
            Some(it) => (it.action, it.name.to_string()),
            None => (self.kind.otherwise(), NO_RULE.to_owned()),
        };
        Decision { passes: action == Action::Allow, firewall: Some(self.id.clone()), rule }
    }

    fn admitted(&self, owner: &Owner, protocol: Protocol, port: Port) -> AddressSet {
        let mut undecided = AddressSet::all();
        let mut admitted = AddressSet::default();
        for it in self.speaking(owner, protocol, port).iter().filter(|it| self.kind.heeds(it.action)) {
            let spoken_of = it.sources.map_or_else(AddressSet::all, AddressSet::from);
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
            Self::Union => Action::Deny,
        }
    }

    fn heeds(self, action: Action) -> bool {
        match self {
            Self::Ordered { .. } => true,
            Self::Union => action == Action::Allow,
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
        reaches: true,
    };
    [
        rule("AllowVnetInBound", 65000, Action::Allow, virtual_network.clone()),
        rule("AllowAzureLoadBalancerInBound", 65001, Action::Allow, IpAddr::from(LOAD_BALANCER).into()),
        rule("DenyAllInBound", 65500, Action::Deny, Sources::anywhere()),
    ]
}
