//! What people look at: targets, packets, activity, and whether the journal is whole.

use crate::{
    CONFLICTS_MAX, Error,
    guard::{known, supported},
    ports::{Firewalls, GrantFilter, Inventory, Machine, PageAsked, RequestFilter, Store},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    BadRecord, Chain, Decision, Entry, Gate, Grant, Head, Owner, Packet, Policy, RuleName, Target, TargetId,
    Told, Waiting,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How many machines or entries are read at a time.
const PAGE: usize = 500;
/// How many machines are looked at at once.
const AT_ONCE_MAX: usize = 16;
/// How often lists are looked at before they are believed: each may be a moment behind.
const LIST_LOOKS_MAX: usize = 20;
/// How far back a target's recent grants go.
const RECENT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many recent grants of a target are looked at.
const RECENT_MAX: usize = 100;

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
}

/// The three lists of discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// It is guarded.
    Configured,
    /// It could be.
    NotConfigured,
    /// It cannot be.
    Unsupported,
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many chains.
    pub chains: usize,
    /// How many entries.
    pub entries: u64,
    /// The first record of each chain that is not what was written.
    pub bad: Vec<BadRecord>,
}

/// A part of the inventory, by id after `after`, with what Portcullis makes of it, and what could not be
/// seen. Fewer than `at_most` is the end.
pub async fn discover(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    after: Option<&TargetId>,
    at_most: usize,
    now: Timestamp,
) -> Result<(Vec<Discovered>, Vec<String>), Error> {
    let page = outside.machines(after, at_most).await?;
    // In their order, some at a time: each may have to ask a cloud.
    let found = stream::iter(page.items).map(|machine| seen(store, outside, machine, now));
    let found = found.buffered(AT_ONCE_MAX).try_collect().await?;
    Ok((found, page.unseen))
}

/// One machine of the inventory with what Portcullis makes of it.
pub async fn discover_one(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    id: &TargetId,
    now: Timestamp,
) -> Result<Discovered, Error> {
    let machine = outside.machine(id).await?;
    let machine = machine.ok_or_else(|| Error::NotFound { what: "target", name: id.to_string() })?;
    seen(store, outside, machine, now).await
}

async fn seen(
    store: &impl Store,
    firewalls: &impl Firewalls,
    machine: Machine,
    now: Timestamp,
) -> Result<Discovered, Error> {
    let target = store.target(&machine.id).await?.map(|(target, _)| target);
    let target = target.unwrap_or_else(|| Target::unguarded(machine.id.clone()));
    let state = match (&machine.unsupported, target.policy()) {
        (_, Some(_)) => TargetState::Configured,
        (Some(_), None) => TargetState::Unsupported,
        (None, None) => TargetState::NotConfigured,
    };
    let (healthy, troubles) = health(firewalls, &machine, &target, now).await;
    Ok(Discovered {
        state,
        policy: target.policy().cloned(),
        policy_version: target.policy_version(),
        confirm_by: target.trial().map(|it| it.until),
        settled: target.is_settled(now),
        healthy,
        troubles,
        recent: recent(store, &machine.id, now).await?,
        grants: target.grants().values().cloned().collect(),
        machine,
    })
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
    let snapshot = match firewalls.read(&machine.id).await {
        Ok(snapshot) => snapshot,
        Err(error) => return (None, vec![error.full()]),
    };
    let defeats = target.defeats_in(&snapshot, now).into_iter();
    let mut troubles: Vec<String> =
        defeats.map(|(gate, by)| format!("the lock of `{gate}` is defeated by {by}")).collect();
    if let Some(why) = target.refused() {
        troubles.insert(0, format!("its rules could not be written: {why}"));
    }
    if 0 < target.misses() {
        let times = target.misses();
        troubles.push(format!("its firewalls could not be settled, {times} times in a row"));
    }
    let gate = machine.os.default_gate();
    if target.policy().is_none_or(|it| it.rules_of(gate.port, None).next().is_none()) {
        let owner = Owner::from(&machine.id);
        let admitted = snapshot.admitted(&owner, gate).any;
        if !admitted.is_empty() {
            troubles.push(format!("port `{gate}` is open to {}", admitted.summary()));
        }
        if target.policy().is_none() && snapshot.holds(&RuleName { owner, gate: None }) {
            troubles.push("it has a lock that this table does not know of: enable it".to_owned());
        }
    }
    (Some(troubles.is_empty()), troubles)
}

