//! Does what bots ask for on the bus, on behalf of people.

use jiff::Timestamp;
use portcullis_app::{Incoming, ports::Clock as _, submit};
use portcullis_lambda::{Environment, Failed, Place, run_queue};
use portcullis_policy::Cedar;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, clock) = (place.store()?, place.clock);
    let (terms, bots) = (place.environment.terms()?, place.environment.bots()?);
    let rights = place.environment.rights()?.with_policies(Arc::new(Cedar));
    run_queue(clock, async |message| {
        let incoming = Incoming { body: message.body.as_bytes(), source: None, has_archive: true };
        submit(&store, &terms, &rights, &bots, incoming, clock.now()).await.map(drop)
    })
    .await
}
