//! Requests, extensions and early ends. They need no claim: they change what is wanted, and the target is due by it.

use crate::{
    Call, Error,
    caller::subject,
    load::{self, Loaded, load, noted},
    ports::{Batch, GrantFilter, PageAsked, Rank, Seen, Store},
    record::{Record, codes, sentences},
    transact::{Attempt, transact},
};
use jiff::Timestamp;
use portcullis_domain::{
    Fact, GATES_MAX, Grant, GrantId, Justification, Next, Outcome, Refusal, Refusals, Request, RequestId,
    RequestState, Review, SignIn, Speaker, Target, TargetId, Terms, Waits, What, review,
};
use std::iter;

/// A request that was not refused, and the grants that were made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The request, and its state.
    pub request: Request,
    /// Its grants, as they are now.
    pub grants: Vec<Grant>,
}

/// Decides a request.
///
/// Asking twice is asking once, also if the first answer was never heard, also after the close
/// (INVARIANT: granted-once).
pub(crate) async fn initiate(
    store: &impl Store,
    terms: &Terms,
    call: &Call,
    fresh: Request,
    waits: &Waits,
) -> Result<Answer, Error> {
    let (fresh, now) = (&fresh, call.now);
    let request = transact(store, &fresh.targets(), Rank::Asking, |_| async move {
        if let Some((known, _)) = store.request(&fresh.id).await? {
            if known.shown() == fresh.shown() {
                return Ok(Attempt::Done(known));
            }
            return Err(reused(store, call, fresh).await?.into());
        }
        let targets = load(store, &fresh.targets()).await?;
        let known = targets.iter().map(|(id, (target, _))| (id.clone(), target.clone())).collect();
        let (state, targets) = match review(fresh, &known, terms, now, waits) {
            Review::Refused(reasons) => return Err(reasons.into()),
            Review::Allowed(outcome) => {
                let broke_glass = outcome.broken().next().is_some();
                let state = RequestState::Approved { at: now, by: None, via: None, broke_glass };
                (state, granted(targets, &outcome, fresh, None, now))
            }
            Review::NeedsApproval { approvers, because, outcome: _ } => {
                let because: Vec<String> = because.iter().map(ToString::to_string).collect();
                let until = now.saturating_add(terms.pending_for).unwrap_or(Timestamp::MAX);
                let state =
                    RequestState::Pending { until, approvers: approvers.clone(), because: because.clone() };
                let fact = Fact::ApprovalNeeded {
                    request: fresh.id.clone(),
                    by: fresh.by.clone(),
                    asked: fresh.what.clone(),
                    why: fresh.justification.as_ref().map(ToString::to_string),
                    until,
                    shown: Some(fresh.shown()),
                    approvers: Some(approvers),
                    because,
                    correlation: fresh.correlation.clone(),
                    via: fresh.via.clone(),
                    authority: fresh.authority,
                };
                (state, noted(targets, &fact, now))
            }
        };
        let request = fresh.clone().into_state(state);
        let batch = Batch { targets, request: Some((request.clone(), Seen::NEVER)), ..Batch::default() };
        Ok(Attempt::commit(batch, request))
    })
    .await?;
    answer(store, request).await
}

/// The same review, and nothing written.
pub(crate) async fn explain(
    store: &impl Store,
    terms: &Terms,
    request: &Request,
    now: Timestamp,
    waits: &Waits,
) -> Result<Review, Error> {
    let targets = load(store, &request.targets()).await?;
    let targets = targets.into_iter().map(|(id, (target, _))| (id, target)).collect();
    Ok(review(request, &targets, terms, now, waits))
}

/// The wish for a later end of a grant's lease.
///
/// INVARIANT (renewal-is-a-request): decided and recorded like a request.
pub(crate) async fn extension(store: &impl Store, grant: &GrantId, end: Timestamp) -> Result<What, Error> {
    let found = load::grant(store, grant).await?;
    Ok(What::Extend { target: found.target, grant: found.id, end })
}

