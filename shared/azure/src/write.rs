//! How changes are made: what shuts before what opens; side by side otherwise.

use crate::{
    Azure,
    arm::{Condition, Found},
    azure::{Group, NETWORK_API},
    batches::Joined,
    nat,
    parts::{Part, Subject, Version, digest, parts, same_rule, versions},
    rule::{Properties, Shown},
    topology::{Front, Vm},
};
use futures_util::future::join_all;
use portcullis_app::Error;
use portcullis_domain::{Change, ChangeTo, FirewallId, Rule, RuleName, Sources, TargetId};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// How many rules a security group takes, and how many prefixes all of them together have on either side.
/// Source: learn.microsoft.com, "Azure subscription and service limits"; that prefixes are counted together:
/// `SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached`, kubernetes-sigs/cloud-provider-azure#2725.
pub const RULES_MAX: usize = 1000;
pub const PREFIXES_MAX: usize = 4000;

/// How often a firewall is written over what somebody else has just written there.
const FRONT_TRIES_MAX: usize = 3;
const WRITE: &str = "write the rules of a target";

/// What one target wants of an Azure Firewall.
#[derive(Debug)]
pub struct Wanted {
    machine: String,
    front: Option<Front>,
    changes: Vec<(RuleName, ChangeTo)>,
}

impl Azure {
    /// Makes changes in phases: deletions and denies, then allows. In a phase all are made side by side; one
    /// that fails keeps the next phase from being begun.
    pub(crate) async fn make(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        let topology = self.topology().await?;
        let vm = target.and_then(|it| topology.machines.get(it));
        let _writing = vm.and_then(|it| it.front.as_ref()).map(|it| self.writing_behind(&it.id));
        let opens = |it: &&Change| matches!(&it.to, ChangeTo::Put { rule: Rule::Allow { .. }, .. });
        let (open, shut): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(opens);
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

    /// One rule of ours in a security group: all its parts.
    async fn change_group(&self, vm: Option<&Vm>, change: &Change) -> Result<(), Error> {
        let (id, name) = (&change.firewall, &change.name);
        let _writing = self.writing(id);
        let known: BTreeMap<Part, Version> =
            versions(change.if_match.as_ref()).into_iter().map(|it| (it.part, it)).collect();
        let wanted = match &change.to {
            ChangeTo::Delete => BTreeMap::new(),
            ChangeTo::Put { rule, priority } => self.placed(vm, change, rule, *priority, &known)?,
        };
        if let Some(group) = self.last(id) {
            group.bear(id, name, &wanted)?;
        }
        let put = |(part, said): (&Part, &Properties)| {
            let (path, version) = (rule_path(id, &part.name(name)), known.get(part).cloned());
            let said = said.clone();
            async move { self.put_rule(&path, &said, version.as_ref()).await }
        };
        let put = async { join_all(wanted.iter().map(put)).await.into_iter().collect::<Result<(), Error>>() };
        let delete = async {
            let stale = known.values().filter(|it| !wanted.contains_key(&it.part));
            let stale = stale.map(|it| (rule_path(id, &it.part.name(name)), Some(it)));
            let is_unread = known.is_empty() && wanted.is_empty();
            for (path, version) in stale.chain(is_unread.then(|| (rule_path(id, &name.to_string()), None))) {
                self.delete_rule(&path, version).await?;
            }
            Ok(())
        };
        // INVARIANT (shut-by-default): what shuts comes first here too, and waits for nothing that opens.
        match &change.to {
            ChangeTo::Put { rule: Rule::Deny { .. }, .. } => {
                put.await?;
                delete.await
            }
            ChangeTo::Put { rule: Rule::Allow { .. }, .. } | ChangeTo::Delete => {
                delete.await?;
                put.await
            }
        }
    }

    /// The parts of a rule of ours, each with its priority.
    fn placed(
        &self,
        vm: Option<&Vm>,
        change: &Change,
        rule: &Rule,
        priority: u16,
        known: &BTreeMap<Part, Version>,
    ) -> Result<BTreeMap<Part, Properties>, Error> {
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
        let mut parts = parts(rule, &subject);
        let there = |part: &Part| {
            let seen = || last.as_ref().and_then(|it| it.priority_of(&part.name(&change.name)));
            known.get(part).map(|it| it.priority).or_else(seen)
        };
        // Between two parts of a rule no other rule decides; and a part moves for nothing else, since its
        // place may only then be another one's when that one is gone from there.
        let is_beside = |it: u16| {
            let (low, high) = (it.min(priority), it.max(priority));
            foreign.range(low..=high).next().is_none()
        };
        let own: BTreeSet<u16> =
            known.values().map(|it| it.priority).chain(parts.keys().filter_map(there)).collect();
        let mut is_unused = !own.contains(&priority);
        taken.extend(own.into_iter().chain([priority]));
        for (part, said) in &mut parts {
            said.priority = match there(part).filter(|it| band.contains(it) && is_beside(*it)) {
                Some(kept) => kept,
                None if std::mem::take(&mut is_unused) => priority,
                None => {
                    let near = free(&band, priority, &taken, is_beside);
                    let any = || free(&band, priority, &taken, |_| true);
                    near.or_else(any).ok_or_else(|| no_room(&change.firewall))?
                }
            };
            taken.insert(said.priority);
        }
        Ok(parts)
    }

    async fn put_rule(&self, path: &str, said: &Properties, version: Option<&Version>) -> Result<(), Error> {
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
            (Some(_), None) | (None, _) => Found::Other,
        };
        self.arm
            .put_unless_changed(path, NETWORK_API, &json!({ "properties": said }), &condition, &judge)
            .await
    }

