//! Leases that are open when `up` stops: nobody closes them until it runs again.

use super::guards::guarded;
use crate::steady;
use jiff::Timestamp;
use portcullis_domain::{Grant, Target};
use portcullis_local::RedbStore;
use portcullis_program::output;
use std::{sync::mpsc::sync_channel, thread, time::Duration};
use tokio::time;

/// How long the table may take to tell of them.
const READ_MAX: Duration = Duration::from_secs(2);
/// How long a terminal may take to show them: one that is stopped shows nothing.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Logs and prints each lease that is open, and until when its port stays open.
pub async fn tell(store: &RedbStore) {
    let Ok(Ok(targets)) = time::timeout(READ_MAX, guarded(store)).await else {
        tracing::warn!("The open leases could not be read: they may stay open until `up` runs again");
        return;
    };
    let left = left(&targets, steady::now());
    for (target, grant) in &left {
        let (until, then) = (grant.lease.end(), what_then(target));
        tracing::warn!(target = %target.id, grant = %grant.id, gate = %grant.gate, %until, "A lease is left open: {then}");
    }
    if !left.is_empty() {
        print(words(&left));
    }
}

/// What may be open now: it has begun, and was not seen to be shut.
fn left(targets: &[Target], now: Timestamp) -> Vec<(&Target, &Grant)> {
    let all = targets.iter().flat_map(|target| target.grants().values().map(move |it| (target, it)));
    all.filter(|(_, it)| it.lease.start() <= now && it.closed_at.is_none()).collect()
}

fn words(left: &[(&Target, &Grant)]) -> String {
    let line = |(target, grant): &(&Target, &Grant)| {
        let name = target.machine().map_or(target.id.as_str(), |it| &it.name);
        format!("  {} of {name} until {}: {}", grant.gate, grant.lease.end(), what_then(target))
    };
    let lines: Vec<String> = left.iter().map(line).collect();
    format!("No process closes these leases until `up` runs again:\n{}", lines.join("\n"))
}

fn what_then(target: &Target) -> &'static str {
    if target.id.is_host() {
        "the kernel closes the port at the end of its last lease"
    } else {
        "the port stays open in Azure, also after that end, until `up` runs again"
    }
}

/// Prints, and waits for no reader.
fn print(text: String) {
    let (shown, is_shown) = sync_channel(1);
    let printed = thread::Builder::new().spawn(move || {
        drop(output::line(&text));
        // Who no longer waits for it does not need to know.
        let _ = shown.try_send(());
    });
    if printed.is_ok() {
        let _ = is_shown.recv_timeout(SHOWN_WITHIN);
    }
}
