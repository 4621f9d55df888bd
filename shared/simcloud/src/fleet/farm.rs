//! A large fleet, all of one kind, to measure with: machines in subnets, each with a security group.

use super::{Builder, Os, nic_name};
use crate::{cloud::Cloud, kind::Kind};
use serde_json::json;

const NETWORK: &str = "farm-vnet";
/// How many machines a subnet has addresses for; Azure keeps some for itself.
const MACHINES_MAX: u16 = 250;
/// The first host's number: those below are Azure's.
const FIRST_HOST: u16 = 4;

/// So many security groups, each on its subnet, with so many machines behind it.
pub fn cloud(seed: u64, groups: u16, machines_per_group: u16) -> Cloud {
    let mut builder = Builder::of(seed);
    builder.group();
    let network = builder.id(Kind::VirtualNetwork, NETWORK);
    let mut subnets = vec![];
    let mut count: u32 = 0;
    for group in 0..groups {
        let (name, [high, low]) = (format!("farm-{group:02}"), group.to_be_bytes());
        let security_group = builder.security_group(&format!("{name}-nsg"), None);
        let prefix = format!("10.{high}.{low}.0/24");
        subnets.push(Builder::subnet(&network, &name, &prefix, Some(&security_group)));
        for host in (FIRST_HOST..).take(machines_per_group.min(MACHINES_MAX).into()) {
            let (machine, [_, b, c, d]) = (format!("vm-{count:03}"), count.to_be_bytes());
            // From the networks that are set aside for tests of networks, as long as they last.
            let public = format!("198.{}.{c}.{d}", 18 + b % 2);
            let public = builder.public_address_at(&format!("{machine}-ip"), "IPv4", &public);
            let subnet = format!("{network}/subnets/{name}");
            builder.farmed(&machine, &format!("10.{high}.{low}.{host}"), &subnet, Some(public));
            count += 1;
        }
    }
    let space = json!({ "addressPrefixes": ["10.0.0.0/8"] });
    builder.add(Kind::VirtualNetwork, NETWORK, json!({ "addressSpace": space, "subnets": subnets }));
    builder.done()
}

/// So many machines in one subnet with its security group, behind one firewall with classic rules.
pub fn behind_firewall(seed: u64, machines: u16) -> Cloud {
    let mut builder = Builder::of(seed);
    builder.group();
    let network = builder.id(Kind::VirtualNetwork, NETWORK);
    let security_group = builder.security_group("farm-00-nsg", None);
    let subnets = [
        Builder::subnet(&network, "AzureFirewallSubnet", "10.1.0.0/24", None),
        Builder::subnet(&network, "farm-00", "10.0.0.0/24", Some(&security_group)),
    ];
    let subnet = format!("{network}/subnets/farm-00");
    for n in 0..machines.min(MACHINES_MAX) {
        builder.farmed(&format!("vm-{n:03}"), &format!("10.0.0.{}", FIRST_HOST + n), &subnet, None);
    }
    let space = json!({ "addressPrefixes": ["10.0.0.0/8"] });
    builder.add(Kind::VirtualNetwork, NETWORK, json!({ "addressSpace": space, "subnets": subnets }));
    builder.firewall("farm-fw", NETWORK, None);
    builder.done()
}

impl Builder {
    /// A machine with one interface.
    fn farmed(&mut self, machine: &str, address: &str, subnet: &str, public: Option<String>) {
        let nic = self.id(Kind::NetworkInterface, &nic_name(machine, 0));
        let mut properties = json!({
            "privateIPAddress": address, "privateIPAllocationMethod": "Dynamic", "privateIPAddressVersion": "IPv4",
            "primary": true, "subnet": { "id": subnet }, "provisioningState": "Succeeded",
        });
        if let Some(public) = public {
            properties["publicIPAddress"] = json!({ "id": public });
        }
        let configuration = Self::configuration(&nic, "ipconfig1", &properties);
        let properties = self.nic(machine, 0, &[configuration]);
        self.add(Kind::NetworkInterface, &nic_name(machine, 0), properties);
        self.machine(machine, Os::Linux, 1);
    }
}
