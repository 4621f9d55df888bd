//! The firewalls and what they do to packets: the ground truth, which no worker ever sees but through
//! calls that are late, lost or stale.

use super::{clock::Outage, dice::Dice, faults::STALE_MS};
use portcullis_domain::{
    Action, AddressSet, Bands, Change, ChangeTo, Etag, Existing, Families, Firewall, FirewallId,
    FirewallKind, Foreign, Gate, Held, Owner, Protocol, Rule, RuleName, Sources, TargetId,
};
use std::{collections::BTreeMap, fmt, net::IpAddr, ops::RangeInclusive, sync::Arc};

/// The machines that there are. The first two share the firewall of their subnet.
pub(super) const TARGETS: [&str; 3] = ["vm0", "vm1", "vm2"];
/// A machine that is long gone, and left rules behind.
pub(super) const GHOST: &str = "ghost";
/// A machine that another installation guards, and that nobody here gets to see.
pub(super) const HIDDEN: &str = "hidden";
/// When the other installation's lease is over; and an end that no lease has.
const ORPHAN_ENDS_MS: i64 = 500_000;
const NO_LEASE_ENDS_MS: i64 = 90_000_000;
/// Above both our bands, where only a foreign hand writes.
const INTRUDERS: u16 = 50;

const BANDS: Bands = Bands { allows: 100..108, denies: 108..111, existing: Existing::Override };

/// Every firewall, and who is behind which.
#[derive(Debug)]
pub(super) struct Cloud {
    walls: BTreeMap<FirewallId, Wall>,
    paths: BTreeMap<TargetId, Path>,
    /// An etag changes with any rule of the firewall, as in Azure, not only with its own.
    etags_are_shared: bool,
    has_etags: bool,
    writes: u64,
}

/// The firewalls before one machine.
#[derive(Debug)]
struct Path {
    owner: Owner,
    walls: Vec<FirewallId>,
}

#[derive(Debug)]
struct Wall {
    kind: FirewallKind,
    face: Arc<Face>,
    /// What it held, and until when: it may still answer with that.
    past: Vec<(i64, Arc<Face>)>,
    /// How often that changed.
    changes: u64,
    outage: Option<Outage>,
    /// How many ranges its rules may have together.
    ranges_max: Option<usize>,
    /// It refuses to delete any rule.
    keeps: bool,
    /// Until then a write is under way.
    busy_until: i64,
}

/// What one firewall holds at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Face {
    ours: BTreeMap<RuleName, Held>,
    /// Rules of ours that are over and could not be deleted: they were written over, and speak of nobody.
    over: BTreeMap<RuleName, Held>,
    /// What rules of ours were changed into that we would not write.
    twins: BTreeMap<RuleName, Foreign>,
    foreign: BTreeMap<String, Foreign>,
}

/// All rules with our names in a firewall, as another client read them.
#[derive(Debug)]
pub(super) struct Whole {
    ours: BTreeMap<RuleName, Held>,
    over: BTreeMap<RuleName, Held>,
}

/// A firewall as somebody was shown it.
#[derive(Debug)]
pub(super) struct Glimpse {
    face: Arc<Face>,
    is_union: bool,
}

/// Why a firewall did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The rule is not the one that was meant.
    Stale,
    /// Another rule has this priority.
    Clash,
    /// It would hold more ranges than it may.
    Full,
    /// Nothing may be deleted there.
    Kept,
}

/// What stands where a deletion was refused.
#[derive(Debug)]
pub(super) enum Kept {
    /// A rule.
    Stands(Held),
    /// One that is over already.
    Over,
}

/// What is done to a firewall at one time.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    /// A change as it was sent.
    Change(Change),
    /// A rule that could not be deleted is written over: it is the one that was found there.
    Retire(Change, Held),
}

impl Deed {
    /// The change that it is for.
    pub(super) fn change(&self) -> &Change {
        match self {
            Self::Change(change) | Self::Retire(change, _) => change,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(change) => change.fmt(f),
            Self::Retire(change, _) => write!(f, "write over, to {change}"),
        }
    }
}

