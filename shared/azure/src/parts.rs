//! Our rules as security rules. One rule of ours is one security rule, but where Azure cannot say it in one:
//! a security rule has one protocol and addresses of one family
//! (`ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies`). Then it has parts, each with a
//! suffix to the name.

use crate::{
    network::range,
    rule::{Properties, Shown, port_range},
};
use data_encoding::HEXLOWER;
use ipnet::IpNet;
use jiff::Timestamp;
use portcullis_domain::{Etag, Foreign, Gate, Held, Port, Protocol, Rule, RuleName, Sources};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// How long a description may be, in characters.
const DESCRIPTION_MAX: usize = 140;
/// Before the end of the last lease, at the end of an allow's description.
const UNTIL: &str = " until ";
/// Before the name of the machine, in a lock's.
const LOCKDOWN: &str = "Portcullis: nobody passes without a lease to ";
/// After what there is room for of a name.
const CUT: char = '…';

/// The machine that rules of ours are about, as one security group sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Its private addresses behind the group.
    pub addresses: &'a [IpAddr],
    /// From where a firewall in front of it sends on.
    pub inside: &'a Sources,
}

/// Which part of a rule of ours a security rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// The protocol of a lockdown's part; an allow has its gate's.
    protocol: Protocol,
    is_v6: bool,
}

/// A security rule of ours as it was read: what to replace or delete, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub part: Part,
    pub etag: Option<String>,
    /// Of what it said: an etag may change without it, where a group's rules share the group's.
    pub digest: String,
    pub priority: u16,
}

impl Part {
    /// Is it about addresses of IPv6?
    pub fn is_v6(self) -> bool {
        self.is_v6
    }

    /// The name of this part of a rule.
    pub fn name(self, of: &RuleName) -> String {
        let protocol = match (of.gate, self.protocol) {
            (Some(_), _) | (None, Protocol::Tcp) => "",
            (None, Protocol::Udp) => "-udp",
            (None, Protocol::Any) => "-any",
        };
        format!("{of}{protocol}{}", if self.is_v6 { V6 } else { "" })
    }

    /// Which part of which rule of ours has this name; none where it is not ours.
    pub fn of(name: &str) -> Option<(RuleName, Self)> {
        let (rest, is_v6) = name.strip_suffix(V6).map_or((name, false), |rest| (rest, true));
        let parsed = |text: &str| text.parse::<RuleName>().ok();
        if let Some(rule) = parsed(rest) {
            let protocol = rule.gate.map_or(Protocol::Tcp, |gate| gate.protocol);
            return Some((rule, Self { protocol, is_v6 }));
        }
        [("-udp", Protocol::Udp), ("-any", Protocol::Any)].into_iter().find_map(|(suffix, protocol)| {
            let rule = parsed(rest.strip_suffix(suffix)?).filter(|it| it.gate.is_none())?;
            Some((rule, Self { protocol, is_v6 }))
        })
    }
}

const V6: &str = "-v6";

/// The security rules that say a rule of ours, each at priority 0: where they stand is another question.
pub fn parts(rule: &Rule, subject: &Subject<'_>) -> BTreeMap<Part, Properties> {
    let mut parts = BTreeMap::new();
    for is_v6 in [false, true] {
        let to: Vec<IpNet> =
            subject.addresses.iter().filter(|it| it.is_ipv6() == is_v6).map(|it| IpNet::from(*it)).collect();
        if to.is_empty() {
            continue;
        }
        match rule {
            Rule::Deny { gates } => {
                for protocol in gates.iter().map(|it| it.protocol).collect::<BTreeSet<_>>() {
                    let of_it = gates.iter().filter(|it| it.protocol == protocol).map(|it| it.port);
                    let from = (Some("*".to_owned()), None);
                    let description = lockdown_description(subject.name);
                    let said = said("Deny", protocol, from, of_it, &to, description);
                    parts.insert(Part { protocol, is_v6 }, said);
                }
            }
            Rule::Allow { gate, sources, until } => {
                let is_one = |it: &&IpNet| it.addr().is_ipv6() == is_v6;
                let mut from: Vec<IpNet> = sources.ranges().iter().filter(is_one).copied().collect();
                if from.is_empty() {
                    continue;
                }
                let covered = |it: &&IpNet| is_one(it) && !from.iter().any(|range| range.contains(*it));
                let inside: Vec<IpNet> = subject.inside.ranges().iter().filter(covered).copied().collect();
                from.extend(inside);
                let description = allow_description(subject.name, *gate, *until);
                let said = said(
                    "Allow",
                    gate.protocol,
                    singular(from.iter().map(printed)),
                    [gate.port],
                    &to,
                    description,
                );
                parts.insert(Part { protocol: gate.protocol, is_v6 }, said);
            }
        }
    }
    parts
}

