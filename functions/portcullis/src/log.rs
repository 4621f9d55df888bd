//! What `portcullis up` and `portcullis simcloud` say while they run: on standard error.

use crate::output::Paint;
use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;

/// The pipeline to Azure says at `info` what we say ourselves where it matters.
const DEFAULT: &str = "info,azure_core=warn,azure_identity=warn,typespec_client_core=warn";

/// Which lines: `PORTCULLIS_LOG`, in the words of `tracing`, such as `debug` or `portcullis_http=debug`.
pub fn begin() {
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
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
