//! What a firewall must hold, what it does hold, and the way from one to the other.

use crate::{FirewallId, Gate, Owner, Protocol, RuleName, Sources};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    ops::{Range, RangeInclusive},
};

/// All that we want in every firewall on a target's path.
pub type RuleSet = BTreeMap<RuleName, Rule>;

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
    /// Every firewall on the path, in the order in which a packet meets them; at least one.
    pub firewalls: Vec<Firewall>,
    /// Who was seen to be connected to which port; empty where the firewall cannot tell.
    pub connected: Vec<(Gate, IpAddr)>,
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
    /// Rules with our names, for whichever target.
    pub ours: BTreeMap<RuleName, Held>,
    /// Everybody else's rules.
    pub foreign: Vec<Foreign>,
}

/// How a firewall decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallKind {
    /// The first rule that speaks of the packet, by ascending priority, decides (NSG, nftables).
    Ordered {
        /// What becomes of a packet that no rule speaks of.
        otherwise: Action,
    },
    /// Any rule that admits the packet decides, in any of the groups; there is no deny (security groups).
    Union,
}

/// Priorities that are reserved for us. Lower wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bands {
    /// For our allows.
    pub allows: Range<u16>,
    /// For our denies: under our allows, above every foreign allow.
    pub denies: Range<u16>,
}

/// A rule that has a name of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it says; `None` if it was changed into something that we would not write. What it does is
    /// then told by a twin among the foreign rules.
    pub rule: Option<Rule>,
    /// Where it stands.
    pub priority: u16,
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
    /// Of which ports it speaks.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Does it speak of packets to this target?
    pub reaches: bool,
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

/// One write to one firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub firewall: FirewallId,
    /// Which rule.
    pub name: RuleName,
    /// The version to replace or delete. Absent for a new rule, and where the cloud has no etags.
    pub if_match: Option<Etag>,
    /// What to do.
    pub to: ChangeTo,
}

/// What a write makes of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeTo {
    /// It says this, there.
    Put {
        /// What it says.
        rule: Rule,
        /// Where it stands.
        priority: u16,
    },
    /// It is gone.
    Delete,
}

/// The way from what is held to what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// First what shuts, then what opens.
    pub changes: Vec<Change>,
    /// Rules for which a firewall has no priority left in our band.
    pub unplaced: Vec<(FirewallId, RuleName)>,
}

impl Diff {
    /// Is there nothing to do, and nothing that could not be done?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.unplaced.is_empty()
    }
}

/// The changes that turn what `actual` holds for `owner` into `desired`, in every firewall.
///
/// Rules of other owners and foreign rules are never among them; their priorities are left alone.
pub fn diff(actual: &Snapshot, owner: &Owner, desired: &RuleSet) -> Diff {
    let mut diff = Diff::default();
    for firewall in &actual.firewalls {
        firewall.diff(owner, desired, &mut diff);
    }
    // INVARIANT (shut-by-default): stable, so lockdowns, whose names sort first, stay before allows.
    diff.changes.sort_by_key(|change| match &change.to {
        ChangeTo::Delete => 0,
        ChangeTo::Put { rule: Rule::Deny { .. }, .. } => 1,
        ChangeTo::Put { rule: Rule::Allow { .. }, .. } => 2,
    });
    diff
}

impl Firewall {
    fn diff(&self, owner: &Owner, desired: &RuleSet, diff: &mut Diff) {
        let theirs = self.foreign.iter().map(|it| it.priority);
        let mut taken: BTreeSet<u16> = theirs.chain(self.ours.values().map(|it| it.priority)).collect();
        let change = |name: &RuleName, held: Option<&Held>, to| Change {
            firewall: self.id.clone(),
            name: name.clone(),
            if_match: held.and_then(|it| it.etag.clone()),
            to,
        };
        let stale = self.of(owner).filter(|(name, _)| !desired.contains_key(name));
        diff.changes.extend(stale.map(|(name, held)| change(name, Some(held), ChangeTo::Delete)));
        for (name, rule) in desired.iter().filter(|(_, rule)| self.can_hold(rule)) {
            let held = self.ours.get(name);
            let band = self.bands.of(rule);
            let placed = held.filter(|it| band.contains(&it.priority));
            if placed.is_some_and(|it| it.rule.as_ref() == Some(rule)) {
                continue;
            }
            let free = || band.clone().find(|priority| !taken.contains(priority));
            let Some(priority) = placed.map(|it| it.priority).or_else(free) else {
                diff.unplaced.push((self.id.clone(), name.clone()));
                continue;
            };
            taken.insert(priority);
            diff.changes.push(change(name, held, ChangeTo::Put { rule: rule.clone(), priority }));
        }
    }

    /// The rules of ours for one target.
    pub fn of(&self, owner: &Owner) -> impl Iterator<Item = (&RuleName, &Held)> {
        self.ours.iter().filter(move |(name, _)| name.owner == *owner)
    }

    fn can_hold(&self, rule: &Rule) -> bool {
        match (self.kind, rule) {
            (FirewallKind::Union, Rule::Deny { .. }) => false,
            (FirewallKind::Union, Rule::Allow { .. }) | (FirewallKind::Ordered { .. }, _) => true,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { firewall, name, to, .. } = self;
        match to {
            ChangeTo::Put { rule, priority } => write!(f, "put {name} at {priority} in {firewall}: {rule}"),
            ChangeTo::Delete => write!(f, "delete {name} from {firewall}"),
        }
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

impl Bands {
    fn of(&self, rule: &Rule) -> Range<u16> {
        match rule {
            Rule::Deny { .. } => self.denies.clone(),
            Rule::Allow { .. } => self.allows.clone(),
        }
    }
}

impl Snapshot {
    /// Is a rule of this name in any of the firewalls?
    pub fn holds(&self, name: &RuleName) -> bool {
        self.firewalls.iter().any(|it| it.ours.contains_key(name))
    }
}
