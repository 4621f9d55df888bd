//! Checked policy files in a form that a process reads fast.

use crate::{
    fault::Faults,
    file::{self, Written},
    schema::Type,
    slices::Scoped,
};
use cedar_policy::EntityUid;
use portcullis_domain::Right;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The policies of files that passed the check, each with what its scope says: a process that has these parses no policy but those that it is
/// asked about. To be kept beside the files, and made again by another version of this program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compiled {
    /// In the order of the files and of their texts.
    pub(crate) policies: Vec<OfFile>,
}

/// A policy of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfFile {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The text in Cedar, in which every spelling of a name is the one that is compared.
    pub text: String,
    rights: Vec<Right>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    of: Type,
    id: String,
}

impl Compiled {
    /// The policies of these files, which have to pass the check.
    pub fn of(files: &BTreeMap<String, String>) -> Result<Self, Faults> {
        let policies = file::read(files)?.into_iter().map(|written| {
            let Written { file: _, offset: _, id, reason, policy } = written;
            let Scoped { rights, names } = Scoped::of(&policy);
            let names =
                names.and_then(|it| Some(Named { of: Type::of(&it)?, id: it.id().unescaped().to_owned() }));
            // Only a link to a template has no text, which no policy of a file is; without one it would refuse.
            OfFile { id, reason, text: policy.to_cedar().unwrap_or_default(), rights, names }
        });
        Ok(Self { policies: policies.collect() })
    }
}

impl OfFile {
    /// What its scope says.
    pub fn scope(&self) -> Scoped {
        let names: Option<EntityUid> = self.names.as_ref().map(|it| it.of.entity(&it.id));
        Scoped { rights: self.rights.clone(), names }
    }
}
