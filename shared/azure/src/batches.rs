//! Writes that are shared: an Azure Firewall is written as a whole, which takes minutes. Whatever others want of
//! it by the time that somebody's turn has come is written along.

use crate::{
    retry::BUDGET,
    turns::{Rank, Turn, Turns},
};
use portcullis_app::Error;
use portcullis_domain::FirewallId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout_at};

/// How long somebody waits for others who want the same firewall at the same time, before it is their turn.
const GATHER: Duration = Duration::from_millis(20);
const WRITE: &str = "write the rules of a firewall";

/// Who waits for which firewall.
#[derive(Debug)]
pub struct Batches<T> {
    turns: Turns,
    waiting: Mutex<Waiting<T>>,
}

type Waiting<T> = BTreeMap<FirewallId, Vec<Arc<Want<T>>>>;

/// What one writer wants, and what has become of it.
#[derive(Debug)]
struct Want<T> {
    what: T,
    fate: Mutex<Fate>,
}

#[derive(Debug, Clone)]
enum Fate {
    /// To be written with what others want.
    Open,
    /// What it was part of was refused, and nobody knows for whose sake.
    Alone,
    /// It was written with what others want, and this came of it.
    Told(Told),
}

/// What came of a write, for those who had it made by another one.
#[derive(Debug, Clone)]
enum Told {
    Done,
    Conflict,
    Unavailable(String),
}

/// What becomes of somebody who wants something written.
#[derive(Debug)]
pub enum Joined<'a, T> {
    /// Another one has written it.
    Told(Result<(), Error>),
    /// It is their turn, for all of these.
    Mine(Batch<'a, T>),
}

/// One's turn to write what everybody wants who waits. Who gives it up untold leaves it to the next one.
#[must_use = "a waiting writer must get its result"]
#[derive(Debug)]
pub struct Batch<'a, T> {
    all: Vec<Arc<Want<T>>>,
    mine: Place<'a, T>,
    _turn: Turn,
}

/// A place among those who wait, until it is dropped: what nobody waits for any more is not written.
#[derive(Debug)]
struct Place<'a, T> {
    batches: &'a Batches<T>,
    id: FirewallId,
    want: Arc<Want<T>>,
}

impl<T> Batches<T> {
    /// Waits until it is one's turn at a firewall, or another one has written what one wants.
    pub async fn join(&self, id: &FirewallId, what: T) -> Result<Joined<'_, T>, Error> {
        let until = Instant::now() + BUDGET;
        let want = Arc::new(Want { what, fate: Mutex::new(Fate::Open) });
        self.waiting().entry(id.clone()).or_default().push(Arc::clone(&want));
        let mine = Place { batches: self, id: id.clone(), want };
        sleep(GATHER).await;
        let turn = timeout_at(until, self.turn(id)).await;
        match mine.want.fate() {
            Fate::Told(told) => return Ok(Joined::Told(told.into())),
            Fate::Open | Fate::Alone => {}
        }
        let turn = turn.map_err(|_| Error::Unavailable {
            doing: WRITE,
            source: format!("other writers hold `{id}` for too long").into(),
        })?;
        let all = match mine.want.fate() {
            Fate::Open => self.open(id),
            Fate::Alone | Fate::Told(_) => vec![Arc::clone(&mine.want)],
        };
        Ok(Joined::Mine(Batch { all, mine, _turn: turn }))
    }

    /// One's turn at a firewall, to write there what nobody else could write along.
    pub async fn turn(&self, id: &FirewallId) -> Turn {
        self.turns.take(id.as_str(), Rank::Shuts).await
    }

    fn open(&self, id: &FirewallId) -> Vec<Arc<Want<T>>> {
        let waiting = self.waiting();
        let all = waiting.get(id).into_iter().flatten();
        all.filter(|it| matches!(it.fate(), Fate::Open)).cloned().collect()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Batch<'_, T> {
    /// What is to be written, in the order in which it was asked for.
    pub fn all(&self) -> Vec<&T> {
        self.all.iter().map(|it| &it.what).collect()
    }

    /// Is any of it somebody else's?
    pub fn is_shared(&self) -> bool {
        1 < self.all.len()
    }

    /// Leaves everybody to write what they want by themselves: together it was refused.
    pub fn part(&mut self) {
        for it in self.all.drain(..) {
            it.set(Fate::Alone);
        }
        self.all.push(Arc::clone(&self.mine.want));
    }

    /// Tells everybody what came of it.
    pub fn tell(self, outcome: Result<(), Error>) -> Result<(), Error> {
        let told = match &outcome {
            Ok(()) => Told::Done,
            Err(Error::Conflict) => Told::Conflict,
            Err(
                error @ (Error::Unavailable { .. }
                | Error::Refused(_)
                | Error::NotFound { .. }
                | Error::Broken { .. }),
            ) => Told::Unavailable(error.full()),
        };
        for it in &self.all {
            it.set(Fate::Told(told.clone()));
        }
        outcome
    }
}

