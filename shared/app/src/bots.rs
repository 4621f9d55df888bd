//! The bots that may speak, and for whom.

use crate::Issuer;
use portcullis_domain::Person;
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

/// Which bots may speak, and for whom. Empty allows nothing. Copies share one list, which may be replaced while it is in use.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Vec<Bot>")]
pub struct Bots(Arc<RwLock<Vec<Bot>>>);

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
    /// Takes the list of others in place of this one, for all copies.
    pub fn replace(&self, others: &Self) {
        let list = others.list().clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = list;
    }

    pub(crate) fn admit(&self, source: &str, person: &Person) -> bool {
        self.list().iter().any(|it| it.source == source && it.is_for(person))
    }

    /// Is it a bot that may send events?
    pub(crate) fn has(&self, source: &str) -> bool {
        self.list().iter().any(|it| it.source == source)
    }

    /// May some bot speak for this person?
    pub(crate) fn speak_for(&self, person: &Person) -> bool {
        self.list().iter().any(|it| it.is_for(person))
    }

    /// The bot, as what vouches for a person.
    pub(crate) fn issuer(&self, source: &str, person: &Person) -> Issuer {
        let is_named = |it: &Bot| it.source == source && it.both_halves && it.is_for(person);
        Issuer::Bot { source: source.to_owned(), both_halves: self.list().iter().any(is_named) }
    }

    fn list(&self) -> RwLockReadGuard<'_, Vec<Bot>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bot {
    fn is_for(&self, person: &Person) -> bool {
        match &self.people {
            People::Named(people) => people.contains(person),
            People::Word(Anybody::Anybody) => true,
        }
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
            None => Ok(Self(Arc::new(RwLock::new(bots)))),
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
    fn list_that_is_replaced_is_so_for_every_copy() {
        let bots: Bots = r#"[{"source": "chatops", "for": ["ann"]}]"#.parse().expect("bots");
        let copy = bots.clone();
        let (ann, bob): (Person, Person) =
            ("ann".parse().expect("a person"), "bob".parse().expect("a person"));
        bots.replace(&r#"[{"source": "pager", "for": ["bob"]}]"#.parse().expect("bots"));
        assert!(!copy.has("chatops") && !copy.admit("chatops", &ann) && copy.admit("pager", &bob));
        assert!(copy.speak_for(&bob) && !copy.speak_for(&ann));
    }

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
