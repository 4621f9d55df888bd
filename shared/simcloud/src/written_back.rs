//! Another client that reads a whole security group, changes its tags, and writes all of it back.

use crate::{
    cloud::{Change, Cloud, Group},
    kind::Kind,
    path::Place,
    rule::{Provisioning, Rule},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// A security group as a client read it.
#[derive(Debug)]
pub struct WholeGroup {
    id: String,
    rules: BTreeMap<String, Rule>,
}

impl Cloud {
    /// The security group that a path names, or that it names a rule of.
    pub fn whole_group(&self, place: &Place) -> Option<WholeGroup> {
        let (Place::Child { of: Kind::SecurityGroup, id, .. }
        | Place::Resource { kind: Kind::SecurityGroup, id }) = place
        else {
            return None;
        };
        let stands = |it: &&Rule| it.state != Provisioning::Deleting;
        let rules = self.rules.get(id)?.shown.iter().filter(|(_, it)| stands(it));
        Some(WholeGroup { id: id.clone(), rules: rules.map(|(key, it)| (key.clone(), it.clone())).collect() })
    }

    /// Writes it back, with other tags, so much later than what is under way is done.
    pub fn write_back(&mut self, group: WholeGroup, later: SignedDuration, now: Timestamp) {
        let WholeGroup { id, mut rules } = group;
        // A rule that is written where another one stands, or none, is a new version of it.
        for (key, rule) in &mut rules {
            let there = self.rules.get(&id).and_then(|it| it.shown.get(key));
            let there = there.filter(|it| it.state != Provisioning::Deleting);
            if there.map(|it| it.etag) != Some(rule.etag) {
                rule.etag = self.next();
            }
        }
        let tags = Some(json!({ "updated": "by another client" }));
        self.accept(&id, Change::WrittenBack(Group { rules, tags, flushes: None }.into()), later, now);
    }
}
