//! Invocations: by a queue of events, message by message, or by a schedule.

use crate::{Failed, WallClock};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{LambdaEvent, service_fn};
use portcullis_app::{Error, Message, handle_all, ports::Clock as _};
use portcullis_domain::ClaimToken;
use serde_json::Value;

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

/// Lambda repeats the name of an invocation that failed; the time tells its runs apart.
fn token(request: &str, n: usize, clock: WallClock) -> ClaimToken {
    let text = format!("{request}-{}-{n}", clock.now().as_nanosecond());
    let sound: String = text.chars().filter(char::is_ascii_graphic).take(128).collect();
    sound.parse().unwrap_or_else(|_| unreachable!("printable characters are a claim token"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::said;
    use serde_json::json;
    use tracing::Span;
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
    fn every_log_line_of_a_message_has_its_correlation_id() {
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
    fn a_missing_correlation_id_is_that_of_the_request_or_else_of_the_event() {
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
