//! The tokens of a table in AWS itself: whoever may write the table may make the first one, since nobody else can yet.

use crate::account::Account;
use jiff::Timestamp;
use portcullis_aws::{DynamoStore, TokenBook, Tokens as _};
use portcullis_domain::{Person, Speaker, Via};
use portcullis_program::{Failure, secret};
use std::sync::Arc;

/// Makes a person's token in a table.
pub fn token(account: &Account, person: &Person, table: &str) -> Result<String, Failure> {
    let (tokens, now) = (book(account, table)?, Timestamp::now());
    let by = Speaker { person, via: Some(&Via::Cli) };
    account.wait(tokens.issue(person, by, now)).map_err(|error| failed(error.is_temporary(), &error.full()))
}

/// Who has a token in a table.
pub fn people(account: &Account, table: &str) -> Result<Vec<String>, Failure> {
    let tokens = book(account, table)?;
    let found = account.wait(tokens.list()).map_err(|error| failed(error.is_temporary(), &error.full()))?;
    Ok(found.into_iter().map(|(person, _)| person.to_string()).collect())
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
