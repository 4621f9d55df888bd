//! Azure as what the use cases need: firewalls and an inventory.

use crate::{
    Arm,
    admin::Networks,
    batches::Batches,
    bounds::Bounds,
    clock::Clock,
    group::{Group, Homes},
    inventory::Known,
    nat,
    reads::{Read, Reads, Writing},
    refused::cause,
    retired::Kept,
    versions::NETWORK_API,
    write::Wanted,
    written::Writes,
};
use jiff::Timestamp;
use portcullis_app::{
    Error, Troubles,
    ports::{Firewalls, OurRule},
};
use portcullis_domain::{Cause, Change, FirewallId, Owner, Snapshot, TargetId};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The machines of Azure, and the firewalls on the ways to them.
pub struct Azure {
    pub(crate) arm: Arm,
    pub(crate) bounds: Bounds,
    pub(crate) batches: Batches<Wanted>,
    clock: Clock,
    pub(crate) topology: tokio::sync::Mutex<Known>,
    groups: Reads<Group>,
    /// Which firewalls held rules for whom when all of them were last looked at.
    pub(crate) holders: Mutex<BTreeMap<Owner, BTreeSet<FirewallId>>>,
    fronts: Reads<Value>,
    /// What decides before the security groups of each virtual network.
    pub(crate) above: Networks,
    /// Which groups let no rule be deleted.
    pub(crate) kept: Kept,
    /// How long the cloud took for what was written.
    pub(crate) writes: Writes,
    /// What was in the way of its calls.
    pub(crate) troubles: Troubles,
}

impl Azure {
    /// Asks nothing yet.
    pub fn new(arm: Arm, bounds: Bounds, clock: Clock) -> Self {
        Self {
            arm,
            bounds,
            batches: Batches::default(),
            topology: tokio::sync::Mutex::default(),
            groups: Reads::new(Arc::clone(&clock)),
            holders: Mutex::default(),
            fronts: Reads::new(Arc::clone(&clock)),
            above: Networks::default(),
            kept: Kept::default(),
            writes: Writes::default(),
            troubles: Troubles::default(),
            clock,
        }
    }

    /// How ARM is asked.
    pub fn arm(&self) -> &Arm {
        &self.arm
    }

    /// What time it is.
    pub(crate) fn time(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) async fn group(&self, id: &FirewallId) -> Result<Read<Group>, Error> {
        let read = async {
            let shown = self.arm.get(id.as_str(), NETWORK_API).await?;
            let shown = shown.ok_or_else(|| gone(id))?;
            serde_json::from_value(shown).map_err(|error| unreadable(id, &error))
        };
        let read = self.groups.read(id, read).await;
        if matches!(read, Err(Error::Unavailable { .. })) {
            self.forget().await;
        }
        read
    }

    /// Says that a security group is written to, until what it gives is dropped.
    pub(crate) fn writing(&self, id: &FirewallId) -> Writing<Group> {
        self.groups.writing(id)
    }

    /// Says that somebody is at the rules of a machine behind a firewall: who reads both waits once.
    pub(crate) fn writing_behind(&self, front: &FirewallId) -> Writing<Value> {
        self.fronts.writing(front)
    }

    /// A security group as it was last read.
    pub(crate) fn last(&self, id: &FirewallId) -> Option<Arc<Group>> {
        self.groups.last(id)
    }

    pub(crate) async fn front(&self, id: &FirewallId) -> Result<Read<Value>, Error> {
        let read = async { self.arm.get(id.as_str(), NETWORK_API).await?.ok_or_else(|| gone(id)) };
        let read = self.fronts.read(id, read).await;
        if matches!(read, Err(Error::Unavailable { .. })) {
            self.forget().await;
        }
        read
    }
}

impl Firewalls for Azure {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        let (clock, ways) = (&*self.clock, Box::pin(self.read_ways(target)));
        let read = self.troubles.watch(target, clock, Cause::CloudUnavailable, cause, ways).await?;
        let mut hindered = self.troubles.of(target);
        hindered.extend(self.arm.hindrance(self.time()));
        Ok(Snapshot { hindered, ..read })
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        let topology = self.topology().await?;
        let groups = self.all_groups(&topology).await?;
        let homes = Homes::of(&topology);
        let mut ours: Vec<OurRule> = groups.iter().flat_map(|it| it.ours(&homes)).collect();
        ours.extend(self.deletable(&groups));
        for id in &topology.firewalls {
            let read = self.front(id).await?;
            let rule = |(name, until)| OurRule {
                firewall: id.clone(),
                name,
                etag: None,
                until,
                machine: None,
                is_over: false,
            };
            ours.extend(nat::names(&read.what).into_iter().map(rule));
        }
        let mut holders: BTreeMap<Owner, BTreeSet<FirewallId>> = BTreeMap::new();
        for OurRule { firewall, name, .. } in &ours {
            holders.entry(name.owner.clone()).or_default().insert(firewall.clone());
        }
        *self.holders.lock().unwrap_or_else(PoisonError::into_inner) = holders;
        Ok(ours)
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        let made = Box::pin(self.make(target, changes));
        match target {
            Some(target) => {
                let met = |error: &Error| self.met(changes, error);
                self.troubles.watch(target, &*self.clock, Cause::CloudUnavailable, met, made).await
            }
            None => made.await,
        }
    }
}

/// It was there when machines were last listed.
fn gone(id: &FirewallId) -> Error {
    Error::Unavailable { doing: "read a firewall", source: format!("`{id}` no longer exists").into() }
}

fn unreadable(id: &FirewallId, error: &serde_json::Error) -> Error {
    let source = format!("`{id}`: {error}").into();
    Error::Broken { doing: "read a firewall", source }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
