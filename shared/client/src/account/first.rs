//! The tokens of a table in AWS itself: whoever may write the table may make the first one, since nobody else can yet.

use crate::account::{Account, TokenAsked};
use jiff::Timestamp;
use portcullis_aws::{DynamoStore, TokenBook, Tokens as _};
use portcullis_domain::{Speaker, TokenTerms, Via};
use portcullis_program::{Failure, secret};
use portcullis_wire::TokenMade;
use std::sync::Arc;

/// Makes a person's token in a table.
pub fn token(account: &Account, table: &str, asked: &TokenAsked) -> Result<TokenMade, Failure> {
    let (tokens, now) = (book(account, table)?, Timestamp::now());
    let TokenAsked { person, purpose, end } = asked;
    let terms = TokenTerms::asked(purpose.clone(), *end, now);
    let terms = terms.map_err(|refusal| Failure::refused(refusal.to_string()))?;
    let by = Speaker { person, via: Some(&Via::Cli) };
    let token = account.wait(tokens.issue(person, &terms, by, now));
    let token = token.map_err(|error| failed(error.is_temporary(), &error.full()))?;
    Ok(TokenMade { person: person.to_string(), token, expires_at: terms.expires_at })
}

/// Who has a token in a table.
pub fn people(account: &Account, table: &str) -> Result<Vec<String>, Failure> {
    let tokens = book(account, table)?;
    let found = account.wait(tokens.list()).map_err(|error| failed(error.is_temporary(), &error.full()))?;
    Ok(found.into_iter().map(|it| it.person.to_string()).collect())
}

fn book(account: &Account, table: &str) -> Result<TokenBook, Failure> {
    let now = Timestamp::now();
    let writer = format!("portcullis {} {}", std::process::id(), now.as_nanosecond());
    let store = DynamoStore::new(account.cloud(now)?.dynamodb(), table, writer, Arc::new(Timestamp::now));
    Ok(TokenBook::of(&Arc::new(store), secret))
}

fn failed(is_temporary: bool, error: &str) -> Failure {
    if is_temporary { Failure::unavailable(error) } else { Failure::broken(error) }
}
