//! The firewalls on the ways to a machine, as they are read.

use crate::{
    Azure,
    group::Group,
    nat,
    parts::{Part, Subject, held},
    retired::silent,
    rule::Shown,
    topology::{Front, Vm, WayTo, text},
    versions::NETWORK_API,
};
use futures_util::future::try_join_all;
use portcullis_app::{BeingWritten, Error, ports::Unsupported};
use portcullis_domain::{
    Action, AddressSet, Bands, Existing, Families, Firewall, FirewallId, FirewallKind, Foreign, Held, Owner,
    RuleName, Sessions, Snapshot, Sources, TargetId, Way,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

impl Azure {
    /// Whatever leads to a machine, or what is left of it.
    pub(crate) async fn read_ways(&self, target: &TargetId) -> Result<Snapshot, Error> {
        let topology = self.topology().await?;
        let Some(vm) = topology.machines.get(target) else { return self.remains(target).await };
        if vm.missing.is_some() {
            return self.snapshot(vm).await;
        }
        let has_groups = vm.ways.iter().any(|it| !it.groups.is_empty());
        match vm.machine.unsupported {
            None => self.snapshot(vm).await,
            // What was guarded before stays so, and its leases end: until somebody disables it.
            Some(Unsupported::NoFirewall | Unsupported::FirewallManager | Unsupported::DisabledByPolicy)
                if has_groups =>
            {
                self.snapshot(vm).await
            }
            Some(reason) => {
                let left = self.leftovers(target).await?;
                if left.firewalls.is_empty() {
                    let source = reason.to_string().into();
                    return Err(Error::Broken { doing: "guard this target", source });
                }
                Ok(left)
            }
        }
    }

    async fn snapshot(&self, vm: &Vm) -> Result<Snapshot, Error> {
        if let Some(what) = &vm.missing {
            self.forget().await;
            let source = format!(
                "the identity cannot read {what}, so the network paths to the machine are \
                unknown"
            )
            .into();
            return Err(Error::Unavailable { doing: "read the firewalls of a machine", source });
        }
        let owner = Owner::from(&vm.machine.id);
        let mut ids: Vec<&FirewallId> = vec![];
        for group in vm.ways.iter().flat_map(|it| &it.groups) {
            if !ids.contains(&group) {
                ids.push(group);
            }
        }
        let groups = try_join_all(ids.iter().map(|id| self.group(id)));
        let fronts = try_join_all(vm.front.iter().map(|it| self.front(&it.id)));
        let above = async { Ok(self.above.above(&vm.home, self.time(), self.read_above(&vm.home)).await) };
        let (groups, fronts, above) = tokio::try_join!(groups, fronts, above)?;
        let times = groups.iter().map(|it| it.at).chain(fronts.iter().map(|it| it.at));
        let read_at = times.min().unwrap_or_else(|| self.time());
        let mut firewalls = vec![];
        for (id, group) in ids.iter().zip(&groups) {
            firewalls.push(self.seen(id, &group.what, &owner, vm)?);
        }
        firewalls.extend(self.strays(&owner, &ids).await?);
        let mut snapshot = Snapshot::of(read_at, firewalls);
        snapshot.written = self.writes.of(&owner, read_at);
        snapshot.headroom = ids.iter().zip(&groups).map(|(id, it)| it.what.headroom(id, &owner)).collect();
        let flushes =
            |id: &FirewallId| ids.iter().zip(&groups).any(|(it, group)| *it == id && group.what.flushes());
        snapshot.sessions = vm.sessions(flushes);
        let place = |id: &FirewallId| ids.iter().position(|it| *it == id);
        let through = |groups: &[FirewallId]| groups.iter().filter_map(place).collect::<Vec<_>>();
        let direct =
            |it: &WayTo| Way { from: it.direct.clone(), through: through(&it.groups), to: Some(it.address) };
        snapshot.ways = vm.ways.iter().map(direct).collect();
        if let (Some(front), Some(read)) = (&vm.front, fronts.first()) {
            let at = snapshot.firewalls.len();
            let seen = front_seen(front, &read.what, &owner, vm);
            snapshot.firewalls.push(seen.0);
            snapshot.doors = seen.1;
            let ends = vm.ways.iter().filter(|it| it.address.is_ipv4());
            let from = crate::network::addresses(["0.0.0.0/0"]).without(&(&front.inside).into());
            snapshot.ways.extend(ends.map(|it| Way {
                from: from.clone(),
                through: [vec![at], through(&it.groups)].concat(),
                to: Some(it.address),
            }));
        }
        snapshot.unread.extend(vm.doubts());
        above.put_before(&mut snapshot, &vm.home, &vm.network);
        Ok(snapshot)
    }

    /// The inbound security admin rules of a virtual network, by their priorities.
    pub(crate) async fn read_above(&self, network: &str) -> Result<Vec<Value>, Error> {
        let path = format!("{network}/listNetworkManagerEffectiveSecurityAdminRules");
        let mut rules = self.arm.list_by_post(&path, NETWORK_API).await?;
        rules.retain(|it| text(it, "/properties/direction").eq_ignore_ascii_case("Inbound"));
        rules.sort_by_key(|it| it["properties"]["priority"].as_u64());
        Ok(rules)
    }

    /// A security group as it concerns one machine.
    fn seen(&self, id: &FirewallId, group: &Group, owner: &Owner, vm: &Vm) -> Result<Firewall, Error> {
        let behind = vm.behind(id);
        let inside = vm.front.as_ref().map(|it| it.inside.clone()).unwrap_or_default();
        let subject = Subject { name: &vm.machine.name, addresses: &behind, inside: &inside };
        let here: AddressSet = behind.iter().fold(AddressSet::default(), |all, address| {
            all.union(&AddressSet::from(&Sources::from(*address)))
        });
        let foreign = |it: &Shown| {
            let mut foreign = it.properties.foreign(&it.name, &vm.network);
            // Only what it does to this machine.
            foreign.to = AddressSet::from(&foreign.to).intersection(&here).to_sources();
            foreign
        };
        let rules = group.properties.security_rules.iter().filter(|it| it.properties.is_inbound());
        let mut found: BTreeMap<RuleName, BTreeMap<Part, Shown>> = BTreeMap::new();
        let mut others: Vec<Foreign> = vec![];
        for it in rules {
            match Part::of(&it.name) {
                Some((name, _)) if name.owner == *owner && it.properties.is_under_way() => {
                    return Err(under_way(id, &it.name));
                }
                Some(_) if it.properties.is_retired() => others.push(silent(foreign(it))),
                Some((name, part)) => drop(found.entry(name).or_default().insert(part, it.clone())),
                None => others.push(foreign(it)),
            }
        }
        let defaults = group.properties.default_security_rules.iter();
        others.extend(defaults.filter(|it| it.properties.is_inbound()).map(foreign));
        let mut ours = BTreeMap::new();
        let theirs = others.clone();
        for (name, parts) in found {
            if name.owner == *owner {
                let (it, twins) = held(&name, &parts, &subject, &theirs, foreign);
                others.extend(twins);
                ours.insert(name, it);
            } else {
                others.extend(parts.values().map(foreign));
                let mut priorities = parts.values().map(|it| it.properties.priority);
                let priority = priorities.next().unwrap_or(0);
                ours.insert(name, Held { rule: None, priority, beside: priorities.collect(), etag: None });
            }
        }
        Ok(Firewall {
            id: id.clone(),
            kind: FirewallKind::Ordered { otherwise: Action::Deny },
            bands: self.bounds.bands.clone(),
            inside: AddressSet::from(&inside),
            families: families(&behind),
            ours,
            foreign: others,
        })
    }
}

impl Vm {
    /// What becomes of open sessions where these groups judge established flows anew: they end if one on every way does. Whom
    /// a firewall sends on is behind its address, which another lease may still admit.
    fn sessions(&self, flushes: impl Fn(&FirewallId) -> bool) -> Sessions {
        let ends = |way: &WayTo| way.groups.iter().any(&flushes);
        let all_end = self.front.is_none() && !self.ways.is_empty() && self.ways.iter().all(ends);
        if all_end { Sessions::EndWithLease } else { Sessions::Survive }
    }

    /// Why it is in doubt that a lock names every address of the machine, in a sentence each.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = String> {
        self.doubts.iter().map(|id| {
            format!(
                "`{id}` cannot be read: a rule of that load balancer with floating IP brings packets to an address that the \
                lock does not name"
            )
        })
    }

    /// The machine's addresses behind a security group: its own, and those of frontends with floating IP.
    pub(crate) fn behind(&self, group: &FirewallId) -> Vec<IpAddr> {
        let ways = self.ways.iter().filter(|it| it.groups.contains(group));
        ways.map(|it| it.address).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn front_seen(
    front: &Front,
    body: &Value,
    owner: &Owner,
    vm: &Vm,
) -> (Firewall, BTreeMap<portcullis_domain::Gate, std::net::SocketAddr>) {
    let seen = nat::seen(body, owner, &vm.machine.name, front);
    let bands = Bands { allows: nat::SEATS, denies: 0..0, existing: Existing::Override };
    let firewall = Firewall {
        id: front.id.clone(),
        kind: FirewallKind::Translating,
        bands,
        inside: AddressSet::from(&front.inside),
        families: Families { v4: true, v6: false },
        ours: seen.ours,
        foreign: seen.foreign,
    };
    (firewall, seen.doors)
}

fn families(addresses: &[IpAddr]) -> Families {
    Families { v4: addresses.iter().any(IpAddr::is_ipv4), v6: addresses.iter().any(IpAddr::is_ipv6) }
}

fn under_way(id: &FirewallId, what: &str) -> Error {
    let source = BeingWritten(format!("`{what}` in `{id}`")).into();
    Error::Unavailable { doing: "read a firewall", source }
}
