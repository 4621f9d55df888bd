//! What the use cases see of the small world. Each call waits until the search has chosen what becomes of it.

use super::{
    fault::Fault,
    world::{Call, Verdict, World},
};
use jiff::Timestamp;
use portcullis_app::{
    Error,
    ports::{Batch, Due, Firewalls, GrantFilter, OurRule, Page, PageAsked, RequestFilter, Seen, Store},
};
use portcullis_domain::{
    Chain, Change, ChangeTo, Entry, Grant, GrantId, Head, Request, RequestId, Snapshot, Target, TargetId,
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

/// One actor's way to the world.
#[derive(Debug, Clone)]
pub(super) struct Dependencies {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) actor: usize,
}

/// Waits until the search has chosen.
struct Turn<'a> {
    dependencies: &'a Dependencies,
    call: Call,
}

impl Dependencies {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("one thread")
    }

    async fn call<T: Send>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut World) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let fault = Turn { dependencies: self, call }.await;
        let mut world = self.world();
        let outcome = match fault {
            Some(Fault::Unreached) => Err(unavailable("reach it")),
            Some(Fault::Unheard) => effect(&mut world).and(Err(unavailable("hear back"))),
            Some(
                Fault::Dies
                | Fault::Starved
                | Fault::Late
                | Fault::LateUnheard
                | Fault::Doubled
                | Fault::GrowthRefused
                | Fault::RewriteRefused
                | Fault::DeletionRefused
                | Fault::NoSpace
                | Fault::ClockBack,
            )
            | None => effect(&mut world),
        };
        let told = match &outcome {
            Ok(_) => (0, world.digest_of_call(call)),
            Err(Error::Conflict) => (1, 0),
            Err(_) => (2, 0),
        };
        world.tell(self.actor, told);
        outcome
    }

    /// As an adapter does it: a rule that may not be deleted is written over, so that it speaks of nobody.
    async fn write_one(&self, change: &Change) -> Result<(), Error> {
        let outcome = self.send(change).await;
        if !matches!(outcome, Err(Error::Broken { .. })) || change.to != ChangeTo::Delete {
            return outcome;
        }
        let Some(retiring) = self.world().retiring(change) else { return outcome };
        self.send(&retiring).await
    }

    async fn send(&self, change: &Change) -> Result<(), Error> {
        self.world().desks[self.actor].writes = Some(change.clone());
        let fault = Turn { dependencies: self, call: Call::Write }.await;
        let mut world = self.world();
        world.desks[self.actor].writes = None;
        if fault != Some(Fault::Unreached) {
            world.wrote(self.actor, change);
        }
        let outcome = match fault {
            Some(Fault::Unreached) => Err(unavailable("reach it")),
            Some(Fault::Unheard) => world.land(change).and(Err(unavailable("hear back"))),
            Some(Fault::Late) => {
                world.delay(change);
                Ok(())
            }
            Some(Fault::LateUnheard) => {
                world.delay(change);
                Err(unavailable("hear back"))
            }
            Some(Fault::Doubled) => {
                world.delay(change);
                world.land(change).map(|_| ())
            }
            Some(
                Fault::Dies
                | Fault::Starved
                | Fault::GrowthRefused
                | Fault::RewriteRefused
                | Fault::DeletionRefused
                | Fault::NoSpace
                | Fault::ClockBack,
            )
            | None => world.land(change).map(|_| ()),
        };
        // What stands decides what a rule is written over with.
        let told = match &outcome {
            Ok(()) => (0, 0),
            Err(Error::Conflict) => (1, 0),
            Err(Error::Broken { .. }) => (2, world.digest_of_call(Call::Read)),
            Err(_) => (3, 0),
        };
        world.tell(self.actor, told);
        outcome
    }
}

impl Store for Dependencies {
    async fn target(&self, id: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        self.call(Call::Load, |world| Ok(world.load(id))).await
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Error> {
        self.call(Call::Load, |world| Ok(world.grant_of(id))).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.call(Call::Commit, |world| world.commit(self.actor, batch)).await
    }

    async fn request(&self, _: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        unreachable!("nobody decides here")
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
}

impl Firewalls for Dependencies {
    async fn read(&self, _: &TargetId) -> Result<Snapshot, Error> {
        self.call(Call::Read, |world| Ok(world.read())).await
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

impl Future for Turn<'_> {
    type Output = Option<Fault>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Fault>> {
        let mut world = self.dependencies.world();
        let desk = &mut world.desks[self.dependencies.actor];
        if let Some(Verdict(fault)) = desk.verdict.take() {
            desk.pending = None;
            return Poll::Ready(fault);
        }
        desk.pending = Some((self.call, context.waker().clone()));
        Poll::Pending
    }
}

pub(super) fn unavailable(doing: &'static str) -> Error {
    Error::Unavailable { doing, source: "lost".into() }
}
