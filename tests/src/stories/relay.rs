//! What is committed, on its way to whoever listens: the table's stream, the relay that reads it, and the bus.
//!
//! A stream has parts, and each is read by one relay at a time: a batch that was not told to its end comes again
//! from where it stopped, or all of it if the relay died. So everything is told at least once, and nothing of a
//! chain overtakes what was committed before it.

use super::{
    clock::{self, stamp},
    dice::Dice,
    faults::STORM_ENDS_MS,
    log::Actor,
    outside::{Outside, unavailable},
    queue::Queue,
    world::{Job, World},
};
use portcullis_app::{
    Error, Event, first_untold,
    ports::{Bus, NotPublished},
    relay,
};
use portcullis_domain::{Chain, Entry};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// How many parts a stream has.
const PARTS: usize = 2;
/// How many records a relay is given at a time: fewer than in a crowd, so that there are several batches.
const BATCH_MAX: usize = 10;
/// How long a relay lives: the timeout of its function.
pub(super) const RELAY_LIFE_MS: i64 = 30_000;
/// A relay is told of a commit within this, and tries again within this.
const READ_MS: i64 = 400;
const AGAIN_MS: i64 = 3_000;

/// How reliable the relay and its bus are, in the whole story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Only the weather strikes them.
    Steady,
    /// The bus leaves out some of what it is given, says so of some that it took, and will never take others.
    Flaky,
    /// Nobody relays before then.
    Late(i64),
    /// Nobody ever relays.
    Dead,
}

/// The table's stream.
#[derive(Debug)]
pub(super) struct Stream {
    mood: Mood,
    parts: [Part; PARTS],
    /// What the bus will never take.
    hopeless: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Part {
    records: VecDeque<Arc<Record>>,
    born: u64,
    /// Until then a relay is at it, unless it says that it is done.
    busy_until: i64,
    /// Somebody will look at it.
    is_watched: bool,
}

/// What one commit wrote to one chain.
#[derive(Debug)]
pub(super) struct Record {
    /// Its number in its part.
    n: u64,
    entries: Vec<Entry>,
}

/// What a relay is given.
#[derive(Debug)]
pub(super) struct Batch {
    part: usize,
    records: Vec<Arc<Record>>,
}

impl Stream {
    pub(super) fn begin(dice: &mut Dice) -> Self {
        let mood = match dice.roll(8) {
            0 | 1 => Mood::Dead,
            2 => Mood::Late(dice.below(STORM_ENDS_MS / 2)),
            3..=5 => Mood::Flaky,
            _ => Mood::Steady,
        };
        Self { mood, parts: Default::default(), hopeless: BTreeSet::new() }
    }

