//! What a firewall must hold, and what it does hold.

use crate::{
    AddressSet, FirewallId, ForeignDenies, Gate, Hindrance, Owner, Protocol, Refuser, RuleName, Sessions,
    Sources,
};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    ops::{Range, RangeInclusive},
};

/// All that we want in every firewall on a target's path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    rules: BTreeMap<RuleName, Rule>,
    /// Gates that a lease opens for whomever a foreign block list denies, too.
    over_blocks: BTreeSet<Gate>,
}

impl RuleSet {
    /// Nothing is wanted.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same where leases of these gates stand over foreign block lists.
    #[must_use]
    pub fn over_blocks(self, gates: impl IntoIterator<Item = Gate>) -> Self {
        Self { over_blocks: gates.into_iter().collect(), ..self }
    }

    /// What becomes of foreign denies of single sources at a gate.
    pub fn foreign_denies(&self, gate: Gate) -> ForeignDenies {
        if self.over_blocks.iter().any(|it| it.covers(gate)) {
            ForeignDenies::Override
        } else {
            ForeignDenies::Respect
        }
    }

    /// The rules by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&RuleName, &Rule)> {
        self.rules.iter()
    }

    /// The rules.
    pub fn values(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// One of them.
    pub fn get(&self, name: &RuleName) -> Option<&Rule> {
        self.rules.get(name)
    }
}

impl IntoIterator for RuleSet {
    type Item = (RuleName, Rule);
    type IntoIter = std::collections::btree_map::IntoIter<RuleName, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.rules.into_iter()
    }
}

impl FromIterator<(RuleName, Rule)> for RuleSet {
    fn from_iter<T: IntoIterator<Item = (RuleName, Rule)>>(rules: T) -> Self {
        Self { rules: rules.into_iter().collect(), over_blocks: BTreeSet::new() }
    }
}

/// A rule of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// Nobody passes these gates.
    Deny {
        /// What is shut.
        gates: BTreeSet<Gate>,
    },
    /// These sources pass this gate.
    Allow {
        /// What is open.
        gate: Gate,
        /// For whom.
        sources: Sources,
        /// The last end of the leases behind it. A firewall that can shuts by itself then.
        until: Timestamp,
    },
}

/// What the firewalls on a target's path held when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When the reader asked, by its own clock: what is not here was absent after that.
    pub read_at: Timestamp,
    /// Every firewall on any of the ways; none where the target is gone, and every rule of ours with it.
    pub firewalls: Vec<Firewall>,
    /// The ways to the target: a packet gets there if any of them lets it through.
    pub ways: Vec<Way>,
    /// Where a gate is reached, if that is not at the target's own address and port.
    pub doors: BTreeMap<Gate, SocketAddr>,
    /// What becomes of open sessions when a lease ends.
    pub sessions: Sessions,
    /// What is on the ways and could not be read, in a sentence each: it may let in or keep out others than what was read.
    pub unread: Vec<String>,
    /// Who was seen to be connected to which port; empty where the firewall cannot tell.
    pub connected: Vec<(Gate, IpAddr)>,
    /// Why the write of what opens before this was refused, if it was and will be again: a limit, a permission.
    pub refused: Option<String>,
    /// The same of what shuts.
    pub unshut: Option<String>,
    /// How much room there is, in each firewall that tells; nothing where none does.
    pub headroom: Vec<Headroom>,
    /// The last write of each rule of ours, as far as the adapter made it and knows its times.
    pub written: BTreeMap<RuleName, Written>,
    /// What was lately in the way of reading and writing them, as far as the reader knows.
    pub hindered: Vec<Hindrance>,
    /// Allows of ours that stand as they were written, and whose own time-out comes after their end, since the clock was set
    /// forward: nobody changed them, and they are written anew.
    pub outlasting: BTreeSet<RuleName>,
    /// Packet filters of others that may refuse what ours lets in.
    pub refusers: Vec<Refuser>,
    /// Allows of ours that are over and whose elements the firewall let go by itself: until when each stood.
    pub lapsed: BTreeMap<RuleName, Timestamp>,
}

/// How much of one target's allows a firewall takes, all together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Headroom {
    /// Which firewall.
    pub firewall: FirewallId,
    /// How many source ranges: as many as it may hold, less those of everything else in it, our locks included.
    pub ranges: usize,
    /// How many rules, counted in the same way: one for each protocol and family.
    pub rules: usize,
}

