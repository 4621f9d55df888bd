//! Times as people say and read them.

pub use portcullis_domain::length_of_some_time as length;

use jiff::{SignedDuration, Timestamp, ToSpan as _, ZonedDateTime, civil};
use portcullis_domain::TokenEnd;

/// A moment, by the clock of this machine.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    moment_after(text, &ZonedDateTime::now())
}

/// A moment: with an offset, without one where the person is, a time of the next 24 hours, or `+` a length.
fn moment_after(text: &str, now: &ZonedDateTime) -> Result<Timestamp, String> {
    const WANTED: &str = "not a time such as `18:30`, `2026-05-01 18:30`, `2026-05-01T18:30Z` or `+90m`";
    let text = text.trim();
    let wanted = |_: jiff::Error| WANTED.to_owned();
    if let Some(later) = text.strip_prefix('+') {
        let length = length(later).map_err(|_| WANTED.to_owned())?;
        return now.timestamp().checked_add(length).map_err(wanted);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let zone = || now.time_zone().clone();
    // A date without a time is more likely forgotten than meant.
    if let Some(at) = text.parse::<civil::DateTime>().ok().filter(|_| text.contains(':')) {
        return at.to_zoned_datetime(zone()).map(|it| it.timestamp()).map_err(wanted);
    }
    let time: civil::Time = text.parse().map_err(wanted)?;
    let today = now.date().to_datetime(time).to_zoned_datetime(zone()).map_err(wanted)?;
    let at = if today <= *now { today.checked_add(1.day()).map_err(wanted)? } else { today };
    Ok(at.timestamp())
}

/// The end of a token: a length of time from now on, by the clock of the server, or a moment.
pub fn end(text: &str) -> Result<TokenEnd, String> {
    end_after(text, &ZonedDateTime::now())
}

fn end_after(text: &str, now: &ZonedDateTime) -> Result<TokenEnd, String> {
    const WANTED: &str =
        "not a time such as `90d` (from now), `2026-05-01`, `2026-05-01 18:30` or `2026-05-01T18:30Z`";
    if let Ok(length) = length(text) {
        return Ok(TokenEnd::In(length));
    }
    let midnight = text.trim().parse::<civil::Date>().ok().filter(|_| !text.contains(':'));
    let midnight = midnight.and_then(|it| it.at(0, 0, 0, 0).to_zoned_datetime(now.time_zone().clone()).ok());
    let at = midnight.map_or_else(|| moment_after(text, now), |it| Ok(it.timestamp()));
    at.map(TokenEnd::At).map_err(|_| WANTED.to_owned())
}

/// A moment in the past, by the clock of this machine.
pub fn past(text: &str) -> Result<Timestamp, String> {
    past_before(text, &ZonedDateTime::now())
}

/// A moment: with an offset, without one where the person is, a date's midnight there, or a length of time ago.
fn past_before(text: &str, now: &ZonedDateTime) -> Result<Timestamp, String> {
    const WANTED: &str =
        "not a time such as `24h` (ago), `2026-05-01`, `2026-05-01 18:30` or `2026-05-01T18:30Z`";
    let text = text.trim();
    let wanted = |_: jiff::Error| WANTED.to_owned();
    if let Ok(ago) = length(text) {
        return now.timestamp().checked_sub(ago).map_err(wanted);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let at: civil::DateTime = text.parse().map_err(wanted)?;
    at.to_zoned_datetime(now.time_zone().clone()).map(|it| it.timestamp()).map_err(wanted)
}

/// `until 14:05:30, 59 min left`, or `over since 14:05:30`.
pub fn until(end: Timestamp, now: &ZonedDateTime) -> String {
    let left = end.duration_since(now.timestamp());
    if left <= SignedDuration::ZERO {
        format!("over since {}", clock(end, now))
    } else {
        format!("until {}, {} left", clock(end, now), roughly(left))
    }
}

/// `3 min ago`.
pub fn ago(at: Timestamp, now: &ZonedDateTime) -> String {
    let since = now.timestamp().duration_since(at);
    if since < SignedDuration::from_secs(1) {
        "just now".to_owned()
    } else {
        format!("{} ago", roughly(since))
    }
}

/// `in 12 d 3 h`, or `3 d ago`.
pub fn ahead_or_ago(at: Timestamp, now: &ZonedDateTime) -> String {
    let left = at.duration_since(now.timestamp());
    if left <= SignedDuration::ZERO { ago(at, now) } else { format!("in {}", roughly(left)) }
}

/// The time of day where the person is, with the date if that is another day.
pub fn clock(at: Timestamp, now: &ZonedDateTime) -> String {
    let at = at.to_zoned_datetime(now.time_zone().clone());
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%F %H:%M:%S" };
    at.strftime(format).to_string()
}

/// The date and the time of day where the person is, to the minute.
pub fn date(at: Timestamp, now: &ZonedDateTime) -> String {
    at.to_zoned_datetime(now.time_zone().clone()).strftime("%F %H:%M").to_string()
}

/// A positive length in at most two units, rounded down: who plans by it is never late.
pub fn roughly(length: SignedDuration) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let secs = length.as_secs();
    let two = |large: i64, unit: &str, small: i64, rest: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {rest}"),
    };
    match secs {
        ..MINUTE => format!("{secs} s"),
        MINUTE..HOUR => format!("{} min", secs / MINUTE),
        HOUR..DAY => two(secs / HOUR, "h", secs % HOUR / MINUTE, "min"),
        DAY.. => two(secs / DAY, "d", secs % DAY / HOUR, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> ZonedDateTime {
        "2026-05-01T13:05:30+02:00[Europe/Berlin]".parse().expect("a time")
    }

    #[test]
    fn the_past_is_a_length_ago_a_date_or_a_time() {
        let past = |text: &str| past_before(text, &now()).map(|it| it.to_string());
        assert_eq!(past("24h").as_deref(), Ok("2026-04-30T11:05:30Z"));
        assert_eq!(past("2026-05-01").as_deref(), Ok("2026-04-30T22:00:00Z"), "midnight in Berlin");
        assert_eq!(past("2026-05-01 12:00").as_deref(), Ok("2026-05-01T10:00:00Z"));
        assert_eq!(past("2026-05-01T12:00Z").as_deref(), Ok("2026-05-01T12:00:00Z"));
        assert!(past("yesterday").is_err());
    }

    #[test]
    fn moments_are_read_where_the_person_is() {
        let at = |text: &str| moment_after(text, &now()).map(|it| it.to_string());
        assert_eq!(at("18:30").as_deref(), Ok("2026-05-01T16:30:00Z"));
        assert_eq!(at("09:00").as_deref(), Ok("2026-05-02T07:00:00Z"), "9 is over today");
        assert_eq!(at("2026-05-03 09:00").as_deref(), Ok("2026-05-03T07:00:00Z"));
        assert_eq!(at("2026-05-03T09:00Z").as_deref(), Ok("2026-05-03T09:00:00Z"));
        assert_eq!(at("+90m").as_deref(), Ok("2026-05-01T12:35:30Z"));
        for text in ["", "tomorrow", "2026-05-03", "25:00", "+-5m", "+"] {
            assert!(at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn end_of_a_token_is_a_length_from_now_on_a_date_or_a_time() {
        let end = |text: &str| end_after(text, &now());
        let at = |text: &str| Ok(TokenEnd::At(text.parse().expect("a time")));
        assert_eq!(end("90d"), Ok(TokenEnd::In(SignedDuration::from_hours(90 * 24))));
        assert_eq!(end("PT12H"), Ok(TokenEnd::In(SignedDuration::from_hours(12))));
        assert_eq!(end("2026-08-01"), at("2026-07-31T22:00:00Z"), "midnight in Berlin");
        assert_eq!(end("2026-08-01 09:00"), at("2026-08-01T07:00:00Z"));
        assert_eq!(end("2026-08-01T09:00Z"), at("2026-08-01T09:00:00Z"));
        for text in ["", "soon", "90", "3mo", "2026-13-01", "2026-08-01T25:00"] {
            assert!(end(text).expect_err(text).contains("such as `90d`"), "{text}");
        }
        assert_eq!(ahead_or_ago(now().timestamp() + SignedDuration::from_hours(36), &now()), "in 1 d 12 h");
        assert_eq!(ahead_or_ago(now().timestamp() - SignedDuration::from_hours(36), &now()), "1 d 12 h ago");
    }

    #[test]
    fn the_time_left_is_never_too_long() {
        let until = |secs| until(now().timestamp() + SignedDuration::from_secs(secs), &now());
        assert_eq!(until(59), "until 13:06:29, 59 s left");
        assert_eq!(until(3599), "until 14:05:29, 59 min left");
        assert_eq!(until(7200), "until 15:05:30, 2 h left");
        assert_eq!(until(11_000), "until 16:08:50, 3 h 3 min left");
        assert_eq!(until(90_000), "until 2026-05-02 14:05:30, 1 d 1 h left");
        assert_eq!(until(0), "over since 13:05:30");
        assert_eq!(ago(now().timestamp(), &now()), "just now");
        assert_eq!(ago(now().timestamp() - SignedDuration::from_mins(3), &now()), "3 min ago");
    }
}
