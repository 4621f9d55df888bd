//! A token of the token book, without its secret: what it is for, until when it is valid, and when it was last used.

use crate::{Person, Refusal, TOKEN_IN_TEXT, holds_token};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A token that expires is valid for this long at least: a shorter one would be over before its holder has it in place.
pub const TOKEN_LIFE_MIN: SignedDuration = SignedDuration::from_mins(10);
/// A token that expires is valid for this long at most: a year, and a month to replace it in.
pub const TOKEN_LIFE_MAX: SignedDuration = SignedDuration::from_hours(400 * 24);
/// A use of a token is kept if none was within this time of it: a busy bot costs one write in that time.
pub const TOKEN_USE_KEPT_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// How many characters a purpose has at most.
pub const PURPOSE_MAX: usize = 100;

/// A token as it is kept, beside its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The person whose token it is.
    pub person: Person,
    /// The time at which it was made.
    pub made_at: Timestamp,
    /// Its terms; none of a token that was made by a version without them, which kept no use of it either.
    pub terms: Option<TokenTerms>,
    /// The time of its last use, by [`TOKEN_USE_KEPT_EVERY`].
    pub used_at: Option<Timestamp>,
}

/// What an operator says of a token when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenTerms {
    /// What the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// The time from which on it is refused; none for a token without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The end of a token, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEnd {
    /// This long after the token is made.
    In(SignedDuration),
    /// At this time.
    At(Timestamp),
}

impl TokenTerms {
    /// The terms of a token that is made at `now`. A refusal where its end is nearer than [`TOKEN_LIFE_MIN`] or further than
    /// [`TOKEN_LIFE_MAX`].
    pub fn asked(purpose: Option<Purpose>, end: Option<TokenEnd>, now: Timestamp) -> Result<Self, Refusal> {
        let expires_at = end.map(|end| match end {
            TokenEnd::In(length) => now.checked_add(length).unwrap_or(Timestamp::MAX),
            TokenEnd::At(time) => time,
        });
        if let Some(expires_at) = expires_at {
            let length = expires_at.duration_since(now);
            if length < TOKEN_LIFE_MIN {
                return Err(Refusal::TokenTooShort { expires_at, min: TOKEN_LIFE_MIN });
            }
            if TOKEN_LIFE_MAX < length {
                return Err(Refusal::TokenTooLong { expires_at, max: TOKEN_LIFE_MAX });
            }
        }
        Ok(Self { purpose, expires_at })
    }

    /// The time at which the token expired, if it has. Nothing but the time is asked, so a clock that is behind lets a token in for as
    /// long as it is behind, and no longer.
    pub fn expired(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires_at.filter(|end| *end <= now)
    }
}

impl Token {
    /// The time from which on no use of the token was seen: nothing where nobody looked.
    pub fn unused_since(&self) -> Option<Timestamp> {
        self.used_at.or_else(|| self.terms.as_ref().map(|_| self.made_at))
    }

    /// The time at which the token expired, if it has.
    pub fn expired(&self, now: Timestamp) -> Option<Timestamp> {
        self.terms.as_ref()?.expired(now)
    }

    /// The time at which the token expires, or expired.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.terms.as_ref()?.expires_at
    }

    /// What the token is for.
    pub fn purpose(&self) -> Option<&Purpose> {
        self.terms.as_ref()?.purpose.as_ref()
    }
}

/// Is a use at `now` to be kept, where the last one that was kept is `used_at`? Also where that is far ahead, as after a clock that
/// was wrong.
pub fn is_use_kept(used_at: Option<Timestamp>, now: Timestamp) -> bool {
    used_at.is_none_or(|at| TOKEN_USE_KEPT_EVERY <= now.duration_since(at).abs())
}

/// What a token is for, in the words of the operator: 1 to [`PURPOSE_MAX`] characters on one line, and no token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Purpose(String);

/// A text that is no purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPurpose {
    /// It is empty.
    #[error("the purpose of a token is empty: give 1 to {PURPOSE_MAX} characters, or leave it out")]
    Empty,
    /// It is too long.
    #[error("the purpose of a token has {0} characters: at most {PURPOSE_MAX}")]
    TooLong(usize),
    /// It goes over more than one line, or has other characters that cannot be printed.
    #[error("the purpose of a token has characters that cannot be printed: give it on one line")]
    Unprintable,
    /// It holds a token.
    #[error("{TOKEN_IN_TEXT}")]
    Token,
}

