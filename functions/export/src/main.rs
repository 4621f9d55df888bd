//! Puts evidence into the archive: the time that an event names, and every night the day before.

mod wish;

use jiff::Timestamp;
use portcullis_app::{Error, Kept, export, ports::Clock as _};
use portcullis_lambda::{Environment, Failed, Place, run_queue};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, clock) = (place.store()?, place.clock);
    run_queue(clock, async |message| {
        let now = clock.now();
        let (wish, correlation) = wish::of(&message, now);
        let archive = place.archive(Kept::begun(&wish, correlation, now).folder());
        let archive = archive.map_err(|error| Error::Broken { doing: "export", source: error.into() })?;
        let manifest = export(&store, &archive, &wish).await?;
        tracing::info!(from = %wish.from, to = %wish.to, records = manifest.records, "Evidence was exported");
        Ok(())
    })
    .await
}
