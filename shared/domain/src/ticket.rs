//! The ticket that a reason names.

use crate::Justification;

/// How many digits a ticket has at least that has no dash.
const DIGITS_MIN: usize = 5;

impl Justification {
    /// The first ticket in it, as trackers write them: `INC-4711` or `OPS2-1` (capitals, a dash, a number), `CHG0030052` (capitals and at least
    /// five digits) or `#42`. A name such as `web-1` is none.
    pub fn ticket(&self) -> Option<&str> {
        let is_of_a_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '#');
        self.as_str().split(|c| !is_of_a_word(c)).find(|it| is_ticket(it))
    }
}

fn is_ticket(word: &str) -> bool {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|c| c.is_ascii_digit());
    let is_capital = |c: char| c.is_ascii_uppercase();
    if let Some(number) = word.strip_prefix('#') {
        return is_number(number);
    }
    if let Some((project, number)) = word.split_once('-') {
        let is_of_a_project = |c: char| is_capital(c) || c.is_ascii_digit() || c == '_';
        return 2 <= project.len()
            && project.starts_with(is_capital)
            && project.chars().all(is_of_a_project)
            && is_number(number);
    }
    let number = word.trim_start_matches(is_capital);
    2 <= word.len() - number.len() && DIGITS_MIN <= number.len() && is_number(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_of_a_reason_is_the_first_word_that_a_tracker_would_write() {
        for (reason, ticket) in [
            ("INC-4711", Some("INC-4711")),
            ("INC-4711: the disk is full", Some("INC-4711")),
            ("restart web-1, see (CHG0030052) and OPS2-1", Some("CHG0030052")),
            ("MY_TEAM-9/urgent", Some("MY_TEAM-9")),
            ("as in #42", Some("#42")),
            ("https://tracker.example/browse/OPS-7?focused=1", Some("OPS-7")),
            ("restart web-1", None),
            ("inc-4711", None),
            ("X-1, SHA256, UTF-8-1, INC-, -5, #, A-1", None),
            ("INC-4711b", None),
        ] {
            let reason: Justification = reason.parse().expect("a reason");
            assert_eq!(reason.ticket(), ticket, "{reason}");
        }
    }
}
