//! Those who are at work, as functions: what an actor asks next follows from what it was answered until now.
//!
//! Each step of an actor is made by the real use case once, in a future that is given all answers anew, and remembered:
//! another path that gives an actor the same answers finds its next call here. So a state of the world is plain data.

use super::{
    digest::{ByDigest, digest_of},
    firewall::{Rules, Versions, Writing},
    memory::{Memory, pressed},
    table::{Committing, Stored, mine},
    world::{Call, stamp, world_ms},
};
use crate::door;
use futures_util::task::noop_waker;
use jiff::Timestamp;
use portcullis_app::{
    self as app, Error,
    ports::{
        Batch, Due, FeedItem, Firewalls, GrantFilter, OurRule, Page, PageAsked, Rank, RequestFilter, Seen,
        Store,
    },
};
use portcullis_domain::{
    Authority, Chain, Change, ChangeTo, Entry, Grant, GrantId, Head, Request, RequestId, Snapshot, Target,
    TargetId,
};
use std::{
    collections::{HashMap, VecDeque},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

/// How often the person presses the button.
const PRESSES: usize = 3;
/// How many steps are remembered; all of them are made anew after so many.
const NODES_MAX: usize = 400_000;

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Worker,
    Person,
}

/// What an actor waits for.
#[derive(Debug, Clone)]
pub(super) enum Asks {
    /// The lease that is to be closed.
    Find,
    Load,
    Commit(Arc<Committing>),
    Read,
    Write(Arc<Writing>),
}

/// What it is told.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Found,
    Loaded {
        stored: Arc<Stored>,
        is_mine: bool,
        version: u64,
    },
    Committed(Arc<Committing>),
    Read {
        rules: Arc<Rules>,
        at: i64,
    },
    Written,
    Conflict,
    Unavailable,
    /// A deletion may be tried as a write that says nothing.
    Refused(Option<Change>),
}

/// What an actor came to.
#[derive(Debug, Clone)]
pub(super) enum Came {
    To(Asks),
    /// It is done.
    End {
        is_ok: bool,
    },
}

/// An actor after some answers.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) role: Role,
    /// When it began, as it read the time.
    pub(super) began: i64,
    /// Its name among all steps.
    key: u64,
    /// Digest of what it was told and has not forgotten, with each time as its distance from the beginning.
    pub(super) told: u64,
    memory: Memory,
    /// Digest of how its calls ended.
    pub(super) ended: u64,
    pub(super) before: Option<(Arc<Self>, Answer)>,
    pub(super) came: Came,
}

/// What all actors have in common.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) target: TargetId,
    /// The lease that the person closes.
    pub(super) grant: Grant,
}

/// All steps that were made.
#[derive(Debug)]
pub(super) struct Steps {
    cast: Arc<Cast>,
    /// Answers count to the letter, and not by what of them can matter.
    is_literal: bool,
    nodes: HashMap<u64, Arc<Node>, ByDigest>,
    /// What a step came to, by that step and its answer.
    answers: HashMap<u64, Arc<Node>, ByDigest>,
    /// How many were made.
    pub(super) made: u64,
}

impl Node {
    pub(super) fn asks(&self) -> Option<&Asks> {
        match &self.came {
            Came::To(asks) => Some(asks),
            Came::End { .. } => None,
        }
    }

    /// Digest to the letter, where steps are literal.
    pub(super) fn letter(&self) -> u64 {
        self.key
    }
}

impl Asks {
    pub(super) fn call(&self) -> Call {
        match self {
            Self::Find | Self::Load => Call::Load,
            Self::Commit(_) => Call::Commit,
            Self::Read => Call::Read,
            Self::Write(_) => Call::Write,
        }
    }
}

impl Answer {
    /// How a call failed.
    fn error(&self) -> Error {
        match self {
            Self::Conflict => Error::Conflict,
            Self::Unavailable => Error::Unavailable { doing: "reach it", source: "lost".into() },
            Self::Refused(_) => Error::Broken { doing: "write the rule", source: "refused".into() },
            Self::Found | Self::Loaded { .. } | Self::Committed(_) | Self::Read { .. } | Self::Written => {
                unreachable!("this answers another call: {self:?}")
            }
        }
    }

    /// What of it can matter: of versions and of the journal's hashes nothing does, but whether they are the newest, and
    /// that the world knows.
    pub(super) fn digest(&self, from: i64) -> u64 {
        match self {
            Self::Found => digest_of(0_u8),
            Self::Loaded { stored, is_mine, .. } => digest_of((1_u8, stored.shape.from(from), is_mine)),
            Self::Committed(_) => digest_of(2_u8),
            Self::Read { rules, at } => digest_of((3_u8, rules.shape.from(from), at - from)),
            Self::Written => digest_of(4_u8),
            Self::Conflict => digest_of(5_u8),
            Self::Unavailable => digest_of(6_u8),
            Self::Refused(retiring) => {
                digest_of((7_u8, retiring.clone().map(|it| Writing::of(it).shape.from(from))))
            }
        }
    }

