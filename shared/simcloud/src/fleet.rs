//! The sample fleet: a machine for each way of being guarded, or of not being so.
//!
//! Names and networks are the same for every seed; ids, public addresses and tokens are not.

mod dice;
mod farm;
mod rules;

pub use farm::{behind_firewall, cloud as farm};

use crate::{
    cloud::{Cloud, Resource, Rules},
    faults::Faults,
    kind::Kind,
    permissions::Permissions,
    quota::Spent,
    restrictions::Restrictions,
    rule::{Provisioning, Rule},
};
use dice::Dice;
use rules::Furnished;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

const LOCATION: &str = "westeurope";
const GROUP: &str = "demo";

/// A name, and the security group.
type Subnet = (&'static str, Option<&'static str>);
/// The network and its subnet by their numbers, and the security group of its own.
type Interface = (usize, usize, Option<&'static str>);

/// The virtual networks: their first two octets, and their subnets with their security groups. The third
/// octet counts the subnets from 1.
const NETWORKS: [(&str, u8, &[Subnet]); 3] = [
    (
        "main-vnet",
        1,
        &[
            ("open", None),
            ("data", Some("data-subnet-nsg")),
            ("app", Some("app-subnet-nsg")),
            ("farm", Some("farm-subnet-nsg")),
        ],
    ),
    ("edge-vnet", 2, &[("AzureFirewallSubnet", None), ("vault", Some("vault-subnet-nsg"))]),
    ("hub-vnet", 3, &[("AzureFirewallSubnet", None), ("work", Some("hub-subnet-nsg"))]),
];

/// The machines, and their interfaces.
const MACHINES: [(&str, Os, &[Interface]); 15] = [
    ("web-1", Os::Linux, &[(0, 1, Some("web-1-nsg"))]),
    ("build-1", Os::Linux, &[(0, 1, Some("build-1-nsg"))]),
    ("win-1", Os::Windows, &[(0, 1, Some("win-1-nsg"))]),
    ("jit-1", Os::Linux, &[(0, 1, Some("jit-1-nsg"))]),
    ("db-1", Os::Linux, &[(0, 2, None)]),
    ("app-1", Os::Linux, &[(0, 3, Some("app-1-nsg"))]),
    ("farm-1", Os::Linux, &[(0, 4, None)]),
    ("farm-2", Os::Linux, &[(0, 4, None)]),
    ("farm-3", Os::Windows, &[(0, 4, None)]),
    ("duo-1", Os::Linux, &[(0, 1, Some("duo-1-nsg")), (0, 2, Some("duo-1-back-nsg"))]),
    ("vault-1", Os::Windows, &[(1, 2, None)]),
    ("hub-1", Os::Linux, &[(2, 2, None)]),
    ("lab-1", Os::Linux, &[(0, 1, None)]),
    ("spare-1", Os::Linux, &[]),
    ("quiet-1", Os::Linux, &[(0, 1, Some("quiet-1-nsg"))]),
];

/// The machines whose owners forbid that anybody but them opens and shuts their ports.
const FORBIDDEN: [&str; 1] = ["quiet-1"];
/// An application security group, and the machines whose interfaces are in it.
const APP_GROUP: &str = "app-asg";
const APP_GROUP_MEMBERS: [&str; 1] = ["app-1"];
/// A machine from before there was ARM: with no interface and no security group that anybody could write.
const CLASSIC: &str = "old-1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Os {
    Linux,
    Windows,
}

/// A cloud with the sample fleet.
pub fn cloud(seed: u64) -> Cloud {
    let mut builder = Builder::of(seed);
    builder.build();
    builder.done()
}

struct Builder {
    subscription: String,
    cloud: Cloud,
    dice: Dice,
}

