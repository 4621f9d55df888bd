//! Our table as `nft -j` writes and prints it.
//!
//! ```text
//! iifname "lo" accept                          this machine itself
//! ct state established accept                  unless the end of a lease is to cut connections
//! tcp dport 22 ip saddr @…-tcp-22-v4 accept    a live lease's sources; its elements time out at its end
//! tcp dport 22 drop                            the lock
//! ```
//!
//! The same stands in two chains. `arriving` sees a packet's destination before anybody translates it, so that a port which
//! another table redirects, or publishes for a container, is shut too; there each rule has `fib daddr type local`, since only
//! packets for this machine are guarded. `input` sees it afterwards, so that no other port is a way to a guarded one.
//!
//! What a rule is for stands in its comment: its name, its priority, and when it ends or what it shuts.
//!
//! Where connections are cut, connection tracking has no say: it takes a connection that it does not know
//! for one of this machine's own as soon as this machine sends something (`nf_conntrack_tcp_loose`), and
//! an answer to that would pass for good.

use super::established::Established;
use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Gate, Protocol, Rule, RuleName, Sources};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Where our table is.
pub const FAMILY: &str = "inet";
/// What it is called.
pub const TABLE: &str = "portcullis";
/// Our chains.
const CHAINS: [Chain; 2] = [
    // After connection tracking (-200), and before every translation of destinations (-100 by convention, and never as early as
    // connection tracking). Source: Linux, `enum nf_ip_hook_priorities`.
    Chain { name: "arriving", hook: "prerouting", priority: -199, is_for_all: true },
    // Before the filters of others, which stand at 0.
    Chain { name: "input", hook: "input", priority: -10, is_for_all: false },
];
/// How much longer than its rule an element may last: time-outs are whole seconds, and so is what is
/// printed of them.
const ELEMENT_SLACK: SignedDuration = SignedDuration::from_secs(2);

/// What stands in our table.
#[derive(Debug, Clone)]
pub struct Table {
    /// When it was asked for.
    pub read_at: Timestamp,
    /// Our rules, as their comments and sets tell. One that the kernel has shut is not here.
    pub rules: BTreeMap<RuleName, Placed>,
    /// Is it what we would write for these rules?
    pub is_as_written: bool,
    /// Allows whose elements last longer than they, by no more than the clock was set forward since they were written.
    pub outlasting: BTreeSet<RuleName>,
    /// Allows that the kernel has shut, and until when they stood.
    pub lapsed: BTreeMap<RuleName, Timestamp>,
}

/// A rule of ours, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The rule.
    pub rule: Rule,
    /// Its priority.
    pub priority: u16,
}

/// A base chain of ours.
#[derive(Debug, Clone, Copy)]
struct Chain {
    name: &'static str,
    hook: &'static str,
    priority: i32,
    /// Do packets for other machines come by?
    is_for_all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The transaction that makes these rules everything that stands in our table.
pub fn commands(rules: &BTreeMap<RuleName, Placed>, established: Established, now: Timestamp) -> Value {
    let table = json!({ "table": { "family": FAMILY, "name": TABLE } });
    // Adding what is there is no error, so this deletes whatever was there before.
    let mut commands = vec![json!({ "add": table }), json!({ "delete": table })];
    let lasts = |placed: &Placed| match &placed.rule {
        Rule::Allow { until, .. } => now < *until,
        Rule::Deny { .. } => true,
    };
    let rules: BTreeMap<RuleName, Placed> =
        rules.iter().filter(|(_, it)| lasts(it)).map(|(name, it)| (name.clone(), it.clone())).collect();
    if !rules.is_empty() {
        let sets = rules.iter().flat_map(|(name, placed)| sets(name, &placed.rule, now));
        let rules = chains(&rules, established, &|name, family| {
            rules.get(name).is_some_and(|it| !elements(&it.rule, family).is_empty())
        });
        commands.push(json!({ "add": table }));
        commands.extend(CHAINS.map(|it| json!({ "add": { "chain": it.base() } })));
        commands.extend(sets.map(|set| json!({ "add": { "set": set } })));
        commands.extend(rules.into_iter().map(|rule| json!({ "add": { "rule": rule } })));
    }
    json!({ "nftables": commands })
}

impl Table {
    /// No table.
    pub fn absent(read_at: Timestamp) -> Self {
        Self {
            read_at,
            rules: BTreeMap::new(),
            is_as_written: true,
            outlasting: BTreeSet::new(),
            lapsed: BTreeMap::new(),
        }
    }

