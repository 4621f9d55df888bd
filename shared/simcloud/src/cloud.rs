//! What there is: resources, the rules of security groups, and the writes that are under way.

use crate::{
    faults::Faults,
    kind::Kind,
    permissions::Permissions,
    quota::Spent,
    refused::Refused,
    restrictions::Restrictions,
    rule::{self, Provisioning, Rule, etag_text},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How long a token is good, in seconds.
pub const TOKEN_LIFE_SECS: i64 = 3600;
/// How many writes are remembered for those who ask how they got on.
const OPERATIONS_MAX: usize = 10_000;

/// Everything in the cloud. The keys of what has an id are ids in lower case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cloud {
    pub tenant: String,
    pub subscription: String,
    pub groups: BTreeMap<String, Value>,
    pub resources: BTreeMap<String, Resource>,
    pub rules: BTreeMap<String, Rules>,
    /// The security admin rules that Virtual Network Managers have for each virtual network, as ARM lists them.
    #[serde(default)]
    pub admin_rules: BTreeMap<String, Vec<Value>>,
    /// What Microsoft's own just-in-time access is told to guard.
    #[serde(default)]
    pub jit_policies: BTreeMap<String, Value>,
    pub operations: BTreeMap<u64, Operation>,
    pub tokens: BTreeMap<String, Timestamp>,
    /// What whoever runs it proves themselves with. Without one nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    pub faults: Faults,
    #[serde(default)]
    pub permissions: Permissions,
    #[serde(default)]
    pub restrictions: Restrictions,
    /// What a token has to be asked for with, since those before it were refused.
    #[serde(default)]
    pub claims: Option<String>,
    /// The security groups that judge established flows anew and whose rules have changed since these were judged.
    #[serde(skip)]
    pub flushed: BTreeSet<String>,
    #[serde(skip)]
    pub spent: Spent,
    /// How often any of this has changed, but for what is skipped here.
    #[serde(skip)]
    pub changes: u64,
    /// What makes tokens of one seed look unlike those of another.
    pub seed: u64,
    /// The last number that was given: to an etag, a token, a write.
    pub last: u64,
}

/// A resource as ARM shows it; the rules of a security group are kept apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resource {
    pub kind: Kind,
    pub etag: u64,
    pub body: Value,
    /// What decides packets, where that is not what is shown: a firewall before its write is done.
    pub in_force: Option<Value>,
}

/// The rules of a security group, by their names in lower case.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rules {
    /// What is read.
    pub shown: BTreeMap<String, Rule>,
    /// What decides packets: what is read, once it is done.
    pub in_force: BTreeMap<String, Rule>,
}

/// A write that was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Operation {
    /// The resource that it changes.
    pub resource: String,
    pub location: String,
    /// Nothing once it has landed: thousands of prefixes are not kept for who asks how it got on.
    pub change: Option<Change>,
    /// When it says that it is done.
    pub done_at: Timestamp,
    /// When it is.
    pub lands_at: Timestamp,
}

/// What a write does when it lands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Change {
    Put(Box<Rule>),
    Delete(String),
    Group(Box<Group>),
    /// The same by another client: what it writes is seen when it lands, over whatever was written meanwhile.
    WrittenBack(Box<Group>),
    Firewall(Value),
}

/// A security group as it was written whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    pub rules: BTreeMap<String, Rule>,
    pub tags: Option<Value>,
    /// Whether established flows are judged anew when its rules change; nothing, where that stays as it is.
    #[serde(default)]
    pub flushes: Option<bool>,
}

/// A call that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Such as `PUT`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The action that it needed, such as `Microsoft.Network/networkSecurityGroups/read`; none, where its
    /// path names nothing.
    pub action: Option<String>,
    /// The actions that it needed besides, on what its body names.
    pub linked: Vec<String>,
    /// 0 where the answer was lost.
    pub status: u16,
}

impl Operation {
    pub fn is_late(&self) -> bool {
        self.done_at < self.lands_at
    }
}

impl Cloud {
    /// Notes that something is not as it was saved.
    pub fn has_changed(&mut self) {
        self.changes += 1;
    }

    /// A number that nothing else has.
    pub fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A bearer token and its end; one that lacks the claims that are demanded is not good. It can be guessed: it
    /// guards nothing but a simulator.
    pub fn issue_token(&mut self, claims: Option<&str>, now: Timestamp) -> (String, Timestamp) {
        let n = self.next();
        let token = format!("simcloud.{:x}.{n:x}", self.seed);
        let until = now.saturating_add(SignedDuration::from_secs(TOKEN_LIFE_SECS)).unwrap_or(Timestamp::MAX);
        self.tokens.retain(|_, until| now < *until);
        if self.claims.is_none() || self.claims.as_deref() == claims {
            self.tokens.insert(token.clone(), until);
        }
        self.has_changed();
        (token, until)
    }

