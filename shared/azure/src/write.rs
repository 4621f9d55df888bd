//! How changes are made: what shuts or shrinks before what opens; side by side otherwise.

use crate::{
    Azure,
    arm::{Condition, Found, Sent, Write},
    batches::Joined,
    group::Group,
    nat,
    parts::{Part, Subject, Version, digest, parts, same_rule, versions},
    refused::cause,
    room::Fit,
    rule::{Properties, Shown},
    topology::{Front, Vm},
    turns::Rank,
    versions::NETWORK_API,
};
use futures_util::future::join_all;
use portcullis_app::{BeingWritten, Error};
use portcullis_domain::{AddressSet, Cause, Change, ChangeTo, FirewallId, Rule, RuleName, Sources, TargetId};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// How often a firewall is written over what somebody else has just written there.
const FRONT_TRIES_MAX: usize = 3;
pub const WRITE: &str = "write the rules of a target";

/// What one target wants of an Azure Firewall.
#[derive(Debug)]
pub struct Wanted {
    machine: String,
    front: Option<Front>,
    changes: Vec<(RuleName, ChangeTo)>,
}

/// The parts of a rule that have a place, and whether all of them have.
struct Placed {
    parts: BTreeMap<Part, Properties>,
    outcome: Result<(), Error>,
}

/// A change that is being made, how urgent it is, and when it was sent.
type At<'a> = (&'a Change, Rank, &'a Sent);

/// Which of the changes of a firewall are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    /// All of them.
    All,
    /// What ends or shrinks.
    Shrinking,
}