impl FromStr for Purpose {
    type Err = BadPurpose;
    fn from_str(text: &str) -> Result<Self, BadPurpose> {
        let text = text.trim();
        match text.chars().count() {
            0 => Err(BadPurpose::Empty),
            count if PURPOSE_MAX < count => Err(BadPurpose::TooLong(count)),
            _ if text.chars().any(is_unprintable) => Err(BadPurpose::Unprintable),
            _ if holds_token(text) => Err(BadPurpose::Token),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// Also what turns the direction of a text, or ends its line: by it a list would say something else than it holds.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl TryFrom<String> for Purpose {
    type Error = BadPurpose;
    fn try_from(text: String) -> Result<Self, BadPurpose> {
        text.parse()
    }
}

impl From<Purpose> for String {
    fn from(purpose: Purpose) -> Self {
        purpose.0
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn second(second: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(second)
    }

    #[test]
    fn end_of_a_token_is_within_its_bounds_or_refused_with_the_bound() {
        let asked = |end| TokenTerms::asked(None, Some(end), NOW).map(|it| it.expires_at);
        assert_eq!(TokenTerms::asked(None, None, NOW).map(|it| it.expires_at), Ok(None));
        for length in [TOKEN_LIFE_MIN, TOKEN_LIFE_MAX] {
            assert_eq!(asked(TokenEnd::In(length)), Ok(Some(NOW + length)));
            assert_eq!(asked(TokenEnd::At(NOW + length)), Ok(Some(NOW + length)));
        }
        let nano = SignedDuration::from_nanos(1);
        for end in [
            TokenEnd::In(TOKEN_LIFE_MIN - nano),
            TokenEnd::At(NOW),
            TokenEnd::At(second(-9)),
            TokenEnd::At(Timestamp::MIN),
        ] {
            let why = asked(end).expect_err("too short").to_string();
            assert!(why.contains("at least 10m"), "{why}");
        }
        for end in [
            TokenEnd::In(TOKEN_LIFE_MAX + nano),
            TokenEnd::In(SignedDuration::MAX),
            TokenEnd::At(Timestamp::MAX),
        ] {
            let why = asked(end).expect_err("too long").to_string();
            assert!(why.contains("at most 400 days"), "{why}");
        }
    }

    #[test]
    fn token_is_expired_from_its_end_on_and_a_clock_that_is_behind_delays_that_by_no_more_than_itself() {
        let terms = TokenTerms { purpose: None, expires_at: Some(second(1_000)) };
        assert_eq!(terms.expired(second(999)), None);
        assert_eq!(terms.expired(second(1_000)), Some(second(1_000)));
        let behind = SignedDuration::from_secs(300);
        for since in 0..300 {
            assert_eq!(terms.expired(second(1_000 + since) - behind), None);
        }
        assert_eq!(terms.expired(second(1_300) - behind), Some(second(1_000)));
        assert_eq!(TokenTerms::default().expired(Timestamp::MAX), None, "it has no end");
    }

    #[test]
    fn use_of_a_token_is_kept_once_an_hour_and_also_by_a_clock_that_was_set() {
        let hour = TOKEN_USE_KEPT_EVERY.as_secs();
        assert!(is_use_kept(None, NOW));
        assert!(!is_use_kept(Some(NOW), NOW) && !is_use_kept(Some(NOW), second(hour - 1)));
        assert!(is_use_kept(Some(NOW), second(hour)));
        assert!(!is_use_kept(Some(second(hour - 1)), NOW), "two clocks do not write by turns");
        assert!(is_use_kept(Some(second(hour)), NOW), "a use that is yet to come is none");
    }

    #[test]
    fn purpose_is_a_short_line_and_each_fault_names_what_would_be_accepted() {
        let read = |text: &str| text.parse::<Purpose>().map(String::from);
        assert_eq!(read(" nightly patching ").as_deref(), Ok("nightly patching"));
        let most = "é".repeat(PURPOSE_MAX);
        assert_eq!(read(&most).as_deref(), Ok(&*most), "characters count, and not bytes");
        assert_eq!(read(&format!("{most}é")), Err(BadPurpose::TooLong(PURPOSE_MAX + 1)));
        for text in ["", "  "] {
            assert_eq!(read(text), Err(BadPurpose::Empty));
        }
        for text in ["two\nlines", "a\u{1b}[31m", "a\u{202e}b", "a\u{200b}b"] {
            assert_eq!(read(text), Err(BadPurpose::Unprintable), "{text:?}");
        }
        let token = format!("it is pct_{}", "A".repeat(43));
        assert_eq!(read(&token), Err(BadPurpose::Token));
    }

    #[test]
    fn terms_are_read_as_they_were_written_and_absent_fields_are_none() {
        for terms in [
            TokenTerms::default(),
            TokenTerms { purpose: Some("backups".parse().expect("a purpose")), expires_at: Some(second(1)) },
        ] {
            let written = serde_json::to_string(&terms).expect("written");
            assert_eq!(serde_json::from_str::<TokenTerms>(&written).expect("read"), terms);
        }
        assert_eq!(serde_json::to_string(&TokenTerms::default()).expect("written"), "{}");
    }
}
