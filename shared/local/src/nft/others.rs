//! Tables of others that may refuse what ours accepts: an accept ends one chain alone, and a drop in any other is final.
//!
//! A chain is read for new connections from anywhere: of its rules those count that drop or reject every one of a port. A rule
//! that asks for more, such as a source, an interface or a rate, is taken for one that lets the rest through. Source: nft(8),
//! "CHAINS" and "VERDICT STATEMENTS"; libnftables-json(5).

use super::table::{FAMILY, TABLE};
use portcullis_domain::{Protocol, Refuser, Remedy};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

/// A base chain that sees packets for this machine.
const HOOKS: [&str; 2] = ["input", "prerouting"];
/// A table of these families sees packets of IP.
const FAMILIES: [&str; 3] = ["inet", "ip", "ip6"];

/// The rules of all tables but ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    tables: BTreeMap<Table, BTreeMap<String, Chain>>,
}

/// The family and the name of a table.
type Table = (String, String);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    /// Does the kernel send packets for this machine here by itself?
    is_base: bool,
    drops_the_rest: bool,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// The ports that it asks for; nothing where it does not ask for one.
    ports: Option<Ports>,
    /// Does it ask for more than the port and that a connection is new?
    is_narrow: bool,
    verdict: Verdict,
}

/// Ranges of ports of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ports {
    protocol: Protocol,
    ranges: Vec<RangeInclusive<u16>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    /// On in another chain of the table.
    To(String),
    /// On with the next rule.
    None,
}

impl Others {
    /// Reads the objects of `nft -j list ruleset`.
    pub fn parse(objects: &[Value]) -> Self {
        let mut others = Self::default();
        for object in objects {
            if let Some(chain) = object.get("chain") {
                let Some(of) = place(chain) else { continue };
                let is_base = text(chain, "type") == "filter" && HOOKS.contains(&text(chain, "hook"));
                let drops_the_rest = is_base && text(chain, "policy") == "drop";
                let chains = others.tables.entry(of).or_default();
                let found = chains.entry(text(chain, "name").to_owned()).or_default();
                (found.is_base, found.drops_the_rest) = (is_base, drops_the_rest);
            } else if let Some(rule) = object.get("rule") {
                let Some(of) = place(rule) else { continue };
                let chains = others.tables.entry(of).or_default();
                let chain = chains.entry(text(rule, "chain").to_owned()).or_default();
                chain.rules.push(Rule::parse(rule));
            }
        }
        others
    }

    /// The tables that refuse new connections from anywhere, as far as can be told, with the ports of which they do so.
    pub fn refusers(&self) -> Vec<Refuser> {
        let refuser = |((family, table), chains): (&Table, &BTreeMap<String, Chain>)| {
            let refused = [Protocol::Tcp, Protocol::Udp].map(|it| (it, refused(chains, it)));
            let refused: BTreeMap<_, _> =
                refused.into_iter().filter(|(_, ports)| !ports.is_empty()).collect();
            let remedy = remedy(family, table, chains);
            (!refused.is_empty()).then(|| Refuser { table: format!("{family} {table}"), refused, remedy })
        };
        self.tables.iter().filter_map(refuser).collect()
    }
}

/// The ports of which a table refuses new connections: those that something drops and nothing accepts by name.
fn refused(chains: &BTreeMap<String, Chain>, protocol: Protocol) -> Vec<RangeInclusive<u16>> {
    let reached: Vec<&Chain> = reached(chains).into_iter().filter_map(|name| chains.get(name)).collect();
    let rules = || reached.iter().flat_map(|it| &it.rules);
    let is_refused = |port: u16| {
        let speaks = |it: &Rule| it.ports.as_ref().is_none_or(|it| it.include(protocol, port));
        let drops = |it: &Rule| it.verdict == Verdict::Drop && !it.is_narrow && speaks(it);
        let names = |it: &Rule| it.verdict == Verdict::Accept && it.ports.is_some() && speaks(it);
        (reached.iter().any(|it| it.drops_the_rest) || rules().any(drops)) && !rules().any(names)
    };
    // It changes only where some range of ports begins, or is over.
    let ranges = || rules().filter_map(|it| it.ports.as_ref()).flat_map(|it| &it.ranges);
    let mut edges: BTreeSet<u16> =
        ranges().flat_map(|it| [Some(*it.start()), it.end().checked_add(1)]).flatten().collect();
    edges.insert(0);
    let ends = edges.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
    edges
        .iter()
        .zip(ends)
        .filter(|(first, _)| is_refused(**first))
        .map(|(first, last)| *first..=last)
        .collect()
}

