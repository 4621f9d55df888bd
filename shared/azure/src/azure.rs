//! Azure as what the use cases need: firewalls and an inventory.

use crate::{
    Arm, Busy, Forbidden, NoToken,
    batches::Batches,
    nat,
    parts::{Part, Subject, held, lock, locked, until},
    reads::{Read, Reads, Writing},
    refused::cause,
    retired::{Kept, silent},
    rule::Shown,
    topology::{Front, TYPES, Topology, Vm},
    write::{Wanted, is_front},
    written::Writes,
};
use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    Error, Troubles,
    ports::{Firewalls, Inventory, Machine, Machines, OurRule, Unsupported},
};
use portcullis_domain::{
    Action, AddressSet, Bands, Cause, Change, Existing, Families, Firewall, FirewallId, FirewallKind,
    Foreign, Held, Owner, RuleName, Snapshot, Sources, TargetId, Way,
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The versions of the parts of ARM that are asked.
pub const NETWORK_API: &str = "2024-05-01";
pub const COMPUTE_API: &str = "2024-07-01";
pub const CLASSIC_API: &str = "2017-04-01";
pub const SUBSCRIPTIONS_API: &str = "2022-12-01";
/// How long it is taken for true where machines are. Resource Graph itself is seconds behind; every rule is
/// read anew each time.
const TOPOLOGY_MAX_AGE: SignedDuration = SignedDuration::from_secs(15);

/// How long it is taken for true that nobody answers: else all who wait would try it one after another.
const FAILURE_MAX_AGE: SignedDuration = SignedDuration::from_secs(3);

/// Before the name of a machine, in the id of one that can be guarded.
const MACHINES: &str = "/providers/microsoft.compute/virtualmachines/";

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What may be seen and where our rules stand.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Which subscriptions; none means every one that the identity sees.
    pub subscriptions: Vec<String>,
    /// Where our rules stand in security groups.
    pub bands: Bands,
}

impl Bounds {
    /// Every subscription, and the first priorities that there are: above what a portal makes of itself, which
    /// begins at 300. With [`Existing::Respect`] the last ones, above the rules that everybody has.
    pub fn with(existing: Existing) -> Self {
        let (allows, denies) = match existing {
            Existing::Override => (100..200, 200..300),
            Existing::Respect => (3700..3900, 3900..4096),
        };
        Self { subscriptions: vec![], bands: Bands { allows, denies, existing } }
    }
}

/// The machines of Azure, and the firewalls on the ways to them.
pub struct Azure {
    pub(crate) arm: Arm,
    pub(crate) bounds: Bounds,
    pub(crate) batches: Batches<Wanted>,
    clock: Clock,
    topology: tokio::sync::Mutex<Known>,
    groups: Reads<Group>,
    /// Which firewalls held rules for whom when all of them were last looked at.
    holders: Mutex<BTreeMap<Owner, BTreeSet<FirewallId>>>,
    fronts: Reads<Value>,
    /// Which groups let no rule be deleted.
    pub(crate) kept: Kept,
    /// How long the cloud took for what was written.
    pub(crate) writes: Writes,
    /// What was in the way of its calls.
    pub(crate) troubles: Troubles,
}

/// What was last heard of where machines are, and when.
#[derive(Debug, Default)]
struct Known {
    topology: Option<(Timestamp, Arc<Topology>)>,
    /// That nobody answered, and how.
    failed: Option<(Timestamp, String)>,
}

/// A network security group, as ARM shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) properties: GroupProperties,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupProperties {
    #[serde(default)]
    pub(crate) security_rules: Vec<Shown>,
    #[serde(default)]
    default_security_rules: Vec<Shown>,
}

impl Azure {
    /// Asks nothing yet.
    pub fn new(arm: Arm, bounds: Bounds, clock: Clock) -> Self {
        Self {
            arm,
            bounds,
            batches: Batches::default(),
            topology: tokio::sync::Mutex::default(),
            groups: Reads::new(Arc::clone(&clock)),
            holders: Mutex::default(),
            fronts: Reads::new(Arc::clone(&clock)),
            kept: Kept::default(),
            writes: Writes::default(),
            troubles: Troubles::default(),
            clock,
        }
    }

    /// How ARM is asked.
    pub fn arm(&self) -> &Arm {
        &self.arm
    }

    /// What time it is.
    pub(crate) fn time(&self) -> Timestamp {
        (self.clock)()
    }

