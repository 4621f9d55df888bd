//! Who may say who may call. Making tokens is left to whoever keeps them: it takes dice.

use crate::{Error, ask::note, ports::Store};
use jiff::Timestamp;
use portcullis_domain::{Fact, Person, Refusal, Refusals};

/// May `by` make or take away the token of `person`? A no is recorded.
///
/// The operator alone: whoever could would approve their own requests by another name. And not the
/// operator's own, which they would be locked out without.
pub async fn may_change_token(
    store: &impl Store,
    person: &Person,
    by: &Person,
    operator: &Person,
    now: Timestamp,
) -> Result<(), Error> {
    let reason = if by != operator {
        Refusal::NotTheOperator { by: by.clone(), operator: operator.clone() }
    } else if person == operator {
        Refusal::OperatorsToken { operator: operator.clone() }
    } else {
        return Ok(());
    };
    let reasons = vec![reason.to_string()];
    let fact = Fact::TokenRefused { person: person.clone(), by: by.clone(), reasons };
    note(store, &[], &fact, now).await?;
    Err(Refusals::from(reason).into())
}
