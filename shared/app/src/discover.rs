//! Discovery: the machines of the catalogue, joined with what the table holds of them.
//!
//! A catalogue that does not answer hides nothing that the table knows: it is shown from there, and the answer says so.

use crate::{
    Error,
    ports::{Firewalls, GrantFilter, Inventory, Machine, PageAsked, Store},
    unshut::said_unshut,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Grant, MachineFacts, Os, Owner, Policy, RuleName, Target, TargetId, TargetState};
use std::collections::BTreeMap;

/// How many machines are read at once.
const AT_ONCE_MAX: usize = 16;
/// How far back a target's recent grants go.
const RECENT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many recent grants of a target are read.
const RECENT_MAX: usize = 100;
/// The reason where the catalogue answered, and has no such machine.
const UNLISTED: &str =
    "the cloud does not list this machine: it was deleted, or the identity may not read it";

/// A machine with what Portcullis makes of it.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// The machine.
    pub machine: Machine,
    /// Guarded, could be, cannot be.
    pub state: TargetState,
    /// What is guarded.
    pub policy: Option<Policy>,
    /// How often the policy was set.
    pub policy_version: u64,
    /// Until when a policy change waits for a confirmation.
    pub confirm_by: Option<Timestamp>,
    /// Was everything that is wanted of its firewalls seen to be so?
    pub settled: bool,
    /// Does nobody pass a management port but those with a lease? `None` where that is not known.
    pub healthy: Option<bool>,
    /// Why not.
    pub troubles: Vec<String>,
    /// Grants that are not closed.
    pub grants: Vec<Grant>,
    /// Its last grants, the newest first, of the last 7 days.
    pub recent: Vec<Grant>,
    /// Why this is from the table alone; nothing where the catalogue told of the machine.
    pub unseen: Option<String>,
}

/// A machine by its names, with what may be asked of it: as much as a command line needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// What Portcullis calls it.
    pub id: TargetId,
    /// What people call it, where it is, and what to connect to.
    pub facts: MachineFacts,
    /// Guarded, could be, cannot be.
    pub state: TargetState,
    /// What is guarded.
    pub policy: Option<Policy>,
}

/// A part of all names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// By id. Fewer than asked for is the end.
    pub items: Vec<Name>,
    /// Why the catalogue did not answer: then these are the names in the table alone.
    pub silent: Option<String>,
    /// What the catalogue itself could not see, in a line each.
    pub unseen: Vec<String>,
    /// The last id of a full part, also of a machine that its reader is not shown: the next part comes after it.
    pub next: Option<TargetId>,
}

/// A part of all machines.
#[derive(Debug, Clone)]
pub struct Found {
    /// By id.
    pub items: Vec<Discovered>,
    /// What could not be seen, in a line each.
    pub unseen: Vec<String>,
    /// The last id of a full part, also of a machine that its reader is not shown: the next part comes after it.
    pub next: Option<TargetId>,
}

/// A part of the inventory, by id after `after`, joined with the table, and what could not be seen. Fewer than `at_most` is the
/// end. Where the catalogue does not answer, the targets of the table are the list.
pub(crate) async fn discover(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    after: Option<&TargetId>,
    at_most: usize,
    now: Timestamp,
) -> Result<(Vec<Discovered>, Vec<String>), Error> {
    let page = match outside.machines(after, at_most).await {
        Ok(page) => page,
        Err(error) => {
            let why = silent(&error);
            let known = store.targets(after, at_most).await?;
            let found = stream::iter(known).map(|target| recorded(store, target, why.clone(), now));
            let found = found.buffered(AT_ONCE_MAX).try_collect().await?;
            return Ok((
                found,
                vec![format!("{why}; only the machines of the table are shown, with their stored state")],
            ));
        }
    };
    // In their order, some at a time: each may have to ask a cloud.
    let found = stream::iter(page.items).map(|machine| seen(store, outside, machine, now));
    let found: Vec<Discovered> = found.buffered(AT_ONCE_MAX).try_collect().await?;
    if page.unseen.is_empty() {
        return Ok((found, vec![]));
    }
    // Who may not list everything must not take that for everything.
    let mut all: BTreeMap<TargetId, Discovered> =
        found.into_iter().map(|it| (it.machine.id.clone(), it)).collect();
    for target in store.targets(after, at_most).await? {
        if !all.contains_key(&target.id) {
            all.insert(target.id.clone(), recorded(store, target, UNLISTED.to_owned(), now).await?);
        }
    }
    Ok((all.into_values().take(at_most).collect(), page.unseen))
}