    /// What `nft -j list table` printed; `None` if that is something else. The kernel counts by a clock that nobody sets:
    /// `skipped` is how much more time passed by ours since the table was written.
    pub fn parse(
        objects: &[Value],
        established: Established,
        read_at: Timestamp,
        skipped: SignedDuration,
    ) -> Option<Self> {
        let of = |kind: &'static str| objects.iter().filter_map(move |it| it.get(kind));
        let table = of("table").next()?;
        let sets: BTreeMap<&str, &Value> =
            of("set").filter_map(|it| Some((it["name"].as_str()?, it))).collect();
        let mut told = BTreeMap::<RuleName, Placed>::new();
        // A table that is dormant lists its rules as before, and none of them is in force.
        let mut is_as_written = table.get("flags").is_none();
        for comment in of("rule").filter_map(|it| it["comment"].as_str()) {
            is_as_written &= hear(comment, &mut told).is_some();
        }
        let (mut rules, mut outlasting) = (BTreeMap::new(), BTreeSet::new());
        let mut lapsed = BTreeMap::new();
        for (name, mut placed) in told.clone() {
            if let Rule::Allow { sources, until, .. } = &mut placed.rule {
                let mut ranges = vec![];
                for set in FAMILIES.iter().filter_map(|family| sets.get(set_name(&name, *family).as_str())) {
                    match held(set, *until, read_at) {
                        Some(held) if held.excess <= skipped.max(SignedDuration::ZERO) => {
                            ranges.extend(held.ranges);
                            if held.excess.is_positive() {
                                outlasting.insert(name.clone());
                            }
                        }
                        Some(_) | None => is_as_written = false,
                    }
                }
                *sources = Sources::of(ranges);
                if sources.is_empty() && *until <= read_at {
                    lapsed.insert(name, *until);
                    continue;
                }
            }
            rules.insert(name, placed);
        }
        let wanted =
            chains(&told, established, &|name, family| sets.contains_key(set_name(name, family).as_str()));
        let mut wanted_sets = BTreeSet::new();
        for (name, _) in told.iter().filter(|(_, it)| matches!(it.rule, Rule::Allow { .. })) {
            let names = FAMILIES.map(|family| set_name(name, family));
            let known: Vec<String> = names.into_iter().filter(|it| sets.contains_key(it.as_str())).collect();
            is_as_written &= !known.is_empty();
            wanted_sets.extend(known);
        }
        is_as_written &= of("rule").map(known_rule).eq(wanted.iter().map(known_rule));
        is_as_written &= sets.keys().copied().eq(wanted_sets.iter().map(String::as_str));
        is_as_written &= sets.values().all(|set| is_our_set(set));
        let is_known = |chain: &Value| CHAINS.iter().any(|it| known_chain(&it.base()) == known_chain(chain));
        is_as_written &= of("chain").count() == CHAINS.len() && of("chain").all(is_known);
        // Anything else that can stand in a table: maps, counters, flowtables.
        is_as_written &= objects.iter().all(|it| {
            let kinds = ["metainfo", "table", "set", "chain", "rule"];
            kinds.iter().any(|kind| it.get(kind).is_some())
        });
        Some(Self { read_at, rules, is_as_written, outlasting, lapsed })
    }
}

/// All rules of our chains, in their order.
fn chains(
    rules: &BTreeMap<RuleName, Placed>,
    established: Established,
    has_set: &dyn Fn(&RuleName, Family) -> bool,
) -> Vec<Value> {
    CHAINS.iter().flat_map(|it| it.rules(rules, established, has_set)).collect()
}

impl Chain {
    fn base(self) -> Value {
        json!({
            "family": FAMILY, "table": TABLE, "name": self.name,
            "type": "filter", "hook": self.hook, "prio": self.priority, "policy": "accept",
        })
    }

