//! Counts on a command line.

use std::num::NonZeroUsize;

/// A count of at least one.
pub fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "not a whole number of at least 1".to_owned())
}
