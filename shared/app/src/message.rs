//! What is delivered at least once and in any order: messages of a queue, and the records of a stream that is told in order.

use crate::{
    Error, live,
    ports::{Clock, Firewalls, Store},
    settle_on,
};
use futures_util::future::join_all;
use portcullis_domain::{ClaimToken, CorrelationId, holds_token};
use serde_json::Value;
use tracing::{Instrument as _, Span};

/// An event of the bus, as a queue delivers it: at least once, in any order.
#[derive(Debug)]
pub struct Message {
    /// What the queue delivered.
    pub body: String,
    /// A claim that nobody else has.
    pub token: ClaimToken,
}

impl Message {
    /// The event, if it is JSON.
    pub fn event(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }
}

/// Handles named messages side by side, and gives the names of those that failed.
pub async fn handle_all(
    messages: impl IntoIterator<Item = (String, Message)>,
    handle: impl AsyncFn(Message) -> Result<(), Error>,
) -> Vec<String> {
    let handle = &handle;
    let one = async |(id, message): (String, Message)| {
        let span = span(&id, &message);
        let outcome = handle(message).instrument(span.clone()).await;
        span.in_scope(|| match &outcome {
            Ok(()) => tracing::info!("A message was processed"),
            Err(error) => say(error),
        });
        outcome.err().map(|_| id)
    };
    join_all(messages.into_iter().map(one)).await.into_iter().flatten().collect()
}

/// Whatever is logged of a message says which one it is, and which matter it belongs to: as whoever asked calls it, or else
/// the request that it is about, or else the event itself. Whoever handles it may know better.
fn span(id: &str, message: &Message) -> Span {
    let event = message.event().unwrap_or_default();
    let named = [&event["detail"]["correlation_id"], &event["detail"]["request"], &event["id"]];
    // Strangers write these too: a name is short, and a word.
    let matter =
        named.iter().find_map(|it| it.as_str().filter(|it| !holds_token(it))?.parse::<CorrelationId>().ok());
    let correlation_id = matter.as_ref().map(CorrelationId::as_str);
    tracing::info_span!("message", message_id = id, correlation_id)
}

/// Settles the target that an event names: a lease was approved or ended, a policy changed.
///
/// An event only makes it prompt: what it names is due by itself.
pub async fn settle_named(
    store: &impl Store,
    firewalls: &impl Firewalls,
    clock: &impl Clock,
    message: Message,
) -> Result<(), Error> {
    let target = message.event().and_then(|it| it["detail"]["target"].as_str()?.parse().ok());
    let Some(target) = target else {
        tracing::warn!("An event names no target; it is dropped, since all due work is in the table");
        return Ok(());
    };
    let now = clock.now();
    match live("settle", clock, now, settle_on(store, firewalls, clock, &target, &message.token)).await {
        // It was never guarded: somebody else's event.
        Err(Error::NotFound { .. }) => Ok(()),
        outcome => outcome,
    }
}

/// Logged here, once: what is tried again is no error yet.
fn say(error: &Error) {
    match error {
        Error::Broken { .. } => {
            tracing::error!(error = error.full(), "A message failed for good: the operator has to act");
        }
        Error::Conflict | Error::NotFound { .. } | Error::Refused(_) | Error::Unavailable { .. } => {
            tracing::warn!(error = error.full(), "A message failed, and will be delivered again");
        }
    }
}

/// Tells records in their order, and gives the first that has to be told again: it and all that come after it are
/// delivered once more, so that none overtakes it.
pub async fn first_untold<T: Copy, E>(
    records: impl IntoIterator<Item = T>,
    tell: impl AsyncFn(T) -> Result<(), E>,
) -> Option<T> {
    for record in records {
        if tell(record).await.is_err() {
            return Some(record);
        }
    }
    None
}
