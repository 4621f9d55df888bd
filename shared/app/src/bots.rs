//! The bots that may speak, and for whom.

use crate::Issuer;
use portcullis_domain::Person;
use serde::Deserialize;
use std::{collections::BTreeSet, str::FromStr};

/// Which bots may speak, and for whom. Empty allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Bot>")]
pub struct Bots(Vec<Bot>);

/// One bot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bot {
    /// What its events come from.
    source: String,
    /// Whom it may speak for.
    #[serde(rename = "for")]
    people: People,
    /// May it bring both a request and its approval, each for another person? Then one program stands for two people.
    #[serde(default)]
    both_halves: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum People {
    Named(BTreeSet<Person>),
    Word(Anybody),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
enum Anybody {
    #[serde(rename = "*")]
    Anybody,
}

impl Bots {
    /// The bots, as what vouches for the names of callers.
    pub fn vouchers(&self) -> Vouchers {
        let mut people = BTreeSet::new();
        for bot in &self.0 {
            match &bot.people {
                People::Named(named) => people.extend(named.iter().cloned()),
                People::Word(Anybody::Anybody) => return Vouchers::bots(None),
            }
        }
        Vouchers::bots(Some(people))
    }

    pub(crate) fn admit(&self, source: &str, person: &Person) -> bool {
        self.0.iter().any(|it| it.admits(source, person))
    }

    /// Is it a bot that may send events?
    pub(crate) fn has(&self, source: &str) -> bool {
        self.0.iter().any(|it| it.source == source)
    }

    /// The bot, as what vouches for a person.
    pub(crate) fn issuer(&self, source: &str, person: &Person) -> Issuer {
        let both_halves = self.0.iter().any(|it| it.both_halves && it.admits(source, person));
        Issuer::Bot { source: source.to_owned(), both_halves }
    }
}

impl Bot {
    fn admits(&self, source: &str, person: &Person) -> bool {
        let is_for = match &self.people {
            People::Named(people) => people.contains(person),
            People::Word(Anybody::Anybody) => true,
        };
        self.source == source && is_for
    }
}

impl TryFrom<Vec<Bot>> for Bots {
    type Error = String;
    /// A list of names in which one is `*` would admit nobody by that name, and is meant to admit anybody.
    fn try_from(bots: Vec<Bot>) -> Result<Self, String> {
        let means_anybody =
            |it: &&Bot| matches!(&it.people, People::Named(people) if people.iter().any(Person::is_anybody));
        match bots.iter().find(means_anybody) {
            Some(Bot { source, .. }) => Err(format!(
                "`*` in the list of `{source}` is no name of a person: for everyone write `\"for\": \"*\"`"
            )),
            None => Ok(Self(bots)),
        }
    }
}

impl FromStr for Bots {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const WANTED: &str =
            "[{\"source\": \"chatops.example\", \"for\": [\"ann\"]}], with \"*\" for all people";
        serde_json::from_str(text).map_err(|error| format!("not a policy of bots ({error}): {WANTED}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bot_speaks_for_a_person_in_any_spelling_and_a_list_names_no_asterisk() {
        let bots: Bots = r#"[{"source": "chatops", "for": ["Ann"]}, {"source": "all", "for": "*"}]"#
            .parse()
            .expect("bots");
        let person = |name: &str| name.parse::<Person>().expect("a person");
        assert!(bots.admit("chatops", &person("ann")) && bots.admit("chatops", &person("\u{430}nn")));
        assert!(!bots.admit("chatops", &person("bob")) && bots.admit("all", &person("bob")));
        let refused = r#"[{"source": "chatops", "for": ["ann", "*"]}]"#.parse::<Bots>().expect_err("refused");
        assert!(refused.contains("`*` in the list of `chatops` is no name of a person"), "{refused}");
        assert!(r#"["*"]"#.parse::<Bots>().is_err());
    }
}