impl Azure {
    /// Makes changes in phases: what shuts or shrinks, then what opens. In a phase all are made side by side; one
    /// that fails keeps the next phase from being begun.
    pub(crate) async fn make(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        let topology = self.topology().await?;
        let vm = target.and_then(|it| topology.machines.get(it));
        let _writing = vm.and_then(|it| it.front.as_ref()).map(|it| self.writing_behind(&it.id));
        let (open, shut): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|it| self.grows(it));
        for phase in [shut, open] {
            let mut fronts: BTreeMap<&FirewallId, Vec<&Change>> = BTreeMap::new();
            let mut groups = vec![];
            for change in phase {
                if is_front(&change.firewall) {
                    fronts.entry(&change.firewall).or_default().push(change);
                } else {
                    groups.push(change);
                }
            }
            let groups = join_all(groups.into_iter().map(|it| self.change_group(vm, it)));
            let fronts = join_all(fronts.into_iter().map(|(id, it)| self.change_front(vm, id, it)));
            let (groups, fronts) = tokio::join!(groups, fronts);
            groups.into_iter().chain(fronts).collect::<Result<(), Error>>()?;
        }
        Ok(())
    }

    /// What a failure of a write means for a closing. A growth that is refused keeps nothing from being shut.
    pub(crate) fn met(&self, changes: &[Change], error: &Error) -> Option<Cause> {
        let is_refused = matches!(error, Error::Broken { .. } | Error::Refused(_));
        let is_growth = || changes.iter().any(|it| self.grows(it));
        cause(error).filter(|_| !(is_refused && is_growth()))
    }

    /// Does a change let somebody in whom the rule that was last read there does not?
    fn grows(&self, change: &Change) -> bool {
        let ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. } = &change.to else { return false };
        let there = self.last(&change.firewall).map(|it| it.sources_of(&change.name)).unwrap_or_default();
        !AddressSet::from(sources).is_within(&there)
    }

    /// One rule of ours in a security group: all its parts. Remembers how long the cloud took for it.
    async fn change_group(&self, vm: Option<&Vm>, change: &Change) -> Result<(), Error> {
        let sent = Sent::new();
        let outcome = self.change_parts(vm, change, &sent).await;
        if let Some(at) = sent.get() {
            self.writes.note(&change.firewall, &change.name, at.elapsed(), outcome.is_ok(), self.time());
        }
        outcome
    }

    async fn change_parts(&self, vm: Option<&Vm>, change: &Change, sent: &Sent) -> Result<(), Error> {
        let (id, name) = (&change.firewall, &change.name);
        let _writing = self.writing(id);
        let known: BTreeMap<Part, Version> =
            versions(change.if_match.as_ref()).into_iter().map(|it| (it.part, it)).collect();
        let Placed { parts: wanted, outcome: placed } = match &change.to {
            ChangeTo::Delete => Placed { parts: BTreeMap::new(), outcome: Ok(()) },
            ChangeTo::Put { rule, priority } => self.placed(vm, change, rule, *priority, &known)?,
        };
        let last = self.last(id);
        let there = |part: &Part| last.as_ref().and_then(|it| it.rule(&part.name(name)));
        let (fitting, fits) = match &last {
            Some(group) => group.fitting(id, name, &wanted),
            None => (
                wanted.iter().map(|(part, said)| (*part, Fit::Put(Box::new(said.clone())))).collect(),
                Ok(()),
            ),
        };
        let at = (change, self.rank(change), sent);
        let put = |(part, said): (&Part, &Properties)| {
            let version = known.get(part).cloned().or_else(|| there(part)?.retired_version());
            let (part, said, there) = (*part, said.clone(), there(part).map(|it| it.properties.clone()));
            async move { self.put_part(at, part, &said, version.as_ref(), there.as_ref()).await }
        };
        let puts = fitting.iter().filter_map(|(part, fit)| Some((part, fit.said()?))).map(put);
        let put = async { join_all(puts).await.into_iter().collect::<Result<(), Error>>() };
        let delete = async {
            let is_over =
                |it: &Part| !wanted.contains_key(it) || matches!(fitting.get(it), Some(Fit::Delete));
            let over = known.values().filter(|it| is_over(&it.part)).map(|it| (Some(it.part), Some(it)));
            let is_unread = known.is_empty() && matches!(change.to, ChangeTo::Delete);
            let mut outcome = Ok(());
            // One that fails holds up no other.
            for (part, version) in over.chain(is_unread.then_some((None, None))) {
                outcome = outcome.and(self.delete_part(at, part, version).await);
            }
            outcome
        };
        // INVARIANT (shut-by-default): what shuts comes first here too, and waits for nothing that opens.
        match &change.to {
            ChangeTo::Put { rule: Rule::Deny { .. }, .. } => {
                put.await?;
                delete.await?;
            }
            ChangeTo::Put { rule: Rule::Allow { .. }, .. } | ChangeTo::Delete => {
                let deleted = delete.await;
                if self.grows(change) {
                    deleted?;
                    put.await?;
                } else {
                    // Both end access: one that fails holds up no other.
                    deleted.and(put.await)?;
                }
            }
        }
        placed.and(fits)
    }

    /// What of a change's kind waits for others at its firewall.
    fn rank(&self, change: &Change) -> Rank {
        match &change.to {
            ChangeTo::Put { rule: Rule::Allow { .. }, .. } if self.grows(change) => Rank::Opens,
            ChangeTo::Put { rule: Rule::Allow { .. }, .. } => Rank::Ends,
            ChangeTo::Put { rule: Rule::Deny { .. }, .. } => Rank::Shuts,
            ChangeTo::Delete if change.name.gate.is_some() => Rank::Ends,
            ChangeTo::Delete => Rank::Opens,
        }
    }

    /// Writes a part of a rule. Where that is refused for good, what of it ends is written alone.
    async fn put_part(
        &self,
        at: At<'_>,
        part: Part,
        said: &Properties,
        version: Option<&Version>,
        there: Option<&Properties>,
    ) -> Result<(), Error> {
        let (change, rank, sent) = at;
        let path = rule_path(&change.firewall, &part.name(&change.name));
        let put = async |said: &Properties| self.put_rule(&path, said, version, (rank, sent)).await;
        let refused = match put(said).await {
            Err(error @ (Error::Broken { .. } | Error::Refused(_))) => error,
            outcome => return outcome,
        };
        match Fit::shrunk(there, said) {
            Fit::Put(smaller) if *smaller != *said => put(&smaller).await?,
            Fit::Delete => self.delete_part(at, Some(part), version).await?,
            Fit::Put(_) | Fit::Leave => {}
        }
        Err(refused)
    }

    async fn delete_part(
        &self,
        (change, rank, sent): At<'_>,
        part: Option<Part>,
        version: Option<&Version>,
    ) -> Result<(), Error> {
        let (id, name) = (&change.firewall, &change.name);
        let path = rule_path(id, &part.map_or_else(|| name.to_string(), |it| it.name(name)));
        self.delete_rule(id, (&path, part), version, (rank, sent)).await
    }

    /// The parts of a rule of ours, each with its priority; and whether there was room for all.
    fn placed(
        &self,
        vm: Option<&Vm>,
        change: &Change,
        rule: &Rule,
        priority: u16,
        known: &BTreeMap<Part, Version>,
    ) -> Result<Placed, Error> {
        let vm =
            vm.ok_or_else(|| Error::NotFound { what: "machine of the rule", name: change.name.to_string() })?;
        let behind = vm.behind(&change.firewall);
        let inside = vm.front.as_ref().map_or_else(Sources::default, |it| it.inside.clone());
        let subject = Subject { name: &vm.machine.name, addresses: &behind, inside: &inside };
        let bands = &self.bounds.bands;
        let band = match rule {
            Rule::Deny { .. } => bands.denies.clone(),
            Rule::Allow { .. } => bands.allows.clone(),
        };
        let last = self.last(&change.firewall);
        let mut taken = last.as_ref().map(|it| it.taken()).unwrap_or_default();
        let foreign = last.as_ref().map(|it| it.taken_by_others()).unwrap_or_default();
        let wanted = parts(rule, &subject);
        let there = |part: &Part| {
            let seen = || Some(last.as_ref()?.rule(&part.name(&change.name))?.properties.priority);
            known.get(part).map(|it| it.priority).or_else(seen)
        };
        // Between two parts of a rule no other rule decides; and a part moves for nothing else, since its
        // place may only then be another one's when that one is gone from there.
        let is_beside = |it: u16| {
            let (low, high) = (it.min(priority), it.max(priority));
            foreign.range(low..=high).next().is_none()
        };
        let own: BTreeSet<u16> =
            known.values().map(|it| it.priority).chain(wanted.keys().filter_map(there)).collect();
        let mut is_unused = !own.contains(&priority);
        taken.extend(own.into_iter().chain([priority]));
        let (mut placed, mut outcome) = (BTreeMap::new(), Ok(()));
        for (part, mut said) in wanted {
            let stands = there(&part);
            let place = match stands.filter(|it| band.contains(it) && is_beside(*it)) {
                Some(kept) => Some(kept),
                None if std::mem::take(&mut is_unused) => Some(priority),
                // What stands stays where it stands where there is no room: it may have to shrink.
                None => free(&band, priority, &taken, is_beside)
                    .or_else(|| free(&band, priority, &taken, |_| true))
                    .or(stands),
            };
            let Some(place) = place else {
                outcome = Err(no_room(&change.firewall));
                continue;
            };
            said.priority = place;
            taken.insert(place);
            placed.insert(part, said);
        }
        Ok(Placed { parts: placed, outcome })
    }

    async fn put_rule(
        &self,
        path: &str,
        said: &Properties,
        version: Option<&Version>,
        (rank, sent): (Rank, &Sent),
    ) -> Result<(), Error> {
        let condition = match version {
            Some(Version { etag: Some(etag), .. }) => Condition::Match(etag.clone()),
            Some(Version { etag: None, .. }) => Condition::None,
            None => Condition::Absent,
        };
        let judge = |found: Option<&Value>| match (found.and_then(shown), version) {
            (Some(found), _) if found.properties.is_done() && same_rule(&found.properties, said) => {
                Found::Done
            }
            (Some(found), Some(version)) => found.unless_changed(version),
            // It is ours, and over.
            (Some(found), None) if found.properties.is_retired() => Found::AsRead(found.etag),
            (Some(_), None) | (None, _) => Found::Other,
        };
        let body = json!({ "properties": said });
        let put = Write {
            path,
            api: NETWORK_API,
            body: Some(&body),
            condition: &condition,
            judge: Some(&judge),
            rank,
        };
        self.arm.write(&put, sent).await
    }

    /// The rules of ours in an Azure Firewall, with those that others want there at the same time.
    async fn change_front(
        &self,
        vm: Option<&Vm>,
        id: &FirewallId,
        changes: Vec<&Change>,
    ) -> Result<(), Error> {
        let wanted = Wanted {
            machine: vm.map(|it| it.machine.name.clone()).unwrap_or_default(),
            front: vm.and_then(|it| it.front.clone()).filter(|it| it.id == *id),
            changes: changes.into_iter().map(|it| (it.name.clone(), it.to.clone())).collect(),
        };
        let mut batch = match self.batches.join(id, wanted).await? {
            Joined::Told(told) => return told,
            Joined::Mine(batch) => batch,
        };
        let refused = match self.put_front(id, &batch.all(), Only::All).await {
            Err(error @ (Error::Refused(_) | Error::NotFound { .. } | Error::Broken { .. })) => error,
            outcome => return batch.tell(outcome),
        };
        // What ends waits for nothing that grows, whoever wants it.
        let shrunk = self.put_front(id, &batch.all(), Only::Shrinking).await;
        if let Err(error) = &shrunk {
            tracing::debug!(firewall = %id, error = error.full(), "The changes that close are not written \
                alone either");
        }
        if !batch.is_shared() {
            return batch.tell(Err(refused));
        }
        batch.part();
        let alone = self.put_front(id, &batch.all(), Only::All).await;
        batch.tell(alone)
    }

    /// Writes an Azure Firewall as a whole, over what is there; where somebody else was faster, over what they
    /// have written.
    async fn put_front(&self, id: &FirewallId, all: &[&Wanted], only: Only) -> Result<(), Error> {
        let mut outcome = Err(Error::Conflict);
        for _ in 0..FRONT_TRIES_MAX {
            let body = self.arm.get(id.as_str(), NETWORK_API).await?;
            let body = body.ok_or_else(|| Error::NotFound { what: "firewall", name: id.to_string() })?;
            if nat::is_under_way(&body) {
                return Err(under_way(id));
            }
            let step = |body: Option<Value>, it: &&Wanted| {
                let changes = match only {
                    Only::All => it.changes.clone(),
                    Only::Shrinking => nat::shrinking(body.as_ref()?, &it.changes),
                };
                let after = nat::changed(body.as_ref()?, &changes, &it.machine, it.front.as_ref());
                after.or(body)
            };
            let wanted = all.iter().fold(Some(body.clone()), step).filter(|it| *it != body);
            let Some(wanted) = wanted else { return Ok(()) };
            let etag = body["etag"].as_str().map(|it| Condition::Match(it.to_owned()));
            let condition = etag.unwrap_or(Condition::None);
            let (path, api) = (id.as_str(), NETWORK_API);
            let (body, rank) = (Some(&wanted), Rank::Shuts);
            let sent = Sent::new();
            let put = Write { path, api, body, condition: &condition, judge: None, rank };
            outcome = self.arm.write(&put, &sent).await;
            if let Some(at) = sent.get() {
                for (name, _) in all.iter().flat_map(|it| &it.changes) {
                    self.writes.note(id, name, at.elapsed(), outcome.is_ok(), self.time());
                }
            }
            if !matches!(outcome, Err(Error::Conflict)) {
                break;
            }
        }
        outcome
    }
}

