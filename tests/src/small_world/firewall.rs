//! The one firewall, and what writes do to it.

use super::{
    digest::{Shape, digest_of},
    oracle::knocking,
    world::{gate, parsed},
};
use jiff::Timestamp;
use portcullis_domain::{
    Action, AddressSet, Bands, Change, ChangeTo, Etag, Existing, Families, Firewall, FirewallId,
    FirewallKind, Foreign, Gate, Held, Protocol, Rule, RuleName, Snapshot, Sources,
};
use serde_json::json;
use std::{collections::BTreeMap, net::IpAddr};

const BANDS: Bands = Bands { allows: 100..108, denies: 108..111, existing: Existing::Override };

/// The versions of the lock and of the allow; 0 where there is none.
pub(super) type Versions = [u64; 2];

/// The rules of ours.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    held: BTreeMap<RuleName, Held>,
    pub(super) versions: Versions,
    written: u64,
    /// Which of those that knock get through.
    pub(super) passes: [bool; 3],
    /// What they say, without their versions.
    pub(super) shape: Shape,
}

/// A write that waits for its answer.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) change: Change,
    pub(super) says: String,
    pub(super) shape: Shape,
}

/// What a write would do to what stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It lets somebody in who is not let in now, whatever else it does.
    Opens,
    /// It only shuts.
    Shuts,
    /// It shuts by deleting.
    Deletes,
}

/// What the firewall takes no writes for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refuses {
    pub(super) growth: bool,
    pub(super) rewrites: bool,
    pub(super) deletions: bool,
}

/// What came of a write.
#[derive(Debug)]
pub(super) enum Landed {
    /// The rules are these now.
    Changed(Rules),
    Same,
    /// It was of another version, or its place is taken.
    Conflict,
    Refused,
}

impl Writing {
    pub(super) fn of(change: Change) -> Self {
        let to = match &change.to {
            ChangeTo::Delete => json!(null),
            ChangeTo::Put { rule, priority } => json!([rule, priority]),
        };
        let shape = Shape::of(&json!([change.name.to_string(), change.if_match.is_some(), to]));
        Self { says: change.to_string(), shape, change }
    }

    /// The version that the rule must have, if any, where whoever writes it had read these.
    pub(super) fn wants(&self, read: Versions) -> Option<u64> {
        self.change.if_match.as_ref().map(|_| read[place(&self.change.name)])
    }
}

/// Where the version of a rule stands.
fn place(name: &RuleName) -> usize {
    usize::from(name.gate.is_some())
}

impl Rules {
    /// None, so that everybody gets through.
    pub(super) fn unguarded() -> Self {
        Self { passes: [true; 3], ..Self::default() }
    }

    /// What a write makes of them, unless the rule is not the one that was meant.
    pub(super) fn land(&self, writing: &Writing, wants: Option<u64>, refuses: Refuses) -> Landed {
        let Change { name, to, .. } = &writing.change;
        let held = self.held.get(name);
        let is_meant = wants.is_none_or(|it| held.is_some() && self.versions[place(name)] == it);
        let is_rewritten = refuses.rewrites && self.let_in(name).is_some();
        let mut after = self.clone();
        match to {
            ChangeTo::Delete if held.is_none() => return Landed::Same,
            ChangeTo::Delete | ChangeTo::Put { .. } if !is_meant => return Landed::Conflict,
            ChangeTo::Delete if refuses.deletions => return Landed::Refused,
            ChangeTo::Put { rule: Rule::Allow { .. }, .. } if is_rewritten => return Landed::Refused,
            ChangeTo::Put { .. } if refuses.growth && self.effect(&writing.change) == Effect::Opens => {
                return Landed::Refused;
            }
            ChangeTo::Delete => {
                after.held.remove(name);
                after.versions[place(name)] = 0;
            }
            ChangeTo::Put { rule, priority } => {
                if self.held.iter().any(|(other, it)| other != name && it.priority == *priority) {
                    return Landed::Conflict;
                }
                after.written += 1;
                let etag = Some(Etag(after.written.to_string()));
                let held = Held { rule: Some(rule.clone()), priority: *priority, beside: vec![], etag };
                after.held.insert(name.clone(), held);
                after.versions[place(name)] = after.written;
            }
        }
        after.passes = knocking().map(|it| after.pass(it));
        let says = after.held.iter().map(|(name, it)| json!([name.to_string(), it.priority, it.rule]));
        after.shape = Shape::of(&says.collect());
        Landed::Changed(after)
    }

