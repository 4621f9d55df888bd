//! What a read-back shows, judged by what is wanted.

use crate::{
    Accepted, AcceptedSources, Admitted, Decision, Fact, FirewallId, ForeignRule, Gate, Grant, Obstacle,
    Owner, Packet, Policy, Rule, RuleName, RuleSet, Snapshot, Sources, Target, accepted,
    delay::{Closing, Delay, Obstacles},
    diff,
    space::AddressSet,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What was read, beside what was wanted.
pub struct View<'a> {
    pub seen: &'a Snapshot,
    owner: Owner,
    pub desired: RuleSet,
    /// Who gets through each gate of the target.
    pub admitted: BTreeMap<Gate, Admitted>,
    /// The same of each kind of packet by itself: gates may have packets in common.
    each: BTreeMap<Gate, Admitted>,
    /// The gates at which some rules are accepted, each kind of packet by itself, as they would be without those.
    beside: BTreeMap<Gate, Beside>,
    /// Whom foreign rules admit that we were told to respect.
    spared: BTreeMap<Gate, AddressSet>,
    /// Rules for which there is no room.
    unplaced: Vec<(FirewallId, RuleName)>,
    /// Do the firewalls hold what is wanted?
    pub agrees: bool,
    obstacles: Obstacles,
}

/// A gate as it would be without its accepted rules.
struct Beside {
    seen: Snapshot,
    /// Who may get through.
    any: AddressSet,
    /// The rules that are accepted there, also those that changed since.
    accepted: Vec<Accepted>,
}

/// Why a lease does not let its sources in.
pub enum Unopened {
    /// This rule keeps them out.
    KeptShut(String),
    /// The write was refused: why.
    Refused(String),
}

impl Unopened {
    pub fn obstacle(&self) -> Obstacle<'_> {
        match self {
            Self::KeptShut(rule) => Obstacle::KeptShut(rule),
            Self::Refused(why) => Obstacle::Refused(why),
        }
    }
}

impl<'a> View<'a> {
    pub fn of(target: &Target, seen: &'a Snapshot, now: Timestamp) -> Self {
        let owner = target.owner();
        let desired = target.rules(now);
        let diff = diff(seen, &owner, &desired);
        let (agrees, unplaced) = (diff.is_empty(), diff.unplaced);
        let gates = target.gates();
        let transports: BTreeSet<Gate> = gates.iter().flat_map(|it| it.transports()).collect();
        let each: BTreeMap<Gate, Admitted> =
            transports.iter().map(|it| (*it, seen.admitted(&owner, *it))).collect();
        let of = |gate: Gate| Admitted::together(gate.transports().filter_map(|it| each.get(&it)));
        let admitted = gates.into_iter().map(|gate| (gate, of(gate))).collect();
        let beside = transports.iter().filter_map(|it| {
            let accepted = target.policy().map(|policy| policy.accepted(*it)).unwrap_or_default();
            (!accepted.is_empty()).then(|| (*it, Beside::of(seen, &owner, *it, accepted)))
        });
        let beside = beside.collect();
        let spared = if seen.respects() {
            let unopened = seen.without_allows(&owner);
            transports.iter().map(|it| (*it, unopened.admitted(&owner, *it).any)).collect()
        } else {
            BTreeMap::new()
        };
        let obstacles = target.obstacles();
        Self { seen, owner, desired, admitted, each, beside, spared, unplaced, agrees, obstacles }
    }

    pub fn name(&self, gate: Gate) -> RuleName {
        RuleName { owner: self.owner.clone(), gate: Some(gate) }
    }

    /// The callers who should pass with packets of one kind: the sources of the live leases of every gate that has them.
    fn wanted(&self, transport: Gate) -> AddressSet {
        let allows = self.desired.values().filter_map(|it| match it {
            Rule::Allow { gate, sources, .. } if gate.covers(transport) => Some(AddressSet::from(sources)),
            Rule::Allow { .. } | Rule::Deny { .. } => None,
        });
        allows.fold(AddressSet::default(), |all, one| all.union(&one))
    }

