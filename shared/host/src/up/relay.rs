//! The relay: commits go to the bus, and events that an operator at this terminal wants to see to the log.

use portcullis_app as app;
use portcullis_domain::{Chain, Fact};
use portcullis_local::{LocalBus, RedbStore};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Relays until the table is closed.
pub async fn run(store: Arc<RedbStore>) {
    let bus = LocalBus::default();
    let mut events = bus.subscribe();
    let mut committed = store.subscribe();
    loop {
        match committed.recv().await {
            Ok(entries) => {
                if let Err(error) = app::relay(&bus, &entries).await {
                    tracing::warn!(error = error.full(), "Events were not published");
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(
                missed,
                "Events were skipped, since the log was \
                too slow"
            ),
            Err(RecvError::Closed) => return,
        }
        while let Ok(event) = events.try_recv() {
            let (kind, detail) = (event.kind, event.detail);
            let chain = detail.target.map_or_else(Chain::rest, |it| Chain::from(&it));
            let grant = detail.grant.map(|it| it.to_string());
            match kind {
                "grant.close_late" => {
                    let (cause, owner) = cause(&detail.fact);
                    tracing::warn!(target = %chain, grant, cause, owner, "{kind}");
                }
                "grant.open_failed" | "drift.found" | "disk.low" | "disk.failed" => {
                    tracing::warn!(target = %chain, grant, "{kind}");
                }
                "drift.repeated" => tracing::warn!(
                    target = %chain,
                    "Rules were changed by another party repeatedly: another installation may guard the machine"
                ),
                _ => tracing::info!(target = %chain, grant, "{kind}"),
            }
        }
    }
}

/// What delayed a closing, and whose that is.
fn cause(fact: &Fact) -> (Option<&'static str>, Option<&'static str>) {
    let Fact::Closed { delay: Some(delay), .. } = fact else { return (None, None) };
    (Some(delay.cause.word()), Some(delay.cause.party().word()))
}
