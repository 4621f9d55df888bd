//! What the functions on Lambda have in common: settings from the environment, logs, metrics, queues, and what they
//! stand on.
//!
//! Each function is a `main` in `functions/` that says which of these it needs: nothing else is built at its start.
//! The environment and the time are arguments, given there.

mod clock;
mod error;
#[cfg(feature = "aws")]
mod log;
#[cfg(feature = "aws")]
mod meter;
#[cfg(feature = "aws")]
mod place;
mod queue;
mod settings;
#[cfg(feature = "aws")]
mod site;
#[cfg(feature = "aws")]
mod stream;
mod untold;

pub use clock::WallClock;
pub use error::Failed;
#[cfg(feature = "aws")]
pub use meter::Meter;
#[cfg(feature = "aws")]
pub use place::Place;
pub use portcullis_app::{BoxError, ports::Dice};
pub use queue::{Message, handle_all, run_queue, run_schedule, settle_named};
pub use settings::{BadSetting, Environment};
#[cfg(feature = "aws")]
pub use site::LambdaSite;
#[cfg(feature = "aws")]
pub use stream::run_stream;
pub use untold::first_untold;
