//! The time, as it is given.

use jiff::Timestamp;
use std::sync::Arc;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
