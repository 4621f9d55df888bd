//! What `portcullis up` and `portcullis simcloud` say while they run: on standard error.

use crate::output::Paint;
use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;

/// Which lines: `PORTCULLIS_LOG`, in the words of `tracing`, such as `debug` or `portcullis_http=debug`.
pub fn begin() {
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let paint = Paint::of(io::stderr().is_terminal());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(paint.has_colours())
        .with_target(false)
        // A line that cannot be written, as on a full disk, is lost; a complaint about it on the same
        // standard error would be a panic, in whatever was at work.
        .log_internal_errors(false)
        .init();
}
