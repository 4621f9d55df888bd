//! Leases: list, close early, extend.

use crate::{
    answers::{grants_table as table, told},
    client::Client,
    complete,
    count::count,
    key::new_key,
    lookup::Among,
    moments, names,
    path::segment,
    several::Outcomes,
};
use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCandidates;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::CorrelationId;
use portcullis_program::{Exit, Failure};
use portcullis_wire::{AnswerView, ExtendBody, GrantView, GrantsQuery};
use std::num::NonZeroUsize;

/// Which grants.
#[derive(Debug, Args)]
pub struct Grants {
    /// Only grants of this machine: any unique part of its name
    #[arg(long, add = ArgValueCandidates::new(complete::machines))]
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
#[command(after_help = CLOSE, group = ArgGroup::new("leases").args(["grants", "mine"]).required(true).multiple(true))]
pub struct Close {
    /// The grants: any unique part of an id or of TARGET:PORT
    #[arg(value_name = "GRANT", add = ArgValueCandidates::new(complete::grants))]
    grants: Vec<String>,
    /// Only grants of the caller; without a GRANT all of these
    #[arg(long)]
    mine: bool,
}

const CLOSE: &str = "\
Examples:
  portcullis close 4f3kq-1
  portcullis close web-1:22 db-1
  portcullis close --mine web-1
  portcullis close --mine";

/// To ask for a later end.
#[derive(Debug, Args)]
#[command(after_help = EXTEND, group = ArgGroup::new("lease").args(["grant", "mine"]).required(true).multiple(true))]
#[command(group = ArgGroup::new("end").args(["by", "until"]).required(true))]
pub struct Extend {
    /// The grant: any unique part of its id or of TARGET:PORT
    #[arg(add = ArgValueCandidates::new(complete::grants))]
    grant: Option<String>,
    /// Only grants of the caller; without a GRANT the only one
    #[arg(long)]
    mine: bool,
    /// The time to add
    #[arg(long, value_name = "TIME", value_parser = moments::length)]
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

const EXTEND: &str = "\
Examples:
  portcullis extend web-1 --by 30m
  portcullis extend 4f3kq-1 --until 18:30
  portcullis extend --mine --by 30m";

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
        client.out.list(&found, empty, || table(&client.out, &found, &client.out.now()))?;
        Ok(Exit::Done)
    }
}

impl Close {
    /// Ends them, one after another, once all of them are found.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let known = unclosed(client, self.mine)?;
        let chosen = if self.grants.is_empty() {
            known
        } else {
            let found = self.grants.iter().map(|it| find(client, &known, it, self.mine));
            found.collect::<Result<Vec<_>, _>>()?
        };
        if chosen.is_empty() {
            let none: Vec<GrantView> = vec![];
            client.out.show(&none, || "The caller has no lease that could be closed.".to_owned())?;
            return Ok(Exit::Done);
        }
        let outcomes = Outcomes::of("leases", &chosen, names::Named::name, |grant: &GrantView| {
            let path = format!("/v1/grants/{}/close", segment(&grant.id));
            client.http.post::<GrantView>(&path, None::<&()>)
        });
        if !outcomes.done.is_empty() {
            client.out.show(&outcomes.done, || {
                let table = table(&client.out, &outcomes.done, &client.out.now());
                client.out.table(&table).trim_end().to_owned()
            })?;
        }
        outcomes.ended().map(|()| Exit::Done)
    }
}

impl Extend {
    /// Asks for it, and shows the answer.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let known = unclosed(client, self.mine)?;
        let grant = match &self.grant {
            Some(text) => find(client, &known, text, self.mine)?,
            None => only(&known)?,
        };
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
            client.http.post_keyed(&path, (&new_key()?, self.correlation.as_ref()), &body).map_err(unsure)?;
        client.out.show(&answer, || told(&client.out, &answer))?;
        Ok(Exit::Done)
    }
}

/// Grants that are not closed: those of the caller, where only theirs are meant.
fn unclosed(client: &Client, is_mine: bool) -> Result<Vec<GrantView>, Failure> {
    let by = client.mine(is_mine)?;
    let query = GrantsQuery { by, unclosed: Some(true), ..GrantsQuery::default() };
    client.http.list("/v1/grants", &query, None)
}

/// One that is not closed, or a closed one by its whole id: closing what is over is success.
fn find(client: &Client, known: &[GrantView], text: &str, is_mine: bool) -> Result<GrantView, Failure> {
    match names::find(known, text) {
        Err(failure) if failure.exit() == Exit::NotFound => {
            let found = client.http.get(&format!("/v1/grants/{}", segment(text)));
            let mine = "`portcullis grants --mine` lists those of the caller";
            let failure = if is_mine { failure.next(mine) } else { failure };
            found.map_err(|it: Failure| if it.exit() == Exit::Unavailable { it } else { failure })
        }
        Err(failure) if failure.exit() == Exit::Usage => Err(failure.next(if is_mine {
            "name one of them by its id, the first word of its line"
        } else {
            "name one of them by its id, the first word of its line, or choose among your own with --mine"
        })),
        outcome => outcome.cloned(),
    }
}

/// An extension without an answer may have been received, and be given once more.
fn unsure(failure: Failure) -> Failure {
    if failure.exit() == Exit::Unavailable {
        failure.and("the extension may have been received: `portcullis grants` shows the end of the lease")
    } else {
        failure
    }
}

/// The only grant that there is.
fn only(known: &[GrantView]) -> Result<GrantView, Failure> {
    match known {
        [] => Err(Failure::not_found("the caller has no lease that could be extended")
            .next("make a new request with `portcullis request`")),
        [one] => Ok(one.clone()),
        several => Err(Failure::usage(format!("the caller has {} leases:", several.len()))
            .because(several.iter().map(names::Named::line))
            .next("name one of them by its id, the first word of its line")),
    }
}
