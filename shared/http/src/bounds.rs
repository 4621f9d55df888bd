//! Bounds of a request and of an answer.

use std::time::Duration;

/// How long a body may be, in bytes: the largest request has 40 ports.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// How much one answer may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long it may be, in bytes.
    pub bytes: usize,
    /// How long making it may take.
    pub time: Duration,
}

impl Bounds {
    /// None but patience.
    pub const NONE: Self = Self { bytes: usize::MAX, time: Duration::MAX };
}
