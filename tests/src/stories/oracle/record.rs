//! What is written, into the table and into firewalls: each rule of the design at the place where it
//! would be broken.

use super::{Excuses, OPENS_WITHIN_MS, Oracle, PROMISED_MS, gates::admits};
use crate::stories::{
    actors::addresses,
    clock::{ms, stamp, world_ms},
    cloud::{Cloud, is_in_band, is_lock_of_the_hidden},
    executor::{CLAIMS_MAX, claim},
    store::{Row, Table},
};
use ipnet::IpNet;
use jiff::Timestamp;
use portcullis_domain::{
    CLAIM, Chain, Change, ChangeTo, ClaimToken, Delay, EndReason, Entry, Fact, Grant, GrantId, LEASE_MAX,
    LOOK_AGAIN, Lease, Owner, Party, People, Person, RETRY_MAX, RETRY_MIN, Request, RequestId, RequestState,
    Rule, Standing, Target, TargetId, Via, WORKER_LIFE, is_late,
};

impl Oracle {
    pub(in crate::stories) fn committed(
        &mut self,
        row: &mut Row,
        before: Option<&Target>,
        (entries, cloud): (&[Entry], &Cloud),
        worker: u64,
        now: i64,
    ) {
        self.journal(row, entries, now);
        let target = &row.target;
        let misses = target.misses();
        if before.map_or(0, Target::misses) < misses {
            self.count("read-back disagreed, or none");
            let wait = ms(RETRY_MIN).saturating_mul(1 << (misses - 1).min(10)).min(ms(RETRY_MAX));
            let is_full = self.are_limits_alone && target.refused().is_some();
            let of_what = if is_full { Excuses::Growth } else { Excuses::Work };
            self.excuse(Some(target.id.clone()), now, now + wait, of_what);
            self.missed_at.insert(target.id.clone(), now);
        }
        for entry in entries {
            self.answers(&entry.fact, now);
            self.fact(before, target, &entry.fact, cloud, now);
        }
        self.told((before, target), entries, worker, now);
        self.trial(before, entries, &target.id, now);
        self.due(target, now);
        self.looks(target, now);
    }

    /// INVARIANT (journal-equals-state): and the chain verifies.
    fn journal(&mut self, row: &mut Row, entries: &[Entry], now: i64) {
        let chain = Chain::from(&row.target.id);
        for entry in entries {
            match row.head.follow(&chain, entry) {
                Ok(head) => row.head = head,
                Err(bad) => self.break_rule("journal-equals-state", now, bad),
            }
            row.told.hear(entry);
        }
        if let Err(bad) = row.told.agrees_with(&row.target) {
            self.break_rule("journal-equals-state", now, bad);
        }
        if row.head != row.target.head() {
            self.break_rule("journal-equals-state", now, "the head is not where the chain ends");
        }
    }

