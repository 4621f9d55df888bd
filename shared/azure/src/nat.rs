//! Our rules in an Azure Firewall: a destination NAT rule per gate, in one collection of our own, on a public
//! port that follows from the rule's name.

use crate::{
    network::range,
    parts::{allow_description, printed, until_in},
    topology::{Front, list, text, texts},
};
use ipnet::IpNet;
use jiff::Timestamp;
use portcullis_domain::{
    Action, AddressSet, ChangeTo, Foreign, Gate, Held, Owner, Protocol, Rule, RuleName, Sources,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
};

/// What our collection is called.
pub const COLLECTION: &str = "Portcullis";
/// Where our collections may stand: the first that is free. Azure takes 100 to 65000, each once among the
/// collections of a kind.
const PRIORITIES: Range<u16> = 100..65_000;
/// Which public ports we give out.
const PORTS: Range<u16> = 20_000..60_000;
/// Priorities of rules in a collection are only names: no two of them are about the same public port.
pub const SEATS: Range<u16> = 0..u16::MAX;

/// What a firewall holds, as far as it concerns one machine.
#[derive(Debug, Default)]
pub struct Seen {
    pub ours: BTreeMap<RuleName, Held>,
    pub foreign: Vec<Foreign>,
    /// Where the machine's gates are reached.
    pub doors: BTreeMap<Gate, SocketAddr>,
}

/// Is the firewall being written? What it shows is then what it will hold, minutes later.
pub fn is_under_way(body: &Value) -> bool {
    let state = text(body, "/properties/provisioningState");
    !["", "Succeeded", "Failed", "Canceled"].iter().any(|it| it.eq_ignore_ascii_case(state))
}

/// What a firewall holds. While it is being written nobody is let in by a rule of ours there, as far as can be
/// told, and nothing is as it shall be: what opens waits for it, and what shuts in security groups does not.
pub fn seen(body: &Value, owner: &Owner, machine: &str, front: &Front) -> Seen {
    let mut seen = Seen::default();
    for (collection, rule) in rules(body) {
        let name = text(rule, "/name");
        let ours = ours(collection, name);
        if let Some(name) = &ours {
            let told = told(name, rule).filter(|_| !is_under_way(body)).filter(|it| {
                let wanted = nat_rule(name, it, machine, front, port_of(rule));
                name.owner == *owner && wanted.is_some_and(|wanted| says_the_same(rule, &wanted))
            });
            if let (Some(gate), Some(_), Some(port)) = (name.gate, &told, port_of(rule)) {
                seen.doors.insert(gate, SocketAddr::new(front.public, port));
            }
            let is_told = told.is_some();
            let priority = name.seat(SEATS.end);
            seen.ours.insert(name.clone(), Held { rule: told, priority, beside: vec![], etag: None });
            if is_told || name.owner == *owner && is_under_way(body) {
                continue;
            }
        }
        seen.foreign.push(foreign(collection, rule));
    }
    seen
}

/// The names of every rule of ours, with until when each says that it is wanted.
pub fn names(body: &Value) -> BTreeMap<RuleName, Option<Timestamp>> {
    let named = |(collection, rule)| {
        Some((ours(collection, text(rule, "/name"))?, until_in(text(rule, "/description"))))
    };
    rules(body).filter_map(named).collect()
}

/// The firewall as it shall be; none where it is so already.
pub fn changed(
    body: &Value,
    changes: &[(RuleName, ChangeTo)],
    machine: &str,
    front: Option<&Front>,
) -> Option<Value> {
    let mut taken: BTreeSet<u16> = rules(body).flat_map(|(_, rule)| ports_of(rule)).flatten().collect();
    let mut kept: BTreeMap<String, Value> = rules(body)
        .filter(|(collection, _)| is_ours(collection))
        .map(|(_, rule)| (text(rule, "/name").to_owned(), rule.clone()))
        .collect();
    let before = kept.clone();
    for (name, to) in changes {
        let key = name.to_string();
        match to {
            ChangeTo::Delete => drop(kept.remove(&key)),
            ChangeTo::Put { rule, .. } => {
                let Some(front) = front else { continue };
                let port = before.get(&key).and_then(port_of).or_else(|| free_port(name, &taken));
                let Some(wanted) = nat_rule(name, rule, machine, front, port) else { continue };
                taken.extend(port);
                if !kept.get(&key).is_some_and(|it| says_the_same(it, &wanted)) {
                    kept.insert(key, wanted);
                }
            }
        }
    }
    (kept != before).then(|| with_collection(body, &kept.into_values().collect::<Vec<_>>()))
}