/// One machine of the inventory, joined with the table; from the table alone where the catalogue does not answer, or does not
/// list it any more.
pub(crate) async fn discover_one(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    id: &TargetId,
    now: Timestamp,
) -> Result<Discovered, Error> {
    let failure = match outside.machine(id).await {
        Ok(Some(machine)) => return seen(store, outside, machine, now).await,
        Ok(None) => Error::NotFound { what: "target", name: id.to_string() },
        Err(error) => error,
    };
    let Some((target, _)) = store.target(id).await? else { return Err(failure) };
    let why = match &failure {
        Error::NotFound { .. } => UNLISTED.to_owned(),
        Error::Refused(_) | Error::Conflict | Error::Unavailable { .. } | Error::Broken { .. } => {
            silent(&failure)
        }
    };
    recorded(store, target, why, now).await
}

/// Names by id, after `after`: of every target in the table, and with an `inventory` of every machine of the catalogue too. No
/// firewall is asked.
pub(crate) async fn names(
    store: &impl Store,
    inventory: Option<&impl Inventory>,
    after: Option<&TargetId>,
    at_most: usize,
) -> Result<Names, Error> {
    let of_table = |target: Target| {
        let state = match target.policy() {
            Some(_) => TargetState::Configured,
            None => TargetState::NotConfigured,
        };
        let (id, policy) = (target.id.clone(), target.policy().cloned());
        (id.clone(), Name { id, facts: facts(&target), state, policy })
    };
    let known = store.targets(after, at_most).await?;
    let mut all: BTreeMap<TargetId, Name> = known.into_iter().map(of_table).collect();
    let (mut silenced, mut unseen) = (None, vec![]);
    if let Some(inventory) = inventory {
        match inventory.machines(after, at_most).await {
            Ok(page) => {
                for machine in page.items {
                    let facts = machine.facts();
                    let state = state_of(&machine, None);
                    let name = Name { id: machine.id.clone(), facts: facts.clone(), state, policy: None };
                    all.entry(machine.id).and_modify(|it| it.facts = facts).or_insert(name);
                }
                unseen = page.unseen;
            }
            Err(error) => silenced = Some(silent(&error)),
        }
    }
    let items: Vec<Name> = all.into_values().take(at_most).collect();
    let next = items.last().filter(|_| items.len() == at_most).map(|it| it.id.clone());
    Ok(Names { items, silent: silenced, unseen, next })
}

async fn seen(
    store: &impl Store,
    firewalls: &impl Firewalls,
    machine: Machine,
    now: Timestamp,
) -> Result<Discovered, Error> {
    let target = store.target(&machine.id).await?.map(|(target, _)| target);
    let target = target.unwrap_or_else(|| Target::unguarded(machine.id.clone()));
    let health = health(firewalls, &machine, &target, now).await;
    joined(store, (machine, None), target, health, now).await
}

/// A target as the table has it, with why nobody else was asked.
async fn recorded(
    store: &impl Store,
    target: Target,
    why: String,
    now: Timestamp,
) -> Result<Discovered, Error> {
    let MachineFacts { name, location, os, addresses, tags, guarded_by } = facts(&target);
    let machine = Machine {
        id: target.id.clone(),
        name,
        location,
        os,
        addresses,
        guarded_by,
        interfaces: vec![],
        tags,
        unsupported: None,
    };
    let health = (None, troubles(&target, now));
    joined(store, (machine, Some(why)), target, health, now).await
}