impl Cloud {
    pub(super) fn begin(dice: &mut Dice) -> Self {
        let ordered = FirewallKind::Ordered { otherwise: Action::Deny };
        // A security group denies by default; the others have a rule that lets everybody in.
        let third = *dice.pick(&[ordered, FirewallKind::Union]);
        let walls = [("subnet", ordered), ("nic0", ordered), ("nic1", ordered), ("nic2", third)];
        let walls = walls.map(|(id, kind)| (firewall(id), Wall::begin(kind)));
        let paths = [("vm0", vec!["subnet", "nic0"]), ("vm1", vec!["subnet", "nic1"]), ("vm2", vec!["nic2"])];
        let path = |(id, walls): (&str, Vec<&str>)| {
            let owner = Owner::from(&target(id));
            (target(id), Path { owner, walls: walls.into_iter().map(firewall).collect() })
        };
        let mut cloud = Self {
            walls: walls.into(),
            paths: paths.map(path).into(),
            etags_are_shared: dice.once_in(2),
            has_etags: dice.once_in(2),
            writes: 0,
        };
        cloud.leave_orphans();
        cloud
    }

    /// As they are where nobody needs luck: what is written to one rule says nothing of another.
    pub(super) fn give_rules_versions_of_their_own(&mut self) {
        (self.has_etags, self.etags_are_shared) = (true, false);
    }

    /// What no table knows of: what is over, what lasts, what nobody can mean, and the locks of two machines.
    fn leave_orphans(&mut self) {
        let allow = |gate: &str, until| {
            let gate: Gate = gate.parse().expect("a gate");
            let until = super::clock::stamp(until);
            (Some(gate), Rule::Allow { gate, sources: Sources::anywhere(), until })
        };
        let lock = || (None, Rule::Deny { gates: ["22/tcp".parse().expect("a gate")].into() });
        let orphans = [
            ("subnet", GHOST, allow("22/tcp", 0)),
            ("nic0", GHOST, allow("3389/tcp", NO_LEASE_ENDS_MS)),
            ("nic1", GHOST, lock()),
            ("nic0", HIDDEN, lock()),
            ("nic2", HIDDEN, allow("22/tcp", ORPHAN_ENDS_MS)),
        ];
        for (wall, owner, (gate, rule)) in orphans {
            let name = RuleName { owner: Owner::from(&target(owner)), gate };
            let priority = if gate.is_none() { BANDS.denies.start } else { BANDS.allows.start };
            let to = ChangeTo::Put { rule, priority };
            let change = Change { firewall: firewall(wall), name, if_match: None, to };
            self.land(&Deed::Change(change), 0).expect("nobody else is there");
        }
    }

    /// Until when a rule of ours says that it is wanted.
    pub(super) fn until(&self, id: &FirewallId, name: &RuleName) -> Option<jiff::Timestamp> {
        match self.walls[id].face.ours.get(name)?.rule {
            Some(Rule::Allow { until, .. }) => Some(until),
            Some(Rule::Deny { .. }) | None => None,
        }
    }

    pub(super) fn path(&self, target: &TargetId) -> Option<&[FirewallId]> {
        self.paths.get(target).map(|it| it.walls.as_slice())
    }

    pub(super) fn ids(&self) -> Vec<FirewallId> {
        self.walls.keys().cloned().collect()
    }

    pub(super) fn any(&self, dice: &mut Dice) -> FirewallId {
        dice.pick(&self.ids()).clone()
    }

    /// One of those before a machine.
    pub(super) fn any_before(&self, target: &TargetId, dice: &mut Dice) -> FirewallId {
        dice.pick(&self.paths[target].walls).clone()
    }

    /// Does a rule lose sources that is to gain more than the firewall may hold?
    pub(super) fn is_squeezed(&self, id: &FirewallId, name: &RuleName, wanted: &Rule) -> bool {
        let wall = &self.walls[id];
        let (Some(held), Some(max)) = (wall.face.ours.get(name), wall.ranges_max) else { return false };
        let (Some(Rule::Allow { sources: standing, .. }), Rule::Allow { sources, .. }) = (&held.rule, wanted)
        else {
            return false;
        };
        let all = wall.face.ours.values().map(ranges).sum::<usize>();
        let (before, more) = (ranges(held), of(wanted));
        !sources.cover(standing) && before < more && max < all - before + more
    }

    /// Who is behind a firewall.
    pub(super) fn behind(&self, id: &FirewallId) -> Vec<TargetId> {
        let behind = self.paths.iter().filter(|(_, path)| path.walls.contains(id));
        behind.map(|(target, _)| target.clone()).collect()
    }

    /// Are the foreign rules those that were there from the first, and no other?
    pub(super) fn is_foreign_untouched(&self, id: &FirewallId) -> bool {
        let wall = &self.walls[id];
        wall.face.foreign == Wall::begin(wall.kind).face.foreign && wall.face.twins.is_empty()
    }

