//! Writes: conditions, limits, what is accepted, and how it gets on.

use crate::{
    cloud::{Change, Cloud, Group, Operation, Rules, own_id},
    faults::Fault,
    kind::Kind,
    refused::Refused,
    rule::{Properties, Provisioning, Reference, Rule, etag_text},
    wanted::{self, WantedGroup},
};
use axum::http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// How many rules a security group may have.
const RULES_MAX: usize = 1000;
/// How many prefixes or port ranges all rules of a security group may have in any of their lists: so it
/// is also what one rule may have.
const PREFIXES_MAX: usize = 4000;
/// When to come again while another write is under way, in seconds.
const BUSY_SECS: u32 = 10;

/// A write that was accepted.
#[derive(Debug)]
pub struct Accepted {
    pub status: StatusCode,
    pub body: Option<Value>,
    pub etag: Option<String>,
    /// Its number and location; none where there was nothing to do.
    pub operation: Option<(u64, String)>,
}

/// What was planned to go wrong with a write that is done all the same.
fn lateness(fault: Option<Fault>) -> SignedDuration {
    match fault {
        Some(Fault::Late { millis }) => SignedDuration::from_millis(millis.into()),
        None
        | Some(
            Fault::Throttled { .. }
            | Fault::AnotherOperation
            | Fault::Broken
            | Fault::WrittenBack { .. }
            | Fault::Silent
            | Fault::Unanswered { .. },
        ) => SignedDuration::ZERO,
    }
}

/// What a caller demands of what is there.
#[derive(Debug)]
pub struct Conditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
}

impl Conditions {
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        Self { if_match: text(header::IF_MATCH), if_none_match: text(header::IF_NONE_MATCH) }
    }

    /// Holds what the caller demands of a resource with this etag, or of none?
    fn check(&self, id: &str, there: Option<u64>) -> Result<(), Refused> {
        let there = there.map(etag_text);
        match (&self.if_match, &there) {
            (Some(_), None) => {
                let message = format!("The resource {id} does not exist.");
                Err(Refused::precondition("PreconditionFailedResourceNotFound", message))
            }
            (Some(wanted), Some(etag)) if wanted != "*" && wanted != etag => {
                let message = format!(
                    "Etag provided in if-match header {wanted} does not match etag {etag} of resource {id}."
                );
                Err(Refused::precondition("PreconditionFailedEtagMismatch", message))
            }
            (Some(_), Some(_)) | (None, _) => match (&self.if_none_match, &there) {
                (Some(wanted), Some(etag)) if wanted == "*" || wanted == etag => {
                    let message = format!("The resource {id} exists with etag {etag}.");
                    Err(Refused::precondition("PreconditionFailedResourceExists", message))
                }
                (Some(_), Some(_) | None) | (None, _) => Ok(()),
            },
        }
    }
}