    /// Lets happen what was due to happen by now, in its order.
    pub fn advance(&mut self, now: Timestamp) {
        let due = self.operations.iter().filter(|(_, it)| it.change.is_some() && it.lands_at <= now);
        let mut due: Vec<(Timestamp, u64)> = due.map(|(n, it)| (it.lands_at, *n)).collect();
        due.sort_unstable();
        for (_, n) in due {
            let Some(operation) = self.operations.get_mut(&n) else { continue };
            let Some(change) = operation.change.take() else { continue };
            let is_of_another = matches!(change, Change::WrittenBack(_));
            let (is_late, id) = (operation.is_late() || is_of_another, operation.resource.clone());
            self.changes += 1;
            match change {
                Change::Put(rule) => self.rules.entry(id.clone()).or_default().put(*rule, is_late),
                Change::Delete(name) => self.rules.entry(id.clone()).or_default().delete(&name, is_late),
                Change::Group(group) | Change::WrittenBack(group) => self.land_group(&id, *group, is_late),
                Change::Firewall(body) => self.land_firewall(&id, body, is_late),
            }
            if self.resources.get(&id).is_some_and(|it| it.body["properties"]["flushConnection"] == true) {
                self.flushed.insert(id.clone());
            }
            if is_late {
                // Who read it before has not seen this.
                let etag = self.next();
                self.resources.entry(id).and_modify(|it| it.etag = etag);
            }
        }
        while OPERATIONS_MAX < self.operations.len() {
            let Some(oldest) = self.operations.first_entry().filter(|it| it.get().change.is_none()) else {
                break;
            };
            oldest.remove();
        }
    }

    /// Is nothing more under way on a resource, but for what is late?
    fn is_last(&self, id: &str) -> bool {
        !self.operations.values().any(|it| it.resource == id && it.change.is_some() && !it.is_late())
    }

    fn land_group(&mut self, id: &str, group: Group, is_late: bool) {
        let is_last = self.is_last(id);
        self.rules.entry(id.to_owned()).or_default().replace(group.rules, is_late);
        let Some(resource) = self.resources.get_mut(id) else { return };
        if let Some(tags) = group.tags.filter(|_| is_late) {
            resource.body["tags"] = tags;
        }
        if let Some(flushes) = group.flushes {
            resource.body["properties"]["flushConnection"] = json!(flushes);
        }
        if is_last {
            resource.body["properties"]["provisioningState"] = json!("Succeeded");
        }
    }

    fn land_firewall(&mut self, id: &str, mut body: Value, is_late: bool) {
        let is_last = self.is_last(id);
        let Some(resource) = self.resources.get_mut(id) else { return };
        body["properties"]["provisioningState"] = json!("Succeeded");
        if is_late || is_last {
            resource.body = body;
            resource.in_force = None;
        } else {
            resource.in_force = Some(body);
        }
    }

    /// A resource of a kind, by its id in any case.
    pub fn resource(&self, kind: Kind, id: &str) -> Result<&Resource, Refused> {
        let found = self.resources.get(&id.to_ascii_lowercase()).filter(|it| it.kind == kind);
        found.ok_or_else(|| Refused::no_resource(id))
    }

    /// A resource as ARM shows it.
    pub fn shown(&self, id: &str, resource: &Resource) -> Value {
        let users = if resource.kind == Kind::SecurityGroup { self.users() } else { BTreeMap::new() };
        self.shown_with(&users, id, resource)
    }

    /// Many of them: who is behind which security group is looked up once.
    pub fn shown_all(&self, resources: Vec<(&String, &Resource)>) -> Vec<Value> {
        let has_groups = resources.iter().any(|(_, it)| it.kind == Kind::SecurityGroup);
        let users = if has_groups { self.users() } else { BTreeMap::new() };
        resources.into_iter().map(|(id, it)| self.shown_with(&users, id, it)).collect()
    }

    fn shown_with(&self, users: &BTreeMap<String, Users>, id: &str, resource: &Resource) -> Value {
        let mut body = resource.body.clone();
        body["etag"] = json!(etag_text(resource.etag));
        match resource.kind {
            Kind::SecurityGroup => {
                body["properties"]["securityRules"] = json!(self.shown_rules(id));
                let defaults = rule::shown_defaults(own_id(resource), resource.etag);
                body["properties"]["defaultSecurityRules"] = json!(defaults);
                let users = users.get(id).cloned().unwrap_or_default();
                body["properties"]["networkInterfaces"] = json!(users.interfaces);
                body["properties"]["subnets"] = json!(users.subnets);
            }
            Kind::VirtualMachine | Kind::ClassicMachine => {
                drop(body.as_object_mut().and_then(|it| it.remove("etag")));
            }
            Kind::NetworkInterface
            | Kind::PublicIpAddress
            | Kind::VirtualNetwork
            | Kind::ApplicationGroup
            | Kind::Firewall
            | Kind::LoadBalancer => {}
        }
        body
    }

