//! What people are shown of a lease is what the worker that said so had read, and nothing else.

use super::{Oracle, record::is_free};
use crate::stories::{
    actors::addresses,
    clock::stamp,
    cloud::Glimpse,
    executor::{CLAIMS_MAX, claim},
};
use portcullis_domain::{Entry, Fact, Grant, GrantId, GrantState, Owner, Standing, Target, TargetId};

impl Oracle {
    /// A worker has read every firewall on the way to a target, each as it was shown to it.
    pub(in crate::stories) fn looked(&mut self, worker: u64, id: &TargetId, seen: Vec<Glimpse>, now: i64) {
        self.looked_at.insert(id.clone(), now);
        self.glimpses.insert((worker, id.clone()), seen);
    }

    /// INVARIANT (open-means-read-back): what is told of a lease was seen; what was seen is told, by whoever gives a
    /// target back as settled.
    pub(super) fn told(
        &mut self,
        (before, target): (Option<&Target>, &Target),
        entries: &[Entry],
        worker: u64,
        now: i64,
    ) {
        const RULE: &str = "open-means-read-back";
        let Some(seen) = self.glimpses.get(&(worker, target.id.clone())) else { return };
        let gets_in = |id: &GrantId| before.and_then(|it| it.grant_of(id)).map(|it| lets_in(seen, it));
        let mut facts = entries.iter().filter_map(|it| {
            if let Fact::Opened { grant, .. } = &it.fact {
                Some((grant, true))
            } else if let Fact::OpenFailed { grant, .. } = &it.fact {
                Some((grant, false))
            } else {
                None
            }
        });
        let untrue = facts.find(|(grant, is_open)| gets_in(grant) == Some(!is_open));
        let wrong = untrue.map(|(grant, is_open)| format!("{grant} is told to be open: {is_open}"));
        // Who is not sure tries again, and tells then.
        let is_mine = |it: &Target, n| it.standing(&claim(worker, n), stamp(now)) == Standing::Mine;
        let was_mine = before.is_some_and(|it| (0..CLAIMS_MAX).any(|n| is_mine(it, n)));
        let is_sure = was_mine && is_free(target) && target.is_settled(stamp(now + self.skew_ms));
        let lasts = |it: &&Grant| !it.lease.is_over(stamp(now + 2 * self.skew_ms));
        let known = |it: &&Grant| {
            before.and_then(|old| old.grant_of(&it.id)).is_some_and(|it| it.opened_at.is_some())
        };
        let mut open = target.grants().values().filter(|it| is_sure && lasts(it) && known(it));
        let unsaid = open.find(|it| (it.state(stamp(now)) == GrantState::Open) != lets_in(seen, it));
        let wrong =
            wrong.or_else(|| unsaid.map(|it| format!("{} is shown as {:?}", it.id, it.state(stamp(now)))));
        if let Some(how) = wrong {
            self.break_rule(RULE, now, format!("{how}, and w{worker} saw something else"));
        }
    }
}

/// Did every firewall that was read let in every address that a lease is for?
fn lets_in(seen: &[Glimpse], it: &Grant) -> bool {
    let owner = Owner::from(&it.target);
    let mut who = addresses().into_iter().filter(|who| it.sources.admit(*who));
    let passes =
        |who, protocol| seen.iter().all(|wall| wall.passes(&owner, who, protocol, it.gate.port.number()));
    who.all(|who| it.gate.protocol.transports().iter().all(|protocol| passes(who, *protocol)))
}
