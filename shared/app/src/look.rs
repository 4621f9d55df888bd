//! What people look at: targets, packets, activity, and whether the journal is whole.

use crate::{
    Error,
    guard::follow,
    ports::{Firewalls, GrantFilter, Inventory, Machine, PageAsked, Store},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    BadRecord, Chain, Decision, Entry, Gate, Grant, Head, Owner, Packet, Policy, Target, TargetId, Told,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How many machines or entries are read at a time.
const PAGE: usize = 500;
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
    let mut found = vec![];
    for machine in page.items {
        found.push(seen(store, outside, machine, now).await?);
    }
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
    let (healthy, troubles) = health(firewalls, &machine, &target, state).await;
    Ok(Discovered {
        state,
        policy: target.policy().cloned(),
        policy_version: target.policy_version(),
        confirm_by: target.trial().map(|it| it.until),
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

/// A guarded target is healthy when its locks hold; another one when nobody reaches its management port.
async fn health(
    firewalls: &impl Firewalls,
    machine: &Machine,
    target: &Target,
    state: TargetState,
) -> (Option<bool>, Vec<String>) {
    match state {
        TargetState::Unsupported => (None, vec![]),
        TargetState::Configured => {
            let defeated = target.defeated().iter();
            let mut troubles: Vec<String> =
                defeated.map(|(gate, by)| format!("the lock of `{gate}` is defeated by {by}")).collect();
            if 0 < target.misses() {
                troubles
                    .push(format!("its firewalls could not be settled, {} times in a row", target.misses()));
            }
            (Some(troubles.is_empty()), troubles)
        }
        TargetState::NotConfigured => match firewalls.read(&machine.id).await {
            Ok(snapshot) => {
                let gate = machine.os.default_gate();
                let admitted = snapshot.admitted(&Owner::from(&machine.id), gate).any;
                if admitted.is_empty() {
                    (Some(true), vec![])
                } else {
                    (Some(false), vec![format!("port `{gate}` is open to {admitted}")])
                }
            }
            Err(error) => (None, vec![error.full()]),
        },
    }
}

/// Whether a packet gets to a target, and which rule says so.
pub async fn check(
    firewalls: &impl Firewalls,
    target: &TargetId,
    gate: Gate,
    source: IpAddr,
) -> Result<Decision, Error> {
    follow(firewalls, target, &Packet { source, protocol: gate.protocol, port: gate.port }).await
}

/// What happened to a target, oldest first, from entry `from` on.
pub async fn activity(
    store: &impl Store,
    chain: &Chain,
    from: u64,
    at_most: usize,
) -> Result<Vec<Entry>, Error> {
    store.entries(chain, from, at_most).await
}

/// Recomputes every chain and compares it with what is stored; needs nothing but the store.
///
/// INVARIANT (journal-equals-state): and so finds what was changed, dropped or reordered.
pub async fn verify(store: &impl Store) -> Result<Verified, Error> {
    let mut verified = Verified { chains: 0, entries: 0, bad: vec![] };
    let mut after: Option<TargetId> = None;
    loop {
        let page = store.targets(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for target in &page {
            verified.chain(store, &Chain::from(&target.id), target.head(), Some(target)).await?;
        }
    }
    let head = store.rest().await?;
    verified.chain(store, &Chain::rest(), head, None).await?;
    Ok(verified)
}

impl Verified {
    async fn chain(
        &mut self,
        store: &impl Store,
        chain: &Chain,
        until: Head,
        target: Option<&Target>,
    ) -> Result<(), Error> {
        self.chains += 1;
        let (mut head, mut told) = (Head::default(), Told::default());
        while head.n < until.n {
            let left = usize::try_from(until.n - head.n).unwrap_or(PAGE);
            let entries = match store.entries(chain, head.n, PAGE.min(left)).await {
                // One by one, to name the first that cannot be read.
                Err(Error::Broken { .. }) => store.entries(chain, head.n, 1).await,
                outcome => outcome,
            };
            let entries = match entries {
                Err(Error::Broken { .. }) => {
                    self.bad.push(BadRecord::Unreadable { chain: chain.clone(), n: head.n });
                    return Ok(());
                }
                outcome => outcome?,
            };
            if entries.is_empty() {
                self.bad.push(BadRecord::CutShort { chain: chain.clone(), wanted: until.n, found: head.n });
                return Ok(());
            }
            for entry in &entries {
                head = match head.follow(chain, entry) {
                    Ok(head) => head,
                    Err(bad) => {
                        self.bad.push(bad);
                        return Ok(());
                    }
                };
                told.hear(entry);
                self.entries += 1;
            }
        }
        if head != until {
            self.bad.push(BadRecord::OtherHead { chain: chain.clone() });
        } else if let Some(Err(bad)) = target.map(|it| told.agrees_with(it)) {
            self.bad.push(bad);
        }
        Ok(())
    }
}
