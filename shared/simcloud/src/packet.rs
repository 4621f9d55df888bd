//! Who gets through: decided by trying every rule on one packet, and on nothing cleverer.
//!
//! Inbound: a way to the machine, then the security group of the subnet, then the one of the interface;
//! both must let it pass. In each the first rule that matches decides, by ascending priority. Before both come the security
//! admin rules of a Virtual Network Manager.

#[cfg(test)]
mod tests;

use crate::{
    cloud::{Cloud, Resource, own_id},
    kind::Kind,
    refused::Refused,
    rule::{self, Access, Direction, Properties, Reference, RuleProtocol},
    wanted::network,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// The port that packets come from: any of those that nobody listens on.
const SOURCE_PORT: u16 = 50_000;
/// Where the probes of Azure's load balancers come from.
const LOAD_BALANCER: &str = "168.63.129.16";
/// What is not the Internet, though it may be outside of the virtual network.
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"];

/// The first packet of a connection to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub from: IpAddr,
    /// Its protocol.
    pub protocol: PacketProtocol,
    /// Where it goes: the machine's port, also where a firewall has another one in front.
    pub port: u16,
}

/// The protocol of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passage {
    /// Does it get through?
    pub passes: bool,
    /// The name of the rule that decides, or what decides in place of a rule.
    pub by: String,
}

/// Decides about a packet to a machine, named by its id or its name: it passes if any way lets it.
pub fn passes(cloud: &Cloud, vm: &str, packet: Packet) -> Result<Passage, Refused> {
    let machine = machine(cloud, vm)?;
    let mut refusal = Passage { passes: false, by: "no address".to_owned() };
    for nic in list(&machine.body, "/properties/networkProfile/networkInterfaces") {
        let Ok(nic) = cloud.resource(Kind::NetworkInterface, text(nic, "/id")) else { continue };
        for address in list(&nic.body, "/properties/ipConfigurations") {
            let Ok(to) = text(address, "/properties/privateIPAddress").parse::<IpAddr>() else { continue };
            let subnet = text(address, "/properties/subnet/id");
            let network = Network::of(cloud, subnet)?;
            let is_public = !text(address, "/properties/publicIPAddress/id").is_empty();
            let is_near = network.holds(packet.from) || is_private(packet.from);
            let direct =
                (packet.from.is_ipv4() == to.is_ipv4() && (is_public || is_near)).then_some(packet.from);
            let sent_on = network.behind_firewall(cloud, packet, to);
            let straight = direct.into_iter().chain(sent_on).map(|from| (from, to));
            let balanced = arriving(cloud, address, packet, to);
            let balanced = balanced
                .filter(|(is_public, at)| at.is_ipv4() == packet.from.is_ipv4() && (*is_public || is_near));
            for (from, to) in straight.chain(balanced.map(|(_, at)| (packet.from, at))) {
                let groups =
                    [network.group_of(subnet), text(&nic.body, "/properties/networkSecurityGroup/id")];
                let seen = Packet { from, ..packet };
                match network.above(cloud, seen, to) {
                    Some((Above::Deny, by)) => {
                        refusal = Passage { passes: false, by };
                        continue;
                    }
                    Some((Above::AlwaysAllow, by)) => return Ok(Passage { passes: true, by }),
                    Some((Above::Allow, _)) | None => {}
                }
                let decided = groups.map(|it| decide(cloud, it, &network, seen, to));
                let shut = decided.iter().flatten().find(|it| !it.passes);
                let open = decided.iter().flatten().next_back();
                match (shut, open) {
                    (Some(shut), _) => refusal = shut.clone(),
                    (None, Some(open)) => return Ok(open.clone()),
                    (None, None) => return Ok(Passage { passes: true, by: "no security group".to_owned() }),
                }
            }
        }
    }
    Ok(refusal)
}

/// The machine that has this id or this name.
fn machine<'a>(cloud: &'a Cloud, vm: &str) -> Result<&'a Resource, Refused> {
    let is_meant = |it: &str| it.eq_ignore_ascii_case(vm);
    let mut machines = cloud.resources.values().filter(|it| it.kind == Kind::VirtualMachine);
    let machine = machines.find(|it| is_meant(own_id(it)) || it.body["name"].as_str().is_some_and(is_meant));
    machine.ok_or_else(|| Refused::no_resource(vm))
}

