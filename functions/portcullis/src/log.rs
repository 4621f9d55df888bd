//! What `portcullis up` and `portcullis simcloud` say while they run: on standard error.

use crate::output::Paint;
use portcullis_domain::redacted;
use std::io::{self, IsTerminal as _, Write};
use tracing_subscriber::EnvFilter;

/// The pipeline to Azure says at `info` what we say ourselves where it matters.
const DEFAULT: &str = "info,azure_core=warn,azure_identity=warn,typespec_client_core=warn";

/// Which lines: `PORTCULLIS_LOG`, in the words of `tracing`, such as `debug` or `portcullis_http=debug`.
pub fn begin() {
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let paint = Paint::of(io::stderr().is_terminal());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Redacting(io::stderr()))
        .with_ansi(paint.has_colours())
        .with_target(false)
        // A line that cannot be written, as on a full disk, is lost; a complaint about it on the same
        // standard error would be a panic, in whatever was at work.
        .log_internal_errors(false)
        .init();
}

/// Standard error without bearer tokens: whatever a line names, and whoever wrote that. A line comes in one piece.
struct Redacting(io::Stderr);

impl Write for Redacting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(redacted(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
