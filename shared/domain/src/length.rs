//! Lengths of time as people and programs say them: one parser for every channel.

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// How much of what was said is said again, in characters.
const GIVEN_MAX: usize = 80;

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a length of time, such as `90m`, `1h 30m`, `1d` or `PT1H30M`{why}")]
pub struct BadLength {
    given: String,
    why: &'static str,
}

const UNREAD: &str = "";
const CLOCK: &str = ": a clock time is no length, say `1h 30m`";
const DIRECTION: &str = ": a length has neither a sign nor `ago`";
const CALENDAR: &str = ": months and years have no fixed length, say days (24 hours) or weeks (7 days)";
const NOTHING: &str = ": a length is longer than nothing";

/// A length of time in ISO 8601 or in words; a day is 24 hours and a week 7 days.
pub fn length(text: &str) -> Result<SignedDuration, BadLength> {
    let bad = |why| BadLength { given: text.chars().take(GIVEN_MAX).collect(), why };
    let said = text.trim();
    let has_direction =
        said.starts_with(['-', '+', '\u{2212}']) || said.to_ascii_lowercase().ends_with("ago");
    let why = match said {
        _ if has_direction => DIRECTION,
        _ if said.contains(':') => CLOCK,
        _ => UNREAD,
    };
    let span: Span = said.parse().map_err(|_| bad(why))?;
    // The parser reads these too.
    if why != UNREAD {
        return Err(bad(why));
    }
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(bad(CALENDAR));
    }
    span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| bad(UNREAD))
}

/// The same, longer than nothing.
pub fn length_of_some_time(text: &str) -> Result<SignedDuration, BadLength> {
    let nothing = || BadLength { given: text.chars().take(GIVEN_MAX).collect(), why: NOTHING };
    length(text).and_then(|it| if it.is_zero() { Err(nothing()) } else { Ok(it) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        length(text).expect_err(text).to_string()
    }

    #[test]
    fn one_length_has_many_spellings() {
        for text in ["1h", "60m", "1 hour", "PT1H", "pt60m", "3600s", "P0DT1H", " 1h ", "0d 1h"] {
            assert_eq!(length(text), Ok(SignedDuration::from_hours(1)), "{text}");
        }
        assert_eq!(length("1h 30m"), length("PT1.5H"));
        assert_eq!(length("PT0S"), Ok(SignedDuration::ZERO));
    }

    #[test]
    fn day_is_24_hours_and_week_is_7_days() {
        for text in ["P1D", "p1d", "1d", "1 day", "24h", "PT24H", "P0W1D"] {
            assert_eq!(length(text), Ok(SignedDuration::from_hours(24)), "{text}");
        }
        for text in ["P1W", "1w", "1 week", "7d", "P7D", "6d 24h"] {
            assert_eq!(length(text), Ok(SignedDuration::from_hours(7 * 24)), "{text}");
        }
        assert_eq!(length("P1DT2H"), Ok(SignedDuration::from_hours(26)));
    }

    #[test]
    fn months_and_years_are_refused_with_the_reason() {
        for text in ["P1M", "1mo", "1 month", "P1Y", "1y", "P1Y2M3D"] {
            assert_eq!(refused(text), format!("{}{CALENDAR}", plain(text)), "{text}");
        }
    }

    #[test]
    fn clock_sign_and_direction_are_refused_with_the_reason() {
        for text in ["1:30:00", "01:30", "1d 1:30:00"] {
            assert_eq!(refused(text), format!("{}{CLOCK}", plain(text)), "{text}");
        }
        for text in ["-1h", "+1h", "1h ago", "1h AGO", "-PT1H", "+P1D", "\u{2212}1h"] {
            assert_eq!(refused(text), format!("{}{DIRECTION}", plain(text)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_input_and_no_more_of_it_than_fits() {
        for text in
            ["", "90", "soon", "30m 30 minutes", "PT1H30", "P", "PT", "half-hour", "PT-1H", "99999999999y"]
        {
            assert_eq!(refused(text), plain(text), "{text}");
        }
        assert!(refused(&"x".repeat(1_000)).len() < 200);
    }

    #[test]
    fn some_time_is_longer_than_nothing() {
        assert_eq!(length_of_some_time("1d"), length("1d"));
        for text in ["0s", "PT0S", "P0D", "P0M"] {
            let refused = length_of_some_time(text).expect_err(text).to_string();
            assert_eq!(refused, format!("{}{NOTHING}", plain(text)));
        }
    }

    fn plain(text: &str) -> String {
        BadLength { given: text.to_owned(), why: UNREAD }.to_string()
    }
}
