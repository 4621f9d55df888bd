//! How far a reader of events has got.

use crate::ports::FeedItem;
use jiff::Timestamp;
use portcullis_domain::{Chain, Hash};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// How many items of the feed are remembered by name. Of more than these the oldest are published once more.
pub const NAMED_MAX: usize = 256;
/// How many digits of its digest are the name of an item.
const NAME_DIGITS: usize = 12;

/// How far a reader of events has got: all before a time, and the named items since then. As text it goes out to the reader,
/// who gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    since: Timestamp,
    named: BTreeSet<String>,
}

impl Reached {
    /// Everything before a time.
    pub fn time(since: Timestamp) -> Self {
        Self { since, named: BTreeSet::new() }
    }

    /// The time before which nothing is left.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Was it read?
    pub(crate) fn has(&self, item: &FeedItem) -> bool {
        !self.named.is_empty() && self.named.contains(&name(&item.chain, item.last))
    }

    /// Everything before a time, these items of later, and as many of those that are in `self` as there is room for.
    pub(crate) fn to(&self, since: Timestamp, read: &[FeedItem], keeps: bool) -> Self {
        let mut named: BTreeSet<String> = read
            .iter()
            .rev()
            .filter(|it| since <= it.at)
            .take(NAMED_MAX)
            .map(|it| name(&it.chain, it.last))
            .collect();
        if keeps {
            let room = NAMED_MAX.saturating_sub(named.len());
            named.extend(self.named.iter().take(room).cloned());
        }
        Self { since, named }
    }
}

fn name(chain: &Chain, last: u64) -> String {
    let mut digest = Hash::of(format!("{chain} {last}").as_bytes()).to_string();
    digest.truncate(NAME_DIGITS);
    digest
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.since.as_nanosecond())?;
        for (n, name) in self.named.iter().enumerate() {
            f.write_str(if n == 0 { "." } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// Why a text says nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no `cursor` of an answer")]
pub struct NoCursor;

impl FromStr for Reached {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (since, digits) = text.split_once('.').unwrap_or((text, ""));
        let since = since.parse().ok().and_then(|it| Timestamp::from_nanosecond(it).ok()).ok_or(NoCursor)?;
        let is_digit = |it: &u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        if !digits.as_bytes().iter().all(is_digit)
            || !digits.len().is_multiple_of(NAME_DIGITS)
            || NAMED_MAX * NAME_DIGITS < digits.len()
        {
            return Err(NoCursor);
        }
        let name = |it: &[u8]| it.iter().map(|it| char::from(*it)).collect::<String>();
        let named = digits.as_bytes().chunks(NAME_DIGITS).map(name).collect();
        Ok(Self { since, named })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(second: i64, chain: &str) -> FeedItem {
        let at = Timestamp::from_second(second).expect("in range");
        FeedItem { at, chain: chain.parse().expect("a chain"), last: 7 }
    }

    #[test]
    fn a_cursor_is_read_back_and_names_what_was_read_since_its_time() {
        let read = [item(1, "vm-1"), item(2, "vm-2"), item(2, "vm-3")];
        let reached = Reached::time(Timestamp::UNIX_EPOCH).to(read[1].at, &read, false);
        let again: Reached = reached.to_string().parse().expect("a cursor");
        assert_eq!(again, reached);
        assert_eq!(read.each_ref().map(|it| again.has(it)), [false, true, true]);
        assert!(!again.has(&FeedItem { last: 8, ..item(2, "vm-2") }));
        let bare = Reached::time(read[0].at);
        assert_eq!(bare.to_string().parse(), Ok(bare));
    }

    #[test]
    fn of_too_many_items_the_newest_are_named() {
        let read: Vec<_> = (0..300).map(|n| item(n, &format!("vm-{n}"))).collect();
        let reached = Reached::time(Timestamp::UNIX_EPOCH).to(Timestamp::UNIX_EPOCH, &read, false);
        assert_eq!(read.iter().filter(|it| reached.has(it)).count(), NAMED_MAX);
        assert!(!reached.has(&read[0]) && reached.has(&read[299]));
        assert!(reached.to_string().len() < 4 << 10, "it fits into the head of a request");
    }

    #[test]
    fn a_text_that_is_no_cursor_is_refused() {
        let long = format!("0.{}", "0".repeat(NAME_DIGITS * (NAMED_MAX + 1)));
        for text in ["", "x", "1.abc", "1.ABCDEF012345", "1.é", "99999999999999999999999999999999999", &long]
        {
            assert_eq!(text.parse::<Reached>(), Err(NoCursor), "{text}");
        }
    }
}
