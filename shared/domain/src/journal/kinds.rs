//! The kinds of facts, as they are stored.

use super::Fact;
use serde::{
    Deserialize as _,
    de::{self, value::MapDeserializer},
};
use std::fmt;

impl Fact {
    /// The words of its field `what`, one for each kind.
    pub fn kinds() -> &'static [&'static str] {
        let unknown = MapDeserializer::<_, Kinds>::new(std::iter::once(("what", "")));
        Self::deserialize(unknown).err().map_or(&[], |Kinds(all)| all)
    }
}

/// What a reader of facts would have accepted: the list has no second copy that could be older.
#[derive(Debug)]
struct Kinds(&'static [&'static str]);

impl de::Error for Kinds {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

impl std::error::Error for Kinds {}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_facts_are_the_words_by_which_they_are_stored() {
        let kinds = Fact::kinds();
        for kind in ["policy_set", "opened", "drift_healed", "disk_recovered"] {
            assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
        }
        let stored = serde_json::to_value(Fact::DriftHealed).expect("writes");
        assert_eq!(stored["what"], "drift_healed");
    }
}
