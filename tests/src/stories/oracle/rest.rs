//! The end: faults stopped long ago, and everything must rest.

use super::{Oracle, Scene, record::is_free};
use crate::stories::{clock::stamp, cloud::is_lock_of_the_hidden};
use jiff::Timestamp;
use portcullis_domain::{FirewallKind, Format, Grant, Lines, RequestState, Rule, RuleName, csv_time};
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
        self.rows_of_grants(scene);
        self.all_is_told(now);
        self.all_are_answered(now);
    }

    /// INVARIANT (journal-equals-state): an export has one row for each grant, and in it what the table has of the grant and its request.
    fn rows_of_grants(&mut self, scene: &Scene<'_>) {
        for (id, row) in &scene.table.targets {
            let mut lines = Lines::of(Format::GrantsCsv, Timestamp::MIN);
            let mut rows: Vec<String> =
                row.entries.iter().filter_map(|it| lines.entry(it).expect("an entry is JSON")).collect();
            rows.extend(lines.left());
            let grants: Vec<&Grant> = scene.table.grants_of(id).collect();
            if rows.len() != grants.len() {
                let how = format!("{id}: {} rows of {} grants", rows.len(), grants.len());
                self.break_rule("journal-equals-state", scene.now, how);
            }
            for grant in grants {
                let begins = format!("{},{},{},", grant.id, grant.request, grant.by);
                let row = rows.iter().find(|it| it.starts_with(&begins));
                if row.is_none_or(|it| parts(scene, grant).iter().any(|part| !it.contains(part))) {
                    let how = format!("{row:?} is not the row of {grant:?}");
                    self.break_rule("journal-equals-state", scene.now, how);
                }
            }
        }
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

/// What the row of a grant has to hold.
fn parts(scene: &Scene<'_>, grant: &Grant) -> Vec<String> {
    let times = [grant.opened_at, grant.closed_at].into_iter().flatten();
    let mut parts: Vec<String> = times.map(|at| format!(",{},", csv_time(at))).collect();
    if let Some((request, _)) = scene.table.requests.get(&grant.request)
        && let RequestState::Approved { at, by, .. } = &request.state
    {
        let by = by.as_ref().map(ToString::to_string).unwrap_or_default();
        parts.push(format!(",{},{},{by}", csv_time(request.asked_at), csv_time(*at)));
    }
    parts.push(if grant.broke_glass { ",yes\n" } else { ",no\n" }.to_owned());
    parts
}
