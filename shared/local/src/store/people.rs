//! The grants of each person, under one key for all spellings of the name.

use super::{failed::Failed, tables::Open};
use portcullis_domain::Person;
use redb::ReadableTable as _;

/// With what the keys of people begin in the index of grants, and the text after all of these.
const PEOPLE: [&str; 2] = ["by:", "by;"];

/// See [`super::commit::of_target`].
pub fn of_person(person: &Person) -> String {
    format!("{}{}", PEOPLE[0], person.folded())
}

/// Gives the grants of a file of a layout before the key of their person: there each spelling of a name had one.
pub fn fold(open: &mut Open<'_>) -> Result<(), Failed> {
    let mut spelled = vec![];
    for found in open.grants_of.range((PEOPLE[0], 0)..(PEOPLE[1], 0))? {
        let (key, id) = found?;
        let (whose, number) = key.value();
        let name = whose.strip_prefix(PEOPLE[0]).unwrap_or_default();
        // What is no name of a person was none when it was stored.
        let Ok(person) = Person::try_from(name.to_owned()) else { continue };
        if person.folded() != name {
            spelled.push((whose.to_owned(), number, of_person(&person), id.value().to_owned()));
        }
    }
    for (before, number, after, id) in spelled {
        open.grants_of.remove((before.as_str(), number))?;
        open.grants_of.insert((after.as_str(), number), id.as_str())?;
    }
    Ok(())
}
