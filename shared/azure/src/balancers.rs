//! Load balancers: a rule with floating IP does not translate. The packet arrives at the interface with the frontend's address
//! as its destination, and security groups judge it by that.
//! Source: learn.microsoft.com, "Azure Load Balancer Floating IP configuration".

use crate::row::{list, text};
use serde_json::Value;
use std::net::IpAddr;

/// The resources that say where load balancers lead.
pub trait Balancers {
    /// A load balancer, by its id in any case.
    fn balancer(&self, id: &str) -> Option<&Value>;
    /// A public address.
    fn public(&self, id: &str) -> Option<&Value>;
}

/// What arrives at an address of an interface for another address.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Floating {
    /// The addresses of the frontends.
    pub addresses: Vec<IpAddr>,
    /// What may have more of them and cannot be read, by id.
    pub unseen: Vec<String>,
}

impl Floating {
    /// What load balancers send to an address of an interface.
    pub fn of(configuration: &Value, rows: &impl Balancers) -> Self {
        let mut floating = Self::default();
        let ids =
            |path| list(configuration, path).iter().map(|it| text(it, "/id")).filter(|it| !it.is_empty());
        for pool in ids("/properties/loadBalancerBackendAddressPools") {
            floating.add(pool, "/backendaddresspools/", rows, |rule| leads_to(rule, pool));
        }
        for nat in ids("/properties/loadBalancerInboundNatRules") {
            floating.add(nat, "/inboundnatrules/", rows, |rule| is(text(rule, "/id"), nat));
        }
        floating
    }

    /// The frontends of the rules of a load balancer that are meant; `part` is what of it has the id.
    fn add(&mut self, id: &str, part: &str, rows: &impl Balancers, is_meant: impl Fn(&Value) -> bool) {
        let balancer = id.to_ascii_lowercase().find(part).and_then(|end| id.get(..end)).unwrap_or(id);
        let Some(row) = rows.balancer(balancer) else { return self.miss(balancer) };
        let rules = ["/properties/loadBalancingRules", "/properties/inboundNatRules"];
        let rules = rules.into_iter().flat_map(|it| list(row, it)).filter(|it| is_meant(it));
        let floats = |it: &&Value| it.pointer("/properties/enableFloatingIP") == Some(&Value::Bool(true));
        for rule in rules.filter(floats) {
            let id = text(rule, "/properties/frontendIPConfiguration/id");
            let all = list(row, "/properties/frontendIPConfigurations");
            let frontend = all.iter().find(|it| is(text(it, "/id"), id));
            match frontend.and_then(|it| address(it, rows)) {
                Some(address) if self.addresses.contains(&address) => {}
                Some(address) => self.addresses.push(address),
                None => self.miss(id),
            }
        }
    }

    fn miss(&mut self, id: &str) {
        if !self.unseen.iter().any(|it| is(it, id)) {
            self.unseen.push(id.to_owned());
        }
    }
}

/// Does a rule lead to a pool? One that leads to several has a list.
fn leads_to(rule: &Value, pool: &str) -> bool {
    is(text(rule, "/properties/backendAddressPool/id"), pool)
        || list(rule, "/properties/backendAddressPools").iter().any(|it| is(text(it, "/id"), pool))
}

/// The address of a frontend: its own in a network, or a public one.
fn address(frontend: &Value, rows: &impl Balancers) -> Option<IpAddr> {
    let public = || {
        let public = rows.public(text(frontend, "/properties/publicIPAddress/id"))?;
        text(public, "/properties/ipAddress").parse().ok()
    };
    text(frontend, "/properties/privateIPAddress").parse().ok().or_else(public)
}

fn is(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    struct Rows(BTreeMap<&'static str, Value>);

    impl Balancers for Rows {
        fn balancer(&self, id: &str) -> Option<&Value> {
            self.0.get(id.to_ascii_lowercase().as_str())
        }

        fn public(&self, id: &str) -> Option<&Value> {
            self.0.get(id)
        }
    }

    fn rows() -> Rows {
        let rule = |name: &str, frontend: &str, floats: bool, pool: &str| {
            json!({ "id": format!("/lb/loadBalancingRules/{name}"), "properties": {
                "frontendIPConfiguration": { "id": format!("/lb/frontendIPConfigurations/{frontend}") },
                "backendAddressPool": { "id": format!("/lb/backendAddressPools/{pool}") }, "enableFloatingIP": floats,
            }})
        };
        let nat = json!({ "id": "/lb/inboundNatRules/rdp", "properties": {
            "frontendIPConfiguration": { "id": "/LB/frontendIPConfigurations/unknown" }, "enableFloatingIP": true,
        }});
        let balancer = json!({ "properties": {
            "frontendIPConfigurations": [
                { "id": "/lb/frontendIPConfigurations/out", "properties": { "publicIPAddress": { "id": "ip" } } },
                { "id": "/lb/frontendIPConfigurations/in", "properties": { "privateIPAddress": "10.1.1.9" } },
                { "id": "/lb/frontendIPConfigurations/unknown", "properties": { "publicIPAddress": { "id": "hidden" } } },
            ],
            "loadBalancingRules": [
                rule("ssh", "out", true, "pool"), rule("again", "out", true, "pool"), rule("sql", "in", true, "POOL"),
                rule("web", "unknown", false, "pool"), rule("other", "unknown", true, "other"),
            ],
            "inboundNatRules": [nat],
        }});
        let public = json!({ "properties": { "ipAddress": "198.51.100.1" } });
        Rows(BTreeMap::from([("/lb", balancer), ("ip", public)]))
    }

    fn of(pools: &[&str], nat: &[&str]) -> Floating {
        let ids = |all: &[&str]| all.iter().map(|it| json!({ "id": it })).collect::<Value>();
        let configuration = json!({ "properties": {
            "loadBalancerBackendAddressPools": ids(pools), "loadBalancerInboundNatRules": ids(nat),
        }});
        Floating::of(&configuration, &rows())
    }

    #[test]
    fn rules_with_floating_ip_bring_packets_to_the_addresses_of_their_frontends() {
        let floating = of(&["/lb/backendAddressPools/pool"], &[]);
        let wanted = ["198.51.100.1", "10.1.1.9"].map(|it| it.parse().expect("an address"));
        assert_eq!(floating, Floating { addresses: wanted.to_vec(), unseen: vec![] });
        assert_eq!(of(&["/lb/backendAddressPools/empty"], &[]), Floating::default());
    }

    #[test]
    fn a_balancer_or_a_frontend_that_cannot_be_read_is_named() {
        let floating = of(&["/other/lb/backendAddressPools/p", "/other/lb/backendAddressPools/q"], &[]);
        assert_eq!(floating, Floating { addresses: vec![], unseen: vec!["/other/lb".to_owned()] });
        let floating = of(&[], &["/LB/inboundNatRules/rdp"]);
        assert_eq!(floating.unseen, ["/LB/frontendIPConfigurations/unknown"]);
    }
}
