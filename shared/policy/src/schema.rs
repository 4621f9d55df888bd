//! The published schema, and the names in it.

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};
use portcullis_domain::{Object, Person, PrincipalKind, Right, TargetId};
use serde::{Deserialize, Serialize};
use std::{str::FromStr as _, sync::LazyLock};

/// The text of the schema, as it is published.
pub const SCHEMA: &str = include_str!("../../../infra/policy/portcullis.cedarschema");

/// The schema of every policy, request and entity.
pub static PARSED: LazyLock<Schema> = LazyLock::new(|| {
    // It is part of the program: a test reads it.
    Schema::from_str(SCHEMA).unwrap_or_else(|error| unreachable!("the schema is one: {error}"))
});

/// A type of entity in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Type {
    /// An action.
    Action,
    /// A bot that speaks for a person.
    Bot,
    /// A group of callers.
    Group,
    /// The installation.
    Installation,
    /// A machine.
    Machine,
    /// A person.
    Person,
    /// The cloud, or Portcullis itself.
    Platform,
    /// A program with an identity of its own.
    Workload,
}

/// The name of the one installation.
const INSTALLATION: &str = "portcullis";

impl Type {
    const ALL: [Self; 8] = [
        Self::Action,
        Self::Bot,
        Self::Group,
        Self::Installation,
        Self::Machine,
        Self::Person,
        Self::Platform,
        Self::Workload,
    ];

    /// The type of this entity; none if the schema has no such type.
    pub fn of(entity: &EntityUid) -> Option<Self> {
        let name = entity.type_name().to_string();
        Self::ALL.into_iter().find(|it| it.word() == name)
    }

    /// The word in the schema.
    pub fn word(self) -> &'static str {
        match self {
            Self::Action => "Action",
            Self::Bot => "Bot",
            Self::Group => "Group",
            Self::Installation => "Installation",
            Self::Machine => "Machine",
            Self::Person => "Person",
            Self::Platform => "Platform",
            Self::Workload => "Workload",
        }
    }

    /// The entity of this type with this id.
    pub fn entity(self, id: &str) -> EntityUid {
        static NAMES: LazyLock<Vec<EntityTypeName>> = LazyLock::new(|| {
            let read = |it: Type| {
                let name = EntityTypeName::from_str(it.word());
                name.unwrap_or_else(|error| unreachable!("it is a name: {error}"))
            };
            Type::ALL.into_iter().map(read).collect()
        });
        EntityUid::from_type_name_and_id(NAMES[self as usize].clone(), EntityId::new(id))
    }
}

/// The action that takes this right.
pub fn action(right: Right) -> EntityUid {
    Type::Action.entity(right.word())
}

/// The caller of this kind with this name: all spellings of a name are one entity.
pub fn principal(kind: PrincipalKind, name: &Person) -> EntityUid {
    let of = match kind {
        PrincipalKind::Person => Type::Person,
        PrincipalKind::Workload => Type::Workload,
        PrincipalKind::Bot => Type::Bot,
        PrincipalKind::Platform => Type::Platform,
    };
    of.entity(name.folded())
}

/// The entity of what an action is done to.
pub fn resource(object: &Object) -> EntityUid {
    match object {
        Object::Installation => Type::Installation.entity(INSTALLATION),
        Object::Machine(facts) => Type::Machine.entity(facts.id.as_str()),
    }
}

/// The entity as this engine spells it; `Err` says what its id would have to be.
pub fn canonical(entity: &EntityUid) -> Result<EntityUid, String> {
    let Some(of) = Type::of(entity) else { return Ok(entity.clone()) };
    let id: &str = entity.id().unescaped();
    match of {
        Type::Person | Type::Workload | Type::Bot | Type::Platform => {
            let person = id.parse::<Person>().map_err(|error| error.to_string())?;
            Ok(of.entity(person.folded()))
        }
        Type::Machine => {
            let id = id.parse::<TargetId>().map_err(|error| error.to_string())?;
            Ok(of.entity(id.as_str()))
        }
        Type::Installation if id != INSTALLATION => {
            Err(format!("there is one installation, `Installation::\"{INSTALLATION}\"`"))
        }
        Type::Action | Type::Group | Type::Installation => Ok(entity.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn schema_is_read_and_has_an_action_for_each_right() {
        let actions: BTreeSet<String> = PARSED.actions().map(ToString::to_string).collect();
        let rights: BTreeSet<String> = Right::ALL.iter().map(|it| action(*it).to_string()).collect();
        assert_eq!(actions, rights);
    }

    #[test]
    fn schema_has_these_types_and_no_others() {
        let types: BTreeSet<String> = PARSED.entity_types().map(ToString::to_string).collect();
        let ours = Type::ALL.into_iter().filter(|it| *it != Type::Action).map(|it| it.word().to_owned());
        assert_eq!(types, ours.collect());
        for of in Type::ALL {
            assert_eq!(Type::of(&of.entity("it")), Some(of));
        }
    }
}