/// The security groups before a machine's interfaces, by their ids in lower case.
pub fn groups_before(cloud: &Cloud, vm: &str) -> Vec<String> {
    let Ok(machine) = machine(cloud, vm) else { return vec![] };
    let mut groups = vec![];
    for nic in list(&machine.body, "/properties/networkProfile/networkInterfaces") {
        let Ok(nic) = cloud.resource(Kind::NetworkInterface, text(nic, "/id")) else { continue };
        groups.push(text(&nic.body, "/properties/networkSecurityGroup/id").to_ascii_lowercase());
        for address in list(&nic.body, "/properties/ipConfigurations") {
            let subnet = text(address, "/properties/subnet/id");
            let network = Network::of(cloud, subnet);
            groups.extend(network.map(|it| it.group_of(subnet).to_ascii_lowercase()));
        }
    }
    groups
}

/// Where load balancers let a packet arrive that goes to an address of an interface: at that, or at the frontend's, where the rule
/// has a floating IP. Each with whether the frontend is on the Internet.
fn arriving(
    cloud: &Cloud,
    configuration: &Value,
    packet: Packet,
    own: IpAddr,
) -> impl Iterator<Item = (bool, IpAddr)> {
    let has = |path: &str, id: &str| {
        !id.is_empty() && list(configuration, path).iter().any(|it| text(it, "/id").eq_ignore_ascii_case(id))
    };
    let leads_here = |rule: &&Value| {
        has("/properties/loadBalancerBackendAddressPools", text(rule, "/properties/backendAddressPool/id"))
            || has("/properties/loadBalancerInboundNatRules", text(rule, "/id"))
    };
    let takes = |rule: &&Value| {
        let protocol = match packet.protocol {
            PacketProtocol::Tcp => "Tcp",
            PacketProtocol::Udp => "Udp",
        };
        // A rule for all ports says that by the port 0.
        let port = rule["properties"]["backendPort"].as_u64().unwrap_or_default();
        ["All", protocol].contains(&text(rule, "/properties/protocol"))
            && (port == 0 || port == u64::from(packet.port))
    };
    let mut arriving = vec![];
    for balancer in cloud.resources.values().filter(|it| it.kind == Kind::LoadBalancer) {
        let rules = ["/properties/loadBalancingRules", "/properties/inboundNatRules"];
        let rules = rules.into_iter().flat_map(|it| list(&balancer.body, it));
        for rule in rules.filter(leads_here).filter(takes) {
            let id = text(rule, "/properties/frontendIPConfiguration/id");
            let all = list(&balancer.body, "/properties/frontendIPConfigurations");
            let Some(frontend) = all.iter().find(|it| text(it, "/id").eq_ignore_ascii_case(id)) else {
                continue;
            };
            let public =
                cloud.resource(Kind::PublicIpAddress, text(frontend, "/properties/publicIPAddress/id"));
            let address = match &public {
                Ok(public) => text(&public.body, "/properties/ipAddress"),
                Err(_) => text(frontend, "/properties/privateIPAddress"),
            };
            let floats = rule["properties"]["enableFloatingIP"] == true;
            let at = if floats { address.parse().ok() } else { Some(own) };
            arriving.extend(at.map(|at| (public.is_ok(), at)));
        }
    }
    arriving.into_iter()
}

/// What a security group does with a packet; nothing, where there is none.
fn decide(cloud: &Cloud, group: &str, network: &Network, packet: Packet, to: IpAddr) -> Option<Passage> {
    let rules = cloud.rules.get(&group.to_ascii_lowercase())?;
    let own = rules.in_force.values().map(|it| (it.name.clone(), it.properties.clone()));
    let defaults = rule::defaults().map(|(name, it)| (name.to_owned(), it));
    let mut all: Vec<(String, Properties)> = own.chain(defaults).collect();
    all.retain(|(_, it)| it.direction == Direction::Inbound);
    all.sort_by_key(|(_, it)| it.priority);
    let (by, rule) = all.into_iter().find(|(_, it)| matches(it, cloud, network, packet, to))?;
    Some(Passage { passes: rule.access == Access::Allow, by })
}

fn matches(rule: &Properties, cloud: &Cloud, network: &Network, packet: Packet, to: IpAddr) -> bool {
    let ends = &rule.ends;
    let any = |one: &Option<String>, many: &[String], fits: &dyn Fn(&str) -> bool| {
        one.iter().chain(many).any(|it| fits(it))
    };
    let protocol = match rule.protocol {
        RuleProtocol::Any => true,
        RuleProtocol::Tcp => packet.protocol == PacketProtocol::Tcp,
        RuleProtocol::Udp => packet.protocol == PacketProtocol::Udp,
        RuleProtocol::Icmp | RuleProtocol::Esp | RuleProtocol::Ah => false,
    };
    protocol
        && any(&ends.source_port_range, &ends.source_port_ranges, &|it| has_port(it, SOURCE_PORT))
        && any(&ends.destination_port_range, &ends.destination_port_ranges, &|it| has_port(it, packet.port))
        && (any(&ends.source_address_prefix, &ends.source_address_prefixes, &|it| {
            network.is_in(it, packet.from)
        }) || network.has_member(cloud, &ends.source_application_security_groups, packet.from))
        && (any(&ends.destination_address_prefix, &ends.destination_address_prefixes, &|it| {
            network.is_in(it, to)
        }) || network.has_member(cloud, &ends.destination_application_security_groups, to))
}

