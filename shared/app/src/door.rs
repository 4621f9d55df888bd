//! The one door: every call of every channel passes here, and nowhere else into the use cases.
//!
//! A channel turns its input into a [`Call`] and a command ([`crate::command`]) or a query ([`crate::query`]).
//! [`perform`] authorises it, runs it, and records a refusal. The use cases themselves are private to this crate, so that the
//! compiler knows of no other way to them.

use crate::{
    Call, Error, Operation, Rights,
    caller::Caller,
    permit::{Authorised, Concerns},
    ports::{Outside, Store, Tokens},
    record::{Record, record},
    uphold,
};
use portcullis_domain::{CorrelationId, Fact, Facts, Refusals, Right, TargetId, Terms, Via, redacted};
use std::{fmt, sync::Arc};

/// How much of a caller's words is recorded of each thing, in characters.
const WORDS_MAX: usize = 300;

/// The dependencies of every operation.
pub struct Parts<'a, S, O, T> {
    /// The table.
    pub store: &'a S,
    /// The firewalls, and the machines behind them.
    pub outside: &'a O,
    /// The token book.
    pub tokens: &'a T,
    /// The settings that reviews depend on.
    pub terms: &'a Terms,
    /// The rights of callers.
    pub rights: &'a Rights,
}

/// A command or a query, with its arguments, and the use case behind it.
///
/// No other crate can name this trait, so that none can run a use case but by [`perform`].
pub trait Run: Send + Sync {
    /// The result.
    type Outcome: Send;
    /// Which operation it is.
    const OPERATION: Operation;

    /// Does it. A refusal is an error without an entry: the door records it.
    fn run<S: Store, O: Outside, T: Tokens>(
        &self,
        parts: Parts<'_, S, O, T>,
        call: &Call,
    ) -> impl Future<Output = Result<Self::Outcome, Error>> + Send;

    /// What it is done to: whether its caller may is asked of that.
    fn concerns<S: Store, O: Outside, T: Tokens>(
        &self,
        parts: Parts<'_, S, O, T>,
        call: &Call,
    ) -> impl Future<Output = Result<Concerns, Error>> + Send;

    /// Is its outcome a list, of which a caller is shown what they may read?
    const IS_LIST: bool = false;

    /// The machines that a list is about, as far as it tells of them.
    fn listed(_: &Self::Outcome) -> Vec<Facts> {
        vec![]
    }

    /// Keeps of a list what its caller may read: of a machine, or of the installation.
    fn keep(_: &mut Self::Outcome, _: &dyn Fn(Option<&TargetId>) -> bool) {}

    /// The entry of its refusal; none for a query, which asks for nothing.
    fn refusal<S: Store>(
        &self,
        store: &S,
        call: &Call,
        reasons: &Refusals,
    ) -> impl Future<Output = Result<Option<Record>, Error>> + Send;
}

/// Implements [`Run`]: for each type its operation, its outcome, what it is done to, how a list is narrowed, the use case, and the entry
/// of its refusal.
macro_rules! runs {
    ($(
        $command:ty => $operation:ident, $outcome:ty,
        on |$of:ident, $from:ident, $caller:ident| $concerns:expr,
        $(lists |$list:ident| $facts:expr, keeps |$kept:ident, $may:ident| $keep:expr,)?
        |$own:ident, $parts:ident, $call:ident| $body:expr,
        refused |$again:ident, $store:ident, $by:ident, $reasons:ident| $record:expr;
    )*) => {$(
        impl $crate::door::Run for $command {
            type Outcome = $outcome;
            const OPERATION: $crate::Operation = $crate::Operation::$operation;

            async fn run<S: $crate::ports::Store, O: $crate::ports::Outside, T: $crate::ports::Tokens>(
                &self,
                $parts: $crate::Parts<'_, S, O, T>,
                $call: &$crate::Call,
            ) -> Result<$outcome, $crate::Error> {
                let $own = self;
                $body
            }

            async fn concerns<S: $crate::ports::Store, O: $crate::ports::Outside, T: $crate::ports::Tokens>(
                &self,
                $from: $crate::Parts<'_, S, O, T>,
                $caller: &$crate::Call,
            ) -> Result<$crate::permit::Concerns, $crate::Error> {
                let $of = self;
                $concerns
            }

            $(
                const IS_LIST: bool = true;

                fn listed($list: &Self::Outcome) -> Vec<portcullis_domain::Facts> {
                    $facts
                }

                fn keep($kept: &mut Self::Outcome, $may: &dyn Fn(Option<&portcullis_domain::TargetId>) -> bool) {
                    $keep
                }
            )?

            async fn refusal<S: $crate::ports::Store>(
                &self,
                $store: &S,
                $by: &$crate::Call,
                $reasons: &portcullis_domain::Refusals,
            ) -> Result<Option<$crate::record::Record>, $crate::Error> {
                let $again = self;
                $record
            }
        }
    )*};
}
pub(crate) use runs;

