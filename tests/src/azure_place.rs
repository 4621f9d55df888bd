//! A whole Portcullis on a simulated cloud: the real store, the real adapter over HTTP, the real use cases,
//! and a clock that stands still until a test lets it pass. Nobody is at work on its own.

use crate::door::{self, Asked, Guarding};
use crate::{
    azure::Azure,
    given::{Still, all_entries, named},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{self as app, Error, ports::Store};
use portcullis_azure::Bounds;
use portcullis_domain::{
    Ask, Chain, ClaimToken, Existing, Fact, Grant, GrantId, GrantState, Policy, Sources, Target, TargetId,
    Terms, What, Window,
};
use portcullis_local::RedbStore;
use portcullis_simcloud::{Faults, Packet, PacketProtocol, Passage, Simcloud};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Where the groups and the firewalls of the fleet are listed.
const HOLDERS: [&str; 2] = ["networkSecurityGroups", "azureFirewalls"];

/// How long leases are here: a token is good for the time of [`LEASE`] by the cloud's clock, and nobody gets another one
/// before an hour has passed by the real one.
pub const LEASE: SignedDuration = SignedDuration::from_mins(10);

/// Everything in one process, on a cloud whose writes are done at once unless a test plans otherwise.
#[derive(Debug)]
pub struct AzurePlace {
    /// The cloud.
    pub azure: Azure,
    /// What Portcullis makes of it.
    pub outside: portcullis_azure::Azure,
    /// The table.
    pub store: RedbStore,
    bounds: Bounds,
    folder: tempfile::TempDir,
    count: AtomicU64,
}

impl AzurePlace {
    /// On the sample fleet of a seed, with nothing guarded and our locks above other rules.
    pub fn new(seed: u64) -> Self {
        Self::on(Azure::new(seed), Bounds::with(Existing::Override))
    }

    /// On a cloud, within bounds.
    pub fn on(azure: Azure, bounds: Bounds) -> Self {
        azure.cloud.plan(Faults::quick());
        let folder = tempfile::tempdir().expect("a folder");
        let store = RedbStore::open(&folder.path().join("portcullis.redb")).expect("opens");
        let outside = azure.guarded_within(bounds.clone());
        Self { azure, outside, store, bounds, folder, count: AtomicU64::new(0) }
    }

    /// The same table on a cloud that somebody has changed behind everybody's back.
    #[must_use]
    pub fn changed(self, change: impl FnOnce(&mut Value)) -> Self {
        let mut snapshot = serde_json::from_str(&self.azure.cloud.snapshot()).expect("JSON");
        change(&mut snapshot);
        let text = snapshot.to_string();
        let restored = |clock| Simcloud::restore(&text, clock).expect("is a snapshot");
        let azure = Azure::since(self.azure.now(), restored);
        let outside = azure.guarded_within(self.bounds.clone());
        Self { azure, outside, ..self }
    }

    /// Has these security admin rules in a virtual network from now on, and what was read of others is too old to be believed.
    pub fn administer(&self, network: &str, rules: Vec<Value>) {
        let path = self.azure.path("Microsoft.Network/virtualNetworks", &format!("/{network}"));
        self.azure.cloud.administer(path.split('?').next().expect("a path"), rules);
        self.pass(SignedDuration::from_secs(61));
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.azure.now()
    }

    /// Lets time pass.
    pub fn pass(&self, time: SignedDuration) {
        self.azure.pass(i64::try_from(time.as_millis()).expect("short"));
    }

    /// The id of a machine of the fleet.
    pub fn id(&self, machine: &str) -> TargetId {
        self.azure.machine(machine)
    }

    /// What guards a machine from now on.
    pub async fn enable(&self, id: &TargetId, policy: &Policy) -> Result<app::Guarded, Error> {
        let guarding =
            Guarding { target: id.clone(), by: named("owner"), confirm_within: None, take_over: false };
        door::enable(&self.store, &self.outside, &guarding, policy, self.now()).await
    }

    /// Guards a machine, and settles.
    pub async fn guard(&self, id: &TargetId, policy: &Policy) {
        self.enable(id, policy).await.unwrap_or_else(|error| panic!("{id}: {}", error.full()));
        self.expire().await;
    }

    /// Guards a machine no longer, and settles.
    pub async fn disable(&self, id: &TargetId) {
        let disabled = door::disable(&self.store, &self.outside, id, &named("owner"), self.now()).await;
        disabled.unwrap_or_else(|error| panic!("{id}: {}", error.full()));
        self.expire().await;
    }

    /// Asks for a port of a machine for the time of [`LEASE`].
    pub async fn ask(&self, by: &str, id: &TargetId, port: &str, from: &Sources) -> GrantId {
        let ask = Ask {
            target: id.clone(),
            port: named(port),
            protocol: None,
            sources: from.clone(),
            window: Window::For(LEASE),
        };
        let key = format!("key-{}", self.count.fetch_add(1, Ordering::Relaxed));
        let what = What::Initiate { asks: vec![ask], break_glass: false };
        let asked = Asked { by: named(by), key: named(&key), what, justification: None, correlation: None };
        let answer = door::initiate(&self.store, &Terms::default(), &asked, self.now()).await;
        answer.unwrap_or_else(|error| panic!("{}", error.full())).grants[0].id.clone()
    }

    /// Asks for a port of a machine for the time of [`LEASE`], and settles.
    pub async fn open(&self, by: &str, id: &TargetId, port: &str, from: &str) -> GrantId {
        let grant = self.ask(by, id, port, &named(from)).await;
        self.expire().await;
        grant
    }

    /// Ends a grant's lease, and settles.
    pub async fn close(&self, grant: &GrantId) {
        door::close(&self.store, grant, &named("owner"), None, self.now()).await.expect("closed");
        self.expire().await;
    }

    /// Does what is due, with a worker of its own; it must all succeed.
    pub async fn expire(&self) {
        self.try_expire().await.unwrap_or_else(|error| panic!("{}", error.full()));
    }

    /// Does what is due, with a worker of its own.
    pub async fn try_expire(&self) -> Result<(), Error> {
        app::expire(&self.store, &self.outside, &self.worker(), self.now()).await
    }

    /// Settles everything, with a worker of its own.
    pub async fn reconcile(&self) {
        let settled = app::reconcile(
            &self.store,
            &self.outside,
            &app::Rights::default(),
            &self.worker(),
            &Still(self.now()),
        )
        .await;
        settled.unwrap_or_else(|error| panic!("{}", error.full()));
    }

    /// Lets so many seconds pass, with whatever is due in them; what fails is tried again when it is due.
    pub async fn work(&self, seconds: i64) {
        for _ in 0..seconds {
            self.pass(SignedDuration::from_secs(1));
            drop(self.try_expire().await);
        }
    }

    /// Nobody else's.
    pub fn worker(&self) -> ClaimToken {
        named(&format!("worker-{}", self.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whether a packet of TCP gets through, by the cloud's own truth; `machine` is a name or an id.
    pub fn passes(&self, machine: &str, from: &str, port: u16) -> bool {
        self.decided(machine, from, port).passes
    }

    /// The same, and who decides.
    pub fn decided(&self, machine: &str, from: &str, port: u16) -> Passage {
        let packet = Packet { from: named(from), protocol: PacketProtocol::Tcp, port };
        self.azure.cloud.passes(machine, packet).unwrap_or_else(|refused| panic!("{machine}: {refused:?}"))
    }

    /// A target as it is stored.
    pub async fn target(&self, id: &TargetId) -> Target {
        self.store.target(id).await.expect("loads").expect("is there").0
    }

    /// A grant as it is stored.
    pub async fn grant(&self, id: &GrantId) -> Grant {
        self.store.grant(id).await.expect("loads").expect("is there")
    }

    /// Where a grant is in its life.
    pub async fn state(&self, id: &GrantId) -> GrantState {
        self.grant(id).await.state(self.now())
    }

    /// All that happened to a target.
    pub async fn facts(&self, id: &TargetId) -> Vec<Fact> {
        let entries = all_entries(&self.store, &Chain::from(id)).await;
        entries.into_iter().map(|it| it.fact).collect()
    }

    /// Every rule of every security group and firewall as ARM shows it, apart from etags, which change with
    /// every write.
    pub fn holdings(&self) -> BTreeMap<String, Value> {
        let mut holdings = BTreeMap::new();
        for kind in HOLDERS {
            let mut next = self.azure.path(&format!("Microsoft.Network/{kind}"), "");
            while !next.is_empty() {
                let page = self.azure.call("GET", &next, None);
                assert_eq!(page.status, 200, "{:?}", page.body);
                for it in page.body["value"].as_array().expect("a list") {
                    let id = it["id"].as_str().expect("an id").to_owned();
                    let properties = &it["properties"];
                    let held = json!([properties["securityRules"], properties["natRuleCollections"]]);
                    holdings.insert(id, without_etags(held));
                }
                page.body["nextLink"].as_str().unwrap_or_default().clone_into(&mut next);
            }
        }
        holdings
    }

    /// The rules of ours in every security group and firewall.
    pub fn ours(&self) -> Vec<Value> {
        let mut ours = vec![];
        for held in self.holdings().into_values() {
            let rules = held[0].as_array().into_iter().flatten();
            let nat = held[1].as_array().into_iter().flatten();
            let nat = nat.flat_map(|it| it["properties"]["rules"].as_array().into_iter().flatten());
            let is_ours = |it: &&Value| it["name"].as_str().is_some_and(|it| it.starts_with("Portcullis-"));
            ours.extend(rules.chain(nat).filter(is_ours).cloned());
        }
        ours
    }

    /// Writes a rule of a security group behind everybody's back.
    pub fn put_rule(&self, group: &str, name: &str, properties: &Value) {
        let body = json!({ "properties": properties });
        let answer = self.azure.call("PUT", &self.azure.rule(group, name), Some(&body));
        assert!([200, 201].contains(&answer.status), "{:?}", answer.body);
    }

    /// Where our rules stand.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Where the table is.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

fn without_etags(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("etag");
            fields.values_mut().for_each(|it| *it = without_etags(it.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|it| *it = without_etags(it.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

/// A rule of the network manager `corp` for SSH, as ARM lists it among the effective ones of a virtual network.
pub fn admin_rule(name: &str, priority: u16, access: &str, from: &str) -> Value {
    let manager = "/subscriptions/s/resourceGroups/net/providers/Microsoft.Network/networkManagers/corp";
    let item = |prefix: &str| {
        let is_tag = prefix.starts_with(|c: char| c.is_ascii_alphabetic());
        json!([{ "addressPrefix": prefix, "addressPrefixType": if is_tag { "ServiceTag" } else { "IPPrefix" } }])
    };
    json!({
        "id": format!("{manager}/securityAdminConfigurations/base/ruleCollections/all/rules/{name}"),
        "kind": "Custom", "ruleGroups": [], "ruleCollectionAppliesToGroups": [],
        "properties": {
            "protocol": "Tcp", "sources": item(from), "destinations": item("*"), "sourcePortRanges": ["0-65535"],
            "destinationPortRanges": ["22"], "access": access, "priority": priority, "direction": "Inbound",
            "provisioningState": "Succeeded",
        },
    })
}
