//! The one writer. Whoever waits while it makes a transaction durable shares the next one.

use super::{Failed, tables::Open, unavailable};
use portcullis_app::Error;
use portcullis_domain::Entry;
use redb::{Database, Durability};
use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};
use tokio::sync::{broadcast, mpsc, oneshot};

/// How many writes may wait; whoever comes later waits to wait.
const WAITING_MAX: usize = 1024;
/// How many writes share one transaction.
const SHARED_MAX: usize = 256;
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
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    pub fn start(database: Arc<Database>) -> Result<Self, Error> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING_MAX);
        let (committed, _) = broadcast::channel(HEARD_MAX);
        let tell = committed.clone();
        let write = move || {
            while let Some(first) = waiting.blocking_recv() {
                let mut shared = vec![first];
                while shared.len() < SHARED_MAX
                    && let Ok(job) = waiting.try_recv()
                {
                    shared.push(job);
                }
                together(&database, shared, &tell);
            }
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(write);
        let thread = thread.map_err(|error| unavailable("start the writer")(error.into()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), committed })
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
        let stopped = || unavailable("write the table")("the writer has stopped".into());
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { write: Box::new(write), answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Who waits for a write to be durable.
type Waiting = oneshot::Sender<Result<(), Error>>;

/// One transaction and one sync to disk for all of them.
fn together(database: &Database, jobs: Vec<Job>, tell: &broadcast::Sender<Arc<[Entry]>>) {
    let (mut done, mut entries): (Vec<Waiting>, Vec<Entry>) = (vec![], vec![]);
    match transact(database, jobs, &mut done, &mut entries) {
        Ok(()) => {
            if !entries.is_empty() {
                // Nobody may be listening.
                drop(tell.send(entries.into()));
            }
            for it in done {
                drop(it.send(Ok(())));
            }
        }
        Err(error) => {
            let told = error.to_string();
            for it in done {
                drop(it.send(Err(unavailable("write the table")(told.clone().into()))));
            }
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
