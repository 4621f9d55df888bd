//! The whole answer to a request: allowed, needs approval, or refused with every reason.

use crate::{
    Ask, Gate, Grant, GrantId, LAST_SECONDS, Lease, People, Person, Policy, Refusal, Refusals, Request,
    SKEW_MAX, Sources, Target, TargetId, Terms, Waits, What, room::no_room,
};
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// How many targets one request may name: its write is one transaction.
pub const TARGETS_MAX: usize = 20;
/// How many gates one request may open.
pub const GATES_MAX: usize = 40;

/// The whole answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// These are the grants.
    Allowed(Outcome),
    /// These would be the grants, once somebody says yes.
    NeedsApproval {
        /// What would be granted if it were approved now.
        outcome: Outcome,
        /// Who may say yes to all of it.
        approvers: People,
        /// Why roles and policies do not let it open at once; empty where the rules of its ports alone say so.
        because: Vec<Refusal>,
    },
    /// Every reason why not.
    Refused(Refusals),
}

/// What a request would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// New grants.
    Granted(Vec<Grant>),
    /// A grant's new lease.
    Extended {
        /// Where the grant lives.
        target: TargetId,
        /// The grant.
        grant: GrantId,
        /// Its new lease.
        lease: Lease,
    },
}

/// Decides a request at `now`, given every target that it names and that is known, and what of it waits for an approval whatever
/// the rules of ports say.
///
/// Monotone: wider sources or a longer maximum in the policy, or narrower sources in the request, never
/// turn a yes into a no.
pub fn review(
    request: &Request,
    targets: &BTreeMap<TargetId, Target>,
    terms: &Terms,
    now: Timestamp,
    waits: &Waits,
) -> Review {
    let mut reviewed = Reviewed { waits: waits.clone(), ..Reviewed::default() };
    let outcome = match &request.what {
        What::Initiate { asks, .. } => reviewed.initiate(request, asks, targets, terms, now),
        What::Extend { target, grant, end } => {
            reviewed.extend(request, targets, (target, grant, *end), terms, now)
        }
    };
    if reviewed.approvers.as_ref().is_some_and(|it| !it.could_approve(&request.by))
        && reviewed.reasons.is_empty()
    {
        reviewed.refuse(Refusal::NoCommonApprover);
    }
    match (Refusals::of(reviewed.reasons), outcome, reviewed.approvers) {
        (Some(reasons), _, _) => Review::Refused(reasons),
        (None, None, _) => Review::Refused(Refusal::NothingAsked.into()),
        (None, Some(outcome), None) => Review::Allowed(outcome),
        (None, Some(outcome), Some(approvers)) => {
            Review::NeedsApproval { outcome, approvers, because: reviewed.waits.reasons() }
        }
    }
}

/// May this person approve the request of those targets? Another approver has to where they hold the lease that would be longer.
///
/// INVARIANT (the-approver-is-another-person): nobody approves what is for their own good, whoever asked for it.
pub fn may_approve(
    request: &Request,
    targets: &BTreeMap<TargetId, Target>,
    by: &Person,
) -> Result<(), Refusal> {
    let holder = match &request.what {
        What::Initiate { .. } => None,
        What::Extend { target, grant, .. } => targets.get(target).and_then(|it| it.grant_of(grant)),
    };
    match holder {
        Some(grant) if grant.by == *by => Err(Refusal::OwnLease { by: by.clone(), grant: grant.id.clone() }),
        Some(_) | None => Ok(()),
    }
}

/// What is longer than any lease may be is told as longer than this one may be: else whoever asks for less hears another no.
fn at_most(reason: Refusal, here: jiff::SignedDuration) -> Refusal {
    if let Refusal::TooLong { asked, max } = reason {
        Refusal::TooLong { asked, max: max.min(here) }
    } else {
        reason
    }
}

#[derive(Default)]
struct Reviewed {
    reasons: Vec<Refusal>,
    approvers: Option<People>,
    waits: Waits,
}