async fn joined(
    store: &impl Store,
    (machine, unseen): (Machine, Option<String>),
    target: Target,
    (healthy, troubles): (Option<bool>, Vec<String>),
    now: Timestamp,
) -> Result<Discovered, Error> {
    Ok(Discovered {
        state: state_of(&machine, target.policy()),
        policy: target.policy().cloned(),
        policy_version: target.policy_version(),
        confirm_by: target.trial().map(|it| it.until),
        settled: target.is_settled(now) || target.is_written(now),
        healthy,
        troubles,
        recent: recent(store, &machine.id, now).await?,
        grants: target.grants().values().cloned().collect(),
        machine,
        unseen,
    })
}

/// What is known of a target's machine without asking its cloud. One that was guarded before a target kept that is known by the
/// end of its id, and its system by the ports that are guarded.
fn facts(target: &Target) -> MachineFacts {
    if let Some(facts) = target.machine() {
        return facts.clone();
    }
    let id = target.id.as_str();
    let name = id.rsplit('/').find(|it| !it.is_empty()).unwrap_or(id).to_owned();
    let windows = Os::Windows.default_gate();
    let is_windows = target.policy().is_some_and(|it| it.rule(windows).is_some());
    let os = if is_windows { Os::Windows } else { Os::Linux };
    let (location, addresses, tags) = (String::new(), vec![], BTreeMap::new());
    MachineFacts { name, location, os, addresses, tags, guarded_by: None }
}

fn silent(error: &Error) -> String {
    format!("the cloud did not answer ({})", error.full())
}

/// The grants of the last 7 days, the newest first; at most [`RECENT_MAX`].
async fn recent(store: &impl Store, id: &TargetId, now: Timestamp) -> Result<Vec<Grant>, Error> {
    let of = GrantFilter { target: Some(id.clone()), ..GrantFilter::default() };
    let page = store.grants(&of, &PageAsked { after: None, at_most: RECENT_MAX }).await?;
    let is_recent = |it: &Grant| now.duration_since(it.lease.start()) < RECENT;
    Ok(page.items.into_iter().filter(is_recent).collect())
}

/// A machine is healthy when nobody passes its management port but those with a lease: what is guarded
/// is locked, and what it is managed through is guarded or shut by others. The firewalls are asked.
async fn health(
    firewalls: &impl Firewalls,
    machine: &Machine,
    target: &Target,
    now: Timestamp,
) -> (Option<bool>, Vec<String>) {
    if machine.unsupported.is_some() && target.policy().is_none() {
        return (None, vec![]);
    }
    let mut troubles = troubles(target, now);
    let snapshot = match firewalls.read(&machine.id).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            troubles.push(error.full());
            return (None, troubles);
        }
    };
    let defeats = target.defeats_in(&snapshot, now).into_iter();
    troubles.extend(defeats.map(|(gate, by)| format!("the lock of `{gate}` is defeated by {by}")));
    let gate = machine.os.default_gate();
    if target.policy().is_none_or(|it| it.rules_of(gate.port).next().is_none()) {
        let owner = Owner::from(&machine.id);
        let admitted = snapshot.admitted(&owner, gate).any;
        if !admitted.is_empty() {
            troubles.push(format!("port `{gate}` is open to {}", admitted.summary()));
        }
        if target.policy().is_none() && snapshot.holds(&RuleName { owner, gate: None }) {
            troubles.push(
                "it has a lock of another table: disable it in the installation that guards it, or \
                enable it here with `--take-over`"
                    .to_owned(),
            );
        }
    }
    (Some(troubles.is_empty()), troubles)
}

/// What the table itself holds against a target.
fn troubles(target: &Target, now: Timestamp) -> Vec<String> {
    let refused = target.refused().map(|why| format!("its rules could not be written: {why}"));
    let times = target.misses();
    // Where every rule is there another one is in the way, which is told by its name.
    let is_missed = 0 < times && !target.is_written(now);
    let missed = is_missed.then(|| format!("its firewalls could not be settled, {times} times in a row"));
    said_unshut(target, now).chain(refused).chain(missed).collect()
}

fn state_of(machine: &Machine, policy: Option<&Policy>) -> TargetState {
    match (&machine.unsupported, policy) {
        (_, Some(_)) => TargetState::Configured,
        (Some(_), None) => TargetState::Unsupported,
        (None, None) => TargetState::NotConfigured,
    }
}
