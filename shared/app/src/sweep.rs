//! Rules of ours whose machine this table does not know: of another installation, or left by a table that was lost.
//! Which of the two, nobody can tell, so what may still be wanted stays.

use crate::{
    Error,
    ports::{Batch, Firewalls, Inventory, OurRule, Rank, Store},
    transact::{Attempt, transact},
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use portcullis_domain::{Chain, Change, ChangeTo, Fact, LEASE_MAX, SKEW_MAX};
use std::collections::BTreeSet;

/// How many orphans are judged and deleted at once.
const AT_ONCE_MAX: usize = 16;

/// What becomes of a rule of ours whose machine the table does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody wants it: it is over, it is nobody's lease, or its machine is gone.
    Deleted,
    /// It says itself until when somebody wants it, and is deleted then.
    Lasts {
        /// Its end.
        until: Timestamp,
    },
    /// It locks a machine that is there, or of which nobody can tell whether it is there.
    Stays,
}

/// What becomes of an orphan at `now`: whoever lost the table, or has another one, must not find their machines
/// open, nor their leases cut.
pub(crate) async fn fate(
    inventory: &impl Inventory,
    orphan: &OurRule,
    now: Timestamp,
) -> Result<Fate, Error> {
    // No lease ends later, by whichever clock.
    let longest = now.saturating_add(LEASE_MAX + SKEW_MAX).unwrap_or(Timestamp::MAX);
    match (orphan.name.gate, orphan.until, &orphan.machine) {
        (Some(_), Some(until), _) if now < until && until <= longest => Ok(Fate::Lasts { until }),
        (Some(_), Some(_) | None, _) => Ok(Fate::Deleted),
        (None, _, Some(machine)) if inventory.is_gone(machine).await? => Ok(Fate::Deleted),
        (None, _, Some(_) | None) => Ok(Fate::Stays),
    }
}

/// Deletes the orphans that nobody wants. One that fails keeps no other waiting; the first failure is told.
pub(crate) async fn sweep(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    orphans: Vec<OurRule>,
    now: Timestamp,
) -> Result<(), Error> {
    let outcomes = stream::iter(orphans).map(|it| one(store, outside, it, now)).buffer_unordered(AT_ONCE_MAX);
    outcomes.fold(Ok(()), |all, one| async move { all.and(one) }).await
}

/// Deletes rules that are over and could not be deleted when they were. What may still not be deleted stays, and speaks of
/// nobody: so it is recorded only where it worked, or every round would tell of it.
pub(crate) async fn clear(
    store: &impl Store,
    firewalls: &impl Firewalls,
    over: Vec<OurRule>,
    now: Timestamp,
) -> Result<(), Error> {
    let mut kept = BTreeSet::new();
    for rule in over {
        if kept.contains(&rule.firewall) {
            continue;
        }
        let change = Change {
            firewall: rule.firewall.clone(),
            name: rule.name.clone(),
            if_match: rule.etag.clone(),
            to: ChangeTo::Delete,
        };
        match firewalls.write(None, &[change]).await {
            Ok(()) => record(store, &rule, now).await?,
            Err(error) => {
                tracing::debug!(rule = %rule.name, error = error.full(), "A rule whose leases are over may \
                    still not be deleted");
                kept.insert(rule.firewall);
            }
        }
    }
    Ok(())
}

async fn one(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    orphan: OurRule,
    now: Timestamp,
) -> Result<(), Error> {
    let (rule, firewall) = (&orphan.name, &orphan.firewall);
    match fate(outside, &orphan, now).await? {
        Fate::Deleted => delete(store, outside, orphan, now).await,
        Fate::Lasts { until } => {
            tracing::info!(%rule, %firewall, %until, "An orphaned allow rule stays until the end of its lease");
            Ok(())
        }
        Fate::Stays => {
            tracing::warn!(%rule, %firewall, "An orphaned lock stays: to remove it, enable its machine with \
                `--take-over`, then disable the machine");
            Ok(())
        }
    }
}

async fn delete(
    store: &impl Store,
    firewalls: &impl Firewalls,
    orphan: OurRule,
    now: Timestamp,
) -> Result<(), Error> {
    record(store, &orphan, now).await?;
    let OurRule { firewall, name, etag, .. } = orphan;
    let change = Change { firewall, name, if_match: etag, to: ChangeTo::Delete };
    firewalls.write(None, &[change]).await
}

async fn record(store: &impl Store, orphan: &OurRule, now: Timestamp) -> Result<(), Error> {
    let fact = Fact::OrphanDeleted { firewall: orphan.firewall.to_string(), rule: orphan.name.to_string() };
    let fact = &fact;
    transact(store, &[], Rank::Worker, |_| async move {
        let (_, rest) = store.rest().await?.append(&Chain::rest(), now, [fact.clone()]);
        Ok(Attempt::commit(Batch { rest, ..Batch::default() }, ()))
    })
    .await
}
