//! Decisions on a request that waits: approval, rejection, or neither until it lapses.

use crate::{
    Answer, Call, Error,
    ask::{answer, granted},
    load::{self, load, noted},
    ports::{Batch, Rank, Seen, Store},
    record::{Record, sentences},
    transact::{Attempt, transact},
};
use jiff::Timestamp;
use portcullis_domain::{
    Fact, Justification, Refusal, Refusals, Request, RequestId, RequestState, Review, Terms, Waits,
    may_approve, review,
};

/// Approves what was shown; it is reviewed once more, by the policy as it is now.
///
/// INVARIANT (approval-binds-a-version): `shown` is [`Request::shown`] of what the approver saw. `authority` is the version of roles
/// and policies that permit it. Approving twice is approving once.
pub(crate) async fn approve(
    store: &impl Store,
    terms: &Terms,
    id: &RequestId,
    (shown, authority): (&str, Option<u64>),
    call: &Call,
) -> Result<Answer, Error> {
    let (by, now) = (call.by(), call.now);
    let first = &load::request(store, id).await?;
    let approved = transact(store, &first.0.targets(), Rank::Asking, |lost| async move {
        let (known, seen) = at_attempt(store, id, first, lost).await?;
        if matches!(&known.state, RequestState::Approved { by: Some(before), .. } if before == by) {
            return Ok(Attempt::Done(known));
        }
        let request = Request { authority, ..known.decidable(by, shown, now)? };
        two_people(&request, call)?;
        let targets = load(store, &request.targets()).await?;
        let views = targets.iter().map(|(id, (target, _))| (id.clone(), target.clone())).collect();
        may_approve(&request, &views, by)?;
        let outcome = match review(&request, &views, terms, now, &Waits::default()) {
            Review::Refused(reasons) => return Err(reasons.into()),
            Review::NeedsApproval { approvers, .. } if !approvers.admit(by, &request.by) => {
                let approvers = approvers.people();
                return Err(Refusal::NotAnApprover { by: by.clone(), approvers }.into());
            }
            Review::NeedsApproval { outcome, .. } | Review::Allowed(outcome) => outcome,
        };
        let targets = granted(targets, &outcome, &request, Some(call.speaker()), now);
        let state = RequestState::Approved {
            at: now,
            by: Some(by.clone()),
            via: Some(call.via.clone()),
            broke_glass: false,
        };
        let approved = request.into_state(state);
        let batch = Batch { targets, request: Some((approved.clone(), seen)), ..Batch::default() };
        Ok(Attempt::commit(batch, approved))
    })
    .await?;
    answer(store, approved).await
}

/// INVARIANT (the-approver-is-another-person): two names that one program speaks for are no proof of two people, unless the list of
/// bots says that this one may bring both.
fn two_people(request: &Request, call: &Call) -> Result<(), Refusal> {
    match request.speaker().is_one_bot_with(call.speaker()) {
        Some(bot) if !call.principal.may_bring_both_halves() => Err(Refusal::OneBot { bot }),
        Some(_) | None => Ok(()),
    }
}

/// Rejects what was shown, or without that the request as it stands. Rejecting twice is rejecting once.
pub(crate) async fn reject(
    store: &impl Store,
    id: &RequestId,
    shown: Option<&str>,
    why: Option<&Justification>,
    call: &Call,
) -> Result<Answer, Error> {
    let (by, now) = (call.by(), call.now);
    let first = &load::request(store, id).await?;
    let rejected = transact(store, &first.0.targets(), Rank::Asking, |lost| async move {
        let (known, seen) = at_attempt(store, id, first, lost).await?;
        if matches!(&known.state, RequestState::Rejected { by: before, .. } if before == by) {
            return Ok(Attempt::Done(known));
        }
        let as_shown = shown.map_or_else(|| known.shown(), str::to_owned);
        let request = known.decidable(by, &as_shown, now)?;
        let fact = Fact::RequestRejected {
            request: id.clone(),
            by: by.clone(),
            why: why.map(ToString::to_string),
            correlation: request.correlation.clone(),
            via: Some(call.via.clone()),
        };
        let targets = noted(load(store, &request.targets()).await?, &fact, now);
        let state = RequestState::Rejected {
            at: now,
            by: by.clone(),
            via: Some(call.via.clone()),
            why: why.cloned(),
        };
        let rejected = request.into_state(state);
        let batch = Batch { targets, request: Some((rejected.clone(), seen)), ..Batch::default() };
        Ok(Attempt::commit(batch, rejected))
    })
    .await?;
    answer(store, rejected).await
}

