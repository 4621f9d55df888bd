//! Authority: which roles callers have, on which machines, and the questions that policies answer.
//!
//! A role is a set of rights. A [`Binding`] gives a role to a [`Member`] on a [`Scope`]. Whether a caller may do something is a
//! [`Question`]; a [`Decide`] answers it. [`Roles`] answers by the bindings alone; an engine of policies answers by them and by policy files.
//!
//! INVARIANT (empty-is-nothing): without a binding that permits it, nothing is permitted.

mod nearest;
mod policies;
mod question;
mod role;
mod roles;

pub use nearest::{Nearest, nearest};
pub use policies::{Language, POLICIES_MAX, POLICY_BYTES_MAX, Policies, PoliciesAt, PolicyRead};
pub use question::{Circumstances, Decide, Facts, Judgement, Object, PrincipalKind, Question, Subject};
pub use role::{Right, Role};
pub use roles::{OPERATOR, Roles};

use crate::{BadName, Person, TargetId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// How many bindings an installation has at most: all of them are read for each call.
pub const BINDINGS_MAX: usize = 1_000;

/// A role that a member has on a scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The role.
    pub role: Role,
    /// The callers who have it.
    pub member: Member,
    /// The machines on which they have it.
    pub scope: Scope,
}

/// Callers who have a role. As text `everyone`, `person:ann`, `group:ops`, `workload:ci-deploy`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Member {
    /// Every caller whose identity is proven.
    Everyone,
    /// A person, also where a bot speaks for them.
    Person(Person),
    /// The people and workloads that their issuer puts into this group, compared letter by letter as issuers do.
    Group(String),
    /// A program with an identity of its own.
    Workload(Person),
}

/// Machines on which a role counts. As text `everything`, `account:NAME` (a subscription or an AWS account),
/// `group:ACCOUNT/NAME` (a resource group), `tag:KEY=VALUE`, `target:ID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Every machine, and the installation itself.
    Everything,
    /// The machines of a subscription or an account, in lower case.
    Account(String),
    /// The machines of a resource group of an account, both in lower case.
    ResourceGroup {
        /// The account.
        account: String,
        /// The resource group.
        group: String,
    },
    /// The machines with this tag; the key's letter case does not matter, as in Azure.
    Tag {
        /// The key, in lower case.
        key: String,
        /// The value.
        value: String,
    },
    /// One machine.
    Target(TargetId),
}

/// The bindings and policies of an installation, as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Grows by one with each change; 0 where nothing was ever changed.
    pub version: u64,
    /// Who has which role on what.
    pub bindings: BTreeSet<Binding>,
    /// The policies beside them.
    #[serde(default, skip_serializing_if = "Policies::is_empty")]
    pub policies: Policies,
    /// The newest change of the policies; none where they were never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<PoliciesAt>,
}

impl Authority {
    /// The authority of an installation in which nobody changed anything yet: whoever has proven who they are has every role but the
    /// operator's.
    pub fn founding() -> Self {
        let roles = Role::ALL.iter().filter(|it| **it != Role::Operator);
        let bindings =
            roles.map(|role| Binding { role: *role, member: Member::Everyone, scope: Scope::Everything });
        Self { bindings: bindings.collect(), ..Self::default() }
    }
}

impl Scope {
    /// Is this machine within it? No scope but everything holds the installation itself.
    pub fn holds(&self, object: &Object) -> bool {
        match (self, object) {
            (Self::Everything, _) => true,
            (
                Self::Account(_) | Self::ResourceGroup { .. } | Self::Tag { .. } | Self::Target(_),
                Object::Installation,
            ) => false,
            (Self::Account(account), Object::Machine(it)) => it.account.as_ref() == Some(account),
            (Self::ResourceGroup { account, group }, Object::Machine(it)) => {
                it.account.as_ref() == Some(account) && it.group.as_ref() == Some(group)
            }
            (Self::Tag { key, value }, Object::Machine(it)) => it.tags.get(key) == Some(value),
            (Self::Target(target), Object::Machine(it)) => *target == it.id,
        }
    }

    /// Is every machine of the other one surely within it?
    pub fn covers(&self, other: &Self) -> bool {
        let of_target = |id: &TargetId| Object::Machine(Box::new(Facts::of(id)));
        match (self, other) {
            (Self::Everything, _) => true,
            (_, Self::Target(id)) => self.holds(&of_target(id)),
            (Self::Account(account), Self::ResourceGroup { account: of, .. }) => account == of,
            (
                Self::Account(_) | Self::ResourceGroup { .. } | Self::Tag { .. } | Self::Target(_),
                Self::Everything | Self::Account(_) | Self::ResourceGroup { .. } | Self::Tag { .. },
            ) => self == other,
        }
    }
}

const MEMBER: &str = "a member";
const MEMBER_WANTED: &str = "`everyone`, `person:NAME`, `group:NAME` or `workload:NAME`";
const SCOPE: &str = "a scope";
const SCOPE_WANTED: &str = "`everything`, `account:ID`, `group:ACCOUNT/NAME`, `tag:KEY=VALUE` or `target:ID`";
/// How long the name of a group or a tag may be, in bytes.
const TEXT_MAX: usize = 256;

impl FromStr for Member {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::of(text, MEMBER, MEMBER_WANTED);
        let person = |name: &str| name.parse::<Person>().ok().filter(|it| !it.is_anybody()).ok_or_else(bad);
        match text.split_once(':') {
            None if text == "everyone" => Ok(Self::Everyone),
            Some(("person", name)) => person(name).map(Self::Person),
            Some(("workload", name)) => person(name).map(Self::Workload),
            Some(("group", name)) => plain(name).map(Self::Group).ok_or_else(bad),
            None | Some(_) => Err(bad()),
        }
    }
}

impl FromStr for Scope {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::of(text, SCOPE, SCOPE_WANTED);
        let word = |text: &str| plain(text).map(|it| it.to_ascii_lowercase()).ok_or_else(bad);
        match text.split_once(':') {
            None if text == "everything" => Ok(Self::Everything),
            Some(("account", account)) => word(account).map(Self::Account),
            Some(("group", path)) => {
                let (account, group) = path.split_once('/').ok_or_else(bad)?;
                Ok(Self::ResourceGroup { account: word(account)?, group: word(group)? })
            }
            Some(("tag", tag)) => {
                let (key, value) = tag.split_once('=').ok_or_else(bad)?;
                Ok(Self::Tag { key: word(key)?, value: plain(value).ok_or_else(bad)? })
            }
            Some(("target", id)) => id.parse().map(Self::Target).map_err(|_| bad()),
            None | Some(_) => Err(bad()),
        }
    }
}

/// A text of one line, neither empty nor too long.
fn plain(text: &str) -> Option<String> {
    let is_plain = !text.is_empty() && text.len() <= TEXT_MAX && !text.chars().any(char::is_control);
    (is_plain && text.trim() == text).then(|| text.to_owned())
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::Person(name) => write!(f, "person:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Workload(name) => write!(f, "workload:{name}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Account(account) => write!(f, "account:{account}"),
            Self::ResourceGroup { account, group } => write!(f, "group:{account}/{group}"),
            Self::Tag { key, value } => write!(f, "tag:{key}={value}"),
            Self::Target(id) => write!(f, "target:{id}"),
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} on {}", self.role, self.member, self.scope)
    }
}

/// Text on the wire and in the table.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(it: $name) -> Self {
                it.to_string()
            }
        }
    )*};
}
as_text!(Member, Scope);
