//! Settles the targets that events name: a lease was approved or ended, a policy changed.
//!
//! An event only makes it prompt: what it names is due by itself.

use jiff::Timestamp;
use portcullis_app::{
    Error, live,
    ports::{Clock as _, Firewalls, Store},
    settle_on,
};
use portcullis_lambda::{Environment, Failed, Message, Place, WallClock, run_queue};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    let (store, azure, clock) = (place.store()?, place.azure()?, place.clock);
    run_queue(clock, async |message| Box::pin(named(&store, &azure, clock, message)).await).await
}

async fn named(
    store: &impl Store,
    firewalls: &impl Firewalls,
    clock: WallClock,
    message: Message,
) -> Result<(), Error> {
    let target = message.event().and_then(|it| it["detail"]["target"].as_str()?.parse().ok());
    let Some(target) = target else {
        tracing::warn!("An event names no target; nothing is lost: what is due is in the table");
        return Ok(());
    };
    let now = clock.now();
    match live("settle", &clock, now, settle_on(store, firewalls, &clock, &target, &message.token)).await {
        // It was never guarded: somebody else's event.
        Err(Error::NotFound { .. }) => Ok(()),
        outcome => outcome,
    }
}
