//! What somebody says to a request that waits.

use crate::{
    answers::told,
    client::Client,
    complete,
    count::count,
    moments, names,
    path::segment,
    table::{Mark, Table},
    words,
};
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use jiff::ZonedDateTime;
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{AnswerView, ApproveBody, AskView, GrantView, RejectBody, RequestView, RequestsQuery};
use std::num::NonZeroUsize;

/// Which requests.
#[derive(Debug, Args)]
pub struct Requests {
    /// Only those in this state
    #[arg(long)]
    state: Option<State>,
    /// Only those of the caller
    #[arg(long)]
    mine: bool,
    /// The largest number of items to list, the newest first
    #[arg(long, value_name = "COUNT", value_parser = count, allow_negative_numbers = true)]
    limit: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    /// Waiting for an approval
    Pending,
    /// Approved, with grants
    Approved,
    /// Rejected by an approver
    Rejected,
    /// Withdrawn by the requester
    Withdrawn,
    /// Expired without a decision
    Lapsed,
}

/// To say yes.
#[derive(Debug, Args)]
#[command(after_help = APPROVE)]
pub struct Approve {
    #[command(flatten)]
    which: Which,
}

const APPROVE: &str = "\
An approval is for the request as it was shown: a request that changed meanwhile is not approved.

Examples:
  portcullis requests --state pending
  portcullis approve 4f3kq";

/// To say no.
#[derive(Debug, Args)]
pub struct Reject {
    #[command(flatten)]
    which: Which,
    /// Why
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// To take back a request of one's own.
#[derive(Debug, Args)]
#[command(after_help = WITHDRAW)]
pub struct Withdraw {
    /// The request: any unique part of its id
    request: String,
}

const WITHDRAW: &str = "\
A request that is approved already has grants: `portcullis close` ends them.

Examples:
  portcullis requests --mine --state pending
  portcullis withdraw 4f3kq";

#[derive(Debug, Args)]
struct Which {
    /// The request: any unique part of its id
    #[arg(add = ArgValueCandidates::new(complete::requests))]
    request: String,
    /// Decide the request as it is now, without a confirmation
    #[arg(long)]
    yes: bool,
    /// Decide the request only if it has this digest, its field `shown`
    #[arg(long, value_name = "DIGEST", conflicts_with = "yes")]
    shown: Option<String>,
}

impl Requests {
    /// Lists them, the newest first.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let state = self.state.map(|it| it.word().to_owned());
        let query = RequestsQuery { state, by: client.mine(self.mine)?, ..RequestsQuery::default() };
        let found: Vec<RequestView> =
            client.http.list("/v1/requests", &query, self.limit.map(NonZeroUsize::get))?;
        let empty = match self.state {
            Some(State::Pending) => "No request waits for an approval.",
            Some(State::Approved | State::Rejected | State::Withdrawn | State::Lapsed) => {
                "There are no such requests. `portcullis requests` lists all requests."
            }
            None => "There are no requests yet. Make one with `portcullis request TARGET --for 1h`.",
        };
        client.out.list(&found, empty, || table(&found, &client.out.now()))?;
        Ok(Exit::Done)
    }
}

impl Approve {
    /// Shows the request, asks, and approves it.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let Some((id, shown)) = self.which.decide(client, "Approve")? else { return Ok(undecided()) };
        let path = format!("/v1/requests/{}/approve", segment(&id));
        let answer = client.http.post(&path, Some(&ApproveBody { shown }));
        let answer: AnswerView = answer.map_err(|it| it.naming("REQUEST", &id))?;
        client.out.show(&answer, || told(&client.out, &answer))?;
        Ok(Exit::Done)
    }
}

impl Reject {
    /// Shows the request, asks, and rejects it.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let Some((id, shown)) = self.which.decide(client, "Reject")? else { return Ok(undecided()) };
        let path = format!("/v1/requests/{}/reject", segment(&id));
        let body = RejectBody { shown, why: self.why.clone() };
        let answer = client.http.post(&path, Some(&body));
        let answer: AnswerView =
            answer.map_err(|it| it.naming("approve REQUEST", &format!("reject {id}")))?;
        client.out.show(&answer, || format!("Request {id} is rejected: no port opens."))?;
        Ok(Exit::Done)
    }
}

impl Withdraw {
    /// Takes it back.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let id = find(client, &self.request)?.id;
        let answer = client.http.post(&format!("/v1/requests/{}/withdraw", segment(&id)), None::<&()>);
        let answer: AnswerView = answer.map_err(|it| it.naming("REQUEST", &id))?;
        client.out.show(&answer, || format!("Request {id} is withdrawn: no port opens."))?;
        Ok(Exit::Done)
    }
}

