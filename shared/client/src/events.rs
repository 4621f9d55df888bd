//! What happens, as it happens; and events as bots send them.

use crate::{
    answers, client::Client, facts, key::new_key, moments, names, output::Output, table::Mark, words,
};
use clap::Args;
use console::measure_text_width;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use portcullis_domain::{CorrelationId, Fact, said::unmarked};
use portcullis_program::{
    Exit, Failure,
    output::{self, Paint, cut, printable},
};
use portcullis_wire::{EventView, EventsQuery, HappenedView, ReviewView, SubmittedView};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How far back events are printed where no time is named.
const LATELY: SignedDuration = SignedDuration::from_hours(1);
/// How wide a terminal is, at least, that has room for the kind of an event beside its sentence, in columns.
const KIND_FROM: usize = 100;
/// How wide the columns of an event are, at least.
const KIND_WIDTH: usize = 22;
const TARGET_WIDTH: usize = 14;
/// How long the API waits for the next event before it answers that there was none.
const WAIT: SignedDuration = SignedDuration::from_secs(20);
/// How often to ask what is new where the API does not wait.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long an event that was shown is kept in mind: so long it may be told again.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// How much of an event is read, in bytes: more than any door takes.
const EVENT_MAX: u64 = 1 << 20;

/// Which events.
#[derive(Debug, Args)]
#[command(after_help = EVENTS)]
pub struct Events {
    /// The earliest time: a length of time ago, a time or a date. Default: 1h, with --follow now
    #[arg(long, value_name = "TIME", value_parser = moments::past)]
    since: Option<Timestamp>,
    /// Print new events as they happen
    #[arg(long, short)]
    follow: bool,
    /// Only events about a request that was made with this `--correlation`
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
}

const EVENTS: &str = "\
On a narrow terminal the kind is left out, and ids are shown by their ends; --wide prints all.

With --json, one event per line. To continue later, give the time of the last one as --since: events of that time may
be repeated, with the same ids.

Examples:
  portcullis events --follow
  portcullis events --follow --since 10m
  portcullis events --since 24h --json
  portcullis events --follow --correlation deploy-4711";

/// What to send.
#[derive(Debug, Args)]
#[command(after_help = SEND)]
pub struct Send {
    /// A file with the event as JSON, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

const SEND: &str = "\
An event has a `detail-type` and a `detail`; without an `id` it gets a new one. Its source is the caller: `up --bots`
lists the people that a caller may act for. The entries of `aws events put-events --entries` are read too, and sent one
after another.

Example:
  echo '{\"detail-type\": \"access.request\", \"detail\": {\"version\": 1, \"on_behalf_of\": \"ann\",
    \"correlation_id\": \"deploy-4711\", \"targets\": [{\"target\": \"…\", \"ports\": [{\"port\": 22,
    \"sources\": [\"203.0.113.7\"], \"duration\": \"PT1H\"}]}]}}' | portcullis send -";

impl Events {
    /// Shows them as they come.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let correlation = self.correlation.as_ref().map(ToString::to_string);
        // Without a time the API begins with now, by its own clock.
        let lately = || Some(Timestamp::now().saturating_sub(LATELY).unwrap_or(Timestamp::MIN));
        let since = self.since.or_else(|| if self.follow { None } else { lately() });
        let mut query = EventsQuery { since, correlation, ..EventsQuery::default() };
        let mut told: BTreeMap<String, Timestamp> = BTreeMap::new();
        loop {
            let asked_at = Instant::now();
            let found: HappenedView = client.http.query("/v1/events", &query)?;
            let mut has_news = false;
            for event in &found.events {
                let (id, at) = (id(event), at(event).unwrap_or(found.next));
                if told.insert(id, at).is_none() {
                    client.out.event(event, at)?;
                    has_news = true;
                }
            }
            told.retain(|_, at| found.next.duration_since(*at) < TOLD_AGAIN);
            // A part that goes no further is the last one, whatever it says.
            let (since, after) = (query.since, query.after.take());
            (query.since, query.after) = match found.cursor {
                // An older version of the API goes by time alone.
                cursor if cursor.is_empty() => (Some(found.next), None),
                cursor => (None, Some(cursor)),
            };
            let is_stuck = (since, &after) == (query.since, &query.after);
            if found.more && !is_stuck {
                continue;
            }
            if !self.follow {
                return Ok(Exit::Done);
            }
            query.wait = query.after.is_some().then_some(WAIT);
            if !has_news {
                thread::sleep(ASK_EVERY.saturating_sub(asked_at.elapsed()));
            }
        }
    }
}

