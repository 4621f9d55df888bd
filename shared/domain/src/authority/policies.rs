//! The policy files of an installation, and what reads them.

use super::{Authority, Decide};
use crate::{Person, TargetId};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// How many policies the files of an installation have at most.
pub const POLICIES_MAX: usize = 1_000;
/// How long the policy files are at most, as they are stored, in bytes: an item of DynamoDB has 400 KB, in which they have to fit beside the
/// roles.
pub const POLICY_BYTES_MAX: usize = 200 * 1024;
/// How long the name of a policy file is at most, in bytes.
const NAME_MAX: usize = 64;
/// How the name of a policy file ends.
const ENDING: &str = ".cedar";

/// The policy files of an installation, and the time zone that they go by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// The time zone of days and hours in policies, as IANA names it, such as `Europe/Berlin`; UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The text of each file in Cedar, by the name of the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// Where the journal has the newest change of the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoliciesAt {
    /// The version of the authority that it made.
    pub version: u64,
    /// The number of its entry in the chain of the rest.
    pub entry: u64,
}

impl Policies {
    /// Is there none, and no time zone either?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How long they are as they are stored, in bytes.
    pub fn bytes(&self) -> usize {
        serde_json::json!(self).to_string().len()
    }

    /// The names of files that are none of a policy file's: 1 to 64 letters, digits, `-`, `_` and `.`, with `.cedar` at the end.
    pub fn bad_names(&self) -> impl Iterator<Item = &String> {
        let is_sign = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        let is_good = move |it: &String| {
            it.len() <= NAME_MAX && ENDING.len() < it.len() && it.ends_with(ENDING) && it.chars().all(is_sign)
        };
        self.files.keys().filter(move |it| !is_good(it))
    }
}

/// A policy of a file, as far as it can be said without the language that it is written in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRead {
    /// Its text, without what stands around it.
    pub text: String,
    /// The people whom it names.
    pub people: BTreeSet<Person>,
    /// The machines that it names.
    pub machines: BTreeSet<TargetId>,
}

/// Reads policy files. Pure: the same files have the same meaning.
pub trait Language: fmt::Debug + Send + Sync {
    /// Each policy by its id. `Err` has each fault, as `FILE:LINE:COLUMN: what is wrong`.
    fn read(&self, policies: &Policies) -> Result<BTreeMap<String, PolicyRead>, Vec<String>>;

    /// What decides by an authority whose policies were read without a fault when they were stored, and by the operator whom the installation
    /// itself names. `Err` says why it cannot be made.
    fn engine(&self, authority: &Authority, operator: Option<&Person>) -> Result<Arc<dyn Decide>, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_policy_files_are_plain_and_end_in_cedar() {
        let long = format!("{}.cedar", "a".repeat(NAME_MAX));
        for (name, is_good) in [
            ("on-call.cedar", true),
            ("a_1.b.cedar", true),
            (".cedar", false),
            ("on-call.txt", false),
            ("a/b.cedar", false),
            ("a b.cedar", false),
            ("é.cedar", false),
            (long.as_str(), false),
        ] {
            let policies = Policies { zone: None, files: [(name.to_owned(), String::new())].into() };
            assert_eq!(policies.bad_names().next().is_none(), is_good, "{name}");
        }
    }
}