    fn fact(&mut self, before: Option<&Target>, target: &Target, fact: &Fact, cloud: &Cloud, now: i64) {
        let was = |id: &GrantId| before.and_then(|it| it.grant_of(id));
        match fact {
            Fact::Approved { grant, approver, .. } => {
                self.count("approved");
                if self.approved_at.insert(grant.id.clone(), now).is_some() {
                    self.break_rule("granted-once", now, format!("{} was granted before", grant.id));
                }
                self.allowed(before, grant, grant.lease, now);
                if grant.broke_glass {
                    self.may_break_glass(before, grant, approver.as_ref(), now);
                } else {
                    self.needs_no_more(before, grant, approver.as_ref(), now);
                }
            }
            Fact::Extended { grant, lease, approver, .. } => {
                self.count("extended");
                let Some(it) = was(grant) else {
                    return self.break_rule(
                        "renewal-is-a-request",
                        now,
                        format!("{grant} is gone, and extended"),
                    );
                };
                if lease.start() != it.lease.start() || lease.end() <= it.lease.end() {
                    self.break_rule(
                        "renewal-is-a-request",
                        now,
                        format!("{grant} has a gap: {:?}, {lease:?}", it.lease),
                    );
                }
                self.allowed(before, it, *lease, now);
                // Also if its glass was broken: that was for the lease that it had.
                self.needs_no_more(before, it, approver.as_ref(), now);
                // Who decided before it was extended may shut it, until it is looked at again.
                let late = now + self.skew_ms;
                if world_ms(it.lease.end()) <= late {
                    self.count("extended at the very end");
                    let until = self.deadline(Some(&target.id), now, PROMISED_MS);
                    self.excuse(Some(target.id.clone()), now, until, Excuses::WorkAndCuts);
                }
            }
            Fact::Opened { grant, .. } => match was(grant) {
                Some(it) if it.opened_at.is_some() => self.count("open again"),
                Some(it) => {
                    self.count("opened");
                    self.opened(it, now, now);
                }
                None => self.count("opened"),
            },
            Fact::Closed { grant, late_ms, cloud_ms, delay, .. } => {
                self.delayed(is_late(*late_ms, *cloud_ms), delay.as_ref(), now);
                if let Some(it) = was(grant) {
                    self.closed(it, target, cloud, now);
                }
            }
            Fact::Ended { reason, .. } => self.count(ended(*reason)),
            Fact::ClosingSoon { .. } => self.count("told to end soon"),
            Fact::TakenOver { .. } => {
                self.count("claim taken over");
                self.written_at.insert(target.id.clone(), now);
            }
            Fact::OpenFailed { grant, .. } => {
                let was_open = was(grant).is_some_and(|it| it.opened_at.is_some());
                self.count(if was_open { "open, and kept out" } else { "open failed" });
            }
            Fact::LockDefeated { by: Some(_), .. } => self.count("lock defeated"),
            Fact::LockDefeated { by: None, .. } => self.count("lock holds again"),
            Fact::DriftFound { .. } => self.count("drift found"),
            Fact::DriftRepeated { .. } => self.count("drift repeated"),
            Fact::DriftHealed => self.count("drift healed"),
            Fact::SettleFailed { .. } => self.count("settle failed"),
            Fact::PolicySet { policy: Some(_), version: 1, .. } => self.count("enabled"),
            Fact::PolicySet { policy: Some(_), .. } => self.count("edited"),
            Fact::PolicySet { policy: None, .. } => self.count("disabled"),
            Fact::PolicyConfirmed { .. } => self.count("trial confirmed"),
            Fact::PolicyReverted { .. } => self.count("trial reverted"),
            Fact::DecisionRefused { .. } => self.count("decision refused"),
            Fact::GlassBroken { .. } => self.count("glass broken"),
            Fact::RequestRefused { .. }
            | Fact::ApprovalNeeded { .. }
            | Fact::RequestRejected { .. }
            | Fact::RequestWithdrawn { .. }
            | Fact::RequestExplained { .. }
            | Fact::RequestLapsed { .. }
            | Fact::ReadBack { .. }
            | Fact::OrphanDeleted { .. }
            | Fact::Adopted { .. }
            | Fact::ForeignDeleted { .. }
            | Fact::TokenMade { .. }
            | Fact::TokenRevoked { .. }
            | Fact::EventRefused { .. }
            | Fact::ExportAsked { .. }
            | Fact::ExportReady { .. }
            | Fact::TokenRefused { .. } | Fact::PoliciesChanged { .. } | Fact::PoliciesRefused { .. }
            | Fact::RoleGranted { .. } | Fact::RoleRevoked { .. } | Fact::RoleRefused { .. }
            | Fact::ClockJumped { .. }
            | Fact::DiskLow { .. }
            | Fact::DiskFailed { .. }
            | Fact::DiskRecovered
            | Fact::PolicyRefused { .. }
            // An intent is no write: each is told of as it is made. Whoever did not hear that theirs was recorded makes none.
            | Fact::Writing { .. } => {}
        }
    }

