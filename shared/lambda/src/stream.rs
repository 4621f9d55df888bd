//! The table's stream: what was committed, in the order of the commits to each chain.

use crate::{Failed, Meter};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use lambda_runtime::{LambdaEvent, service_fn};
use portcullis_app::{ports::Bus, relay};
use portcullis_aws::entries_in;
use serde_json::Value;

/// Publishes what each record says, and measures it. From the first one on that could not be published, they are
/// delivered again: an event may be told twice, and none is left out.
pub async fn run_stream(bus: impl Bus, meter: Meter) -> Result<(), Failed> {
    let (bus, meter) = (&bus, &meter);
    let records = async |event: LambdaEvent<Value>| {
        let mut response = DynamoDbEventResponse::default();
        for record in event.payload["Records"].as_array().into_iter().flatten() {
            let change = &record["dynamodb"];
            if let Err(error) = told(bus, meter, &change["NewImage"]).await {
                tracing::warn!(error = error.to_string(), "Events were not published, and are told again");
                let mut failure = DynamoDbBatchItemFailure::default();
                failure.item_identifier = change["SequenceNumber"].as_str().map(str::to_owned);
                response.batch_item_failures.push(failure);
                break;
            }
        }
        Ok::<_, Failed>(response)
    };
    Ok(lambda_runtime::run(service_fn(records)).await?)
}

async fn told(bus: &impl Bus, meter: &Meter, image: &Value) -> Result<(), Failed> {
    let entries = match entries_in(image) {
        Ok(entries) => entries,
        Err(error) => {
            // No retry will read it. `verify` names it, and whoever changed it is to be looked for.
            tracing::error!(error = error.to_string(), "An entry of the journal cannot be read, nor told");
            return Ok(());
        }
    };
    let (hopeless, missed): (Vec<_>, Vec<_>) =
        relay(bus, &entries).await?.into_iter().partition(|it| it.is_hopeless);
    for not in hopeless {
        tracing::error!(why = not.why, "An event can never be published; the journal has it");
    }
    if let Some(not) = missed.into_iter().next() {
        return Err(Failed::because(not.why));
    }
    meter.measure(&entries);
    Ok(())
}