    /// Where machines are, as it was a few seconds ago at most.
    pub(crate) async fn topology(&self) -> Result<Arc<Topology>, Error> {
        let mut known = self.topology.lock().await;
        let now = (self.clock)();
        if let Some((at, topology)) = known.topology.as_ref()
            && now.duration_since(*at) < TOPOLOGY_MAX_AGE
        {
            return Ok(Arc::clone(topology));
        }
        if let Some((at, why)) = known.failed.as_ref()
            && now.duration_since(*at) < FAILURE_MAX_AGE
        {
            return Err(Error::Unavailable { doing: "list machines in Azure", source: why.clone().into() });
        }
        let rows = self.rows().await;
        if let Err(Error::Unavailable { source, .. }) = &rows {
            known.failed = Some(((self.clock)(), source.to_string()));
        }
        let (rows, unseen) = rows?;
        let topology = Arc::new(Topology::of(rows, unseen));
        *known = Known { topology: Some((now, Arc::clone(&topology))), failed: None };
        Ok(topology)
    }

    /// The next one who asks is told anew.
    async fn forget(&self) {
        self.topology.lock().await.topology = None;
    }

    /// Everything that says where machines are, with what could not be seen.
    async fn rows(&self) -> Result<(Vec<Value>, Vec<String>), Error> {
        let types: Vec<String> = TYPES.iter().map(|it| format!("'{it}'")).collect();
        let query = format!(
            "Resources | where type in~ ({}) | project id, name, type, location, tags, properties | order by id asc",
            types.join(", ")
        );
        match self.arm.graph(&self.bounds.subscriptions, &query).await {
            Ok(rows) => Ok((rows, vec![])),
            // Nobody would be told anything else.
            Err(Error::Broken { doing, source }) if source.is::<NoToken>() => {
                Err(Error::Broken { doing, source })
            }
            // Who does not answer at all does not list either; who is busy there may.
            Err(Error::Unavailable { doing, source }) if !source.is::<Busy>() => {
                Err(Error::Unavailable { doing, source })
            }
            Err(error) => {
                tracing::warn!(
                    error = error.full(),
                    "Resource Graph does not answer; resources are listed instead"
                );
                self.listed().await
            }
        }
    }

    /// The same from plain lists.
    async fn listed(&self) -> Result<(Vec<Value>, Vec<String>), Error> {
        let (mut rows, mut unseen) = (vec![], vec![]);
        for subscription in self.subscriptions().await? {
            for kind in TYPES {
                let path = format!("/subscriptions/{subscription}/providers/{kind}");
                match self.arm.list(&path, api_of(kind)).await {
                    Ok(page) => rows.extend(page.into_iter().map(|mut row| {
                        row["type"] = Value::from(kind);
                        row
                    })),
                    // Who has no classic machines often may not list them.
                    Err(error) => unseen.push(format!("{kind} of `{subscription}`: {}", error.full())),
                }
            }
        }
        Ok((rows, unseen))
    }

    /// Every subscription that is asked about.
    pub(crate) async fn subscriptions(&self) -> Result<Vec<String>, Error> {
        if !self.bounds.subscriptions.is_empty() {
            return Ok(self.bounds.subscriptions.clone());
        }
        let all = self.arm.list("/subscriptions", SUBSCRIPTIONS_API).await?;
        Ok(all.iter().filter_map(|it| it["subscriptionId"].as_str().map(str::to_owned)).collect())
    }

    /// Every security group that can be seen, with its rules.
    pub(crate) async fn all_groups(&self, topology: &Topology) -> Result<Vec<Group>, Error> {
        let mut all = vec![];
        for subscription in topology.subscriptions() {
            let path =
                format!("/subscriptions/{subscription}/providers/Microsoft.Network/networkSecurityGroups");
            for shown in self.arm.list(&path, NETWORK_API).await? {
                let group = serde_json::from_value(shown);
                let broken = |error: serde_json::Error| Error::Broken {
                    doing: "read the security groups",
                    source: error.into(),
                };
                all.push(group.map_err(broken)?);
            }
        }
        Ok(all)
    }

    async fn group(&self, id: &FirewallId) -> Result<Read<Group>, Error> {
        let read = async {
            let shown = self.arm.get(id.as_str(), NETWORK_API).await?;
            let shown = shown.ok_or_else(|| gone(id))?;
            serde_json::from_value(shown).map_err(|error| unreadable(id, &error))
        };
        let read = self.groups.read(id, read).await;
        if matches!(read, Err(Error::Unavailable { .. })) {
            self.forget().await;
        }
        read
    }

