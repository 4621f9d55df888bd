//! Making a token.

use crate::{Call, Error, ports::Tokens};
use portcullis_domain::{Person, TokenTerms};
use std::fmt;

/// The outcome: a new token, shown only this once.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token.
    pub bearer: String,
    /// Its terms.
    pub terms: TokenTerms,
}

/// Makes a person's token.
pub(crate) async fn issue(
    tokens: &impl Tokens,
    person: &Person,
    terms: TokenTerms,
    call: &Call,
) -> Result<Issued, Error> {
    let bearer = tokens.issue(person, &terms, call.speaker(), call.now).await?;
    Ok(Issued { bearer, terms })
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("terms", &self.terms).finish_non_exhaustive()
    }
}
