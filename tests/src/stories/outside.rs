//! One worker's way to the world: calls take time, and get lost on the way there or back.

use super::{executor::lock, faults::Lost, log::Actor, world::World};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Error, ports::Clock};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

/// One worker's way to the world, with the worker's own clock.
#[derive(Debug, Clone)]
pub struct Outside {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) worker: u64,
    /// How far its clock is ahead, in milliseconds.
    pub(super) skew: i64,
}

impl Outside {
    /// Time passes before and after the effect, so that others act in between; either way can be the
    /// last.
    pub(super) async fn call<T: Send>(
        &self,
        effect: impl FnOnce(&mut World) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.pause().await;
        let lost = self.world().loses(self.worker);
        if lost == Some(Lost::Unreached) {
            return Err(unavailable("reach it", "lost on the way there"));
        }
        let outcome = effect(&mut self.world());
        self.pause().await;
        match lost {
            Some(Lost::Unheard | Lost::Unreached) => Err(unavailable("hear back", "lost on the way back")),
            None => outcome,
        }
    }

    pub(super) fn pause(&self) -> Pause<'_> {
        let until = self.world().pause(self.worker);
        Pause { outside: self, until, waker: None }
    }

    pub(super) fn until(&self, until: i64) -> Pause<'_> {
        Pause { outside: self, until, waker: None }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub(super) fn actor(&self) -> Actor {
        Actor::Worker(self.worker)
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        self.world().clock(self.skew)
    }

    async fn sleep_until(&self, at: Timestamp) -> Result<(), Error> {
        let at = at.checked_sub(SignedDuration::from_millis(self.skew)).unwrap_or(at);
        let (until, settings) = self.world().wakes_at(at);
        let mut pause = Pause { outside: self, until, waker: None };
        // Early where the clock was set: whoever needs to know looks at it.
        poll_fn(|context| {
            let is_set = self.world().settings != settings;
            let is_over = Pin::new(&mut pause).poll(context).is_ready();
            if is_over || is_set { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(())
    }
}

pub(super) fn unavailable(doing: &'static str, why: &'static str) -> Error {
    Error::Unavailable { doing, source: why.into() }
}

/// Waits for a time of the world. Each wait has its own waker: a worker may wait for several at once.
#[derive(Debug)]
pub(super) struct Pause<'a> {
    outside: &'a Outside,
    until: i64,
    /// Who is to be woken, once: whoever is polled for the sake of another must not be woken the more often.
    waker: Option<Waker>,
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut world = self.outside.world();
        if self.until <= world.time.now {
            return Poll::Ready(());
        }
        if !self.waker.as_ref().is_some_and(|it| it.will_wake(context.waker())) {
            world.time.wake(self.until, context.waker().clone());
            drop(world);
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