    pub(super) fn outage(&self, id: &FirewallId) -> Option<Outage> {
        self.walls[id].outage
    }

    pub(super) fn set_outage(&mut self, id: &FirewallId, outage: Option<Outage>) {
        self.wall(id).outage = outage;
    }

    /// It may hold no more ranges than it holds, or as many as it wants.
    pub(super) fn set_full(&mut self, id: &FirewallId, is_full: bool) {
        let wall = self.wall(id);
        wall.ranges_max = is_full.then(|| wall.face.ours.values().map(ranges).sum());
    }

    /// One that may refuse to delete rules. It has denies, by which a rule is written over.
    pub(super) fn any_keeper(&self, dice: &mut Dice) -> Option<FirewallId> {
        let id = self.any(dice);
        match self.walls[&id].kind {
            FirewallKind::Ordered { .. } => Some(id),
            FirewallKind::ReadOnly { .. } | FirewallKind::Union | FirewallKind::Translating => None,
        }
    }

    /// It refuses to delete any rule, or no longer.
    pub(super) fn set_keeping(&mut self, id: &FirewallId, keeps: bool) {
        self.wall(id).keeps = keeps;
    }

    /// Takes the firewall for one write, until then; says until when somebody else has it.
    pub(super) fn take(&mut self, id: &FirewallId, now: i64, until: i64) -> Result<(), i64> {
        let wall = self.wall(id);
        if now < wall.busy_until {
            return Err(wall.busy_until);
        }
        wall.busy_until = until;
        Ok(())
    }

    fn wall(&mut self, id: &FirewallId) -> &mut Wall {
        self.walls.get_mut(id).expect("firewalls do not come and go")
    }

    /// What a firewall answers: what it holds, or held `age` milliseconds ago.
    pub(super) fn show(&self, id: &FirewallId, at: i64) -> Firewall {
        let wall = &self.walls[id];
        let Face { ours, over, twins, foreign } = wall.at(at).as_ref();
        // As good as their absence, but for the place that they take.
        let silent = over.iter().map(|(name, held)| rule(name.to_string(), held.priority, Action::Deny, &[]));
        let bare = |held: &Held| Held { etag: held.etag.clone().filter(|_| self.has_etags), ..held.clone() };
        Firewall {
            id: id.clone(),
            kind: wall.kind,
            bands: BANDS,
            inside: AddressSet::default(),
            families: Families::BOTH,
            ours: ours.iter().map(|(name, held)| (name.clone(), bare(held))).collect(),
            foreign: foreign.values().chain(twins.values()).cloned().chain(silent).collect(),
        }
    }

    /// The same, for whoever wants to know what it lets through.
    pub(super) fn glimpse(&self, id: &FirewallId, at: i64) -> Glimpse {
        let wall = &self.walls[id];
        Glimpse { face: Arc::clone(wall.at(at)), is_union: wall.kind == FirewallKind::Union }
    }

    /// A write takes effect, now; says whether that changed anything.
    pub(super) fn land(&mut self, deed: &Deed, now: i64) -> Result<bool, Refused> {
        self.writes += 1;
        let (etag, shared) = (Some(Etag(self.writes.to_string())), self.etags_are_shared);
        let change = match deed {
            Deed::Change(change) => change,
            Deed::Retire(change, found) => return self.retire(change, found, etag, now),
        };
        let is_meant = self.is_meant(change);
        let wall = self.wall(&change.firewall);
        let held = wall.face.ours.get(&change.name);
        let over = wall.face.over.get(&change.name);
        let before = held.cloned();
        match &change.to {
            ChangeTo::Delete if held.is_none() && over.is_none() => return Ok(false),
            ChangeTo::Delete | ChangeTo::Put { .. } if !is_meant => return Err(Refused::Stale),
            ChangeTo::Delete if wall.keeps => return Err(Refused::Kept),
            ChangeTo::Delete => wall.change(now, |face| {
                face.twins.remove(&change.name);
                face.over.remove(&change.name);
                face.ours.remove(&change.name);
            }),
            ChangeTo::Put { rule, priority } => {
                // Who turns a rule that is over into another one leaves it in its place.
                let priority = over.map_or(*priority, |it| it.priority);
                let all = wall.face.ours.iter().chain(&wall.face.over);
                let mut others = all.filter(|(name, _)| **name != change.name);
                if others.any(|(_, held)| held.priority == priority)
                    || wall.face.foreign.values().any(|it| it.priority == priority)
                {
                    return Err(Refused::Clash);
                }
                let more = of(rule);
                let (before, all) =
                    (held.map_or(0, ranges), wall.face.ours.values().map(ranges).sum::<usize>());
                if before < more && wall.ranges_max.is_some_and(|max| max < all - before + more) {
                    return Err(Refused::Full);
                }
                let held = Held { rule: Some(rule.clone()), priority, beside: vec![], etag: etag.clone() };
                wall.change(now, |face| {
                    face.twins.remove(&change.name);
                    face.over.remove(&change.name);
                    face.ours.insert(change.name.clone(), held);
                });
            }
        }
        if shared {
            wall.change(now, |face| face.ours.values_mut().for_each(|held| held.etag.clone_from(&etag)));
        }
        let after = wall.face.ours.get(&change.name);
        let says = |it: &Held| (it.rule.clone(), it.priority);
        Ok(before.as_ref().map(says) != after.map(says))
    }

