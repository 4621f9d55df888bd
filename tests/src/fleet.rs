//! A fleet of machines behind security groups, kept in one JSON file: the fake for proofs that are not about
//! Azure. Its packets are decided by the evaluator.
//!
//! The file is read anew each time: a proof edits it and sees what comes of that.

mod furniture;

use portcullis_app::{
    Error,
    ports::{Adoption, Checkup, Firewalls, Inventory, Machine, Machines, OurRule},
};
use portcullis_domain::{
    Action, AddressSet, Bands, Change, ChangeTo, Etag, Existing, Families, Firewall, FirewallId,
    FirewallKind, Foreign, Held, Owner, Rule, RuleName, Snapshot, TargetId,
};
use portcullis_local::Clock;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where our allows stand; Azure's priorities begin at 100.
const ALLOWS: Range<u16> = 100..200;
/// Where our denies stand: under our allows, above every foreign rule of the fleet.
const DENIES: Range<u16> = 200..300;

/// Simulated machines, and the security groups on their paths.
pub struct Fleet {
    path: PathBuf,
    clock: Clock,
    /// One change at a time; what is known stands in the file.
    changing: Mutex<()>,
    /// Nothing that is asked of it is answered.
    is_silent: AtomicBool,
}

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    machines: Vec<Simulated>,
    security_groups: BTreeMap<FirewallId, Group>,
}

/// A machine, and the security groups that a packet to it meets, in their order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Simulated {
    machine: Machine,
    path: Vec<FirewallId>,
}

/// A network security group.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    /// How often a rule was written; etags count on.
    writes: u64,
    ours: BTreeMap<RuleName, Written>,
    foreign: Vec<Foreign>,
}

/// A rule of ours as it was written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rule: Rule,
    priority: u16,
    etag: Etag,
}

impl Fleet {
    /// The fleet of a file; a new one if there is no file.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, Error> {
        let fleet = Self {
            path: path.to_owned(),
            clock,
            changing: Mutex::new(()),
            is_silent: AtomicBool::new(false),
        };
        if path.exists() {
            fleet.load()?;
        } else {
            fleet.save(&furniture::fleet()?)?;
        }
        Ok(fleet)
    }

    /// From now on nothing that is asked of it is answered, or everything again.
    pub fn fall_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Never returns while it is silent.
    async fn answer(&self) {
        if self.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn load(&self) -> Result<State, Error> {
        let text = fs::read(&self.path).map_err(|error| self.broken("read the fleet", &error))?;
        serde_json::from_slice(&text).map_err(|error| self.broken("read the fleet", &error))
    }

    /// Whole or not at all: whoever reads meanwhile reads what was there before.
    fn save(&self, state: &State) -> Result<(), Error> {
        let broken = |error: io::Error| self.broken("write the fleet", &error);
        let draft = self.path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(state).map_err(|error| broken(error.into()))?;
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path)).map_err(broken)
    }

    fn broken(&self, doing: &'static str, error: &impl fmt::Display) -> Error {
        Error::Broken { doing, source: format!("`{}`: {error}", self.path.display()).into() }
    }
}