/// Ends a grant's lease now. Closing what is over is success.
pub(crate) async fn close(store: &impl Store, grant: &GrantId, call: &Call) -> Result<Grant, Error> {
    let found = load::grant(store, grant).await?;
    let target = &found.target;
    let closed = transact(store, std::slice::from_ref(target), Rank::Shutting, |_| async move {
        let Some((target, seen)) = store.target(target).await? else { return Err(Error::Conflict) };
        let next = target.close(grant, call.speaker(), call.correlation.as_ref(), call.now);
        if next.entries.is_empty() {
            return Ok(Attempt::Done(None));
        }
        let closed = next.target.grant_of(grant).cloned();
        Ok(Attempt::commit(Batch::of(next, seen), closed))
    });
    match closed.await? {
        Some(closed) => Ok(closed),
        // It was over already, or is no longer among the live ones.
        None => load::grant(store, grant).await,
    }
}

/// A request as a call makes it, before it is decided.
pub(crate) fn request(call: &Call, what: What, justification: Option<Justification>) -> Request {
    Request {
        id: RequestId::derived(call.by(), &call.key()),
        by: call.by().clone(),
        via: Some(call.via.clone()),
        signed_in: SignIn::of(&subject(&call.principal), &call.via),
        authority: None,
        what,
        justification,
        correlation: call.correlation.clone(),
        asked_at: call.now,
        state: RequestState::Approved { at: call.now, by: None, via: None, broke_glass: false },
    }
}

/// The entry of a refused request.
pub(crate) fn refused(call: &Call, request: &Request, reasons: &Refusals) -> Record {
    let is_reused = reasons.iter().any(|it| matches!(it, Refusal::KeyReused { .. }));
    let id = if is_reused {
        RequestId::of_reused(call.by(), &call.key(), &request.shown())
    } else {
        request.id.clone()
    };
    let fact = Fact::RequestRefused {
        request: id,
        by: request.by.clone(),
        asked: request.what.clone(),
        why: request.justification.as_ref().map(ToString::to_string),
        reasons: sentences(reasons),
        codes: codes(reasons),
        correlation: request.correlation.clone(),
        via: request.via.clone(),
        authority: None,
    };
    Record { targets: request.targets(), fact }
}

/// The state of a request and its grants now.
pub(crate) async fn answer(store: &impl Store, request: Request) -> Result<Answer, Error> {
    let grants = match &request.what {
        What::Initiate { .. } => {
            let of = GrantFilter { request: Some(request.id.clone()), ..GrantFilter::default() };
            let mut grants = store.grants(&of, &PageAsked { after: None, at_most: GATES_MAX }).await?.items;
            grants.sort_by_key(|it| (it.id.as_str().len(), it.id.clone()));
            grants
        }
        What::Extend { grant, .. } => store.grant(grant).await?.into_iter().collect(),
    };
    Ok(Answer { request, grants })
}

/// The targets of a request as they are once its outcome is granted.
pub(crate) fn granted(
    targets: Loaded,
    outcome: &Outcome,
    request: &Request,
    approver: Option<Speaker<'_>>,
    now: Timestamp,
) -> Vec<(Next, Seen)> {
    let glass = outcome.glass_broken(request, |id| targets.get(id)?.0.policy());
    let next = |id: &TargetId, target: Target| match outcome {
        Outcome::Granted(grants) => {
            let grants = grants.iter().filter(|it| it.target == *id).cloned().collect();
            let next = target.grant(grants, approver, now);
            match &glass {
                Some((first, fact)) if first == id => next.telling(fact.clone(), now),
                Some(_) | None => next,
            }
        }
        Outcome::Extended { grant, lease, .. } => target.prolong((grant, *lease), request, approver, now),
    };
    targets.into_iter().map(|(id, (target, seen))| (next(&id, target), seen)).collect()
}

/// The refusal of another ask with a key that has a request already.
async fn reused(store: &impl Store, call: &Call, fresh: &Request) -> Result<Refusals, Error> {
    let targets = fresh.targets();
    let known = load(store, &targets).await?;
    let reused = Refusal::KeyReused { key: call.key(), request: fresh.id.clone() };
    // The reader of the reasons knows by them which targets have the entry.
    let unknown = targets.into_iter().filter(|it| !known.contains_key(it));
    let unknown = unknown.map(|target| Refusal::UnknownTarget { target });
    let reasons = iter::once(reused.clone()).chain(unknown).collect();
    Ok(Refusals::of(reasons).unwrap_or_else(|| reused.into()))
}
