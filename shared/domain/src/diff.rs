//! The way from what firewalls hold to what they must hold: what shuts by itself, and then what opens.

use crate::{
    Action, AddressSet, Bands, Etag, Existing, Firewall, FirewallId, Foreign, ForeignDenies, Held, Owner,
    Rule, RuleName, RuleSet, Snapshot, Sources,
};
use std::{collections::BTreeSet, fmt, ops::Range};

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
    /// How many of them shut.
    shutting: usize,
    /// Rules for which a firewall has no priority left in our band.
    pub unplaced: Vec<(FirewallId, RuleName)>,
}

impl Diff {
    /// Is there nothing to do, and nothing that could not be done?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.unplaced.is_empty()
    }

    /// What only shuts: deletions, locks, and allows with fewer sources or an earlier end, where they stand.
    pub fn shuts(&self) -> &[Change] {
        self.changes.get(..self.shutting).unwrap_or_default()
    }

    /// What only opens: new allows, and allows with more sources, a later end or another place.
    pub fn opens(&self) -> &[Change] {
        self.changes.get(self.shutting..).unwrap_or_default()
    }
}

/// The changes that turn what `actual` holds for `owner` into `desired`, in every firewall.
///
/// Rules of other owners and foreign rules are never among them; their priorities are left alone.
///
/// INVARIANT (closing-waits-for-no-opening): no change both shuts and opens. An allow that must lose and gain is first
/// what stands less what is over; its growth is in the diff of what is read after that, by the version that it has then.
pub fn diff(actual: &Snapshot, owner: &Owner, desired: &RuleSet) -> Diff {
    let (mut shuts, mut opens, mut unplaced) = (vec![], vec![], vec![]);
    for (at, firewall) in actual.firewalls.iter().enumerate() {
        let blocked = |gate| match desired.foreign_denies(gate) {
            ForeignDenies::Respect => actual.blocked_at(at, gate),
            ForeignDenies::Override => AddressSet::default(),
        };
        let holding =
            |(name, rule): (&RuleName, &Rule)| Some((name.clone(), firewall.holding(rule, blocked)?));
        let wanted: RuleSet = desired.iter().filter_map(holding).collect();
        let outlasting = &actual.outlasting;
        let mut steps = Steps { shuts: &mut shuts, opens: &mut opens, unplaced: &mut unplaced, outlasting };
        firewall.diff(owner, &wanted, &mut steps);
    }
    // INVARIANT (shut-by-default): stable, so lockdowns, whose names sort first, stay before allows.
    shuts.sort_by_key(|change| match &change.to {
        ChangeTo::Delete => 0,
        ChangeTo::Put { rule: Rule::Deny { .. }, .. } => 1,
        ChangeTo::Put { rule: Rule::Allow { .. }, .. } => 2,
    });
    let shutting = shuts.len();
    Diff { changes: [shuts, opens].concat(), shutting, unplaced }
}

impl Change {
    /// What is left to try when a firewall refuses a change for good although it only shuts, one after the other: no
    /// more ranges than stand there now, and in the end no rule at all. A live lease that is cut so opens again as soon
    /// as the firewall takes it; one that is over must not stay open because of it.
    ///
    /// INVARIANT (closing-waits-for-no-opening): nothing where nobody is let in beyond what the change says.
    pub fn narrower(&self, seen: &Snapshot) -> Vec<Self> {
        let ChangeTo::Put { rule: Rule::Allow { gate, sources, until }, priority } = &self.to else {
            return vec![];
        };
        let firewall = seen.firewalls.iter().find(|it| it.id == self.firewall);
        let Some(held) = firewall.and_then(|it| it.ours.get(&self.name)) else { return vec![] };
        let to = |to| Self { to, ..self.clone() };
        let mut tries = vec![];
        if let Some(Rule::Allow { sources: standing, .. }) = &held.rule {
            if sources.cover(standing) {
                return vec![];
            }
            let most = standing.ranges().len();
            if most < sources.ranges().len() {
                let mut ranges = sources.ranges().to_vec();
                ranges.sort_by_key(ipnet::IpNet::prefix_len);
                let (gate, until) = (*gate, *until);
                let rule = Rule::Allow { gate, sources: Sources::of(ranges.into_iter().take(most)), until };
                tries.push(to(ChangeTo::Put { rule, priority: *priority }));
            }
        }
        tries.push(to(ChangeTo::Delete));
        tries
    }
}

/// Where a firewall's changes go.
struct Steps<'a> {
    shuts: &'a mut Vec<Change>,
    opens: &'a mut Vec<Change>,
    unplaced: &'a mut Vec<(FirewallId, RuleName)>,
    outlasting: &'a BTreeSet<RuleName>,
}

impl Firewall {
    /// `wanted` is what this firewall shall hold.
    fn diff(&self, owner: &Owner, wanted: &RuleSet, steps: &mut Steps<'_>) {
        let mut taken: BTreeSet<u16> = self.foreign.iter().map(|it| it.priority).collect();
        taken.extend(self.ours.values().flat_map(Held::priorities));
        let change = |name: &RuleName, held: Option<&Held>, to| Change {
            firewall: self.id.clone(),
            name: name.clone(),
            if_match: held.and_then(|it| it.etag.clone()),
            to,
        };
        let stale = self.of(owner).filter(|(name, _)| wanted.get(name).is_none());
        steps.shuts.extend(stale.map(|(name, held)| change(name, Some(held), ChangeTo::Delete)));
        for (name, rule) in wanted.iter() {
            let held = self.ours.get(name);
            let rule = rule.clone();
            let place = self.place(name, &rule, held.map(|it| it.priority), &taken);
            if place.is_none() {
                steps.unplaced.push((self.id.clone(), name.clone()));
            }
            taken.extend(place);
            let step = match held {
                Some(held) if steps.outlasting.contains(name) => Step::anew(held, rule, place),
                held => Step::between(held, rule, place),
            };
            match step {
                Some(Step::Shuts(to)) => steps.shuts.push(change(name, held, to)),
                Some(Step::Opens(to)) => steps.opens.push(change(name, held, to)),
                None => {}
            }
        }
    }

