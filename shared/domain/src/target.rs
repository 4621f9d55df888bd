//! The one aggregate: a machine, who may reach it until when, and who is at work on its firewalls.

mod reading;

use crate::{
    Chain, Change, ClaimToken, CorrelationId, EndReason, Fact, ForeignDenies, Gate, Grant, GrantId, Grants,
    Head, Headroom, Lease, MachineFacts, Next, Pass, Person, Policy, PortRule, Refusal, Request, Rule,
    RuleName, RuleSet, Snapshot, Sources, Speaker, Standing, TargetId,
    delay::{Closing, Obstacles},
    drifts::Drifts,
    grant::Opening,
    marks::{Mark, marks, strays},
    view::View,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a worker lives; the platform kills it then.
pub const WORKER_LIFE: SignedDuration = SignedDuration::from_secs(20);
/// How far a worker's clock is from the truth, either way.
pub const SKEW_MAX: SignedDuration = SignedDuration::from_secs(2);
/// INVARIANT (a-claim-outlives-its-worker): a claim is longer than a worker lives, by any two clocks.
pub const CLAIM: SignedDuration = SignedDuration::from_secs(30);
const _: () = assert!(WORKER_LIFE.as_secs() + 2 * SKEW_MAX.as_secs() < CLAIM.as_secs());

/// When to look again after a write: a cloud may let it land this late.
pub const LOOK_AGAIN: [SignedDuration; 2] = [SignedDuration::from_mins(1), SignedDuration::from_mins(5)];
/// When to look again after a read-back that was not what we wanted: first, and later on.
pub const RETRY_MIN: SignedDuration = SignedDuration::from_secs(1);
/// No two looks at something that stays wrong are further apart.
pub const RETRY_MAX: SignedDuration = SignedDuration::from_secs(30);
/// Nor at something that should be shut and was not seen to be.
pub const RETRY_OVERDUE_MAX: SignedDuration = SignedDuration::from_secs(5);
/// An extension in the last seconds of a lease may come too late to leave no gap: skew and one settle.
pub const LAST_SECONDS: SignedDuration = SignedDuration::from_secs(4);
const _: () = assert!(SKEW_MAX.as_secs() < LAST_SECONDS.as_secs());
/// How many grants one confirm closes: each is written by itself, and a table takes so much in one transaction. The
/// others are due at once.
pub const CLOSED_AT_ONCE_MAX: usize = 50;

/// A machine: what is guarded, who may pass until when, and when somebody has to look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What it is called.
    pub id: TargetId,
    policy: Option<Policy>,
    policy_version: u64,
    trial: Option<Trial>,
    grants: Grants,
    claim: Option<Claim>,
    /// Times to look at the firewalls whatever the leases say; at most five.
    looks: Vec<Timestamp>,
    /// How often in a row a read-back was not what we wanted, or there was none.
    misses: u32,
    /// The time at which that was last tried. What was due by then waits for the look that was set then.
    missed_at: Option<Timestamp>,
    /// The last pass saw every rule as it is wanted, whatever defeats them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    written: bool,
    /// What the last read-back that agreed held; none while somebody may be writing.
    agreed: Option<BTreeMap<String, Mark>>,
    drifted: bool,
    #[serde(default, skip_serializing_if = "Drifts::is_empty")]
    drifts: Drifts,
    defeated: BTreeMap<Gate, String>,
    /// Why its rules could not be written when that was last tried: a limit, a permission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// How much room its firewalls had for its allows when they were last read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headroom: Vec<Headroom>,
    /// What its cloud told of the machine when somebody last guarded it. No entry tells it: it says nothing of who gets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<MachineFacts>,
    head: Head,
}

/// A policy that lapses unless somebody confirms it in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// When it lapses.
    pub until: Timestamp,
    /// What is put back then.
    pub before: Option<Policy>,
}

