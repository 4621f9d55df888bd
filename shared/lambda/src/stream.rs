//! The table's stream: what was committed, in the order of the commits to each chain.

use crate::{Failed, Meter};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use lambda_runtime::{LambdaEvent, service_fn};
use portcullis_app::{first_untold, ports::Bus, relay};
use portcullis_aws::entries_in;
use portcullis_domain::Entry;
use serde_json::Value;
use std::collections::BTreeSet;
use tracing::Instrument as _;

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

async fn told(bus: &impl Bus, meter: &Meter, image: &Value) -> Result<(), Failed> {
    let entries = match entries_in(image) {
        Ok(entries) => entries,
        Err(error) => {
            // No retry will read it. `verify` names it, and whoever changed it is to be looked for.
            tracing::error!(
                error = error.to_string(),
                "An entry of the journal cannot be read, and its \
                event is not published"
            );
            return Ok(());
        }
    };
    let span = tracing::info_span!("entries", correlation_ids = matters(&entries));
    if let Err(error) = relay(bus, &entries).instrument(span.clone()).await {
        let failed = Failed::from(error);
        let error = failed.to_string();
        span.in_scope(|| tracing::warn!(error, "Events were not published, and will be tried again"));
        return Err(failed);
    }
    meter.measure(&entries);
    Ok(())
}

/// What whoever asked calls what these entries tell, or else the requests that they are about.
fn matters(entries: &[Entry]) -> String {
    let matter = |it: &Entry| {
        let request = || it.fact.request().map(|it| it.to_string());
        it.fact.correlation().map(ToString::to_string).or_else(request)
    };
    entries.iter().filter_map(matter).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}
