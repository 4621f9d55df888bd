//! Puts evidence into the archive: the time that an event names, and every night the day before.

mod wish;

use jiff::Timestamp;
use portcullis_app::{Error, export, ports::Clock as _};
use portcullis_lambda::{Environment, Failed, Place, run_queue};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, clock) = (place.store()?, place.clock);
    run_queue(clock, async |message| {
        let now = clock.now();
        let wish = wish::of(&message, now);
        // Each try has a folder of its own: nothing is overwritten, and only a whole export has its manifest.
        let archive = place.archive(format!("{}--{}/{now}", wish.from, wish.to));
        let archive = archive.map_err(|error| Error::Broken { doing: "export", source: error.into() })?;
        let manifest = export(&store, &archive, &wish).await?;
        tracing::info!(from = %wish.from, to = %wish.to, records = manifest.records, "Evidence was exported");
        Ok(())
    })
    .await
}