    /// The rules of a security group as ARM shows them: by priority.
    pub fn shown_rules(&self, id: &str) -> Vec<Value> {
        let found = self.resources.get(id).zip(self.rules.get(id));
        found.map_or(vec![], |(group, rules)| self.list_rules(group, &rules.shown))
    }

    /// Rules as ARM shows those of a security group.
    pub fn list_rules(&self, group: &Resource, rules: &BTreeMap<String, Rule>) -> Vec<Value> {
        let mut rules: Vec<&Rule> = rules.values().collect();
        rules
            .sort_by_key(|it| (it.properties.direction == rule::Direction::Outbound, it.properties.priority));
        rules.into_iter().map(|it| it.shown(own_id(group), self.etag_of(group, it))).collect()
    }

    /// The etag that a rule is shown with.
    pub fn etag_of(&self, group: &Resource, rule: &Rule) -> u64 {
        if self.faults.one_etag_per_group { group.etag } else { rule.etag }
    }

    /// Who is behind each security group, by its id in lower case: interfaces, and subnets.
    fn users(&self) -> BTreeMap<String, Users> {
        let mut users: BTreeMap<String, Users> = BTreeMap::new();
        for resource in self.resources.values() {
            let is_interface = resource.kind == Kind::NetworkInterface;
            if !is_interface && resource.kind != Kind::VirtualNetwork {
                continue;
            }
            let subnets = resource.body["properties"]["subnets"].as_array();
            for part in subnets.map_or(std::slice::from_ref(&resource.body), Vec::as_slice) {
                if let Some(group) = part["properties"]["networkSecurityGroup"]["id"].as_str() {
                    let users = users.entry(group.to_ascii_lowercase()).or_default();
                    let of_kind = if is_interface { &mut users.interfaces } else { &mut users.subnets };
                    of_kind.push(json!({ "id": part["id"] }));
                }
            }
        }
        users
    }
}

/// Who is behind a security group.
#[derive(Debug, Clone, Default)]
struct Users {
    interfaces: Vec<Value>,
    subnets: Vec<Value>,
}

/// An id as its resource writes it.
pub fn own_id(resource: &Resource) -> &str {
    resource.body["id"].as_str().unwrap_or_default()
}

impl Rules {
    /// Lands a PUT. One that is late is seen only now, and overwrites whatever was written meanwhile; but
    /// not even then do two rules have one priority: it is lost instead.
    fn put(&mut self, rule: Rule, is_late: bool) {
        let key = rule.name.to_ascii_lowercase();
        let rule = Rule { state: Provisioning::Succeeded, ..rule };
        if is_late {
            if self.rival(&key, &rule).is_none() {
                self.shown.insert(key.clone(), rule.clone());
                self.in_force.insert(key, rule);
            }
            return;
        }
        if let Some(shown) = self.shown.get_mut(&key).filter(|it| it.etag == rule.etag) {
            shown.state = match shown.state {
                Provisioning::Updating | Provisioning::Succeeded => Provisioning::Succeeded,
                Provisioning::Deleting => Provisioning::Deleting,
            };
        }
        self.in_force.insert(key, rule);
    }

    /// Lands a PUT of all rules: there are no others any more.
    fn replace(&mut self, mut rules: BTreeMap<String, Rule>, is_late: bool) {
        for (key, rule) in &mut rules {
            rule.state = Provisioning::Succeeded;
            let shown = self.shown.get_mut(key).filter(|it| it.etag == rule.etag);
            if let Some(shown) = shown.filter(|it| it.state == Provisioning::Updating) {
                shown.state = Provisioning::Succeeded;
            }
        }
        if is_late {
            self.shown.clone_from(&rules);
        }
        self.in_force = rules;
    }

    fn delete(&mut self, name: &str, is_late: bool) {
        self.in_force.remove(name);
        if is_late || self.shown.get(name).is_some_and(|it| it.state == Provisioning::Deleting) {
            self.shown.remove(name);
        }
    }

    /// The other rule that has this one's priority in its direction.
    pub fn rival(&self, key: &str, rule: &Rule) -> Option<&Rule> {
        let (priority, direction) = (rule.properties.priority, rule.properties.direction);
        let is_rival = |(name, it): &(&String, &Rule)| {
            *name != key && it.properties.priority == priority && it.properties.direction == direction
        };
        self.shown.iter().find(is_rival).map(|(_, it)| it)
    }
}