    /// Where a rule shall stand: on the right side of the foreign rules that contradict it if there is room,
    /// else anywhere in its band; where it stands already, if that is as good.
    fn place(&self, name: &RuleName, rule: &Rule, held: Option<u16>, taken: &BTreeSet<u16>) -> Option<u16> {
        let band = self.bands.of(rule);
        let best = self.bands.beyond(rule, self.contradicting(rule));
        // Not the first that is free: many who look at the same time would all want that one.
        let seat = |among: &Range<u16>| {
            let skipped = name.seat(u16::try_from(among.len()).unwrap_or(u16::MAX));
            let from = among.start.saturating_add(skipped);
            (from..among.end).chain(among.start..from).find(|it| !taken.contains(it))
        };
        let stays = |among: &Range<u16>| held.filter(|it| among.contains(it));
        stays(&best).or_else(|| seat(&best)).or_else(|| stays(&band)).or_else(|| seat(&band))
    }

    /// The priorities of foreign rules that say the opposite of some of the same packets.
    fn contradicting(&self, rule: &Rule) -> impl Iterator<Item = u16> {
        let (opposite, gates, sources) = match rule {
            Rule::Deny { gates } => (Action::Allow, gates.clone(), AddressSet::all()),
            Rule::Allow { gate, sources, .. } => {
                (Action::Deny, BTreeSet::from([*gate]), AddressSet::from(sources).union(&self.inside))
            }
        };
        let speaks = move |it: &&Foreign| {
            let meets = |theirs: &Sources| !sources.intersection(&theirs.into()).is_empty();
            it.action == opposite
                && !it.to.is_empty()
                && gates.iter().any(|gate| it.speaks_of(*gate))
                && (meets(&it.sources) || meets(&it.unsure))
        };
        self.foreign.iter().filter(speaks).map(|it| it.priority)
    }
}

/// The next step from one rule to another: never both at once.
enum Step {
    Shuts(ChangeTo),
    Opens(ChangeTo),
}

impl Step {
    /// The same where what stands says the right thing and lasts too long: it is shut earlier.
    fn anew(held: &Held, wanted: Rule, place: Option<u16>) -> Option<Self> {
        let step = Self::between(Some(held), wanted.clone(), place);
        step.or(Some(Self::Shuts(ChangeTo::Put { rule: wanted, priority: held.priority })))
    }

    /// `place` is where the wanted rule shall stand, if there is room for it. What only shuts needs none.
    fn between(held: Option<&Held>, wanted: Rule, place: Option<u16>) -> Option<Self> {
        let put = |rule: Rule, priority: u16| ChangeTo::Put { rule, priority };
        let standing = held.map(|it| it.priority);
        let is_there =
            |it: &Held| it.rule.as_ref() == Some(&wanted) && place.is_none_or(|at| at == it.priority);
        let is_there = held.is_some_and(is_there);
        match (held.map(|it| it.rule.as_ref()), &wanted) {
            _ if is_there => None,
            (_, Rule::Deny { .. }) => Some(Self::Shuts(put(wanted, place.or(standing)?))),
            (None, Rule::Allow { .. }) => Some(Self::Opens(put(wanted, place?))),
            // It may let anybody in: it is written anew, or not left.
            (Some(None | Some(Rule::Deny { .. })), Rule::Allow { .. }) => {
                Some(Self::Shuts(place.map_or(ChangeTo::Delete, |it| put(wanted, it))))
            }
            (
                Some(Some(Rule::Allow { sources: standing_for, until: ends, .. })),
                Rule::Allow { gate, sources, until },
            ) => {
                if *until >= *ends && sources.cover(standing_for) {
                    return Some(Self::Opens(put(wanted, place?)));
                }
                let kept = AddressSet::from(standing_for).intersection(&sources.into());
                // The wanted list itself where nothing is gained: as it is written, it is read.
                let kept = if standing_for.cover(sources) { sources.clone() } else { kept.to_sources() };
                if kept.is_empty() {
                    return Some(Self::Shuts(ChangeTo::Delete));
                }
                let rule = Rule::Allow { gate: *gate, sources: kept, until: *until.min(ends) };
                Some(Self::Shuts(put(rule, standing?)))
            }
        }
    }
}

impl Held {
    pub(crate) fn priorities(&self) -> impl Iterator<Item = u16> {
        std::iter::once(self.priority).chain(self.beside.iter().copied())
    }
}

impl Bands {
    fn of(&self, rule: &Rule) -> Range<u16> {
        match rule {
            Rule::Deny { .. } => self.denies.clone(),
            Rule::Allow { .. } => self.allows.clone(),
        }
    }

    /// The part of a rule's band in which it does to the rules that contradict it what is wanted.
    fn beyond(&self, rule: &Rule, contradicting: impl Iterator<Item = u16>) -> Range<u16> {
        let band = self.of(rule);
        let inside = contradicting.filter(|it| *it < band.end);
        match (self.existing, rule) {
            (Existing::Override, _) | (Existing::Respect, Rule::Allow { .. }) => {
                let first = inside.min().unwrap_or(band.end);
                band.start..first.max(band.start)
            }
            (Existing::Respect, Rule::Deny { .. }) => {
                let after = inside.max().map_or(band.start, |it| it.saturating_add(1));
                after.max(band.start)..band.end
            }
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
