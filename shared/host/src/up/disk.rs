//! Tells when the disk of the table has little space, refuses a write, and is well again.

use crate::steady;
use portcullis_app::DiskTold;
use portcullis_local::RedbStore;
use std::{sync::Arc, time::Duration};
use tokio::time;

/// How often the disk is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Watches the disk until dropped. What cannot be recorded now is tried again.
pub async fn watch(store: Arc<RedbStore>) {
    let mut told = DiskTold::default();
    loop {
        if let Err(error) = told.tell(&*store, &store.disk(), steady::now()).await {
            tracing::debug!(
                error = error.full(),
                "The state of the disk could not be recorded, and will be \
                tried again"
            );
        }
        time::sleep(EVERY).await;
    }
}