    /// A rule that could not be deleted is written over, unless it is not the one any more that was found.
    fn retire(
        &mut self,
        change: &Change,
        found: &Held,
        etag: Option<Etag>,
        now: i64,
    ) -> Result<bool, Refused> {
        let wall = self.wall(&change.firewall);
        match wall.face.ours.get(&change.name) {
            None => return Ok(false),
            Some(held) if held.rule != found.rule || held.priority != found.priority => {
                return Err(Refused::Stale);
            }
            Some(_) => {}
        }
        let held = Held { rule: None, etag, ..found.clone() };
        wall.change(now, |face| {
            face.ours.remove(&change.name);
            face.twins.remove(&change.name);
            face.over.insert(change.name.clone(), held);
        });
        Ok(true)
    }

    /// What stands where a deletion is refused, if that is why.
    pub(super) fn keeps(&self, change: &Change) -> Option<Kept> {
        let wall = &self.walls[&change.firewall];
        if !wall.keeps || change.to != ChangeTo::Delete {
            return None;
        }
        let stands = wall.face.ours.get(&change.name).cloned().map(Kept::Stands);
        stands.or_else(|| wall.face.over.contains_key(&change.name).then_some(Kept::Over))
    }

    /// Is the rule there the one that a change means?
    fn is_meant(&self, change: &Change) -> bool {
        let face = &self.walls[&change.firewall].face;
        let held = face.ours.get(&change.name).or_else(|| face.over.get(&change.name));
        change.if_match.is_none() || held.is_some_and(|it| it.etag == change.if_match)
    }

    /// Does it mean a rule that is over, or one that is not there any more?
    pub(super) fn is_over_or_kept(&self, change: &Change) -> bool {
        self.is_reused(change) || !self.is_meant(change)
    }

    /// Is a rule that is over changed?
    pub(super) fn is_reused(&self, change: &Change) -> bool {
        self.walls[&change.firewall].face.over.contains_key(&change.name)
    }

    /// Does a firewall hold what is over, that would delete it?
    pub(super) fn leaves_what_is_over(&self, id: &FirewallId) -> bool {
        let wall = &self.walls[id];
        !wall.keeps && !wall.face.over.is_empty()
    }

    /// Rules of ours that are over, with their versions.
    pub(super) fn over(&self, id: &FirewallId, at: i64) -> Vec<(RuleName, Option<Etag>)> {
        let over = &self.walls[id].at(at).over;
        over.iter().map(|(name, held)| (name.clone(), held.etag.clone())).collect()
    }

    /// A foreign hand deletes a rule of ours, opens it to everybody, or makes something else of it.
    pub(super) fn meddle(&mut self, now: i64, dice: &mut Dice) -> Option<(FirewallId, RuleName)> {
        let all = self.walls.iter().flat_map(|(id, wall)| wall.face.ours.keys().map(move |name| (id, name)));
        // The lock of another installation is for that one to heal.
        let all = all.filter(|(_, name)| !is_lock_of_the_hidden(name));
        let all: Vec<(FirewallId, RuleName)> = all.map(|(id, name)| (id.clone(), name.clone())).collect();
        if all.is_empty() {
            return None;
        }
        let (id, name) = dice.pick(&all).clone();
        self.writes += 1;
        let etag = Some(Etag(self.writes.to_string()));
        // Nor does it delete anything where that is refused.
        let how = if self.walls[&id].keeps { 1 + dice.roll(2) } else { dice.roll(3) };
        self.wall(&id).change(now, |face| {
            let Some(held) = face.ours.get_mut(&name) else { return };
            held.etag = etag;
            match (&mut held.rule, how) {
                (_, 0) => drop(face.ours.remove(&name)),
                (None, _) => {}
                (Some(Rule::Allow { sources, .. }), 1) => *sources = Sources::anywhere(),
                (Some(Rule::Allow { .. } | Rule::Deny { .. }), _) => {
                    held.rule = None;
                    let twin = rule(name.to_string(), held.priority, Action::Allow, &[0..=u16::MAX]);
                    face.twins.insert(name.clone(), twin);
                }
            }
            if !face.ours.contains_key(&name) {
                face.twins.remove(&name);
            }
        });
        Some((id, name))
    }