/// What of these changes ends or shrinks what the firewall holds, and lets nobody in besides.
pub fn shrinking(body: &Value, changes: &[(RuleName, ChangeTo)]) -> Vec<(RuleName, ChangeTo)> {
    let held = |name: &RuleName| {
        let mut mine = rules(body).filter(|(collection, _)| is_ours(collection));
        let (_, rule) = mine.find(|(_, rule)| text(rule, "/name") == name.to_string())?;
        match told(name, rule)? {
            Rule::Allow { sources, .. } => Some(sources),
            Rule::Deny { .. } => None,
        }
    };
    let smaller = |(name, to): &(RuleName, ChangeTo)| match to {
        ChangeTo::Delete => Some((name.clone(), ChangeTo::Delete)),
        ChangeTo::Put { rule: Rule::Allow { gate, sources, until }, priority } => {
            let kept = AddressSet::from(&held(name)?).intersection(&AddressSet::from(sources)).to_sources();
            if kept.is_empty() {
                return Some((name.clone(), ChangeTo::Delete));
            }
            let rule = Rule::Allow { gate: *gate, sources: kept, until: *until };
            Some((name.clone(), ChangeTo::Put { rule, priority: *priority }))
        }
        ChangeTo::Put { rule: Rule::Deny { .. }, .. } => None,
    };
    changes.iter().filter_map(smaller).collect()
}

/// Every NAT rule, and the name of its collection.
fn rules(body: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let collections = list(body, "/properties/natRuleCollections").iter();
    collections.flat_map(|it| list(it, "/properties/rules").iter().map(|rule| (text(it, "/name"), rule)))
}

fn is_ours(collection: &str) -> bool {
    collection.eq_ignore_ascii_case(COLLECTION)
}

fn ours(collection: &str, name: &str) -> Option<RuleName> {
    if is_ours(collection) { name.parse().ok() } else { None }
}

fn with_collection(body: &Value, rules: &[Value]) -> Value {
    let mut body = body.clone();
    let all = list(&body, "/properties/natRuleCollections");
    let mine = all.iter().find(|it| is_ours(text(it, "/name"))).cloned();
    let mut collections: Vec<Value> = all.iter().filter(|it| !is_ours(text(it, "/name"))).cloned().collect();
    if !rules.is_empty() {
        let taken: BTreeSet<u64> =
            collections.iter().filter_map(|it| it.pointer("/properties/priority")?.as_u64()).collect();
        let priority = PRIORITIES.clone().find(|it| !taken.contains(&u64::from(*it)));
        let mut mine = mine.unwrap_or_else(|| {
            json!({
                "name": COLLECTION,
                "properties": { "priority": priority.unwrap_or(PRIORITIES.start), "action": { "type": "Dnat" } },
            })
        });
        mine["properties"]["rules"] = json!(rules);
        collections.push(mine);
    }
    body["properties"]["natRuleCollections"] = json!(collections);
    body
}

/// A NAT rule that says a rule of ours.
fn nat_rule(name: &RuleName, rule: &Rule, machine: &str, front: &Front, port: Option<u16>) -> Option<Value> {
    let Rule::Allow { gate, sources, until } = rule else { return None };
    let sources: Vec<String> = sources.ranges().iter().filter(|it| it.addr().is_ipv4()).map(source).collect();
    if sources.is_empty() {
        return None;
    }
    Some(json!({
        "name": name.to_string(),
        "description": allow_description(machine, *gate, *until),
        "protocols": protocols(gate.protocol),
        "sourceAddresses": sources,
        "destinationAddresses": [front.public.to_string()],
        "destinationPorts": [port?.to_string()],
        "translatedAddress": front.to.to_string(),
        "translatedPort": gate.port.to_string(),
    }))
}