/// Takes a request back that waits. Withdrawing twice is withdrawing once.
pub(crate) async fn withdraw(store: &impl Store, id: &RequestId, call: &Call) -> Result<Answer, Error> {
    let may = |request: Request| request.withdrawable(call.by(), call.now);
    answer(store, withdrawn(store, id, call, may).await?).await
}

/// The request as it is withdrawn, if `may` lets it through.
pub(crate) async fn withdrawn(
    store: &impl Store,
    id: &RequestId,
    call: &Call,
    may: impl Fn(Request) -> Result<Request, Refusal> + Send + Sync,
) -> Result<Request, Error> {
    let (by, now, may) = (call.by(), call.now, &may);
    let first = &load::request(store, id).await?;
    transact(store, &first.0.targets(), Rank::Shutting, |lost| async move {
        let (known, seen) = at_attempt(store, id, first, lost).await?;
        if matches!(&known.state, RequestState::Withdrawn { by: before, .. } if before == by) {
            return Ok(Attempt::Done(known));
        }
        let request = may(known)?;
        let correlation = call.correlation.clone().or_else(|| request.correlation.clone());
        let fact = Fact::RequestWithdrawn {
            request: id.clone(),
            by: by.clone(),
            correlation,
            via: Some(call.via.clone()),
        };
        let targets = noted(load(store, &request.targets()).await?, &fact, now);
        let state = RequestState::Withdrawn { at: now, by: by.clone(), via: Some(call.via.clone()) };
        let withdrawn = request.into_state(state);
        let batch = Batch { targets, request: Some((withdrawn.clone(), seen)), ..Batch::default() };
        Ok(Attempt::commit(batch, withdrawn))
    })
    .await
}

/// Lets a request lapse that nobody decided in time; one that is decided or not yet due stays.
pub async fn lapse(store: &impl Store, id: &RequestId, now: Timestamp) -> Result<(), Error> {
    let first = &load::request(store, id).await?;
    transact(store, &first.0.targets(), Rank::Worker, |lost| async move {
        let (request, seen) = at_attempt(store, id, first, lost).await?;
        if request.due_at().is_none_or(|due_at| now < due_at) {
            return Ok(Attempt::Done(()));
        }
        let correlation = request.correlation.clone();
        let fact = Fact::RequestLapsed { request: id.clone(), correlation };
        let targets = noted(load(store, &request.targets()).await?, &fact, now);
        let lapsed = request.into_state(RequestState::Lapsed { at: now });
        Ok(Attempt::commit(Batch { targets, request: Some((lapsed, seen)), ..Batch::default() }, ()))
    })
    .await
}

/// A request as an attempt decides on it: loaded once before the first attempt, for the turns at its targets.
async fn at_attempt(
    store: &impl Store,
    id: &RequestId,
    first: &(Request, Seen),
    lost: usize,
) -> Result<(Request, Seen), Error> {
    if lost == 0 { Ok(first.clone()) } else { load::request(store, id).await }
}

/// The entry of a refused decision.
pub(crate) async fn refused(
    store: &impl Store,
    id: &RequestId,
    call: &Call,
    reasons: &Refusals,
) -> Result<Record, Error> {
    let (request, _) = load::request(store, id).await?;
    let fact = Fact::DecisionRefused {
        request: request.id.clone(),
        by: call.by().clone(),
        reasons: sentences(reasons),
        via: Some(call.via.clone()),
        authority: None,
    };
    Ok(Record { targets: request.targets(), fact })
}
