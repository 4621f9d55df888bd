//! The queues between the bus and the functions: at least once, in any order. A message that was not handled comes
//! again once it is visible again, also while somebody is still at it; after the last receive it is a dead letter.

use super::{
    clock::{self, ms},
    dice::Dice,
    log::Actor,
    oracle::Heard,
    outside::Outside,
    world::{Job, World},
};
use portcullis_app::{
    Bots, Error, Incoming, Message, Rights, handle_all, ports::Clock as _, settle_named, submit,
};
use portcullis_domain::WORKER_LIFE;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// What a message may be received before it is a dead letter, as the template says.
const RECEIVES_MAX: u32 = 5;
/// How many messages a function is given at a time, as the template says.
const BATCH_MAX: usize = 10;
/// How long a message is with its receiver, as the template says.
const VISIBLE_AGAIN_MS: [i64; 2] = [150_000, 120_000];
/// And where somebody set it far too short: workers are still at it.
const TOO_SOON_MS: i64 = 8_000;
/// A message is delivered within this, or, where it lies about, within that.
const QUICKLY_MS: i64 = 2_500;
const LATE_MS: i64 = 120_000;
/// Who is given one message is given also those that would come so much later.
const TOGETHER_MS: i64 = 1_000;
/// The timeout of `settle`. It outlives its work, so that what it took on is given back by itself.
const SETTLE_LIFE_MS: i64 = 25_000;

/// Who may ask for what, in every story.
pub(super) const BOTS: &str =
    r#"[{"source": "chatops", "for": ["ann", "bob", "carol", "dan"]}, {"source": "deploy", "for": "*"}]"#;

/// Which function a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Settle,
    Submit,
}

/// Both queues.
#[derive(Debug)]
pub(super) struct Queues {
    lines: [BTreeMap<u64, Waiting>; 2],
    visible_again_ms: [i64; 2],
    sent: u64,
}

#[derive(Debug)]
struct Waiting {
    body: Arc<str>,
    letter: Option<usize>,
    receives: u32,
    visible_at: i64,
}

/// A message, as it was received.
#[derive(Debug)]
struct Received {
    message: u64,
    /// How often it was received by then.
    receive: u32,
    body: Arc<str>,
    /// Which bot's event it is.
    letter: Option<usize>,
}

/// What a worker is given of a queue.
#[derive(Debug)]
pub(super) struct Delivery {
    queue: Queue,
    received: Vec<Received>,
}

impl Queues {
    pub(super) fn begin(dice: &mut Dice) -> Self {
        let visible_again_ms = VISIBLE_AGAIN_MS.map(|it| if dice.once_in(5) { TOO_SOON_MS } else { it });
        Self { lines: Default::default(), visible_again_ms, sent: 0 }
    }

    /// What nobody handled, and is no dead letter either.
    pub(super) fn left(&self) -> usize {
        self.lines.iter().map(BTreeMap::len).sum()
    }
}

impl Delivery {
    /// How long the platform lets a worker live that handles it.
    pub(super) fn life_ms(&self) -> i64 {
        match self.queue {
            Queue::Settle => SETTLE_LIFE_MS,
            Queue::Submit => ms(WORKER_LIFE),
        }
    }

    /// What a function does with it, and what its queue makes of that.
    pub(super) async fn handle(self, o: &Outside) -> Result<(), Error> {
        let bots: Bots = BOTS.parse().expect("a policy of bots");
        let failed = Mutex::new(BTreeSet::new());
        let handle = async |message: Message| {
            // The name of its claim says which it is.
            let (_, n) = message.token.as_str().rsplit_once('.').expect("made here");
            let it = &self.received[n.parse::<usize>().expect("made here")];
            let outcome = match self.queue {
                Queue::Settle => settle_named(o, o, o, message).await,
                Queue::Submit => {
                    let body = message.body.as_bytes();
                    let incoming = Incoming { body, source: None, has_archive: true };
                    let submitted =
                        submit(o, &super::actors::TERMS, &Rights::default(), &bots, incoming, o.now()).await;
                    submitted.map(|submitted| o.world().answered(it, &submitted))
                }
            };
            if let Err(error) = &outcome {
                failed.lock().unwrap_or_else(PoisonError::into_inner).insert(it.message.to_string());
                o.world().gave_up(o.worker, error, "message failed");
            }
            outcome
        };
        let message = |(n, it): (usize, &Received)| {
            let token = super::executor::claim(o.worker, n as u64);
            (it.message.to_string(), Message { body: it.body.to_string(), token })
        };
        let again = handle_all(self.received.iter().enumerate().map(message), handle).await;
        let again = BTreeSet::from_iter(again);
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        o.world().handled(&self, &failed, &again);
        Ok(())
    }
}