    /// Says that a security group is written to, until what it gives is dropped.
    pub(crate) fn writing(&self, id: &FirewallId) -> Writing<Group> {
        self.groups.writing(id)
    }

    /// Says that somebody is at the rules of a machine behind a firewall: who reads both waits once.
    pub(crate) fn writing_behind(&self, front: &FirewallId) -> Writing<Value> {
        self.fronts.writing(front)
    }

    /// A security group as it was last read.
    pub(crate) fn last(&self, id: &FirewallId) -> Option<Arc<Group>> {
        self.groups.last(id)
    }

    async fn front(&self, id: &FirewallId) -> Result<Read<Value>, Error> {
        let read = async { self.arm.get(id.as_str(), NETWORK_API).await?.ok_or_else(|| gone(id)) };
        let read = self.fronts.read(id, read).await;
        if matches!(read, Err(Error::Unavailable { .. })) {
            self.forget().await;
        }
        read
    }

    /// Groups that are on no way to a machine any more and hold rules with its name: whoever gets its address
    /// behind one would have them.
    async fn strays(&self, owner: &Owner, on_ways: &[&FirewallId]) -> Result<Vec<Firewall>, Error> {
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner).get(owner).cloned();
        let mut strays = vec![];
        for id in holders.into_iter().flatten().filter(|it| !on_ways.contains(&it) && !is_front(it)) {
            let group = self.group(&id).await?;
            let mut firewall = self.unled(id);
            let mine = group.what.found().into_iter().filter(|(name, _)| name.owner == *owner);
            firewall.ours.extend(mine.map(|(name, parts)| (name, unjudged(&parts))));
            strays.extend(Some(firewall).filter(|it| !it.ours.is_empty()));
        }
        Ok(strays)
    }

    async fn snapshot(&self, vm: &Vm) -> Result<Snapshot, Error> {
        if let Some(what) = &vm.missing {
            self.forget().await;
            let source = format!("{what} cannot be seen, so nobody can tell the ways to it").into();
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
        let (groups, fronts) = tokio::try_join!(groups, fronts)?;
        let times = groups.iter().map(|it| it.at).chain(fronts.iter().map(|it| it.at));
        let read_at = times.min().unwrap_or_else(|| (self.clock)());
        let mut firewalls = vec![];
        for (id, group) in ids.iter().zip(&groups) {
            firewalls.push(self.seen(id, &group.what, &owner, vm)?);
        }
        firewalls.extend(self.strays(&owner, &ids).await?);
        let mut snapshot = Snapshot::of(read_at, firewalls);
        snapshot.written = self.writes.of(&owner, read_at);
        snapshot.headroom = ids.iter().zip(&groups).map(|(id, it)| it.what.headroom(id, &owner)).collect();
        let place = |id: &FirewallId| ids.iter().position(|it| *it == id);
        let through = |groups: &[FirewallId]| groups.iter().filter_map(place).collect::<Vec<_>>();
        let direct = |it: &crate::topology::WayTo| Way {
            from: it.direct.clone(),
            through: through(&it.groups),
            to: Some(it.address),
        };
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
        Ok(snapshot)
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

    /// A machine that is not among those that are listed.
    ///
    /// It is asked for by itself: Resource Graph may be behind, or not see it, and the lock of a machine that
    /// is there must stay. Of one that is gone there are rules to delete, or nothing any more.
    async fn remains(&self, target: &TargetId) -> Result<Snapshot, Error> {
        if !self.is_absent(target).await? {
            self.forget().await;
            return Err(Error::NotFound { what: "target", name: target.to_string() });
        }
        self.leftovers(target).await
    }

    /// Does Resource Manager say of a machine that it is not there? Who may not see it is told something else.
    async fn is_absent(&self, target: &TargetId) -> Result<bool, Error> {
        let is_machine = target.as_str().contains(MACHINES);
        if !is_machine || self.arm.get(target.as_str(), COMPUTE_API).await?.is_some() {
            return Ok(false);
        }
        // That nothing is to be seen of a whole subscription says nothing of a machine in it.
        let subscription = target.as_str().split('/').nth(2).unwrap_or_default();
        let path = format!("/subscriptions/{subscription}");
        if self.arm.get(&path, SUBSCRIPTIONS_API).await?.is_none() {
            let source = format!("the subscription `{subscription}` cannot be seen").into();
            return Err(Error::Unavailable { doing: "find a machine", source });
        }
        Ok(true)
    }

    /// Rules of ours with the name of a machine that nothing leads to any more. Its allows are nobody's; its lock
    /// stays as it is until somebody disables it: the machine may be made anew.
    async fn leftovers(&self, target: &TargetId) -> Result<Snapshot, Error> {
        let (read_at, owner) = ((self.clock)(), Owner::from(target));
        let topology = self.topology().await?;
        let mut left = vec![];
        for group in self.all_groups(&topology).await? {
            let Ok(id) = group.id.to_ascii_lowercase().parse() else { continue };
            let mut firewall = self.unled(id);
            for (name, parts) in group.found().into_iter().filter(|(name, _)| name.owner == owner) {
                let mut held = unjudged(&parts);
                if name.gate.is_none() {
                    firewall.kind = FirewallKind::Ordered { otherwise: Action::Deny };
                    held.rule = lock(&name, &parts);
                }
                firewall.ours.insert(name, held);
            }
            left.extend(Some(firewall).filter(|it| !it.ours.is_empty()));
        }
        for id in &topology.firewalls {
            let names = nat::names(&self.front(id).await?.what);
            let mut firewall = self.unled(id.clone());
            let held = Held { rule: None, priority: 0, beside: vec![], etag: None };
            let mine = names.into_keys().filter(|it| it.owner == owner);
            firewall.ours.extend(mine.map(|name| (name, held.clone())));
            left.extend(Some(firewall).filter(|it| !it.ours.is_empty()));
        }
        Ok(Snapshot { ways: vec![], ..Snapshot::of(read_at, left) })
    }

    /// A firewall that is on no way: nothing is wanted there.
    fn unled(&self, id: FirewallId) -> Firewall {
        Firewall {
            id,
            kind: FirewallKind::Union,
            bands: self.bounds.bands.clone(),
            inside: AddressSet::default(),
            families: Families { v4: false, v6: false },
            ours: BTreeMap::new(),
            foreign: vec![],
        }
    }
}

impl Vm {
    /// The machine's addresses behind a security group.
    pub(crate) fn behind(&self, group: &FirewallId) -> Vec<IpAddr> {
        let ways = self.ways.iter().filter(|it| it.groups.contains(group));
        ways.map(|it| it.address).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Azure {
    async fn read_ways(&self, target: &TargetId) -> Result<Snapshot, Error> {
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
}

impl Firewalls for Azure {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        let (clock, ways) = (&*self.clock, Box::pin(self.read_ways(target)));
        let read = self.troubles.watch(target, clock, Cause::CloudUnavailable, cause, ways).await?;
        let mut hindered = self.troubles.of(target);
        hindered.extend(self.arm.hindrance(self.time()));
        Ok(Snapshot { hindered, ..read })
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        let topology = self.topology().await?;
        let groups = self.all_groups(&topology).await?;
        let homes = Homes::of(&topology);
        let mut ours: Vec<OurRule> = groups.iter().flat_map(|it| it.ours(&homes)).collect();
        ours.extend(self.deletable(&groups));
        for id in &topology.firewalls {
            let read = self.front(id).await?;
            let rule = |(name, until)| OurRule {
                firewall: id.clone(),
                name,
                etag: None,
                until,
                machine: None,
                is_over: false,
            };
            ours.extend(nat::names(&read.what).into_iter().map(rule));
        }
        let mut holders: BTreeMap<Owner, BTreeSet<FirewallId>> = BTreeMap::new();
        for OurRule { firewall, name, .. } in &ours {
            holders.entry(name.owner.clone()).or_default().insert(firewall.clone());
        }
        *self.holders.lock().unwrap_or_else(PoisonError::into_inner) = holders;
        Ok(ours)
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        let made = Box::pin(self.make(target, changes));
        match target {
            Some(target) => {
                let met = |error: &Error| self.met(changes, error);
                self.troubles.watch(target, &*self.clock, Cause::CloudUnavailable, met, made).await
            }
            None => made.await,
        }
    }
}

impl Inventory for Azure {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        let topology = self.topology().await?;
        let all = topology.machines.values().map(|it| &it.machine);
        let rest = all.filter(|it| after.is_none_or(|after| *after < it.id));
        Ok(Machines { items: rest.take(at_most).cloned().collect(), unseen: topology.unseen.clone() })
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        Ok(self.topology().await?.machines.get(id).map(|it| it.machine.clone()))
    }

    async fn is_gone(&self, id: &TargetId) -> Result<bool, Error> {
        match self.is_absent(id).await {
            // Who may not see a machine is refused, whether it is there or not.
            Err(Error::Broken { source, .. }) if source.is::<Forbidden>() => Ok(false),
            outcome => outcome,
        }
    }
}

/// Where machines may be: what is known of a rule's machine is but its short name, and the digest of its id.
struct Homes(BTreeSet<String>);

impl Homes {
    /// Every resource group that anything was found in.
    fn of(topology: &Topology) -> Self {
        let machines = topology.machines.keys().map(TargetId::as_str);
        let firewalls = topology.groups.iter().chain(&topology.firewalls).map(FirewallId::as_str);
        let group = |id: &str| id.split_once("/providers/").map(|(group, _)| group.to_owned());
        Self(machines.chain(firewalls).filter_map(group).collect())
    }

    /// The machine that is called so by people, and so in rules.
    fn machine(&self, owner: &Owner, name: &str) -> Option<TargetId> {
        let name = name.to_ascii_lowercase();
        let mut ids = self.0.iter().filter_map(|it| format!("{it}{MACHINES}{name}").parse().ok());
        ids.find(|id| Owner::from(id) == *owner)
    }
}

impl Group {
    /// Its rules of ours, each with all its parts.
    fn found(&self) -> BTreeMap<RuleName, BTreeMap<Part, Shown>> {
        let mut found: BTreeMap<RuleName, BTreeMap<Part, Shown>> = BTreeMap::new();
        for it in &self.properties.security_rules {
            if let Some((name, part)) = Part::of(&it.name).filter(|_| !it.properties.is_retired()) {
                found.entry(name).or_default().insert(part, it.clone());
            }
        }
        found
    }

    fn ours(&self, homes: &Homes) -> Vec<OurRule> {
        let Ok(firewall) = self.id.to_ascii_lowercase().parse::<FirewallId>() else { return vec![] };
        let rule = |(name, parts): (RuleName, BTreeMap<Part, Shown>)| {
            let etag = Some(crate::parts::etag(&parts));
            let (until, machine) = match name.gate {
                Some(_) => (until(&parts), None),
                None => (None, locked(&parts).and_then(|machine| homes.machine(&name.owner, machine))),
            };
            OurRule { firewall: firewall.clone(), name, etag, until, machine, is_over: false }
        };
        self.found().into_iter().map(rule).collect()
    }
}

impl Topology {
    /// Every subscription that something of it is in.
    fn subscriptions(&self) -> BTreeSet<String> {
        let ids = self.groups.iter().map(FirewallId::as_str);
        ids.filter_map(|it| it.split('/').nth(2).map(str::to_owned)).collect()
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

/// A rule of ours of which nobody needs to know what it says.
fn unjudged(parts: &BTreeMap<Part, Shown>) -> Held {
    let mut priorities = parts.values().map(|it| it.properties.priority);
    let priority = priorities.next().unwrap_or(0);
    Held { rule: None, priority, beside: priorities.collect(), etag: Some(crate::parts::etag(parts)) }
}

fn families(addresses: &[IpAddr]) -> Families {
    Families { v4: addresses.iter().any(IpAddr::is_ipv4), v6: addresses.iter().any(IpAddr::is_ipv6) }
}

fn api_of(kind: &str) -> &'static str {
    match kind.split('/').next() {
        Some("Microsoft.Compute") => COMPUTE_API,
        Some("Microsoft.ClassicCompute") => CLASSIC_API,
        Some(_) | None => NETWORK_API,
    }
}

/// It was there when machines were last listed.
fn gone(id: &FirewallId) -> Error {
    Error::Unavailable { doing: "read a firewall", source: format!("`{id}` is not there any more").into() }
}

fn under_way(id: &FirewallId, what: &str) -> Error {
    let source = format!("`{what}` in `{id}` is still being written").into();
    Error::Unavailable { doing: "read a firewall", source }
}

fn unreadable(id: &FirewallId, error: &serde_json::Error) -> Error {
    let source = format!("`{id}`: {error}").into();
    Error::Broken { doing: "read a firewall", source }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
