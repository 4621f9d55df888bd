//! Security rules as ARM shows them, and what they mean to the evaluator.

use crate::network::{Meant, Network, range};
use portcullis_domain::{Action, AddressSet, Foreign, Protocol, Sources};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::RangeInclusive;

/// A rule of a network security group.
#[derive(Debug, Clone, Deserialize)]
pub struct Shown {
    pub name: String,
    #[serde(default)]
    pub etag: Option<String>,
    pub properties: Properties,
}

/// What a rule says. A field and its plural exclude each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Properties {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port_range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port_ranges: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port_range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port_ranges: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address_prefixes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_application_security_groups: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_address_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_address_prefixes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_application_security_groups: Option<Vec<Value>>,
    pub access: String,
    pub priority: u16,
    pub direction: String,
    /// Only Azure writes it.
    #[serde(skip_serializing)]
    pub provisioning_state: Option<String>,
}

impl Properties {
    pub fn is_inbound(&self) -> bool {
        self.direction.eq_ignore_ascii_case("Inbound")
    }

    pub fn is_deny(&self) -> bool {
        self.access.eq_ignore_ascii_case("Deny")
    }

    /// Whom an allow of ours lets in: our rules name ranges alone.
    pub fn lets_in(&self) -> AddressSet {
        let ranges = if self.is_deny() { vec![] } else { self.sources() };
        AddressSet::from(&Sources::of(ranges.into_iter().filter_map(range)))
    }

    /// Is it still being written or deleted?
    pub fn is_under_way(&self) -> bool {
        let state = self.provisioning_state.as_deref().unwrap_or("Succeeded");
        !["Succeeded", "Failed", "Canceled"].iter().any(|it| it.eq_ignore_ascii_case(state))
    }

    /// Was it written, and is it in force?
    pub fn is_done(&self) -> bool {
        self.provisioning_state.as_deref().is_none_or(|it| it.eq_ignore_ascii_case("Succeeded"))
    }

    pub fn sources(&self) -> Vec<&str> {
        either(self.source_address_prefix.as_ref(), self.source_address_prefixes.as_ref())
    }

    pub fn destinations(&self) -> Vec<&str> {
        either(self.destination_address_prefix.as_ref(), self.destination_address_prefixes.as_ref())
    }

    pub fn destination_ports(&self) -> Vec<&str> {
        either(self.destination_port_range.as_ref(), self.destination_port_ranges.as_ref())
    }

    /// What a rule that is not ours does. What cannot be known about it is taken for the worst: an allow
    /// admits whom we cannot tell, a deny does not stop them.
    pub fn foreign(&self, name: &str, network: &Network) -> Foreign {
        let action = self.action();
        let groups = |it: &Option<Vec<Value>>| {
            it.iter().flatten().filter_map(|it| it["id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let meant = |prefixes: Vec<&str>, groups: Vec<String>| {
            let prefixes = prefixes.into_iter().map(|it| network.meant(it));
            let groups = groups.iter().map(|it| network.group(it));
            prefixes.chain(groups).fold(Meant::default(), |all, one| all.or(&one))
        };
        let from = meant(self.sources(), groups(&self.source_application_security_groups));
        let to = meant(self.destinations(), groups(&self.destination_application_security_groups));
        let to = match action {
            Action::Allow => to.sure.union(&to.unsure),
            Action::Deny => to.sure,
        };
        let from_any_port = self.is_from_any_port();
        let protocol = match self.protocol.to_ascii_lowercase().as_str() {
            "*" => Some(Protocol::Any),
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            // ICMP, ESP and AH have no ports.
            _ => None,
        };
        let speaks = protocol.is_some() && (from_any_port || action == Action::Allow);
        let ports = if speaks { self.ports() } else { vec![] };
        Foreign {
            name: name.to_owned(),
            priority: self.priority,
            action,
            protocol: protocol.unwrap_or(Protocol::Any),
            sources: from.sure.to_sources(),
            unsure: from.unsure.without(&from.sure).to_sources(),
            ports,
            to: to.to_sources(),
            is_general: self.sources().iter().any(|it| is_general(it)),
        }
    }

    fn action(&self) -> Action {
        if self.is_deny() { Action::Deny } else { Action::Allow }
    }

    fn is_from_any_port(&self) -> bool {
        either(self.source_port_range.as_ref(), self.source_port_ranges.as_ref())
            .iter()
            .any(|it| port_range(it) == Some(0..=u16::MAX))
    }

    fn ports(&self) -> Vec<RangeInclusive<u16>> {
        let worst = |action| match action {
            Action::Allow => Some(0..=u16::MAX),
            Action::Deny => None,
        };
        let range = |it: &&str| port_range(it).or_else(|| worst(self.action()));
        self.destination_ports().iter().filter_map(range).collect()
    }
}

/// Does a source stand for everybody, or for a network as a whole?
fn is_general(source: &str) -> bool {
    ["*", "any", "internet", "virtualnetwork"].iter().any(|it| source.eq_ignore_ascii_case(it))
}

/// `*`, `22` or `20-22`.
pub fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    if text == "*" {
        return Some(0..=u16::MAX);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some(first..=last)
}

/// A field and its plural: whichever was given.
fn either<'a>(one: Option<&'a String>, many: Option<&'a Vec<String>>) -> Vec<&'a str> {
    let all = one.into_iter().chain(many.into_iter().flatten());
    all.map(String::as_str).filter(|it| !it.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(access: &str) -> Properties {
        Properties {
            protocol: "Tcp".to_owned(),
            source_port_range: Some("*".to_owned()),
            destination_port_range: Some("22".to_owned()),
            source_address_prefix: Some("*".to_owned()),
            destination_address_prefix: Some("*".to_owned()),
            access: access.to_owned(),
            priority: 300,
            direction: "Inbound".to_owned(),
            ..Properties::default()
        }
    }

    #[test]
    fn an_unknown_value_is_treated_as_the_worst_case() {
        for (access, admits) in [("Allow", true), ("Deny", false)] {
            let tag = Properties { source_address_prefix: Some("AzureCloud".to_owned()), ..rule(access) };
            let Foreign { sources, unsure, .. } = tag.foreign("it", &Network::default());
            assert!(sources.is_empty() && unsure == Sources::anywhere(), "{access} by a tag");
            let port = Properties { source_port_range: Some("1024".to_owned()), ..rule(access) };
            let ports = port.foreign("it", &Network::default()).ports;
            assert_eq!(!ports.is_empty(), admits, "{access} from one port");
            let odd = Properties { destination_port_range: Some("ssh".to_owned()), ..rule(access) };
            assert_eq!(
                !odd.foreign("it", &Network::default()).ports.is_empty(),
                admits,
                "{access} to a word"
            );
        }
    }

    #[test]
    fn a_rule_without_ports_keeps_its_priority_and_says_nothing() {
        let ping = Properties { protocol: "Icmp".to_owned(), ..rule("Allow") };
        let foreign = ping.foreign("ping", &Network::default());
        assert_eq!((foreign.priority, foreign.ports.len()), (300, 0));
    }

    #[test]
    fn port_ranges_are_numbers() {
        assert_eq!(port_range("*"), Some(0..=u16::MAX));
        assert_eq!(port_range("20-22"), Some(20..=22));
        for bad in ["22-20", "ssh", "", "70000"] {
            assert_eq!(port_range(bad), None, "{bad}");
        }
    }
}
