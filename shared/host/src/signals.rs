//! Signals of the operating system.

use tokio::signal::unix::{SignalKind, signal};

/// A limit on the length of files becomes an error of the write that meets it, and not the end of this program: leases
/// still have to end.
pub(crate) fn outlive_file_limits() {
    const SIGXFSZ: i32 = 25;
    // Who listened once is never killed by it again.
    if let Err(error) = signal(SignalKind::from_raw(SIGXFSZ)) {
        tracing::debug!(%error, "A limit on the length of files would end this program");
    }
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn told_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        // Where it cannot be listened for, nobody asked to stop.
        Ok(()) = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
