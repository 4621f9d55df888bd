//! Times, machines, people and ports as programs say them, most of them for `deserialize_with`: what cannot be read is refused in our
//! words.

use crate::{Person, Port, TargetId, length as read_length};
use jiff::{SignedDuration, Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use std::{
    fmt::{self, Display},
    str::FromStr,
};

const TIME: &str = "a time, such as `2026-05-01T18:30:00Z`";
/// How much of what was said is said again, in characters.
const GIVEN_MAX: usize = 80;

/// A length of time, if one is said.
pub fn length<'de, D: Deserializer<'de>>(said: D) -> Result<Option<SignedDuration>, D::Error> {
    Option::<String>::deserialize(said)?.map(|text| read_length(&text).map_err(D::Error::custom)).transpose()
}

/// A time, if one is said.
pub fn any_time<'de, D: Deserializer<'de>>(said: D) -> Result<Option<Timestamp>, D::Error> {
    Option::<String>::deserialize(said)?.map(|text| read(&text, TIME)).transpose()
}

/// A time, which has to be said.
pub fn time<'de, D: Deserializer<'de>>(said: D) -> Result<Timestamp, D::Error> {
    read(&String::deserialize(said)?, TIME)
}

/// A machine, by its id in any letter case.
pub fn target<'de, D: Deserializer<'de>>(said: D) -> Result<TargetId, D::Error> {
    String::deserialize(said)?.parse().map_err(D::Error::custom)
}

/// A person, who is not called `*`.
pub fn person<'de, D: Deserializer<'de>>(said: D) -> Result<Person, D::Error> {
    String::deserialize(said)?.parse().map_err(D::Error::custom)
}

/// A value that is written as one text.
pub fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(said: D) -> Result<T, D::Error> {
    String::deserialize(said)?.parse().map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(said: D) -> Result<Self, D::Error> {
        said.deserialize_u16(PortNumber)
    }
}

struct PortNumber;

impl Visitor<'_> for PortNumber {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Port::WANTED)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Port, E> {
        let port = u16::try_from(number).ok().and_then(|it| Port::try_from(it).ok());
        port.ok_or_else(|| E::custom(format_args!("`{number}` is not {}", Port::WANTED)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Port, E> {
        let none = || E::custom(format_args!("`{number}` is not {}", Port::WANTED));
        u64::try_from(number).map_err(|_| none()).and_then(|it| self.visit_u64(it))
    }
}

/// A text from a file without the mark that some editors and shells begin one with, U+FEFF.
pub fn unmarked(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

fn read<T: FromStr, E: Error>(text: &str, wanted: &str) -> Result<T, E> {
    text.parse().map_err(|_| {
        let given: String = text.chars().take(GIVEN_MAX).collect();
        E::custom(format_args!("`{given}` is not {wanted}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Said {
        #[serde(default, deserialize_with = "length")]
        length: Option<SignedDuration>,
        #[serde(default, deserialize_with = "any_time")]
        end: Option<Timestamp>,
        #[serde(deserialize_with = "time")]
        at: Timestamp,
    }

    const AT: &str = "1970-01-01T00:00:00Z";

    fn said(value: &Value) -> Result<Said, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn byte_order_mark_is_taken_from_the_beginning_of_a_text_alone() {
        assert_eq!(unmarked("\u{feff}a\u{feff}".to_owned()), "a\u{feff}");
        assert_eq!(unmarked("a".to_owned()), "a");
    }

    #[test]
    fn times_are_read_as_ever() {
        let (hour, at) = (Some(SignedDuration::from_hours(1)), Timestamp::UNIX_EPOCH);
        for length in ["1h", "PT1H", "60 minutes", "P0DT1H"] {
            let wanted = Said { length: hour, end: Some(at), at };
            assert_eq!(said(&json!({ "length": length, "end": AT, "at": AT })), Ok(wanted), "{length}");
        }
        let none = Said { length: None, end: None, at };
        assert_eq!(said(&json!({ "length": null, "at": AT })), Ok(none));
        assert!(said(&json!({})).expect_err("no time").contains("missing field `at`"));
    }

    #[test]
    fn port_that_is_none_is_named_with_those_that_there_are() {
        let port = |text: &str| serde_json::from_str::<Port>(text).map_err(|error| error.to_string());
        assert_eq!(port("22").map(Port::number), Ok(22));
        assert_eq!(serde_json::from_value::<Port>(json!(65535)).map(Port::number).ok(), Some(65535));
        for no in ["0", "65536", "70000", "-1", "99999999999"] {
            let wanted = format!("`{no}` is not a port from 1 to 65535");
            assert!(port(no).is_err_and(|it| it.starts_with(&wanted)), "{no}: {:?}", port(no));
        }
        for no in ["\"22\"", "22.5", "null", "[22]"] {
            assert!(
                port(no).is_err_and(|it| it.contains("expected a port from 1 to 65535")),
                "{no}: {:?}",
                port(no)
            );
        }
    }

    #[test]
    fn what_is_none_is_named_with_what_would_be() {
        let no = |value: &Value| said(value).expect_err("none");
        let an_hour = read_length("an hour").expect_err("no length").to_string();
        assert_eq!(no(&json!({ "length": "an hour", "at": AT })), an_hour);
        assert_eq!(no(&json!({ "end": "soon", "at": AT })), format!("`soon` is not {TIME}"));
        assert_eq!(no(&json!({ "at": "" })), format!("`` is not {TIME}"));
        assert!(no(&json!({ "at": "x".repeat(1_000) })).len() < 200);
    }
}