impl World {
    pub(super) fn send(&mut self, queue: Queue, body: Arc<str>, letter: Option<usize>) {
        let lies = if self.dice.once_in(12) { LATE_MS } else { QUICKLY_MS };
        let visible_at = self.time.now + self.dice.below(lies);
        self.send_at(visible_at, queue, body, letter);
    }

    pub(super) fn send_at(&mut self, visible_at: i64, queue: Queue, body: Arc<str>, letter: Option<usize>) {
        self.queues.sent += 1;
        let message = Waiting { body, letter, receives: 0, visible_at };
        self.queues.lines[queue as usize].insert(self.queues.sent, message);
        self.time.at(visible_at, clock::Event::Deliver(queue));
    }

    /// Something is visible, unless somebody was given it meanwhile.
    pub(super) fn deliver(&mut self, queue: Queue) -> Option<Job> {
        let now = self.time.now;
        let early = if self.dice.once_in(2) { TOGETHER_MS } else { 0 };
        let line = &mut self.queues.lines[queue as usize];
        let is_visible =
            |it: &Waiting| it.visible_at <= now || it.receives == 0 && it.visible_at <= now + early;
        let mut dead = vec![];
        line.retain(|_, it| {
            let is_dead = it.visible_at <= now && it.receives == RECEIVES_MAX;
            if is_dead {
                dead.push(it.letter);
            }
            !is_dead
        });
        let again_at = now + self.queues.visible_again_ms[queue as usize];
        let mut received = vec![];
        for (message, it) in line.iter_mut().filter(|(_, it)| is_visible(it)).take(BATCH_MAX) {
            it.receives += 1;
            it.visible_at = again_at;
            let (receive, body, letter) = (it.receives, Arc::clone(&it.body), it.letter);
            received.push(Received { message: *message, receive, body, letter });
        }
        for letter in dead {
            self.note(Actor::World, || format!("a message for {queue:?} is a dead letter"));
            self.oracle.count("dead letter");
            self.oracle.buries(letter);
        }
        if received.is_empty() {
            return None;
        }
        for it in &received {
            self.oracle.count(if it.receive == 1 { "delivered" } else { "delivered again" });
        }
        self.time.at(again_at, clock::Event::Deliver(queue));
        if received.len() == BATCH_MAX {
            self.time.at(now + 1, clock::Event::Deliver(queue));
        }
        Some(Job::Handle(Delivery { queue, received }))
    }

    fn answered(&mut self, it: &Received, submitted: &portcullis_app::Submitted) {
        self.note(Actor::World, || format!("an event is answered: {submitted:?}"));
        let (table, now) = (&self.table, self.time.now);
        if let Some(letter) = it.letter {
            self.oracle.answered(letter, submitted, &Heard { table, now });
        }
    }

    /// INVARIANT (twice-is-once): what failed comes again, and what was handled does not, unless its receipt is old.
    fn handled(&mut self, delivery: &Delivery, failed: &BTreeSet<String>, again: &BTreeSet<String>) {
        let now = self.time.now;
        if failed != again {
            let how = format!("{failed:?} failed, and {again:?} is to come again");
            self.oracle.break_rule("nothing-is-left-out", now, how);
        }
        for it in &delivery.received {
            if again.contains(&it.message.to_string()) {
                continue;
            }
            let line = &mut self.queues.lines[delivery.queue as usize];
            let is_old = line.get(&it.message).is_some_and(|waiting| waiting.receives != it.receive);
            if is_old && self.dice.once_in(2) {
                self.oracle.count("deleted too late");
            } else {
                line.remove(&it.message);
            }
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.queue)?;
        for Received { message, receive, body, .. } in &self.received {
            write!(f, ", message {message} for the {receive}. time: {body}")?;
        }
        Ok(())
    }
}
