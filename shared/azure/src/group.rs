//! A network security group with our rules in it.

use crate::{
    parts::{Part, locked, until},
    rule::Shown,
    topology::Topology,
};
use portcullis_app::ports::OurRule;
use portcullis_domain::{FirewallId, Owner, RuleName, TargetId};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Before the name of a machine, in the id of one that can be guarded.
pub(crate) const MACHINES: &str = "/providers/microsoft.compute/virtualmachines/";

/// A network security group, as ARM shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) properties: GroupProperties,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupProperties {
    #[serde(default)]
    pub(crate) security_rules: Vec<Shown>,
    #[serde(default)]
    pub(crate) default_security_rules: Vec<Shown>,
    /// Are established flows judged anew whenever its rules change? Azure leaves it out, or says null, where it never was set.
    /// Source: learn.microsoft.com, REST API of network security groups, `properties.flushConnection`.
    pub(crate) flush_connection: Option<bool>,
}

/// Where machines may be: what is known of a rule's machine is but its short name, and the digest of its id.
pub(crate) struct Homes(BTreeSet<String>);

impl Homes {
    /// Every resource group that anything was found in.
    pub(crate) fn of(topology: &Topology) -> Self {
        let machines = topology.machines.keys().map(TargetId::as_str);
        let firewalls = topology.groups.iter().chain(&topology.firewalls).map(FirewallId::as_str);
        let group = |id: &str| id.split_once("/providers/").map(|(group, _)| group.to_owned());
        Self(machines.chain(firewalls).filter_map(group).collect())
    }

    /// The machine that is called so by people, and so in rules.
    fn machine(&self, owner: &Owner, name: &str) -> Option<TargetId> {
        let name = name.to_ascii_lowercase();
        let mut ids = self.0.iter().filter_map(|it| format!("{it}{MACHINES}{name}").parse().ok());
        ids.find(|id| Owner::from(id) == *owner)
    }
}

impl Group {
    /// Are established flows judged anew when a rule changes?
    pub(crate) fn flushes(&self) -> bool {
        self.properties.flush_connection == Some(true)
    }

    /// Its rules of ours, each with all its parts.
    pub(crate) fn found(&self) -> BTreeMap<RuleName, BTreeMap<Part, Shown>> {
        let mut found: BTreeMap<RuleName, BTreeMap<Part, Shown>> = BTreeMap::new();
        for it in &self.properties.security_rules {
            if let Some((name, part)) = Part::of(&it.name).filter(|_| !it.properties.is_retired()) {
                found.entry(name).or_default().insert(part, it.clone());
            }
        }
        found
    }

    /// Each with what is known of its machine.
    pub(crate) fn ours(&self, homes: &Homes) -> Vec<OurRule> {
        let Ok(firewall) = self.id.to_ascii_lowercase().parse::<FirewallId>() else { return vec![] };
        let rule = |(name, parts): (RuleName, BTreeMap<Part, Shown>)| {
            let etag = Some(crate::parts::etag(&parts));
            let (until, machine) = match name.gate {
                Some(_) => (until(&parts), None),
                None => (None, locked(&parts).and_then(|machine| homes.machine(&name.owner, machine))),
            };
            OurRule { firewall: firewall.clone(), name, etag, until, machine, is_over: false }
        };
        self.found().into_iter().map(rule).collect()
    }
}
