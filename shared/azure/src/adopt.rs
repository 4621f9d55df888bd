//! What Microsoft's own just-in-time access left: its policies, and the rules that it writes for them.
//!
//! The shapes are those of the API 2020-01-01 (`azure-rest-api-specs`, `Microsoft.Security`) and of what
//! Defender for Cloud writes: a deny `…-JITRule_<number>_<hex>` for all ports of a policy, an allow
//! `…-JITRule-<number>-<hex>` for a request, and in an Azure Firewall collections of their own.

use crate::{
    Azure,
    arm::{Condition, Found, Sent, Write},
    parts::digest,
    rule::Shown,
    topology::{Topology, list, text, texts},
    turns::Rank,
    versions::NETWORK_API,
    write::is_front,
};
use data_encoding::HEXLOWER;
use futures_util::future::join_all;
use jiff::Timestamp;
use portcullis_app::{
    Adoptable, AdoptableMachine, AdoptablePort, AdoptableRule, Adoptables, Error, ports::Adoption,
};
use portcullis_domain::{Action, Etag, FirewallId, Sources, TargetId, is_just_in_time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, net::IpAddr};

const SECURITY_API: &str = "2020-01-01";
/// What its collections in firewalls begin with, before and since 2023.
const COLLECTIONS: [&str; 2] = ["asc-jit", "mdc-jit"];
/// Where collections stand in a firewall that have addresses and ports.
const LISTS: [&str; 2] = ["natRuleCollections", "networkRuleCollections"];

/// A policy as it is listed.
#[derive(Debug, Deserialize)]
struct Policy {
    id: String,
    name: String,
    properties: PolicyProperties,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyProperties {
    #[serde(default)]
    virtual_machines: Vec<Machine<Port>>,
    #[serde(default)]
    requests: Vec<Request>,
}

#[derive(Debug, Deserialize)]
struct Machine<P> {
    id: String,
    #[serde(default = "Vec::new")]
    ports: Vec<P>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    number: u16,
    protocol: String,
    #[serde(flatten)]
    from: From,
    max_request_access_duration: String,
}

/// A field and its plural exclude each other.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct From {
    allowed_source_address_prefix: Option<String>,
    allowed_source_address_prefixes: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default)]
    virtual_machines: Vec<Machine<Asked>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    number: u16,
    #[serde(flatten)]
    from: From,
    end_time_utc: Option<Timestamp>,
}

/// What a rule was when it was found.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    etag: Option<String>,
    digest: String,
}

impl Adoption for Azure {
    async fn found(&self) -> Result<Adoptables, Error> {
        let topology = self.topology().await?;
        let mut unseen = vec![];
        let policies = self.policies(&mut unseen).await?;
        let mut rules = vec![];
        for group in self.all_groups(&topology).await? {
            let Ok(id) = group.id.to_ascii_lowercase().parse::<FirewallId>() else { continue };
            let microsofts = group.properties.security_rules.iter().filter(|it| is_just_in_time(&it.name));
            rules.extend(
                microsofts.map(|it| (in_group(&id, it, &topology), it.properties.description.clone())),
            );
        }
        for id in &topology.firewalls {
            match self.arm.get(id.as_str(), NETWORK_API).await {
                Ok(body) => rules.extend(body.iter().flat_map(|it| in_front(id, it, &topology))),
                Err(error) => unseen.push(format!("`{id}`: {}", error.full())),
            }
        }
        Ok(Adoptables { items: sorted(&policies, rules), unseen })
    }

    async fn remove(&self, what: &Adoptable) -> Result<(), Error> {
        if let Some(id) = &what.policy {
            self.remove_policy(id, what).await?;
        }
        let mut fronts: BTreeMap<&FirewallId, Vec<&AdoptableRule>> = BTreeMap::new();
        let mut groups = vec![];
        for rule in &what.rules {
            if is_front(&rule.firewall) {
                fronts.entry(&rule.firewall).or_default().push(rule);
            } else {
                groups.push(self.remove_rule(rule));
            }
        }
        let fronts = fronts.into_iter().map(|(id, rules)| self.remove_from(id, rules));
        let (groups, fronts) = tokio::join!(join_all(groups), join_all(fronts));
        groups.into_iter().chain(fronts).collect()
    }
}

