//! The time of day, and waiting for it.

use jiff::Timestamp;
use portcullis_app::{Error, ports::Clock};
use std::time::Duration;

/// No sleep is longer: somebody may set the clock meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// The clock on the wall.
#[derive(Debug, Clone, Copy)]
pub struct WallClock(fn() -> Timestamp);

impl WallClock {
    /// The one that `now` reads.
    pub fn new(now: fn() -> Timestamp) -> Self {
        Self(now)
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        (self.0)()
    }

    async fn sleep_until(&self, at: Timestamp) -> Result<(), Error> {
        // What is over is not waited for; what is far off is waited for in parts.
        let left = Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
        tokio::time::sleep(left.min(SLEEP_MAX)).await;
        Ok(())
    }
}
