//! The table, the firewalls and the bus of a story, for others than its workers: nothing goes wrong, and nobody else
//! is at work.

use super::{Outside, Plot, Weather, clock::NEVER, world::World};
use portcullis_app::Event;
use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};

/// Lets somebody use the table, the firewalls and the bus of a story. Time passes when everybody waits for it.
pub async fn calmly(visit: impl AsyncFnOnce(&Outside)) {
    let mut world = World::begin(Plot { seed: 0, weather: Weather::Calm }, false);
    world.cloud.give_rules_versions_of_their_own();
    world.stream.be_steady();
    let outside = Outside { world: Arc::new(Mutex::new(world)), worker: 1, skew: 0 };
    let mut visit = pin!(visit(&outside));
    poll_fn(|context| {
        while visit.as_mut().poll(context).is_pending() {
            let mut world = outside.world();
            let until = world.time.next_timer();
            assert_ne!(until, NEVER, "somebody waits for what never comes");
            world.time.now = until;
            let mut woken = vec![];
            while world.time.next_timer() <= until {
                woken.extend(world.time.pop_timer());
            }
            drop(world);
            woken.into_iter().for_each(Waker::wake);
        }
        Poll::Ready(())
    })
    .await;
}

impl Outside {
    /// All that the bus was told, each event once.
    pub fn heard(&self) -> Vec<Event> {
        self.world().oracle.heard()
    }
}