/// What the parts of a rule of ours that were found say; the second is a twin for each where it is not what
/// we would write, or where one of `others` decides between them.
pub fn held(
    name: &RuleName,
    found: &BTreeMap<Part, Shown>,
    subject: &Subject<'_>,
    others: &[Foreign],
    foreign: impl Fn(&Shown) -> Foreign,
) -> (Held, Vec<Foreign>) {
    let stands = |it: &Shown| it.properties.priority;
    let ends = found.values().map(stands).min().zip(found.values().map(stands).max());
    let is_parted = |rule: &Rule| {
        let gates = match rule {
            Rule::Deny { gates } => gates.clone(),
            Rule::Allow { gate, .. } => BTreeSet::from([*gate]),
        };
        let is_between = |at: u16| ends.is_some_and(|(first, last)| first < at && at < last);
        let speaks = |it: &&Foreign| !it.to.is_empty() && gates.iter().any(|gate| it.speaks_of(*gate));
        others.iter().filter(|it| is_between(it.priority)).any(|it| speaks(&it))
    };
    let rule = told(name, found, subject).filter(|rule| {
        let same = |(part, wanted): (&Part, &Properties)| {
            found.get(part).is_some_and(|it| it.properties.is_done() && says_the_same(&it.properties, wanted))
        };
        let wanted = parts(rule, subject);
        wanted.len() == found.len() && wanted.iter().all(same) && !is_parted(rule)
    });
    let twins = if rule.is_none() { found.values().map(foreign).collect() } else { vec![] };
    let mut priorities = found.values().map(|it| it.properties.priority);
    let priority = priorities.next().unwrap_or(0);
    (Held { rule, priority, beside: priorities.collect(), etag: Some(etag(found)) }, twins)
}

/// What is to be replaced or deleted, by the etag that [`held`] made.
pub fn versions(etag: Option<&Etag>) -> Vec<Version> {
    etag.and_then(|it| serde_json::from_str(&it.0).ok()).unwrap_or_default()
}

/// Of what a security rule says.
pub fn digest(said: &Properties) -> String {
    let said = Properties { provisioning_state: None, ..said.clone() };
    let text = serde_json::to_vec(&said).unwrap_or_default();
    HEXLOWER.encode(&Sha256::digest(text)[..8])
}

pub fn etag(found: &BTreeMap<Part, Shown>) -> Etag {
    let version = |(part, it): (&Part, &Shown)| Version {
        part: *part,
        etag: it.etag.clone(),
        digest: digest(&it.properties),
        priority: it.properties.priority,
    };
    let versions: Vec<Version> = found.iter().map(version).collect();
    Etag(serde_json::to_string(&versions).unwrap_or_default())
}

/// What a lock shuts, whatever it is about.
pub fn lock(name: &RuleName, found: &BTreeMap<Part, Shown>) -> Option<Rule> {
    let subject = Subject { name: "", addresses: &[], inside: &Sources::default() };
    if name.gate.is_none() { told(name, found, &subject) } else { None }
}

/// Until when an allow says that it is wanted: none where any of its parts does not say.
pub fn until(found: &BTreeMap<Part, Shown>) -> Option<Timestamp> {
    let ends: Option<Vec<Timestamp>> =
        found.values().map(|it| until_in(it.properties.description.as_deref()?)).collect();
    ends?.into_iter().max()
}

/// The end of the last lease, in an allow's description.
pub fn until_in(description: &str) -> Option<Timestamp> {
    description.rsplit_once(UNTIL)?.1.parse().ok()
}

/// What people call the machine that a lock is for; none where its name was too long.
pub fn locked(found: &BTreeMap<Part, Shown>) -> Option<&str> {
    let description = found.values().next()?.properties.description.as_deref()?;
    description.strip_prefix(LOCKDOWN).filter(|it| !it.ends_with(CUT))
}

