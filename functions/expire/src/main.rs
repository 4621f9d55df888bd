//! Opens and closes on the clock. Invoked every minute, it takes what is due within the next one, holds until each
//! time, and settles.

use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{hold, ports::Clock as _};
use portcullis_lambda::{Environment, Failed, Place, run_schedule};

/// How far it looks ahead: a minute, and a little more for an invocation that comes late.
const AHEAD: SignedDuration = SignedDuration::from_secs(65);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, azure, clock) = (place.store()?, place.azure()?, place.clock);
    run_schedule(clock, async |token| {
        let until = clock.now().saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        let held = hold(&store, &azure, &clock, token, stream::pending(), Some(until)).await?;
        tracing::info!(taken_on = held.taken_on, "Everything that was due was taken on");
        held.failure.map_or(Ok(()), Err)
    })
    .await
}