    fn letter(&self) -> u64 {
        match self {
            Self::Loaded { stored, is_mine, version } => digest_of((1_u8, stored.letter, is_mine, version)),
            Self::Read { rules, at } => digest_of((3_u8, rules.letter(), at)),
            Self::Found
            | Self::Committed(_)
            | Self::Written
            | Self::Conflict
            | Self::Unavailable
            | Self::Refused(_) => self.digest(0),
        }
    }
}

impl Steps {
    pub(super) fn of(cast: Arc<Cast>, is_literal: bool) -> Self {
        Self { cast, is_literal, nodes: HashMap::default(), answers: HashMap::default(), made: 0 }
    }

    /// Somebody begins.
    pub(super) fn begin(&mut self, role: Role, now: Timestamp) -> Arc<Node> {
        let (began, told) = (world_ms(now), digest_of(role));
        let key = digest_of((told, began));
        if let Some(known) = self.nodes.get(&key) {
            return Arc::clone(known);
        }
        let came = Came::End { is_ok: true };
        let memory = Memory::of(began, 0);
        let mut node = Node { role, began, key, told, memory, ended: told, before: None, came };
        let made = self.made(&node);
        (node.came, node.memory) = (made.came, Memory::of(began, made.rounds));
        self.known(node)
    }

    /// Somebody goes on with an answer.
    pub(super) fn answer(&mut self, node: &Arc<Node>, answer: &Answer) -> Arc<Node> {
        let digest = if self.is_literal { answer.letter() } else { answer.digest(0) };
        let answered = digest_of((node.key, digest));
        if let Some(known) = self.answers.get(&answered) {
            return Arc::clone(known);
        }
        let next = self.next(node, answer, answered);
        self.answers.insert(answered, Arc::clone(&next));
        next
    }

    fn next(&mut self, node: &Arc<Node>, answer: &Answer, answered: u64) -> Arc<Node> {
        let (role, began) = (node.role, node.began);
        let told = digest_of((node.told, answer.digest(began)));
        let memory = node.memory;
        let before = Some((Arc::clone(node), answer.clone()));
        let came = Came::End { is_ok: true };
        let mut next = Node { role, began, key: answered, told, memory, ended: 0, before, came };
        let made = self.made(&next);
        next.came = made.came;
        next.ended = digest_of((node.ended, std::mem::discriminant(answer)));
        match role {
            Role::Worker => {
                let kept = next.memory.follow(node, answer, &next.came, made.rounds);
                next.told = kept.map_or(told, |kept| digest_of((next.memory.digest(began), kept)));
            }
            Role::Person => next.told = pressed(node, answer, &next.came),
        }
        if !self.is_literal {
            next.key = digest_of((role, began, next.told));
        }
        self.known(next)
    }

    fn known(&mut self, node: Node) -> Arc<Node> {
        if NODES_MAX <= self.answers.len() {
            self.nodes.clear();
            self.answers.clear();
        }
        Arc::clone(self.nodes.entry(node.key).or_insert_with(|| Arc::new(node)))
    }

    /// Gives a new future all answers until now.
    fn made(&mut self, node: &Node) -> Made {
        self.made += 1;
        let mut answers = VecDeque::new();
        let mut step = node.before.as_ref();
        while let Some((before, answer)) = step {
            answers.push_front(answer.clone());
            step = before.before.as_ref();
        }
        let o = Dependencies {
            script: Arc::new(Mutex::new(Script { answers, ..Script::default() })),
            cast: Arc::clone(&self.cast),
        };
        let now = stamp(node.began);
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        let polled = match node.role {
            Role::Worker => {
                let token = mine();
                pin!(app::settle(&o, &o, &self.cast.target, &token, now)).poll(&mut context)
            }
            Role::Person => pin!(close(&o, now)).poll(&mut context),
        };
        let mut script = o.script();
        let came = match polled {
            Poll::Ready(outcome) => Came::End { is_ok: outcome.is_ok() },
            Poll::Pending => Came::To(script.asks.take().expect("it waits for an answer")),
        };
        Made { came, rounds: script.rounds }
    }
}

/// What one more answer made of an actor.
struct Made {
    came: Came,
    /// How often it began to settle, all in all.
    rounds: u32,
}

async fn close(o: &Dependencies, now: Timestamp) -> Result<(), Error> {
    let Grant { id, by, .. } = &o.cast.grant;
    let mut outcome = Ok(());
    for _ in 0..PRESSES {
        outcome = door::close(o, id, by, None, now).await.map(|_| ());
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The answers that an actor is given, one after the other, and what it asks after the last of them.
#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Answer>,
    asks: Option<Asks>,
    /// What it loaded or stored last, with its version, and the versions of the rules that it read last.
    stored: Option<Arc<Stored>>,
    version: u64,
    versions: Versions,
    retiring: Option<Change>,
    /// It waits its turn at the table: how often it lost the race before.
    turn: Option<usize>,
    rounds: u32,
}

/// What an actor sees of the world.
#[derive(Debug, Clone)]
struct Dependencies {
    script: Arc<Mutex<Script>>,
    cast: Arc<Cast>,
}

/// Waits for the next answer.
struct Turn<'a, F>(&'a Dependencies, F);