/// The chains that a packet for this machine can come to.
fn reached(chains: &BTreeMap<String, Chain>) -> BTreeSet<&str> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&str> =
        chains.iter().filter(|(_, it)| it.is_base).map(|(name, _)| name.as_str()).collect();
    while let Some(name) = left.pop() {
        if reached.insert(name) {
            let rules = chains.get(name).map(|it| it.rules.as_slice()).unwrap_or_default();
            left.extend(rules.iter().filter_map(|it| match &it.verdict {
                Verdict::To(chain) => Some(chain.as_str()),
                Verdict::Accept | Verdict::Drop | Verdict::None => None,
            }));
        }
    }
    reached
}

/// How a port is opened in a table, by the program that writes it, as its names tell.
fn remedy(family: &str, table: &str, chains: &BTreeMap<String, Chain>) -> Remedy {
    if table == "firewalld" {
        Remedy::Firewalld
    } else if chains.keys().any(|it| it.starts_with("ufw")) {
        Remedy::Ufw
    } else {
        let base = chains.iter().find(|(_, it)| it.is_base).map_or("input", |(name, _)| name);
        Remedy::Nft { chain: format!("{family} {table} {base}") }
    }
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let mut parsed = Self { ports: None, is_narrow: false, verdict: Verdict::None };
        for part in rule["expr"].as_array().into_iter().flatten() {
            let Some((kind, value)) = part.as_object().and_then(|it| it.iter().next()) else { continue };
            match kind.as_str() {
                "accept" => parsed.verdict = Verdict::Accept,
                "drop" | "reject" => parsed.verdict = Verdict::Drop,
                "jump" | "goto" => parsed.verdict = Verdict::To(text(value, "target").to_owned()),
                "counter" | "log" | "comment" => {}
                "match" => parsed.ask(value),
                _ => parsed.is_narrow = true,
            }
        }
        parsed
    }

    fn ask(&mut self, of: &Value) {
        let (left, right) = (&of["left"], &of["right"]);
        let is_equal = matches!(text(of, "op"), "==" | "in");
        let payload = &left["payload"];
        let protocol = match text(payload, "protocol") {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "th" => Some(Protocol::Any),
            _ => None,
        };
        match protocol {
            Some(protocol) if text(payload, "field") == "dport" && is_equal => match ranges(right) {
                Some(ranges) => self.ports = Some(Ports { protocol, ranges }),
                None => self.is_narrow = true,
            },
            _ => self.is_narrow |= !is_of_every_new_connection(left, right, is_equal),
        }
    }
}

/// Does a match ask only that a connection is new, or that it has a transport at all?
fn is_of_every_new_connection(left: &Value, right: &Value, is_equal: bool) -> bool {
    let names = |wanted: &[&str]| {
        let is_wanted = |it: &Value| it.as_str().is_some_and(|it| wanted.contains(&it));
        let set = right["set"].as_array().or_else(|| right.as_array());
        is_wanted(right) || set.is_some_and(|it| it.iter().any(is_wanted))
    };
    let is_state = left["ct"]["key"] == "state";
    let is_transport = left["meta"]["key"] == "l4proto";
    is_equal && (is_state && names(&["new"]) || is_transport && names(&["tcp", "udp"]))
}

/// A port, a range, or a set of them.
fn ranges(of: &Value) -> Option<Vec<RangeInclusive<u16>>> {
    let port = |it: &Value| it.as_u64().and_then(|it| u16::try_from(it).ok());
    if let Some(port) = port(of) {
        return Some(vec![port..=port]);
    }
    if let Some([first, last]) = of["range"].as_array().map(Vec::as_slice) {
        return Some(vec![port(first)?..=port(last)?]);
    }
    let all = of["set"].as_array()?.iter().map(ranges).collect::<Option<Vec<_>>>()?;
    Some(all.concat())
}

impl Ports {
    fn include(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol.meets(protocol) && self.ranges.iter().any(|it| it.contains(&port))
    }
}

