//! Puts evidence into the archive: the time that an event names, and every night the day before.

use jiff::Timestamp;
use portcullis_app::{Error, Exporting, Format, export, ports::Clock as _};
use portcullis_lambda::{Environment, Failed, Message, Place, run_queue};
use serde::Deserialize;

const DAY_SECS: i64 = 24 * 60 * 60;

/// What an event asks for.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Wish {
    from: Timestamp,
    to: Timestamp,
    format: Format,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, clock) = (place.store()?, place.clock);
    run_queue(clock, async |message| {
        let now = clock.now();
        let Wish { from, to, format } = asked(&message).unwrap_or_else(|| yesterday(now));
        // Each try has a folder of its own: nothing is overwritten, and only a whole export has its manifest.
        let archive = place.archive(format!("{from}--{to}/{now}"));
        let archive = archive.map_err(|error| Error::Broken { doing: "export", source: error.into() })?;
        let manifest = export(&store, &archive, &Exporting { from, to, format }).await?;
        tracing::info!(%from, %to, records = manifest.records, "Evidence was exported");
        Ok(())
    })
    .await
}

/// What an event of ours asks for; a schedule asks for nothing.
fn asked(message: &Message) -> Option<Wish> {
    serde_json::from_value(message.event()?["detail"]["fact"].take()).ok()
}

fn yesterday(now: Timestamp) -> Wish {
    let midnight = |days: i64| {
        let day = now.as_second().div_euclid(DAY_SECS) - days;
        Timestamp::from_second(day * DAY_SECS).unwrap_or(Timestamp::MIN)
    };
    Wish { from: midnight(1), to: midnight(0), format: Format::Jsonl }
}
