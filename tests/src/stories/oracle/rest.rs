//! The end: faults stopped long ago, and everything must rest.

use super::{Oracle, Scene, record::is_free};
use crate::stories::{clock::stamp, cloud::is_lock_of_the_hidden};
use portcullis_domain::{FirewallKind, RequestState, Rule, RuleName};
use std::collections::BTreeMap;

impl Oracle {
    /// Everything rests, and every firewall holds what it must and nothing else.
    pub(in crate::stories) fn conclude(&mut self, scene: &Scene<'_>) {
        self.stir();
        self.observe(scene);
        let now = scene.now;
        if !self.exposed_since.is_empty() {
            let how = format!("still open: {:?}", self.exposed_since);
            self.break_rule("shut-by-default", now, how);
        }
        let mut wanted = BTreeMap::<RuleName, Rule>::new();
        for (id, row) in &scene.table.targets {
            let target = &row.target;
            let is_at_rest = target.grants().is_empty() && target.trial().is_none() && is_free(target);
            if !is_at_rest || target.due_at().is_some() || target.misses() != 0 {
                self.break_rule("nothing-is-forgotten", now, format!("{id} is restless: {target:?}"));
            }
            wanted.extend(target.rules(stamp(now)));
        }
        for (request, _) in scene.table.requests.values() {
            if matches!(request.state, RequestState::Pending { .. }) {
                self.break_rule("nothing-is-forgotten", now, format!("{} still waits", request.id));
            }
        }
        if !self.jumps.is_empty() {
            let how = format!("nobody recorded that the clock was set by {:?} ms", self.jumps);
            self.break_rule("nothing-unrecorded", now, how);
        }
        self.firewalls(scene, &wanted);
        self.all_is_told(now);
        self.all_are_answered(now);
    }

    fn firewalls(&mut self, scene: &Scene<'_>, wanted: &BTreeMap<RuleName, Rule>) {
        let now = scene.now;
        for id in scene.cloud.ids() {
            let seen = scene.cloud.show(&id, scene.now);
            let behind = scene.cloud.behind(&id);
            let is_here =
                |name: &RuleName| behind.iter().any(|it| portcullis_domain::Owner::from(it) == name.owner);
            let can_hold = |rule: &Rule| {
                matches!(
                    (seen.kind, rule),
                    (FirewallKind::Ordered { .. }, _)
                        | (FirewallKind::Union | FirewallKind::Translating, Rule::Allow { .. })
                )
            };
            let wanted: BTreeMap<_, _> = wanted
                .iter()
                .filter(|(name, rule)| is_here(name) && can_hold(rule))
                .map(|(name, rule)| (name, Some(rule)))
                .collect();
            // Another installation's lock stays.
            let ours = seen.ours.iter().filter(|(name, _)| !is_lock_of_the_hidden(name));
            let held: BTreeMap<_, _> = ours.map(|(name, held)| (name, held.rule.as_ref())).collect();
            if held != wanted {
                self.break_rule(
                    "shut-by-default",
                    scene.now,
                    format!("{id} holds {held:?}, and should {wanted:?}"),
                );
            }
            if scene.cloud.leaves_what_is_over(&id) {
                let how = format!("{id} holds rules that are over, and would delete them");
                self.break_rule("nothing-is-forgotten", now, how);
            }
            if !scene.cloud.is_foreign_untouched(&id) {
                self.break_rule(
                    "no-neighbour-harmed",
                    scene.now,
                    format!("foreign rules of {id} are not what they were"),
                );
            }
        }
    }
}