/// One worker's exclusive time to change the target's rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Whose.
    pub token: ClaimToken,
    /// Until when.
    pub until: Timestamp,
    /// When it was taken over from a worker that died at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over_at: Option<Timestamp>,
}

impl Target {
    /// A machine that is not guarded.
    pub fn unguarded(id: TargetId) -> Self {
        Self {
            id,
            policy: None,
            policy_version: 0,
            trial: None,
            grants: Grants::default(),
            claim: None,
            looks: vec![],
            misses: 0,
            missed_at: None,
            written: false,
            agreed: None,
            drifted: false,
            drifts: Drifts::default(),
            defeated: BTreeMap::new(),
            refused: None,
            headroom: vec![],
            machine: None,
            head: Head::default(),
        }
    }

    /// The same without its grants, for a table that keeps each of them by itself.
    #[must_use]
    pub fn without_grants(&self) -> Self {
        Self { grants: Grants::default(), ..self.clone() }
    }

    /// The same with these grants as well.
    #[must_use]
    pub fn with_grants(mut self, grants: impl IntoIterator<Item = Grant>) -> Self {
        for grant in grants {
            self.grants.insert(grant.id.clone(), grant);
        }
        self
    }

    /// What the target's firewalls must hold at `now`.
    ///
    /// INVARIANT (shut-by-default): what is guarded is denied, whatever else happens.
    /// INVARIANT (union-of-leases): a gate has one allow, for the sources of all its live leases.
    pub fn rules(&self, now: Timestamp) -> RuleSet {
        let Some(policy) = &self.policy else { return RuleSet::new() };
        let owner = self.owner();
        let mut doors = BTreeMap::<Gate, (Vec<_>, Timestamp)>::new();
        for grant in self.grants.values().filter(|it| it.is_wanted(now) && policy.rule(it.gate).is_some()) {
            let (ranges, until) = doors.entry(grant.gate).or_insert((vec![], grant.lease.end()));
            ranges.extend(grant.sources.ranges().iter().copied());
            *until = grant.lease.end().max(*until);
        }
        let name = |gate| RuleName { owner: owner.clone(), gate };
        let lockdown = (name(None), Rule::Deny { gates: policy.gates() });
        let allows = doors.into_iter().map(|(gate, (ranges, until))| {
            (name(Some(gate)), Rule::Allow { gate, sources: Sources::of(ranges), until })
        });
        let is_over = |it: &&PortRule| it.foreign_denies == ForeignDenies::Override;
        let over_blocks = policy.ports().iter().filter(is_over).map(PortRule::gate);
        let rules: RuleSet = std::iter::once(lockdown).chain(allows).collect();
        rules.over_blocks(over_blocks)
    }

    /// When somebody must settle this, if nobody is told to do so earlier.
    ///
    /// INVARIANT (nothing-is-forgotten): this is computed, never set, so no writer can lose what
    /// another was waiting for. While a claim stands only its end is due: then the worker is dead.
    pub fn due_at(&self) -> Option<Timestamp> {
        if let Some(claim) = &self.claim {
            return Some(claim.until);
        }
        let edges = self.grants.values().flat_map(Grant::edges).chain(self.trial.as_ref().map(|it| it.until));
        let untried = edges.filter(|edge| self.missed_at.is_none_or(|missed_at| missed_at < *edge));
        untried.chain(self.looks.iter().copied()).min()
    }

    // What people want. It needs no claim: the target is due by it.

    /// The same target with what its cloud tells of the machine now.
    #[must_use]
    pub fn with_machine(self, machine: MachineFacts) -> Self {
        Self { machine: Some(machine), ..self }
    }

    /// Sets what is guarded, or with `None` guards nothing. Grants on ports that are no longer guarded
    /// end; the others keep their leases. With `confirm_by` it lapses then, unless confirmed.
    pub fn set_policy<'a>(
        self,
        policy: Option<Policy>,
        by: impl Into<Speaker<'a>>,
        confirm_by: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Next, Refusal> {
        self.set(policy, by.into(), (confirm_by, false), now)
    }