/// Authorises an operation, runs it, and records a refusal.
///
/// INVARIANT (one-door-in): every channel calls this.
/// INVARIANT (nothing-unrecorded): a refusal that is not in the journal was not said.
pub async fn perform<S: Store, O: Outside, T: Tokens, P: Run>(
    parts: Parts<'_, S, O, T>,
    call: &Call,
    operation: P,
) -> Result<P::Outcome, Error> {
    tracing::debug!(operation = P::OPERATION.name(), channel = %call.via, "An operation is performed");
    let outcome = match permit(parts, call, &operation, false).await {
        Ok(authorised) => {
            let outcome = operation.run(parts, call).await;
            let granted_by = authorised.filter(|_| outcome.is_ok() && P::OPERATION.grants());
            match granted_by {
                // Asking twice is asking once: this is how it stands now.
                Some(it) if uphold::since(parts.store, parts.rights, &it, call.now).await? => {
                    operation.run(parts, call).await
                }
                Some(_) | None => outcome,
            }
        }
        Err(error) => Err(error),
    };
    if let Err(Error::Refused(reasons)) = &outcome
        && let Some(refused) = operation.refusal(parts.store, call, reasons).await?
    {
        // Policies that cannot be read have decided nothing.
        let authority = parts.rights.version(parts.store, call.now).await.unwrap_or_default();
        record(parts.store, &refused.decided_by(authority), call.now).await?;
    }
    let mut outcome = outcome?;
    narrow::<S, O, T, P>(parts, call, &mut outcome).await?;
    Ok(outcome)
}

/// Permits an operation, and gives the authority that does; or says every reason why not, with `looks_further` also what would pass
/// instead. Nothing where no authority has to be asked and none can be read.
///
/// INVARIANT (empty-is-nothing): what nothing permits is refused.
pub(crate) async fn permit<S: Store, O: Outside, T: Tokens, P: Run>(
    parts: Parts<'_, S, O, T>,
    call: &Call,
    operation: &P,
    looks_further: bool,
) -> Result<Option<Arc<Authorised>>, Error> {
    let (right, caller) = (P::OPERATION.right(), Caller::of(call));
    let authorised = match parts.rights.authorised(parts.store, call.now).await {
        Ok(it) if it.permits_everywhere(&caller, right) => return Ok(Some(it)),
        Ok(it) => it,
        // Policies that cannot be read are in the way of what they would be asked about alone.
        Err(error) => {
            let concerns = operation.concerns(parts, call).await;
            return if matches!(concerns, Ok(Concerns::Nobody)) { Ok(None) } else { Err(error) };
        }
    };
    let wanted = (right, operation.concerns(parts, call).await?);
    let Parts { store, outside, rights, .. } = parts;
    let refusals = rights.refusals(&authorised, store, outside, &caller, wanted, looks_further).await?;
    Refusals::of(refusals).map_or(Ok(Some(authorised)), |refusals| Err(refusals.into()))
}

/// Leaves out of a list what its caller may not read.
async fn narrow<S: Store, O: Outside, T: Tokens, P: Run>(
    parts: Parts<'_, S, O, T>,
    call: &Call,
    outcome: &mut P::Outcome,
) -> Result<(), Error> {
    if !P::IS_LIST {
        return Ok(());
    }
    let (authorised, caller) = (parts.rights.authorised(parts.store, call.now).await?, Caller::of(call));
    if authorised.permits_everywhere(&caller, Right::Read) {
        return Ok(());
    }
    let (machines, installation) = authorised.readable(parts.store, &caller, P::listed(outcome)).await?;
    P::keep(outcome, &|target| match target {
        Some(target) => machines.get(target).copied().unwrap_or(false),
        None => installation,
    });
    Ok(())
}

/// Input of a known caller that no operation could be made of.
#[derive(Debug, Clone, Default)]
pub struct Unreadable {
    /// The caller.
    pub source: String,
    /// The kind of thing that was asked for, as far as it can be told.
    pub kind: Option<String>,
    /// The name that the caller gave it, as far as it has one.
    pub event: String,
    /// The person on whose behalf it was asked.
    pub on_behalf_of: Option<String>,
    /// Every reason, with its code.
    pub reasons: Vec<(&'static str, String)>,
    /// The caller's name for the matter.
    pub correlation: Option<CorrelationId>,
    /// The channel, where the input did not name its source itself.
    pub via: Option<Via>,
}

/// Records that input could not be read, and gives the reasons as they were recorded: cut, and without tokens.
///
/// INVARIANT (nothing-unrecorded): for a caller who is known. The input of strangers is not recorded: they could fill the
/// journal.
pub async fn refuse_unreadable(
    store: &impl Store,
    input: Unreadable,
    now: jiff::Timestamp,
) -> Result<Vec<String>, Error> {
    let Unreadable { source, kind, event, on_behalf_of, reasons, correlation, via } = input;
    let sentences: Vec<String> = reasons.iter().map(|(_, why)| short(why)).collect();
    let fact = Fact::EventRefused {
        source: short(&source),
        kind: kind.as_deref().map(short),
        event: short(&event),
        on_behalf_of: on_behalf_of.as_deref().map(short),
        reasons: sentences.clone(),
        codes: reasons.iter().map(|(code, _)| (*code).to_owned()).collect(),
        correlation,
        via,
    };
    record(store, &Record::of_rest(fact), now).await?;
    Ok(sentences)
}

/// As much of a stranger's words as is recorded: a token in them is neither kept nor sent back.
fn short(text: &str) -> String {
    redacted(text).chars().take(WORDS_MAX).collect()
}

impl<S, O, T> Clone for Parts<'_, S, O, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, O, T> Copy for Parts<'_, S, O, T> {}

impl<S, O, T> fmt::Debug for Parts<'_, S, O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("terms", self.terms).finish_non_exhaustive()
    }
}