    async fn delete_rule(&self, path: &str, version: Option<&Version>) -> Result<(), Error> {
        let condition = match version.and_then(|it| it.etag.clone()) {
            Some(etag) => Condition::Match(etag),
            None => Condition::None,
        };
        let judge = |found: Option<&Value>| match (found.and_then(shown), version) {
            (None, _) => Found::Done,
            (Some(found), Some(version)) => found.unless_changed(version),
            (Some(_), None) => Found::Other,
        };
        self.arm.delete_unless_changed(path, NETWORK_API, &condition, &judge).await
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
        let outcome = self.put_front(id, &batch.all()).await;
        match outcome {
            Err(Error::Refused(_) | Error::NotFound { .. } | Error::Broken { .. }) if batch.is_shared() => {
                batch.part();
                let alone = self.put_front(id, &batch.all()).await;
                batch.tell(alone)
            }
            outcome => batch.tell(outcome),
        }
    }

    /// Writes an Azure Firewall as a whole, over what is there; where somebody else was faster, over what they
    /// have written.
    async fn put_front(&self, id: &FirewallId, all: &[&Wanted]) -> Result<(), Error> {
        let mut outcome = Err(Error::Conflict);
        for _ in 0..FRONT_TRIES_MAX {
            let body = self.arm.get(id.as_str(), NETWORK_API).await?;
            let body = body.ok_or_else(|| Error::NotFound { what: "firewall", name: id.to_string() })?;
            if nat::is_under_way(&body) {
                return Err(under_way(id));
            }
            let step = |body: Option<Value>, it: &&Wanted| {
                let after = nat::changed(body.as_ref()?, &it.changes, &it.machine, it.front.as_ref());
                after.or(body)
            };
            let wanted = all.iter().fold(Some(body.clone()), step).filter(|it| *it != body);
            let Some(wanted) = wanted else { return Ok(()) };
            let etag = body["etag"].as_str().map(|it| Condition::Match(it.to_owned()));
            outcome = self.arm.put(id.as_str(), NETWORK_API, &wanted, &etag.unwrap_or(Condition::None)).await;
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

    fn priority_of(&self, name: &str) -> Option<u16> {
        let mut rules = self.properties.security_rules.iter();
        rules.find(|it| it.name.eq_ignore_ascii_case(name)).map(|it| it.properties.priority)
    }

    /// Whether it takes these parts of a rule besides everything else; otherwise why not.
    fn bear(
        &self,
        id: &FirewallId,
        name: &RuleName,
        wanted: &BTreeMap<Part, Properties>,
    ) -> Result<(), Error> {
        let mine: BTreeSet<String> = wanted.keys().map(|it| it.name(name).to_ascii_lowercase()).collect();
        let others: Vec<&Properties> = self
            .properties
            .security_rules
            .iter()
            .filter(|it| !mine.contains(&it.name.to_ascii_lowercase()))
            .map(|it| &it.properties)
            .collect();
        let all = || others.iter().copied().chain(wanted.values());
        let now = || self.properties.security_rules.iter().map(|it| &it.properties);
        let counted = [
            ("rules", all().count(), now().count(), RULES_MAX),
            (
                "source prefixes",
                all().map(|it| it.sources().len()).sum(),
                now().map(|it| it.sources().len()).sum(),
                PREFIXES_MAX,
            ),
            (
                "destination prefixes",
                all().map(|it| it.destinations().len()).sum(),
                now().map(|it| it.destinations().len()).sum(),
                PREFIXES_MAX,
            ),
        ];
        // What only shuts or shrinks is not held up by a group that is full already.
        let shuts = wanted.values().all(|it| it.access.eq_ignore_ascii_case("Deny"));
        match counted.into_iter().find(|(_, count, now, max)| max < count && now < count) {
            Some((what, count, _, max)) if !shuts => {
                let source = format!("`{id}` would have `{count}` {what}: at most {max}").into();
                Err(Error::Broken { doing: WRITE, source })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Shown {
    fn unless_changed(self, version: &Version) -> Found {
        if digest(&self.properties) == version.digest { Found::AsRead(self.etag) } else { Found::Other }
    }
}

fn shown(value: &Value) -> Option<Shown> {
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
    let source = format!("`{id}` is still being written").into();
    Error::Unavailable { doing: WRITE, source }
}

fn no_room(id: &FirewallId) -> Error {
    Error::Broken { doing: WRITE, source: format!("no priority is left in our band of `{id}`").into() }
}
