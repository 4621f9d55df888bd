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
            let nic = builder.id(Kind::NetworkInterface, &nic_name(&machine, 0));
            let mut properties = json!({
                "privateIPAddress": format!("10.{high}.{low}.{host}"), "privateIPAllocationMethod": "Dynamic",
                "privateIPAddressVersion": "IPv4", "primary": true, "subnet": { "id": format!("{network}/subnets/{name}") },
                "provisioningState": "Succeeded",
            });
            properties["publicIPAddress"] = json!({ "id": public });
            let configuration = Builder::configuration(&nic, "ipconfig1", &properties);
            let properties = builder.nic(&machine, 0, &[configuration]);
            builder.add(Kind::NetworkInterface, &nic_name(&machine, 0), properties);
            builder.machine(&machine, Os::Linux, 1);
            count += 1;
        }
    }
    let space = json!({ "addressPrefixes": ["10.0.0.0/8"] });
    builder.add(Kind::VirtualNetwork, NETWORK, json!({ "addressSpace": space, "subnets": subnets }));
    builder.done()
}
