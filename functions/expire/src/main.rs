//! Opens and closes on the clock. Invoked every minute, it takes what is due within the next one, holds until each
//! time, and settles.

use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{hold, overdue, ports::Clock as _};
use portcullis_lambda::{Environment, Failed, Place, run_schedule};

/// How far it looks ahead: a schedule fires anywhere within its minute, so that two runs may be two minutes apart.
const AHEAD: SignedDuration = SignedDuration::from_secs(120);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, azure, clock) = (place.store()?, place.azure()?, place.clock);
    run_schedule(clock, async |token| {
        let until = clock.now().saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        let held = hold(&store, &azure, &clock, token, stream::pending(), Some(until)).await?;
        if 0 < held.taken_on {
            tracing::info!(taken_on = held.taken_on, "All due targets were taken on");
        }
        // Said aloud, as often as it is so: somebody's port is open.
        overdue(&store, clock.now()).await?;
        held.failure.map_or(Ok(()), Err)
    })
    .await
}