    /// All rules, in their order.
    fn rules(
        self,
        rules: &BTreeMap<RuleName, Placed>,
        established: Established,
        has_set: &dyn Fn(&RuleName, Family) -> bool,
    ) -> Vec<Value> {
        let plain = |expressions: Value| json!({ "family": FAMILY, "table": TABLE, "chain": self.name, "expr": expressions });
        let matches = |op: &str, left: Value, right: Value| json!({ "match": { "op": op, "left": left, "right": right } });
        let accept = || json!({ "accept": null });
        let loopback = matches("==", json!({ "meta": { "key": "iifname" } }), json!("lo"));
        let mut chain = vec![plain(json!([loopback, accept()]))];
        match established {
            Established::Survive => {
                let state = matches("in", json!({ "ct": { "key": "state" } }), json!("established"));
                chain.push(plain(json!([state, accept()])));
            }
            Established::Cut => {}
        }
        let port = |gate: &Gate, transport: &Protocol| {
            let field = json!({ "payload": { "protocol": word(*transport), "field": "dport" } });
            let mut expressions = vec![matches("==", field, json!(gate.port.number()))];
            if self.is_for_all {
                let kind = json!({ "fib": { "result": "type", "flags": ["daddr"] } });
                expressions.push(matches("==", kind, json!("local")));
            }
            expressions
        };
        let (mut accepts, mut drops) = (vec![], vec![]);
        for (name, placed) in rules {
            let commented = |expressions: Value, what: &dyn std::fmt::Display| {
                let mut rule = plain(expressions);
                rule["comment"] = json!(format!("{name} {} {what}", placed.priority));
                rule
            };
            match &placed.rule {
                Rule::Allow { gate, until, .. } => {
                    for transport in gate.protocol.transports() {
                        for family in FAMILIES.into_iter().filter(|family| has_set(name, *family)) {
                            let field =
                                json!({ "payload": { "protocol": family.header(), "field": "saddr" } });
                            let source = matches("==", field, json!(format!("@{}", set_name(name, family))));
                            let mut expressions = port(gate, transport);
                            expressions.extend([source, accept()]);
                            accepts.push(commented(expressions.into(), until));
                        }
                    }
                }
                Rule::Deny { gates } => {
                    for gate in gates {
                        for transport in gate.protocol.transports() {
                            let mut expressions = port(gate, transport);
                            expressions.push(json!({ "drop": null }));
                            drops.push(commented(expressions.into(), gate));
                        }
                    }
                }
            }
        }
        chain.extend(accepts);
        chain.extend(drops);
        chain
    }
}

/// What a comment tells of a rule of ours; `None` if it is not one of our comments.
fn hear(comment: &str, told: &mut BTreeMap<RuleName, Placed>) -> Option<()> {
    let [name, priority, what] = comment.split(' ').collect::<Vec<_>>()[..] else { return None };
    let (name, priority): (RuleName, u16) = (name.parse().ok()?, priority.parse().ok()?);
    let fresh = match name.gate {
        Some(gate) => Rule::Allow { gate, sources: Sources::of([]), until: what.parse().ok()? },
        None => Rule::Deny { gates: BTreeSet::new() },
    };
    let placed = told.entry(name).or_insert(Placed { rule: fresh, priority });
    if let Rule::Deny { gates } = &mut placed.rule {
        gates.insert(what.parse().ok()?);
    }
    Some(())
}

/// The sets of a rule, with what they hold and for how long.
fn sets(name: &RuleName, rule: &Rule, now: Timestamp) -> Vec<Value> {
    let Rule::Allow { until, .. } = rule else { return vec![] };
    let left = until.duration_since(now);
    // Rounded up: shutting early would break a promise, and our own clock shuts on the dot.
    let timeout = left.as_secs() + i64::from(0 < left.subsec_nanos());
    let set = |family: Family| {
        let elements: Vec<Value> = elements(rule, family)
            .into_iter()
            .map(|range| json!({ "elem": { "val": printed(range), "timeout": timeout } }))
            .collect();
        let mut set = json!({ "family": FAMILY, "table": TABLE, "name": set_name(name, family), "type": family.word() });
        set["flags"] = json!(["interval", "timeout"]);
        set["elem"] = json!(elements);
        (!elements.is_empty()).then_some(set)
    };
    FAMILIES.into_iter().filter_map(set).collect()
}

fn elements(rule: &Rule, family: Family) -> Vec<IpNet> {
    let of = |range: &&IpNet| match range {
        IpNet::V4(_) => family == Family::V4,
        IpNet::V6(_) => family == Family::V6,
    };
    match rule {
        Rule::Allow { sources, .. } => sources.ranges().iter().filter(of).copied().collect(),
        Rule::Deny { .. } => vec![],
    }
}

fn printed(range: IpNet) -> Value {
    if range.prefix_len() == range.max_prefix_len() {
        json!(range.addr().to_string())
    } else {
        json!({ "prefix": { "addr": range.network().to_string(), "len": range.prefix_len() } })
    }
}

/// What a set holds.
struct InSet {
    ranges: Vec<IpNet>,
    /// How much longer than its rule an element of it lasts; zero if none does.
    excess: SignedDuration,
}

/// What a set holds; `None` if something in it is not ours.
fn held(set: &Value, until: Timestamp, read_at: Timestamp) -> Option<InSet> {
    let (mut ranges, mut excess) = (vec![], SignedDuration::ZERO);
    let latest = until.checked_add(ELEMENT_SLACK).ok()?;
    for element in set["elem"].as_array().into_iter().flatten() {
        let element = element.get("elem")?;
        let left = SignedDuration::from_secs(element["expires"].as_i64()?);
        excess = excess.max(read_at.checked_add(left).ok()?.duration_since(latest));
        ranges.extend(range(&element["val"])?);
    }
    Some(InSet { ranges, excess })
}

fn range(value: &Value) -> Option<Vec<IpNet>> {
    let address = |it: &Value| it.as_str()?.parse::<IpAddr>().ok();
    if let Some(address) = address(value) {
        return Some(vec![address.into()]);
    }
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return Some(vec![IpNet::new(address(&prefix["addr"])?, length).ok()?]);
    }
    match (address(&value["range"][0])?, address(&value["range"][1])?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Some(Ipv4Subnets::new(first, last, 0).map(|it: Ipv4Net| it.into()).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Some(Ipv6Subnets::new(first, last, 0).map(|it: Ipv6Net| it.into()).collect())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// What we know of a rule: other versions of `nft` may print more.
fn known_rule(rule: &Value) -> [Value; 3] {
    ["chain", "expr", "comment"].map(|field| rule[field].clone())
}

fn known_chain(chain: &Value) -> [Value; 5] {
    ["name", "type", "hook", "prio", "policy"].map(|field| chain[field].clone())
}

fn is_our_set(set: &Value) -> bool {
    let has = |flag: &str| set["flags"].as_array().is_some_and(|flags| flags.iter().any(|it| it == flag));
    let name = set["name"].as_str().unwrap_or_default();
    let family = FAMILIES.into_iter().find(|it| name.ends_with(it.suffix()));
    has("interval") && has("timeout") && family.is_some_and(|it| set["type"] == it.word())
}

fn set_name(name: &RuleName, family: Family) -> String {
    format!("{name}{}", family.suffix())
}

fn word(transport: Protocol) -> &'static str {
    match transport {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        // Both of them, which nft has no word for: nobody asks, a transport is one of the two.
        Protocol::Any => "th",
    }
}

impl Family {
    fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "-v4",
            Self::V6 => "-v6",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> BTreeMap<RuleName, Placed> {
        let target: portcullis_domain::TargetId = "host/machine".parse().expect("a name");
        let name = RuleName { owner: (&target).into(), gate: None };
        let gates = ["22/*".parse().expect("a gate")].into();
        [(name, Placed { rule: Rule::Deny { gates }, priority: 200 })].into()
    }

    #[test]
    fn where_connections_are_cut_connection_tracking_has_no_say() {
        let written = |established| commands(&lock(), established, Timestamp::UNIX_EPOCH).to_string();
        assert!(written(Established::Survive).contains(r#""ct""#));
        let cut = written(Established::Cut);
        assert!(!cut.contains(r#""ct""#) && cut.contains(r#""drop""#), "{cut}");
    }

    #[test]
    fn a_dormant_table_is_not_as_written() {
        let commands = commands(&lock(), Established::Survive, Timestamp::UNIX_EPOCH);
        let added = commands["nftables"].as_array().expect("a list").iter().skip(2);
        let mut listed: Vec<Value> = added.map(|it| it["add"].clone()).collect();
        let parsed = |listed: &[Value]| {
            Table::parse(listed, Established::Survive, Timestamp::UNIX_EPOCH, SignedDuration::ZERO)
                .expect("a table")
                .is_as_written
        };
        assert!(parsed(&listed));
        listed[0]["table"]["flags"] = json!(["dormant"]);
        assert!(!parsed(&listed));
    }
}
