//! The channel by which a person spoke, and the program that spoke for them.

use crate::Person;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const WANTED: &str = "`http`, `cli`, `portcullis`, or `bot` and its source";

/// The channel by which a person spoke. A bot speaks for people, so that its source is named too. As text `http`, `cli`, `bot
/// chatops` or `portcullis`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Via {
    /// The HTTP API, asked by any program but those below.
    Http,
    /// The command line of Portcullis, by its own word: it asks the HTTP API with the person's own token, as any other program may.
    Cli,
    /// A bot, by an event.
    Bot(String),
    /// Portcullis itself, for the operator who started it.
    Portcullis,
}

/// A person, and how they spoke: unknown of what an older version recorded.
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// The person.
    pub person: &'a Person,
    /// The channel, and the program.
    pub via: Option<&'a Via>,
}

impl Speaker<'_> {
    /// The bot that speaks for both of these: as the same bot, or as a bot and by its own name, since over HTTP the source of a bot is the
    /// name of its token. Another bot that speaks for it makes no other program of it.
    pub fn is_one_bot_with(self, other: Speaker<'_>) -> Option<String> {
        self.bot_that_is(other).or_else(|| other.bot_that_is(self))
    }

    /// The bot of this one, if the other one is that bot, or comes by it.
    fn bot_that_is(self, other: Speaker<'_>) -> Option<String> {
        let bot = self.via?.bot()?;
        let names = [Some(other.person.as_str()), other.via.and_then(Via::bot)];
        names.into_iter().flatten().any(|it| is_same_name(bot, it)).then(|| bot.to_owned())
    }

    /// The channel, to be recorded.
    pub(crate) fn via(self) -> Option<Via> {
        self.via.cloned()
    }
}

impl Via {
    /// The word of the channel alone: `http`, `cli`, `bot` or `portcullis`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Cli => "cli",
            Self::Bot(_) => "bot",
            Self::Portcullis => "portcullis",
        }
    }

    /// The source of the bot that spoke; nothing where a person did.
    pub fn bot(&self) -> Option<&str> {
        match self {
            Self::Bot(source) => Some(source),
            Self::Http | Self::Cli | Self::Portcullis => None,
        }
    }
}

/// Names of programs are compared as those of people.
fn is_same_name(one: &str, other: &str) -> bool {
    match (one.parse::<Person>(), other.parse::<Person>()) {
        (Ok(one), Ok(other)) => one == other,
        (Ok(_) | Err(_), _) => one == other,
    }
}

impl<'a> From<&'a Person> for Speaker<'a> {
    fn from(person: &'a Person) -> Self {
        Self { person, via: None }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http => f.write_str("http"),
            Self::Cli => f.write_str("cli"),
            Self::Bot(source) => write!(f, "bot {source}"),
            Self::Portcullis => f.write_str("portcullis"),
        }
    }
}

impl FromStr for Via {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("bot ")) {
            ("http", _) => Ok(Self::Http),
            ("cli", _) => Ok(Self::Cli),
            ("portcullis", _) => Ok(Self::Portcullis),
            (_, Some(source)) if !source.is_empty() => Ok(Self::Bot(source.to_owned())),
            (_, Some(_) | None) => Err(format!("`{text}` is not a channel: {WANTED}")),
        }
    }
}

impl TryFrom<String> for Via {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Via> for String {
    fn from(via: Via) -> Self {
        via.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_is_read_as_it_was_written() {
        for text in ["http", "cli", "portcullis", "bot chatops", "bot two words"] {
            let via: Via = serde_json::from_value(text.into()).expect("a channel");
            assert_eq!(serde_json::to_value(&via).expect("writes"), text);
        }
        for text in ["", "bot", "bot ", "fax"] {
            let refused = text.parse::<Via>().expect_err("no channel");
            assert_eq!(refused, format!("`{text}` is not a channel: {WANTED}"));
        }
    }

    #[test]
    fn one_bot_speaks_for_two_people_under_its_source_or_its_own_name() {
        let (ann, bob, itself): (Person, Person, Person) =
            ("ann".parse().expect("valid"), "bob".parse().expect("valid"), "ChatOps".parse().expect("valid"));
        let (bot, other) = (Via::Bot("chatops".to_owned()), Via::Bot("pager".to_owned()));
        let said = |person, via| Speaker { person, via };
        let is_one = |one: Speaker<'_>, two: Speaker<'_>| {
            assert_eq!(one.is_one_bot_with(two).is_some(), two.is_one_bot_with(one).is_some(), "either way");
            one.is_one_bot_with(two).is_some()
        };
        assert!(is_one(said(&ann, Some(&bot)), said(&bob, Some(&bot))));
        assert!(is_one(said(&ann, Some(&bot)), said(&itself, Some(&Via::Http))), "its token, its own name");
        assert!(is_one(said(&itself, Some(&other)), said(&bob, Some(&bot))), "another bot asks for it");
        assert!(is_one(said(&ann, Some(&bot)), said(&itself, Some(&other))), "another bot approves for it");
        assert!(!is_one(said(&ann, Some(&bot)), said(&bob, Some(&other))));
        assert!(!is_one(said(&ann, Some(&bot)), said(&bob, Some(&Via::Cli))));
        assert!(!is_one(said(&ann, Some(&Via::Http)), said(&bob, Some(&Via::Http))), "two tokens");
        assert!(!is_one(said(&ann, None), said(&bob, Some(&bot))), "an older version did not record it");
    }
}
