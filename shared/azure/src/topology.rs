//! Which machines there are, and the ways to them, made of the rows that Resource Graph or plain lists give.

pub use crate::row::{list, text, texts};

use crate::balancers::{Balancers, Floating};
use crate::network::{HOST, Network, addresses, private};
use portcullis_app::ports::{Interface, Machine, Os, Unsupported};
use portcullis_domain::{AddressSet, FirewallId, Sources, TargetId};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The types of resources that say where machines are and what stands before them.
pub const TYPES: [&str; 8] = [
    "Microsoft.Compute/virtualMachines",
    "Microsoft.ClassicCompute/virtualMachines",
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/azureFirewalls",
    "Microsoft.Network/loadBalancers",
];
/// The tag by which owners say that a machine must not be guarded, and its value.
pub const TAG: (&str, &str) = ("portcullis", "disabled");

/// What there is, by ids in lower case: ARM takes them in any case, and prints them in several.
#[derive(Debug, Default)]
pub struct Topology {
    pub machines: BTreeMap<TargetId, Vm>,
    /// Every security group, also those that no machine is behind.
    pub groups: BTreeSet<FirewallId>,
    /// Every firewall with classic rules.
    pub firewalls: BTreeSet<FirewallId>,
    /// What could not be seen, in a line each.
    pub unseen: Vec<String>,
}

/// A machine, and the ways to it.
#[derive(Debug)]
pub struct Vm {
    pub machine: Machine,
    pub ways: Vec<WayTo>,
    /// The firewall with classic rules in its network.
    pub front: Option<Front>,
    pub network: Network,
    /// The id of that network in lower case; empty where it has none.
    pub home: String,
    /// What may bring packets to other addresses of it and cannot be read, by id.
    pub doubts: BTreeSet<String>,
    /// What it is connected to and could not be seen: nobody can tell the ways to it then.
    pub missing: Option<String>,
}

/// A way to one of a machine's addresses.
#[derive(Debug)]
pub struct WayTo {
    pub address: IpAddr,
    /// Who can come straight.
    pub direct: AddressSet,
    /// The security groups on it, in their order.
    pub groups: Vec<FirewallId>,
}

/// An Azure Firewall with classic rules, in front of machines.
#[derive(Debug, Clone)]
pub struct Front {
    pub id: FirewallId,
    /// Its address on the Internet.
    pub public: IpAddr,
    /// Its subnet: from there it sends on.
    pub inside: Sources,
    /// The machine's address that it sends to.
    pub to: IpAddr,
}

impl Topology {
    /// What the rows of all [`TYPES`] say.
    pub fn of(rows: Vec<Value>, unseen: Vec<String>) -> Self {
        let mut rows_by: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for row in rows {
            let kind = text(&row, "/type").to_ascii_lowercase();
            rows_by.entry(kind).or_default().insert(text(&row, "/id").to_ascii_lowercase(), row);
        }
        Rows(rows_by).topology(unseen)
    }
}

/// Resources by their types and ids, both in lower case.
struct Rows(BTreeMap<String, BTreeMap<String, Value>>);

impl Rows {
    fn all(&self, kind: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get(&kind.to_ascii_lowercase()).into_iter().flatten()
    }

    fn one(&self, kind: &str, id: &str) -> Option<&Value> {
        self.0.get(&kind.to_ascii_lowercase())?.get(&id.to_ascii_lowercase())
    }

    fn topology(&self, mut unseen: Vec<String>) -> Topology {
        let [compute, classic, _, _, _, groups, firewalls, _] = TYPES;
        let networks = self.networks();
        let fronts = self.fronts();
        let mut machines = BTreeMap::new();
        let all = self.all(compute).map(|it| (it, false)).chain(self.all(classic).map(|it| (it, true)));
        for ((id, row), is_classic) in all {
            match self.machine(id, row, is_classic, &networks, &fronts) {
                Some(vm) => drop(machines.insert(vm.machine.id.clone(), vm)),
                None => unseen.push(format!("`{id}` is not a usable id")),
            }
        }
        let is_classic_rules = |it: &&Value| text(it, "/properties/firewallPolicy/id").is_empty();
        Topology {
            machines,
            groups: self.all(groups).filter_map(|(id, _)| id.parse().ok()).collect(),
            firewalls: self
                .all(firewalls)
                .filter(|(_, it)| is_classic_rules(it))
                .filter_map(|(id, _)| id.parse().ok())
                .collect(),
            unseen,
        }
    }

