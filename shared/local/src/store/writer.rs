//! The one writer. Whoever waits while it makes a transaction durable shares the next one.

use super::{Failed, file::File, tables::Open, unavailable};
use portcullis_app::Error;
use portcullis_domain::Entry;
use redb::{Database, Durability};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{broadcast, mpsc, oneshot};

/// How many writes may wait; whoever comes later waits to wait.
const WAITING_MAX: usize = 1024;
/// How many writes share one transaction.
const SHARED_MAX: usize = 256;
/// How long the writer rests when the file cannot be opened anew.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How many commits a slow subscriber may be behind.
const HEARD_MAX: usize = 1024;

type Write = Box<dyn FnOnce(&mut Open<'_>) -> Result<Vec<Entry>, Failed> + Send>;

struct Job {
    write: Write,
    answer: oneshot::Sender<Result<(), Error>>,
}

/// A thread with the only write transactions.
#[derive(Debug)]
pub struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    committed: broadcast::Sender<Arc<[Entry]>>,
    /// Could the last write be made?
    is_sound: Arc<AtomicBool>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    pub fn start(file: Arc<File>) -> Result<Self, Error> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING_MAX);
        let (committed, _) = broadcast::channel(HEARD_MAX);
        let (tell, is_sound) = (committed.clone(), Arc::new(AtomicBool::new(true)));
        let told = Arc::clone(&is_sound);
        let write = move || {
            while let Some(first) = waiting.blocking_recv() {
                let mut shared = vec![first];
                while shared.len() < SHARED_MAX
                    && let Ok(job) = waiting.try_recv()
                {
                    shared.push(job);
                }
                // The library panics on some failures of the disk; whoever waits is then not answered, which
                // they take for a failure.
                let sound =
                    catch_unwind(AssertUnwindSafe(|| together(&file, shared, &tell))).unwrap_or(false);
                told.store(sound, Ordering::Relaxed);
                if !sound {
                    mend(&file, &mut waiting);
                }
            }
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(write);
        let thread = thread.map_err(|error| unavailable("start the writer")(error.into()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), committed, is_sound })
    }

    /// Could the last write be made durable?
    pub fn is_sound(&self) -> bool {
        self.is_sound.load(Ordering::Relaxed)
    }

    /// Everything that is committed from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<[Entry]>> {
        self.committed.subscribe()
    }

    /// Does all of a write, durably, or nothing of it. Must check before it changes.
    pub async fn write(
        &self,
        write: impl FnOnce(&mut Open<'_>) -> Result<Vec<Entry>, Failed> + Send + 'static,
    ) -> Result<(), Error> {
        let stopped = || unavailable("write the table")("nobody says whether it is durable".into());
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { write: Box::new(write), answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Opens the file anew, however long that takes: until then nobody can read either.
fn mend(file: &File, waiting: &mut mpsc::Receiver<Job>) {
    while let Err(error) = file.reopen() {
        tracing::error!(error = error.full(), "The table cannot be opened anew, and is tried again");
        // Whoever waits would wait in vain: not answered, they take it for a failure.
        while waiting.try_recv().is_ok() {}
        if waiting.is_closed() {
            return;
        }
        thread::sleep(AFTER_FAILURE);
    }
}

/// Who waits for a write to be durable.
type Waiting = oneshot::Sender<Result<(), Error>>;

/// One transaction and one sync to disk for all of them; says whether the file is still good.
fn together(file: &File, jobs: Vec<Job>, tell: &broadcast::Sender<Arc<[Entry]>>) -> bool {
    let (mut done, mut entries): (Vec<Waiting>, Vec<Entry>) = (vec![], vec![]);
    let outcome = match file.database() {
        Ok(database) => transact(&database, jobs, &mut done, &mut entries).map_err(|error| error.to_string()),
        Err(error) => {
            done.extend(jobs.into_iter().map(|it| it.answer));
            Err(error.full())
        }
    };
    match outcome {
        Ok(()) => {
            if !entries.is_empty() {
                // Nobody may be listening.
                drop(tell.send(entries.into()));
            }
            for it in done {
                drop(it.send(Ok(())));
            }
            true
        }
        Err(why) => {
            tracing::error!(error = why, "Nothing was written");
            for it in done {
                drop(it.send(Err(unavailable("write the table")(why.clone().into()))));
            }
            false
        }
    }
}

fn transact(
    database: &Database,
    jobs: Vec<Job>,
    done: &mut Vec<Waiting>,
    entries: &mut Vec<Entry>,
) -> Result<(), redb::Error> {
    let mut torn = None;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut open = Open::of(&transaction)?;
        for Job { write, answer } in jobs {
            if torn.is_some() {
                done.push(answer);
                continue;
            }
            match write(&mut open) {
                Ok(recorded) => {
                    entries.extend(recorded);
                    done.push(answer);
                }
                Err(Failed::Whole(error)) => drop(answer.send(Err(error))),
                Err(Failed::Torn(error)) => {
                    torn = Some(error);
                    done.push(answer);
                }
            }
        }
    }
    match torn {
        // What was half written is gone with the transaction; everybody in it tries again.
        Some(error) => {
            transaction.abort()?;
            Err(error)
        }
        None => Ok(transaction.commit()?),
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
