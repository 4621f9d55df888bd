//! Taking a person's token away, and the access that it leaves behind.

use crate::{
    Call, Error, ask, decide,
    ports::{GrantFilter, PageAsked, RequestFilter, Store, Tokens},
};
use portcullis_domain::{Grant, Person, Request, RequestState};

/// The first part of a list: so many grants or requests are read at a time.
const FIRST: PageAsked = PageAsked { after: None, at_most: 200 };
/// The word of requests that wait.
const PENDING: &str = RequestState::WORDS[0];
/// How often what is left is looked for: a request that is approved while it is withdrawn leaves grants.
const ROUNDS_MAX: usize = 3;

/// The outcome: the access that a person had left, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The leases that were not over.
    pub grants: Vec<Grant>,
    /// The requests that waited.
    pub requests: Vec<Request>,
}

/// Revokes a token, and ends the leases of its person and withdraws their requests unless the operator keeps them.
///
/// The token goes first, so that its person cannot ask for more meanwhile. Where it is gone already, as after a call that died half
/// way, the rest is done all the same; `NotFound` if there is neither.
pub(crate) async fn revoke(
    store: &impl Store,
    tokens: &impl Tokens,
    person: &Person,
    keeps_access: bool,
    call: &Call,
) -> Result<Revoked, Error> {
    let missing = match tokens.revoke(person, keeps_access, call.speaker(), call.now).await {
        Ok(()) => None,
        Err(missing @ Error::NotFound { .. }) => Some(missing),
        Err(error) => return Err(error),
    };
    let mut left = left(store, person, call).await?;
    let is_done = keeps_access || left.grants.is_empty() && left.requests.is_empty();
    match missing {
        Some(missing) if is_done => return Err(missing),
        None if is_done => return Ok(left),
        Some(_) | None => {}
    }
    for _ in 0..ROUNDS_MAX {
        end(store, &left, call).await?;
        let again = self::left(store, person, call).await?;
        if again.grants.is_empty() && again.requests.is_empty() {
            break;
        }
        left.grants.extend(again.grants);
        left.requests.extend(again.requests);
    }
    let mut now = Revoked { grants: vec![], requests: vec![] };
    for grant in left.grants {
        now.grants.extend(store.grant(&grant.id).await?);
    }
    for request in left.requests {
        now.requests.extend(store.request(&request.id).await?.map(|(it, _)| it));
    }
    Ok(now)
}

async fn end(store: &impl Store, left: &Revoked, call: &Call) -> Result<(), Error> {
    for request in &left.requests {
        let waits = |it: Request| it.waiting(call.now);
        match decide::withdrawn(store, &request.id, call, waits).await {
            // It was decided meanwhile, or lapsed.
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for grant in &left.grants {
        ask::close(store, &grant.id, call).await?;
    }
    Ok(())
}

/// The leases of a person that are not over, and their requests that wait.
async fn left(store: &impl Store, person: &Person, call: &Call) -> Result<Revoked, Error> {
    let of = GrantFilter { by: Some(person.clone()), unclosed: true, ..GrantFilter::default() };
    let (mut grants, mut page) = (vec![], Some(FIRST));
    while let Some(asked) = page {
        let found = store.grants(&of, &asked).await?;
        grants.extend(found.items.into_iter().filter(|it| !it.lease.is_over(call.now)));
        page = found.next.map(|next| PageAsked { after: Some(next), ..FIRST });
    }
    let of = RequestFilter { state: Some(PENDING.to_owned()), by: Some(person.clone()) };
    let (mut requests, mut page) = (vec![], Some(FIRST));
    while let Some(asked) = page {
        let found = store.requests(&of, &asked).await?;
        requests.extend(found.items.into_iter().filter(|it| it.due_at().is_some_and(|at| call.now < at)));
        page = found.next.map(|next| PageAsked { after: Some(next), ..FIRST });
    }
    Ok(Revoked { grants, requests })
}