impl Builder {
    /// Nothing is there yet.
    fn of(seed: u64) -> Self {
        let mut dice = Dice(seed);
        Self {
            subscription: dice.guid(),
            cloud: Cloud {
                tenant: dice.guid(),
                subscription: String::new(),
                groups: BTreeMap::new(),
                resources: BTreeMap::new(),
                rules: BTreeMap::new(),
                admin_rules: BTreeMap::new(),
                jit_policies: BTreeMap::new(),
                operations: BTreeMap::new(),
                tokens: BTreeMap::new(),
                control: None,
                faults: Faults::default(),
                permissions: Permissions::default(),
                restrictions: Restrictions::default(),
                claims: None,
                flushed: BTreeSet::new(),
                spent: Spent::default(),
                changes: 0,
                seed,
                last: 0,
            },
            dice,
        }
    }

    fn done(mut self) -> Cloud {
        self.cloud.subscription = self.subscription;
        self.cloud
    }

    /// The resource group, by its id.
    fn group(&mut self) -> String {
        let group = format!("/subscriptions/{}/resourceGroups/{GROUP}", self.subscription);
        self.cloud.groups.insert(
            group.to_ascii_lowercase(),
            json!({
                "id": group, "name": GROUP, "type": "Microsoft.Resources/resourceGroups", "location": LOCATION,
                "properties": { "provisioningState": "Succeeded" },
            }),
        );
        group
    }

    fn build(&mut self) {
        let group = self.group();
        self.add(Kind::ApplicationGroup, APP_GROUP, json!({}));
        for (network, octet, subnets) in NETWORKS {
            self.network(network, octet, subnets);
        }
        let mut next_host: BTreeMap<(usize, usize), u8> = BTreeMap::new();
        for (machine, os, interfaces) in MACHINES {
            for (n, (network, subnet, security_group)) in interfaces.iter().enumerate() {
                let host = next_host.entry((*network, *subnet)).or_insert(4);
                self.interface(machine, n, (*network, *subnet, *host), *security_group);
                *host += 1;
            }
            self.machine(machine, os, interfaces.len());
        }
        self.classic_machine(CLASSIC);
        self.firewall("edge-fw", NETWORKS[1].0, None);
        let policy = format!("{group}/providers/Microsoft.Network/firewallPolicies/hub-policy");
        self.firewall("hub-fw", NETWORKS[2].0, Some(&policy));
        let policy = rules::jit_policy(&group, LOCATION, &self.id(Kind::VirtualMachine, "jit-1"));
        let id = policy["id"].as_str().unwrap_or_default().to_ascii_lowercase();
        self.cloud.jit_policies.insert(id, policy);
    }

    fn network(&mut self, name: &str, octet: u8, subnets: &[Subnet]) {
        let id = self.id(Kind::VirtualNetwork, name);
        let mut shown = vec![];
        for (n, (subnet, security_group)) in (1..).zip(subnets) {
            let security_group = security_group.map(|it| self.security_group(it, None));
            let prefix = format!("10.{octet}.{n}.0/24");
            shown.push(Self::subnet(&id, subnet, &prefix, security_group.as_deref()));
        }
        let space =
            json!({ "addressPrefixes": [format!("10.{octet}.0.0/16"), format!("fd00:{octet}::/48")] });
        self.add(Kind::VirtualNetwork, name, json!({ "addressSpace": space, "subnets": shown }));
    }

    fn subnet(network: &str, name: &str, prefix: &str, security_group: Option<&str>) -> Value {
        let mut properties = json!({ "addressPrefix": prefix, "provisioningState": "Succeeded" });
        if let Some(security_group) = security_group {
            properties["networkSecurityGroup"] = json!({ "id": security_group });
        }
        json!({
            "name": name, "id": format!("{network}/subnets/{name}"), "type": "Microsoft.Network/virtualNetworks/subnets",
            "properties": properties,
        })
    }

