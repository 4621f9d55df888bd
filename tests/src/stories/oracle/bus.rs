//! What is told to others: everything, at least once, the same each time, nothing before what came before it, and each in the
//! shape that others were promised.

use super::Oracle;
use crate::schemas::Schemas;
use portcullis_app::{Event, events};
use portcullis_domain::{Chain, Entry, Fact};
use serde_json::json;
use std::collections::BTreeMap;

/// What was told, and what has to be.
#[derive(Debug, Default)]
pub(super) struct Bus {
    /// Of each chain, by the number of the first entry of a commit: what was not told of that commit.
    untold: BTreeMap<Chain, BTreeMap<u64, BTreeMap<String, Event>>>,
    told: BTreeMap<String, Event>,
}

impl Oracle {
    /// Is anything to be told of what was committed? It is, then, by the end of the story.
    pub(in crate::stories) fn will_be_told(&mut self, entries: &[Entry]) -> bool {
        let Some(first) = entries.first() else { return false };
        let told: BTreeMap<_, _> =
            entries.iter().flat_map(events).map(|it| (it.detail.id.clone(), it)).collect();
        if told.is_empty() {
            return false;
        }
        self.bus.untold.entry(first.chain.clone()).or_default().insert(first.n, told);
        true
    }

    pub(in crate::stories) fn was_told(&self, id: &str) -> bool {
        self.bus.told.contains_key(id)
    }

    /// All that was told.
    pub(in crate::stories) fn heard(&self) -> Vec<Event> {
        self.bus.told.values().cloned().collect()
    }

    /// The bus does not take an event, and will never take it if that is hopeless.
    pub(in crate::stories) fn untold(&mut self, event: &Event, is_hopeless: bool) {
        if !is_hopeless {
            self.count("event not taken");
        } else if self.take(event).is_some() {
            self.count("event hopeless");
        }
    }

    /// INVARIANT (nothing-is-left-out): the bus is told what was committed, and each commit to a chain after those
    /// before it. Within one commit the bus may take the second event, and the first only in the next try.
    pub(in crate::stories) fn tells(&mut self, event: &Event, now: i64) {
        const RULE: &str = "nothing-is-left-out";
        let id = &event.detail.id;
        if let Some(before) = self.bus.told.get(id) {
            if before != event {
                self.break_rule(RULE, now, format!("`{id}` is told as {event:?}, and was as {before:?}"));
            }
            return self.count("told twice");
        }
        let first = self.bus.untold.get(&chain_of(event)).and_then(BTreeMap::first_key_value);
        if let Some((n, first)) = first.filter(|(_, events)| !events.contains_key(id)) {
            let how = format!("`{id}` is told before {:?} of #{n}", first.keys());
            self.break_rule(RULE, now, how);
        }
        match self.take(event) {
            Some(known) if known == *event => {}
            known => self.break_rule(RULE, now, format!("`{id}` is told as {event:?}, and is {known:?}")),
        }
        // Whoever closes may call the matter otherwise.
        let is_asked_for = !matches!(event.detail.fact, Fact::Ended { .. });
        if is_asked_for && event.detail.correlation_id.as_ref() != self.correlation(&event.detail.fact) {
            let how = format!("`{id}` does not name what its asker calls it: {event:?}");
            self.break_rule("nothing-unrecorded", now, how);
        }
        let wrong = Schemas::ours().wrong(event.kind, &json!(event.detail));
        if !wrong.is_empty() {
            let how = format!("`{id}` is not what its schema says: {wrong:?}: {event:?}");
            self.break_rule("told-as-the-schemas-say", now, how);
        }
        self.count("told");
        self.bus.told.insert(id.clone(), event.clone());
    }

    /// All that has to be told was told.
    pub(super) fn all_is_told(&mut self, now: i64) {
        if let Some((chain, commits)) = self.bus.untold.iter().find(|(_, commits)| !commits.is_empty()) {
            let how = format!("{chain} was never told: {commits:?}");
            self.break_rule("nothing-is-left-out", now, how);
        }
    }

    fn take(&mut self, event: &Event) -> Option<Event> {
        let commits = self.bus.untold.get_mut(&chain_of(event))?;
        let (n, events) = commits.iter_mut().find(|(_, events)| events.contains_key(&event.detail.id))?;
        let (n, found) = (*n, events.remove(&event.detail.id));
        if events.is_empty() {
            commits.remove(&n);
        }
        found
    }
}

fn chain_of(event: &Event) -> Chain {
    event.detail.target.as_ref().map_or_else(Chain::rest, Chain::from)
}