    /// What each virtual network's security groups take tags and application security groups for: these are
    /// of one network, and who is elsewhere is not meant by them.
    fn networks(&self) -> BTreeMap<String, Network> {
        let [_, _, interfaces, _, networks, ..] = TYPES;
        let mut groups: BTreeMap<String, BTreeMap<String, AddressSet>> = BTreeMap::new();
        for (_, row) in self.all(interfaces) {
            for configuration in list(row, "/properties/ipConfigurations") {
                let address = addresses([text(configuration, "/properties/privateIPAddress")]);
                let home = text(configuration, "/properties/subnet/id").to_ascii_lowercase();
                for group in list(configuration, "/properties/applicationSecurityGroups") {
                    let members = groups.entry(text(group, "/id").to_ascii_lowercase()).or_default();
                    let here = members.entry(network_of(&home).unwrap_or_default()).or_default();
                    *here = here.union(&address);
                }
            }
        }
        let network = |(id, row): (&String, &Value)| {
            let own = texts(row, "/properties/addressSpace/addressPrefixes");
            let peers =
                || list(row, "/properties/virtualNetworkPeerings").iter().filter(|it| is_connected(it));
            let peered = peers().flat_map(|it| texts(it, "/properties/remoteAddressSpace/addressPrefixes"));
            let own_gateway = list(row, "/properties/subnets").iter().any(is_of_gateway);
            let is_on = |it: &Value, path| it.pointer(path) == Some(&Value::Bool(true));
            let their_gateway = peers().any(|it| is_on(it, "/properties/useRemoteGateways"));
            let here = |members: &BTreeMap<String, AddressSet>| members.get(id).cloned().unwrap_or_default();
            let groups = groups.iter().map(|(group, members)| (group.clone(), here(members)));
            let space = addresses(own.into_iter().chain(peered).chain([HOST]));
            let is_open_ended = own_gateway || their_gateway;
            (id.clone(), Network { space, is_open_ended, groups: groups.collect() })
        };
        self.all(networks).map(network).collect()
    }

    /// The firewalls, by the network that they are in.
    fn fronts(&self) -> BTreeMap<String, Wall> {
        let [_, _, _, publics, networks, _, firewalls, _] = TYPES;
        let front = |(id, row): (&String, &Value)| {
            let home = list(row, "/properties/ipConfigurations").first()?;
            let subnet = text(home, "/properties/subnet/id").to_ascii_lowercase();
            let network = network_of(&subnet)?;
            let wall = if text(row, "/properties/firewallPolicy/id").is_empty() {
                let public = self.one(publics, text(home, "/properties/publicIPAddress/id"))?;
                let subnets = list(self.one(networks, &network)?, "/properties/subnets");
                let subnet = subnets.iter().find(|it| text(it, "/id").eq_ignore_ascii_case(&subnet))?;
                let inside = prefixes(subnet).into_iter().filter_map(crate::network::range);
                Wall::Classic {
                    id: id.parse().ok()?,
                    public: text(public, "/properties/ipAddress").parse().ok()?,
                    inside: Sources::of(inside.filter(|it| it.addr().is_ipv4())),
                }
            } else {
                Wall::Managed
            };
            Some((network, wall))
        };
        self.all(firewalls).filter_map(front).collect()
    }