impl Azure {
    /// Every policy. A subscription that knows nothing of them has none.
    async fn policies(&self, unseen: &mut Vec<String>) -> Result<Vec<Policy>, Error> {
        let mut policies = vec![];
        for subscription in self.subscriptions().await? {
            let path = format!(
                "/subscriptions/{subscription}/providers/Microsoft.Security/jitNetworkAccessPolicies"
            );
            let shown = match self.arm.list(&path, SECURITY_API).await {
                Ok(shown) => shown,
                Err(Error::NotFound { .. }) => continue,
                Err(error) => {
                    unseen.push(format!("policies in `{subscription}`: {}", error.full()));
                    continue;
                }
            };
            for it in shown {
                let id = text(&it, "/id").to_owned();
                match serde_json::from_value(it) {
                    Ok(policy) => policies.push(policy),
                    Err(error) => unseen.push(format!("policy `{id}`: {error}")),
                }
            }
        }
        Ok(policies)
    }

    /// A policy has no etag: it is read once more, and then deleted.
    async fn remove_policy(&self, id: &str, found: &Adoptable) -> Result<(), Error> {
        let Some(there) = self.arm.get(id, SECURITY_API).await? else { return Ok(()) };
        let there: Option<Policy> = serde_json::from_value(there).ok();
        if there.is_none_or(|it| it.machines() != found.machines) {
            return Err(Error::Conflict);
        }
        self.arm.delete(id, SECURITY_API, &Condition::None).await
    }

    async fn remove_rule(&self, rule: &AdoptableRule) -> Result<(), Error> {
        let Some(seen) = rule.seen() else { return Err(Error::Conflict) };
        let condition = seen.etag.map_or(Condition::None, Condition::Match);
        // The etag changes with every rule of the group where Azure has one for all of them.
        let judge = |found: Option<&Value>| {
            let Some(found) = found else { return Found::Done };
            match serde_json::from_value::<Shown>(found.clone()) {
                Ok(found) if digest(&found.properties) == seen.digest => Found::AsRead(found.etag),
                Ok(_) | Err(_) => Found::Other,
            }
        };
        let path = format!("{}/securityRules/{}", rule.firewall, rule.name);
        let delete = Write {
            path: &path,
            api: NETWORK_API,
            body: None,
            condition: &condition,
            judge: Some(&judge),
            rank: Rank::Opens,
        };
        self.arm.write(&delete, &Sent::new()).await
    }

    /// Rules of an Azure Firewall: it is written as a whole, over what is there when it is our turn.
    async fn remove_from(&self, id: &FirewallId, rules: Vec<&AdoptableRule>) -> Result<(), Error> {
        let _turn = self.batches.turn(id).await;
        let Some(mut body) = self.arm.get(id.as_str(), NETWORK_API).await? else { return Ok(()) };
        let before = body.clone();
        for list in LISTS {
            let Some(all) = body["properties"][list].as_array_mut() else { continue };
            for collection in all.iter_mut() {
                let name = text(collection, "/name").to_owned();
                let Some(inside) = collection["properties"]["rules"].as_array_mut() else { continue };
                for rule in &rules {
                    let is_it = |it: &Value| rule.name == name_in(&name, it);
                    let is_changed = |it: &&Value| Some(said(it)) != rule.seen().map(|it| it.digest);
                    if inside.iter().filter(|it| is_it(it)).any(|it| is_changed(&it)) {
                        return Err(Error::Conflict);
                    }
                    inside.retain(|it| !is_it(it));
                }
            }
            // A collection has at least one rule.
            all.retain(|it| {
                let is_emptied = crate::topology::list(it, "/properties/rules").is_empty();
                !(is_emptied && is_microsofts(text(it, "/name"), &COLLECTIONS))
            });
        }
        if body == before {
            return Ok(());
        }
        let etag = before["etag"].as_str().map(|it| Condition::Match(it.to_owned()));
        self.arm.put(id.as_str(), NETWORK_API, &body, &etag.unwrap_or(Condition::None)).await
    }
}

impl Policy {
    fn machines(&self) -> Vec<AdoptableMachine> {
        let port = |it: &Port| AdoptablePort {
            number: it.number,
            protocol: it.protocol.clone(),
            sources: it.from.prefixes(),
            longest: it.max_request_access_duration.clone(),
        };
        let machine = |it: &Machine<Port>| {
            let target = it.id.to_ascii_lowercase().parse().ok()?;
            Some(AdoptableMachine { target, ports: it.ports.iter().map(port).collect() })
        };
        self.properties.virtual_machines.iter().filter_map(machine).collect()
    }