/// Whether a packet gets to a target, and which rule says so: the firewalls are asked, not the table.
pub async fn check(
    outside: &(impl Firewalls + Inventory),
    target: &TargetId,
    gate: Gate,
    source: IpAddr,
) -> Result<Decision, Error> {
    let snapshot = supported(outside, target).await?;
    Ok(snapshot.decide(&target.into(), &Packet { source, protocol: gate.protocol, port: gate.port }))
}

/// What happened to a target, or with no target to none, oldest first, from entry `from` on; and the number of the entry
/// to go on with, if there is more.
pub async fn activity(
    store: &impl Store,
    inventory: &impl Inventory,
    chain: &Chain,
    from: u64,
    at_most: usize,
) -> Result<(Vec<Entry>, Option<u64>), Error> {
    if let Some(target) = chain.target() {
        known(store, inventory, &target).await?;
    }
    let entries = store.entries(chain, from, at_most).await?;
    let Some(next) = entries.last().map(|it| it.n + 1) else { return Ok((entries, None)) };
    // A part that is shorter than asked for may have been cut for its length.
    let is_all = entries.len() < at_most && store.last(chain).await?.is_none_or(|it| it.n < next);
    Ok((entries, (!is_all).then_some(next)))
}

/// Recomputes every chain and compares it with what is stored; needs nothing but the store, and may run
/// beside others who write.
///
/// INVARIANT (journal-equals-state): and so finds what was changed, dropped or reordered.
pub async fn verify(store: &impl Store) -> Result<Verified, Error> {
    let mut verified = Verified { chains: 0, entries: 0, bad: vec![] };
    let mut pending = waiting(store).await?;
    let mut after: Option<TargetId> = None;
    loop {
        let page = store.targets(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for target in page {
            verified.settled(store, Chain::from(&target.id), &mut pending).await?;
        }
    }
    verified.settled(store, Chain::rest(), &mut pending).await?;
    let mut after: Option<Chain> = None;
    loop {
        let page = store.chains(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(verified) };
        after = Some(last.clone());
        for chain in page {
            let is_stored = match chain.target() {
                Some(target) => store.target(&target).await?.is_some(),
                None => true,
            };
            if !is_stored {
                verified.bad.push(BadRecord::NoState { chain });
            }
        }
    }
}

/// What is stored of a chain: where it ends, and of a target the rest of it.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    head: Head,
    target: Option<Target>,
    /// Requests that wait and name the target.
    pending: Vec<Waiting>,
}

impl Stored {
    async fn load(store: &impl Store, chain: &Chain, pending: &[Waiting]) -> Result<Self, Error> {
        let Some(id) = chain.target() else {
            return Ok(Self { head: store.rest().await?, target: None, pending: vec![] });
        };
        let pending = pending.iter().filter(|it| it.targets.contains(&id)).cloned().collect();
        let target = store.target(&id).await?.map(|(target, _)| target);
        Ok(Self { head: target.as_ref().map(Target::head).unwrap_or_default(), target, pending })
    }
}

impl Verified {
    /// Somebody may write while we read: what seems wrong is looked at again until nobody did.
    async fn settled(
        &mut self,
        store: &impl Store,
        chain: Chain,
        pending: &mut Vec<Waiting>,
    ) -> Result<(), Error> {
        self.chains += 1;
        let mut stored = Stored::load(store, &chain, pending).await?;
        for _ in 0..CONFLICTS_MAX {
            let bad = match recompute(store, &chain, &stored).await? {
                Ok(entries) => {
                    self.entries += entries;
                    return Ok(());
                }
                Err(bad) => bad,
            };
            *pending = waiting(store).await?;
            let now = Stored::load(store, &chain, pending).await?;
            if now == stored {
                self.bad.push(bad);
                return Ok(());
            }
            stored = now;
        }
        Err(Error::Conflict)
    }
}

