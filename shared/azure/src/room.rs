//! How much a security group takes.

use crate::{
    group::Group,
    parts::{Part, printed, singular},
    rule::{Properties, Shown},
    write::WRITE,
};
use portcullis_app::Error;
use portcullis_domain::{FirewallId, Headroom, Owner, RuleName};
use std::collections::{BTreeMap, BTreeSet};

/// How many rules a security group takes, and how many prefixes all of them together have on either side.
/// Source: learn.microsoft.com, "Azure subscription and service limits"; that prefixes are counted together:
/// `SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached`, kubernetes-sigs/cloud-provider-azure#2725.
pub const RULES_MAX: usize = 1000;
pub const PREFIXES_MAX: usize = 4000;

/// What of a part of a rule is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// This.
    Put(Box<Properties>),
    /// Nobody of it is to be let in any more, and what is wanted besides finds no room.
    Delete,
    /// Nothing: it stands as it is.
    Leave,
}

impl Fit {
    /// What is put, if anything is.
    pub fn said(&self) -> Option<&Properties> {
        match self {
            Self::Put(said) => Some(said),
            Self::Delete | Self::Leave => None,
        }
    }

    /// What ends of a part that stands, without what grows.
    pub fn shrunk(there: Option<&Properties>, wanted: &Properties) -> Self {
        if wanted.is_deny() {
            return Self::Put(Box::new(wanted.clone()));
        }
        let before = there.map(Properties::lets_in).unwrap_or_default();
        let kept = before.intersection(&wanted.lets_in());
        if before.is_within(&kept) {
            return Self::Leave;
        }
        let kept = kept.to_sources();
        if kept.is_empty() {
            return Self::Delete;
        }
        let (source_address_prefix, source_address_prefixes) = singular(kept.ranges().iter().map(printed));
        let smaller = Properties { source_address_prefix, source_address_prefixes, ..wanted.clone() };
        Self::Put(Box::new(smaller))
    }
}

impl Group {
    /// How much of one machine's allows it takes, all together, beside everything else in it.
    pub fn headroom(&self, firewall: &FirewallId, owner: &Owner) -> Headroom {
        let is_allow = |it: &Shown| {
            Part::of(&it.name).is_some_and(|(name, _)| name.owner == *owner && name.gate.is_some())
        };
        let others = || self.properties.security_rules.iter().filter(|it| !is_allow(it));
        let held: usize = others().map(|it| it.properties.sources().len()).sum();
        let (ranges, rules) = (PREFIXES_MAX.saturating_sub(held), RULES_MAX.saturating_sub(others().count()));
        Headroom { firewall: firewall.clone(), ranges, rules }
    }

    /// What is written of the parts of a rule: all, or what ends and shuts where there is no room for the rest.
    pub fn fitting(
        &self,
        id: &FirewallId,
        name: &RuleName,
        wanted: &BTreeMap<Part, Properties>,
    ) -> (BTreeMap<Part, Fit>, Result<(), Error>) {
        let fits = self.bear(id, name, wanted);
        let fit = |(part, said): (&Part, &Properties)| {
            let there = self.rule(&part.name(name)).map(|it| &it.properties);
            let fit = if fits.is_ok() { Fit::Put(Box::new(said.clone())) } else { Fit::shrunk(there, said) };
            (*part, fit)
        };
        (wanted.iter().map(fit).collect(), fits)
    }

    /// Whether it takes these parts of a rule besides everything else; otherwise why not.
    fn bear(
        &self,
        id: &FirewallId,
        name: &RuleName,
        wanted: &BTreeMap<Part, Properties>,
    ) -> Result<(), Error> {
        let mine: BTreeSet<String> = wanted.keys().map(|it| it.name(name).to_ascii_lowercase()).collect();
        let others: Vec<&Properties> = self
            .properties
            .security_rules
            .iter()
            .filter(|it| !mine.contains(&it.name.to_ascii_lowercase()))
            .map(|it| &it.properties)
            .collect();
        let all = || others.iter().copied().chain(wanted.values());
        let now = || self.properties.security_rules.iter().map(|it| &it.properties);
        let counted = [
            ("rules", all().count(), now().count(), RULES_MAX),
            (
                "source prefixes",
                all().map(|it| it.sources().len()).sum(),
                now().map(|it| it.sources().len()).sum(),
                PREFIXES_MAX,
            ),
            (
                "destination prefixes",
                all().map(|it| it.destinations().len()).sum(),
                now().map(|it| it.destinations().len()).sum(),
                PREFIXES_MAX,
            ),
        ];
        // What only shuts or shrinks is not held up by a group that is full already.
        let shuts = wanted.values().all(Properties::is_deny);
        match counted.into_iter().find(|(_, count, now, max)| max < count && now < count) {
            Some((what, count, _, max)) if !shuts => {
                let source = format!("`{id}` would have `{count}` {what}: at most {max}").into();
                Err(Error::Broken { doing: WRITE, source })
            }
            Some(_) | None => Ok(()),
        }
    }
}
