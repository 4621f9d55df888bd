//! Rules of ours that may not be deleted: a management lock, a policy or a role keeps them. Such a rule is written over
//! with a deny that speaks of nobody, which is as good as its absence: it admits nobody, and keeps nobody out whom
//! another rule lets in. Its name stays, so that it is known as ours: it is deleted once that is possible, and a later
//! lease of its gate turns it into an allow again.

use crate::{
    Azure,
    arm::{Condition, Found, Sent, Write},
    group::Group,
    network::range,
    parts::{Part, Version, digest},
    refused::forbids_deletion,
    rule::{Properties, Shown},
    turns::Rank,
    versions::NETWORK_API,
    write::shown,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Error, ports::OurRule};
use portcullis_domain::{Etag, FirewallId, Foreign, RuleName};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Addresses that nobody has (RFC 5737, RFC 3849), one of each family.
const NOBODY: [&str; 2] = ["192.0.2.0", "2001:db8::"];
const DESCRIPTION: &str =
    "Portcullis: over. Deleting it is forbidden (by a lock, a policy or a role), so it admits no address";
/// How long no rule is deleted of a group that refused it.
const AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// The groups that refused a deletion, and when they last did.
#[derive(Debug, Default)]
pub struct Kept(Mutex<BTreeMap<FirewallId, Timestamp>>);

impl Kept {
    fn note(&self, id: &FirewallId, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), now);
    }

    /// May a deletion there be tried again?
    fn may_delete(&self, id: &FirewallId, now: Timestamp) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, at| now.duration_since(*at) < AGAIN);
        !kept.contains_key(id)
    }
}

impl Properties {
    /// Is it a rule of ours that is over, and may not be deleted? Only our names are to be asked.
    pub fn is_retired(&self) -> bool {
        let sources = self.sources();
        let is_nobodys = |it: &&str| NOBODY.iter().any(|nobody| range(it) == range(nobody));
        self.is_deny() && !sources.is_empty() && sources.iter().all(is_nobodys)
    }

    /// The same rule, over.
    fn retired(&self, is_v6: bool) -> Self {
        let [v4, v6] = NOBODY;
        Self {
            description: Some(DESCRIPTION.to_owned()),
            access: "Deny".to_owned(),
            source_address_prefix: Some(if is_v6 { v6 } else { v4 }.to_owned()),
            source_address_prefixes: None,
            source_application_security_groups: None,
            ..self.clone()
        }
    }
}

/// A rule that is over, to the evaluator: it stands where it stands, and says nothing.
pub fn silent(foreign: Foreign) -> Foreign {
    Foreign { ports: vec![], ..foreign }
}

impl Shown {
    /// Its version, where it is a rule of ours that is over.
    pub fn retired_version(&self) -> Option<Version> {
        let (_, part) = Part::of(&self.name).filter(|_| self.properties.is_retired())?;
        let (etag, digest) = (self.etag.clone(), digest(&self.properties));
        Some(Version { part, etag, digest, priority: self.properties.priority })
    }
}

impl Group {
    /// Its rules of ours that are over.
    fn retired(&self) -> BTreeMap<RuleName, Vec<Version>> {
        let mut all: BTreeMap<RuleName, Vec<Version>> = BTreeMap::new();
        for it in &self.properties.security_rules {
            if let (Some((name, _)), Some(version)) = (Part::of(&it.name), it.retired_version()) {
                all.entry(name).or_default().push(version);
            }
        }
        all
    }
}

impl Azure {
    /// Rules of ours that are over and may perhaps be deleted by now.
    pub(crate) fn deletable(&self, groups: &[Group]) -> Vec<OurRule> {
        let mut all = vec![];
        for group in groups {
            let Ok(firewall) = group.id.to_ascii_lowercase().parse::<FirewallId>() else { continue };
            if !self.kept.may_delete(&firewall, self.time()) {
                continue;
            }
            all.extend(group.retired().into_iter().map(|(name, versions)| OurRule {
                firewall: firewall.clone(),
                name,
                etag: serde_json::to_string(&versions).ok().map(Etag),
                until: None,
                machine: None,
                is_over: true,
            }));
        }
        all
    }

    /// Deletes a part of a rule; where that is forbidden, retires it. What is retired already and may still not be
    /// deleted is refused.
    pub(crate) async fn delete_rule(
        &self,
        id: &FirewallId,
        (path, part): (&str, Option<Part>),
        version: Option<&Version>,
        (rank, sent): (Rank, &Sent),
    ) -> Result<(), Error> {
        let condition = match version.and_then(|it| it.etag.clone()) {
            Some(etag) => Condition::Match(etag),
            None => Condition::None,
        };
        let judge = |found: Option<&Value>| match (found.and_then(shown), version) {
            (None, _) => Found::Done,
            (Some(found), Some(version)) => found.unless_changed(version),
            (Some(_), None) => Found::Other,
        };
        let delete =
            Write { path, api: NETWORK_API, body: None, condition: &condition, judge: Some(&judge), rank };
        match self.arm.write(&delete, sent).await {
            Err(refused) if forbids_deletion(&refused) => {
                self.kept.note(id, self.time());
                let is_v6 = part.is_some_and(Part::is_v6);
                self.retire(path, is_v6, version, refused, (rank, sent)).await
            }
            outcome => outcome,
        }
    }

    async fn retire(
        &self,
        path: &str,
        is_v6: bool,
        version: Option<&Version>,
        refused: Error,
        (rank, sent): (Rank, &Sent),
    ) -> Result<(), Error> {
        let found = self.arm.get(path, NETWORK_API).await?;
        let Some(found) = found.as_ref().and_then(shown) else { return Ok(()) };
        if found.properties.is_retired() {
            return Err(refused);
        }
        let now = digest(&found.properties);
        if version.is_some_and(|it| it.digest != now) {
            return Err(Error::Conflict);
        }
        tracing::warn!(
            rule = found.name,
            error = refused.full(),
            "A rule may not be deleted, and is overwritten so that it admits no address"
        );
        let body = json!({ "properties": found.properties.retired(is_v6) });
        let condition = found.etag.clone().map_or(Condition::None, Condition::Match);
        let judge = |there: Option<&Value>| match there.and_then(shown) {
            None => Found::Done,
            Some(there) if there.properties.is_retired() => Found::Done,
            Some(there) if digest(&there.properties) == now => Found::AsRead(there.etag),
            Some(_) => Found::Other,
        };
        let put = Write {
            path,
            api: NETWORK_API,
            body: Some(&body),
            condition: &condition,
            judge: Some(&judge),
            rank,
        };
        self.arm.write(&put, sent).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_rule_is_known_and_no_other_deny_is() {
        let lease = Properties {
            protocol: "Tcp".to_owned(),
            access: "Allow".to_owned(),
            priority: 110,
            source_address_prefixes: Some(vec!["198.51.100.7".to_owned()]),
            destination_address_prefix: Some("10.0.0.4".to_owned()),
            ..Properties::default()
        };
        for is_v6 in [false, true] {
            let over = lease.retired(is_v6);
            assert!(over.is_retired() && !lease.is_retired());
            assert_eq!(
                (over.priority, &over.destination_address_prefix),
                (110, &lease.destination_address_prefix)
            );
            assert!(DESCRIPTION.chars().count() <= 140);
        }
        let lock =
            Properties { access: "Deny".to_owned(), source_address_prefix: Some("*".to_owned()), ..lease };
        assert!(!Properties { source_address_prefixes: None, ..lock }.is_retired());
    }
}