    /// The same of a machine that another installation guarded until now.
    pub fn take_over<'a>(
        self,
        policy: Policy,
        by: impl Into<Speaker<'a>>,
        confirm_by: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Next, Refusal> {
        self.set(Some(policy), by.into(), (confirm_by, true), now)
    }

    fn set(
        mut self,
        policy: Option<Policy>,
        by: Speaker<'_>,
        (confirm_by, take_over): (Option<Timestamp>, bool),
        now: Timestamp,
    ) -> Result<Next, Refusal> {
        if self.trial.is_some() {
            return Err(Refusal::Unconfirmed { target: self.id });
        }
        self.trial = confirm_by.map(|until| Trial { until, before: self.policy.clone() });
        self.policy_version += 1;
        let version = self.policy_version;
        let mut facts = vec![Fact::PolicySet {
            version,
            policy: policy.clone(),
            by: by.person.clone(),
            confirm_by,
            take_over,
            via: by.via(),
        }];
        facts.extend(self.guard(policy, by, now));
        Ok(self.record(now, facts, vec![]))
    }

    /// Keeps a policy that would lapse.
    pub fn confirm_policy<'a>(mut self, by: impl Into<Speaker<'a>>, now: Timestamp) -> Result<Next, Refusal> {
        let by = by.into();
        match self.trial.take() {
            Some(trial) if now < trial.until => {
                let (version, via) = (self.policy_version, by.via());
                let fact = Fact::PolicyConfirmed { version, by: by.person.clone(), via };
                Ok(self.record(now, vec![fact], vec![]))
            }
            Some(_) | None => Err(Refusal::NothingToConfirm { target: self.id }),
        }
    }

    /// Grants what was reviewed and approved.
    #[must_use]
    pub fn grant(mut self, grants: Vec<Grant>, approver: Option<Speaker<'_>>, now: Timestamp) -> Next {
        self.want(now);
        let mut facts = vec![];
        for grant in grants {
            let grant = Grant { approved: approver.is_some(), ..grant };
            self.grants.insert(grant.id.clone(), grant.clone());
            let (grant, approver_via) = (Box::new(grant), approver.and_then(Speaker::via));
            let approver = approver.map(|it| it.person.clone());
            facts.push(Fact::Approved { grant, approver, approver_via });
        }
        self.record(now, facts, vec![])
    }

    /// Gives a grant the lease that was reviewed and approved.
    #[must_use]
    pub fn prolong(
        mut self,
        (grant, lease): (&GrantId, Lease),
        request: &Request,
        approver: Option<Speaker<'_>>,
        now: Timestamp,
    ) -> Next {
        let live = self.grants.get_mut(grant).filter(|it| !it.lease.is_over(now));
        let facts = live.map(|it| it.prolong(lease, request, approver));
        if facts.is_some() {
            self.look(now);
        }
        self.record(now, facts, vec![])
    }

    /// Ends a lease now. Ending what is over is success: somebody else was faster.
    #[must_use]
    pub fn close<'a>(
        mut self,
        grant: &GrantId,
        by: impl Into<Speaker<'a>>,
        correlation: Option<&CorrelationId>,
        now: Timestamp,
    ) -> Next {
        let by = by.into();
        let live = self.grants.get_mut(grant).filter(|it| !it.lease.is_over(now));
        let facts = live.map(|it| it.end(EndReason::UserRequested, by, correlation, now));
        if facts.is_some() {
            self.want(now);
        }
        self.record(now, facts, vec![])
    }

    /// Ends the leases that no role or policy permits to their requesters any more. Those that are over stay as they are.
    #[must_use]
    pub fn end_unpermitted<'a>(
        mut self,
        grants: &[GrantId],
        by: impl Into<Speaker<'a>>,
        now: Timestamp,
    ) -> Next {
        let by = by.into();
        let mut facts = vec![];
        for id in grants {
            let live = self.grants.get_mut(id).filter(|it| !it.lease.is_over(now));
            facts.extend(live.map(|it| it.end(EndReason::NotPermitted, by, None, now)));
        }
        if !facts.is_empty() {
            self.want(now);
        }
        self.record(now, facts, vec![])
    }

    /// Records what happened around this target and changes nothing of it.
    #[must_use]
    pub fn note(self, facts: Vec<Fact>, now: Timestamp) -> Next {
        self.record(now, facts, vec![])
    }

    // What a worker does with its firewalls.

    /// Is somebody at it, or did somebody die at it?
    pub fn is_claimed(&self) -> bool {
        self.claim.is_some()
    }

    /// Whose turn it is.
    pub fn standing(&self, token: &ClaimToken, now: Timestamp) -> Standing {
        match &self.claim {
            Some(claim) if claim.token == *token => Standing::Mine,
            Some(claim) if now < claim.until => Standing::Taken,
            Some(_) | None => Standing::Free,
        }
    }

    /// Takes the turn, and lets what is over by now lapse.
    #[must_use]
    pub fn claim(mut self, token: &ClaimToken, now: Timestamp) -> Next {
        let until = after(now, CLAIM);
        let mut facts = vec![];
        let taken_over_at = self.is_claimed().then_some(now);
        if let Some(dead) = self.claim.replace(Claim { token: token.clone(), until, taken_over_at }) {
            self.agreed = None;
            facts.push(Fact::TakenOver { from: dead.token });
        }
        facts.extend(self.lapse(now));
        self.record(now, facts, vec![])
    }

    /// Takes the claim away from a worker that is known to be dead; nothing changes where there is none.
    ///
    /// INVARIANT (a-write-is-looked-at-again): what it wrote may land yet.
    #[must_use]
    pub fn bury(mut self, now: Timestamp) -> Next {
        let facts = self.claim.take().map(|dead| Fact::TakenOver { from: dead.token });
        if facts.is_some() {
            self.look_again(now);
            self.look(now);
            self.agreed = None;
        }
        self.record(now, facts, vec![])
    }

    /// Records what is about to be written, before it is: a worker's death leaves no unrecorded write.
    #[must_use]
    pub fn intend(mut self, seen: &Snapshot, changes: &[Change]) -> Next {
        let mut facts = vec![];
        // Not what we last left behind: somebody else's hand, or a write that landed late.
        let rules =
            self.agreed.take().map(|before| strays(&before, &marks(&self.owner(), seen), seen.read_at));
        if let Some(rules) = rules.filter(|it| !it.is_empty()) {
            self.drifted = true;
            facts.push(Fact::DriftFound { rules });
            facts.extend(self.drifts.found(seen.read_at));
        }
        facts.push(Fact::Writing { changes: changes.iter().map(ToString::to_string).collect() });
        self.record(seen.read_at, facts, vec![])
    }

    /// What a read-back proves about the rules for `now`; gives the claim back.
    #[must_use]
    pub fn confirm(self, seen: &Snapshot, wrote: bool, decided: &RuleSet, now: Timestamp) -> Next {
        self.conclude(seen, &Pass { wrote, decided, now, opens_later: false, may_go_on: false })
    }

    /// The same of one pass of a worker.
    ///
    /// INVARIANT (closed-means-read-back): a grant is closed once its gate was seen to admit nobody
    /// but the live leases' sources. INVARIANT (a-write-is-looked-at-again), also when we lived.
    ///
    /// What is wanted otherwise since the pass decided is no failed attempt of its: that is due at once, as is what it
    /// left for later. Where the worker may go on it keeps its claim for that, which saves a commit for each pass.
    #[must_use]
    pub fn conclude(mut self, seen: &Snapshot, pass: &Pass<'_>) -> Next {
        let Pass { wrote, decided, now, opens_later, may_go_on } = *pass;
        let view = View::of(&self, seen, now);
        let is_unfinished = opens_later || view.desired != *decided;
        let agrees = view.agrees;
        self.written = agrees && !is_unfinished;
        let mut facts = vec![];
        let is_settled = agrees && self.defeats(&view, &mut facts);
        let closed = self.live(&view, pass, &mut facts);
        // Nobody saw what was left behind: a dead worker's intent, or our own that we did not hear of, is answered by this.
        let is_unseen = self.agreed.is_none();
        if wrote || !agrees || is_unseen {
            facts.push(view.read_back(self.policy()));
        }
        if self.drifted && agrees {
            self.drifted = false;
            facts.push(Fact::DriftHealed);
        }
        if agrees {
            self.agreed = Some(marks(&self.owner(), seen));
        }
        self.refused = seen.unshut.clone().or_else(|| seen.refused.clone());
        self.headroom.clone_from(&seen.headroom);
        let claim = self.claim.take();
        self.looks.retain(|look| now < *look);
        if wrote {
            self.look_again(seen.read_at);
        }
        // INVARIANT (the-read-back-decides): whatever a write's answer was. Whom somebody else keeps out who was let in
        // once is shown, and is no miss: no write of ours changes it, and what is wanted anew waits for no retry.
        if is_settled && self.grants.values().all(|it| it.obstacle().is_none() || it.opened_at.is_some()) {
            (self.misses, self.missed_at) = (0, None);
        } else if is_unfinished {
            self.look(now);
        } else {
            self.miss(now, seen.read_at);
        }
        // A policy that nobody confirmed lapses with a new claim, in a commit of its own.
        let lapses = self.trial.as_ref().is_some_and(|it| it.until <= seen.read_at);
        if may_go_on && !lapses && self.due_at().is_some_and(|due_at| due_at <= seen.read_at) {
            // As if it were claimed anew: whoever extends a lease must know by when the next pass decides.
            self.claim = claim.map(|it| Claim { until: after(seen.read_at, CLAIM), ..it });
        }
        self.record(seen.read_at, facts, closed)
    }

    /// Gives the claim back when the firewalls cannot be settled now; they are tried again.
    #[must_use]
    pub fn give_up(mut self, why: String, now: Timestamp) -> Next {
        (self.claim, self.written) = (None, false);
        // INVARIANT (a-write-is-looked-at-again): some of it may have been written.
        self.look_again(now);
        self.miss(now, now);
        // The first failure, the second, the fourth and so on: something broken for good fills no journal.
        let facts = self.misses.is_power_of_two().then_some(Fact::SettleFailed { why });
        self.record(now, facts, vec![])
    }

    /// What was in the way of the passes before.
    pub(crate) fn obstacles(&self) -> Obstacles {
        Obstacles {
            missed_at: self.missed_at,
            refused: self.refused.clone(),
            defeated: self.defeated.clone(),
            taken_over_at: self.claim.as_ref().and_then(|it| it.taken_over_at),
        }
    }

    /// Every gate that is guarded or that a grant still speaks of.
    pub(crate) fn gates(&self) -> std::collections::BTreeSet<Gate> {
        let guarded = self.policy.iter().flat_map(Policy::gates);
        guarded.chain(self.grants.values().map(|it| it.gate)).collect()
    }

    pub(crate) fn is_guarded(&self, gate: Gate) -> bool {
        self.policy.as_ref().is_some_and(|it| it.rule(gate).is_some())
    }

    /// Is it a gate of the policy, and not only a part of one?
    fn has_lock(&self, gate: Gate) -> bool {
        self.policy.as_ref().is_some_and(|it| it.gates().contains(&gate))
    }

    fn guard(&mut self, policy: Option<Policy>, by: Speaker<'_>, now: Timestamp) -> Vec<Fact> {
        self.policy = policy;
        let guarded = |gate| self.policy.as_ref().is_some_and(|it| it.rule(gate).is_some());
        let orphaned = |it: &&mut Grant| !guarded(it.gate) && !it.lease.is_over(now);
        let ended = self.grants.values_mut().filter(orphaned);
        let facts = ended.map(|it| it.end(EndReason::PolicyChanged, by, None, now)).collect();
        self.look(now);
        facts
    }

    /// Puts back the policy before one that nobody confirmed in time.
    fn lapse(&mut self, now: Timestamp) -> Vec<Fact> {
        let Some(trial) = self.trial.take_if(|it| it.until <= now) else { return vec![] };
        self.policy_version += 1;
        let (version, policy) = (self.policy_version, trial.before.clone());
        let ended = self.guard(trial.before, (&Person::portcullis()).into(), now);
        std::iter::once(Fact::PolicyReverted { version, policy }).chain(ended).collect()
    }

    /// Which locks are defeated, by whom; says whether none is.
    fn defeats(&mut self, view: &View<'_>, facts: &mut Vec<Fact>) -> bool {
        let (defeated, accepted) = (view.defeats(self), view.accepted(self.policy()));
        let has_changed = |it: &&Gate| self.defeated.get(it) != defeated.get(it);
        for gate in view.admitted.keys().filter(|it| self.has_lock(**it)).filter(has_changed) {
            let by = defeated.get(gate).cloned();
            let rules = accepted.get(gate).filter(|_| by.is_none()).map(|it| it.rules.iter());
            let accepted = rules.into_iter().flatten().map(|it| it.of().to_string()).collect();
            facts.push(Fact::LockDefeated { gate: *gate, by, accepted });
        }
        self.defeated = defeated;
        // What we were told to respect is no miss: no write of ours changes it.
        view.admitted.keys().all(|gate| !self.is_guarded(*gate) || view.keeps_out(*gate))
    }

    /// Opens and closes what the read-back proves; gives what is closed.
    ///
    /// INVARIANT (open-means-read-back): also of what was open before, at every look.
    fn live(&mut self, view: &View<'_>, pass: &Pass<'_>, facts: &mut Vec<Fact>) -> Vec<Grant> {
        let now = pass.now;
        let read_at = view.seen.read_at;
        let addresses = self.machine.as_ref().map(|it| it.addresses.clone()).unwrap_or_default();
        let mut closed = vec![];
        // Once for each gate: of thousands of leases each would compare the sources of all.
        let shut = |gate: &Gate| (*gate, view.is_shut(*gate, self.is_guarded(*gate)));
        let shut: BTreeMap<Gate, bool> = view.admitted.keys().map(shut).collect();
        for it in self.grants.values_mut() {
            let Some(admitted) = view.admitted.get(&it.gate) else { continue };
            let is_shut = shut.get(&it.gate).is_some_and(|it| *it);
            let (grant, reason, correlation) = (it.id.clone(), it.reason(), it.correlation.clone());
            if it.lease.is_over(now) {
                if is_shut && closed.len() < CLOSED_AT_ONCE_MAX {
                    it.closed_at = Some(read_at);
                    closed.push(it.clone());
                    let end = it.lease.end();
                    // Not where the gate stood for a later lease: this one was let in until then.
                    let stood = view.seen.lapsed.get(&view.name(it.gate));
                    let by_kernel = stood.is_some_and(|stood| *stood <= end);
                    let took = view.seen.written.get(&view.name(it.gate)).map(|it| it.within(end, read_at));
                    let cloud_ms = took.map(|it| whole_millis(&it)).filter(|it| 0 < *it);
                    let late_ms = if by_kernel { 0 } else { millis(end, read_at) };
                    let closing = Closing { gate: it.gate, end, seen_at: read_at, late_ms, cloud_ms };
                    let delay = view.delay(&closing);
                    facts.push(Fact::Closed {
                        grant,
                        reason,
                        late_ms,
                        cloud_ms,
                        delay,
                        by_kernel,
                        correlation,
                    });
                }
            } else if it.is_wanted(now) {
                if view.lets_in(&it.sources, admitted) {
                    if it.opened_at.is_none() || it.obstacle().is_some() {
                        let door = view.seen.doors.get(&it.gate).copied();
                        let after_ms = it.opened_at.is_none().then(|| millis(it.lease.start(), read_at));
                        let over = view.overridden(it.gate, &it.sources);
                        let may_refuse = view.seen.may_refuse(it.gate);
                        let opening = Opening { door, over: over.clone(), may_refuse: may_refuse.clone() };
                        it.open(read_at, opening);
                        let access = Some(Box::new(it.access(&addresses)));
                        facts.push(Fact::Opened {
                            grant,
                            access,
                            door,
                            over,
                            may_refuse,
                            after_ms,
                            correlation,
                        });
                    }
                } else if !pass.opens_later
                    && let Some(unopened) = view.why_not(it.gate, &it.sources, admitted)
                    && it.fail_to_open(unopened.obstacle())
                {
                    let (decided_by, refused) = unopened.obstacle().parts();
                    facts.push(Fact::OpenFailed { grant, decided_by, refused, correlation });
                }
            }
        }
        self.grants.retain(|it| it.closed_at.is_none());
        // Whatever was read: its end comes all the same.
        for it in self.grants.values_mut().filter(|it| it.is_closing_soon(now)) {
            let (grant, end, correlation) = (it.id.clone(), it.lease.end(), it.correlation.clone());
            it.told_end = Some(end);
            facts.push(Fact::ClosingSoon { grant, end, correlation });
        }
        closed
    }

    /// Somebody has to look by then.
    fn look(&mut self, by: Timestamp) {
        if self.looks.iter().all(|look| by < *look) {
            self.looks.push(by);
        }
    }

    /// Somebody may have written. What was awaited later is covered by the looks that are set now; what was
    /// awaited sooner is not.
    fn look_again(&mut self, now: Timestamp) {
        let soonest = self.looks.iter().copied().filter(|look| now < *look).min();
        self.looks = looks(now);
        self.looks.extend(soonest);
    }

    /// What is wanted anew does not wait for the look that a miss has set.
    fn want(&mut self, now: Timestamp) {
        if self.missed_at.is_some() {
            self.look(now);
        }
    }

    /// Twice the wait with every miss. It was tried for what was due at `now`, and not for what came due
    /// before it was seen, at `at`, to be missed.
    fn miss(&mut self, now: Timestamp, at: Timestamp) {
        let doubled = RETRY_MIN.checked_mul(1_i32 << self.misses.min(10)).unwrap_or(RETRY_MAX);
        self.misses = self.misses.saturating_add(1);
        self.missed_at = Some(now);
        let is_overdue = self.grants.values().any(|it| it.lease.is_over(now));
        let longest = if is_overdue { RETRY_OVERDUE_MAX } else { RETRY_MAX };
        // A look that comes sooner sets the next one itself: one chain of looks, however many started it.
        self.look(after(at, doubled.min(longest)));
    }

    fn record(mut self, at: Timestamp, facts: impl IntoIterator<Item = Fact>, closed: Vec<Grant>) -> Next {
        let (head, entries) = self.head.append(&Chain::from(&self.id), at, facts);
        self.head = head;
        let changed = |id: &GrantId| self.grants.get(id).cloned();
        let mut grants: Vec<Grant> =
            entries.iter().filter_map(|it| it.fact.grant()).filter_map(changed).collect();
        grants.dedup_by(|one, two| one.id == two.id);
        grants.extend(closed);
        Next { target: self, entries, grants }
    }
}

fn looks(now: Timestamp) -> Vec<Timestamp> {
    LOOK_AGAIN.map(|wait| after(now, wait)).to_vec()
}

fn millis(from: Timestamp, to: Timestamp) -> i64 {
    whole_millis(&to.duration_since(from))
}

fn whole_millis(time: &SignedDuration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