fn says_the_same(one: &Value, two: &Value) -> bool {
    let list = |it: &Value, field: &str| {
        texts(it, field).iter().map(|it| it.to_ascii_lowercase()).collect::<BTreeSet<_>>()
    };
    let lists =
        ["/protocols", "/sourceAddresses", "/destinationAddresses", "/destinationPorts", "/sourceIpGroups"];
    let fields = ["/name", "/description", "/translatedAddress", "/translatedPort", "/translatedFqdn"];
    lists.iter().all(|it| list(one, it) == list(two, it))
        && fields.iter().all(|it| text(one, it) == text(two, it))
}

fn told(name: &RuleName, rule: &Value) -> Option<Rule> {
    let gate = name.gate?;
    let until = until_in(text(rule, "/description"))?;
    let sources: Option<Vec<IpNet>> = texts(rule, "/sourceAddresses").into_iter().map(source_range).collect();
    Some(Rule::Allow { gate, sources: Sources::of(sources?), until })
}

/// What a NAT rule that is not ours does. What cannot be known about it is taken for the worst.
fn foreign(collection: &str, rule: &Value) -> Foreign {
    let is_unknown = !list(rule, "/sourceIpGroups").is_empty();
    let ranges: Option<Vec<IpNet>> = texts(rule, "/sourceAddresses").into_iter().map(source_range).collect();
    let unsure = if is_unknown || ranges.is_none() { Sources::anywhere() } else { Sources::default() };
    let sources = ranges.map_or_else(Sources::default, Sources::of);
    let spoken = texts(rule, "/protocols");
    let speaks = |protocol: &str| {
        spoken.iter().any(|it| it.eq_ignore_ascii_case(protocol) || it.eq_ignore_ascii_case("any"))
    };
    let protocol = match (speaks("tcp"), speaks("udp")) {
        (true, true) => Some(Protocol::Any),
        (true, false) => Some(Protocol::Tcp),
        (false, true) => Some(Protocol::Udp),
        (false, false) => None,
    };
    let port = crate::rule::port_range(text(rule, "/translatedPort")).unwrap_or(0..=u16::MAX);
    let to = text(rule, "/translatedAddress")
        .parse::<IpAddr>()
        .map_or_else(|_| Sources::anywhere(), Sources::from);
    Foreign {
        name: format!("{collection}/{}", text(rule, "/name")),
        priority: SEATS.end,
        action: Action::Allow,
        protocol: protocol.unwrap_or(Protocol::Any),
        sources,
        unsure,
        ports: if protocol.is_some() { vec![port] } else { vec![] },
        to,
        is_general: false,
    }
}

fn protocols(protocol: Protocol) -> Vec<&'static str> {
    match protocol {
        Protocol::Tcp => vec!["TCP"],
        Protocol::Udp => vec!["UDP"],
        Protocol::Any => vec!["TCP", "UDP"],
    }
}

fn source(range: &IpNet) -> String {
    if range.prefix_len() == 0 { "*".to_owned() } else { printed(range) }
}

fn source_range(text: &str) -> Option<IpNet> {
    let everybody = || IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0).ok();
    if text == "*" { everybody() } else { range(text) }
}

fn ports_of(rule: &Value) -> Vec<Option<u16>> {
    texts(rule, "/destinationPorts").into_iter().map(|it| it.parse().ok()).collect()
}

fn port_of(rule: &Value) -> Option<u16> {
    ports_of(rule).first().copied().flatten()
}

/// The first free port from where the name says.
fn free_port(name: &RuleName, taken: &BTreeSet<u16>) -> Option<u16> {
    let count = PORTS.end - PORTS.start;
    let from = PORTS.start + name.seat(count);
    (from..PORTS.end).chain(PORTS.start..from).find(|it| !taken.contains(it))
}
