//! How long the cloud took for the last write of each rule of ours, so that lateness is told apart: its, and ours.

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{FirewallId, Owner, RuleName, Written};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long a write is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// The last write of each rule, by where it stands.
#[derive(Debug, Default)]
pub struct Writes(Mutex<BTreeMap<(FirewallId, RuleName), Times>>);

/// When a write was sent, and when a read first saw it done.
#[derive(Debug, Clone, Copy)]
struct Times {
    sent: Timestamp,
    seen: Option<Timestamp>,
}

impl Writes {
    /// Remembers a write that was sent so long ago; what is not seen yet is so by the next read.
    pub fn note(&self, id: &FirewallId, name: &RuleName, since: Duration, is_seen: bool, now: Timestamp) {
        let since = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX);
        let sent = now.saturating_sub(since).unwrap_or(Timestamp::MIN);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, it| now.duration_since(it.sent) < REMEMBERED);
        all.insert((id.clone(), name.clone()), Times { sent, seen: is_seen.then_some(now) });
    }

    /// The last write of each rule of a machine, which a read at `read_at` shows done: over all firewalls, from the first
    /// that was sent to the last that was seen.
    pub fn of(&self, owner: &Owner, read_at: Timestamp) -> BTreeMap<RuleName, Written> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written: BTreeMap<RuleName, Written> = BTreeMap::new();
        for ((_, name), times) in all.iter_mut().filter(|((_, name), _)| name.owner == *owner) {
            let seen = *times.seen.get_or_insert(read_at);
            let it = written.entry(name.clone()).or_insert(Written { sent: times.sent, seen });
            *it = Written { sent: it.sent.min(times.sent), seen: it.seen.max(seen) };
        }
        written
    }
}
