//! Events on EventBridge.

use crate::{pauses::pauses, store::told};
use aws_sdk_eventbridge::{
    Client,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use portcullis_app::{
    Error, Event,
    ports::{Bus, NotPublished},
};
use std::{fmt, time::Duration};

/// Whose events ours are.
pub const SOURCE: &str = "portcullis";
/// How many events EventBridge takes at a time.
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>
const ENTRIES_MAX: usize = 10;
/// How long they may be together, in bytes, as EventBridge counts: source, type, detail and 14 for the time.
const BYTES_MAX: usize = 256 * 1024;
/// What an entry costs besides its source, type and detail, in bytes.
const BYTES_OF_TIME: usize = 14;
/// How often the events that were not taken are put again.
const TRIES_MAX: u32 = 4;
/// How long that waits the first time; twice as long each further time.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A bus of EventBridge.
pub struct EventBus {
    client: Client,
    name: String,
}

/// An event on its way, and its place among those that were to be published.
struct Sent {
    at: usize,
    entry: PutEventsRequestEntry,
    bytes: usize,
}

impl EventBus {
    /// The bus of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    fn sent(&self, at: usize, event: &Event) -> Result<Sent, NotPublished> {
        let not = |why: String| NotPublished { at, why, is_hopeless: true };
        let detail = serde_json::to_string(&event.detail).map_err(|error| not(error.to_string()))?;
        let bytes = SOURCE.len() + event.kind.len() + detail.len() + BYTES_OF_TIME;
        if BYTES_MAX < bytes {
            return Err(not(format!("`{}` has {bytes} bytes: at most {BYTES_MAX}", event.detail.id)));
        }
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(event.kind)
            .time(DateTime::from_secs(event.detail.at.as_second()))
            .detail(detail);
        Ok(Sent { at, entry: entry.build(), bytes })
    }

    /// Puts one batch, and tells which of it were not taken.
    async fn put(&self, batch: Vec<Sent>) -> Result<Vec<(Sent, String)>, Error> {
        let entries = batch.iter().map(|it| it.entry.clone()).collect();
        let answer = self.client.put_events().set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| told("publish events", error))?;
        // A success may still have failures in it.
        let why = |it: &PutEventsResultEntry| {
            let code = it.error_code()?;
            Some(format!("{code}: {}", it.error_message().unwrap_or_default()))
        };
        let mut outcomes = answer.entries().iter().map(why);
        let unanswered = || Some("there was no answer".to_owned());
        let failed = batch.into_iter().filter_map(|sent| {
            let why = outcomes.next().unwrap_or_else(unanswered)?;
            Some((sent, why))
        });
        Ok(failed.collect())
    }
}

impl Bus for EventBus {
    async fn publish(&self, events: &[Event]) -> Result<Vec<NotPublished>, Error> {
        let (mut waiting, mut hopeless) = (vec![], vec![]);
        for (at, event) in events.iter().enumerate() {
            match self.sent(at, event) {
                Ok(sent) => waiting.push(sent),
                Err(not) => hopeless.push(not),
            }
        }
        let mut failed: Vec<(Sent, String)> = vec![];
        let mut pauses = pauses(AFTER_FAILURE, TRIES_MAX - 1);
        loop {
            failed.clear();
            for batch in batches(waiting) {
                failed.extend(self.put(batch).await?);
            }
            if failed.is_empty() {
                break;
            }
            let Some(pause) = pauses.next() else { break };
            tokio::time::sleep(pause).await;
            waiting = failed.drain(..).map(|(sent, _)| sent).collect();
        }
        let failed =
            failed.into_iter().map(|(sent, why)| NotPublished { at: sent.at, why, is_hopeless: false });
        Ok(hopeless.into_iter().chain(failed).collect())
    }
}

/// In their order, each as long as EventBridge takes it.
fn batches(events: Vec<Sent>) -> Vec<Vec<Sent>> {
    let mut batches: Vec<Vec<Sent>> = vec![];
    let mut bytes = 0;
    for event in events {
        match batches.last_mut() {
            Some(batch) if batch.len() < ENTRIES_MAX && bytes + event.bytes <= BYTES_MAX => {
                bytes += event.bytes;
                batch.push(event);
            }
            Some(_) | None => {
                bytes = event.bytes;
                batches.push(vec![event]);
            }
        }
    }
    batches
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: usize, bytes: usize) -> Sent {
        Sent { at, entry: PutEventsRequestEntry::builder().build(), bytes }
    }

    #[test]
    fn a_batch_is_as_long_as_eventbridge_takes_it() {
        let lengths = |bytes: Vec<usize>| {
            let events = bytes.into_iter().enumerate().map(|(at, bytes)| sent(at, bytes)).collect();
            batches(events).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(vec![1; 25]), [10, 10, 5]);
        assert_eq!(lengths(vec![BYTES_MAX, 1, BYTES_MAX - 1, 1]), [1, 2, 1]);
        assert_eq!(lengths(vec![]), Vec::<usize>::new());
    }
}