impl Firewalls for Fleet {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        self.answer().await;
        let read_at = (self.clock)();
        let mut state = self.load()?;
        let found = state.machines.iter().find(|it| it.machine.id == *target);
        let found = found.ok_or_else(|| Error::NotFound { what: "target", name: target.to_string() })?;
        if let Some(reason) = found.machine.unsupported {
            return Err(Error::Broken { doing: "guard this target", source: reason.to_string().into() });
        }
        let mut firewalls = vec![];
        for id in &found.path {
            let group = state.security_groups.remove(id);
            let group = group.ok_or_else(|| self.broken("read the fleet", &missing(id)))?;
            firewalls.push(group.seen_as(id.clone()));
        }
        Ok(Snapshot::of(read_at, firewalls))
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        self.answer().await;
        let State { machines, security_groups, .. } = self.load()?;
        let named = |owner: &Owner| {
            machines.iter().map(|it| &it.machine.id).find(|id| Owner::from(*id) == *owner).cloned()
        };
        let mut ours = vec![];
        for (firewall, group) in security_groups {
            ours.extend(group.ours.into_iter().map(|(name, it)| {
                let (until, machine) = match it.rule {
                    Rule::Allow { until, .. } => (Some(until), None),
                    Rule::Deny { .. } => (None, named(&name.owner)),
                };
                OurRule {
                    firewall: firewall.clone(),
                    name,
                    etag: Some(it.etag),
                    until,
                    machine,
                    is_over: false,
                }
            }));
        }
        Ok(ours)
    }

    async fn write(&self, _: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        self.answer().await;
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.load()?;
        let outcome = changes.iter().try_for_each(|change| {
            let group = state.security_groups.get_mut(&change.firewall);
            let missing = || Error::NotFound { what: "security group", name: change.firewall.to_string() };
            group.ok_or_else(missing)?.make(change)
        });
        // What came before the change that failed stays, as in Azure.
        self.save(&state).and(outcome)
    }
}

/// Nobody else's just-in-time access is simulated.
impl Adoption for Fleet {}

impl Checkup for Fleet {}

impl Inventory for Fleet {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        self.answer().await;
        let mut items: Vec<Machine> = self.load()?.machines.into_iter().map(|it| it.machine).collect();
        items.retain(|it| after.is_none_or(|after| *after < it.id));
        items.sort_by(|one, two| one.id.cmp(&two.id));
        items.truncate(at_most);
        Ok(Machines { items, unseen: vec![] })
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        self.answer().await;
        Ok(self.load()?.machines.into_iter().map(|it| it.machine).find(|it| it.id == *id))
    }
}

impl Group {
    fn seen_as(self, id: FirewallId) -> Firewall {
        let held = |(name, it): (RuleName, Written)| {
            (name, Held { rule: Some(it.rule), priority: it.priority, beside: vec![], etag: Some(it.etag) })
        };
        Firewall {
            id,
            kind: FirewallKind::Ordered { otherwise: Action::Deny },
            bands: Bands { allows: ALLOWS, denies: DENIES, existing: Existing::Override },
            inside: AddressSet::default(),
            families: Families::BOTH,
            ours: self.ours.into_iter().map(held).collect(),
            foreign: self.foreign,
        }
    }

    fn make(&mut self, change: &Change) -> Result<(), Error> {
        let held = self.ours.get(&change.name);
        let is_the_one = held.map(|it| &it.etag) == change.if_match.as_ref();
        match &change.to {
            ChangeTo::Delete if held.is_none() => Ok(()),
            ChangeTo::Put { rule, priority }
                if held.is_some_and(|it| it.rule == *rule && it.priority == *priority) =>
            {
                Ok(())
            }
            ChangeTo::Delete | ChangeTo::Put { .. } if !is_the_one => Err(Error::Conflict),
            ChangeTo::Put { priority, .. } if self.is_taken(*priority, &change.name) => Err(Error::Conflict),
            ChangeTo::Put { rule, priority } => {
                self.writes += 1;
                let etag = Etag(format!("W/\"{}\"", self.writes));
                let written = Written { rule: rule.clone(), priority: *priority, etag };
                self.ours.insert(change.name.clone(), written);
                Ok(())
            }
            ChangeTo::Delete => {
                self.ours.remove(&change.name);
                Ok(())
            }
        }
    }

    fn is_taken(&self, priority: u16, by_other_than: &RuleName) -> bool {
        let ours = self.ours.iter().any(|(name, it)| it.priority == priority && name != by_other_than);
        ours || self.foreign.iter().any(|it| it.priority == priority)
    }
}

fn missing(id: &FirewallId) -> String {
    format!("there is no security group `{id}` in it")
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("path", &self.path).finish_non_exhaustive()
    }
}
