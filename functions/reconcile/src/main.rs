//! Ends what nothing permits any more, and brings every firewall to what the table says, whatever anybody asked: drift, orphans, what
//! was forgotten.

#![recursion_limit = "256"] // One future in the other, down to the connection.

use jiff::Timestamp;
use portcullis_app::{live, ports::Clock as _, reconcile};
use portcullis_lambda::{Environment, Failed, Place, run_schedule};
use portcullis_policy::Cedar;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let rights = place.environment.rights()?.with_policies(Arc::new(Cedar));
    let (store, azure, clock) = (place.store()?, place.azure()?, place.clock);
    run_schedule(clock, async |token| {
        let now = clock.now();
        Box::pin(live("reconcile", &clock, now, reconcile(&store, &azure, &rights, &token(), &clock))).await
    })
    .await
}