/// What a security admin rule makes of a packet.
enum Above {
    /// The security groups decide.
    Allow,
    /// It gets through, whatever they say.
    AlwaysAllow,
    /// It does not.
    Deny,
}

/// A virtual network.
struct Network<'a> {
    body: &'a Value,
}

impl<'a> Network<'a> {
    fn of(cloud: &'a Cloud, subnet: &str) -> Result<Self, Refused> {
        let id = subnet.to_ascii_lowercase();
        let id = id.split("/subnets/").next().unwrap_or_default();
        Ok(Self { body: &cloud.resource(Kind::VirtualNetwork, id)?.body })
    }

    /// Is an address of this network: of its own space, of that of a network that it is peered with, or the
    /// host's? That is what the tag `VirtualNetwork` says; there are no gateways and no routes here.
    fn holds(&self, address: IpAddr) -> bool {
        let is_in = |space: &[Value]| space.iter().filter_map(Value::as_str).any(|it| covers(it, address));
        let peerings = list(self.body, "/properties/virtualNetworkPeerings").iter();
        is_in(list(self.body, "/properties/addressSpace/addressPrefixes"))
            || covers(LOAD_BALANCER, address)
            || peerings
                .filter(|it| text(it, "/properties/peeringState") == "Connected")
                .filter(|it| it["properties"]["allowVirtualNetworkAccess"] != false)
                .any(|it| is_in(list(it, "/properties/remoteAddressSpace/addressPrefixes")))
    }

    /// What the first of a Virtual Network Manager's rules that matches makes of a packet, and its name.
    fn above(&self, cloud: &Cloud, packet: Packet, to: IpAddr) -> Option<(Above, String)> {
        let rules = cloud.admin_rules.get(&text(self.body, "/id").to_ascii_lowercase())?;
        let mut inbound: Vec<&Value> =
            rules.iter().filter(|it| text(it, "/properties/direction") == "Inbound").collect();
        inbound.sort_by_key(|it| it["properties"]["priority"].as_u64());
        let protocol = match packet.protocol {
            PacketProtocol::Tcp => "Tcp",
            PacketProtocol::Udp => "Udp",
        };
        let has_port = |it: &Value, path: &str, port: u16| {
            list(it, path).iter().filter_map(Value::as_str).any(|it| has_port(it, port))
        };
        let is_named = |it: &Value, path: &str, address: IpAddr| {
            let prefixes = list(it, path).iter().map(|it| text(it, "/addressPrefix"));
            prefixes.into_iter().any(|it| self.is_in(it, address))
        };
        let found = inbound.into_iter().find(|it| {
            ["Any", protocol].contains(&text(it, "/properties/protocol"))
                && has_port(it, "/properties/sourcePortRanges", SOURCE_PORT)
                && has_port(it, "/properties/destinationPortRanges", packet.port)
                && is_named(it, "/properties/sources", packet.from)
                && is_named(it, "/properties/destinations", to)
        })?;
        let access = match text(found, "/properties/access") {
            "Deny" => Above::Deny,
            "AlwaysAllow" => Above::AlwaysAllow,
            _ => Above::Allow,
        };
        Some((access, text(found, "/id").rsplit('/').next().unwrap_or_default().to_owned()))
    }

    /// Is an address that of an interface here, and in one of these application security groups?
    fn has_member(&self, cloud: &Cloud, groups: &[Reference], address: IpAddr) -> bool {
        let is_named = |it: &Value| groups.iter().any(|group| group.id.eq_ignore_ascii_case(text(it, "/id")));
        let here = format!("{}/", text(self.body, "/id").to_ascii_lowercase());
        let interfaces = cloud.resources.values().filter(|it| it.kind == Kind::NetworkInterface);
        interfaces.flat_map(|it| list(&it.body, "/properties/ipConfigurations")).any(|it| {
            text(it, "/properties/privateIPAddress").parse() == Ok(address)
                && text(it, "/properties/subnet/id").to_ascii_lowercase().starts_with(&here)
                && list(it, "/properties/applicationSecurityGroups").iter().any(is_named)
        })
    }

