//! What this process guards: Azure, this machine, or both.

use crate::steady;
use portcullis_app::{
    Error,
    ports::{Firewalls, Inventory, Machine, Machines, OurRule},
};
use portcullis_azure::Azure;
use portcullis_domain::{Change, FirewallId, Snapshot, TargetId};
use portcullis_local::{Host, RedbStore};
use std::sync::Arc;

/// Everything that holds rules here, told apart by the names of targets.
#[derive(Debug)]
pub struct Outside {
    /// Azure, real or simulated.
    pub azure: Option<Azure>,
    /// This machine.
    pub host: Option<Host>,
    /// The table, whose disk may be in the way.
    pub table: Arc<RedbStore>,
}

enum Place<'a> {
    Azure(&'a Azure),
    Host(&'a Host),
}

impl Outside {
    fn of(&self, target: &TargetId) -> Result<Place<'_>, Error> {
        let host = self.host.as_ref().filter(|it| it.id() == target).map(Place::Host);
        let azure = || self.azure.as_ref().map(Place::Azure);
        host.or_else(azure).ok_or_else(|| Error::NotFound { what: "target", name: target.to_string() })
    }

    fn holding(&self, firewall: &FirewallId) -> Result<Place<'_>, Error> {
        let host = self.host.as_ref().filter(|it| it.firewall() == firewall).map(Place::Host);
        let azure = || self.azure.as_ref().map(Place::Azure);
        host.or_else(azure).ok_or_else(|| Error::NotFound { what: "firewall", name: firewall.to_string() })
    }
}

impl Firewalls for Outside {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        let mut read = match self.of(target)? {
            Place::Azure(it) => it.read(target).await,
            Place::Host(it) => it.read(target).await,
        }?;
        read.hindered.extend(steady::hindrances());
        read.hindered.extend(self.table.hindrance(steady::now()));
        Ok(read)
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        let mut ours = vec![];
        if let Some(azure) = &self.azure {
            ours.extend(azure.ours().await?);
        }
        if let Some(host) = &self.host {
            ours.extend(host.ours().await?);
        }
        Ok(ours)
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        // The changes of one call are those of one target, or of one orphan: one place holds them all.
        let place = match (target, changes.first()) {
            (Some(target), _) => self.of(target)?,
            (None, Some(change)) => self.holding(&change.firewall)?,
            (None, None) => return Ok(()),
        };
        match place {
            Place::Azure(it) => it.write(target, changes).await,
            Place::Host(it) => it.write(target, changes).await,
        }
    }
}

impl Inventory for Outside {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        let mut all = Machines::default();
        if let Some(azure) = &self.azure {
            let page = azure.machines(after, at_most).await?;
            all.items.extend(page.items);
            all.unseen.extend(page.unseen);
        }
        if let Some(host) = &self.host {
            let page = host.machines(after, at_most).await?;
            all.items.extend(page.items);
            all.unseen.extend(page.unseen);
        }
        all.items.sort_by(|one, two| one.id.cmp(&two.id));
        all.items.truncate(at_most);
        Ok(all)
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        match self.of(id) {
            Ok(Place::Azure(it)) => it.machine(id).await,
            Ok(Place::Host(it)) => it.machine(id).await,
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn is_gone(&self, id: &TargetId) -> Result<bool, Error> {
        match self.of(id) {
            Ok(Place::Azure(it)) => it.is_gone(id).await,
            Ok(Place::Host(it)) => it.is_gone(id).await,
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
