//! What the functions on Lambda have in common: settings from the environment, logs, metrics, queues, and what they
//! stand on.
//!
//! Each function is a `main` in `functions/` that says which of these it needs: nothing else is built at its start.
//! The environment and the time are arguments, given there.

mod clock;
mod error;
mod log;
mod meter;
mod place;
mod queue;
mod settings;
mod site;
mod stream;

pub use clock::WallClock;
pub use error::Failed;
pub use meter::Meter;
pub use place::Place;
pub use portcullis_app::{BoxError, Message, ports::Dice, settle_named};
pub use queue::{run_queue, run_schedule};
pub use settings::{BadSetting, Environment};
pub use site::LambdaSite;
pub use stream::run_stream;
