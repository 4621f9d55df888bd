//! Who lost the right to ask for it has no lease.

use super::{Oracle, PROMISED_MS, Scene};
use crate::stories::{
    clock::stamp,
    rights::{OPERATOR, PEOPLE},
};
use portcullis_domain::{
    Authority, Circumstances, Decide, Facts, Object, Person, Question, Right, Roles, SignIn, TargetId,
};
use std::collections::BTreeMap;

/// Since when who may not ask.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// By the table.
    stored: BTreeMap<Person, i64>,
    /// By the answer to the operator: from then on it is a promise.
    answered: BTreeMap<Person, i64>,
}

impl Oracle {
    /// The authority is another one now.
    pub(in crate::stories) fn authorised(&mut self, authority: &Authority, now: i64) {
        let roles = Roles::of(authority.clone(), Some(OPERATOR.parse().expect("a person")));
        let anything = Object::Machine(Box::new(Facts::of(&"any".parse::<TargetId>().expect("a target"))));
        for person in PEOPLE.iter().map(|it| it.parse::<Person>().expect("a person")) {
            let question = Question {
                subject: SignIn::subject(None, &person, None),
                right: Right::Request,
                object: anything.clone(),
                circumstances: Circumstances::default(),
            };
            if roles.decide(&question).is_permitted {
                self.lost.stored.remove(&person);
            } else {
                self.count("role revoked");
                self.lost.stored.entry(person).or_insert(now);
            }
        }
    }

    /// The operator was told that somebody has the role no more.
    pub(in crate::stories) fn took_role(&mut self, of: &Person, now: i64) {
        self.lost.answered.entry(of.clone()).or_insert(now);
    }

    /// INVARIANT (rights-are-asked-again): once the operator was told, what was granted before is over by every clock. What was granted
    /// since is over with the answer to it, and where its worker died at the next reconcile.
    pub(super) fn look_for_the_unpermitted(&mut self, scene: &Scene<'_>) {
        let margin = stamp(scene.now - self.skew_ms);
        for (person, told_at) in &self.lost.answered {
            let Some(lost_at) = self.lost.stored.get(person) else { continue };
            let theirs = scene.table.targets.values().flat_map(|row| row.target.grants().values());
            let live = theirs.filter(|it| it.by == *person && !it.lease.is_over(margin));
            for grant in live {
                let granted_at = self.approved_at.get(&grant.id).copied().unwrap_or_default();
                let deadline = if granted_at < *lost_at {
                    told_at + PROMISED_MS
                } else {
                    self.next_reconcile(granted_at, true)
                };
                if deadline + 2 * self.skew_ms < scene.now {
                    let how = format!("{} of {person} lives on since {lost_at} ms", grant.id);
                    return self.break_rule("rights-are-asked-again", scene.now, how);
                }
            }
        }
    }
}