    /// The bus takes all that it is given.
    pub(super) fn be_steady(&mut self) {
        if self.mood == Mood::Flaky {
            self.mood = Mood::Steady;
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.mood == Mood::Dead
    }
}

impl Batch {
    /// What a relay does with it. One that fails leaves the rest to the next.
    pub(super) async fn tell(self, outside: &Outside) -> Result<(), Error> {
        let told = async |record: &Record| relay(outside, &record.entries).await;
        let untold = first_untold(self.records.iter().map(AsRef::as_ref), told).await.map(|it| it.n);
        outside.world().relayed(&self, untold);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

impl World {
    /// What was committed to a chain, in one commit.
    pub(super) fn stream(&mut self, chain: &Chain, entries: Vec<Entry>) {
        // Of most commits nothing is told, and the relay passes over them.
        if self.stream.is_dead() || !self.oracle.will_be_told(&entries) {
            return;
        }
        let part = chain.as_str().bytes().map(usize::from).sum::<usize>() % PARTS;
        let it = &mut self.stream.parts[part];
        it.born += 1;
        it.records.push_back(Arc::new(Record { n: it.born, entries }));
        let from = if let Mood::Late(from) = self.stream.mood { from } else { 0 };
        let at = (self.time.now + self.dice.below(READ_MS)).max(from);
        self.watch(part, at);
    }

    fn watch(&mut self, part: usize, at: i64) {
        let it = &mut self.stream.parts[part];
        if !std::mem::replace(&mut it.is_watched, true) {
            self.time.at(at.max(it.busy_until), clock::Event::Read(part));
        }
    }

    /// A batch for a relay, if there is anything to tell and nobody at it.
    pub(super) fn read(&mut self, part: usize) -> Option<Job> {
        let now = self.time.now;
        let it = &mut self.stream.parts[part];
        it.is_watched = false;
        if it.records.is_empty() {
            return None;
        }
        if now < it.busy_until {
            let at = it.busy_until;
            self.watch(part, at);
            return None;
        }
        it.busy_until = now + RELAY_LIFE_MS;
        let records = it.records.iter().take(BATCH_MAX).cloned().collect();
        let at = it.busy_until;
        // If the relay dies, all of it comes again.
        self.watch(part, at);
        Some(Job::Relay(Batch { part, records }))
    }

    fn relayed(&mut self, batch: &Batch, untold: Option<u64>) {
        let now = self.time.now;
        let last = batch.records.last().map_or(0, |it| it.n);
        let next = untold.unwrap_or(last + 1);
        let wait = if untold.is_some() { AGAIN_MS } else { READ_MS };
        let at = now + self.dice.below(wait);
        let it = &mut self.stream.parts[batch.part];
        while it.records.front().is_some_and(|it| it.n < next) {
            it.records.pop_front();
        }
        if untold.is_some() {
            self.oracle.count("relayed again");
        }
        (it.busy_until, it.is_watched) = (now, false);
        if !it.records.is_empty() {
            self.watch(batch.part, at);
        }
    }

    /// What becomes of each event that the bus is given.
    fn publish(&mut self, events: &[Event]) -> Result<Vec<NotPublished>, Error> {
        let now = self.time.now;
        let is_flaky = self.stream.mood == Mood::Flaky && self.storms();
        let leaves_out = is_flaky && self.dice.once_in(4);
        let mut not = vec![];
        for (at, event) in events.iter().enumerate() {
            let id = &event.detail.id;
            if self.stream.mood == Mood::Flaky && self.dice.once_in(40) && !self.oracle.was_told(id) {
                self.stream.hopeless.insert(id.clone());
            }
            let is_hopeless = self.stream.hopeless.contains(id);
            if is_hopeless || leaves_out && self.dice.once_in(3) {
                self.note(Actor::World, || format!("the bus does not take {id}, hopeless: {is_hopeless}"));
                self.oracle.untold(event, is_hopeless);
                not.push(NotPublished { at, why: "the bus did not take it".to_owned(), is_hopeless });
            } else {
                self.oracle.tells(event, now);
                self.route(event);
            }
        }
        if is_flaky && self.dice.once_in(8) {
            self.oracle.count("published, and not heard");
            return Err(unavailable("publish", "the bus did not answer"));
        }
        Ok(not)
    }

    /// The rule of the bus for `settle`; none, one or two of an event come to its queue.
    fn route(&mut self, event: &Event) {
        if !matches!(event.kind, "request.approved" | "grant.ended" | "policy.changed") {
            return;
        }
        let copies = [0, 0, 1, 1, 1, 2, 2][self.dice.index(7)];
        if copies == 0 {
            self.oracle.count("event lost");
            return;
        }
        let body = serde_json::json!({
            "version": "0", "id": event.detail.id, "detail-type": event.kind, "source": "portcullis",
            "time": stamp(self.time.now), "resources": [], "detail": event.detail,
        });
        let body: Arc<str> = body.to_string().into();
        for _ in 0..copies {
            self.send(Queue::Settle, Arc::clone(&body), None);
        }
    }
}

impl Bus for Outside {
    async fn publish(&self, events: &[Event]) -> Result<Vec<NotPublished>, Error> {
        self.call(|world| world.publish(events)).await
    }
}