    fn machine(
        &self,
        id: &str,
        row: &Value,
        is_classic: bool,
        networks: &BTreeMap<String, Network>,
        fronts: &BTreeMap<String, Wall>,
    ) -> Option<Vm> {
        let [_, _, kind, ..] = TYPES;
        let mut nics: Vec<&Value> =
            list(row, "/properties/networkProfile/networkInterfaces").iter().collect();
        nics.sort_by_key(|it| it.pointer("/properties/primary") != Some(&Value::Bool(true)));
        let missing = self.missing(&nics);
        let nics: Vec<&Value> = nics.iter().filter_map(|it| self.one(kind, text(it, "/id"))).collect();
        let ends: Vec<End> = nics.iter().flat_map(|nic| self.ends(nic)).collect();
        let home = ends.first().map(|it| it.network.clone()).unwrap_or_default();
        let wall = fronts.get(&home);
        let primary = ends.iter().map(|it| it.private).find(IpAddr::is_ipv4);
        let front = match (wall, primary) {
            (Some(Wall::Classic { id, public, inside }), Some(to)) => {
                Some(Front { id: id.clone(), public: *public, inside: inside.clone(), to })
            }
            (Some(Wall::Classic { .. } | Wall::Managed) | None, _) => None,
        };
        let tags = tags(row);
        let is_forbidden = tags
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case(TAG.0) && value.eq_ignore_ascii_case(TAG.1));
        let unsupported = if is_classic {
            Some(Unsupported::Classic)
        } else if is_forbidden {
            Some(Unsupported::DisabledByPolicy)
        } else if missing.is_some() {
            // What it is cannot be told.
            None
        } else if ends.is_empty() {
            Some(Unsupported::NoNic)
        } else if matches!(wall, Some(Wall::Managed)) {
            Some(Unsupported::FirewallManager)
        } else if ends.iter().any(|it| it.groups.is_empty()) {
            // What holds no rules cannot be locked, whatever stands before the other interfaces.
            Some(Unsupported::NoFirewall)
        } else {
            None
        };
        let mut network = networks.get(&home).cloned().unwrap_or_default();
        network.is_open_ended |= ends.iter().any(|it| it.has_routes);
        let guarded_by = match (&unsupported, &front) {
            (Some(_), _) => None,
            (None, Some(_)) => Some("firewall".to_owned()),
            (None, None) => Some("nsg".to_owned()),
        };
        let machine = Machine {
            id: id.parse().ok()?,
            name: text(row, "/name").to_owned(),
            location: text(row, "/location").to_owned(),
            os: os(row),
            addresses: reached_at(&ends, front.as_ref()),
            guarded_by,
            interfaces: nics.iter().map(|nic| self.interface(nic)).collect(),
            tags,
            unsupported,
        };
        let inside = front.as_ref().map(|it| AddressSet::from(&it.inside)).unwrap_or_default();
        let ways = |end: &End| {
            let to = std::iter::once(end.private).chain(end.floating.addresses.iter().copied());
            let way = |address| WayTo {
                direct: end.direct(&network, address).without(&inside),
                address,
                groups: end.groups.clone(),
            };
            to.map(way).collect::<Vec<_>>()
        };
        let all = ends.iter().flat_map(ways).collect();
        let doubts = ends.into_iter().flat_map(|it| it.floating.unseen).collect();
        Some(Vm { machine, ways: all, front, network, home, doubts, missing })
    }

    /// The first thing that a machine's interfaces refer to and that is not among the rows: it was not listed, or
    /// may not be seen.
    fn missing(&self, nics: &[&Value]) -> Option<String> {
        let [_, _, kind, publics, networks, ..] = TYPES;
        let unseen = |kind: &str, id: &str| {
            (!id.is_empty() && self.one(kind, id).is_none()).then(|| format!("`{id}`"))
        };
        for nic in nics {
            let id = text(nic, "/id");
            let Some(nic) = self.one(kind, id) else { return Some(format!("`{id}`")) };
            for configuration in list(nic, "/properties/ipConfigurations") {
                let subnet = text(configuration, "/properties/subnet/id").to_ascii_lowercase();
                let network = network_of(&subnet).unwrap_or_default();
                let public = text(configuration, "/properties/publicIPAddress/id");
                let unseen = unseen(networks, &network).or_else(|| unseen(publics, public));
                let is_known = self.one(networks, &network).is_some_and(|it| {
                    list(it, "/properties/subnets")
                        .iter()
                        .any(|it| text(it, "/id").eq_ignore_ascii_case(&subnet))
                });
                if unseen.is_some() || !is_known {
                    return unseen.or(Some(format!("`{subnet}`")));
                }
                if text(configuration, "/properties/privateIPAddress").is_empty() {
                    return Some(format!("the address of `{}`", text(configuration, "/id")));
                }
            }
        }
        None
    }

    /// Where packets to an interface end.
    fn ends(&self, nic: &Value) -> Vec<End> {
        let [_, _, _, publics, networks, groups, _, _] = TYPES;
        let own_group = text(nic, "/properties/networkSecurityGroup/id");
        let end = |configuration: &Value| {
            let subnet = text(configuration, "/properties/subnet/id").to_ascii_lowercase();
            let network = network_of(&subnet)?;
            let subnets = self.one(networks, &network).map_or(&[][..], |it| list(it, "/properties/subnets"));
            let subnet = subnets.iter().find(|it| text(it, "/id").eq_ignore_ascii_case(&subnet));
            let of_subnet = subnet.map_or("", |it| text(it, "/properties/networkSecurityGroup/id"));
            // A group that cannot be seen is still on the way: reading it will say so.
            let on_the_way = [of_subnet, own_group].into_iter().filter(|it| !it.is_empty());
            let group = |id: &str| {
                let id = self.one(groups, id).map_or(id, |it| text(it, "/id"));
                id.to_ascii_lowercase().parse().ok()
            };
            let public = self.one(publics, text(configuration, "/properties/publicIPAddress/id"));
            let balanced = [
                "/properties/loadBalancerBackendAddressPools",
                "/properties/loadBalancerInboundNatRules",
                "/properties/applicationGatewayBackendAddressPools",
            ];
            Some(End {
                network,
                private: text(configuration, "/properties/privateIPAddress").parse().ok()?,
                public: public.and_then(|it| text(it, "/properties/ipAddress").parse().ok()),
                is_public: !text(configuration, "/properties/publicIPAddress/id").is_empty()
                    || balanced.iter().any(|it| !list(configuration, it).is_empty()),
                has_routes: subnet.is_some_and(|it| !text(it, "/properties/routeTable/id").is_empty()),
                groups: on_the_way.filter_map(group).collect(),
                floating: Floating::of(configuration, self),
            })
        };
        list(nic, "/properties/ipConfigurations").iter().filter_map(end).collect()
    }

    fn interface(&self, nic: &Value) -> Interface {
        let ends = self.ends(nic);
        let mut firewalls: Vec<FirewallId> = vec![];
        for group in ends.iter().flat_map(|it| &it.groups) {
            if !firewalls.contains(group) {
                firewalls.push(group.clone());
            }
        }
        Interface {
            name: text(nic, "/name").to_owned(),
            private: ends.iter().map(|it| it.private).collect(),
            public: ends.iter().filter_map(|it| it.public).collect(),
            firewalls,
        }
    }
}

