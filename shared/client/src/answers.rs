//! Requests and grants as a person reads them.

use crate::{
    connect, moments,
    names::Named as _,
    output::Output,
    table::{Mark, Table},
    words,
};
use jiff::ZonedDateTime;
use portcullis_domain::GrantState;
use portcullis_program::output::printable;
use portcullis_wire::{AnswerView, GrantView, RequestView};

/// What became of a request, in words.
pub fn told(out: &Output, answer: &AnswerView) -> String {
    let now = out.now();
    let request = &answer.request;
    if request.state == "pending" {
        return waits(request, &now);
    }
    let state = match (request.state.as_str(), &request.decided_by) {
        ("approved", None) if request.broke_glass => {
            "granted by BREAK-GLASS, without the required approval; its use is published".to_owned()
        }
        ("approved", None) => "granted".to_owned(),
        (state, None) => state.to_owned(),
        (state, Some(by)) => format!("{state} by {by}"),
    };
    let why = request.decided_why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let head = format!("Request {} is {state}{why}.", request.id);
    let grants = out.table(&grants_table(out, &answer.grants, &now));
    format!("{}\n{}", printable(&head), grants.trim_end())
}

/// The people it waits for, every reason of roles and policies for that, and the command that approves it.
fn waits(request: &RequestView, now: &ZonedDateTime) -> String {
    let (id, who) = (&request.id, words::people(&request.approvers));
    let until = request.until.map(|it| moments::until(it, now)).unwrap_or_default();
    let head = format!("Request {id} waits for the approval of {who} ({until}):");
    let because = request.because.iter().map(|it| words::plain(it, now));
    let lines = because.chain([format!("portcullis approve {id}")]);
    lines.fold(head, |text, line| text + "\n  " + &printable(&line))
}

/// Grants with what is left of them.
pub fn grants_table(out: &Output, grants: &[GrantView], now: &ZonedDateTime) -> Table {
    let table = Table::of(&["GRANT", "TARGET", "PORT", "STATE", "FROM", "BY", "TIME"]).leaving_out(&["FROM"]);
    let mut table = table.keeping(&["GRANT", "TIME"]);
    let ids = out.ids(grants.iter().map(|it| it.target.as_str()));
    for it in grants {
        let (mark, state) = match it.state {
            GrantState::Approved if now.timestamp() < it.start => (Mark::Plain, "scheduled".to_owned()),
            GrantState::Approved => (Mark::Look, "opening".to_owned()),
            GrantState::Open => (Mark::Good, "open".to_owned()),
            GrantState::OpenFailed => {
                (Mark::Bad, words::unopened(it).unwrap_or_else(|| "not open".to_owned()))
            }
            GrantState::Closing => (Mark::Look, "closing".to_owned()),
            GrantState::Closed => (Mark::Plain, "closed".to_owned()),
        };
        // What every reader has to see is first: a narrow terminal cuts the end.
        let by = if it.broke_glass { format!("BREAK-GLASS, {}", it.by) } else { it.by.clone() };
        let (sources, time) = (words::few_sources(&it.sources), time(it, now));
        let target = ids.of(&it.target);
        let door = connect::door(it).map(|it| format!(" at {it}")).unwrap_or_default();
        let port = format!("{}/{}{door}", it.port, it.protocol);
        table.row(mark, [it.id.clone(), target, port, state, sources, by, time]);
    }
    table
}

/// One of them in a line: `web-1:22/tcp from 10.0.0.1 until 14:05:30, 59 min left`.
pub fn grant_line(grant: &GrantView, now: &ZonedDateTime) -> String {
    format!("{} from {} {}", grant.name(), words::few_sources(&grant.sources), time(grant, now))
}

fn time(grant: &GrantView, now: &ZonedDateTime) -> String {
    if now.timestamp() < grant.start {
        format!("from {} to {}", moments::clock(grant.start, now), moments::clock(grant.end, now))
    } else {
        moments::until(grant.end, now)
    }
}
