//! The first token of a table in AWS: whoever may write the table may make one, since nobody else can yet.

use crate::{failure::Failure, site::secret, up::broken};
use jiff::Timestamp;
use portcullis_aws::{Cloud, DynamoStore, TokenBook};
use portcullis_domain::Person;
use std::{env, sync::Arc};

/// Makes a person's token in a table, as whoever the environment's keys are.
pub fn token(person: &Person, table: &str) -> Result<String, Failure> {
    let cloud = Cloud::of(|name| env::var(name).ok()).map_err(|error| {
        let how = "with the AWS CLI: eval \"$(aws configure export-credentials --format env)\"";
        Failure::usage(format!("`--table {table}` needs the keys of AWS: {error}")).next(how)
    })?;
    let secret = secret().map_err(|error| broken("roll dice for a token", error))?;
    let (now, process) = (Timestamp::now(), std::process::id());
    let writer = format!("portcullis {process} {}", now.as_nanosecond());
    let store = DynamoStore::new(cloud.dynamodb(), table, writer, Arc::new(Timestamp::now));
    let tokens = TokenBook::of(&Arc::new(store));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| broken("start", error))?;
    Ok(runtime.block_on(tokens.issue(person, person, secret, now))?)
}