impl Reviewed {
    /// The same reason twice is one reason.
    fn refuse(&mut self, reason: Refusal) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn initiate(
        &mut self,
        request: &Request,
        asks: &[Ask],
        targets: &BTreeMap<TargetId, Target>,
        terms: &Terms,
        now: Timestamp,
    ) -> Option<Outcome> {
        let named = request.targets().len();
        if TARGETS_MAX < named {
            self.refuse(Refusal::TooManyTargets { count: named, max: TARGETS_MAX });
        }
        if request.breaks_glass() && request.justification.is_none() {
            self.refuse(Refusal::GlassWithoutWhy);
        }
        let mut asked = BTreeMap::new();
        let mut grants = vec![];
        for (n, ask) in asks.iter().enumerate() {
            let target = ask.target.clone();
            let Some(policy) = self.policy(&target, targets) else { continue };
            let opened = policy.gates_of(ask.port, ask.protocol);
            if opened.is_empty() {
                let asked = ask.protocol.map_or(ask.port.to_string(), |it| format!("{}/{it}", ask.port));
                let guarded = policy.gates().into_iter().collect();
                self.refuse(Refusal::NotGuarded { target, asked, guarded });
                continue;
            }
            for gate in opened {
                let Some(rule) = policy.rule(gate) else { continue };
                let of_target: &mut Vec<Gate> = asked.entry(target.clone()).or_default();
                if of_target.iter().any(|it| it.meets(gate)) {
                    self.refuse(Refusal::AskedTwice { target: target.clone(), gate });
                    continue;
                }
                of_target.push(gate);
                let lease = match ask.window.lease(now) {
                    Ok(lease) => lease,
                    Err(reason) => {
                        self.refuse(at_most(reason, rule.max));
                        continue;
                    }
                };
                let broke_glass = self.gate(request, n, (&target, gate), &ask.sources, policy);
                if broke_glass && SKEW_MAX < lease.start().duration_since(now) {
                    // There is time to wait for somebody's yes.
                    self.refuse(Refusal::GlassLater { start: lease.start() });
                }
                self.length(lease, lease.start().max(now), policy, gate, terms);
                let id = GrantId::derived(&request.id, grants.len() + 1);
                let at = (target.clone(), gate);
                let grant = Grant::approved(id, request, at, ask.sources.clone(), lease);
                grants.push(Grant { broke_glass, ..grant });
            }
        }
        for target in targets.values() {
            let asked: Vec<&Grant> = grants.iter().filter(|it| it.target == target.id).collect();
            for reason in no_room(target, &request.by, &asked, now) {
                self.refuse(reason);
            }
            if !asked.is_empty() {
                self.beside_others(target, &asked, &[], now);
            }
        }
        if GATES_MAX < grants.len() {
            self.refuse(Refusal::TooManyGates { count: grants.len(), max: GATES_MAX });
        }
        (!grants.is_empty()).then_some(Outcome::Granted(grants))
    }

    /// INVARIANT (renewal-is-a-request): what a new request from now to the new end may not have,
    /// an extension may not have either; and no lease is longer than a day in all. Whoever took long to get
    /// here may meet a worker that began after the end and shuts: then there would be a gap.
    fn extend(
        &mut self,
        request: &Request,
        targets: &BTreeMap<TargetId, Target>,
        (target, grant, end): (&TargetId, &GrantId, Timestamp),
        terms: &Terms,
        now: Timestamp,
    ) -> Option<Outcome> {
        let policy = self.policy(target, targets)?;
        let known = targets.get(target)?;
        let now = known.decided_at().map_or(now, |decided_at| now.max(decided_at));
        let live = known.grant_of(grant).filter(|it| !it.lease.is_over(now));
        let Some(it) = live else {
            self.refuse(Refusal::GrantOver { grant: grant.clone() });
            return None;
        };
        if it.lease.end().duration_since(now) < LAST_SECONDS {
            self.refuse(Refusal::LastSeconds { grant: grant.clone(), within: LAST_SECONDS });
        }
        if policy.rule(it.gate).is_none() {
            let guarded = policy.gates().into_iter().collect();
            self.refuse(Refusal::NotGuarded { target: target.clone(), asked: it.gate.to_string(), guarded });
            return None;
        }
        self.gate(request, 0, (target, it.gate), &it.sources, policy);
        self.another_than_the_holder(request, it, policy);
        self.beside_others(known, &[it], &[it], now);
        match it.lease.extended(end) {
            Ok(lease) => {
                // An extension may be short: only its length from now on is bounded.
                let terms = Terms { lease_min: jiff::SignedDuration::ZERO, ..*terms };
                self.length(lease, lease.start().max(now), policy, it.gate, &terms);
                Some(Outcome::Extended { target: target.clone(), grant: grant.clone(), lease })
            }
            Err(reason) => {
                self.refuse(reason);
                None
            }
        }
    }

