//! An installation as a file describes it, so that policies are tested without a server.

use crate::known::Known;
use jiff::tz::TimeZone;
use portcullis_domain::{
    Authority, Binding, Facts, Member, Os, Person, Policies, PrincipalKind, Subject, TargetId,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

/// The name of the file in a folder of policies.
pub const INSTALLATION: &str = "installation.toml";

/// Who and what an installation has. Every part may be left out: then nothing is known of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// The time zone of days and hours in policies, such as `Europe/Berlin`. Default: UTC.
    #[serde(default)]
    zone: Zone,
    /// The operator whom the installation itself names.
    operator: Option<Person>,
    /// The people.
    people: Option<BTreeSet<Person>>,
    /// The programs with an identity of their own.
    workloads: Option<BTreeSet<Person>>,
    /// The members of each group: `ann`, or `workload:ci`.
    groups: Option<BTreeMap<String, BTreeSet<Caller>>>,
    /// The machines.
    #[serde(rename = "machine")]
    machines: Option<Vec<Machine>>,
    /// Who has which role on what.
    #[serde(rename = "binding", default)]
    bindings: BTreeSet<Binding>,
}

/// A caller by kind and name. As text `ann` or `person:ann`, `workload:ci`, `bot:ann`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Caller {
    /// The kind.
    pub kind: PrincipalKind,
    /// The name.
    pub name: Person,
}

/// A machine with the facts that its id does not tell.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    id: TargetId,
    region: Option<String>,
    os: Option<Os>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    guard: Option<String>,
}

/// A time zone by its name.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Zone(TimeZone);

/// How a caller of a file signed in, where nothing else is said: with a token of the installation.
pub const ISSUER: &str = "tokens";

impl Installation {
    /// The installation that this text describes; `Err` names the place and what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The time zone of days and hours.
    pub fn zone(&self) -> TimeZone {
        self.zone.0.clone()
    }

    /// The operator whom the installation itself names.
    pub fn operator(&self) -> Option<&Person> {
        self.operator.as_ref()
    }

    /// Its bindings, and these policy files in its time zone.
    pub fn authority(&self, files: BTreeMap<String, String>) -> Authority {
        let zone =
            (self.zone.0 != TimeZone::UTC).then(|| self.zone.0.iana_name().map(str::to_owned)).flatten();
        Authority {
            bindings: self.bindings.clone(),
            policies: Policies { zone, files },
            ..Authority::default()
        }
    }

    /// The bindings.
    pub fn bindings(&self) -> &BTreeSet<Binding> {
        &self.bindings
    }

    /// The callers and machines that exist, as far as they are listed.
    pub fn known(&self) -> Known {
        Known {
            people: self.people.clone(),
            workloads: self.workloads.clone(),
            groups: self.groups.as_ref().map(|it| it.keys().cloned().collect()),
            machines: self.machines.as_ref().map(|all| all.iter().map(|it| it.id.clone()).collect()),
        }
    }

    /// Every caller that is listed, people first.
    pub fn callers(&self) -> BTreeSet<Caller> {
        let of = |kind, names: &Option<BTreeSet<Person>>| -> Vec<Caller> {
            names.iter().flatten().map(|name| Caller { kind, name: name.clone() }).collect()
        };
        let listed = [of(PrincipalKind::Person, &self.people), of(PrincipalKind::Workload, &self.workloads)];
        let members = self.groups.iter().flat_map(BTreeMap::values).flatten().cloned();
        listed.into_iter().flatten().chain(members).chain(self.operator.iter().map(Caller::person)).collect()
    }

    /// Every machine that is listed.
    pub fn machines(&self) -> Vec<Facts> {
        self.machines.iter().flatten().map(Machine::facts).collect()
    }

    /// The members of this group; none if it is not listed.
    pub fn members(&self, group: &str) -> Option<&BTreeSet<Caller>> {
        self.groups.as_ref()?.get(group)
    }

    /// Is surely no caller one of these?
    pub fn is_nobody(&self, member: &Member) -> bool {
        match member {
            Member::Everyone => false,
            Member::Person(name) => self.people.as_ref().is_some_and(|it| !it.contains(name)),
            Member::Workload(name) => self.workloads.as_ref().is_some_and(|it| !it.contains(name)),
            Member::Group(group) => {
                self.groups.is_some() && self.members(group).is_none_or(BTreeSet::is_empty)
            }
        }
    }

    /// The caller with the groups that list them. A bot has those of the person whom it speaks for.
    pub fn subject(&self, caller: &Caller) -> Subject {
        let as_listed = match caller.kind {
            PrincipalKind::Person | PrincipalKind::Workload => caller.clone(),
            PrincipalKind::Bot | PrincipalKind::Platform => Caller::person(&caller.name),
        };
        let groups = self.groups.iter().flatten().filter(|(_, members)| members.contains(&as_listed));
        Subject {
            kind: caller.kind,
            name: caller.name.clone(),
            issuer: ISSUER.to_owned(),
            groups: groups.map(|(group, _)| group.clone()).collect(),
            claims: BTreeMap::new(),
        }
    }

    /// The machine with this id, or the one whose id ends with this name; `Err` says why there is not one.
    pub fn machine(&self, name: &str) -> Result<Facts, String> {
        let id: TargetId = name.parse().map_err(|error| format!("{error}"))?;
        let end = format!("/{id}");
        let all: Vec<Facts> = self.machines();
        let of = |it: &&Facts| it.id == id || it.id.as_str().ends_with(&end);
        let found: Vec<&Facts> = all.iter().filter(of).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] if self.machines.is_none() || name.contains('/') => Ok(Facts::of(&id)),
            [] => Err(format!("there is no machine `{name}` in {INSTALLATION}")),
            [_, ..] => {
                Err(format!("there are {} machines `{name}` in {INSTALLATION}: give the id", found.len()))
            }
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let zone = TimeZone::get(&name).map(Self);
        zone.map_err(|_| format!("`{name}` is not a time zone, such as `Europe/Berlin`"))
    }
}

impl Machine {
    fn facts(&self) -> Facts {
        let Self { id, region, os, tags, guard } = self.clone();
        let tags = tags.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
        Facts { region, os, tags, guard, ..Facts::of(&id) }
    }
}

impl Caller {
    /// This person.
    pub fn person(name: &Person) -> Self {
        Self { kind: PrincipalKind::Person, name: name.clone() }
    }
}

impl FromStr for Caller {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, name) = text.split_once(':').unwrap_or((PrincipalKind::Person.word(), text));
        let kind = PrincipalKind::ALL.into_iter().find(|it| it.word() == word);
        let read = kind.zip(name.parse().ok()).map(|(kind, name)| Self { kind, name });
        read.ok_or_else(|| format!("`{text}` is not a caller, such as `ann`, `workload:ci` or `bot:ann`"))
    }
}

impl TryFrom<String> for Caller {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            PrincipalKind::Person => write!(f, "{}", self.name),
            PrincipalKind::Workload | PrincipalKind::Bot | PrincipalKind::Platform => {
                write!(f, "{}:{}", self.kind.word(), self.name)
            }
        }
    }
}