impl<F: Fn(&Script) -> Asks + Unpin> Future for Turn<'_, F> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        let mut script = self.0.script();
        script.turn = None;
        if let Some(answer) = script.answers.pop_front() {
            return Poll::Ready(answer);
        }
        let asks = self.1(&script);
        script.asks = Some(asks);
        Poll::Pending
    }
}

impl Dependencies {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("one thread")
    }

    /// As an adapter does it: a rule that may not be deleted is written over, so that it speaks of nobody.
    async fn write_one(&self, change: &Change) -> Result<(), Error> {
        let outcome = self.send(change).await;
        if !matches!(outcome, Err(Error::Broken { .. })) || change.to != ChangeTo::Delete {
            return outcome;
        }
        let Some(retiring) = self.script().retiring.take() else { return outcome };
        self.send(&retiring).await
    }

    async fn send(&self, change: &Change) -> Result<(), Error> {
        let asks = |script: &Script| {
            if let Some(etag) = &change.if_match {
                let read = script.versions.map(|it| it.to_string());
                assert!(read.contains(&etag.0), "{change:?} is of another version than was read");
            }
            Asks::Write(Arc::new(Writing::of(change.clone())))
        };
        let answer = Turn(self, asks).await;
        if matches!(answer, Answer::Written) {
            return Ok(());
        }
        if let Answer::Refused(retiring) = &answer {
            self.script().retiring.clone_from(retiring);
        }
        Err(answer.error())
    }
}

impl Store for Dependencies {
    async fn turn(&self, _: &Chain, _: Rank, lost: usize) -> app::ports::Turn {
        self.script().turn = Some(lost);
        app::ports::Turn::default()
    }

    async fn target(&self, _: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        {
            let mut script = self.script();
            // Whoever settles begins each round by a turn and a load; all others go on after a load of their own.
            script.rounds += u32::from(script.turn == Some(0));
        }
        let answer = Turn(self, |_: &Script| Asks::Load).await;
        let Answer::Loaded { stored, is_mine, version } = answer else { return Err(answer.error()) };
        let target = stored.target(is_mine).clone();
        let mut script = self.script();
        (script.stored, script.version) = (Some(stored), version);
        Ok(Some((target, Seen(version))))
    }

    async fn grant(&self, _: &GrantId) -> Result<Option<Grant>, Error> {
        let answer = Turn(self, |_: &Script| Asks::Find).await;
        // Whoever closes asks it for its target alone.
        if matches!(answer, Answer::Found) { Ok(Some(self.cast.grant.clone())) } else { Err(answer.error()) }
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let asks = |script: &Script| {
            let is_seen = batch.targets.iter().all(|(_, seen)| *seen == Seen(script.version));
            assert!(is_seen, "a batch is of another version than was loaded");
            let stored = script.stored.as_ref().expect("it was loaded");
            Asks::Commit(Arc::new(stored.batched(batch.clone())))
        };
        let answer = Turn(self, asks).await;
        let Answer::Committed(committing) = answer else { return Err(answer.error()) };
        let mut script = self.script();
        script.version += 1;
        script.stored = Some(Arc::clone(&committing.next));
        Ok(())
    }

    async fn request(&self, _: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        unreachable!("nobody decides here")
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        Ok(None)
    }

    async fn rest(&self) -> Result<Head, Error> {
        unreachable!("nothing concerns no target here")
    }

    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        unreachable!("the search knows what is due")
    }

    async fn targets(&self, _: Option<&TargetId>, _: usize) -> Result<Vec<Target>, Error> {
        unreachable!("there is one target")
    }

    async fn chains(&self, _: Option<&Chain>, _: usize) -> Result<Vec<Chain>, Error> {
        unreachable!("there is one target")
    }

    async fn requests(&self, _: &RequestFilter, _: &PageAsked) -> Result<Page<Request>, Error> {
        unreachable!("nobody lists here")
    }

    async fn grants(&self, _: &GrantFilter, _: &PageAsked) -> Result<Page<Grant>, Error> {
        unreachable!("nobody lists here")
    }

    async fn entries(&self, _: &Chain, _: u64, _: usize) -> Result<Vec<Entry>, Error> {
        unreachable!("nobody lists here")
    }

    async fn last(&self, _: &Chain) -> Result<Option<Entry>, Error> {
        unreachable!("nobody lists here")
    }

    async fn feed(&self, _: Timestamp, _: Option<&FeedItem>, _: usize) -> Result<Vec<FeedItem>, Error> {
        unreachable!("nobody lists here")
    }

    async fn recorded(&self, _: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        unreachable!("nobody lists here")
    }
}

impl Firewalls for Dependencies {
    async fn read(&self, _: &TargetId) -> Result<Snapshot, Error> {
        let answer = Turn(self, |_: &Script| Asks::Read).await;
        let Answer::Read { rules, at } = answer else { return Err(answer.error()) };
        self.script().versions = rules.versions;
        Ok(rules.read(stamp(at)))
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        unreachable!("nobody sweeps here")
    }

    async fn write(&self, _: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        for change in changes {
            self.write_one(change).await?;
        }
        Ok(())
    }
}
