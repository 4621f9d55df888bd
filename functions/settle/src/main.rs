//! Settles the targets that events name: a lease was approved or ended, a policy changed.

use jiff::Timestamp;
use portcullis_lambda::{Environment, Failed, Place, run_queue, settle_named};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, azure, clock) = (place.store()?, place.azure()?, place.clock);
    run_queue(clock, async |message| Box::pin(settle_named(&store, &azure, &clock, message)).await).await
}