    /// Is an address in what a rule names: everything, a tag, a network, an address? Of the tags of
    /// Azure's services nobody knows the addresses here: nobody is in them.
    fn is_in(&self, prefix: &str, address: IpAddr) -> bool {
        let is_probe = covers(LOAD_BALANCER, address);
        match prefix.to_ascii_lowercase().as_str() {
            "*" => true,
            "virtualnetwork" => self.holds(address),
            "azureloadbalancer" => is_probe,
            "internet" => !self.holds(address) && !is_private(address) && !is_probe,
            prefix => covers(prefix, address),
        }
    }

    fn group_of(&self, subnet: &str) -> &'a str {
        let subnets = list(self.body, "/properties/subnets");
        let found = subnets.iter().find(|it| text(it, "/id").eq_ignore_ascii_case(subnet));
        found.map_or("", |it| text(it, "/properties/networkSecurityGroup/id"))
    }

    /// Where a packet comes from once a firewall of this network has sent it on to `to` and its port; by
    /// each of the firewall's public sockets the first rule that matches decides.
    fn behind_firewall(&self, cloud: &Cloud, packet: Packet, to: IpAddr) -> Vec<IpAddr> {
        let mut sources = vec![];
        for firewall in cloud.resources.values().filter(|it| it.kind == Kind::Firewall) {
            let in_force = firewall.in_force.as_ref().unwrap_or(&firewall.body);
            let home = list(in_force, "/properties/ipConfigurations").first();
            let home = home.map_or("", |it| text(it, "/properties/subnet/id"));
            let subnet = list(self.body, "/properties/subnets")
                .iter()
                .find(|it| text(it, "/id").eq_ignore_ascii_case(home));
            let inside = subnet.and_then(|it| network(text(it, "/properties/addressPrefix")));
            let Some(inside) = inside.and_then(|it| it.hosts().nth(3)) else { continue };
            let mut collections: Vec<&Value> =
                list(in_force, "/properties/natRuleCollections").iter().collect();
            collections.sort_by_key(|it| it["properties"]["priority"].as_u64());
            let rules = collections.into_iter().flat_map(|it| list(it, "/properties/rules"));
            let rules: Vec<&Value> = rules.filter(|it| takes(it, packet)).collect();
            let all_sockets = rules.iter().flat_map(|it| sockets(it));
            for socket in all_sockets {
                let first = rules.iter().find(|it| sockets(it).contains(&socket));
                let leads_here = first.is_some_and(|it| {
                    text(it, "/translatedAddress").parse() == Ok(to)
                        && has_port(text(it, "/translatedPort"), packet.port)
                });
                if leads_here {
                    sources.push(inside);
                }
            }
        }
        sources
    }
}

/// Does a NAT rule take packets of this protocol, from there? An Azure Firewall speaks IPv4 alone: nobody with
/// another address gets to its public one.
fn takes(rule: &Value, packet: Packet) -> bool {
    let protocol = match packet.protocol {
        PacketProtocol::Tcp => "TCP",
        PacketProtocol::Udp => "UDP",
    };
    let words = |path| list(rule, path).iter().filter_map(Value::as_str);
    packet.from.is_ipv4()
        && words("/protocols").any(|it| it.eq_ignore_ascii_case(protocol) || it.eq_ignore_ascii_case("any"))
        && words("/sourceAddresses").any(|it| it == "*" || covers(it, packet.from))
}

/// The public sockets of a NAT rule.
fn sockets(rule: &Value) -> Vec<(String, String)> {
    let words = |path| list(rule, path).iter().filter_map(Value::as_str);
    let ports = || words("/destinationPorts").map(str::to_owned);
    words("/destinationAddresses").flat_map(|it| ports().map(move |port| (it.to_owned(), port))).collect()
}

fn is_private(address: IpAddr) -> bool {
    PRIVATE.iter().any(|it| covers(it, address))
}

fn covers(prefix: &str, address: IpAddr) -> bool {
    match prefix.split_once('-') {
        Some((first, last)) => {
            let in_range = |first: IpAddr, last: IpAddr| first <= address && address <= last;
            first.parse().ok().zip(last.parse().ok()).is_some_and(|(first, last)| in_range(first, last))
        }
        None => match network(prefix) {
            Some(it) => it.contains(&address),
            None => prefix.parse() == Ok(address),
        },
    }
}

fn has_port(range: &str, port: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let in_range = |first: u16, last: u16| first <= port && port <= last;
    range == "*"
        || first.parse().ok().zip(last.parse().ok()).is_some_and(|(first, last)| in_range(first, last))
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}