    /// INVARIANT (nothing-unrecorded): each closing that came late says why, and no other.
    fn delayed(&mut self, is_late: bool, delay: Option<&Delay>, now: i64) {
        self.count(match delay.map(|it| it.cause.party()) {
            None => "closed",
            Some(Party::Portcullis) => "closed late, and that was ours",
            Some(Party::Cloud) => "closed late, and that was the cloud's",
            Some(Party::Machine) => "closed late, and that was the machine's",
        });
        if delay.is_some() != is_late {
            let how = format!("a closing that is late, {is_late}, has the delay {delay:?}");
            self.break_rule("nothing-unrecorded", now, how);
        }
    }

    /// INVARIANT (one-door-in, empty-is-nothing): whatever is granted is what the policy allows.
    fn allowed(&mut self, before: Option<&Target>, it: &Grant, lease: Lease, now: i64) {
        let (id, gate) = (&it.id, it.gate);
        let Some(rule) = before.and_then(Target::policy).and_then(|it| it.rule(gate)) else {
            return self.break_rule("one-door-in", now, format!("{id} is for {gate}, which is not guarded"));
        };
        if it.sources.is_empty() {
            self.break_rule("empty-is-nothing", now, format!("{id} is for nobody"));
        }
        if !rule.sources.cover(&it.sources) {
            self.break_rule(
                "one-door-in",
                now,
                format!("{id} is for {}, beyond {}", it.sources, rule.sources),
            );
        }
        // What an asker took for now may be a slow call ago.
        let from = stamp(now + self.skew_ms).max(lease.start());
        if rule.max < lease.end().duration_since(from) {
            self.break_rule("one-door-in", now, format!("{id} is longer than {:#}", rule.max));
        }
    }

    /// Somebody who may said yes, where somebody has to.
    fn needs_no_more(&mut self, before: Option<&Target>, it: &Grant, approver: Option<&Person>, now: i64) {
        let rule = before.and_then(Target::policy).and_then(|policy| policy.rule(it.gate));
        let Some(approvers) = rule.and_then(|it| it.approvers.as_ref()) else { return };
        if !approver.is_some_and(|by| is_named(by, approvers) && *by != it.by) {
            let how = format!("{} was approved by {approver:?}, not by {approvers:?}", it.id);
            self.break_rule("one-door-in", now, how);
        }
    }

    /// INVARIANT (one-door-in, empty-is-nothing): nobody said yes, somebody had to, and whoever asked is named for that.
    fn may_break_glass(&mut self, before: Option<&Target>, it: &Grant, approver: Option<&Person>, now: i64) {
        let rule = before.and_then(Target::policy).and_then(|policy| policy.rule(it.gate));
        let may = rule.filter(|it| it.approvers.is_some()).and_then(|it| it.break_glass.as_ref());
        if approver.is_some() || !may.is_some_and(|may| is_named(&it.by, may)) {
            let how = format!("{} broke the glass for {}, and {may:?} may: {approver:?}", it.by, it.id);
            self.break_rule("one-door-in", now, how);
        }
    }

    fn opened(&mut self, it: &Grant, until: i64, now: i64) {
        let approved_at = self.approved_at.get(&it.id).copied().unwrap_or(now);
        let since = approved_at.max(world_ms(it.lease.start()));
        if OPENS_WITHIN_MS < until - since && self.open_deadline(&it.target, since, OPENS_WITHIN_MS) < until {
            self.break_rule("opens-on-time", now, format!("{} was kept waiting since {since} ms", it.id));
        }
    }

