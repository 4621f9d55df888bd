//! Accepted rules: foreign rules that let sources in without a lease, and are meant to, such as the one for the subnet of Azure
//! Bastion.
//!
//! An acceptance changes what is told and no rule that is written. It is bound to what the rule says: a rule that says anything
//! else since then is told as before.

use crate::{
    Action, FirewallId, Foreign, ForeignRule, Justification, Person, Snapshot, digest::Digest,
    foreign::is_stand_in,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A foreign rule that a person accepted at one port, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Its name.
    pub rule: String,
    /// Its firewall.
    pub firewall: FirewallId,
    /// A digest of all that it said then of the packets that it lets in, with its priority.
    says: Digest,
    /// The person who accepted it.
    pub by: Person,
    /// When.
    pub at: Timestamp,
    /// The reason, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Justification>,
}

impl Accepted {
    /// A rule as it was read, if it lets packets in.
    pub(crate) fn now(
        rule: &ForeignRule,
        seen: &Snapshot,
        by: &Person,
        at: Timestamp,
        why: Option<Justification>,
    ) -> Option<Self> {
        let says = seen.says(rule)?;
        let (rule, firewall) = (rule.name.clone(), rule.firewall.clone());
        Some(Self { rule, firewall, says, by: by.clone(), at, why })
    }

    /// Did both rules say the same when they were accepted?
    pub(crate) fn says_as(&self, other: &Self) -> bool {
        self.says == other.says
    }

    /// Which rule it is.
    pub fn of(&self) -> ForeignRule {
        ForeignRule { name: self.rule.clone(), firewall: self.firewall.clone() }
    }

    /// The rule with the person who accepted it and why, such as `Bastion in web-1-nsg, which ann accepted`.
    pub fn in_words(&self) -> String {
        let why = self.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{}, which `{}` accepted at {}{why}", self.of(), self.by, self.at)
    }

    /// Is there no rule of its name any longer that lets packets in?
    pub(crate) fn is_gone_in(&self, seen: &Snapshot) -> bool {
        seen.says(&self.of()).is_none()
    }

    /// Does the rule say now what it said when it was accepted?
    pub fn holds_in(&self, seen: &Snapshot) -> bool {
        seen.says(&self.of()).is_some_and(|says| says == self.says)
    }
}

/// The rule as it is told where it lets somebody in all the same: also one that was accepted and says something else since.
pub(crate) fn told(rule: &ForeignRule, accepted: &[Accepted], seen: &Snapshot) -> String {
    match accepted.iter().find(|it| it.of() == *rule && !it.holds_in(seen)) {
        Some(it) => format!("{rule} (`{}` accepted it as it was, and it was changed since)", it.by),
        None => rule.to_string(),
    }
}

impl Snapshot {
    /// The same without those rules that say what they said when they were accepted: who gets in even so gets in by another
    /// rule, also by one that an accepted rule hides.
    pub(crate) fn without_accepted(&self, accepted: &[Accepted]) -> Self {
        let accepted: BTreeSet<ForeignRule> =
            accepted.iter().filter(|it| it.holds_in(self)).map(Accepted::of).collect();
        let mut without = self.clone();
        for firewall in &mut without.firewalls {
            let id = firewall.id.clone();
            let is_accepted = |it: &Foreign| {
                let rule = ForeignRule { name: it.name.clone(), firewall: id.clone() };
                it.action == Action::Allow && accepted.contains(&rule)
            };
            firewall.foreign.retain(|it| !is_accepted(it));
        }
        without
    }

    /// A digest of all by which a foreign rule lets packets in; nothing where it lets in none. Who it is about is as it was read:
    /// more addresses behind a service tag are another rule.
    fn says(&self, rule: &ForeignRule) -> Option<Digest> {
        let firewalls = self.firewalls.iter().filter(|it| it.id == rule.firewall);
        let allows = firewalls
            .flat_map(|it| &it.foreign)
            .filter(|it| it.action == Action::Allow && it.name == rule.name && !is_stand_in(&it.name));
        // A firewall may stand on several ways, and hold the same there.
        let said: BTreeSet<String> = allows.filter_map(|it| serde_json::to_string(it).ok()).collect();
        (!said.is_empty()).then(|| Digest::of(&said))
    }
}