/// One chain against what is stored of it: how many entries it has, or its first bad record.
async fn recompute(
    store: &impl Store,
    chain: &Chain,
    stored: &Stored,
) -> Result<Result<u64, BadRecord>, Error> {
    let (mut head, mut told) = (Head::default(), Told::default());
    while head.n < stored.head.n {
        let left = usize::try_from(stored.head.n - head.n).unwrap_or(PAGE);
        let entries = match store.entries(chain, head.n, PAGE.min(left)).await {
            // One by one, to name the first that cannot be read.
            Err(Error::Broken { .. }) => store.entries(chain, head.n, 1).await,
            outcome => outcome,
        };
        let entries = match entries {
            Err(Error::Broken { .. }) => {
                return Ok(Err(BadRecord::Unreadable { chain: chain.clone(), n: head.n }));
            }
            outcome => outcome?,
        };
        if entries.is_empty() {
            let (chain, wanted, found) = (chain.clone(), stored.head.n, head.n);
            return Ok(Err(BadRecord::CutShort { chain, wanted, found }));
        }
        for entry in &entries {
            head = match head.follow(chain, entry) {
                Ok(head) => head,
                Err(bad) => return Ok(Err(bad)),
            };
            let closed = told.hear(entry);
            if let Some(grant) = closed
                && !is_stored(store, &grant).await?
            {
                return Ok(Err(BadRecord::OtherGrant { chain: chain.clone(), grant: grant.id }));
            }
        }
    }
    if head != stored.head {
        return Ok(Err(BadRecord::OtherHead { chain: chain.clone() }));
    }
    match store.entries(chain, head.n, 1).await {
        Ok(beyond) if beyond.is_empty() => {}
        Ok(_) | Err(Error::Broken { .. }) => {
            return Ok(Err(BadRecord::BeyondHead { chain: chain.clone(), n: head.n }));
        }
        Err(error) => return Err(error),
    }
    Ok(state(store, chain, stored, &told).await?.map(|()| head.n))
}

/// What is stored of a target against what its chain tells.
async fn state(
    store: &impl Store,
    chain: &Chain,
    stored: &Stored,
    told: &Told,
) -> Result<Result<(), BadRecord>, Error> {
    let Some(target) = &stored.target else { return Ok(Ok(())) };
    for grant in target.grants().values() {
        if !is_stored(store, grant).await? {
            return Ok(Err(BadRecord::OtherGrant { chain: chain.clone(), grant: grant.id.clone() }));
        }
    }
    if let Err(bad) = told.agrees_with(target) {
        return Ok(Err(bad));
    }
    let mut pending = stored.pending.clone();
    let mut agrees = listed(store, chain, &target.id, told, &pending).await?;
    for _ in 1..LIST_LOOKS_MAX {
        if agrees.is_ok() {
            break;
        }
        pending = waiting(store).await?;
        pending.retain(|it| it.targets.contains(&target.id));
        agrees = listed(store, chain, &target.id, told, &pending).await?;
    }
    Ok(agrees)
}

/// What lists show of a target, its grants and the requests that wait, against what its chain tells.
async fn listed(
    store: &impl Store,
    chain: &Chain,
    target: &TargetId,
    told: &Told,
    pending: &[Waiting],
) -> Result<Result<(), BadRecord>, Error> {
    let of = GrantFilter { target: Some(target.clone()), ..GrantFilter::default() };
    let (mut stored, mut page) = (0, PageAsked { after: None, at_most: PAGE });
    loop {
        let part = store.grants(&of, &page).await?;
        stored += part.items.len();
        match part.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    if stored == told.granted() {
        return Ok(told.agrees_with_pending(chain, pending));
    }
    Ok(Err(BadRecord::OtherCount { chain: chain.clone(), told: told.granted(), stored }))
}

async fn is_stored(store: &impl Store, grant: &Grant) -> Result<bool, Error> {
    match store.grant(&grant.id).await {
        Ok(stored) => Ok(stored.as_ref() == Some(grant)),
        Err(Error::Broken { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Every request that waits.
async fn waiting(store: &impl Store) -> Result<Vec<Waiting>, Error> {
    let of = RequestFilter { state: Some("pending".to_owned()), by: None };
    let (mut waiting, mut page) = (vec![], PageAsked { after: None, at_most: PAGE });
    loop {
        let part = store.requests(&of, &page).await?;
        waiting.extend(part.items.iter().map(Waiting::from));
        match part.next {
            Some(next) => page.after = Some(next),
            None => return Ok(waiting),
        }
    }
}
