//! Texts of the server as a person at a terminal reads them: short names, the time where they are.

use super::{moments, names};
use jiff::{Timestamp, ZonedDateTime};

/// How long names begin that are shortened: those of ARM.
const LONG: &str = "/subscriptions/";

/// The text with the ends of long ids, and with times by the clock of this machine.
pub fn plain(text: &str, now: &ZonedDateTime) -> String {
    let mut plain = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_matches(|c: char| c.is_whitespace() || "`,;:.()".contains(c));
        let (before, after) = piece.split_once(word).unwrap_or((piece, ""));
        plain.push_str(before);
        match word.parse::<Timestamp>() {
            Ok(at) => plain.push_str(&moments::clock(at, now)),
            Err(_) if word.starts_with(LONG) => plain.push_str(names::short(word)),
            Err(_) => plain.push_str(word),
        }
        plain.push_str(after);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_and_times_become_what_people_say() {
        let now: ZonedDateTime = "2026-05-01T13:05:30+02:00[Europe/Berlin]".parse().expect("a time");
        for (text, wanted) in [
            ("`/subscriptions/a/vm/web-1` is guarded already", "`web-1` is guarded already"),
            ("put x in /subscriptions/a/nsg/web-1-nsg: deny 22/tcp", "put x in web-1-nsg: deny 22/tcp"),
            ("until 2026-05-01T12:00:00Z, because", "until 14:00:00, because"),
            ("sources within 10.0.0.0/8, 2001:db8::/32 may", "sources within 10.0.0.0/8, 2001:db8::/32 may"),
            ("22/tcp,  `5h` (at most 3h)\n", "22/tcp,  `5h` (at most 3h)\n"),
            ("because: /etc/nginx/nginx.conf", "because: /etc/nginx/nginx.conf"),
            ("", ""),
            (" ``, ", " ``, "),
        ] {
            assert_eq!(plain(text, &now), wanted);
        }
    }
}