    /// INVARIANT (closed-means-read-back): nobody gets in whom no lease admits.
    fn closed(&mut self, it: &Grant, target: &Target, cloud: &Cloud, now: i64) {
        let end = world_ms(it.lease.end());
        if it.opened_at.is_none() {
            self.opened(it, end, now);
        }
        let approved_at = self.approved_at.get(&it.id).copied().unwrap_or(now);
        let since = end.max(approved_at);
        if self.deadline(Some(&it.target), since, PROMISED_MS + ms(RETRY_MIN)) < now {
            self.break_rule("the-clock-closes", now, format!("{} was over since {since} ms", it.id));
        }
        let foul =
            self.cut_deadline(&it.target, now - ms(WORKER_LIFE)).max(self.cut_deadline(&it.target, now));
        if now < foul {
            // A foreign hand may have been there since the read-back.
            return;
        }
        let is_guarded = target.policy().is_some_and(|policy| policy.rule(it.gate).is_some());
        let is_anybodys =
            |who| target.grants().values().any(|other| other.gate == it.gate && other.sources.admit(who));
        let mut who = addresses().into_iter().filter(|who| it.sources.admit(*who) && !is_anybodys(*who));
        let is_open = if is_guarded {
            who.any(|who| admits(cloud, &it.target, it.gate, who))
        } else {
            cloud.holds(&it.target, |name| name.gate == Some(it.gate))
        };
        if is_open {
            self.break_rule("closed-means-read-back", now, format!("{} is closed, and open", it.id));
        }
    }

    /// A policy on trial lapses on time, and is confirmed in time.
    fn trial(&mut self, before: Option<&Target>, entries: &[Entry], id: &TargetId, now: i64) {
        let Some(until) = before.and_then(Target::trial).map(|it| world_ms(it.until)) else { return };
        let reverts = entries.iter().any(|it| matches!(it.fact, Fact::PolicyReverted { .. }));
        let confirms = entries.iter().any(|it| matches!(it.fact, Fact::PolicyConfirmed { .. }));
        let deadline = self.deadline(Some(id), until, PROMISED_MS);
        if (reverts || confirms) && deadline < now {
            self.break_rule("the-clock-closes", now, format!("the trial of {id} was over since {until} ms"));
        }
        if reverts && now + self.skew_ms < until {
            self.break_rule("the-clock-closes", now, format!("the trial of {id} lasts until {until} ms"));
        }
    }

    /// INVARIANT (nothing-is-forgotten): whatever is not at rest is due.
    fn due(&mut self, target: &Target, now: i64) {
        let edge = |it: &Grant| if it.opened_at.is_none() { it.lease.start() } else { it.lease.end() };
        let edges = target.grants().values().map(edge).chain(target.trial().map(|it| it.until));
        let claim = (!is_free(target)).then(|| stamp(now));
        let Some(edge) = edges.chain(claim).min() else { return };
        let latest = world_ms(edge).max(now + ms(CLAIM).max(ms(RETRY_MAX)) + self.skew_ms);
        if target.due_at().is_none_or(|at| latest < world_ms(at)) {
            let due_at = target.due_at().map(world_ms);
            self.break_rule(
                "nothing-is-forgotten",
                now,
                format!("{} is due at {due_at:?}, not by {latest} ms", target.id),
            );
        }
    }

    /// INVARIANT (a-write-is-looked-at-again): after one minute and after five.
    fn looks(&mut self, target: &Target, now: i64) {
        let Some(written_at) = self.written_at.get(&target.id).copied().filter(|_| is_free(target)) else {
            return;
        };
        let looked_at = self.looked_at.get(&target.id).copied().unwrap_or(0);
        let slack = ms(WORKER_LIFE) + 2 * self.skew_ms;
        let Some(wait) = LOOK_AGAIN.iter().map(|it| ms(*it)).find(|it| looked_at < written_at + it - slack)
        else {
            return;
        };
        // Who gives up sets the looks anew, and a look that failed is tried again; who slept reads back later.
        let missed_at = self.missed_at.get(&target.id).copied().unwrap_or(0);
        let from = written_at.max(missed_at).max(self.awake_at);
        let latest = (from + wait + slack).max(now + ms(RETRY_MAX) + self.skew_ms);
        if target.due_at().is_none_or(|at| latest < world_ms(at)) {
            let due_at = target.due_at().map(world_ms);
            let how = format!(
                "{} was written at {written_at} ms, looked at at {looked_at} ms, and is due at {due_at:?}",
                target.id
            );
            self.break_rule("a-write-is-looked-at-again", now, how);
        }
    }

