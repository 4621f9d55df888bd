//! What is to be exported.

use jiff::Timestamp;
use portcullis_app::{Exporting, Format};
use portcullis_domain::CorrelationId;
use portcullis_lambda::Message;
use serde::Deserialize;

const DAY_SECS: i64 = 24 * 60 * 60;

/// As the journal tells that it was asked for.
#[derive(Debug, Deserialize)]
struct Asked {
    from: Timestamp,
    to: Timestamp,
    format: Format,
    #[serde(default)]
    correlation: Option<CorrelationId>,
}

/// What an event asks for. A schedule asks for nothing: then it is the day before its own time, in UTC, however late it
/// is heard.
pub fn of(message: &Message, now: Timestamp) -> (Exporting, Option<CorrelationId>) {
    let at = || message.event()?["time"].as_str()?.parse().ok();
    asked(message).unwrap_or_else(|| (yesterday(at().unwrap_or(now)), None))
}

fn asked(message: &Message) -> Option<(Exporting, Option<CorrelationId>)> {
    let fact = message.event()?.get("detail")?.get("fact")?.clone();
    let Asked { from, to, format, correlation } = serde_json::from_value(fact).ok()?;
    Some((Exporting { from, to, format }, correlation))
}

fn yesterday(now: Timestamp) -> Exporting {
    let today = now.as_second().div_euclid(DAY_SECS);
    let midnight = |day: i64| Timestamp::from_second(day * DAY_SECS).unwrap_or(Timestamp::MIN);
    Exporting { from: midnight(today - 1), to: midnight(today), format: Format::Jsonl }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_by(body: &str) -> (String, String, Format) {
        let message = Message { body: body.to_owned(), token: "worker".parse().expect("a token") };
        let (wish, _) = of(&message, "2026-03-02T00:17:03Z".parse().expect("a time"));
        (wish.from.to_string(), wish.to.to_string(), wish.format)
    }

    #[test]
    fn a_schedule_means_the_day_before() {
        let day = ("2026-03-01T00:00:00Z".to_owned(), "2026-03-02T00:00:00Z".to_owned(), Format::Jsonl);
        assert_eq!(asked_by(r#"{"source":"aws.events","detail":{}}"#), day);
        let late = r#"{"source":"aws.events","time":"2026-02-28T00:17:00Z","detail":{}}"#;
        assert_eq!(asked_by(late).0, "2026-02-27T00:00:00Z");
        for what_is_no_event in ["", "{", "3", "[]", r#""text""#, r#"{"detail":[1]}"#] {
            assert_eq!(asked_by(what_is_no_event), day, "{what_is_no_event}");
        }
    }

    #[test]
    fn an_event_says_what_it_means() {
        for format in Format::ALL {
            let fact = r#"{"what":"export_asked","from":"2026-01-01T00:00:00Z","to":"2026-02-01T00:00:00Z","by":"ann","format""#;
            let fact = format!(r#"{fact}:"{}"}}"#, format.word());
            let wanted = ("2026-01-01T00:00:00Z".to_owned(), "2026-02-01T00:00:00Z".to_owned(), format);
            assert_eq!(asked_by(&format!(r#"{{"detail":{{"fact":{fact}}}}}"#)), wanted);
        }
    }
}
