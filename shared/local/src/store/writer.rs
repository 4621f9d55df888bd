//! The one writer. Whoever waits while it makes a transaction durable shares the next one.
//!
//! Where the disk is full, what shuts goes on (`Standing`): first durably, in pages that a reserve gives up; and where
//! nothing can be written at all, in memory, recorded in its order as soon as it can be.

use super::{
    class::Class,
    failed::{Failed, unavailable},
    file::{File, Opened},
    reserve,
    tables::Open,
    transaction::{Trouble, begin, finish},
};
use portcullis_app::Error;
use portcullis_domain::Entry;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::{
    broadcast,
    mpsc::{self, error::TryRecvError},
    oneshot, watch,
};

/// How many writes may wait; whoever comes later waits to wait.
const WAITING_MAX: usize = 1024;
/// How many writes share one transaction.
const SHARED_MAX: usize = 256;
/// How often it is tried whether the disk is as it should be again.
const RECOVER_EVERY: Duration = Duration::from_secs(1);
/// How often a new write is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often one transaction is tried, each time after something was done about why it failed.
const TRIES_MAX: usize = 5;
/// How many commits a slow subscriber may be behind.
const HEARD_MAX: usize = 1024;
/// How many commits are kept in memory to be recorded late; the clock cannot go on without a disk for longer.
const KEPT_MAX: usize = 100_000;

type Write = Box<dyn Fn(&mut Open<'_>) -> Result<Vec<Entry>, Failed> + Send>;

struct Job {
    class: Class,
    write: Write,
    answer: oneshot::Sender<Result<(), Error>>,
}

/// How the table stands with its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is written.
    Sound,
    /// The disk has no room for the table to grow: what callers ask for is refused, what shuts is written into what
    /// was kept back.
    Low,
    /// Nothing can be written: what shuts is kept in memory, and recorded later. What a caller takes away takes effect,
    /// and is not acknowledged.
    Unwritten,
    /// It cannot even be read.
    Down,
}

/// A thread with the only write transactions.
#[derive(Debug)]
pub struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    committed: broadcast::Sender<Arc<[Entry]>>,
    commits: watch::Sender<u64>,
    seen: Arc<Seen>,
}

/// What others may know of the writer.
#[derive(Debug)]
struct Seen {
    standing: AtomicU8,
    /// When a write was last made durable.
    written: Mutex<Option<Instant>>,
    /// What was last wrong with the disk.
    outage: Mutex<Option<Outage>>,
}

/// A time in which the table was not written as ever.
#[derive(Debug, Clone)]
struct Outage {
    from: Instant,
    /// None while it lasts.
    to: Option<Instant>,
    why: String,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Standing {
    /// The one that is kept as this number.
    fn of(number: u8) -> Self {
        let all = [Self::Sound, Self::Low, Self::Unwritten, Self::Down];
        all.into_iter().find(|it| *it as u8 == number).unwrap_or(Self::Down)
    }
}

impl Writer {
    pub fn start(file: Arc<File>) -> Result<Self, Error> {
        let (jobs, waiting) = mpsc::channel::<Job>(WAITING_MAX);
        let ((committed, _), (commits, _)) = (broadcast::channel(HEARD_MAX), watch::channel(0));
        let (standing, written) = (AtomicU8::new(0), Mutex::new(None));
        let seen = Arc::new(Seen { standing, written, outage: Mutex::new(None) });
        let desk = Desk {
            file,
            standing: Standing::Sound,
            why: String::new(),
            kept: vec![],
            tried: now(),
            reserved: None,
            tell: committed.clone(),
            commits: commits.clone(),
            seen: Arc::clone(&seen),
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || desk.serve(waiting));
        let thread = thread.map_err(|error| unavailable("start the writer")(error.into()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), committed, commits, seen })
    }

    /// How the table stands with its disk.
    pub fn standing(&self) -> Standing {
        Standing::of(self.seen.standing.load(Ordering::SeqCst))
    }

    /// Since how long ago, and until how long ago, the disk was last not as it should be, and why.
    pub fn outage(&self) -> Option<(Duration, Duration, String)> {
        let outage = self.seen.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let until = |it: &Outage| it.to.map_or(Duration::ZERO, |to| to.elapsed());
        outage.as_ref().map(|it| (it.from.elapsed(), until(it), it.why.clone()))
    }

