//! What prefixes and tags mean, seen from one virtual network.

use ipnet::IpNet;
use portcullis_domain::{Action, AddressSet, Sources};
use std::{collections::BTreeMap, net::IpAddr};

/// Where the probes of Azure's load balancers come from, and nobody else.
/// Source: learn.microsoft.com, "What is IP address 168.63.129.16?"
const LOAD_BALANCER: &str = "168.63.129.16";
/// What is not the Internet, though it may be outside of the virtual network.
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"];

/// A virtual network as its security groups see it.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Its address space, and that of the networks that it is peered with.
    pub space: AddressSet,
    /// Who is in an application security group, by its id in lower case.
    pub groups: BTreeMap<String, AddressSet>,
}

impl Network {
    /// Whom a prefix of a rule stands for. Source: learn.microsoft.com, "Virtual network service tags". A tag
    /// whose addresses are not known stands for whatever is worse: all in an allow, nobody in a deny.
    pub fn addresses(&self, prefix: &str, action: Action) -> AddressSet {
        match prefix.to_ascii_lowercase().as_str() {
            "*" | "any" => AddressSet::all(),
            "virtualnetwork" => self.space.clone(),
            "azureloadbalancer" => addresses([LOAD_BALANCER]),
            "internet" => {
                let private = private().union(&addresses([LOAD_BALANCER]));
                AddressSet::all().without(&self.space).without(&private)
            }
            prefix => range(prefix).map_or_else(|| worst(action), |it| (&Sources::of([it])).into()),
        }
    }

    /// Who is in an application security group.
    pub fn group(&self, id: &str, action: Action) -> AddressSet {
        self.groups.get(&id.to_ascii_lowercase()).cloned().unwrap_or_else(|| worst(action))
    }
}

/// A network or an address.
pub fn range(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Everybody who is not on the Internet.
pub fn private() -> AddressSet {
    addresses(PRIVATE)
}

/// Everybody in these networks; what is no network is left out.
pub fn addresses<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> AddressSet {
    (&Sources::of(prefixes.into_iter().filter_map(range))).into()
}

fn worst(action: Action) -> AddressSet {
    match action {
        Action::Allow => AddressSet::all(),
        Action::Deny => AddressSet::default(),
    }
}