impl Send {
    /// Sends it, and shows what came of it.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let text = read(&self.file)?;
        // What is no object is sent as it is: the door says why not, and records it.
        let events = match serde_json::from_str::<Value>(&text) {
            Ok(said) => match entries(&said) {
                Some(entries) => entries.into_iter().map(Value::Object).collect(),
                None => vec![said],
            },
            Err(_) => return Self::send(client, &text),
        };
        let mut exit = Exit::Done;
        for event in events {
            let body = if let Value::Object(mut event) = event {
                if !event.contains_key("id") {
                    event.insert("id".to_owned(), new_key()?.into());
                }
                Value::Object(event).to_string()
            } else {
                text.clone()
            };
            if Self::send(client, &body)? == Exit::Refused {
                exit = Exit::Refused;
            }
        }
        Ok(exit)
    }

    fn send(client: &Client, body: &str) -> Result<Exit, Failure> {
        let seen: SubmittedView =
            client.http.post_text("/v1/events", body).map_err(|it| repeated(it, body))?;
        client.out.show(&seen, || {
            if !seen.accepted {
                let reasons = seen.reasons.iter().map(|it| format!("\n  {}", printable(it)));
                return reasons.fold("The event was refused:".to_owned(), |text, line| text + &line);
            }
            match (&seen.answer, &seen.review, &seen.closed) {
                (Some(answer), _, _) => answers::told(&client.out, answer),
                (None, Some(review), _) => explained(review),
                (None, None, Some(grant)) => {
                    printable(&format!("Grant {} was ended.", grant.id)).into_owned()
                }
                (None, None, None) => "The event was accepted.".to_owned(),
            }
        })?;
        Ok(if seen.accepted { Exit::Done } else { Exit::Refused })
    }
}

/// How a request would be decided, in a line for each reason.
fn explained(review: &ReviewView) -> String {
    let reasons = review.reasons.iter().map(|it| printable(&format!("\n  {}", it.message)).into_owned());
    let approvers = words::people(&review.approvers);
    let answer = match (review.answer.as_str(), review.approvers.is_empty()) {
        ("refused", _) => "The request would be refused:".to_owned(),
        (_, false) => format!("The request would wait for the approval of {approvers}."),
        (_, true) => "The request would be granted at once.".to_owned(),
    };
    reasons.fold(answer, |text, line| text + &line)
}

/// An event without an answer may have been received: with the same id it is the same event.
fn repeated(failure: Failure, body: &str) -> Failure {
    let event: Option<Value> = serde_json::from_str(body).ok();
    match event.as_ref().and_then(|it| it.get("id")?.as_str()) {
        Some(id) if failure.exit() == Exit::Unavailable => {
            let id = printable(id).into_owned();
            failure.and(format!("the event may have been received: with `\"id\": \"{id}\"` it is the same when it is sent again"))
        }
        Some(_) | None => failure,
    }
}

/// The events of the entries that `aws events put-events` takes: a list of them, or an object with `Entries`. Their details are
/// JSON as text. Nothing where it is none of that, or where an entry has no such detail.
fn entries(said: &Value) -> Option<Vec<Map<String, Value>>> {
    let event = |entry: &Value| {
        let detail = serde_json::from_str::<Value>(entry.get("Detail")?.as_str()?).ok()?;
        let kind = entry.get("DetailType")?.clone();
        Some(Map::from_iter([("detail-type".to_owned(), kind), ("detail".to_owned(), detail)]))
    };
    let listed = said.get("Entries").unwrap_or(said).as_array()?;
    let events: Vec<_> = listed.iter().map(event).collect::<Option<_>>()?;
    (!events.is_empty()).then_some(events)
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().take(EVENT_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(file).and_then(|it| it.take(EVENT_MAX).read_to_string(&mut text))
    };
    let file = file.display();
    read.map_err(|error| Failure::usage(format!("cannot read an event from `{file}`: {error}")))?;
    Ok(unmarked(text))
}

