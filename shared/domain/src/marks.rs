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

/// Rules that are not as they were. One that is over may be gone by itself; it does not come, nor change, by itself.
pub fn strays(
    before: &BTreeMap<String, Mark>,
    after: &BTreeMap<String, Mark>,
    now: Timestamp,
) -> Vec<String> {
    let lasts = |it: &Mark| it.until.is_none_or(|until| now < until);
    let changed = before.iter().filter(|(name, mark)| after.get(*name).map_or(lasts(mark), |it| it != *mark));
    let added = after.iter().filter(|(name, _)| !before.contains_key(*name));
    changed.chain(added).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// A rule that says something, until a second or for ever.
    fn mark(says: &str, until: Option<i64>) -> Mark {
        Mark { rule: Digest::of(&says), until: until.map(at) }
    }

    fn strayed(before: &[(&str, Mark)], after: &[(&str, Mark)]) -> Vec<String> {
        let named = |marks: &[(&str, Mark)]| {
            marks.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect()
        };
        strays(&named(before), &named(after), at(10))
    }

    #[test]
    fn a_rule_that_is_over_may_go_by_itself_and_comes_or_changes_by_a_foreign_hand_alone() {
        let (over, other) = (("ssh", mark("a", Some(9))), ("ssh", mark("b", Some(9))));
        assert_eq!(strayed(std::slice::from_ref(&over), &[]), [""; 0]);
        assert_eq!(strayed(std::slice::from_ref(&over), std::slice::from_ref(&over)), [""; 0]);
        assert_eq!(
            strayed(&[], std::slice::from_ref(&over)),
            ["ssh"],
            "a write that landed late, as it may be"
        );
        assert_eq!(strayed(&[over], &[other]), ["ssh"]);
    }

    #[test]
    fn a_rule_that_is_not_over_neither_goes_comes_nor_changes_by_itself() {
        for until in [Some(11), None] {
            let (rule, other) = (("ssh", mark("a", until)), ("ssh", mark("b", until)));
            assert_eq!(strayed(std::slice::from_ref(&rule), &[]), ["ssh"]);
            assert_eq!(strayed(&[], std::slice::from_ref(&rule)), ["ssh"]);
            assert_eq!(strayed(&[rule], &[other]), ["ssh"]);
        }
    }
}
