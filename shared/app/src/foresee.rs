//! The foreign denies that leases would meet, before anybody asks for them.

use crate::{
    Error,
    ports::{Firewalls, Store},
};
use portcullis_domain::{AddressSet, Gate, Grant, MetDeny, TargetId};
use std::collections::BTreeMap;

/// A foreign deny that the lease of a grant would meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// The machine.
    pub target: TargetId,
    /// The port.
    pub gate: Gate,
    /// The deny, for the sources of the grant alone, and which of the two would win.
    pub deny: MetDeny,
}

/// The foreign denies that these grants would meet, in their order; each machine is read once.
pub(crate) async fn foresee(
    store: &impl Store,
    firewalls: &impl Firewalls,
    grants: &[Grant],
) -> Result<Vec<Met>, Error> {
    let mut machines = BTreeMap::new();
    for grant in grants {
        if !machines.contains_key(&grant.target) {
            let policy = store.target(&grant.target).await?.and_then(|(it, _)| it.policy().cloned());
            machines.insert(&grant.target, (firewalls.read(&grant.target).await?, policy));
        }
    }
    let mut met = vec![];
    for Grant { target, gate, sources, .. } in grants {
        let Some((snapshot, policy)) = machines.get(target) else { continue };
        let denies = policy.as_ref().and_then(|it| it.rule(*gate)).map(|it| it.foreign_denies);
        let denies = snapshot.denies_met(*gate, &AddressSet::from(sources), denies.unwrap_or_default());
        met.extend(denies.into_iter().map(|deny| Met { target: target.clone(), gate: *gate, deny }));
    }
    Ok(met)
}
