//! Accepting foreign rules that let sources in without a lease, as they are read now.

use jiff::Timestamp;
use portcullis_domain::{
    Accept, Person, Policy, PortRule, Refusal, Refusals, Snapshot, Target, diff, standing,
};

/// Foreign rules that a caller accepts, and those that the caller accepts no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepting {
    /// Rules to accept as they are now.
    pub accept: Vec<Accept>,
    /// Rules to accept no longer, each as a person names it.
    pub no_longer: Vec<String>,
}

impl Accepting {
    /// Refuses a rule that is to be accepted and accepted no longer.
    pub(crate) fn refuse_both(&self) -> Result<(), Refusals> {
        let is_in_both =
            |it: &&Accept| self.no_longer.iter().any(|other| other.eq_ignore_ascii_case(&it.rule));
        let both = self.accept.iter().filter(is_in_both);
        let reasons = both.map(|it| Refusal::AcceptedAndNot { asked: it.rule.clone() }).collect();
        Refusals::of(reasons).map_or(Ok(()), Err)
    }
}

/// The policy of a target with these rules accepted too: any of those by which sources would get in without a lease once the policy
/// is settled.
pub(crate) fn accepted(
    asked: &[Accept],
    target: Target,
    policy: Policy,
    seen: &Snapshot,
    by: &Person,
    now: Timestamp,
) -> Result<Policy, Refusals> {
    if asked.is_empty() {
        return Ok(policy);
    }
    // A policy on trial may be sent again, and stays as it is.
    let target = if target.policy() == Some(&policy) {
        target
    } else {
        target.set_policy(Some(policy.clone()), by, None, now)?.target
    };
    let owner = target.owner();
    let changes = diff(seen, &owner, &target.rules(now)).changes;
    let of = |it: &PortRule| (it.gate(), standing(seen, &owner, it.gate(), &changes, &it.accepted));
    let standing = policy.ports().iter().map(of).collect();
    policy.accepting(asked, &standing, seen, by, now)
}
