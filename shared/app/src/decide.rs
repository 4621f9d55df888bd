//! What somebody says to a request that waits: yes, no, or nothing until it lapses.

use crate::{
    Answer, CONFLICTS_MAX, Error,
    ask::{answer, granted, load, note, noted, recorded},
    ports::{Batch, Rank, Store},
    turn::turns,
};
use jiff::Timestamp;
use portcullis_domain::{
    Fact, Justification, Person, Refusal, Refusals, Request, RequestId, RequestState, Review, Terms, review,
};

/// Says yes to what was shown; it is reviewed once more, by the policy as it is now.
///
/// INVARIANT (approval-binds-a-version): `shown` is [`Request::shown`] of what the approver saw.
/// Approving twice is approving once.
pub async fn approve(
    store: &impl Store,
    terms: &Terms,
    id: &RequestId,
    by: &Person,
    shown: &str,
    now: Timestamp,
) -> Result<Answer, Error> {
    for lost in 0..CONFLICTS_MAX {
        let (known, seen) = find(store, id).await?;
        let turns = turns(store, &known.targets(), Rank::Asking, lost).await;
        if matches!(&known.state, RequestState::Approved { by: Some(before), .. } if before == by) {
            drop(turns);
            return answer(store, known).await;
        }
        let request = match known.clone().decidable(by, shown, now) {
            Ok(request) => request,
            Err(reason) => {
                drop(turns);
                return Err(refuse(store, &known, by, reason.into(), now).await);
            }
        };
        let targets = load(store, &request.targets()).await?;
        let views = targets.iter().map(|(id, (target, _))| (id.clone(), target.clone())).collect();
        let outcome = match review(&request, &views, terms, now) {
            Review::Refused(reasons) => {
                drop(turns);
                return Err(refuse(store, &known, by, reasons, now).await);
            }
            Review::NeedsApproval { approvers, .. } if !approvers.admit(by, &request.by) => {
                drop(turns);
                let reason = Refusal::NotAnApprover { by: by.clone(), approvers: approvers.people() };
                return Err(refuse(store, &known, by, reason.into(), now).await);
            }
            Review::NeedsApproval { outcome, .. } | Review::Allowed(outcome) => outcome,
        };
        let nexts = granted(targets, &outcome, &request, Some(by), now);
        let approved =
            request.into_state(RequestState::Approved { at: now, by: Some(by.clone()), broke_glass: false });
        let batch = Batch { targets: nexts, request: Some((approved.clone(), seen)), rest: vec![] };
        let outcome = store.commit(batch).await;
        drop(turns);
        match outcome {
            Err(Error::Conflict) => {}
            Ok(()) => return answer(store, approved).await,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict)
}

/// Says no. Saying no twice is saying it once.
pub async fn reject(
    store: &impl Store,
    id: &RequestId,
    by: &Person,
    shown: &str,
    why: Option<&Justification>,
    now: Timestamp,
) -> Result<Answer, Error> {
    for lost in 0..CONFLICTS_MAX {
        let (known, seen) = find(store, id).await?;
        let turns = turns(store, &known.targets(), Rank::Asking, lost).await;
        if matches!(&known.state, RequestState::Rejected { by: before, .. } if before == by) {
            drop(turns);
            return answer(store, known).await;
        }
        let request = match known.clone().decidable(by, shown, now) {
            Ok(request) => request,
            Err(reason) => {
                drop(turns);
                return Err(refuse(store, &known, by, reason.into(), now).await);
            }
        };
        let fact = Fact::RequestRejected {
            request: id.clone(),
            by: by.clone(),
            why: why.map(ToString::to_string),
            correlation: request.correlation.clone(),
        };
        let targets = noted(load(store, &request.targets()).await?, &fact, now);
        let state = RequestState::Rejected { at: now, by: by.clone(), why: why.cloned() };
        let rejected = request.into_state(state);
        let batch = Batch { targets, request: Some((rejected.clone(), seen)), rest: vec![] };
        let outcome = store.commit(batch).await;
        drop(turns);
        match outcome {
            Err(Error::Conflict) => {}
            Ok(()) => return answer(store, rejected).await,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict)
}

/// Lets a request lapse that nobody decided in time; one that is decided or not yet due stays.
pub async fn lapse(store: &impl Store, id: &RequestId, now: Timestamp) -> Result<(), Error> {
    for lost in 0..CONFLICTS_MAX {
        let (request, seen) = find(store, id).await?;
        let _turns = turns(store, &request.targets(), Rank::Worker, lost).await;
        if request.due_at().is_none_or(|due_at| now < due_at) {
            return Ok(());
        }
        let correlation = request.correlation.clone();
        let fact = Fact::RequestLapsed { request: id.clone(), correlation };
        let targets = noted(load(store, &request.targets()).await?, &fact, now);
        let lapsed = request.into_state(RequestState::Lapsed { at: now });
        match store.commit(Batch { targets, request: Some((lapsed, seen)), rest: vec![] }).await {
            Err(Error::Conflict) => {}
            outcome => return outcome,
        }
    }
    Err(Error::Conflict)
}

async fn find(store: &impl Store, id: &RequestId) -> Result<(Request, crate::ports::Seen), Error> {
    let found = store.request(id).await?;
    found.ok_or_else(|| Error::NotFound { what: "request", name: id.to_string() })
}

async fn refuse(
    store: &impl Store,
    request: &Request,
    by: &Person,
    reasons: Refusals,
    now: Timestamp,
) -> Error {
    let fact =
        Fact::DecisionRefused { request: request.id.clone(), by: by.clone(), reasons: recorded(&reasons) };
    match note(store, &request.targets(), &fact, now).await {
        Ok(()) => Error::Refused(reasons),
        Err(error) => error,
    }
}
