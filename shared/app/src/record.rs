//! Recording what is no change of a target: a refusal, and what was noticed.

use crate::{
    Error,
    load::{load, noted},
    ports::{Batch, Rank, Store},
    transact::{Attempt, transact},
};
use jiff::Timestamp;
use portcullis_domain::{Chain, Fact, Refusal, Refusals, TARGETS_MAX, TargetId};

/// How many reasons of a refusal are recorded, and how much of each, in characters. A caller over HTTP is sent all of it; an
/// entry is stored with each of many targets, and is published as an event.
pub(crate) const REASONS_MAX: usize = 64;
const REASON_MAX: usize = 500;

/// A fact, and the targets whose chains have room for it: those of them that are known, or else the chain of the rest.
#[derive(Debug)]
pub struct Record {
    pub(crate) targets: Vec<TargetId>,
    pub(crate) fact: Fact,
}

impl Record {
    /// A fact that concerns no target.
    pub(crate) fn of_rest(fact: Fact) -> Self {
        Self { targets: vec![], fact }
    }

    /// The same refusal, by this version of roles and policies.
    pub(crate) fn decided_by(mut self, version: Option<u64>) -> Self {
        if let Fact::RequestRefused { authority, .. } | Fact::DecisionRefused { authority, .. } =
            &mut self.fact
        {
            *authority = version;
        }
        self
    }

    /// A fact of one target.
    pub(crate) fn of(target: &TargetId, fact: Fact) -> Self {
        Self { targets: vec![target.clone()], fact }
    }
}

/// Appends a fact to the chain of each of its targets that is known, or to the one for the rest.
pub(crate) async fn record(store: &impl Store, record: &Record, now: Timestamp) -> Result<(), Error> {
    let Record { targets, fact } = record;
    // A refusal may name any number of targets; a transaction may not.
    let named = &targets[..targets.len().min(TARGETS_MAX)];
    // A target that is known stays known, so that this decides whose turn is waited for.
    let known: Vec<TargetId> = load(store, named).await?.into_keys().collect();
    let known = known.as_slice();
    transact(store, known, Rank::Asking, |_| async move {
        let batch = match known {
            [] => {
                let (_, rest) = store.rest().await?.append(&Chain::rest(), now, [fact.clone()]);
                Batch { rest, ..Batch::default() }
            }
            [..] => Batch { targets: noted(load(store, known).await?, fact, now), ..Batch::default() },
        };
        Ok(Attempt::commit(batch, ()))
    })
    .await
}

/// As much of the reasons as an entry has room for.
pub(crate) fn sentences(reasons: &Refusals) -> Vec<String> {
    let cut = |it: &Refusal| {
        let whole = it.to_string();
        let end = whole.char_indices().nth(REASON_MAX).map(|(end, _)| end);
        end.map_or_else(|| whole.clone(), |end| format!("{}…", &whole[..end]))
    };
    let more = reasons.iter().count().saturating_sub(REASONS_MAX);
    let more = (0 < more).then(|| format!("and {more} more"));
    reasons.iter().take(REASONS_MAX).map(cut).chain(more).collect()
}

/// The codes of the same reasons.
pub(crate) fn codes(reasons: &Refusals) -> Vec<String> {
    reasons.iter().map(|it| it.code().to_owned()).take(REASONS_MAX).collect()
}
