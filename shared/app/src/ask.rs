//! What people ask for. It needs no claim: it changes what is wanted, and the target is due by it.

use crate::{
    CONFLICTS_MAX, Error,
    ports::{Batch, GrantFilter, PageAsked, Rank, Seen, Store},
    turn::turns,
};
use jiff::Timestamp;
use portcullis_domain::{
    Chain, CorrelationId, Fact, GATES_MAX, Grant, GrantId, IdempotencyKey, Justification, Next, Outcome,
    Person, Refusal, Refusals, Request, RequestId, RequestState, Review, Target, TargetId, Terms, What,
    review,
};
use std::{collections::BTreeMap, iter};

/// How many reasons of a no are recorded, and how much of each, in characters. Whoever asked over HTTP hears all of it; an
/// entry is stored with each of many targets, and is told as an event.
const REASONS_MAX: usize = 64;
const REASON_MAX: usize = 500;

/// A request as it comes in, parsed.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Who asks.
    pub by: Person,
    /// The same key is the same request.
    pub key: IdempotencyKey,
    /// What for.
    pub what: What,
    /// Why.
    pub justification: Option<Justification>,
    /// What they call the matter: every answer names it.
    pub correlation: Option<CorrelationId>,
}

/// A wish for a later end of a lease, parsed.
#[derive(Debug, Clone)]
pub struct Extending {
    /// Who asks.
    pub by: Person,
    /// The same key is the same request.
    pub key: IdempotencyKey,
    /// Whose lease.
    pub grant: GrantId,
    /// The new end.
    pub end: Timestamp,
    /// Why.
    pub justification: Option<Justification>,
    /// What they call the matter.
    pub correlation: Option<CorrelationId>,
}

/// A request that was not refused, and the grants that were made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was asked, and what became of it.
    pub request: Request,
    /// Its grants, as they are now.
    pub grants: Vec<Grant>,
}