fn text<'a>(event: &'a EventView, name: &str) -> Option<&'a str> {
    event.detail.get(name).and_then(Value::as_str)
}

fn id(event: &EventView) -> String {
    text(event, "id").unwrap_or_default().to_owned()
}

fn at(event: &EventView) -> Option<Timestamp> {
    text(event, "at")?.parse().ok()
}

/// An event as a person reads it.
#[derive(Debug, Clone)]
struct Told {
    mark: Mark,
    at: String,
    kind: String,
    target: String,
    /// The ids of the grant and the request that it is about, whichever it names.
    about: Vec<String>,
    correlation: Option<String>,
    sentence: Option<String>,
}

fn told(event: &EventView, at: Timestamp, now: &ZonedDateTime) -> Told {
    let fact = event.detail.get("fact").and_then(|it| serde_json::from_value::<Fact>(it.clone()).ok());
    let told = fact.as_ref().map(|it| (words::plain(&it.in_words(), now), is_loud(it)));
    // What nobody should have to look up is told whole.
    let told = told.map(|(told, is_loud)| if is_loud { told } else { words::short(&told) });
    let told = match (told, fact.as_ref().and_then(facts::by)) {
        (Some(told), Some(by)) => Some(format!("{by}: {told}")),
        (told, _) => told,
    };
    let plain = |text: &str| printable(text).replace('\n', " ");
    Told {
        mark: fact.as_ref().map_or(Mark::Plain, facts::mark),
        at: moments::clock(at, now),
        kind: plain(&event.kind),
        target: plain(text(event, "target").map_or("-", names::short)),
        about: ["grant", "request"].into_iter().filter_map(|it| text(event, it)).map(plain).collect(),
        correlation: text(event, "correlation_id").map(plain),
        sentence: told.as_deref().map(plain),
    }
}

/// A line of columns, as wide as the terminal at most: there the sentence is first, with short ids.
fn line(told: Told, paint: Paint, width: Option<usize>) -> String {
    let Told { mark, at, kind, target, about, correlation, sentence } = told;
    let has_kind = sentence.is_none() || width.is_none_or(|it| KIND_FROM <= it);
    let (target, rest): (String, Vec<String>) = match (width, sentence) {
        (None, sentence) => (target, about.into_iter().take(1).chain(correlation).chain(sentence).collect()),
        (Some(_), Some(sentence)) => {
            let brief = |text: String, id: &String| text.replace(id, names::end_of(id));
            let sentence = about.iter().fold(sentence, brief);
            (cut(&target, TARGET_WIDTH), [sentence].into_iter().chain(correlation).collect())
        }
        (Some(_), None) => {
            (cut(&target, TARGET_WIDTH), about.into_iter().take(1).chain(correlation).collect())
        }
    };
    let (rest, target) = (rest.join("  "), format!("{target:<TARGET_WIDTH$}"));
    let kind = if has_kind { format!("{kind:<KIND_WIDTH$}  ") } else { String::new() };
    let before = format!("  {at}  {kind}{target}  ");
    let rest = match width {
        // Where something is wrong, as where break-glass was used, every reader has to see who and why.
        Some(width) if mark != Mark::Bad => cut(&rest, width.saturating_sub(measure_text_width(&before))),
        Some(_) | None => rest,
    };
    let (sign, at, kind) = (mark.painted(paint), paint.dim(&at), mark.colour(paint, &kind));
    format!("{sign} {at}  {kind}{target}  {rest}").trim_end().to_owned()
}

fn is_loud(fact: &Fact) -> bool {
    matches!(fact, Fact::GlassBroken { .. })
}