impl Balancers for Rows {
    fn balancer(&self, id: &str) -> Option<&Value> {
        let [.., balancers] = TYPES;
        self.one(balancers, id)
    }

    fn public(&self, id: &str) -> Option<&Value> {
        let [_, _, _, publics, ..] = TYPES;
        self.one(publics, id)
    }
}

/// A firewall in a virtual network.
enum Wall {
    Classic {
        id: FirewallId,
        public: IpAddr,
        inside: Sources,
    },
    /// Its rules are in a policy, which Firewall Manager keeps.
    Managed,
}

/// One address of an interface.
struct End {
    network: String,
    private: IpAddr,
    public: Option<IpAddr>,
    is_public: bool,
    /// Does its subnet have routes of its own?
    has_routes: bool,
    groups: Vec<FirewallId>,
    /// What load balancers send to it for other addresses.
    floating: Floating,
}

impl End {
    /// Who can come straight to it for its own address or for a frontend's: everybody of its family where it has an address
    /// on the Internet, or a load balancer, which keeps the sender's; else who is on a private network.
    fn direct(&self, network: &Network, to: IpAddr) -> AddressSet {
        let family = addresses([if to.is_ipv4() { "0.0.0.0/0" } else { "::/0" }]);
        let from = if self.is_public { AddressSet::all() } else { private().union(&network.space) };
        family.intersection(&from)
    }
}

/// What to connect to: addresses on the Internet first.
fn reached_at(ends: &[End], front: Option<&Front>) -> Vec<IpAddr> {
    let public = ends.iter().filter_map(|it| it.public);
    let front = front.map(|it| it.public);
    let mut all: Vec<IpAddr> = vec![];
    for address in public.chain(front).chain(ends.iter().map(|it| it.private)) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

fn os(row: &Value) -> Os {
    let said = [
        "/properties/storageProfile/osDisk/osType",
        // A classic machine says it there.
        "/properties/storageProfile/operatingSystemDisk/operatingSystem",
    ];
    let is_windows = said.iter().any(|it| text(row, it).eq_ignore_ascii_case("Windows"));
    if is_windows { Os::Windows } else { Os::Linux }
}

fn tags(row: &Value) -> BTreeMap<String, String> {
    let tags = row["tags"].as_object().into_iter().flatten();
    tags.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Does a peering let the other network's machines in?
fn is_connected(peering: &Value) -> bool {
    let may_enter = peering.pointer("/properties/allowVirtualNetworkAccess") != Some(&Value::Bool(false));
    may_enter && text(peering, "/properties/peeringState").eq_ignore_ascii_case("Connected")
}

/// Is it the subnet that gateways are in? There can be nothing else in one of that name.
fn is_of_gateway(subnet: &Value) -> bool {
    text(subnet, "/id").to_ascii_lowercase().ends_with("/subnets/gatewaysubnet")
}

/// A subnet's prefixes: one field or the other.
fn prefixes(subnet: &Value) -> Vec<&str> {
    let one = Some(text(subnet, "/properties/addressPrefix")).filter(|it| !it.is_empty());
    one.into_iter().chain(texts(subnet, "/properties/addressPrefixes")).collect()
}

/// The network of a subnet, by their ids in lower case.
fn network_of(subnet: &str) -> Option<String> {
    subnet.split_once("/subnets/").map(|(network, _)| network.to_owned())
}