/// The table that an object is in; nothing of ours, and of a family that sees no packets of IP.
fn place(of: &Value) -> Option<Table> {
    let (family, table) = (text(of, "family"), text(of, "table"));
    let is_ours = (family, table) == (FAMILY, TABLE);
    (!is_ours && FAMILIES.contains(&family)).then(|| (family.to_owned(), table.to_owned()))
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::Gate;
    use serde_json::json;

    /// The tables that refuse a gate, each with the command that opens it there.
    fn refusing(objects: &Value, gate: &str) -> Vec<(String, String)> {
        let gate: Gate = gate.parse().expect("a gate");
        let refusers = Others::parse(objects.as_array().expect("a list")).refusers();
        let refusing = refusers.iter().filter(|it| it.may_refuse(gate));
        refusing.map(|it| (it.table.clone(), it.remedy.command(gate))).collect()
    }

    fn chain(table: &str, name: &str, hook: Option<&str>, policy: &str) -> Value {
        let mut chain = json!({ "family": "inet", "table": table, "name": name });
        if let Some(hook) = hook {
            chain["type"] = json!("filter");
            chain["hook"] = json!(hook);
            chain["policy"] = json!(policy);
        }
        json!({ "chain": chain })
    }

    fn rule(table: &str, chain: &str, expr: &Value) -> Value {
        json!({ "rule": { "family": "inet", "table": table, "chain": chain, "expr": expr } })
    }

    fn dport(right: &Value) -> Value {
        json!({ "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } }, "right": right } })
    }

    /// As firewalld writes it: an end that rejects, and accepts by name in a chain of the zone.
    fn firewalld() -> Value {
        let invalid =
            json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": "invalid" } });
        json!([
            chain("firewalld", "filter_INPUT", Some("input"), "accept"),
            chain("firewalld", "filter_IN_public_allow", None, ""),
            rule("firewalld", "filter_INPUT", &json!([{ "jump": { "target": "filter_IN_public_allow" } }])),
            rule("firewalld", "filter_IN_public_allow", &json!([dport(&json!(22)), { "accept": null }])),
            rule("firewalld", "filter_INPUT", &json!([invalid, { "drop": null }])),
            rule(
                "firewalld",
                "filter_INPUT",
                &json!([{ "reject": { "type": "icmpx", "expr": "admin-prohibited" } }])
            ),
        ])
    }

    #[test]
    fn table_of_firewalld_refuses_each_port_that_its_zone_does_not_name() {
        assert_eq!(refusing(&firewalld(), "22/tcp"), []);
        let wanted = ("inet firewalld".to_owned(), "firewall-cmd --add-port=8443/tcp".to_owned());
        assert_eq!(refusing(&firewalld(), "8443/tcp"), [wanted]);
        assert_eq!(refusing(&firewalld(), "22/udp").len(), 1, "the accept is for the other protocol");
    }

    #[test]
    fn policy_that_drops_refuses_each_port_but_those_of_a_set_or_a_range() {
        let ports = json!({ "set": [80, { "range": [8000, 8100] }] });
        let table = json!([
            chain("filter", "input", Some("input"), "drop"),
            rule("filter", "input", &json!([dport(&ports), { "accept": null }])),
        ]);
        assert_eq!(refusing(&table, "80/tcp"), []);
        assert_eq!(refusing(&table, "8050/tcp"), []);
        let wanted = "nft insert rule inet filter input tcp dport 22 accept";
        assert_eq!(refusing(&table, "22/tcp"), [("inet filter".to_owned(), wanted.to_owned())]);
    }

    #[test]
    fn rule_that_drops_single_sources_or_other_ports_refuses_no_port_of_ours() {
        let from = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "saddr" } },
                                      "right": "@banned" } });
        let table = json!([
            chain("f2b-table", "f2b-chain", Some("input"), "accept"),
            rule("f2b-table", "f2b-chain", &json!([dport(&json!(22)), from, { "reject": null }])),
            rule(
                "f2b-table",
                "f2b-chain",
                &json!([dport(&json!(25)), { "counter": null }, { "drop": null }])
            ),
        ]);
        assert_eq!(refusing(&table, "22/tcp"), []);
        assert_eq!(refusing(&table, "25/tcp").len(), 1);
    }

    #[test]
    fn chain_that_no_packet_for_this_machine_comes_to_and_our_own_table_refuse_nothing() {
        let unreached = json!([
            chain("docker", "forward", Some("forward"), "drop"),
            chain("docker", "isolated", None, ""),
            rule("docker", "isolated", &json!([{ "drop": null }])),
            chain("portcullis", "input", Some("input"), "drop"),
        ]);
        assert_eq!(refusing(&unreached, "22/tcp"), []);
    }
}