/// Decides a request and records the answer, also a no.
///
/// Asking twice is asking once, also if the first answer was never heard, also after the close
/// (INVARIANT: granted-once).
pub async fn initiate(
    store: &impl Store,
    terms: &Terms,
    asked: &Asked,
    now: Timestamp,
) -> Result<Answer, Error> {
    let fresh = asked.request(now);
    for lost in 0..CONFLICTS_MAX {
        let turns = turns(store, &fresh.targets(), Rank::Asking, lost).await;
        if let Some((known, _)) = store.request(&fresh.id).await? {
            drop(turns);
            if known.shown() == fresh.shown() {
                return answer(store, known).await;
            }
            return Err(refuse_reused(store, asked, fresh, now).await);
        }
        let targets = load(store, &fresh.targets()).await?;
        let known = targets.iter().map(|(id, (target, _))| (id.clone(), target.clone())).collect();
        let (request, nexts) = match review(&fresh, &known, terms, now) {
            Review::Refused(reasons) => {
                drop(turns);
                return Err(refuse(store, &fresh, reasons, now).await);
            }
            Review::Allowed(outcome) => {
                let broke_glass = outcome.broken().next().is_some();
                let state = RequestState::Approved { at: now, by: None, broke_glass };
                let request = fresh.clone().into_state(state);
                (request, granted(targets, &outcome, &fresh, None, now))
            }
            Review::NeedsApproval { approvers, .. } => {
                let until = now.saturating_add(terms.pending_for).unwrap_or(Timestamp::MAX);
                let state = RequestState::Pending { until, approvers };
                let fact = Fact::ApprovalNeeded {
                    request: fresh.id.clone(),
                    by: fresh.by.clone(),
                    asked: fresh.what.clone(),
                    why: fresh.justification.as_ref().map(ToString::to_string),
                    until,
                    correlation: fresh.correlation.clone(),
                };
                (fresh.clone().into_state(state), noted(targets, &fact, now))
            }
        };
        let batch = Batch { targets: nexts, request: Some((request.clone(), Seen::NEVER)), rest: vec![] };
        let outcome = store.commit(batch).await;
        drop(turns);
        match outcome {
            Err(Error::Conflict) => {}
            Ok(()) => return answer(store, request).await,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Conflict)
}

/// The same review, and nothing written.
pub async fn explain(
    store: &impl Store,
    terms: &Terms,
    asked: &Asked,
    now: Timestamp,
) -> Result<Review, Error> {
    let request = asked.request(now);
    let targets = load(store, &request.targets()).await?;
    let targets = targets.into_iter().map(|(id, (target, _))| (id, target)).collect();
    Ok(review(&request, &targets, terms, now))
}

/// Asks for a later end of a grant's lease.
///
/// INVARIANT (renewal-is-a-request): decided and recorded like one.
pub async fn extend(
    store: &impl Store,
    terms: &Terms,
    asked: Extending,
    now: Timestamp,
) -> Result<Answer, Error> {
    let Extending { by, key, grant, end, justification, correlation } = asked;
    let found = find(store, &grant).await?;
    let what = What::Extend { target: found.target, grant: found.id, end };
    let asked = Asked { by, key, what, justification, correlation };
    initiate(store, terms, &asked, now).await
}

/// Ends a grant's lease now. Closing what is over is success.
pub async fn close(
    store: &impl Store,
    grant: &GrantId,
    by: &Person,
    correlation: Option<&CorrelationId>,
    now: Timestamp,
) -> Result<Grant, Error> {
    let found = find(store, grant).await?;
    for lost in 0..CONFLICTS_MAX {
        let turn = store.turn(&Chain::from(&found.target), Rank::Shutting, lost).await;
        let Some((target, seen)) = store.target(&found.target).await? else { break };
        let next = target.close(grant, by, correlation, now);
        let closed = next.target.grant_of(grant).cloned();
        if next.entries.is_empty() {
            return find(store, grant).await;
        }
        let outcome = store.commit(Batch::of(next, seen)).await;
        drop(turn);
        match outcome {
            Err(Error::Conflict) => {}
            outcome => return outcome.map(|()| closed.unwrap_or(found)),
        }
    }
    Err(Error::Conflict)
}

impl Asked {
    fn request(&self, now: Timestamp) -> Request {
        Request {
            id: RequestId::derived(&self.by, &self.key),
            by: self.by.clone(),
            what: self.what.clone(),
            justification: self.justification.clone(),
            correlation: self.correlation.clone(),
            asked_at: now,
            state: RequestState::Approved { at: now, by: None, broke_glass: false },
        }
    }
}

async fn find(store: &impl Store, grant: &GrantId) -> Result<Grant, Error> {
    let found = store.grant(grant).await?;
    found.ok_or_else(|| Error::NotFound { what: "grant", name: grant.to_string() })
}

/// What became of a request, as it is now.
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

pub(crate) type Loaded = BTreeMap<TargetId, (Target, Seen)>;

pub(crate) async fn load(store: &impl Store, ids: &[TargetId]) -> Result<Loaded, Error> {
    let mut loaded = Loaded::new();
    for id in ids {
        if let Some(found) = store.target(id).await? {
            loaded.insert(id.clone(), found);
        }
    }
    Ok(loaded)
}

/// The targets of a request as they are once its outcome is granted.
pub(crate) fn granted(
    targets: Loaded,
    outcome: &Outcome,
    request: &Request,
    approver: Option<&Person>,
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

/// The targets of a request with one more entry each.
pub(crate) fn noted(targets: Loaded, fact: &Fact, now: Timestamp) -> Vec<(Next, Seen)> {
    targets.into_values().map(|(target, seen)| (target.note(vec![fact.clone()], now), seen)).collect()
}

/// Records a no to another ask with a key that has a request already.
async fn refuse_reused(store: &impl Store, asked: &Asked, fresh: Request, now: Timestamp) -> Error {
    let targets = fresh.targets();
    let known = match load(store, &targets).await {
        Ok(known) => known,
        Err(error) => return error,
    };
    let reused = Refusal::KeyReused { key: asked.key.clone(), request: fresh.id.clone() };
    // Whoever reads the reasons knows by them which targets tell this.
    let unknown = targets.into_iter().filter(|it| !known.contains_key(it));
    let unknown = unknown.map(|target| Refusal::UnknownTarget { target });
    let reasons = iter::once(reused.clone()).chain(unknown).collect();
    let other = RequestId::of_reused(&asked.by, &asked.key, &fresh.shown());
    let reasons = Refusals::of(reasons).unwrap_or_else(|| reused.into());
    refuse(store, &Request { id: other, ..fresh }, reasons, now).await
}

/// Records a no; what comes of it is the no, or why it could not be recorded.
///
/// INVARIANT (nothing-unrecorded): a no that is not in the journal was not said.
async fn refuse(store: &impl Store, request: &Request, reasons: Refusals, now: Timestamp) -> Error {
    let fact = Fact::RequestRefused {
        request: request.id.clone(),
        by: request.by.clone(),
        asked: request.what.clone(),
        why: request.justification.as_ref().map(ToString::to_string),
        reasons: recorded(&reasons),
        codes: reasons.iter().map(|it| it.code().to_owned()).take(REASONS_MAX).collect(),
        correlation: request.correlation.clone(),
    };
    match note(store, &request.targets(), &fact, now).await {
        Ok(()) => Error::Refused(reasons),
        Err(error) => error,
    }
}

/// As much of the reasons as an entry has room for.
pub(crate) fn recorded(reasons: &Refusals) -> Vec<String> {
    let cut = |it: &Refusal| {
        let whole = it.to_string();
        let end = whole.char_indices().nth(REASON_MAX).map(|(end, _)| end);
        end.map_or_else(|| whole.clone(), |end| format!("{}…", &whole[..end]))
    };
    let more = reasons.iter().count().saturating_sub(REASONS_MAX);
    let more = (0 < more).then(|| format!("and {more} more"));
    reasons.iter().take(REASONS_MAX).map(cut).chain(more).collect()
}

/// Records something in the chain of every target that is known, or in the one for the rest.
pub(crate) async fn note(
    store: &impl Store,
    targets: &[TargetId],
    fact: &Fact,
    now: Timestamp,
) -> Result<(), Error> {
    // A no may name any number of targets; a transaction may not.
    let named = &targets[..targets.len().min(portcullis_domain::TARGETS_MAX)];
    for lost in 0..CONFLICTS_MAX {
        let mut turns = turns(store, named, Rank::Asking, lost).await;
        let loaded = load(store, named).await?;
        let batch = if loaded.is_empty() {
            // Last of all turns that a writer takes: nobody that has it waits for another one.
            if !named.is_empty() {
                turns.push(store.turn(&Chain::rest(), Rank::Asking, lost).await);
            }
            let (_, rest) = store.rest().await?.append(&Chain::rest(), now, [fact.clone()]);
            Batch { rest, ..Batch::default() }
        } else {
            Batch { targets: noted(loaded, fact, now), ..Batch::default() }
        };
        let outcome = store.commit(batch).await;
        drop(turns);
        match outcome {
            Err(Error::Conflict) => {}
            outcome => return outcome,
        }
    }
    Err(Error::Conflict)
}