    /// Its machine that people call so.
    fn machine_named(&self, name: &str) -> Option<TargetId> {
        let all = self.properties.virtual_machines.iter().map(|it| it.id.to_ascii_lowercase());
        let name = format!("/{}", name.to_ascii_lowercase());
        all.filter(|it| it.ends_with(&name)).find_map(|it| it.parse().ok())
    }

    fn guards(&self, target: &TargetId) -> bool {
        self.properties.virtual_machines.iter().any(|it| it.id.eq_ignore_ascii_case(target.as_str()))
    }

    /// Until when an allow shall stand: what the request says that it was made for.
    fn until(&self, rule: &AdoptableRule) -> Option<Timestamp> {
        let target = rule.target.as_ref()?;
        let who = |it: Vec<String>| Sources::try_from(it).ok();
        let from = who(rule.sources.clone())?;
        let machines = self.properties.requests.iter().flat_map(|it| &it.virtual_machines);
        let asked =
            machines.filter(|it| it.id.eq_ignore_ascii_case(target.as_str())).flat_map(|it| &it.ports);
        let made = asked.filter(|it| rule.ports.contains(&it.number.to_string()));
        made.filter(|it| who(it.from.prefixes()).as_ref() == Some(&from))
            .filter_map(|it| it.end_time_utc)
            .max()
    }
}

impl From {
    fn prefixes(&self) -> Vec<String> {
        let many = self.allowed_source_address_prefixes.iter().flatten();
        self.allowed_source_address_prefix.iter().chain(many).cloned().collect()
    }
}

/// What a rule of Microsoft's says of itself: the policy's name, and the machine's.
fn described(description: &str) -> Option<(&str, &str)> {
    let quoted = |after: &str| description.split_once(after)?.1.split_once('\'').map(|(it, _)| it);
    Some((quoted("policy '")?, quoted("VM '")?))
}

/// Policies with their rules, and then rules of none, by machine.
fn sorted(policies: &[Policy], rules: Vec<(AdoptableRule, Option<String>)>) -> Vec<Adoptable> {
    let item = |it: &Policy| Adoptable {
        policy: Some(it.id.clone()),
        name: it.name.clone(),
        machines: it.machines(),
        rules: vec![],
    };
    let mut items: Vec<Adoptable> = policies.iter().map(item).collect();
    let mut left: BTreeMap<Option<TargetId>, Vec<AdoptableRule>> = BTreeMap::new();
    for (mut rule, description) in rules {
        let of = description.as_deref().and_then(described);
        let is_its = |it: &&Policy| match (of, &rule.target) {
            (Some((policy, _)), Some(target)) => it.name.eq_ignore_ascii_case(policy) && it.guards(target),
            (Some((policy, machine)), None) => {
                it.name.eq_ignore_ascii_case(policy) && it.machine_named(machine).is_some()
            }
            (None, Some(target)) => it.guards(target),
            (None, None) => false,
        };
        match policies.iter().position(|it| is_its(&it)) {
            Some(at) => {
                let policy = &policies[at];
                rule.target = rule.target.or_else(|| policy.machine_named(of?.1));
                rule.until = policy.until(&rule);
                items[at].rules.push(rule);
            }
            None => left.entry(rule.target.clone()).or_default().push(rule),
        }
    }
    items.extend(left.into_iter().map(|(target, rules)| Adoptable {
        policy: None,
        name: target.as_ref().map_or("", |it| it.as_str().rsplit('/').next().unwrap_or_default()).to_owned(),
        machines: target.into_iter().map(|target| AdoptableMachine { target, ports: vec![] }).collect(),
        rules,
    }));
    items
}

fn in_group(id: &FirewallId, shown: &Shown, topology: &Topology) -> AdoptableRule {
    let said = &shown.properties;
    let own = |it: Vec<&str>| it.into_iter().map(str::to_owned).collect();
    let to: Vec<IpAddr> = said.destinations().into_iter().filter_map(address).collect();
    let is_it = |vm: &&crate::topology::Vm| vm.behind(id).iter().any(|it| to.contains(it));
    let seen = Seen { etag: shown.etag.clone(), digest: digest(said) };
    AdoptableRule {
        firewall: id.clone(),
        name: shown.name.clone(),
        action: if said.access.eq_ignore_ascii_case("Deny") { Action::Deny } else { Action::Allow },
        protocol: said.protocol.clone(),
        sources: own(said.sources()),
        ports: own(said.destination_ports()),
        target: topology.machines.values().find(is_it).map(|it| it.machine.id.clone()),
        until: None,
        seen: seen.into(),
    }
}