/// When a write was sent, and when a read first saw it done: between them it is the cloud's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// When it was sent.
    pub sent: Timestamp,
    /// When it was seen.
    pub seen: Timestamp,
}

impl Written {
    /// How much of the time between two moments it took.
    pub fn within(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        let (from, to) = (self.sent.max(from), self.seen.min(to));
        to.duration_since(from).max(SignedDuration::ZERO)
    }
}

/// One way by which packets come to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Who can come this way at all.
    pub from: AddressSet,
    /// The firewalls that they meet, in their order: places in [`Snapshot::firewalls`].
    pub through: Vec<usize>,
    /// The target's address at its end; none where every rule of its firewalls is about this target.
    pub to: Option<IpAddr>,
}

/// One firewall, as far as it concerns one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// What it is called.
    pub id: FirewallId,
    /// How it decides.
    pub kind: FirewallKind,
    /// Where our rules stand.
    pub bands: Bands,
    /// From where a translating firewall sends packets on: its own addresses if this is one, else those of
    /// the one in front of this. Our allows here admit them too.
    pub inside: AddressSet,
    /// Of which families the target has addresses behind it: rules for others are not written.
    pub families: Families,
    /// Rules with our names, for whichever target.
    pub ours: BTreeMap<RuleName, Held>,
    /// Everybody else's rules.
    pub foreign: Vec<Foreign>,
}

/// Families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// How a firewall decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallKind {
    /// The first rule that speaks of the packet, by ascending priority, decides (NSG, nftables).
    Ordered {
        /// What becomes of a packet that no rule speaks of.
        otherwise: Action,
    },
    /// The same, where nobody here may write: what its owners say holds, whatever stands in the firewalls after it (the security
    /// admin rules of an Azure Virtual Network Manager).
    ReadOnly {
        /// What becomes of a packet that no rule speaks of.
        otherwise: Action,
    },
    /// Any rule that admits the packet decides, in any of the groups; there is no deny (security groups).
    Union,
    /// Any rule that admits the packet decides; it goes on from an address of [`Firewall::inside`]
    /// (destination NAT in Azure Firewall).
    Translating,
}

/// Priorities that are reserved for us. Lower wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bands {
    /// For our allows.
    pub allows: Range<u16>,
    /// For our denies, under our allows.
    pub denies: Range<u16>,
    /// What is made of foreign rules that stand there too.
    pub existing: Existing,
}

/// What is made of rules that were there before us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// Ours stand above them: a lock holds whatever they say.
    #[default]
    Override,
    /// A lock stands under them: whom they admit passes without a lease.
    Respect,
}

/// A rule that has a name of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it says; `None` if it was changed into something that we would not write. What it does is
    /// then told by a twin among the foreign rules.
    pub rule: Option<Rule>,
    /// Where it stands.
    pub priority: u16,
    /// Where it stands besides, if the firewall cannot say it in one rule.
    pub beside: Vec<u16>,
    /// Its version; absent where the cloud has none.
    pub etag: Option<Etag>,
}

/// A rule that is not ours, and never edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    /// What its owner calls it.
    pub name: String,
    /// Where it stands.
    pub priority: u16,
    /// What it does.
    pub action: Action,
    /// What it speaks of.
    pub protocol: Protocol,
    /// Of whom it speaks.
    pub sources: Sources,
    /// Of whom it may speak besides: nobody can tell.
    #[serde(default, skip_serializing_if = "Sources::is_empty")]
    pub unsure: Sources,
    /// Of which ports it speaks.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Of packets to which addresses it speaks.
    pub to: Sources,
    /// Is it about everybody, or about a network as a whole, by a name such as `Internet` or `VirtualNetwork`?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_general: bool,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passes.
    Allow,
    /// It does not.
    Deny,
}

/// The version of a rule, as the cloud prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Etag(pub String);

impl Firewall {
    /// The rules of ours for one target.
    pub fn of(&self, owner: &Owner) -> impl Iterator<Item = (&RuleName, &Held)> {
        self.ours.iter().filter(move |(name, _)| name.owner == *owner)
    }

