//! What prefixes and tags mean, seen from one virtual network.

pub use portcullis_domain::address_range as range;

use portcullis_domain::{AddressSet, Sources};
use std::collections::BTreeMap;

/// The virtual address of every host, which is of every virtual network; the probes of Azure's load balancers
/// come from there, and nobody else. Source: learn.microsoft.com, "What is IP address 168.63.129.16?"
pub const HOST: &str = "168.63.129.16";
/// What is not the Internet, though it may be outside of the virtual network.
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"];

/// A virtual network as its security groups see it.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Its address space, that of the networks that it is peered with, and the host.
    pub space: AddressSet,
    /// Is there more in it that nobody tells us of: what is behind a gateway, and what routes lead to? It may be
    /// everybody: where a default route is among them, the tag `VirtualNetwork` has that, too.
    pub is_open_ended: bool,
    /// Who is in an application security group, by its id in lower case.
    pub groups: BTreeMap<String, AddressSet>,
}

/// Whom something in a rule stands for.
#[derive(Debug, Clone, Default)]
pub struct Meant {
    /// Those who are meant for sure.
    pub sure: AddressSet,
    /// Those who may be meant.
    pub unsure: AddressSet,
}

impl Network {
    /// Whom a prefix of a rule stands for. Source: learn.microsoft.com, "Virtual network service tags". A tag
    /// whose addresses are not known may stand for anybody.
    pub fn meant(&self, prefix: &str) -> Meant {
        match prefix.to_ascii_lowercase().as_str() {
            "*" | "any" => Meant::surely(AddressSet::all()),
            "virtualnetwork" => Meant { sure: self.space.clone(), unsure: self.beyond() },
            "azureloadbalancer" => Meant::surely(addresses([HOST])),
            "internet" => {
                let private = private().union(&addresses([HOST]));
                let internet = AddressSet::all().without(&self.space).without(&private);
                // Who may be of the virtual network may not be of the Internet.
                if self.is_open_ended { Meant::maybe(internet) } else { Meant::surely(internet) }
            }
            prefix => {
                range(prefix).map_or_else(Meant::anybody, |it| Meant::surely((&Sources::of([it])).into()))
            }
        }
    }

    /// Who is in an application security group.
    pub fn group(&self, id: &str) -> Meant {
        self.groups.get(&id.to_ascii_lowercase()).cloned().map_or_else(Meant::anybody, Meant::surely)
    }

    fn beyond(&self) -> AddressSet {
        if self.is_open_ended { AddressSet::all() } else { AddressSet::default() }
    }
}

impl Meant {
    fn surely(sure: AddressSet) -> Self {
        Self { sure, unsure: AddressSet::default() }
    }

    fn maybe(unsure: AddressSet) -> Self {
        Self { sure: AddressSet::default(), unsure }
    }

    /// Nobody can tell who.
    pub fn anybody() -> Self {
        Self::maybe(AddressSet::all())
    }

    /// Either of both.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self { sure: self.sure.union(&other.sure), unsure: self.unsure.union(&other.unsure) }
    }
}

/// Everybody who is not on the Internet.
pub fn private() -> AddressSet {
    addresses(PRIVATE)
}

/// Everybody in these networks; what is no network is left out.
pub fn addresses<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> AddressSet {
    (&Sources::of(prefixes.into_iter().filter_map(range))).into()
}
