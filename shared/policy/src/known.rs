//! The callers and machines that exist.

use crate::schema::Type;
use cedar_policy::EntityUid;
use portcullis_domain::{Person, TargetId};
use std::collections::BTreeSet;

/// The callers and machines that exist. A list that is not given is not compared with.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The people.
    pub people: Option<BTreeSet<Person>>,
    /// The programs with an identity of their own.
    pub workloads: Option<BTreeSet<Person>>,
    /// The groups, letter by letter.
    pub groups: Option<BTreeSet<String>>,
    /// The machines.
    pub machines: Option<BTreeSet<TargetId>>,
}

impl Known {
    /// What is wrong with this entity: it is of a kind of which all are known, and is none of them.
    pub(crate) fn missing(&self, entity: &EntityUid) -> Option<String> {
        let id: &str = entity.id().unescaped();
        let person = |all: &BTreeSet<Person>| id.parse().is_ok_and(|it| all.contains(&it));
        let (is_there, what) = match Type::of(entity)? {
            Type::Person | Type::Bot => (self.people.as_ref().map(person)?, "person"),
            Type::Workload => (self.workloads.as_ref().map(person)?, "workload"),
            Type::Group => (self.groups.as_ref().map(|it| it.contains(id))?, "group"),
            Type::Machine => {
                let machine = |all: &BTreeSet<TargetId>| id.parse().is_ok_and(|it| all.contains(&it));
                (self.machines.as_ref().map(machine)?, "machine")
            }
            Type::Action | Type::Installation | Type::Platform => return None,
        };
        (!is_there).then(|| format!("there is no {what} `{id}`"))
    }
}