    fn interface(&mut self, machine: &str, n: usize, at: (usize, usize, u8), security_group: Option<&str>) {
        let (network, subnet, host) = at;
        let (network_name, octet, subnets) = NETWORKS[network];
        let name = nic_name(machine, n);
        let id = self.id(Kind::NetworkInterface, &name);
        let subnet_id =
            format!("{}/subnets/{}", self.id(Kind::VirtualNetwork, network_name), subnets[subnet - 1].0);
        let address = Ipv4Addr::new(10, octet, u8::try_from(subnet).unwrap_or(0), host);
        let mut configurations = vec![("ipconfig1", "IPv4", address.to_string())];
        if machine == "app-1" {
            configurations.push(("ipconfig2", "IPv6", format!("fd00:{octet}::{subnet}:{host}")));
        }
        let mut shown = vec![];
        for (configuration, version, address) in configurations {
            let mut properties = json!({
                "privateIPAddress": address, "privateIPAllocationMethod": "Dynamic", "privateIPAddressVersion": version,
                "primary": version == "IPv4", "subnet": { "id": subnet_id }, "provisioningState": "Succeeded",
            });
            // Whoever is behind a firewall has no address of their own on the Internet; nor has a second interface.
            if network == 0 && n == 0 {
                let public = self.public_address(&format!("{machine}-{configuration}-ip"), version);
                properties["publicIPAddress"] = json!({ "id": public });
            }
            if APP_GROUP_MEMBERS.contains(&machine) {
                properties["applicationSecurityGroups"] =
                    json!([{ "id": self.id(Kind::ApplicationGroup, APP_GROUP) }]);
            }
            shown.push(Self::configuration(&id, configuration, &properties));
        }
        let mut properties = self.nic(machine, n, &shown);
        if let Some(security_group) = security_group {
            properties["networkSecurityGroup"] =
                json!({ "id": self.security_group(security_group, Some(address)) });
        }
        self.add(Kind::NetworkInterface, &name, properties);
    }

    fn configuration(nic: &str, name: &str, properties: &Value) -> Value {
        json!({
            "name": name, "id": format!("{nic}/ipConfigurations/{name}"),
            "type": "Microsoft.Network/networkInterfaces/ipConfigurations", "properties": properties,
        })
    }

    /// What the `n`th interface of a machine says of itself.
    fn nic(&self, machine: &str, n: usize, configurations: &[Value]) -> Value {
        json!({
            "ipConfigurations": configurations, "primary": n == 0, "enableIPForwarding": false,
            "virtualMachine": { "id": self.id(Kind::VirtualMachine, machine) },
        })
    }

    fn machine(&mut self, name: &str, os: Os, interfaces: usize) {
        let image = match os {
            Os::Linux => {
                json!({ "publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest" })
            }
            Os::Windows => json!({
                "publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2025-datacenter", "version": "latest",
            }),
        };
        let nics: Vec<Value> = (0..interfaces)
            .map(|n| json!({ "id": self.id(Kind::NetworkInterface, &nic_name(name, n)), "properties": { "primary": n == 0 } }))
            .collect();
        let properties = json!({
            "vmId": self.dice.guid(),
            "hardwareProfile": { "vmSize": "Standard_B2s" },
            "storageProfile": { "imageReference": image, "osDisk": { "osType": format!("{os:?}"), "createOption": "FromImage" } },
            "osProfile": { "computerName": name, "adminUsername": "azureuser" },
            "networkProfile": { "networkInterfaces": nics },
        });
        let id = self.add(Kind::VirtualMachine, name, properties);
        if let Some(machine) =
            self.cloud.resources.get_mut(&id.to_ascii_lowercase()).filter(|_| FORBIDDEN.contains(&name))
        {
            machine.body["tags"] = json!({ "portcullis": "disabled" });
        }
    }

