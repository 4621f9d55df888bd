//! The foreign denies that leases would meet, before anybody asks for them.

use crate::{
    Error,
    ports::{Firewalls, Store},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use portcullis_domain::{AddressSet, Gate, Grant, MetDeny, Policy, Snapshot, TargetId};
use std::collections::{BTreeMap, BTreeSet};

/// How many machines are read at once.
const AT_ONCE_MAX: usize = 16;

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

/// The foreign denies that these grants would meet, in the order of the grants; each machine is read once.
pub(crate) async fn foresee(
    store: &impl Store,
    firewalls: &impl Firewalls,
    grants: &[Grant],
) -> Result<Vec<Met>, Error> {
    let targets: BTreeSet<TargetId> = grants.iter().map(|it| it.target.clone()).collect();
    let machines = stream::iter(targets).map(|target| seen(store, firewalls, target));
    let machines: BTreeMap<_, _> = machines.buffered(AT_ONCE_MAX).try_collect().await?;
    let mut met = vec![];
    for Grant { target, gate, sources, .. } in grants {
        let Some((snapshot, policy)) = machines.get(target) else { continue };
        let denies = policy.as_ref().and_then(|it| it.rule(*gate)).map(|it| it.foreign_denies);
        let denies = snapshot.denies_met(*gate, &AddressSet::from(sources), denies.unwrap_or_default());
        met.extend(denies.into_iter().map(|deny| Met { target: target.clone(), gate: *gate, deny }));
    }
    Ok(met)
}

/// A machine with its firewalls and its policy.
async fn seen(
    store: &impl Store,
    firewalls: &impl Firewalls,
    target: TargetId,
) -> Result<(TargetId, (Snapshot, Option<Policy>)), Error> {
    let policy = store.target(&target).await?.and_then(|(it, _)| it.policy().cloned());
    let snapshot = firewalls.read(&target).await?;
    Ok((target, (snapshot, policy)))
}
