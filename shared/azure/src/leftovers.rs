//! Rules of ours where nothing leads to their machine any more.

use crate::{
    Azure, nat,
    parts::{Part, lock},
    rule::Shown,
    write::is_front,
};
use portcullis_app::Error;
use portcullis_domain::{
    Action, AddressSet, Families, Firewall, FirewallId, FirewallKind, Held, Owner, Snapshot, TargetId,
};
use std::{collections::BTreeMap, sync::PoisonError};

impl Azure {
    /// Groups that are on no way to a machine any more and hold rules with its name: whoever gets its address
    /// behind one would have them.
    pub(crate) async fn strays(
        &self,
        owner: &Owner,
        on_ways: &[&FirewallId],
    ) -> Result<Vec<Firewall>, Error> {
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner).get(owner).cloned();
        let mut strays = vec![];
        for id in holders.into_iter().flatten().filter(|it| !on_ways.contains(&it) && !is_front(it)) {
            let group = self.group(&id).await?;
            let mut firewall = self.unled(id);
            let mine = group.what.found().into_iter().filter(|(name, _)| name.owner == *owner);
            firewall.ours.extend(mine.map(|(name, parts)| (name, unjudged(&parts))));
            strays.extend(Some(firewall).filter(|it| !it.ours.is_empty()));
        }
        Ok(strays)
    }

    /// A machine that is not among those that are listed.
    ///
    /// It is asked for by itself: Resource Graph may be behind, or not see it, and the lock of a machine that
    /// is there must stay. Of one that is gone there are rules to delete, or nothing any more.
    pub(crate) async fn remains(&self, target: &TargetId) -> Result<Snapshot, Error> {
        if !self.is_absent(target).await? {
            self.forget().await;
            return Err(Error::NotFound { what: "target", name: target.to_string() });
        }
        self.leftovers(target).await
    }

    /// Rules of ours with the name of a machine that nothing leads to any more. Its allows are nobody's; its lock
    /// stays as it is until somebody disables it: the machine may be made anew.
    pub(crate) async fn leftovers(&self, target: &TargetId) -> Result<Snapshot, Error> {
        let (read_at, owner) = (self.time(), Owner::from(target));
        let topology = self.topology().await?;
        let mut left = vec![];
        for group in self.all_groups(&topology).await? {
            let Ok(id) = group.id.to_ascii_lowercase().parse() else { continue };
            let mut firewall = self.unled(id);
            for (name, parts) in group.found().into_iter().filter(|(name, _)| name.owner == owner) {
                let mut held = unjudged(&parts);
                if name.gate.is_none() {
                    firewall.kind = FirewallKind::Ordered { otherwise: Action::Deny };
                    held.rule = lock(&name, &parts);
                }
                firewall.ours.insert(name, held);
            }
            left.extend(Some(firewall).filter(|it| !it.ours.is_empty()));
        }
        for id in &topology.firewalls {
            let names = nat::names(&self.front(id).await?.what);
            let mut firewall = self.unled(id.clone());
            let held = Held { rule: None, priority: 0, beside: vec![], etag: None };
            let mine = names.into_keys().filter(|it| it.owner == owner);
            firewall.ours.extend(mine.map(|name| (name, held.clone())));
            left.extend(Some(firewall).filter(|it| !it.ours.is_empty()));
        }
        Ok(Snapshot { ways: vec![], ..Snapshot::of(read_at, left) })
    }

    /// A firewall that is on no way: nothing is wanted there.
    fn unled(&self, id: FirewallId) -> Firewall {
        Firewall {
            id,
            kind: FirewallKind::Union,
            bands: self.bounds.bands.clone(),
            inside: AddressSet::default(),
            families: Families { v4: false, v6: false },
            ours: BTreeMap::new(),
            foreign: vec![],
        }
    }
}

/// A rule of ours of which nobody needs to know what it says.
fn unjudged(parts: &BTreeMap<Part, Shown>) -> Held {
    let mut priorities = parts.values().map(|it| it.properties.priority);
    let priority = priorities.next().unwrap_or(0);
    Held { rule: None, priority, beside: priorities.collect(), etag: Some(crate::parts::etag(parts)) }
}