    fn classic_machine(&mut self, name: &str) {
        let properties = json!({
            "hardwareProfile": { "size": "Standard_D1", "platformGuestAgent": true, "deploymentName": name },
            "storageProfile": { "operatingSystemDisk": { "operatingSystem": "Linux", "diskName": format!("{name}-disk") } },
            "networkProfile": { "inputEndpoints": [{
                "endpointName": "SSH", "protocol": "tcp", "publicPort": 22, "privatePort": 22, "enableDirectServerReturn": false,
            }] },
            "instanceView": { "status": "ReadyRole", "powerState": "Started", "computerName": name },
        });
        self.add(Kind::ClassicMachine, name, properties);
    }

    fn firewall(&mut self, name: &str, network: &str, policy: Option<&str>) {
        let public = self.public_address(&format!("{name}-ip"), "IPv4");
        let subnet = format!("{}/subnets/AzureFirewallSubnet", self.id(Kind::VirtualNetwork, network));
        let mut properties = json!({
            "sku": { "name": "AZFW_VNet", "tier": "Standard" }, "threatIntelMode": "Alert",
            "ipConfigurations": [{
                "name": "configuration", "properties": { "subnet": { "id": subnet }, "publicIPAddress": { "id": public } },
            }],
            "natRuleCollections": [], "networkRuleCollections": [], "applicationRuleCollections": [],
        });
        if let Some(policy) = policy {
            properties["firewallPolicy"] = json!({ "id": policy });
        } else {
            let address = &self.cloud.resources[&public.to_ascii_lowercase()].body["properties"]["ipAddress"];
            properties["natRuleCollections"] = rules::nat(address);
        }
        self.add(Kind::Firewall, name, properties);
    }

    fn public_address(&mut self, name: &str, version: &str) -> String {
        let n = self.cloud.last % 250 + 1;
        let address = match version {
            "IPv6" => format!("2001:db8:{:x}::{n:x}", self.dice.roll() % 0x1_0000),
            // From the network that is set aside for tests of networks.
            _ => format!("198.{}.{}.{n}", 18 + self.dice.roll() % 2, self.dice.roll() % 256),
        };
        self.public_address_at(name, version, &address)
    }

    fn public_address_at(&mut self, name: &str, version: &str, address: &str) -> String {
        let properties = json!({
            "ipAddress": address, "publicIPAllocationMethod": "Static", "publicIPAddressVersion": version,
        });
        self.add(Kind::PublicIpAddress, name, properties)
    }

    /// A security group with what people left in it; `address` is the machine's, where it has one.
    fn security_group(&mut self, name: &str, address: Option<Ipv4Addr>) -> String {
        let guid = self.dice.guid();
        let id = self.add(Kind::SecurityGroup, name, json!({ "resourceGuid": guid }));
        let app = self.id(Kind::ApplicationGroup, APP_GROUP);
        let mut kept = Rules::default();
        for Furnished { name, properties } in rules::of(name, address, &app, &mut self.dice) {
            let rule = Rule { etag: self.cloud.next(), state: Provisioning::Succeeded, name, properties };
            kept.shown.insert(rule.name.to_ascii_lowercase(), rule.clone());
            kept.in_force.insert(rule.name.to_ascii_lowercase(), rule);
        }
        self.cloud.rules.insert(id.to_ascii_lowercase(), kept);
        id
    }

    fn add(&mut self, kind: Kind, name: &str, mut properties: Value) -> String {
        let id = self.id(kind, name);
        properties["provisioningState"] = json!("Succeeded");
        let body = json!({
            "id": id, "name": name, "type": kind.name(), "location": LOCATION, "tags": {}, "properties": properties,
        });
        let etag = self.cloud.next();
        self.cloud.resources.insert(id.to_ascii_lowercase(), Resource { kind, etag, body, in_force: None });
        id
    }

    fn id(&self, kind: Kind, name: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{GROUP}/providers/{}/{name}",
            self.subscription,
            kind.name()
        )
    }
}

fn nic_name(machine: &str, n: usize) -> String {
    if n == 0 { format!("{machine}-nic") } else { format!("{machine}-nic-{}", n + 1) }
}
