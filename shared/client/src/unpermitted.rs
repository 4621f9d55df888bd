//! The leases that a change of roles or policies ended.

use crate::names;
use portcullis_wire::GrantView;

/// Each on a line of its own, after the sentence that tells of the change.
pub fn unpermitted(ended: &[GrantView]) -> String {
    let line = |grant: &GrantView| {
        let GrantView { id, target, port, protocol, by, .. } = grant;
        let target = names::short(target);
        format!(
            "\n  grant {id} of {by} on {target} {port}/{protocol} was ended: nothing permits it to {by} any more"
        )
    };
    ended.iter().map(line).collect()
}
