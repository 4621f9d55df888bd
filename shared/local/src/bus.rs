//! The bus of one process: whoever listens now hears it.

use portcullis_app::{
    Error, Event,
    ports::{Bus, NotPublished},
};
use tokio::sync::broadcast;

/// How many events a slow subscriber may be behind.
const HEARD_MAX: usize = 1024;

/// A bus without memory; what must not be lost is in the journal.
#[derive(Debug)]
pub struct LocalBus(broadcast::Sender<Event>);

impl LocalBus {
    /// Everything that is published from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self(broadcast::channel(HEARD_MAX).0)
    }
}

impl Bus for LocalBus {
    async fn publish(&self, events: &[Event]) -> Result<Vec<NotPublished>, Error> {
        for event in events {
            // Nobody may be listening: that is no failure of a bus.
            drop(self.0.send(event.clone()));
        }
        Ok(vec![])
    }
}