impl Which {
    /// Shows the request and asks; gives its id, and the digest of what was shown.
    fn decide(&self, client: &Client, verb: &str) -> Result<Option<(String, String)>, Failure> {
        let found = find(client, &self.request)?;
        if let Some(shown) = &self.shown {
            return Ok(Some((found.id, shown.clone())));
        }
        output::note(shown(&found, &client.out.now()));
        // The server refuses it all the same, and records that; nobody is asked for what cannot be.
        if !self.yes && found.state != State::Pending.word() {
            let said = format!("the request is {}, so there is nothing left to decide", found.state);
            return Err(
                Failure::refused(said).next("`portcullis requests --state pending` lists those that wait")
            );
        }
        if self.yes {
            return Ok(Some((found.id, found.shown)));
        }
        if !output::is_attended() {
            return Err(Failure::usage("this terminal cannot ask for a confirmation")
                .next(format!("give --yes, or --shown {} for exactly this request", found.shown)));
        }
        Ok(output::ask(&format!("{verb} this request?"))?.then_some((found.id, found.shown)))
    }
}

/// Those that wait first: a part of an id need not be unique among all that ever were.
fn find(client: &Client, request: &str) -> Result<RequestView, Failure> {
    let pending = Some(State::Pending.word().to_owned());
    for state in [pending, None] {
        let query = RequestsQuery { state: state.clone(), ..RequestsQuery::default() };
        let found: Vec<RequestView> = client.http.list("/v1/requests", &query, None)?;
        match names::find(&found, request) {
            Err(failure) if failure.exit() == Exit::NotFound && state.is_some() => {}
            outcome => return outcome.cloned(),
        }
    }
    Err(Failure::not_found(format!("there is no request `{request}`")))
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

fn undecided() -> Exit {
    output::note("The request was not decided.");
    Exit::Refused
}

/// All that the digest covers, for the person who decides, and what an extension would change.
fn shown(request: &RequestView, now: &ZonedDateTime) -> String {
    let why = request.justification.as_deref().unwrap_or("(no reason given)");
    let mut lines = vec![format!("{} asks: {why}", request.by)];
    for it in &request.asks {
        lines.push(format!("  {}", ask(request, it, &words::sources(&it.sources), now)));
        // Two machines may have one short name.
        if names::short(&it.target) != it.target {
            lines.push(format!("    {}", it.target));
        }
    }
    lines.push(format!("  digest {}", request.shown));
    lines.join("\n")
}

fn ask(request: &RequestView, ask: &AskView, sources: &str, now: &ZonedDateTime) -> String {
    let target = names::short(&ask.target);
    let from = if ask.sources.is_empty() { String::new() } else { format!(" from {sources}") };
    let text = match &ask.extends {
        None => format!("{target} {}{from} {}", ask.what, ask.window),
        Some(grant) => {
            let GrantView { id, by, port, protocol, end, .. } = grant;
            // Once it is decided the grant has the new end.
            let before =
                if request.state == "pending" { format!(" in place of {end}") } else { String::new() };
            format!("{target} {port}/{protocol}{from} {}{before}: extends {id} of {by}", ask.window)
        }
    };
    words::plain(&text, now)
}

fn table(found: &[RequestView], now: &ZonedDateTime) -> Table {
    let table = Table::of(&["REQUEST", "STATE", "BY", "REQUESTED", "FOR", "WHY"]);
    let mut table = table.leaving_out(&["REQUESTED", "WHY"]).keeping(&["FOR"]);
    for it in found {
        let (mark, state) = match (it.state.as_str(), it.until) {
            ("pending", Some(until)) => (Mark::Look, format!("pending {}", moments::until(until, now))),
            ("approved", _) if it.broke_glass => (Mark::Bad, "BREAK-GLASS, approved".to_owned()),
            ("approved", _) => (Mark::Good, it.state.clone()),
            (_, _) => (Mark::Plain, it.state.clone()),
        };
        let what = it.asks.iter().map(|one| ask(it, one, &words::few_sources(&one.sources), now));
        let what = what.collect::<Vec<_>>().join("; ");
        let why = it.justification.clone().unwrap_or_else(|| "-".to_owned());
        let asked = moments::ago(it.asked_at, now);
        table.row(mark, [it.id.clone(), state, it.by.clone(), asked, what, why]);
    }
    table
}
