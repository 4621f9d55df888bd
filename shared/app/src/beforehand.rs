//! What a caller should know before a machine is guarded, or guarded otherwise.

use portcullis_domain::{Gate, Policy, Refusal, Snapshot, Target};
use std::{collections::BTreeSet, net::IpAddr};

/// A machine that this table never guarded, or guards no longer, and that has rules of ours is guarded by another
/// installation, or was by a table that is lost. Which of the two, only a person can tell.
pub(crate) fn elsewhere(target: &Target, snapshot: &Snapshot) -> Option<Refusal> {
    let owner = target.owner();
    let ours = snapshot.firewalls.iter().flat_map(|it| it.ours.keys()).filter(|it| it.owner == owner);
    let rules: Vec<_> = ours.cloned().collect::<BTreeSet<_>>().into_iter().collect();
    (target.is_at_rest() && !rules.is_empty())
        .then(|| Refusal::GuardedElsewhere { target: target.id.clone(), rules })
}

/// The connections that a policy cuts off, and all that could not be read.
pub(crate) fn warnings(snapshot: &Snapshot, policy: &Policy, has_way_back: bool) -> Vec<String> {
    let guarded = |gate: &Gate| policy.gates().iter().any(|it| it.meets(*gate));
    let connected = snapshot.connected.iter().filter(|(gate, _)| guarded(gate));
    let advice =
        if has_way_back { "" } else { "; with a time to confirm within, a mistake is reverted by itself" };
    let warn = |(gate, address): &(Gate, IpAddr)| {
        format!(
            "`{address}` is connected to port `{gate}`, which is closed from now on without a lease{advice}"
        )
    };
    connected.map(warn).chain(snapshot.unread.iter().cloned()).collect()
}

/// Another product that guards the machine too, and the command that takes its policy over.
pub(crate) fn just_in_time(snapshot: &Snapshot) -> Option<String> {
    const SAID: &str = "Microsoft's own just-in-time access has rules for this machine: `portcullis adopt` lists its policies and \
        takes them over";
    snapshot.has_just_in_time().then(|| SAID.to_owned())
}
