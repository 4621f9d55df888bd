//! The bots that may speak, and for whom.

use crate::Issuer;
use portcullis_domain::Person;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Unexpected, Visitor, value::SeqAccessDeserializer},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum People {
    Named(BTreeSet<Person>),
    Everyone,
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
            People::Everyone => true,
        }
    }
}

impl TryFrom<Vec<Bot>> for Bots {
    type Error = String;
    /// A list of names in which one is `*` would admit nobody by that name, and is meant to admit anybody. Two spellings of one bot
    /// would be two programs, each with a part of the rights.
    fn try_from(bots: Vec<Bot>) -> Result<Self, String> {
        let means_anybody =
            |it: &&Bot| matches!(&it.people, People::Named(people) if people.iter().any(Person::is_anybody));
        if let Some(Bot { source, .. }) = bots.iter().find(means_anybody) {
            return Err(format!(
                "`*` in the list of `{source}` is no name of a person: for everyone write `\"for\": \"*\"`"
            ));
        }
        let mut spelled = BTreeMap::new();
        for Bot { source, .. } in &bots {
            if let Some(other) = spelled.insert(folded(source), source).filter(|it| *it != source) {
                return Err(format!(
                    "`{other}` and `{source}` in the list of bots are two spellings of one name: write it in one way"
                ));
            }
        }
        Ok(Self(Arc::new(RwLock::new(bots))))
    }
}

/// The name of a bot as it is compared.
fn folded(source: &str) -> String {
    match Person::try_from(source.to_owned()) {
        Ok(person) => person.folded().to_owned(),
        Err(_) => source.to_lowercase(),
    }
}

impl<'de> Deserialize<'de> for People {
    fn deserialize<D: Deserializer<'de>>(said: D) -> Result<Self, D::Error> {
        said.deserialize_any(Said)
    }
}

/// Reads the people of a bot, and says what is wrong with one of them.
struct Said;

impl<'de> Visitor<'de> for Said {
    type Value = People;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of people, or `*` for everyone")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<People, E> {
        if text == "*" { Ok(People::Everyone) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<People, A::Error> {
        BTreeSet::deserialize(SeqAccessDeserializer::new(list)).map(People::Named)
    }
}

impl FromStr for Bots {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const WANTED: &str = "a list is such as `[{\"source\": \"chatops.example\", \"for\": [\"ann\"]}]`, with `\"for\": \"*\"` for everyone";
        let mut said = serde_json::Deserializer::from_str(text);
        let bots: Vec<Bot> = serde_path_to_error::deserialize(&mut said).map_err(|error| {
            // Of a text that is no JSON the line and the column say more than the path.
            let is_inside = error.inner().is_data() && error.path().iter().next().is_some();
            let (path, fault) = (error.path().to_string(), error.into_inner());
            if is_inside {
                format!("`{path}` of the list of bots cannot be read: {fault}; {WANTED}")
            } else {
                format!("the list of bots cannot be read: {fault}; {WANTED}")
            }
        })?;
        said.end().map_err(|error| format!("the list of bots cannot be read: {error}; {WANTED}"))?;
        bots.try_into()
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

    #[test]
    fn list_with_two_spellings_of_one_bot_is_refused_and_names_both() {
        for (other, is_one) in
            [("ChatOps", true), ("chat\u{43e}ps", true), ("chatops", false), ("chatops2", false)]
        {
            let list = format!(
                r#"[{{"source": "chatops", "for": ["ann"]}}, {{"source": "{other}", "for": ["bob"]}}]"#
            );
            let refused = list.parse::<Bots>().err();
            let wanted = is_one.then(|| {
                format!("`chatops` and `{other}` in the list of bots are two spellings of one name: write it in one way")
            });
            assert_eq!(refused, wanted);
        }
    }

    #[test]
    fn list_that_cannot_be_read_is_refused_with_the_place_the_fault_and_a_list_that_would_be_accepted() {
        let wanted = "; a list is such as `[{\"source\": \"chatops.example\", \"for\": [\"ann\"]}]`, with `\"for\": \"*\"` for everyone";
        for (list, said) in [
            ("[{", "the list of bots cannot be read: EOF while parsing an object at line 1 column 2"),
            ("[] x", "the list of bots cannot be read: trailing characters at line 1 column 4"),
            (
                r#"[{"source": "chatops", "for": "ann"}]"#,
                "`[0].for` of the list of bots cannot be read: invalid value: string \"ann\", expected a list of people, or `*` for everyone",
            ),
            (
                r#"[{"source": "chatops", "for": [" ann"]}]"#,
                "`[0].for[0]` of the list of bots cannot be read: ` ann` is not a person: 1 to 128 letters, digits, spaces or ASCII signs",
            ),
            (r#"[{"source": "chatops"}]"#, "`[0]` of the list of bots cannot be read: missing field `for`"),
        ] {
            let refused = list.parse::<Bots>().expect_err(list);
            assert!(refused.starts_with(said) && refused.ends_with(wanted), "{refused}");
        }
    }
}
