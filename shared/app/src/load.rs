//! Loading what a decision needs, or saying that it is not there.

use crate::{
    Error,
    ports::{Seen, Store},
};
use jiff::Timestamp;
use portcullis_domain::{Fact, Grant, GrantId, Next, Request, RequestId, Target, TargetId};
use std::collections::BTreeMap;

/// How many targets are listed at a time.
const PAGE: usize = 200;

/// Targets with their versions.
pub(crate) type Loaded = BTreeMap<TargetId, (Target, Seen)>;

/// Those of these targets that are known.
pub(crate) async fn load(store: &impl Store, ids: &[TargetId]) -> Result<Loaded, Error> {
    let mut loaded = Loaded::new();
    for id in ids {
        if let Some(found) = store.target(id).await? {
            loaded.insert(id.clone(), found);
        }
    }
    Ok(loaded)
}

/// The targets with one more entry each.
pub(crate) fn noted(targets: Loaded, fact: &Fact, now: Timestamp) -> Vec<(Next, Seen)> {
    targets.into_values().map(|(target, seen)| (target.note(vec![fact.clone()], now), seen)).collect()
}

/// A grant; `NotFound` if there is none of that name.
pub(crate) async fn grant(store: &impl Store, id: &GrantId) -> Result<Grant, Error> {
    let found = store.grant(id).await?;
    found.ok_or_else(|| Error::NotFound { what: "grant", name: id.to_string() })
}

/// A request with its version; `NotFound` if there is none of that name.
pub(crate) async fn request(store: &impl Store, id: &RequestId) -> Result<(Request, Seen), Error> {
    let found = store.request(id).await?;
    found.ok_or_else(|| Error::NotFound { what: "request", name: id.to_string() })
}

/// Every target that was ever guarded.
pub(crate) async fn all(store: &impl Store) -> Result<Vec<Target>, Error> {
    let mut known: Vec<Target> = vec![];
    loop {
        let after: Option<TargetId> = known.last().map(|it| it.id.clone());
        let page = store.targets(after.as_ref(), PAGE).await?;
        if page.is_empty() {
            return Ok(known);
        }
        known.extend(page);
    }
}