    /// What a client reads that means to write it back.
    pub(super) fn whole(&self, id: &FirewallId) -> Whole {
        let face = &self.walls[id].face;
        Whole { ours: face.ours.clone(), over: face.over.clone() }
    }

    /// Writes a firewall back as it was read; says whether anything else stood there.
    pub(super) fn write_back(&mut self, id: &FirewallId, whole: Whole, now: i64) -> bool {
        let face = &self.walls[id].face;
        if face.ours == whole.ours && face.over == whole.over {
            return false;
        }
        self.writes += 1;
        let etag = Some(Etag(self.writes.to_string()));
        let Whole { mut ours, mut over } = whole;
        for held in ours.values_mut().chain(over.values_mut()) {
            held.etag.clone_from(&etag);
        }
        self.wall(id).change(now, |face| (face.ours, face.over) = (ours, over));
        true
    }

    /// A foreign rule that stands above ours: it lets everybody in, or nobody.
    pub(super) fn intruder(&self, n: u64, dice: &mut Dice) -> (FirewallId, Foreign) {
        let action = *dice.pick(&[Action::Allow, Action::Deny]);
        let priority = INTRUDERS + u16::try_from(n).expect("few");
        let ports = [*dice.pick(&[22_u16, 3389]); 2].map(|port| port..=port);
        (self.any(dice), rule(format!("theirs-{n}"), priority, action, &ports[..1]))
    }

    pub(super) fn intrude(&mut self, id: &FirewallId, rule: Foreign, now: i64) {
        self.wall(id).change(now, |face| drop(face.foreign.insert(rule.name.clone(), rule)));
    }

    pub(super) fn retreat(&mut self, id: &FirewallId, name: &str, now: i64) {
        self.wall(id).change(now, |face| drop(face.foreign.remove(name)));
    }

    /// Does a packet get to a target? Told from the rules themselves, as the clouds' manuals say.
    pub(super) fn passes(&self, target: &TargetId, source: IpAddr, protocol: Protocol, port: u16) -> bool {
        // Nothing keeps anybody from a machine that is behind no firewall.
        let Some(Path { owner, walls }) = self.paths.get(target) else { return true };
        walls.iter().all(|id| self.glimpse(id, i64::MAX).passes(owner, source, protocol, port))
    }

    /// How often anything changed that decides which packets get to a target.
    pub(super) fn changes(&self, target: &TargetId) -> u64 {
        self.path(target).unwrap_or_default().iter().map(|id| self.walls[id].changes).sum()
    }

    /// Does a rule of ours let somebody in, in every firewall on the path?
    pub(super) fn lets_in(&self, target: &TargetId, gate: Gate, who: IpAddr) -> bool {
        let Path { owner, walls } = &self.paths[target];
        let name = RuleName { owner: owner.clone(), gate: Some(gate) };
        walls.iter().all(|id| {
            let rule = self.walls[id].face.ours.get(&name).and_then(|held| held.rule.as_ref());
            matches!(rule, Some(Rule::Allow { sources, .. }) if sources.admit(who))
        })
    }

    /// Is there a rule of this target with such a name?
    pub(super) fn holds(&self, target: &TargetId, is_wanted: impl Fn(&RuleName) -> bool) -> bool {
        let Path { owner, walls } = &self.paths[target];
        let mut names = walls.iter().flat_map(|id| self.walls[id].face.ours.keys());
        names.any(|name| name.owner == *owner && is_wanted(name))
    }
}