    /// Was a write made durable so short a time ago, and is all well since?
    pub fn wrote_within(&self, time: Duration) -> bool {
        let written = *self.seen.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.standing() == Standing::Sound && written.is_some_and(|at| at.elapsed() < time)
    }

    /// Everything that is committed from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<[Entry]>> {
        self.committed.subscribe()
    }

    /// Changes with everything that is committed from now on.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Does all of a write, durably, or nothing of it. Must check before it changes; may be done again, where what it
    /// changed was given up.
    pub async fn write(
        &self,
        class: Class,
        write: impl Fn(&mut Open<'_>) -> Result<Vec<Entry>, Failed> + Send + 'static,
    ) -> Result<(), Error> {
        let stopped = || unavailable("write the table")("it is unknown whether the commit is durable".into());
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { class, write: Box::new(write), answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// What one job came to: its entries, or why it changed nothing.
type Outcome = Result<Vec<Entry>, Error>;

/// What the writer's thread works with.
struct Desk {
    file: Arc<File>,
    standing: Standing,
    /// Why it is not sound.
    why: String,
    /// What was committed in memory alone, in its order.
    kept: Vec<Write>,
    /// When it was last tried whether the disk is as it should be again.
    tried: Instant,
    /// How many parts the reserve has; unknown after the table was opened.
    reserved: Option<u64>,
    tell: broadcast::Sender<Arc<[Entry]>>,
    commits: watch::Sender<u64>,
    seen: Arc<Seen>,
}

impl Desk {
    fn serve(mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = self.next(&mut waiting) {
            let mut shared = vec![first];
            while shared.len() < SHARED_MAX
                && let Ok(job) = waiting.try_recv()
            {
                shared.push(job);
            }
            self.look_at_the_disk();
            self.commit(shared);
            self.keep_back();
        }
        if !self.kept.is_empty() {
            self.tried = now().checked_sub(RECOVER_EVERY).unwrap_or(self.tried);
            self.recover();
        }
        if !self.kept.is_empty() {
            let lost = self.kept.len();
            tracing::error!(
                lost,
                "Commits were kept in memory alone, and are lost; the firewalls are read at the next start"
            );
        }
    }

    /// The next job. While something is wrong with the disk, it is tried meanwhile whether it still is.
    fn next(&mut self, waiting: &mut mpsc::Receiver<Job>) -> Option<Job> {
        while self.standing != Standing::Sound {
            match waiting.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            thread::sleep(LOOK_EVERY);
            self.recover();
        }
        waiting.blocking_recv()
    }

    /// Is a full disk full still, and one that was not full yet?
    fn look_at_the_disk(&mut self) {
        if self.standing != Standing::Sound {
            self.recover();
        } else if RECOVER_EVERY <= self.tried.elapsed() {
            self.tried = now();
            if self.file.is_nearly_full() {
                self.become_low();
            }
        }
    }

    /// One transaction and one sync to disk for all of them.
    fn commit(&mut self, jobs: Vec<Job>) {
        let mut was_torn = false;
        for _ in 0..TRIES_MAX {
            let why = match self.attempt(|desk, opened| desk.transact(opened, &jobs)) {
                Ok(outcomes) => return self.answer(jobs, outcomes),
                Err(Trouble::NoRoom) if self.standing == Standing::Sound => {
                    self.become_low();
                    continue;
                }
                Err(Trouble::NoRoom) => {
                    "the disk is full, and so is the space reserved for closings".to_owned()
                }
                Err(Trouble::Torn(why)) => why,
            };
            if matches!(self.standing, Standing::Unwritten | Standing::Down) {
                self.stand(Standing::Down, why);
                break;
            }
            tracing::error!(error = why, "A commit was not written");
            // What the library took for an error for ever may be over.
            let is_open = self.reopen();
            let (is_written, is_fit) = (is_open && self.file.is_written(), is_open && self.file.is_fit());
            if is_fit && was_torn {
                // It is not the disk.
                self.why = why;
                break;
            }
            if is_written && self.standing == Standing::Sound {
                if !is_fit {
                    self.become_low();
                }
            } else {
                self.become_unwritten(why);
            }
            was_torn = true;
        }
        for job in jobs {
            drop(job.answer.send(Err(unavailable("write the table")(self.why.clone().into()))));
        }
    }

    /// Does something with the database. A panic of the library is a failure of its disk.
    fn attempt<T>(&self, work: impl FnOnce(&Self, &Opened) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let torn = |why: String| Err(Trouble::Torn(why));
        match catch_unwind(AssertUnwindSafe(|| self.file.with(|opened| work(self, opened)))) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => torn(error.full()),
            Err(_) => torn("the library panicked".to_owned()),
        }
    }

    fn transact(&self, opened: &Opened, jobs: &[Job]) -> Result<Vec<Outcome>, Trouble> {
        let transaction = begin(opened)?;
        let mut outcomes = vec![];
        {
            let mut open = Open::of(&transaction)?;
            for job in jobs {
                let is_kept = self.standing == Standing::Unwritten;
                let is_over = is_kept && KEPT_MAX <= self.kept.len() + outcomes.len();
                if is_over || job.class == Class::Asks && self.standing != Standing::Sound {
                    outcomes.push(Err(self.refusal()));
                    continue;
                }
                match (job.write)(&mut open) {
                    Ok(entries) => outcomes.push(Ok(entries)),
                    Err(Failed::Whole(error)) => outcomes.push(Err(error)),
                    // What is half written goes with the transaction.
                    Err(Failed::Torn(error)) => return Err(error.into()),
                }
            }
        }
        if outcomes.iter().any(Result::is_ok) {
            finish(opened, transaction)?;
        } else {
            transaction.abort()?;
        }
        Ok(outcomes)
    }

    /// Answers each job, and tells what was committed.
    fn answer(&mut self, jobs: Vec<Job>, outcomes: Vec<Outcome>) {
        let mut entries = vec![];
        let mut answers = vec![];
        for (Job { class, write, answer }, outcome) in jobs.into_iter().zip(outcomes) {
            let told = match outcome {
                Ok(recorded) => {
                    entries.extend(recorded);
                    if self.standing == Standing::Unwritten {
                        self.kept.push(write);
                        if class == Class::Settles { Ok(()) } else { Err(self.refusal()) }
                    } else {
                        Ok(())
                    }
                }
                Err(error) => Err(error),
            };
            answers.push((answer, told));
        }
        if !entries.is_empty() {
            // Nobody may be listening.
            drop(self.tell.send(entries.into()));
            self.commits.send_modify(|count| *count += 1);
        }
        if self.standing != Standing::Unwritten {
            *self.seen.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(now());
        }
        for (answer, told) in answers {
            drop(answer.send(told));
        }
    }

    /// Why a caller's commit is refused.
    fn refusal(&self) -> Error {
        match self.standing {
            Standing::Sound | Standing::Low => self.file.full(),
            Standing::Unwritten | Standing::Down => unavailable(UNWRITTEN)(self.why.clone().into()),
        }
    }

    /// After every transaction a part of the reserve, until it is whole.
    fn keep_back(&mut self) {
        if self.standing != Standing::Sound || self.reserved.is_some_and(|it| reserve::PARTS_MAX <= it) {
            return;
        }
        match self.attempt(|_, opened| reserve::fill(opened, 1)) {
            Ok(reserved) => self.reserved = Some(reserved),
            Err(Trouble::NoRoom) => self.become_low(),
            // Whoever commits next meets the same.
            Err(Trouble::Torn(_)) => self.reserved = None,
        }
    }

    /// Refuses callers from now on, and gives up the reserve to what shuts.
    fn become_low(&mut self) {
        let why = self.file.full().full();
        self.stand(Standing::Low, why);
        if let Err(trouble) = self.attempt(|_, opened| reserve::give_up(opened)) {
            tracing::debug!(?trouble, "The reserved space was not released");
        }
        self.reserved = None;
    }

    fn become_unwritten(&mut self, why: String) {
        self.stand(Standing::Unwritten, why);
        self.begin_in_memory();
    }

    /// Goes on in memory from what the file holds, with what was kept in memory before.
    fn begin_in_memory(&mut self) {
        let opened = self.file.reopen_in_memory();
        let replayed = match opened {
            Ok(()) => self.attempt(|desk, opened| replay(opened, &desk.kept)),
            Err(error) => Err(Trouble::Torn(error.full())),
        };
        if let Err(trouble) = replayed {
            self.stand(Standing::Down, format!("{trouble:?}"));
        }
    }

    fn reopen(&self) -> bool {
        match self.file.reopen() {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = error.full(), "The table cannot be reopened");
                false
            }
        }
    }

    /// Is the disk as it should be again? Then what was kept in memory is recorded, and callers are served.
    fn recover(&mut self) {
        if self.standing == Standing::Sound || self.tried.elapsed() < RECOVER_EVERY {
            return;
        }
        self.tried = now();
        if self.standing == Standing::Down {
            self.stand(Standing::Unwritten, self.why.clone());
            self.begin_in_memory();
        }
        if self.standing == Standing::Down || !self.file.is_fit() {
            return;
        }
        let is_kept_in_memory = self.standing == Standing::Unwritten;
        if is_kept_in_memory && !self.reopen() {
            self.begin_in_memory();
            return;
        }
        if is_kept_in_memory {
            if let Err(trouble) = self.attempt(|desk, opened| replay(opened, &desk.kept)) {
                // It was a moment only.
                tracing::warn!(?trouble, "The table still cannot be written");
                self.begin_in_memory();
                return;
            }
            tracing::info!(
                recorded_late = self.kept.len(),
                "The commits that were kept in memory are recorded"
            );
            self.kept.clear();
            self.stand(Standing::Low, self.why.clone());
        }
        match self.attempt(|_, opened| reserve::fill(opened, reserve::PARTS_MAX)) {
            Ok(reserved) => {
                self.reserved = Some(reserved);
                *self.seen.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(now());
                self.stand(Standing::Sound, String::new());
                tracing::info!("The table is written normally again");
            }
            Err(Trouble::NoRoom) => {}
            // Whoever commits next meets the same.
            Err(trouble @ Trouble::Torn(_)) => {
                tracing::warn!(?trouble, "The reserved space was not restored");
            }
        }
    }

    fn stand(&mut self, standing: Standing, why: String) {
        if self.standing != standing {
            match standing {
                Standing::Sound => {}
                Standing::Low => {
                    tracing::error!(why, "The disk is full: callers are refused, and leases still end");
                }
                Standing::Unwritten => {
                    tracing::error!(
                        why,
                        "The table cannot be written: callers are refused, and leases still end, recorded in memory"
                    );
                }
                Standing::Down => tracing::error!(why, "The table can be neither written nor read"),
            }
        }
        let mut outage = self.seen.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match (standing, outage.as_mut().filter(|it| it.to.is_none())) {
            (Standing::Sound, Some(lasting)) => lasting.to = Some(now()),
            (Standing::Sound, None) => {}
            (Standing::Low | Standing::Unwritten | Standing::Down, Some(lasting)) => {
                lasting.why.clone_from(&why);
            }
            (Standing::Low | Standing::Unwritten | Standing::Down, None) => {
                *outage = Some(Outage { from: now(), to: None, why: why.clone() });
            }
        }
        drop(outage);
        (self.standing, self.why) = (standing, why);
        self.seen.standing.store(standing as u8, Ordering::SeqCst);
    }
}

impl Drop for Writer {
    /// What was accepted is written; then the file is free.
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how often a disk is tried is no matter of what is recorded")]
fn now() -> Instant {
    Instant::now()
}

/// Callers are told so: why is for the operator.
const UNWRITTEN: &str = "record this: the table cannot be written. Leases still end";

/// What was committed in memory alone, again, in its order.
fn replay(opened: &Opened, kept: &[Write]) -> Result<(), Trouble> {
    if kept.is_empty() {
        return Ok(());
    }
    let transaction = begin(opened)?;
    {
        let mut open = Open::of(&transaction)?;
        for write in kept {
            match write(&mut open) {
                Err(Failed::Torn(error)) => return Err(error.into()),
                // It is in the file already: the disk told of a failure that was none.
                Ok(_) | Err(Failed::Whole(Error::Conflict)) => {}
                Err(Failed::Whole(error)) => {
                    tracing::error!(error = error.full(), "A commit that was kept in memory is not recorded");
                }
            }
        }
    }
    finish(opened, transaction)
}