    fn policy<'a>(&mut self, id: &TargetId, targets: &'a BTreeMap<TargetId, Target>) -> Option<&'a Policy> {
        let reason = match targets.get(id) {
            None => Refusal::UnknownTarget { target: id.clone() },
            Some(target) => match target.policy() {
                Some(policy) => return Some(policy),
                None => Refusal::NotEnabled { target: id.clone() },
            },
        };
        self.refuse(reason);
        None
    }

    /// Who may stand before the gate, and who has to say yes, by the ask of this place. Is its glass broken, so that nobody has to?
    fn gate(
        &mut self,
        request: &Request,
        ask: usize,
        (target, gate): (&TargetId, Gate),
        sources: &Sources,
        policy: &Policy,
    ) -> bool {
        let Some(rule) = policy.rule(gate) else { return false };
        let target = target.clone();
        // INVARIANT (empty-is-nothing): no sources are a mistake, not everybody.
        if sources.is_empty() {
            self.refuse(Refusal::NoSources { target: target.clone(), gate });
        } else if !rule.sources.cover(sources) {
            let (asked, allowed) = (sources.clone(), rule.sources.clone());
            self.refuse(Refusal::SourceNotAllowed { target: target.clone(), gate, asked, allowed });
        }
        if let Some(asked) = unusable(sources).filter(|_| !target.is_host()) {
            self.refuse(Refusal::UnusableSource { target: target.clone(), asked });
        }
        let approvers = match &rule.approvers {
            Some(approvers) => approvers,
            // Roles and policies say who may approve it: the rule of the port names nobody.
            None if self.waits.has(ask) => &People::Anybody,
            None => return false,
        };
        if request.breaks_glass() {
            if rule.may_break_glass(&request.by) {
                return true;
            }
            let may = rule.break_glass.as_ref().map(People::people).unwrap_or_default();
            self.refuse(Refusal::MayNotBreakGlass { target, gate, by: request.by.clone(), may });
        } else {
            if !approvers.could_approve(&request.by) {
                self.refuse(Refusal::NobodyMayApprove { target, gate, by: request.by.clone() });
            }
            self.approvers = Some(self.approvers.as_ref().map_or(approvers.clone(), |it| it.and(approvers)));
        }
        false
    }

    /// INVARIANT (the-approver-is-another-person): a later end is for the good of the lease's holder, whoever asks for it.
    fn another_than_the_holder(&mut self, request: &Request, grant: &Grant, policy: &Policy) {
        let approvers = policy.rule(grant.gate).and_then(|it| it.approvers.as_ref());
        let is_left = |it: &People| it.has_another_than([&request.by, &grant.by]);
        if approvers.is_some_and(|it| it.could_approve(&request.by) && !is_left(it)) {
            let (target, gate, holder) = (grant.target.clone(), grant.gate, Box::new(grant.by.clone()));
            self.refuse(Refusal::NobodyMayExtend { target, gate, by: request.by.clone(), holder });
        }
    }

    /// Is there room in each firewall for what these grants need, beside what it holds for other machines and for others,
    /// and what the leases need that are not over, also those that have yet to begin? `counted` are among those.
    fn beside_others(&mut self, target: &Target, asked: &[&Grant], counted: &[&Grant], now: Timestamp) {
        let live = target.grants().values().filter(|it| !it.lease.is_over(now));
        let held: Vec<&Grant> = live.filter(|it| counted.iter().all(|other| other.id != it.id)).collect();
        let both: Vec<&Grant> = held.iter().chain(asked).copied().collect();
        for room in target.headroom() {
            let counts = [
                ("source ranges", ranges(&both), ranges(&held), room.ranges),
                ("rules", rules(&both), rules(&held), room.rules),
            ];
            for (what, needed, held, room_for) in counts {
                if room_for < needed && held < needed {
                    let (target, firewall) = (target.id.clone(), room.firewall.clone());
                    let asked = needed - held;
                    self.refuse(Refusal::FirewallFull {
                        target,
                        firewall,
                        what,
                        asked,
                        room: room_for,
                        held,
                    });
                }
            }
        }
    }

    fn length(&mut self, lease: Lease, from: Timestamp, policy: &Policy, gate: Gate, terms: &Terms) {
        let Some(rule) = policy.rule(gate) else { return };
        let asked = lease.end().duration_since(from);
        let reason = if rule.max < asked {
            Refusal::TooLong { asked, max: rule.max }
        } else if asked < terms.lease_min {
            Refusal::TooShort { asked, min: terms.lease_min }
        } else {
            return;
        };
        self.refuse(reason);
    }
}

/// How many source ranges grants need at most: a firewall may need a rule for each protocol.
fn ranges(grants: &[&Grant]) -> usize {
    grants.iter().map(|it| it.sources.ranges().len() * it.gate.protocol.transports().len()).sum()
}

/// How many rules grants need at most: one for each protocol and family of a gate.
fn rules(grants: &[&Grant]) -> usize {
    let families = |gate: Gate| {
        let ranges = grants.iter().filter(|it| it.gate == gate).flat_map(|it| it.sources.ranges());
        ranges.map(|it| it.addr().is_ipv4()).collect::<BTreeSet<bool>>().len()
    };
    let gates: BTreeSet<Gate> = grants.iter().map(|it| it.gate).collect();
    gates.into_iter().map(|gate| gate.protocol.transports().len() * families(gate)).sum()
}

/// The first of the sources from which no packet comes over a network: loopback, and groups of receivers.
fn unusable(sources: &Sources) -> Option<Sources> {
    let is_unusable = |it: &&IpNet| it.network().is_loopback() || it.network().is_multicast();
    sources.ranges().iter().find(is_unusable).map(|it| Sources::of([*it]))
}
