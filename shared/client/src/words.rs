//! Texts of the server as a person at a terminal reads them: short names, the time where they are.

use crate::{moments, names};
use jiff::{Timestamp, ZonedDateTime};
use portcullis_domain::{Sessions, Sources};
use portcullis_program::output::printable;
use portcullis_wire::{GrantView, MetDenyView};

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

/// A foreign deny that a lease meets at a gate, and which of the two wins.
pub fn met(deny: &MetDenyView, gate: &str, now: &ZonedDateTime) -> String {
    let MetDenyView { rule, sources, wins, overridable } = deny;
    let rule = plain(rule, now);
    match (wins, overridable) {
        (true, true) => format!(
            "{rule} keeps {sources} out of {gate}, also with a lease; `foreign-denies=override` changes that"
        ),
        (true, false) => format!("{rule} keeps {sources} out of {gate}, also with a lease"),
        (false, true | false) => format!("{rule} gives way to a lease of {gate}"),
    }
}

/// What becomes of open sessions.
pub fn fate(sessions: Sessions) -> &'static str {
    match sessions {
        Sessions::Survive => "survive the end of a lease",
        Sessions::EndWithLease => "end with the lease",
    }
}

/// How long a text in a line may be, in characters.
const TEXT_MAX: usize = 600;

/// The beginning of a long text, for a line of a table; scripts and exports have all of it.
pub fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

/// How many ranges a line names.
const RANGES_MAX: usize = 4;

/// Sources as a line of a table has room for.
pub fn few_sources(ranges: &[String]) -> String {
    match ranges.get(RANGES_MAX..) {
        Some(more @ [_, ..]) => format!("{} and {} more", sources(&ranges[..RANGES_MAX]), more.len()),
        Some([]) | None => sources(ranges),
    }
}

/// All of the sources.
pub fn sources(ranges: &[String]) -> String {
    Sources::try_from(ranges.to_vec()).map_or_else(|_| ranges.join(", "), |it| it.to_string())
}

/// Why the sources of a lease do not get in, as the last read-back showed.
pub fn unopened(grant: &GrantView) -> Option<String> {
    let rule = grant.open_failed.as_ref().map(|by| format!("kept closed by {by}"));
    rule.or_else(|| grant.refused.as_ref().map(|why| format!("its rule was refused: {why}")))
}

/// Commas and an `or` between people; `*` is another person.
pub fn people(names: &[String]) -> String {
    let word = |it: &String| if it == "*" { "another person".to_owned() } else { it.clone() };
    let names: Vec<String> = names.iter().map(word).collect();
    printable(&names.join(" or ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sources_do_not_fill_the_screen() {
        let ranges: Vec<String> = (0..3_000).map(|n| format!("10.{}.{}.0/32", n / 256, n % 256)).collect();
        let few = few_sources(&ranges);
        assert_eq!(few, "10.0.0.0, 10.0.1.0, 10.0.2.0, 10.0.3.0 and 2996 more");
        assert_eq!(few_sources(&ranges[..4]), "10.0.0.0, 10.0.1.0, 10.0.2.0, 10.0.3.0");
        assert_eq!(short(&"é".repeat(700)).chars().count(), TEXT_MAX + "… (700 characters)".chars().count());
        assert_eq!(short("brief"), "brief");
        assert_eq!(few_sources(&["0.0.0.0/0".to_owned(), "::/0".to_owned()]), "anywhere");
    }

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
