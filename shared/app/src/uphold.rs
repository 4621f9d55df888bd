//! Ends what its requester may no longer have. Asked after each change of the authority, and again by every reconcile: whoever changed it
//! may have died before this was done.

use crate::{
    Error, Rights,
    caller::Caller,
    load::all,
    permit::{Authorised, facts_of_target, minutes},
    ports::{Batch, Rank, Store},
    transact::{Attempt, transact},
};
use jiff::Timestamp;
use portcullis_domain::{
    Circumstances, Facts, Grant, GrantId, Object, Person, Right, Speaker, Target, TargetId,
};

/// Ends every lease that the authority no longer permits to its requester, also one that has not started; gives them as they are then.
///
/// INVARIANT (rights-are-asked-again): no lease outlives the right to ask for it.
pub(crate) async fn uphold(
    store: &impl Store,
    rights: &Rights,
    by: Speaker<'_>,
    now: Timestamp,
) -> Result<Vec<Grant>, Error> {
    let authorised = rights.authorised(store, now).await?;
    let mut ended = vec![];
    if authorised.permits_anybody() {
        return Ok(ended);
    }
    for target in all(store).await? {
        let live = target.grants().values().filter(|it| !it.lease.is_over(now));
        let lost = live.filter(|it| !authorised.still_permits(it, &target, now));
        let lost: Vec<GrantId> = lost.map(|it| it.id.clone()).collect();
        if !lost.is_empty() {
            ended.extend(end(store, &target.id, &lost, by, now).await?);
        }
    }
    Ok(ended)
}

/// The same for leases that were granted by an authority which somebody replaced meanwhile, and so after they were looked for. Says
/// whether any was ended.
pub(crate) async fn since(
    store: &impl Store,
    rights: &Rights,
    granted_by: &Authorised,
    now: Timestamp,
) -> Result<bool, Error> {
    // Not the authority that is kept for some seconds: another process may have changed it.
    let version = store.authority().await?.map_or(0, |it| it.version);
    if version == granted_by.authority.version {
        return Ok(false);
    }
    rights.forget();
    let ended = uphold(store, rights, (&Person::portcullis()).into(), now).await?;
    Ok(!ended.is_empty())
}

/// The same as Portcullis itself does it, whatever was changed or asked.
pub(crate) async fn uphold_rights(store: &impl Store, rights: &Rights, now: Timestamp) -> Result<(), Error> {
    let ended = uphold(store, rights, (&Person::portcullis()).into(), now).await?;
    for grant in ended {
        tracing::info!(grant = %grant.id, "A lease was ended: no role or policy permits it to its requester any more");
    }
    Ok(())
}

impl Authorised {
    /// May whoever asks have anything on any machine? Then no lease has to be looked at to know that it is permitted.
    pub(crate) fn permits_anybody(&self) -> bool {
        let nobody = Caller::nobody();
        let rights = [Right::Request, Right::OpenWithoutApproval, Right::BreakGlass];
        rights.into_iter().all(|right| self.permits_everywhere(&nobody, right))
    }

    /// Does the authority still permit its requester what this grant gives? Asked as if it were asked for at its start, so that the hours
    /// of policies are those of the request, for the rest of its time: an extension made it longer than a request may be.
    fn still_permits(&self, grant: &Grant, target: &Target, now: Timestamp) -> bool {
        let caller = Caller::who_has(grant);
        let circumstances = Circumstances {
            port: Some(grant.gate.port.number()),
            protocol: Some(grant.gate.protocol.to_string()),
            minutes: Some(minutes(grant.lease.end().duration_since(grant.lease.start().max(now)))),
            minutes_ahead: Some(0),
            break_glass: grant.broke_glass,
            is_own: true,
            ..Circumstances::default()
        };
        let circumstances = circumstances.because(grant.justification.as_ref());
        let facts = facts_of_target(target).unwrap_or_else(|| Facts::of(&target.id));
        let may = |right, source| {
            let circumstances = Circumstances { source: Some(source), ..circumstances.clone() };
            self.judge(&caller, right, Object::Machine(Box::new(facts.clone())), circumstances).is_permitted
        };
        let by_what = if grant.broke_glass {
            Some(Right::BreakGlass)
        } else if grant.approved {
            None
        } else {
            Some(Right::OpenWithoutApproval)
        };
        let sources = grant.sources.ranges();
        let rights = [Some(Right::Request), by_what];
        rights.into_iter().flatten().all(|right| sources.iter().all(|source| may(right, *source)))
    }
}

async fn end(
    store: &impl Store,
    target: &TargetId,
    lost: &[GrantId],
    by: Speaker<'_>,
    now: Timestamp,
) -> Result<Vec<Grant>, Error> {
    transact(store, std::slice::from_ref(target), Rank::Shutting, |_| async move {
        let Some((known, seen)) = store.target(target).await? else { return Ok(Attempt::Done(vec![])) };
        let live = |id: &&GrantId| known.grant_of(id).is_some_and(|it| !it.lease.is_over(now));
        let ending: Vec<GrantId> = lost.iter().filter(live).cloned().collect();
        if ending.is_empty() {
            return Ok(Attempt::Done(vec![]));
        }
        let next = known.end_unpermitted(&ending, by, now);
        let ended = ending.iter().filter_map(|it| next.target.grant_of(it).cloned()).collect();
        Ok(Attempt::commit(Batch::of(next, seen), ended))
    })
    .await
}
