//! A bound on how long a caller waits for the cloud.

use crate::Site;
use portcullis_app::{
    Adoptable, Adoptables, Error, Finding,
    ports::{Adoption, Checkup, Firewalls, Inventory, Machine, Machines, OurRule},
};
use portcullis_domain::{Change, Snapshot, TargetId};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

/// How many questions to a catalogue may outlive their callers, so that a slow answer serves the next one.
const LINGERING_MAX: usize = 4;
static LINGERING: Semaphore = Semaphore::const_new(LINGERING_MAX);

/// The firewalls and the machines of a site, each asked for no longer than `wait`, and not at all if that is zero. Once one of them did not answer in that time,
/// the rest of the same call is not asked at all: it would wait as long again.
pub(crate) struct Patient<S> {
    site: Arc<S>,
    wait: Duration,
    is_silent: AtomicBool,
}

impl<S: Site> Patient<S> {
    pub(crate) fn new(site: &Arc<S>, wait: Duration) -> Self {
        Self { site: Arc::clone(site), wait, is_silent: AtomicBool::new(wait.is_zero()) }
    }

    /// Why the cloud was not heard in time, if it was not.
    pub(crate) fn silence(&self) -> Option<Error> {
        self.is_silent.load(Ordering::Relaxed).then(|| self.silent())
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(self.silent());
        }
        timeout(self.wait, answer).await.unwrap_or_else(|_| {
            self.is_silent.store(true, Ordering::Relaxed);
            Err(self.silent())
        })
    }

    /// The same for what the next caller will ask too: it goes on when this caller waits no longer.
    async fn beyond<T: Send + 'static>(
        &self,
        answer: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let Ok(place) = LINGERING.try_acquire() else { return self.within(answer).await };
        let asked = tokio::spawn(async move {
            let answer = answer.await;
            drop(place);
            answer
        });
        let broken =
            |error: tokio::task::JoinError| Error::Broken { doing: "ask the cloud", source: error.into() };
        self.within(async { asked.await.unwrap_or_else(|error| Err(broken(error))) }).await
    }

    fn silent(&self) -> Error {
        let source = if self.wait.is_zero() {
            "it was not asked".into()
        } else {
            format!("it gave no answer within {} s", self.wait.as_secs_f64()).into()
        };
        Error::Unavailable { doing: "get an answer from the cloud", source }
    }
}

impl<S: Site> Firewalls for Patient<S> {
    async fn read(&self, target: &TargetId) -> Result<Snapshot, Error> {
        self.within(self.site.outside().read(target)).await
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        self.within(self.site.outside().ours()).await
    }

    async fn write(&self, target: Option<&TargetId>, changes: &[Change]) -> Result<(), Error> {
        self.within(self.site.outside().write(target, changes)).await
    }
}

impl<S: Site> Inventory for Patient<S> {
    async fn machines(&self, after: Option<&TargetId>, at_most: usize) -> Result<Machines, Error> {
        let (site, after) = (Arc::clone(&self.site), after.cloned());
        self.beyond(async move { site.outside().machines(after.as_ref(), at_most).await }).await
    }

    async fn machine(&self, id: &TargetId) -> Result<Option<Machine>, Error> {
        let (site, id) = (Arc::clone(&self.site), id.clone());
        self.beyond(async move { site.outside().machine(&id).await }).await
    }

    async fn is_gone(&self, id: &TargetId) -> Result<bool, Error> {
        self.within(self.site.outside().is_gone(id)).await
    }
}

impl<S: Site> Adoption for Patient<S> {
    async fn found(&self) -> Result<Adoptables, Error> {
        self.within(self.site.outside().found()).await
    }

    async fn remove(&self, what: &Adoptable) -> Result<(), Error> {
        self.within(self.site.outside().remove(what)).await
    }
}

impl<S: Site> Checkup for Patient<S> {
    async fn checkup(&self) -> Vec<Finding> {
        self.site.outside().checkup().await
    }
}

impl<S> fmt::Debug for Patient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patient").field("wait", &self.wait).finish_non_exhaustive()
    }
}
