//! The one door: every call of every channel passes here, and nowhere else into the use cases.
//!
//! A channel turns its input into a [`Call`] and a command ([`crate::command`]) or a query ([`crate::query`]).
//! [`perform`] authorises it, runs it, and records a refusal. The use cases themselves are private to this crate, so that the
//! compiler knows of no other way to them.

use crate::{
    Call, Error, Operation, Vouchers,
    ports::{Outside, Store, Tokens},
    record::{Record, record},
};
use portcullis_domain::{CorrelationId, Fact, Person, Refusal, Refusals, Right, Terms, Via, redacted};
use std::fmt;

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

/// The rights of callers: a caller whose identity is proven may do everything, and only the operator may administer.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    /// The operator. Without one nobody may administer.
    pub operator: Option<Person>,
    /// What vouches for the names of callers beside the token book; none where that is not known.
    pub vouchers: Option<Vouchers>,
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

    /// The entry of its refusal; none for a query, which asks for nothing.
    fn refusal<S: Store>(
        &self,
        store: &S,
        call: &Call,
        reasons: &Refusals,
    ) -> impl Future<Output = Result<Option<Record>, Error>> + Send;
}

/// Implements [`Run`]: for each type its operation, its outcome, the use case, and the entry of its refusal.
macro_rules! runs {
    ($(
        $command:ty => $operation:ident, $outcome:ty,
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
    let outcome = match parts.rights.permit(call, P::OPERATION.right()) {
        Ok(()) => operation.run(parts, call).await,
        Err(refusal) => Err(refusal.into()),
    };
    if let Err(Error::Refused(reasons)) = &outcome
        && let Some(refused) = operation.refusal(parts.store, call, reasons).await?
    {
        record(parts.store, &refused, call.now).await?;
    }
    outcome
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

impl Rights {
    /// The rights where this person is the operator.
    pub fn of(operator: Person) -> Self {
        Self { operator: Some(operator), vouchers: None }
    }

    /// The same, where this vouches for the names of callers beside the token book.
    #[must_use]
    pub fn with_vouchers(self, vouchers: Vouchers) -> Self {
        Self { vouchers: Some(vouchers), ..self }
    }

    fn permit(&self, call: &Call, right: Right) -> Result<(), Refusal> {
        match right {
            Right::Read
            | Right::Request
            | Right::OpenWithoutApproval
            | Right::Approve
            | Right::Close
            | Right::Extend
            | Right::Configure
            | Right::Export
            | Right::BreakGlass => Ok(()),
            // Anybody else who could make tokens would approve their own requests by another name.
            Right::Administer if self.operator.as_ref() == Some(call.by()) => Ok(()),
            Right::Administer => {
                let operator = self.operator.clone().unwrap_or_else(Person::portcullis);
                Err(Refusal::NotTheOperator { by: call.by().clone(), operator })
            }
        }
    }
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