impl<T> Want<T> {
    fn fate(&self) -> Fate {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap_or_else(PoisonError::into_inner) = fate;
    }
}

impl From<Told> for Result<(), Error> {
    fn from(told: Told) -> Self {
        match told {
            Told::Done => Ok(()),
            Told::Conflict => Err(Error::Conflict),
            Told::Unavailable(why) => Err(Error::Unavailable { doing: WRITE, source: why.into() }),
        }
    }
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self { turns: Turns::default(), waiting: Mutex::default() }
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut waiting = self.batches.waiting();
        if let Some(all) = waiting.get_mut(&self.id) {
            all.retain(|it| !Arc::ptr_eq(it, &self.want));
        }
        waiting.retain(|_, all| !all.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    /// How long a write takes here.
    const LONG: Duration = Duration::from_secs(5);

    /// A firewall that refuses a zero, and all that was written to it.
    #[derive(Default)]
    struct Wall {
        batches: Batches<u32>,
        written: Mutex<Vec<Vec<u32>>>,
    }

    fn id() -> FirewallId {
        "wall".parse().expect("an id")
    }

    impl Wall {
        async fn put(&self, all: Vec<u32>) -> Result<(), Error> {
            sleep(LONG).await;
            let is_bad = all.contains(&0);
            self.written.lock().expect("not poisoned").push(all);
            if is_bad { Err(Error::Broken { doing: "write", source: "a zero".into() }) } else { Ok(()) }
        }

        async fn write(&self, what: u32) -> Result<(), Error> {
            let mut batch = match self.batches.join(&id(), what).await? {
                Joined::Told(told) => return told,
                Joined::Mine(batch) => batch,
            };
            let outcome = self.put(batch.all().into_iter().copied().collect()).await;
            if outcome.is_err() && batch.is_shared() {
                batch.part();
                let alone = self.put(batch.all().into_iter().copied().collect()).await;
                return batch.tell(alone);
            }
            batch.tell(outcome)
        }

        fn written(&self) -> Vec<Vec<u32>> {
            self.written.lock().expect("not poisoned").clone()
        }
    }

    async fn after<T>(wait: Duration, what: impl Future<Output = T>) -> T {
        sleep(wait).await;
        what.await
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_the_same_time_are_one_write() {
        let wall = Wall::default();
        let early = join_all((1..=3).map(|it| wall.write(it)));
        let late = join_all((4..=6).map(|it| after(Duration::from_secs(1), wall.write(it))));
        let (early, late) = tokio::join!(early, late);
        assert!(early.iter().chain(&late).all(Result::is_ok));
        assert_eq!(wall.written(), [vec![1, 2, 3], vec![4, 5, 6]]);
        assert!(wall.batches.waiting().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn changes_refused_together_are_tried_alone() {
        let wall = Wall::default();
        let all = join_all([1, 0].map(|it| wall.write(it))).await;
        assert_eq!(all.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
        assert_eq!(wall.written(), [vec![1, 0], vec![1], vec![0]]);
    }

    /// INVARIANT (twice-is-once): it may have been written, and is written again by whoever is next.
    #[tokio::test(start_paused = true)]
    async fn a_writer_that_dies_leaves_its_changes_to_the_next() {
        let wall = Wall::default();
        let short = tokio::time::timeout(LONG / 2, wall.write(1));
        // In time to be written along, and after whose turn it is.
        let (died, lived) = tokio::join!(short, after(GATHER / 2, wall.write(2)));
        assert!(died.is_err() && lived.is_ok());
        assert_eq!(wall.written(), [vec![2]], "and what the dead one wanted is wanted no more");
    }

    #[tokio::test(start_paused = true)]
    async fn no_writer_waits_longer_than_a_worker_lives() {
        let wall = Wall::default();
        let Ok(Joined::Mine(batch)) = wall.batches.join(&id(), 1).await else {
            panic!("nobody else is there")
        };
        let began = Instant::now();
        let error = wall.write(2).await.expect_err("it takes too long");
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(began.elapsed(), BUDGET);
        batch.tell(Ok(())).expect("told");
    }
}