impl Group {
    /// Every priority that is taken inbound.
    fn taken(&self) -> BTreeSet<u16> {
        let rules = self.properties.security_rules.iter().filter(|it| it.properties.is_inbound());
        rules.map(|it| it.properties.priority).collect()
    }

    /// Those of rules that do not have a name of ours.
    fn taken_by_others(&self) -> BTreeSet<u16> {
        let rules = self.properties.security_rules.iter().filter(|it| it.properties.is_inbound());
        rules.filter(|it| Part::of(&it.name).is_none()).map(|it| it.properties.priority).collect()
    }

    /// A rule by its name.
    pub fn rule(&self, name: &str) -> Option<&Shown> {
        self.properties.security_rules.iter().find(|it| it.name.eq_ignore_ascii_case(name))
    }

    /// Whom a rule of ours lets in.
    fn sources_of(&self, name: &RuleName) -> AddressSet {
        let rules = self.properties.security_rules.iter();
        let parts = rules.filter(|it| Part::of(&it.name).is_some_and(|(of, _)| of == *name));
        parts.fold(AddressSet::default(), |all, it| all.union(&it.properties.lets_in()))
    }
}

impl Shown {
    /// What a write finds that read this version.
    pub fn unless_changed(self, version: &Version) -> Found {
        if digest(&self.properties) == version.digest { Found::AsRead(self.etag) } else { Found::Other }
    }
}

pub fn shown(value: &Value) -> Option<Shown> {
    serde_json::from_value(value.clone()).ok()
}

pub fn is_front(id: &FirewallId) -> bool {
    id.as_str().to_ascii_lowercase().contains("/azurefirewalls/")
}

fn rule_path(group: &FirewallId, name: &str) -> String {
    format!("{group}/securityRules/{name}")
}

/// The free priority of a band that is nearest, of those that are good.
fn free(band: &Range<u16>, near: u16, taken: &BTreeSet<u16>, is_good: impl Fn(u16) -> bool) -> Option<u16> {
    let free = band.clone().filter(|it| !taken.contains(it) && is_good(*it));
    free.min_by_key(|it| it.abs_diff(near))
}

fn under_way(id: &FirewallId) -> Error {
    let source = BeingWritten(format!("`{id}`")).into();
    Error::Unavailable { doing: WRITE, source }
}

fn no_room(id: &FirewallId) -> Error {
    Error::Broken { doing: WRITE, source: format!("no priority is left in our band of `{id}`").into() }
}