    /// As workers read them, beside a foreign rule that lets everybody in.
    pub(super) fn read(&self, at: Timestamp) -> Snapshot {
        let (retired, ours): (Vec<_>, Vec<_>) = self.held.iter().partition(|(_, held)| is_retired(held));
        let retired = retired.into_iter().map(|(name, held)| silent(name, held.priority));
        let firewall = Firewall {
            id: parsed::<FirewallId>("nsg"),
            kind: FirewallKind::Ordered { otherwise: Action::Deny },
            bands: BANDS,
            inside: AddressSet::default(),
            families: Families::BOTH,
            foreign: retired.chain([everybody()]).collect(),
            ours: ours.into_iter().map(|(name, held)| (name.clone(), held.clone())).collect(),
        };
        Snapshot::of(at, vec![firewall])
    }

    pub(super) fn effect(&self, change: &Change) -> Effect {
        match &change.to {
            ChangeTo::Delete => Effect::Deletes,
            ChangeTo::Put { rule: Rule::Deny { .. }, .. } => Effect::Shuts,
            ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. } => {
                let is_covered = self.let_in(&change.name).is_some_and(|it| it.cover(sources));
                if is_covered { Effect::Shuts } else { Effect::Opens }
            }
        }
    }

    /// Whom a rule lets in.
    pub(super) fn let_in(&self, name: &RuleName) -> Option<&Sources> {
        match self.held.get(name)?.rule.as_ref()? {
            Rule::Allow { sources, .. } => Some(sources),
            Rule::Deny { .. } => None,
        }
    }

    /// What a rule that may not be deleted is written over with; nothing where that is done.
    pub(super) fn retiring(&self, deletion: &Change) -> Option<Change> {
        let held = self.held.get(&deletion.name).filter(|held| !is_retired(held))?;
        let gates = std::collections::BTreeSet::new();
        let to = ChangeTo::Put { rule: Rule::Deny { gates }, priority: held.priority };
        Some(Change { to, ..deletion.clone() })
    }

    /// Does nothing stand but the lock?
    pub(super) fn is_lock_alone(&self) -> bool {
        let mut said = self.held.iter().filter(|(_, held)| !is_retired(held)).map(|(name, _)| name);
        said.next().is_some_and(|it| it.gate.is_none()) && said.next().is_none()
    }

    /// Does a packet from there get through? The first rule that speaks of it decides.
    fn pass(&self, source: IpAddr) -> bool {
        let gate: Gate = gate();
        let admits = |sources: &Sources| sources.ranges().iter().any(|range| range.contains(&source));
        let speaking = self.held.values().filter_map(|held| match held.rule.as_ref()? {
            Rule::Deny { gates } => gates.contains(&gate).then_some((held.priority, false)),
            Rule::Allow { gate: of, sources, .. } => {
                (*of == gate && admits(sources)).then_some((held.priority, true))
            }
        });
        speaking.min().is_none_or(|(_, passes)| passes)
    }

    /// Digest of all of it, to the letter.
    pub(super) fn letter(&self) -> u64 {
        digest_of((self.shape.from(0), self.versions, self.written))
    }
}

/// A foreign rule beneath ours that lets everybody in: what a lock is for.
fn everybody() -> Foreign {
    Foreign {
        name: "all".to_owned(),
        priority: 4000,
        action: Action::Allow,
        protocol: Protocol::Any,
        sources: Sources::anywhere(),
        unsure: Sources::default(),
        ports: vec![0..=u16::MAX],
        to: Sources::anywhere(),
        is_general: false,
    }
}

/// A rule of ours that is over, and may not be deleted, as an adapter shows it: it says nothing.
fn silent(name: &RuleName, priority: u16) -> Foreign {
    Foreign { name: name.to_string(), priority, action: Action::Deny, ports: vec![], ..everybody() }
}

fn is_retired(held: &Held) -> bool {
    matches!(&held.rule, Some(Rule::Deny { gates }) if gates.is_empty())
}
