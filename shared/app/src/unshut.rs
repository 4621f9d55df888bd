//! Leases that are over and were not seen to be shut: for longer than a closing may take, somebody should know.

use crate::worker::after;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{CLOUD_WRITE_MAX, Grant, LATE, Target};

/// Those of a target that are over for longer than a closing may take.
pub(crate) fn unshut(target: &Target, now: Timestamp) -> impl Iterator<Item = &Grant> {
    // The cloud takes its own time for the write that a worker is at.
    let may_take = if target.is_claimed() { LATE + CLOUD_WRITE_MAX } else { LATE };
    target.grants().values().filter(move |it| after(it.lease.end(), may_take) < now)
}

/// The same in words, a line for each.
pub(crate) fn said_unshut(target: &Target, now: Timestamp) -> impl Iterator<Item = String> {
    let name = target.machine().map_or(target.id.as_str(), |it| &it.name);
    unshut(target, now).map(move |it| {
        let ago = SignedDuration::from_secs(now.duration_since(it.lease.end()).as_secs());
        let (gate, id) = (it.gate, &it.id);
        format!(
            "`{gate}` of `{name}` may be open: its lease `{id}` ended {ago:#} ago, and no read-back has shown it closed"
        )
    })
}
