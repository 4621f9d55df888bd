//! A sign that something goes on.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often the spinner turns.
const TURN_EVERY: Duration = Duration::from_millis(100);

/// Draws on a terminal only.
pub fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    spinner.enable_steady_tick(TURN_EVERY);
    spinner
}
