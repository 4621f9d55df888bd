//! People by name. Two spellings of one name are one person.

use crate::BadName;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};
use unicode_normalization::UnicodeNormalization as _;
use unicode_security::skeleton;

const LENGTH_MAX: usize = 128;
const WHAT: &str = "a person";
const WANTED: &str = "1 to 128 letters, digits, spaces or ASCII signs";
/// Stands for any person in a list of people.
const ANYBODY: &str = "*";

/// The caller, the approver or the person who closes. The name is kept as it was given, and compared folded: letter case,
/// the several forms of a character in Unicode, and letters of other alphabets that look alike make no other person.
///
/// INVARIANT (the-approver-is-another-person): with a second spelling of their name nobody approves their own request.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Person {
    name: String,
    /// The name as it is compared, where that is another text.
    folded: Option<Box<str>>,
}

impl Person {
    /// The person who acts when nobody does.
    pub fn portcullis() -> Self {
        Self { name: "portcullis".to_owned(), folded: None }
    }

    /// The sign that stands for any person in a list of people. No person is called so.
    pub fn anybody() -> Self {
        Self { name: ANYBODY.to_owned(), folded: None }
    }

    /// Is it that sign?
    pub fn is_anybody(&self) -> bool {
        self.name == ANYBODY
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The name as it is compared, up to its first colon: names from one source begin alike. None where it has no colon, and no
    /// letter that looks like one.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.folded().split_once(':')?.0)
    }

    /// The name as it is compared: equal for all spellings of one person.
    pub fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or(&self.name)
    }
}

/// ASCII stands for itself but for its case: `1` and `l`, or `rn` and `m`, differ in too many names that are meant to differ.
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // Upper case first: both of `ss` and `ß`, and all of the sigmas, have one upper case.
    let without_case = |text: &str| -> String {
        text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
    };
    let plain: String = name.nfkc().collect();
    let mut bytes = [0; 4];
    let mut alike = String::with_capacity(plain.len());
    for c in without_case(&plain).nfkd() {
        if c.is_ascii() {
            alike.push(c);
        } else {
            alike.extend(skeleton(c.encode_utf8(&mut bytes)));
        }
    }
    without_case(&alike)
}

impl TryFrom<String> for Person {
    type Error = BadName;
    /// A name from the table: it is taken as it was written, whatever was taken for a name then.
    fn try_from(name: String) -> Result<Self, BadName> {
        let is_fit = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
        if name.is_empty() || LENGTH_MAX < name.len() || !name.chars().all(is_fit) || name.trim() != name {
            return Err(BadName::of(&name, WHAT, WANTED));
        }
        let folded = Some(folded(&name)).filter(|it| *it != name).map(String::into_boxed_str);
        Ok(Self { name, folded })
    }
}

impl FromStr for Person {
    type Err = BadName;
    fn from_str(name: &str) -> Result<Self, BadName> {
        if name == ANYBODY {
            return Err(BadName::of(
                name,
                WHAT,
                "it stands for everyone in a list of people, so that no person is called so",
            ));
        }
        Self::try_from(name.to_owned())
    }
}

impl From<Person> for String {
    fn from(person: Person) -> Self {
        person.name
    }
}

impl PartialEq for Person {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for Person {}

impl PartialOrd for Person {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Person {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for Person {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Person").field(&self.name).finish()
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn person(name: &str) -> Person {
        name.parse().expect("a person")
    }

    #[test]
    fn spellings_of_one_name_are_one_person() {
        let same = [
            ("ann", "Ann"),
            ("ann", "ANN"),
            // In Cyrillic, in full width, in mathematical letters.
            ("ann", "\u{430}nn"),
            ("ann", "\u{410}NN"),
            ("ann", "\u{ff41}\u{ff4e}\u{ff4e}"),
            ("ann", "\u{1d41a}nn"),
            ("bob@example.org", "B\u{43e}b@Example.org"),
            ("ren\u{e9}e", "RENE\u{301}E"),
            ("strauss", "Strau\u{df}"),
            ("\u{3c3}\u{3bf}\u{3c6}\u{3cc}\u{3c2}", "\u{3a3}\u{39f}\u{3a6}\u{38c}\u{3a3}"),
        ];
        for (one, other) in same {
            // An accent of its own is no letter, so that no name is given with one.
            let Ok(other) = Person::try_from(other.nfc().collect::<String>()) else { panic!("{other}") };
            assert_eq!(person(one), other);
            assert_eq!(person(one).cmp(&other), Ordering::Equal);
        }
    }

    #[test]
    fn namespace_ends_at_a_colon_and_at_a_letter_that_looks_like_one() {
        assert_eq!(person("ann@example.org").namespace(), None);
        assert_eq!(person("AWS:Ann:x").namespace(), Some("aws"));
        assert_eq!(person("\u{430}ws\u{2d0}ann").namespace(), Some("aws"));
    }

    #[test]
    fn other_names_are_other_people() {
        for (one, other) in [
            ("ann", "anna"),
            ("ann", "arn"),
            ("bob1", "bobl"),
            ("rn", "m"),
            ("o0", "oo"),
            ("rene", "ren\u{e9}"),
        ] {
            assert_ne!(person(one), person(other));
        }
    }

    #[test]
    fn name_is_kept_as_it_was_given_and_the_first_spelling_stays_in_a_set() {
        assert_eq!(person("Ann").to_string(), "Ann");
        assert_eq!(serde_json::to_string(&person("Ann")).expect("writes"), r#""Ann""#);
        let mut set = BTreeSet::new();
        let are_new = ["Ann", "ann", "\u{430}nn"].map(|it| set.insert(person(it)));
        assert_eq!(are_new, [true, false, false]);
        assert_eq!(set.iter().map(Person::as_str).collect::<Vec<_>>(), ["Ann"]);
    }

    #[test]
    fn asterisk_is_no_name_of_a_person_and_is_read_where_it_was_stored() {
        let refused = "*".parse::<Person>().expect_err("no name").to_string();
        assert!(refused.starts_with("`*` is not a person: it stands for everyone"), "{refused}");
        assert!(serde_json::from_str::<Person>(r#""*""#).expect("reads").is_anybody());
    }
}
