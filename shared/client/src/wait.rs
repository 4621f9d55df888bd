//! Waiting until firewalls hold what was asked for, or will not.

use crate::{
    client::Client,
    moments, names,
    path::{segment, target_path},
    spinner::spinner,
    words,
};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use portcullis_domain::GrantState;
use portcullis_program::{
    Failure,
    output::{note, printable},
};
use portcullis_wire::{
    AnswerView, EventsQuery, GrantView, HappenedView, PatienceQuery, RequestView, TargetView,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long to wait for somebody's yes, and then for the firewalls.
const WAIT_MAX: Duration = Duration::from_mins(15);
/// How long to wait for a machine's firewalls alone.
const SETTLED_MAX: Duration = Duration::from_secs(15);
/// How soon to look at them for the first time; then each time after twice as long.
const SETTLED_SOONEST: Duration = Duration::from_millis(25);
/// When the cloud itself is asked whether it answers at all, and how long it may take.
const ASKED_AFTER: Duration = Duration::from_millis(1500);
const ANSWERED_WITHIN: SignedDuration = SignedDuration::from_secs(3);
/// How often to look, where the API does not say when.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the API waits for the next event of a request before it is looked at all the same.
const EVENT_WAIT: Duration = Duration::from_secs(10);
/// How old the events are that are asked for first, by a clock that may differ from the API's.
const EVENTS_OF: SignedDuration = SignedDuration::from_mins(1);

/// What the answer has become.
#[derive(Debug, PartialEq, Eq)]
enum Now {
    Waiting(String),
    Settled,
}

/// The answer once its ports are open, or wait only for their time; whoever cannot wait for it is told how it goes on.
pub fn until_open(client: &Client, mut answer: AnswerView, goes_on: &str) -> Result<AnswerView, Failure> {
    let spinner = spinner();
    let begun = Instant::now();
    let mut changes = Changes::of(&answer.request.id, told_at(&answer));
    let mut troubles = Troubles::default();
    while begun.elapsed() < WAIT_MAX {
        let now = by_both(&answer, client.out.now().timestamp());
        if let Some(grant) = answer.grants.iter().find(|it| never_opened(it)) {
            return Err(unopened(client, grant, troubles));
        }
        match look(&answer, now)? {
            Now::Settled => {
                spinner.finish_and_clear();
                return Ok(answer);
            }
            Now::Waiting(what) => spinner.set_message(printable(&what).into_owned()),
        }
        if ASKED_AFTER < begun.elapsed() {
            spinner.suspend(|| troubles.look(client, &answer, now));
        }
        changes.wait(client);
        answer = again(client, &answer).map_err(|failure| failure.and(goes_on))?;
    }
    spinner.finish_and_clear();
    let (id, minutes) = (&answer.request.id, WAIT_MAX.as_secs() / 60);
    Err(Failure::unavailable(format!("request `{id}` is not open after {minutes} minutes")).next(goes_on))
}

/// When the API last said something new of a request, by its clock.
fn told_at(answer: &AnswerView) -> Timestamp {
    answer.request.decided_at.unwrap_or(answer.request.asked_at)
}

/// The time, where the clock of this machine may be behind that of the API: a lease that began when it was granted is not to come.
fn by_both(answer: &AnswerView, now: Timestamp) -> Timestamp {
    told_at(answer).max(now)
}

/// The failure of a command that waits for ports whose time is still to come; nothing where none is.
pub fn later(answer: &AnswerView, now: &ZonedDateTime, how: &str) -> Option<Failure> {
    let by_both = by_both(answer, now.timestamp());
    let is_to_come = |it: &&GrantView| it.state == GrantState::Approved && by_both < it.start;
    let grants: Vec<&GrantView> = answer.grants.iter().filter(is_to_come).collect();
    let begins = moments::clock(grants.iter().map(|it| it.start).max()?, now);
    let names: Vec<String> = grants.iter().map(|it| format!("`{}`", name(it))).collect();
    let (names, verb) = (names.join(", "), if names.len() == 1 { "is" } else { "are" });
    Some(
        Failure::unavailable(format!("{names} {verb} not open yet: the lease begins at {begins}"))
            .because([format!("request `{}` is granted, and opens by itself then", answer.request.id)])
            .next(how),
    )
}

/// What the table knows to be in the way of machines whose ports do not open.
#[derive(Debug, Default)]
struct Troubles {
    last: Vec<String>,
    is_told: bool,
}

impl Troubles {
    /// Asks the table, and tells the person the first time that it knows of something. A failure is met again by the next look.
    fn look(&mut self, client: &Client, answer: &AnswerView, now: Timestamp) {
        let is_late = |it: &&GrantView| it.state == GrantState::Approved && it.start <= now;
        let Some(grant) = answer.grants.iter().find(is_late) else { return };
        let Ok(seen) = target(client, &grant.target, SignedDuration::ZERO) else { return };
        if seen.troubles.is_empty() {
            return;
        }
        self.last = seen.troubles;
        if !std::mem::replace(&mut self.is_told, true) {
            let why = words::plain(&self.last.join("; "), &client.out.now());
            note(format_args!("`{}` is not open yet: {why}", name(grant)));
        }
    }
}

fn target(client: &Client, target: &str, wait: SignedDuration) -> Result<TargetView, Failure> {
    client.http.query(&target_path(target, ""), &PatienceQuery { wait: Some(wait) })
}

fn name(grant: &GrantView) -> String {
    format!("{}:{}", names::short(&grant.target), grant.port)
}

/// Is its lease over without a read-back that let its sources in?
fn never_opened(grant: &GrantView) -> bool {
    matches!(grant.state, GrantState::Closing | GrantState::Closed) && grant.opened_at.is_none()
}

/// Why a port did not open in the time of its lease: the last that the table knew of it, else what its machine is like now.
fn unopened(client: &Client, grant: &GrantView, troubles: Troubles) -> Failure {
    let name = name(grant);
    let mut why: Vec<String> = words::unopened(grant).into_iter().chain(troubles.last).collect();
    if let (true, Ok(seen)) = (why.is_empty(), target(client, &grant.target, ANSWERED_WITHIN)) {
        why = seen.troubles.into_iter().chain(seen.unseen).collect();
    }
    if why.is_empty() {
        why.push("no cause of it is recorded".to_owned());
    }
    let why = why.iter().map(|it| words::plain(it, &client.out.now()));
    let ended = ended(grant.reason.as_deref().unwrap_or("expired"));
    Failure::broken(format!("`{name}` never opened, and {ended}")).because(why).next(format!(
        "`portcullis targets` and `portcullis doctor` show the state; then make a new request with `portcullis \
            request {name}`"
    ))
}

/// When a request is to be looked at again: at its next event, where the API can wait for that.
struct Changes {
    query: EventsQuery,
    /// Does the API not wait, or not know how?
    is_deaf: bool,
}

impl Changes {
    fn of(request: &str, now: Timestamp) -> Self {
        let since = now.saturating_sub(EVENTS_OF).unwrap_or(now);
        let query =
            EventsQuery { since: Some(since), request: Some(request.to_owned()), ..EventsQuery::default() };
        Self { query, is_deaf: false }
    }

    /// Waits for the next event. A failure is met again by whoever looks then.
    fn wait(&mut self, client: &Client) {
        if self.is_deaf {
            return thread::sleep(LOOK_EVERY);
        }
        let asked_at = Instant::now();
        match client.http.query::<HappenedView>("/v1/events", &self.query) {
            Ok(found) if !found.cursor.is_empty() => {
                let came_early =
                    asked_at.elapsed() < EVENT_WAIT / 2 && found.events.is_empty() && !found.more;
                // The first answer says where to begin, and waits for nothing.
                self.is_deaf = self.query.wait.is_some() && came_early;
                self.query.since = None;
                self.query.after = Some(found.cursor);
                self.query.wait = SignedDuration::try_from(EVENT_WAIT).ok();
            }
            Ok(_) | Err(_) => self.is_deaf = true,
        }
    }
}

/// Waits until a machine's firewalls hold what was just said of it: the table knows when. A cloud that does not answer is not
/// waited for.
pub fn until_settled(client: &Client, target: &str) -> Result<(), Failure> {
    let spinner = spinner();
    let name = names::short(target);
    spinner.set_message(printable(&format!("waiting for the firewalls of {name}")).into_owned());
    let (begun, mut pause, mut is_asked) = (Instant::now(), SETTLED_SOONEST, false);
    let seen = |wait| self::target(client, target, wait);
    let troubles = loop {
        thread::sleep(pause);
        let mut now = seen(SignedDuration::ZERO)?;
        if !now.settled && !is_asked && ASKED_AFTER < begun.elapsed() {
            (is_asked, now) = (true, seen(ANSWERED_WITHIN)?);
            if let Some(why) = now.unseen.take().filter(|_| !now.settled) {
                spinner.finish_and_clear();
                return Err(silent(name, why));
            }
        }
        if now.settled {
            spinner.finish_and_clear();
            return Ok(());
        }
        if SETTLED_MAX < begun.elapsed() {
            break seen(ANSWERED_WITHIN)?.troubles;
        }
        pause = (pause * 2).min(LOOK_EVERY);
    };
    spinner.finish_and_clear();
    let seconds = SETTLED_MAX.as_secs();
    Err(Failure::unavailable(format!(
        "the firewalls of `{name}` do not have the new rules after {seconds} s"
    ))
    .because(troubles)
    .next(GOES_ON))
}

const GOES_ON: &str =
    "the change is stored and will be tried again by itself; `portcullis targets` shows its state";

fn silent(name: &str, why: String) -> Failure {
    Failure::unavailable(format!(
        "the cloud does not answer, so the firewalls of `{name}` do not have the new rules yet"
    ))
    .because([why])
    .next(GOES_ON)
}

/// The same answer as it is now: a request comes with its grants.
fn again(client: &Client, answer: &AnswerView) -> Result<AnswerView, Failure> {
    let mut request: RequestView =
        client.http.get(&format!("/v1/requests/{}", segment(&answer.request.id)))?;
    let mut grants = std::mem::take(&mut request.grants);
    grants.sort_by(|one, other| (&one.target, one.port).cmp(&(&other.target, other.port)));
    Ok(AnswerView { request, grants })
}

fn look(answer: &AnswerView, now: Timestamp) -> Result<Now, Failure> {
    let request = &answer.request;
    match request.state.as_str() {
        "pending" => {
            let who = words::people(&request.approvers);
            return Ok(Now::Waiting(format!(
                "waiting for the approval of {who}: portcullis approve {}",
                request.id
            )));
        }
        "approved" => {}
        state => {
            let by = request.decided_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            return Err(Failure::refused(format!("request `{}` is {state}{by}", request.id))
                .because(request.decided_why.clone())
                .next("ask the approver, or make a new request with `portcullis request`"));
        }
    }
    let mut missing = vec![];
    for grant in &answer.grants {
        let name = || name(grant);
        match grant.state {
            GrantState::Open => {}
            GrantState::Approved if now < grant.start => {}
            GrantState::Approved => missing.push(name()),
            GrantState::OpenFailed => {
                let (what, next) = match &grant.refused {
                    Some(_) => ("does not open", "`portcullis doctor` shows the rights that are missing"),
                    None => ("does not open, although all rules were written", "change that rule"),
                };
                return Err(Failure::broken(format!("`{}` {what}", name()))
                .because(words::unopened(grant))
                .next(format!(
                    "{next}; `portcullis check` shows whether the port opens; the lease continues as `{}`",
                    grant.id
                )));
            }
            GrantState::Closing | GrantState::Closed => {
                return Err(Failure::refused(format!("the lease of `{}` is over already", name()))
                    .because(grant.reason.as_deref().map(ended))
                    .next("make a new request with `portcullis request`"));
            }
        }
    }
    if missing.is_empty() && !answer.grants.is_empty() {
        return Ok(Now::Settled);
    }
    Ok(Now::Waiting(format!("opening {}", missing.join(", "))))
}

/// Why a lease is over, for a person.
fn ended(reason: &str) -> String {
    match reason {
        "expired" => "its time is over".to_owned(),
        "user_requested" => "a person ended it".to_owned(),
        "policy_changed" => "its port is no longer guarded".to_owned(),
        "not_permitted" => "its requester is no longer permitted to have it".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_program::Exit;
    use serde_json::json;

    fn answer(request: &str, grants: &[&str]) -> AnswerView {
        let grant = |state: &&str| {
            json!({
                "id": "r-1", "request": "r", "target": "/vm/web-1", "port": 22, "protocol": "TCP", "state": state,
                "by": "ann", "sources": ["10.0.0.1/32"], "start": "1970-01-01T00:00:10Z",
                "end": "1970-01-01T01:00:00Z", "justification": null, "opened_at": null,
                "open_failed": null, "refused": null, "closed_at": null, "reason": null,
            })
        };
        let request = json!({
            "id": "r", "by": "ann", "state": request, "asked_at": "1970-01-01T00:00:00Z", "justification": null,
            "asks": [], "shown": "", "until": null, "approvers": ["bob"], "decided_at": null,
            "decided_by": null, "decided_why": null,
        });
        let grants: Vec<_> = grants.iter().map(grant).collect();
        serde_json::from_value(json!({ "request": request, "grants": grants })).expect("an answer")
    }

    #[test]
    fn lease_that_began_by_the_clock_of_the_api_is_not_to_come_by_a_clock_that_is_behind() {
        let behind: ZonedDateTime = "1970-01-01T00:00:01Z[UTC]".parse().expect("a time");
        let mut answer = answer("approved", &["approved"]);
        assert!(later(&answer, &behind, "how").is_some(), "it was granted before it begins");
        answer.request.decided_at = Some(answer.grants[0].start);
        assert!(later(&answer, &behind, "how").is_none());
    }

    #[test]
    fn waiting_ends_when_every_port_is_open_or_one_will_not_be() {
        let later = Timestamp::from_second(20).expect("in range");
        let look = |request, grants: &[&str]| look(&answer(request, grants), later).map_err(|it| it.exit());
        let waiting = |now: Result<Now, Exit>| matches!(now, Ok(Now::Waiting(_)));
        assert!(waiting(look("pending", &[])));
        assert!(waiting(look("approved", &[])), "its grants are not there yet");
        assert!(waiting(look("approved", &["open", "approved"])));
        assert_eq!(look("approved", &["open", "open"]), Ok(Now::Settled));
        assert_eq!(look("approved", &["open", "open_failed"]), Err(Exit::Broken));
        assert_eq!(look("approved", &["closed"]), Err(Exit::Refused));
        assert_eq!(look("rejected", &[]), Err(Exit::Refused));
        assert_eq!(look("lapsed", &[]), Err(Exit::Refused));
    }

    #[test]
    fn a_lease_of_later_is_not_waited_for() {
        assert_eq!(look(&answer("approved", &["approved"]), Timestamp::UNIX_EPOCH), Ok(Now::Settled));
    }
}