    /// INVARIANT (approval-binds-a-version, nothing-is-forgotten): of requests.
    pub(in crate::stories) fn decided(&mut self, before: Option<&Request>, request: &Request, now: i64) {
        let id = &request.id;
        let pending = before.and_then(|it| match &it.state {
            RequestState::Pending { until, approvers, because: _ } => Some((world_ms(*until), approvers)),
            RequestState::Approved { .. }
            | RequestState::Rejected { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => None,
        });
        if before.is_some() && pending.is_none() {
            self.break_rule("granted-once", now, format!("{id} is decided once more"));
        }
        if before.is_some_and(|it| it.shown() != request.shown()) {
            self.break_rule("approval-binds-a-version", now, format!("{id} is not what it was"));
        }
        self.is_loud(request, now);
        match &request.state {
            RequestState::Pending { until, .. } => {
                self.count("needs approval");
                if request.due_at() != Some(*until) {
                    self.break_rule("nothing-is-forgotten", now, format!("{id} waits until {until}"));
                }
            }
            RequestState::Approved { by: None, .. } if before.is_none() => {}
            RequestState::Approved { by, via, .. } => {
                self.count("approved by somebody");
                let bot = |it: &Option<Via>| it.as_ref().and_then(Via::bot).map(ToOwned::to_owned);
                if bot(via).is_some_and(|it| Some(it) == bot(&request.via)) {
                    let how = format!("one bot asked and approved: {request:?}");
                    self.break_rule("the-approver-is-another-person", now, how);
                }
                let Some((until, approvers)) = pending else { return };
                let by = by.as_ref().filter(|by| approvers.admit(by, &request.by));
                if !by.is_some_and(|by| self.shown.contains(&(id.clone(), by.clone(), request.shown()))) {
                    self.break_rule(
                        "approval-binds-a-version",
                        now,
                        format!("{by:?} saw something else than {id}"),
                    );
                }
                self.in_time(until, id, now);
            }
            RequestState::Rejected { .. } => {
                self.count("rejected");
            }
            RequestState::Withdrawn { by, .. } => {
                self.count("withdrawn");
                if *by != request.by {
                    self.break_rule("one-door-in", now, format!("{by} withdrew {request:?}"));
                }
            }
            RequestState::Lapsed { .. } => {
                self.count("lapsed");
                let Some((until, _)) = pending else { return };
                if now + self.skew_ms < until {
                    self.break_rule("the-clock-closes", now, format!("{id} lapsed before {until} ms"));
                }
                self.in_time(until, id, now);
            }
        }
    }

    fn in_time(&mut self, until: i64, id: &RequestId, now: i64) {
        if self.deadline(None, until, PROMISED_MS) < now {
            self.break_rule("the-clock-closes", now, format!("{id} should have lapsed at {until} ms"));
        }
    }

    pub(in crate::stories) fn shown(&mut self, id: &RequestId, by: &Person, shown: &str) {
        self.shown.insert((id.clone(), by.clone(), shown.to_owned()));
    }

    pub(in crate::stories) fn recorded(&mut self, entry: &Entry, now: i64) {
        self.answers(&entry.fact, now);
        if let Fact::OrphanDeleted { rule, .. } = &entry.fact {
            self.count("orphan deleted");
            self.orphans.insert(rule.clone());
        } else if let Fact::ClockJumped { by_ms } = &entry.fact {
            self.count("clock was seen to be set");
            let Some(at) = self.jumps.iter().position(|it| it == by_ms) else {
                let how = format!("the clock was not set by {by_ms} ms");
                return self.break_rule("nothing-unrecorded", now, how);
            };
            self.jumps.swap_remove(at);
        } else {
            self.count("recorded beside the targets");
        }
    }

    /// Every write, as its worker makes it: whose, where, what, and with which right.
    pub(in crate::stories) fn wrote(
        &mut self,
        (table, cloud): (&Table, &Cloud),
        (worker, is_zombie): (u64, bool),
        target: Option<&TargetId>,
        change: &Change,
        now: i64,
    ) {
        self.count("written");
        match target {
            None => self.swept((table, cloud), change, now),
            Some(id) => {
                self.written_at.insert(id.clone(), now);
                if change.name.owner != Owner::from(id) {
                    self.break_rule("no-neighbour-harmed", now, format!("{change} is none of {id}'s"));
                }
                let Some(row) = table.targets.get(id) else {
                    return self.break_rule(
                        "unknown-is-asked-last",
                        now,
                        format!("{id} is written, and not stored"),
                    );
                };
                let is_mine = |n| row.target.standing(&claim(worker, n), stamp(now)) == Standing::Mine;
                if !is_zombie && !(0..CLAIMS_MAX).any(is_mine) {
                    self.break_rule(
                        "a-claim-outlives-its-worker",
                        now,
                        format!("w{worker} writes without a claim on {id}"),
                    );
                }
                let intent = |it: &Entry| {
                    if let Fact::Writing { changes } = &it.fact { Some(changes.clone()) } else { None }
                };
                let intended = row.entries.iter().rev().find_map(intent).unwrap_or_default();
                let text = change.to_string();
                if !intended.contains(&text) && !is_zombie {
                    self.break_rule(
                        "journal-equals-state",
                        now,
                        format!("nobody recorded the intent to {text}"),
                    );
                }
            }
        }
        let ChangeTo::Put { rule, priority } = &change.to else { return };
        if !is_in_band(rule, *priority) {
            self.break_rule("no-neighbour-harmed", now, format!("{change} is outside our bands"));
        }
        let Rule::Allow { sources, .. } = rule else { return };
        if sources.is_empty() {
            self.break_rule("empty-is-nothing", now, format!("{change} admits nobody"));
        }
        let ranges = sources.ranges();
        let is_twice = |it: &&IpNet| 1 < ranges.iter().filter(|other| other.contains(*it)).count();
        if ranges.iter().any(|it| is_twice(&it)) {
            self.break_rule("union-of-leases", now, format!("{change} has ranges that overlap"));
        }
    }

    /// INVARIANT (unknown-is-asked-last): a sweep deletes what nobody knows, and records it first. It leaves another
    /// installation's lock, and its lease until that is over.
    fn swept(&mut self, (table, cloud): (&Table, &Cloud), change: &Change, now: i64) {
        if cloud.is_over_or_kept(change) {
            // A rule that is over goes whosever it was, once it may be deleted; that is recorded afterwards.
            return;
        }
        if let Some(id) = table.owner(&change.name.owner) {
            self.break_rule("unknown-is-asked-last", now, format!("{change} is a rule of {id}, no orphan"));
        }
        if !self.orphans.contains(&change.name.to_string()) {
            self.break_rule("journal-equals-state", now, format!("{change} was not recorded"));
        }
        let lasts = |until: Timestamp| {
            stamp(now + self.skew_ms) < until && until.duration_since(stamp(now)) <= LEASE_MAX
        };
        if is_lock_of_the_hidden(&change.name)
            || cloud.until(&change.firewall, &change.name).is_some_and(lasts)
        {
            self.break_rule("no-neighbour-harmed", now, format!("{change} is another installation's"));
        }
    }
}

fn is_named(person: &Person, people: &People) -> bool {
    match people {
        People::Anybody => true,
        People::Only(people) => people.contains(person),
    }
}

/// Does nobody hold a claim?
pub(super) fn is_free(target: &Target) -> bool {
    let nobody: ClaimToken = "nobody".parse().expect("a token");
    target.standing(&nobody, Timestamp::MIN) == Standing::Free
}

fn ended(reason: EndReason) -> &'static str {
    if reason == EndReason::NotPermitted { "lease lost its right" } else { "ended early" }
}