/// Prints as it comes.
impl Output {
    fn event(&self, event: &EventView, at: Timestamp) -> Result<(), Failure> {
        if self.is_json() {
            return Self::json_line(event);
        }
        output::line(&line(told(event, at, &self.now()), self.paint(), self.width()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_of_put_events_are_events_with_their_details_read() {
        let entry = json!({ "Source": "chatops", "DetailType": "access.close", "Detail": "{\"version\": 1}", "EventBusName": "bus" });
        let event = json!({ "detail-type": "access.close", "detail": { "version": 1 } });
        for said in [json!([entry, entry]), json!({ "Entries": [entry, entry] })] {
            let read = entries(&said).map(|it| it.into_iter().map(Value::Object).collect::<Vec<_>>());
            assert_eq!(read, Some(vec![event.clone(), event.clone()]));
        }
        for other in [
            json!([]),
            json!({}),
            json!([{ "Detail": "no JSON", "DetailType": "x" }]),
            json!([1]),
            json!(1),
            event,
        ] {
            assert_eq!(entries(&other), None, "{other}");
        }
    }

    #[test]
    fn a_break_glass_event_is_shown_with_person_ports_and_reason() {
        let opened = ["web-1", "db-1"].map(|it| json!({ "target": format!("/vm/{it}"), "gate": "22/tcp" }));
        let detail = json!({
            "id": "/vm/web-1#7#breakglass.used", "target": "/vm/web-1", "request": "r",
            "fact": { "what": "glass_broken", "request": "r", "by": "ann", "why": "it is down", "opened": opened,
                      "skipped": ["bob"] },
        });
        let event = json!({ "kind": "breakglass.used", "detail": detail });
        let event = serde_json::from_value(event).expect("an event");
        let event = told(&event, Timestamp::UNIX_EPOCH, &ZonedDateTime::default());
        let sentence = "ann: BREAK-GLASS used by request r: web-1:22/tcp, db-1:22/tcp without the approval of \
            bob, because: it is down";
        for (width, wanted) in [
            (None, format!("✕ 00:00:00  breakglass.used         web-1           r  {sentence}")),
            (Some(120), format!("✕ 00:00:00  breakglass.used         web-1           {sentence}")),
            (Some(80), format!("✕ 00:00:00  web-1           {sentence}")),
        ] {
            assert_eq!(line(event.clone(), Paint::NONE, width), wanted, "{width:?}");
        }
    }

    #[test]
    fn event_is_as_wide_as_the_terminal_at_most() {
        const ID: &str = "abcdefghijk4f3kq-1";
        let opened = Told {
            mark: Mark::Good,
            at: "14:05:30".to_owned(),
            kind: "grant.opened".to_owned(),
            target: "web-1-of-the-shop".to_owned(),
            about: [ID, "abcdefghijk4f3kq"].map(str::to_owned).to_vec(),
            correlation: Some("deploy-1".to_owned()),
            sentence: Some(format!("grant {ID} is open at 203.0.113.7:22")),
        };
        let untold = Told { sentence: None, ..opened.clone() };
        for (told, width, wanted) in [
            (&opened, Some(60), "● 14:05:30  web-1-of-the-…  grant 4f3kq-1 is open at 203.0.…"),
            (
                &opened,
                Some(80),
                "● 14:05:30  web-1-of-the-…  grant 4f3kq-1 is open at 203.0.113.7:22  deploy-1",
            ),
            (
                &opened,
                Some(110),
                "● 14:05:30  grant.opened            web-1-of-the-…  grant 4f3kq-1 is open at 203.0.113.7:22  deploy-1",
            ),
            (
                &untold,
                Some(80),
                "● 14:05:30  grant.opened            web-1-of-the-…  abcdefghijk4f3kq-1  deploy-1",
            ),
        ] {
            let line = line(told.clone(), Paint::NONE, width);
            assert_eq!(line, wanted);
            assert!(width.is_none_or(|it| measure_text_width(&line) <= it), "{line}");
        }
        let whole = line(opened, Paint::NONE, None);
        let sentence = format!("{ID}  deploy-1  grant {ID} is open at 203.0.113.7:22");
        assert_eq!(whole, format!("● 14:05:30  grant.opened            web-1-of-the-shop  {sentence}"));
    }
}