/// The rule that these parts may say; whether they do is for others to compare.
fn told(name: &RuleName, found: &BTreeMap<Part, Shown>, subject: &Subject<'_>) -> Option<Rule> {
    let Some(gate) = name.gate else {
        let mut gates = BTreeSet::new();
        for (part, it) in found {
            for port in it.properties.destination_ports() {
                let range = port_range(port).filter(|it| it.start() == it.end())?;
                gates.insert(Gate { port: Port::try_from(*range.start()).ok()?, protocol: part.protocol });
            }
        }
        return Some(Rule::Deny { gates });
    };
    let mut ranges = vec![];
    for it in found.values() {
        for source in it.properties.sources() {
            let source = range(source)?;
            if !subject.inside.ranges().contains(&source) {
                ranges.push(source);
            }
        }
    }
    let until = until_in(found.values().next()?.properties.description.as_deref()?)?;
    Some(Rule::Allow { gate, sources: Sources::of(ranges), until })
}

/// Do they say the same at the same priority?
pub fn same_rule(one: &Properties, two: &Properties) -> bool {
    one.priority == two.priority && says_the_same(one, two)
}

/// Apart from where they stand, and from how a list of one is written.
fn says_the_same(one: &Properties, two: &Properties) -> bool {
    let list = |texts: Vec<&str>| {
        let normal = |it: &str| range(it).map_or_else(|| it.to_ascii_lowercase(), |it| it.to_string());
        texts.into_iter().map(normal).collect::<BTreeSet<_>>()
    };
    let ports = |texts: Vec<&str>| {
        let ends = |it: &str| port_range(it).map(std::ops::RangeInclusive::into_inner);
        texts.into_iter().map(ends).collect::<BTreeSet<_>>()
    };
    let has_groups = |it: &Properties| {
        let groups = [&it.source_application_security_groups, &it.destination_application_security_groups];
        groups.into_iter().flatten().any(|it| !it.is_empty())
    };
    let from_any_port = |it: &Properties| it.source_port_range.as_deref() == Some("*");
    one.access.eq_ignore_ascii_case(&two.access)
        && one.direction.eq_ignore_ascii_case(&two.direction)
        && one.protocol.eq_ignore_ascii_case(&two.protocol)
        && one.description == two.description
        && list(one.sources()) == list(two.sources())
        && list(one.destinations()) == list(two.destinations())
        && ports(one.destination_ports()) == ports(two.destination_ports())
        && from_any_port(one)
        && from_any_port(two)
        && !has_groups(one)
        && !has_groups(two)
}

pub type OneOrMany = (Option<String>, Option<Vec<String>>);

fn said(
    access: &str,
    protocol: Protocol,
    (source, sources): OneOrMany,
    ports: impl IntoIterator<Item = Port>,
    to: &[IpNet],
    description: String,
) -> Properties {
    let (port, ports) = singular(ports.into_iter().map(|it| it.to_string()));
    let (destination, destinations) = singular(to.iter().map(printed));
    Properties {
        description: Some(description),
        protocol: match protocol {
            Protocol::Tcp => "Tcp",
            Protocol::Udp => "Udp",
            Protocol::Any => "*",
        }
        .to_owned(),
        source_port_range: Some("*".to_owned()),
        destination_port_range: port,
        destination_port_ranges: ports,
        source_address_prefix: source,
        source_address_prefixes: sources,
        destination_address_prefix: destination,
        destination_address_prefixes: destinations,
        access: access.to_owned(),
        direction: "Inbound".to_owned(),
        ..Properties::default()
    }
}

/// One stands in the field, several in its plural.
pub fn singular(all: impl IntoIterator<Item = String>) -> OneOrMany {
    let mut all: Vec<String> = all.into_iter().collect();
    if all.len() == 1 { (all.pop(), None) } else { (None, Some(all)) }
}

/// An address stands without its length.
pub fn printed(range: &IpNet) -> String {
    if range.prefix_len() == range.max_prefix_len() { range.addr().to_string() } else { range.to_string() }
}

fn lockdown_description(machine: &str) -> String {
    cut(LOCKDOWN, machine, "")
}

pub fn allow_description(machine: &str, gate: Gate, until: Timestamp) -> String {
    cut(&format!("Portcullis: {gate} of "), machine, &format!("{UNTIL}{until}"))
}

/// A description with as much of a long name as there is room for.
fn cut(before: &str, name: &str, after: &str) -> String {
    let room =
        DESCRIPTION_MAX - before.chars().count().saturating_add(after.chars().count()).min(DESCRIPTION_MAX);
    let name: String = if name.chars().count() <= room {
        name.to_owned()
    } else {
        name.chars().take(room.saturating_sub(1)).chain([CUT]).collect()
    };
    format!("{before}{name}{after}")
}
