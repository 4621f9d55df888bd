//! How the rules of ours were last seen, to tell a foreign hand by.

use crate::{Firewall, Owner, Rule, Snapshot, digest::Digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A rule of ours as it was last seen, to tell a foreign hand by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// What it says and where it stands: a lock under what it shuts out is none.
    rule: Digest,
    /// A rule that is over may be gone without anybody's doing: some firewalls shut by themselves.
    until: Option<Timestamp>,
}

/// Each rule of one owner's, by its name and place.
pub fn marks(owner: &Owner, seen: &Snapshot) -> BTreeMap<String, Mark> {
    let of = |firewall: &Firewall| {
        let id = firewall.id.clone();
        let rules = firewall.of(owner).map(move |(name, held)| {
            let until = match &held.rule {
                Some(Rule::Allow { until, .. }) => Some(*until),
                Some(Rule::Deny { .. }) | None => None,
            };
            let rule = Digest::of(&(&held.rule, held.priority, &held.beside));
            (format!("{name} in {id}"), Mark { rule, until })
        });
        rules.collect::<Vec<_>>()
    };
    seen.firewalls.iter().flat_map(of).collect()
}

/// Rules that are not as they were, although their time is not over.
pub fn strays(
    before: &BTreeMap<String, Mark>,
    after: &BTreeMap<String, Mark>,
    now: Timestamp,
) -> Vec<String> {
    let lasts = |it: &Mark| it.until.is_none_or(|until| now < until);
    let changed = before.iter().filter(|(name, mark)| lasts(mark) && after.get(*name) != Some(*mark));
    let added = after.iter().filter(|(name, mark)| lasts(mark) && !before.contains_key(*name));
    changed.chain(added).map(|(name, _)| name.clone()).collect()
}