impl Cloud {
    /// Writes a rule of a security group.
    pub fn put_rule(
        &mut self,
        group: &str,
        name: &str,
        body: &[u8],
        conditions: &Conditions,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Result<Accepted, Refused> {
        let own = own_id(self.resource(Kind::SecurityGroup, group)?).to_owned();
        let id = format!("{own}/securityRules/{name}");
        wanted::check_name(name)?;
        let properties = wanted::properties(&id, body)?;
        let key = name.to_ascii_lowercase();
        let there = self.rule_there(group, &key)?;
        self.check_references(
            &id,
            "Microsoft.Network/networkSecurityGroups/securityRules/write",
            &properties,
        )?;
        conditions.check(&id, there.as_ref().map(|(_, etag)| *etag))?;
        self.free(group, now)?;
        let (is_new, name) = match there {
            Some((rule, _)) => (rule.state == Provisioning::Deleting, rule.name),
            None => (true, name.to_owned()),
        };
        let rule = Rule { name, etag: self.next(), state: Provisioning::Updating, properties };
        let rules = self.rules.entry(group.to_owned()).or_default();
        if let Some(rival) = rules.rival(&key, &rule) {
            return Err(conflict(&rule, rival));
        }
        if RULES_MAX <= rules.shown.keys().filter(|it| **it != key).count() {
            return Err(too_many());
        }
        let others = rules.shown.iter().filter(|(it, _)| **it != key).map(|(_, it)| it);
        check_lists(&own, &others.chain([&rule]).collect::<Vec<_>>())?;
        let late = lateness(fault);
        if late.is_zero() {
            rules.shown.insert(key, rule.clone());
        }
        let (etag, operation) = self.accept(group, Change::Put(rule.clone().into()), late, now);
        let etag = if self.faults.one_etag_per_group { etag } else { rule.etag };
        Ok(Accepted {
            status: if is_new { StatusCode::CREATED } else { StatusCode::OK },
            body: Some(rule.shown(&own, etag)),
            etag: Some(etag_text(etag)),
            operation: Some(operation),
        })
    }

    /// Deletes a rule of a security group; the absent is deleted already.
    pub fn delete_rule(
        &mut self,
        group: &str,
        name: &str,
        conditions: &Conditions,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Result<Accepted, Refused> {
        let id = format!("{}/securityRules/{name}", own_id(self.resource(Kind::SecurityGroup, group)?));
        let key = name.to_ascii_lowercase();
        let Some((_, etag)) = self.rule_there(group, &key)? else {
            return Ok(Accepted { status: StatusCode::NO_CONTENT, body: None, etag: None, operation: None });
        };
        conditions.check(&id, Some(etag))?;
        self.free(group, now)?;
        let late = lateness(fault);
        let rules = self.rules.entry(group.to_owned()).or_default();
        if let Some(rule) = rules.shown.get_mut(&key).filter(|_| late.is_zero()) {
            rule.state = Provisioning::Deleting;
        }
        let (_, operation) = self.accept(group, Change::Delete(key), late, now);
        Ok(Accepted { status: StatusCode::ACCEPTED, body: None, etag: None, operation: Some(operation) })
    }

    /// Writes a security group that is there whole: rules that the body leaves out are gone.
    pub fn put_group(
        &mut self,
        id: &str,
        body: &[u8],
        conditions: &Conditions,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Result<Accepted, Refused> {
        let there = self.resource(Kind::SecurityGroup, id)?;
        let (own, seen) = (own_id(there).to_owned(), there.etag);
        let WantedGroup { rules: wanted, tags, flushes } = wanted::group(&own, body)?;
        for (name, properties) in &wanted {
            let rule = format!("{own}/securityRules/{name}");
            self.check_references(&rule, "Microsoft.Network/networkSecurityGroups/write", properties)?;
        }
        conditions.check(&own, Some(seen))?;
        self.free(id, now)?;
        let mut new = Rules::default();
        for (name, properties) in wanted {
            let key = name.to_ascii_lowercase();
            let there = self.rules.get(id).and_then(|it| it.shown.get(&key)).cloned();
            let is_same = |it: &Rule| it.properties == properties && it.state != Provisioning::Deleting;
            let rule = match there {
                Some(same) if is_same(&same) => same,
                Some(Rule { name, .. }) => {
                    Rule { name, etag: self.next(), state: Provisioning::Updating, properties }
                }
                None => Rule { name, etag: self.next(), state: Provisioning::Updating, properties },
            };
            if let Some(rival) = new.rival(&key, &rule) {
                return Err(conflict(&rule, rival));
            }
            if let Some(twin) = new.shown.insert(key, rule) {
                let name = twin.name;
                let message = format!("Resource {own} has two child resources with the same name ({name}).");
                return Err(Refused::bad("DuplicateResourceName", message));
            }
        }
        if RULES_MAX < new.shown.len() {
            return Err(too_many());
        }
        check_lists(&own, &new.shown.values().collect::<Vec<_>>())?;
        let (rules, late) = (new.shown, lateness(fault));
        let change =
            Change::Group(Group { rules: rules.clone(), tags: tags.clone(), flushes: Some(flushes) }.into());
        let (etag, operation) = self.accept(id, change, late, now);
        if late.is_zero() {
            self.rules.entry(id.to_owned()).or_default().shown.clone_from(&rules);
            if let Some(resource) = self.resources.get_mut(id) {
                resource.body["properties"]["provisioningState"] = json!("Updating");
                resource.body["tags"] = tags.clone().unwrap_or_else(|| resource.body["tags"].clone());
            }
        }
        let resource = self.resource(Kind::SecurityGroup, id)?;
        let mut shown = self.shown(id, resource);
        shown["properties"]["securityRules"] = json!(self.list_rules(resource, &rules));
        shown["properties"]["provisioningState"] = json!("Updating");
        shown["properties"]["flushConnection"] = json!(flushes);
        shown["tags"] = tags.unwrap_or_else(|| shown["tags"].clone());
        let (body, etag) = (Some(shown), Some(etag_text(etag)));
        Ok(Accepted { status: StatusCode::OK, body, etag, operation: Some(operation) })
    }

    /// Is what a rule names there, and may the caller use it? `action` is what they are about to do.
    fn check_references(&self, rule: &str, action: &str, properties: &Properties) -> Result<(), Refused> {
        let ends = &properties.ends;
        let references = ends
            .source_application_security_groups
            .iter()
            .chain(&ends.destination_application_security_groups);
        for Reference { id } in references {
            let join = format!("{}/joinNetworkSecurityRule/action", Kind::ApplicationGroup.name());
            self.permit_link((action, rule), (&join, id))?;
            if self.resource(Kind::ApplicationGroup, id).is_err() {
                let message = format!(
                    "Resource {id} referenced by resource {rule} was not found. Please make sure that the referenced resource \
                     exists, and that both resources are in the same region."
                );
                return Err(Refused::bad("InvalidResourceReference", message));
            }
        }
        Ok(())
    }

    /// Writes an Azure Firewall that is there.
    pub fn put_firewall(
        &mut self,
        id: &str,
        body: &[u8],
        conditions: &Conditions,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Result<Accepted, Refused> {
        let there = self.resource(Kind::Firewall, id)?;
        let wanted: Value = serde_json::from_slice(body).map_err(|error| {
            Refused::bad("InvalidRequestFormat", format!("Cannot parse the request: {error}"))
        })?;
        self.permit_links(own_id(there), &wanted)?;
        conditions.check(own_id(there), Some(there.etag))?;
        let has_rules = ["natRuleCollections", "networkRuleCollections", "applicationRuleCollections"]
            .into_iter()
            .any(|it| wanted["properties"][it].as_array().is_some_and(|it| !it.is_empty()));
        if wanted["properties"]["firewallPolicy"]["id"].is_string() && has_rules {
            let message =
                "A firewall with a Firewall Policy takes its rules from there: it can have none of its own.";
            return Err(Refused::bad("AzureFirewallPolicyAndRuleCollectionsConflict", message));
        }
        self.free(id, now)?;
        let mut new = self.resource(Kind::Firewall, id)?.body.clone();
        for (field, value) in wanted.as_object().into_iter().flatten() {
            let is_azures = ["id", "name", "type", "etag", "location"].contains(&field.as_str());
            if !is_azures {
                new[field.as_str()] = value.clone();
            }
        }
        new["properties"]["provisioningState"] = json!("Updating");
        let late = lateness(fault);
        if let Some(resource) = self.resources.get_mut(id).filter(|_| late.is_zero()) {
            let before = std::mem::replace(&mut resource.body, new.clone());
            resource.in_force.get_or_insert(before);
        }
        let (etag, operation) = self.accept(id, Change::Firewall(new.clone()), late, now);
        new["etag"] = json!(etag_text(etag));
        let (body, etag) = (Some(new), Some(etag_text(etag)));
        Ok(Accepted { status: StatusCode::OK, body, etag, operation: Some(operation) })
    }

    /// The rule that a caller sees, with the etag that they see.
    fn rule_there(&self, group: &str, key: &str) -> Result<Option<(Rule, u64)>, Refused> {
        let resource = self.resource(Kind::SecurityGroup, group)?;
        let rule = self.rules.get(group).and_then(|it| it.shown.get(key));
        Ok(rule.map(|it| (it.clone(), self.etag_of(resource, it))))
    }

    /// Is nothing under way that this has to wait for?
    fn free(&self, resource: &str, now: Timestamp) -> Result<(), Refused> {
        let is_under_way = |it: &(&u64, &Operation)| it.1.resource == resource && now < it.1.done_at;
        match self.operations.iter().find(is_under_way) {
            Some((n, _)) if self.faults.one_operation_at_a_time => {
                Err(due_to_another_operation(resource, *n))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes up a write: it is done when its time has passed, after those before it.
    pub fn accept(
        &mut self,
        id: &str,
        change: Change,
        late: SignedDuration,
        now: Timestamp,
    ) -> (u64, (u64, String)) {
        let takes = SignedDuration::from_millis(self.faults.operation_millis.into());
        let before = self.operations.values().filter(|it| it.resource == id && !it.is_late());
        let before = before.map(|it| it.done_at).max().unwrap_or(now);
        let done_at = now.saturating_add(takes).unwrap_or(Timestamp::MAX).max(before);
        let lands_at = done_at.saturating_add(late).unwrap_or(Timestamp::MAX);
        let (n, etag) = (self.next(), self.next());
        let mut location = String::new();
        if let Some(resource) = self.resources.get_mut(id) {
            resource.etag = etag;
            resource.body["location"].as_str().unwrap_or_default().clone_into(&mut location);
        }
        let (resource, change) = (id.to_owned(), Some(change));
        let operation = Operation { resource, location: location.clone(), change, done_at, lands_at };
        self.operations.insert(n, operation);
        self.has_changed();
        (etag, (n, location))
    }
}

/// 400: two rules of one priority.
fn conflict(rule: &Rule, rival: &Rule) -> Refused {
    let message = format!(
        "Security rule {} conflicts with rule {}. Rules cannot have the same Priority and Direction.",
        rule.name, rival.name
    );
    Refused::bad("SecurityRuleConflict", message)
}

/// 400: more rules than a security group may have.
fn too_many() -> Refused {
    let message = format!("A security group cannot have more than {RULES_MAX} security rules.");
    Refused::bad("SecurityRuleCountLimitReached", message)
}

impl Accepted {
    /// A write that was done while it was answered: there is nothing to ask for later.
    pub fn at_once(mut self) -> Self {
        self.operation = None;
        if self.status == StatusCode::ACCEPTED {
            self.status = StatusCode::OK;
        }
        if let Some(body) = &mut self.body {
            body["properties"]["provisioningState"] = json!("Succeeded");
        }
        self
    }
}

/// 409: another write is said to be under way.
pub fn another_operation() -> Refused {
    let message = "Another operation on this or dependent resource is in progress.";
    Refused::new(StatusCode::CONFLICT, "AnotherOperationInProgress", message).after(BUSY_SECS)
}

/// 429: another write is under way, as Azure's network says it.
/// <https://github.com/Azure/azure-sdk-for-python/issues/556>
fn due_to_another_operation(resource: &str, n: u64) -> Refused {
    let message = format!(
        "Operation PutSecurityRuleOperation (00000000-0000-4000-a000-{n:012x}) is updating resource {resource}. The call can \
         be retried in {BUSY_SECS} seconds."
    );
    Refused::new(StatusCode::TOO_MANY_REQUESTS, "RetryableError", "A retryable error occurred.")
        .because("RetryableErrorDueToAnotherOperation", message)
        .after(BUSY_SECS)
}

/// Azure counts what stands in the lists of all rules of a group.
fn check_lists(group: &str, rules: &[&Rule]) -> Result<(), Refused> {
    let count = |of: fn(&Rule) -> &Vec<String>| rules.iter().map(|it| of(it).len()).sum::<usize>();
    let counts = [
        ("SourceAddressPrefixes", count(|it| &it.properties.ends.source_address_prefixes)),
        ("DestinationAddressPrefixes", count(|it| &it.properties.ends.destination_address_prefixes)),
        ("SourcePortRanges", count(|it| &it.properties.ends.source_port_ranges)),
        ("DestinationPortRanges", count(|it| &it.properties.ends.destination_port_ranges)),
    ];
    let Some((field, count)) = counts.into_iter().find(|(_, count)| PREFIXES_MAX < *count) else {
        return Ok(());
    };
    let message = format!(
        "Network security group {group} has {count} {field}. A security group cannot have more than {PREFIXES_MAX} {field} as \
         per the limit MaxSecurityRuleAddressesOrPortsPerSecurityGroup."
    );
    Err(Refused::bad("SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached", message))
}
