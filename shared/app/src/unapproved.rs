//! May a requester have a request opened without an approval? Asked of roles and policies for each ask; the rules of ports say it too.

use crate::{
    Error, Parts,
    caller::Caller,
    load,
    permit::Concerns,
    ports::{Outside, Store, Tokens},
};
use portcullis_domain::{Nearest, Refusal, Request, Right, Waits, What};

/// The asks of a request that wait for an approval by roles and policies; with `looks_further` also what would not.
///
/// INVARIANT (empty-is-nothing): what nothing permits to open at once waits.
pub(crate) async fn waits<S: Store, O: Outside, T: Tokens>(
    parts: Parts<'_, S, O, T>,
    requester: &Caller,
    request: &Request,
    looks_further: bool,
) -> Result<Waits, Error> {
    const RIGHT: Right = Right::OpenWithoutApproval;
    let Parts { store, outside, rights, .. } = parts;
    let authorised = rights.authorised(store, requester.now).await?;
    if authorised.permits_everywhere(requester, RIGHT) {
        return Ok(Waits::default());
    }
    let concerns = match &request.what {
        What::Initiate { .. } => Concerns::request(request, &request.by, requester.now),
        What::Extend { grant, end, .. } => {
            let grant = load::grant(store, grant).await?;
            let extended = (*end, request.justification.as_ref());
            Concerns::extension(&grant, &request.by, extended, requester.now)
        }
    };
    let wanted = (RIGHT, concerns);
    let mut refusals =
        rights.refusals_of_asks(&authorised, store, outside, requester, wanted, looks_further).await?;
    for (_, refusal) in &mut refusals {
        if let Refusal::NotPermitted { why, .. } = refusal {
            // That is how it stands.
            why.nearest.retain(|it| *it != Nearest::Approved);
        }
    }
    Ok(Waits::of(refusals))
}
