//! Invocations: by a queue of events, message by message, or by a schedule.

use crate::{Failed, WallClock};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::join_all;
use lambda_runtime::{LambdaEvent, service_fn};
use portcullis_app::{Error, ports::Clock as _};
use portcullis_domain::ClaimToken;
use serde_json::Value;
use tracing::Instrument as _;

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
        let one = async |(n, message): (usize, SqsMessage)| {
            let SqsMessage { message_id, body, .. } = message;
            let (id, body) = (message_id.unwrap_or_default(), body.unwrap_or_default());
            let token = token(&context.request_id, n, clock);
            let span = tracing::info_span!("message", message_id = %id);
            let outcome = handle(Message { body, token }).instrument(span).await;
            outcome.err().map(|error| failed(id, &error))
        };
        let failures = join_all(payload.records.into_iter().enumerate().map(one)).await;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures.into_iter().flatten().collect();
        Ok::<_, Failed>(response)
    };
    Ok(lambda_runtime::run(service_fn(batch)).await?)
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
fn failed(id: String, error: &Error) -> BatchItemFailure {
    match error {
        Error::Broken { .. } => {
            tracing::error!(error = error.full(), "A message failed until somebody looks");
        }
        Error::Conflict | Error::NotFound { .. } | Error::Refused(_) | Error::Unavailable { .. } => {
            tracing::warn!(error = error.full(), "A message failed, and is delivered again");
        }
    }
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}

/// Lambda repeats the name of an invocation that failed; the time tells its runs apart.
fn token(request: &str, n: usize, clock: WallClock) -> ClaimToken {
    let text = format!("{request}-{}-{n}", clock.now().as_nanosecond());
    let sound: String = text.chars().filter(char::is_ascii_graphic).take(128).collect();
    sound.parse().unwrap_or_else(|_| unreachable!("printable characters are a claim token"))
}