impl Wall {
    fn begin(kind: FirewallKind) -> Self {
        // In the middle of our band, so that we have to go round it.
        let https = rule("https".to_owned(), BANDS.allows.start + 1, Action::Allow, &[443..=443]);
        // Beneath our denies, which is why they are needed.
        let all = rule("all".to_owned(), 4000, Action::Allow, &[0..=u16::MAX]);
        let foreign: Vec<Foreign> = match kind {
            FirewallKind::Ordered { .. } => vec![https, all],
            FirewallKind::ReadOnly { .. } | FirewallKind::Union | FirewallKind::Translating => vec![https],
        };
        let foreign = foreign.into_iter().map(|it| (it.name.clone(), it)).collect();
        let face = Face { ours: BTreeMap::new(), over: BTreeMap::new(), twins: BTreeMap::new(), foreign };
        Self {
            kind,
            face: Arc::new(face),
            past: vec![],
            changes: 0,
            outage: None,
            ranges_max: None,
            keeps: false,
            busy_until: 0,
        }
    }

    /// What it held at some time that is not too long ago.
    fn at(&self, at: i64) -> &Arc<Face> {
        self.past.iter().find(|(until, _)| at < *until).map_or(&self.face, |(_, face)| face)
    }

    fn change(&mut self, now: i64, change: impl FnOnce(&mut Face)) {
        self.past.retain(|(until, _)| now - STALE_MS <= *until);
        self.past.push((now, Arc::clone(&self.face)));
        self.changes += 1;
        change(Arc::make_mut(&mut self.face));
    }
}

impl Glimpse {
    /// Does a packet to a target get through?
    pub(super) fn passes(&self, owner: &Owner, source: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.face.verdict(owner, source, protocol, port, self.is_union) == Some(Action::Allow)
    }
}

impl Face {
    fn verdict(
        &self,
        owner: &Owner,
        source: IpAddr,
        protocol: Protocol,
        port: u16,
        is_union: bool,
    ) -> Option<Action> {
        let speaks = |of: Protocol| of == Protocol::Any || of == protocol;
        let of_gate = |gate: &Gate| gate.port.number() == port && speaks(gate.protocol);
        let from = |sources: &Sources| sources.ranges().iter().any(|range| range.contains(&source));
        let ours =
            self.ours.iter().filter(|(name, _)| name.owner == *owner).filter_map(|(_, held)| {
                match held.rule.as_ref()? {
                    Rule::Deny { gates } => {
                        gates.iter().any(of_gate).then_some((held.priority, Action::Deny))
                    }
                    Rule::Allow { gate, sources, .. } => {
                        (of_gate(gate) && from(sources)).then_some((held.priority, Action::Allow))
                    }
                }
            });
        let theirs = self.foreign.values().chain(self.twins.values()).filter(|it| {
            speaks(it.protocol) && it.ports.iter().any(|ports| ports.contains(&port)) && from(&it.sources)
        });
        let all = ours.chain(theirs.map(|it| (it.priority, it.action)));
        let heeded = all.filter(|(_, action)| !is_union || *action == Action::Allow);
        heeded.min_by_key(|(priority, _)| *priority).map(|(_, action)| action)
    }
}

/// How many ranges a rule has. A lock names nobody.
fn of(rule: &Rule) -> usize {
    match rule {
        Rule::Allow { sources, .. } => sources.ranges().len(),
        Rule::Deny { .. } => 0,
    }
}

fn ranges(held: &Held) -> usize {
    held.rule.as_ref().map_or(0, of)
}

fn rule(name: String, priority: u16, action: Action, ports: &[RangeInclusive<u16>]) -> Foreign {
    let (protocol, sources) = (Protocol::Any, Sources::anywhere());
    let unsure = Sources::default();
    Foreign {
        name,
        priority,
        action,
        protocol,
        sources,
        unsure,
        ports: ports.to_vec(),
        to: Sources::anywhere(),
        is_general: false,
    }
}

/// Which machine a lock is for.
pub(super) fn locked(name: &RuleName) -> Option<TargetId> {
    let mut all = TARGETS.into_iter().chain([GHOST, HIDDEN]).map(target);
    all.find(|id| name.gate.is_none() && Owner::from(id) == name.owner)
}

/// Is it the lock that nobody here may take away?
pub(super) fn is_lock_of_the_hidden(name: &RuleName) -> bool {
    locked(name).is_some_and(|it| it == target(HIDDEN))
}

pub(super) fn target(id: &str) -> TargetId {
    id.parse().expect("a target id")
}

fn firewall(id: &str) -> FirewallId {
    id.parse().expect("a firewall id")
}

/// Is this a place where our rules may stand?
pub(super) fn is_in_band(rule: &Rule, priority: u16) -> bool {
    match rule {
        Rule::Allow { .. } => BANDS.allows.contains(&priority),
        Rule::Deny { .. } => BANDS.denies.contains(&priority),
    }
}