    /// What it shall hold of a rule: nothing of one that it cannot express, or that nobody would meet here.
    ///
    /// INVARIANT (a-block-list-wins): whom block lists of others keep out of a gate is left out, wherever they stand.
    pub(crate) fn holding(&self, rule: &Rule, blocked: impl Fn(Gate) -> AddressSet) -> Option<Rule> {
        match (self.kind, rule) {
            (FirewallKind::ReadOnly { .. }, Rule::Deny { .. } | Rule::Allow { .. })
            | (FirewallKind::Union | FirewallKind::Translating, Rule::Deny { .. }) => None,
            (FirewallKind::Ordered { .. }, Rule::Deny { .. }) => Some(rule.clone()),
            (
                FirewallKind::Ordered { .. } | FirewallKind::Union | FirewallKind::Translating,
                Rule::Allow { gate, sources, until },
            ) => {
                let mut sources = self.families.of(sources);
                let (asked, blocked) = (AddressSet::from(&sources), blocked(*gate));
                if !asked.intersection(&blocked).is_empty() {
                    sources = asked.without(&blocked).to_sources();
                }
                let is_met = !sources.is_empty();
                is_met.then_some(Rule::Allow { gate: *gate, sources, until: *until })
            }
        }
    }
}

impl Families {
    /// Both.
    pub const BOTH: Self = Self { v4: true, v6: true };

    /// The ranges of these families.
    fn of(self, sources: &Sources) -> Sources {
        let is_one = |range: &&IpNet| if range.addr().is_ipv4() { self.v4 } else { self.v6 };
        Sources::of(sources.ranges().iter().filter(is_one).copied())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny { gates } => {
                f.write_str("deny")?;
                gates.iter().try_for_each(|gate| write!(f, " {gate}"))
            }
            Self::Allow { gate, sources, until } => write!(f, "allow {gate} from {sources} until {until}"),
        }
    }
}

impl Foreign {
    /// Does it speak of packets to this gate, to whichever address?
    pub fn speaks_of(&self, gate: Gate) -> bool {
        self.protocol.meets(gate.protocol) && self.ports.iter().any(|it| it.contains(&gate.port.number()))
    }
}

impl Snapshot {
    /// Firewalls that everybody meets one after the other.
    pub fn of(read_at: Timestamp, firewalls: Vec<Firewall>) -> Self {
        let way = Way { from: AddressSet::all(), through: (0..firewalls.len()).collect(), to: None };
        Self {
            read_at,
            firewalls,
            ways: vec![way],
            doors: BTreeMap::new(),
            sessions: Sessions::default(),
            unread: vec![],
            connected: vec![],
            refused: None,
            unshut: None,
            headroom: vec![],
            written: BTreeMap::new(),
            hindered: vec![],
            outlasting: BTreeSet::new(),
            refusers: vec![],
            lapsed: BTreeMap::new(),
        }
    }

    /// Does any of the firewalls stand under foreign rules on purpose?
    pub(crate) fn respects(&self) -> bool {
        self.firewalls.iter().any(|it| it.bands.existing == Existing::Respect)
    }

    /// As it would be if nobody had a lease.
    pub(crate) fn without_allows(&self, owner: &Owner) -> Self {
        let is_ours_and_opens = |name: &RuleName| name.owner == *owner && name.gate.is_some();
        let mut without = self.clone();
        for firewall in &mut without.firewalls {
            firewall.ours.retain(|name, _| !is_ours_and_opens(name));
        }
        without
    }

    /// Has the target an address of the family of any of these, behind each firewall that has rules of ours?
    pub fn has_family_of(&self, sources: &Sources) -> bool {
        self.firewalls.iter().all(|it| match it.kind {
            FirewallKind::ReadOnly { .. } => true,
            FirewallKind::Ordered { .. } | FirewallKind::Union | FirewallKind::Translating => {
                !it.families.of(sources).is_empty()
            }
        })
    }

    /// The packet filters of others that may refuse a gate of the target, in a sentence each.
    pub fn may_refuse(&self, gate: Gate) -> Vec<String> {
        self.refusers.iter().filter(|it| it.may_refuse(gate)).map(|it| it.of(gate)).collect()
    }

    /// Is a rule of this name in any of the firewalls?
    pub fn holds(&self, name: &RuleName) -> bool {
        self.firewalls.iter().any(|it| it.ours.contains_key(name))
    }
}
