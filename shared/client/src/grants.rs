//! Leases: list, close early, extend.

use crate::{
    answers::{grants_table as table, told},
    client::Client,
    count::count,
    key::new_key,
    lookup::Among,
    moments, names,
    path::segment,
};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::CorrelationId;
use portcullis_program::{Exit, Failure};
use portcullis_wire::{AnswerView, ExtendBody, GrantView, GrantsQuery};
use std::num::NonZeroUsize;

/// Which grants.
#[derive(Debug, Args)]
pub struct Grants {
    /// Only grants of this machine: any unique part of its name
    #[arg(long)]
    target: Option<String>,
    /// Only those of the caller
    #[arg(long)]
    mine: bool,
    /// Also closed grants
    #[arg(long)]
    all: bool,
    /// The largest number of items to list, the newest first
    #[arg(long, value_name = "COUNT", value_parser = count, allow_negative_numbers = true)]
    limit: Option<NonZeroUsize>,
}

/// To end leases.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  portcullis close 4f3kq-1\n  portcullis close web-1:22 db-1")]
pub struct Close {
    /// The grants: any unique part of an id or of TARGET:PORT
    #[arg(required = true, value_name = "GRANT")]
    grants: Vec<String>,
}

/// To ask for a later end.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  portcullis extend web-1 --by 30m\n  portcullis extend 4f3kq-1 --until 18:30"
)]
pub struct Extend {
    /// The grant: any unique part of its id or of TARGET:PORT
    grant: String,
    /// The time to add
    #[arg(long, value_name = "TIME", value_parser = moments::length)]
    #[arg(conflicts_with = "until", required_unless_present = "until")]
    by: Option<SignedDuration>,
    /// The end of the lease, such as `18:30`
    #[arg(long, value_name = "TIME", value_parser = moments::moment)]
    until: Option<Timestamp>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Your own id for the request, which every event about it carries
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
}

impl Grants {
    /// Lists them, the newest first.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let target = match &self.target {
            Some(name) => Some(client.named(name, Among::Guarded)?.id),
            None => None,
        };
        let by = client.mine(self.mine)?;
        let query = GrantsQuery { target, by, unclosed: Some(!self.all), ..GrantsQuery::default() };
        let found: Vec<GrantView> =
            client.http.list("/v1/grants", &query, self.limit.map(NonZeroUsize::get))?;
        let empty = if self.all {
            "There are no grants yet. Request one with `portcullis request TARGET --for 1h`."
        } else {
            "No grant is live. Request one with `portcullis request TARGET --for 1h`; --all lists past grants too."
        };
        client.out.list(&found, empty, || table(&found, &client.out.now()))?;
        Ok(Exit::Done)
    }
}

impl Close {
    /// Ends them, one after another.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let known = unclosed(client)?;
        let ids = self.grants.iter().map(|it| find(client, &known, it));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let mut closed: Vec<GrantView> = vec![];
        for grant in ids {
            let path = format!("/v1/grants/{}/close", segment(&grant.id));
            closed.push(client.http.post(&path, None::<&()>)?);
        }
        client.out.show(&closed, || {
            let table = table(&closed, &client.out.now());
            client.out.table(&table).trim_end().to_owned()
        })?;
        Ok(Exit::Done)
    }
}

impl Extend {
    /// Asks for it, and shows the answer.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let grant = find(client, &unclosed(client)?, &self.grant)?;
        let until = match (self.until, self.by) {
            (Some(until), _) => until,
            (None, by) => {
                let later = grant.end.checked_add(by.unwrap_or_default());
                later.map_err(|_| {
                    Failure::usage("the end would be beyond the last date: give less with --by")
                })?
            }
        };
        let path = format!("/v1/grants/{}/extend", segment(&grant.id));
        let body = ExtendBody { until, justification: self.why.clone() };
        let answer: AnswerView =
            client.http.post_keyed(&path, (&new_key()?, self.correlation.as_ref()), &body)?;
        client.out.show(&answer, || told(&client.out, &answer))?;
        Ok(Exit::Done)
    }
}

fn unclosed(client: &Client) -> Result<Vec<GrantView>, Failure> {
    let query = GrantsQuery { unclosed: Some(true), ..GrantsQuery::default() };
    client.http.list("/v1/grants", &query, None)
}

/// One that is not closed, or a closed one by its whole id: closing what is over is success.
fn find(client: &Client, known: &[GrantView], text: &str) -> Result<GrantView, Failure> {
    match names::find(known, text) {
        Err(failure) if failure.exit() == Exit::NotFound => {
            let found = client.http.get(&format!("/v1/grants/{}", segment(text)));
            found.map_err(|it: Failure| if it.exit() == Exit::Unavailable { it } else { failure })
        }
        outcome => outcome.cloned(),
    }
}