/// The rules in its collections, each with its description.
fn in_front(id: &FirewallId, body: &Value, topology: &Topology) -> Vec<(AdoptableRule, Option<String>)> {
    let mut found = vec![];
    for field in LISTS {
        let collections = list(body, &format!("/properties/{field}")).iter();
        for collection in collections.filter(|it| is_microsofts(text(it, "/name"), &COLLECTIONS)) {
            let is_deny = text(collection, "/properties/action/type").eq_ignore_ascii_case("Deny");
            for rule in list(collection, "/properties/rules") {
                let own = |path: &str| texts(rule, path).into_iter().map(str::to_owned).collect::<Vec<_>>();
                let translated =
                    [text(rule, "/translatedAddress"), text(rule, "/translatedPort")].map(str::to_owned);
                let (to, ports) = match translated {
                    [address, port] if !address.is_empty() => (vec![address], vec![port]),
                    _ => (own("/destinationAddresses"), own("/destinationPorts")),
                };
                let to: Vec<IpAddr> = to.iter().filter_map(|it| address(it)).collect();
                let is_it = |vm: &&crate::topology::Vm| {
                    vm.front.as_ref().is_some_and(|it| it.id == *id)
                        && vm.ways.iter().any(|it| to.contains(&it.address))
                };
                let described = Some(text(rule, "/description").to_owned()).filter(|it| !it.is_empty());
                let it = AdoptableRule {
                    firewall: id.clone(),
                    name: name_in(text(collection, "/name"), rule),
                    action: if is_deny { Action::Deny } else { Action::Allow },
                    protocol: own("/protocols").join(", "),
                    sources: own("/sourceAddresses"),
                    ports,
                    target: topology.machines.values().find(is_it).map(|it| it.machine.id.clone()),
                    until: None,
                    seen: Seen { etag: None, digest: self::said(rule) }.into(),
                };
                found.push((it, described));
            }
        }
    }
    found
}

fn name_in(collection: &str, rule: &Value) -> String {
    format!("{collection}/{}", text(rule, "/name"))
}

/// What a rule of a firewall says, as a text to compare.
fn said(rule: &Value) -> String {
    HEXLOWER.encode(&Sha256::digest(rule.to_string()))
}

fn address(text: &str) -> Option<IpAddr> {
    let text = text.strip_suffix("/32").unwrap_or(text);
    text.parse().ok()
}

fn is_microsofts(name: &str, beginnings: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    beginnings.iter().any(|it| name.starts_with(it))
}

impl std::convert::From<Seen> for Etag {
    fn from(seen: Seen) -> Self {
        Self(serde_json::to_string(&seen).unwrap_or_default())
    }
}

trait WasSeen {
    fn seen(&self) -> Option<Seen>;
}

impl WasSeen for AdoptableRule {
    fn seen(&self) -> Option<Seen> {
        serde_json::from_str(&self.seen.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_whose_it_is() {
        let allow = "MDC JIT Network Access rule created by an initiation request for policy 'default' of VM 'jit-1'.";
        assert_eq!(described(allow), Some(("default", "jit-1")));
        assert_eq!(described("MDC JIT Network Access rule for policy 'p-1' of VM 'v'."), Some(("p-1", "v")));
        assert_eq!(described("somebody's own"), None);
    }

    #[test]
    fn both_names_of_its_rules_are_known() {
        for name in [
            "SecurityCenter-JITRule_1234567_0123456789ABCDEF0123456789ABCDEF",
            "SecurityCenter-JITRule--1234567-0123456789ABCDEF0123456789ABCDEF",
            "MicrosoftDefenderForCloud-JITRule_1_0123456789ABCDEF0123456789ABCDEF",
        ] {
            assert!(is_just_in_time(name), "{name}");
        }
        assert!(!is_just_in_time("SSH") && is_microsofts("ASC-JIT-nat", &COLLECTIONS));
    }
}
