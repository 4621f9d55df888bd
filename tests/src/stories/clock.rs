//! The world's time: milliseconds since the story began, and all that will happen at one of them.

use super::{
    actors::Wish,
    cloud::{Deed, Whole},
    machine::Setting,
    queue::Queue,
    world::Job,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{FirewallId, Foreign};
use std::{collections::BTreeMap, task::Waker};

/// When the story begins, by its own calendar.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// Later than every story.
pub(super) const NEVER: i64 = i64::MAX;

/// What happens without a worker.
#[derive(Debug)]
pub(super) enum Event {
    /// A worker is born.
    Spawn(Job),
    /// Somebody is given what stands in a part of the stream.
    Read(usize),
    /// Somebody is given what is visible in a queue.
    Deliver(Queue),
    /// A write lands long after it was made.
    Land(Deed),
    /// Another client writes a whole firewall back as it read it.
    WriteBack(FirewallId, Whole),
    /// Somebody else edits or deletes a rule of ours.
    Meddle,
    /// Somebody else puts a rule above ours, until then.
    Intrude(FirewallId, Foreign, i64),
    /// And takes it away again.
    Retreat(FirewallId, String),
    /// A firewall starts to refuse everything, until then.
    Break(FirewallId, Outage, i64),
    /// And is repaired.
    Repair(FirewallId),
    /// The host sleeps, with every worker on it.
    Sleep { until: i64 },
    /// A firewall holds as many ranges as it may, until then.
    Fill(FirewallId, i64),
    /// And may hold more again.
    Enlarge(FirewallId),
    /// A firewall refuses to delete any rule.
    Keep(FirewallId),
    /// And deletes them again.
    LetGo(FirewallId),
    /// Somebody sets the clock of the machine.
    Set(Setting),
    /// The credential is refused, and no other one is to be had until then.
    Revoke(i64),
    /// There is so much space on the disk, until then.
    Space(Space, i64),
    /// The table takes no commit, until then.
    Shut(i64),
    /// And takes them again.
    Reopen,
    /// A lease starts or ends: nothing happens, and the oracle looks.
    Look,
}

/// How a firewall refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    /// Too many calls: try again.
    Throttled,
    /// For good, until a person repairs it.
    Broken,
}

/// How much space there is to store anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Space {
    /// Enough.
    #[default]
    Enough,
    /// What was kept back for what shuts.
    KeptBack,
    /// None: what shuts is stored in memory.
    None,
}

/// All that is yet to come, in order.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) now: i64,
    timers: BTreeMap<(i64, u64), Waker>,
    events: BTreeMap<(i64, u64), Event>,
    order: u64,
}

impl Timeline {
    pub(super) fn at(&mut self, at: i64, event: Event) {
        self.order += 1;
        self.events.insert((at.max(self.now), self.order), event);
    }

    pub(super) fn wish(&mut self, at: i64, wish: Wish) {
        self.at(at, Event::Spawn(Job::Wish(Box::new(wish))));
    }

    pub(super) fn wake(&mut self, at: i64, waker: Waker) {
        self.order += 1;
        self.timers.insert((at, self.order), waker);
    }

    pub(super) fn next_timer(&self) -> i64 {
        self.timers.first_key_value().map_or(NEVER, |((at, _), _)| *at)
    }

    pub(super) fn next_event(&self) -> i64 {
        self.events.first_key_value().map_or(NEVER, |((at, _), _)| *at)
    }

    pub(super) fn pop_timer(&mut self) -> Option<Waker> {
        self.timers.pop_first().map(|(_, waker)| waker)
    }

    pub(super) fn pop_event(&mut self) -> Option<Event> {
        self.events.pop_first().map(|(_, event)| event)
    }

    /// Whoever waits for a time is asked whether that has come: the clock was set.
    pub(super) fn rouse(&mut self) {
        let all: Vec<Waker> = self.timers.values().cloned().collect();
        for waker in all {
            self.wake(self.now, waker);
        }
    }

    /// Nothing on this host goes on before `until`; the rest of the world does.
    pub(super) fn sleep(&mut self, until: i64) {
        let late = |at: i64| at.max(until);
        let timers = std::mem::take(&mut self.timers);
        self.timers = timers.into_iter().map(|((at, order), waker)| ((late(at), order), waker)).collect();
        let events = std::mem::take(&mut self.events);
        let delayed = |((at, order), event)| match event {
            Event::Spawn(_) | Event::Read(_) | Event::Deliver(_) => ((late(at), order), event),
            Event::Land(_)
            | Event::WriteBack(..)
            | Event::Meddle
            | Event::Intrude(..)
            | Event::Retreat(..)
            | Event::Break(..)
            | Event::Repair(_)
            | Event::Sleep { .. }
            | Event::Fill(..)
            | Event::Enlarge(_)
            | Event::Keep(_)
            | Event::LetGo(_)
            | Event::Set(_)
            | Event::Revoke(_)
            | Event::Space(..)
            | Event::Shut(_)
            | Event::Reopen
            | Event::Look => ((at, order), event),
        };
        self.events = events.into_iter().map(delayed).collect();
    }
}

pub(super) fn stamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(EPOCH_MS + ms).expect("a story is short")
}

pub(super) fn world_ms(at: Timestamp) -> i64 {
    at.as_millisecond() - EPOCH_MS
}

pub(super) fn ms(span: SignedDuration) -> i64 {
    i64::try_from(span.as_millis()).expect("a story is short")
}
