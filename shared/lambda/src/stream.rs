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
        let records = event.payload["Records"].as_array().into_iter().flatten().map(|it| &it["dynamodb"]);
        let untold = first_untold(records, async |change| told(bus, meter, &change["NewImage"]).await).await;
        let failure = |change: &Value| {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = change["SequenceNumber"].as_str().map(str::to_owned);
            failure
        };
        let mut response = DynamoDbEventResponse::default();
        response.batch_item_failures = untold.map(failure).into_iter().collect();
        Ok::<_, Failed>(response)
    };
    Ok(lambda_runtime::run(service_fn(records)).await?)
}

/// Tells records in their order, and gives the first that has to be told again: it and all that come after it are
/// delivered once more, so that none overtakes it.
pub async fn first_untold<T: Copy>(
    records: impl IntoIterator<Item = T>,
    tell: impl AsyncFn(T) -> Result<(), Failed>,
) -> Option<T> {
    for record in records {
        if let Err(error) = tell(record).await {
            tracing::warn!(error = error.to_string(), "Events were not published, and are told again");
            return Some(record);
        }
    }
    None
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
    relay(bus, &entries).await?;
    meter.measure(&entries);
    Ok(())
}
