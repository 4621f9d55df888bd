//! Invocations: by a queue of events, message by message, or by a schedule.

use crate::{Failed, WallClock};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use lambda_runtime::{LambdaEvent, service_fn};
use portcullis_app::{
    Error, live,
    ports::{Clock, Firewalls, Store},
    settle_on,
};
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

/// Handles the messages of a queue, all of a batch at once. Those that fail are delivered again, and in the end to
/// the queue of dead letters; the others are not.
pub async fn run_queue(
    clock: WallClock,
    handle: impl AsyncFn(Message) -> Result<(), Error>,
) -> Result<(), Failed> {
    let handle = &handle;
    let batch = async |event: LambdaEvent<SqsEvent>| {
        let LambdaEvent { payload, context } = event;
        let message = |(n, message): (usize, SqsMessage)| {
            let SqsMessage { message_id, body, .. } = message;
            let token = token(&context.request_id, n, clock);
            (message_id.unwrap_or_default(), Message { body: body.unwrap_or_default(), token })
        };
        let failure = |id: String| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        };
        let failed = handle_all(payload.records.into_iter().enumerate().map(message), handle).await;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed.into_iter().map(failure).collect();
        Ok::<_, Failed>(response)
    };
    Ok(lambda_runtime::run(service_fn(batch)).await?)
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
            Ok(()) => tracing::info!("A message was handled"),
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
        tracing::warn!("An event names no target; nothing is lost: what is due is in the table");
        return Ok(());
    };
    let now = clock.now();
    match live("settle", clock, now, settle_on(store, firewalls, clock, &target, &message.token)).await {
        // It was never guarded: somebody else's event.
        Err(Error::NotFound { .. }) => Ok(()),
        outcome => outcome,
    }
}

/// Handles what a schedule invokes; what its event says is nothing that anybody needs.
pub async fn run_schedule(
    clock: WallClock,
    handle: impl AsyncFn(&dyn Fn() -> ClaimToken) -> Result<(), Error>,
) -> Result<(), Failed> {
    let handle = &handle;
    let invoked = async |event: LambdaEvent<Value>| {
        let claims = std::sync::atomic::AtomicUsize::new(0);
        let request = event.context.request_id;
        let next = || token(&request, claims.fetch_add(1, std::sync::atomic::Ordering::Relaxed), clock);
        Ok::<_, Failed>(handle(&next).await?)
    };
    Ok(lambda_runtime::run(service_fn(invoked)).await?)
}

/// Logged here, once: what is tried again is no error yet.
fn say(error: &Error) {
    match error {
        Error::Broken { .. } => {
            tracing::error!(error = error.full(), "A message failed until somebody looks");
        }
        Error::Conflict | Error::NotFound { .. } | Error::Refused(_) | Error::Unavailable { .. } => {
            tracing::warn!(error = error.full(), "A message failed, and is delivered again");
        }
    }
}

/// Lambda repeats the name of an invocation that failed; the time tells its runs apart.
fn token(request: &str, n: usize, clock: WallClock) -> ClaimToken {
    let text = format!("{request}-{}-{n}", clock.now().as_nanosecond());
    let sound: String = text.chars().filter(char::is_ascii_graphic).take(128).collect();
    sound.parse().unwrap_or_else(|_| unreachable!("printable characters are a claim token"))
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use super::*;
    use crate::log::tests::said;
    use serde_json::json;
    use tracing_subscriber::filter::LevelFilter;

    /// What is logged while this event is handled so.
    fn logged(event: &Value, handle: impl AsyncFn(Message) -> Result<(), Error>) -> Vec<Value> {
        let message = Message { body: event.to_string(), token: "worker".parse().expect("a token") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        said(LevelFilter::INFO, || {
            drop(runtime.block_on(handle_all([("message-1".to_owned(), message)], handle)));
        })
    }

    fn matters(lines: &[Value]) -> Vec<&str> {
        lines.iter().map(|it| it["spans"][0]["correlation_id"].as_str().unwrap_or_default()).collect()
    }

    #[test]
    fn all_that_is_logged_of_a_message_names_its_matter() {
        let event = json!({ "id": "event-1", "detail": { "correlation_id": "thread-7", "request": "r1" } });
        let lines = logged(&event, async |_| {
            tracing::info!("at work");
            Err(Error::Conflict)
        });
        assert_eq!(matters(&lines), ["thread-7", "thread-7"], "{lines:#?}");
        assert!(lines.iter().all(|it| it["spans"][0]["message_id"] == "message-1"), "{lines:#?}");
        let done = logged(&event, async |_| Ok(()));
        assert_eq!(matters(&done), ["thread-7"], "{done:#?}");
    }

    #[test]
    fn a_matter_without_a_name_is_called_after_its_request_and_else_its_event() {
        let of_a_request = json!({ "id": "event-1", "detail": { "request": "r1" } });
        assert_eq!(matters(&logged(&of_a_request, async |_| Ok(()))), ["r1"]);
        let of_nothing = json!({ "id": "event-1", "detail": { "correlation_id": "no word", "request": 7 } });
        assert_eq!(matters(&logged(&of_nothing, async |_| Ok(()))), ["event-1"]);
        assert_eq!(matters(&logged(&json!("no event"), async |_| Ok(()))), [""]);
        let known = logged(&of_nothing, async |_| {
            Span::current().record("correlation_id", "r2");
            Ok(())
        });
        assert_eq!(matters(&known), ["r2"]);
    }
}