    /// Those who get through with packets of one kind, and not by accepted rules alone.
    fn told(&self, transport: Gate) -> Option<&AddressSet> {
        let beside = self.beside.get(&transport).map(|it| &it.any);
        beside.or_else(|| self.each.get(&transport).map(|it| &it.any))
    }

    /// Is no caller let in through a guarded gate but those who should be, those whom an accepted rule admits, and those whom
    /// a rule admits that we were told to respect?
    pub fn keeps_out(&self, gate: Gate) -> bool {
        gate.transports().all(|it| {
            let tolerated = match self.spared.get(&it) {
                Some(spared) => spared.union(&self.wanted(it)),
                None => self.wanted(it),
            };
            self.told(it).is_some_and(|told| told.is_within(&tolerated))
        })
    }

    /// Does the read-back prove that no caller is let in through a gate but those who may be?
    pub fn is_shut(&self, gate: Gate, is_guarded: bool) -> bool {
        if is_guarded { self.keeps_out(gate) } else { !self.seen.holds(&self.name(gate)) }
    }

    /// Is the gate of one of them shut?
    pub fn shuts_one_of<'g>(&self, mut grants: impl Iterator<Item = &'g Grant>, target: &Target) -> bool {
        grants.any(|it| {
            self.admitted.contains_key(&it.gate) && self.is_shut(it.gate, target.is_guarded(it.gate))
        })
    }

    /// Do all these sources get through that have a way to the target at all?
    pub fn lets_in(&self, sources: &Sources, admitted: &Admitted) -> bool {
        let near = self.near(sources);
        !near.is_empty() && near.is_within(&admitted.all)
    }

    fn near(&self, sources: &Sources) -> AddressSet {
        AddressSet::from(sources).intersection(&self.seen.near())
    }

    /// Locks that another rule defeats, and which.
    pub fn defeats(&self, target: &Target) -> BTreeMap<Gate, String> {
        let guarded = self.admitted.keys().filter(|gate| target.is_guarded(**gate));
        guarded.filter_map(|gate| Some((*gate, self.beyond(*gate)?))).collect()
    }

    /// The rule that lets somebody in who has no lease.
    fn beyond(&self, gate: Gate) -> Option<String> {
        gate.transports().find_map(|it| {
            let who = self.told(it)?.without(&self.wanted(it));
            match self.beside.get(&it) {
                None => self.decided(self.seen, it, &who, true).map(|it| it.1),
                Some(beside) => {
                    let (rule, words) = self.decided(&beside.seen, it, &who, true)?;
                    let told = |rule: ForeignRule| accepted::told(&rule, &beside.accepted, self.seen);
                    Some(rule.map_or(words, told))
                }
            }
        })
    }

    /// The sources that get through gates of the policy without a lease, by accepted rules alone.
    pub fn accepted(&self, policy: Option<&Policy>) -> BTreeMap<Gate, AcceptedSources> {
        let gates = policy.map(Policy::gates).unwrap_or_default().into_iter();
        let of = |gate: Gate| {
            let beside = gate.transports().filter_map(|it| Some((it, self.beside.get(&it)?)));
            let only =
                beside.map(|(it, beside)| (self.each.get(&it).map(|it| it.any.without(&beside.any)), beside));
            let mut found = AcceptedSources { sources: AddressSet::default(), rules: vec![] };
            for (sources, beside) in only {
                found.sources = found.sources.union(&sources.unwrap_or_default());
                found.rules = beside.accepted.iter().filter(|it| it.holds_in(self.seen)).cloned().collect();
            }
            (!found.sources.is_empty()).then_some((gate, found))
        };
        gates.filter_map(of).collect()
    }

    /// Why a lease does not let its sources in, if it is not that the write has yet to land.
    pub fn why_not(&self, gate: Gate, sources: &Sources, admitted: &Admitted) -> Option<Unopened> {
        if self.agrees {
            return Some(Unopened::KeptShut(self.kept_out(gate, sources, admitted)));
        }
        let unplaced = || {
            let (firewall, _) = self.unplaced.iter().find(|(_, name)| *name == self.name(gate))?;
            Some(format!("no priority is left in our band in {firewall}"))
        };
        unplaced().or_else(|| self.seen.refused.clone()).map(Unopened::Refused)
    }

    /// The rule that keeps somebody out who has a lease, and where others of its sources get in all the same, whom.
    fn kept_out(&self, gate: Gate, sources: &Sources, admitted: &Admitted) -> String {
        if !self.seen.has_family_of(sources) {
            return "(the machine has no address of the family of these sources)".to_owned();
        }
        let near = self.near(sources);
        let who = if near.is_empty() { sources.into() } else { near.without(&admitted.all) };
        // Our own lock is what stops those whom we do not let in because of it.
        let met = self.seen.denies_met(gate, &who, self.desired.foreign_denies(gate));
        let block = met.into_iter().find(|it| it.wins).map(|it| it.rule);
        let decided = || self.decided(self.seen, gate, &who, false).map(|it| it.1);
        let rule = block.or_else(decided).unwrap_or_else(|| "(unknown)".to_owned());
        if near.intersection(&admitted.all).is_empty() {
            rule
        } else {
            format!("{rule}, for {}; its other sources get in", who.summary())
        }
    }

    /// The rule that decides of one of these in what was read, and the same in words.
    fn decided(
        &self,
        seen: &Snapshot,
        gate: Gate,
        who: &AddressSet,
        passes: bool,
    ) -> Option<(Option<ForeignRule>, String)> {
        let source = who.first()?;
        let decide = |protocol| {
            let packet = Packet { source, protocol, port: gate.port };
            if passes { seen.decide(&self.owner, &packet) } else { seen.decide_surely(&self.owner, &packet) }
        };
        let mut decisions = gate.protocol.transports().iter().map(|protocol| decide(*protocol));
        let Decision { firewall, rule, .. } = decisions.find(|it| it.passes == passes)?;
        let rule = match firewall {
            Some(firewall) => ForeignRule { name: rule, firewall },
            None => return Some((None, rule)),
        };
        let words = rule.to_string();
        Some((Some(rule), words))
    }

    /// What delayed a closing, if it was late.
    pub fn delay(&self, closing: &Closing) -> Option<Delay> {
        self.obstacles.delay(closing, &self.seen.hindered)
    }

    /// The foreign denies over which a lease is open.
    pub fn overridden(&self, gate: Gate, sources: &Sources) -> Vec<String> {
        /// How many are named: more of them are no news.
        const NAMED_MAX: usize = 8;
        let met = self.seen.denies_met(gate, &sources.into(), self.desired.foreign_denies(gate));
        met.into_iter().filter(|it| !it.wins).map(|it| it.rule).take(NAMED_MAX).collect()
    }

    pub fn read_back(&self, policy: Option<&Policy>) -> Fact {
        let accepted = self.accepted(policy).into_iter().map(|(gate, it)| (gate, it.sources.to_string()));
        let admitted = self.admitted.iter().map(|(gate, admitted)| (*gate, admitted.any.to_string()));
        let wanted = self.admitted.iter().filter_map(|(gate, admitted)| {
            let wanted = self.wanted_of(*gate);
            let is_told_wanted =
                gate.transports().filter_map(|it| self.told(it)).all(|it| it.is_within(&wanted));
            let is_met = is_told_wanted && wanted.intersection(&self.seen.near()).is_within(&admitted.all);
            (!is_met).then(|| (*gate, wanted.to_string()))
        });
        Fact::ReadBack {
            agrees: self.agrees,
            admitted: admitted.collect(),
            wanted: wanted.collect(),
            accepted: accepted.collect(),
        }
    }

    /// The sources of the live leases of a gate, or of one that has packets in common with it.
    fn wanted_of(&self, gate: Gate) -> AddressSet {
        gate.transports().fold(AddressSet::default(), |all, it| all.union(&self.wanted(it)))
    }
}

impl Beside {
    fn of(seen: &Snapshot, owner: &Owner, gate: Gate, accepted: &[Accepted]) -> Self {
        let seen = seen.without_accepted(accepted);
        let any = seen.admitted(owner, gate).any;
        Self { seen, any, accepted: accepted.to_vec() }
    }
}
