//! What is guarded: enable, edit, disable, confirm; and plan, which only looks.

use crate::{
    Accepting, Call, Error, accept,
    beforehand::{elsewhere, just_in_time, warnings},
    ports::{Batch, Firewalls, Inventory, Machine, Rank, Seen, Store},
    record::Record,
    transact::{Attempt, transact},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Accept, Accepted, AddressSet, Change, Fact, Gate, MetDeny, Next, Os, Outlook, Person, Policy, PolicyEdit,
    PortEdit, Refusal, Refusals, Sessions, Snapshot, Speaker, Target, TargetId, Terms, Via, diff, outlook,
};

/// The shortest and the longest time to confirm a policy within.
const CONFIRM_WITHIN: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(5), SignedDuration::from_hours(1));

/// Who guards what, since when.
#[derive(Debug, Clone)]
pub(crate) struct Guarding {
    /// The machine.
    pub(crate) target: TargetId,
    /// Who says so.
    pub(crate) by: Person,
    /// By which channel.
    pub(crate) via: Via,
    /// The policy lapses after this long, unless confirmed.
    pub(crate) confirm_within: Option<SignedDuration>,
    /// Rules of ours that this table knows nothing of are taken for those of a table that was lost.
    pub(crate) take_over: bool,
    /// Foreign rules that are accepted with it, as they are now.
    pub(crate) accept: Vec<Accept>,
    /// Is it the policy of another product, which is taken over?
    pub(crate) adopts: bool,
}

/// A target as it is now guarded, or no longer.
#[derive(Debug, Clone)]
pub struct Guarded {
    /// The target.
    pub target: Target,
    /// Is it guarded otherwise than before? Wanting twice what is so already is success, and changes nothing.
    pub changed: bool,
    /// What the caller should know before it is too late.
    pub warnings: Vec<String>,
}

/// What settling would do to a target's firewalls, and what would come of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What would be written.
    pub changes: Vec<Change>,
    /// Every gate that is or would be guarded.
    pub gates: Vec<PlannedGate>,
    /// What becomes of open sessions when a lease ends.
    pub sessions: Sessions,
    /// What the caller should know before it is too late.
    pub warnings: Vec<String>,
}

/// One gate of a plan.
#[derive(Debug, Clone)]
pub struct PlannedGate {
    /// The gate.
    pub gate: Gate,
    /// Who passes now.
    pub admits_now: String,
    /// Foreign rules that let somebody in now and would not any more.
    pub shadows: Vec<String>,
    /// Foreign rules that would let somebody in without a lease, and when, if not always.
    pub defeated_by: Vec<String>,
    /// Accepted rules that would let somebody in without a lease.
    pub accepted: Vec<Accepted>,
    /// Packet filters of others that may refuse a lease.
    pub may_refuse: Vec<String>,
    /// Foreign denies that a lease from anywhere would meet.
    pub denies: Vec<MetDeny>,
}

/// The policy of a machine that is not guarded yet: these ports, or without any the one that its system is managed through.
/// The catalogue is asked for the system only where the table does not know it.
pub(crate) async fn first_policy(
    store: &impl Store,
    inventory: &impl Inventory,
    target: &TargetId,
    ports: &[PortEdit],
    terms: &Terms,
) -> Result<Policy, Error> {
    // Named ports need no system.
    let known = store.target(target).await?.and_then(|(it, _)| it.machine().map(|it| it.os));
    let os = match (ports, known) {
        ([_, ..], _) => Os::Linux,
        ([], Some(os)) => os,
        ([], None) => {
            let machine = inventory.machine(target).await?;
            machine.ok_or_else(|| Error::NotFound { what: "target", name: target.to_string() })?.os
        }
    };
    Ok(PolicyEdit::first(ports, os, terms)?)
}

/// Guards a target that is not guarded. Enabling twice with the same policy is enabling once, and asks nobody but the table: only
/// a machine that is not guarded yet has to be found first, to know whether it can be.
pub(crate) async fn enable(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    guarding: &Guarding,
    policy: &Policy,
    now: Timestamp,
) -> Result<Guarded, Error> {
    let known = store.target(&guarding.target).await?.map(|(target, _)| target);
    let is_guarded = known.as_ref().is_some_and(|it| it.policy().is_some());
    let needs_no_cloud = is_guarded && guarding.accept.is_empty();
    let found = if needs_no_cloud { None } else { Some(supported(outside, &guarding.target).await?) };
    let confirm_by = guarding.confirm_by(now)?;
    let policy = &match &found {
        Some((_, snapshot)) => {
            let target = known.unwrap_or_else(|| Target::unguarded(guarding.target.clone()));
            let policy = policy.clone().keeping_accepted(target.policy());
            accept::accepted(&guarding.accept, target, policy, snapshot, &guarding.by, now)?
        }
        None => policy.clone(),
    };
    let warn = |(_, snapshot): &(_, Snapshot)| {
        let target = Target::unguarded(guarding.target.clone());
        let mut warnings = warnings(snapshot, policy, guarding.confirm_within.is_some());
        warnings.extend(defeats(snapshot, target, policy, &guarding.by, now));
        warnings.extend(just_in_time(snapshot).filter(|_| !guarding.adopts));
        warnings
    };
    let warnings = found.as_ref().map(warn).unwrap_or_default();
    let set = |target: Target| match target.policy() {
        None => {
            let elsewhere = found.as_ref().and_then(|(_, snapshot)| elsewhere(&target, snapshot));
            let is_taken_over = match elsewhere {
                Some(elsewhere) if !guarding.take_over => return Err(elsewhere),
                elsewhere => elsewhere.is_some(),
            };
            let target = match found.as_ref().map(|(machine, _)| machine.facts()) {
                Some(facts) => target.with_machine(facts),
                // Somebody disabled it meanwhile: the facts that it has are as good.
                None => target,
            };
            let (policy, by) = (policy.clone(), guarding.speaker());
            if is_taken_over {
                target.take_over(policy, by, confirm_by, now).map(Some)
            } else {
                target.set_policy(Some(policy), by, confirm_by, now).map(Some)
            }
        }
        Some(before) if guarding.accept.is_empty() && before.leases_as(policy) => Ok(None),
        Some(before) if before == policy => Ok(None),
        Some(_) => Err(Refusal::AlreadyEnabled { target: target.id }),
    };
    let (target, changed) = change(store, &guarding.target, true, set).await?;
    Ok(Guarded { target, changed, warnings })
}

/// Changes the policy of a guarded target. Grants on ports that are no longer guarded end.
///
/// It needs no fact of the machine: what it was guarded for is in the table, and a change that shuts something must not wait for
/// a cloud. The firewalls are read only to warn of connections, and if they cannot be, the warning says that; but to accept a rule
/// is to accept what it says now, for which they are read.
pub(crate) async fn edit(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    guarding: &Guarding,
    policy: impl Fn(&Policy) -> Result<Policy, Refusals> + Send + Sync,
    accepting: &Accepting,
    now: Timestamp,
) -> Result<Guarded, Error> {
    accepting.refuse_both()?;
    let confirm_by = guarding.confirm_by(now)?;
    let known = store.target(&guarding.target).await?;
    if known.is_none() {
        self::known(store, outside, &guarding.target).await?;
    }
    let wanted = match known.as_ref().and_then(|(target, _)| target.policy()) {
        Some(before) => policy(before)?.no_longer_accepting(&accepting.no_longer)?,
        None => return Err(Refusal::NotEnabled { target: guarding.target.clone() }.into()),
    };
    let read = if accepting.accept.is_empty() { None } else { Some(outside.read(&guarding.target).await?) };
    let wanted = match (&read, &known) {
        (Some(snapshot), Some((target, _))) => {
            accept::accepted(&accepting.accept, target.clone(), wanted, snapshot, &guarding.by, now)?
        }
        (None, _) | (_, None) => wanted,
    };
    let before = known.and_then(|(target, _)| target.policy().cloned());
    let warnings = if before.as_ref() == Some(&wanted) {
        vec![]
    } else {
        let read = match read {
            Some(snapshot) => Ok(snapshot),
            None => outside.read(&guarding.target).await,
        };
        match read {
            Ok(snapshot) => warnings(&snapshot, &wanted, guarding.confirm_within.is_some()),
            Err(error) => {
                vec![format!(
                    "the connections that this change cuts off could not be listed: {}",
                    error.full()
                )]
            }
        }
    };
    let set = |target: Target| {
        if target.policy().is_none() {
            Err(Refusal::NotEnabled { target: target.id })
        } else if target.policy() == Some(&wanted) {
            Ok(None)
        } else if target.policy() != before.as_ref() {
            // Somebody edited it meanwhile: what was asked may undo that without meaning to.
            Err(Refusal::ChangedMeanwhile { target: target.id })
        } else {
            target.set_policy(Some(wanted.clone()), guarding.speaker(), confirm_by, now).map(Some)
        }
    };
    let (target, changed) = change(store, &guarding.target, false, set).await?;
    Ok(Guarded { target, changed, warnings })
}

/// Guards a target no longer: its grants end, and its firewalls become what they were before.
pub(crate) async fn disable(
    store: &impl Store,
    inventory: &impl Inventory,
    target: &TargetId,
    by: Speaker<'_>,
    now: Timestamp,
) -> Result<Guarded, Error> {
    known(store, inventory, target).await?;
    // Disabling what is not guarded is success: somebody else was faster.
    let set = |target: Target| match target.policy() {
        None => Ok(None),
        Some(_) => target.set_policy(None, by, None, now).map(Some),
    };
    let (target, changed) = change(store, target, true, set).await?;
    Ok(Guarded { target, changed, warnings: vec![] })
}

/// Keeps a policy that would lapse.
pub(crate) async fn confirm(
    store: &impl Store,
    inventory: &impl Inventory,
    target: &TargetId,
    by: Speaker<'_>,
    now: Timestamp,
) -> Result<Guarded, Error> {
    known(store, inventory, target).await?;
    let confirmed = |target: Target| target.confirm_policy(by, now).map(Some);
    let (target, changed) = change(store, target, false, confirmed).await?;
    Ok(Guarded { target, changed, warnings: vec![] })
}

/// What settling a target would do, as it is or as it would be with `policy` and with these rules accepted; nothing is written.
pub(crate) async fn plan(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    id: &TargetId,
    policy: Option<&Policy>,
    accept: &[Accept],
    call: &Call,
) -> Result<Plan, Error> {
    let (by, now) = (call.by(), call.now);
    let (_, snapshot) = supported(outside, id).await?;
    let known = store.target(id).await?.map(|(target, _)| target);
    let target = known.unwrap_or_else(|| Target::unguarded(id.clone()));
    let elsewhere = elsewhere(&target, &snapshot).map(|it| it.to_string());
    let wanted = match policy {
        Some(policy) => Some(policy.clone().keeping_accepted(target.policy())),
        None => target.policy().filter(|_| !accept.is_empty()).cloned(),
    };
    let target = match wanted {
        Some(policy) => {
            let policy = accept::accepted(accept, target.clone(), policy, &snapshot, by, now)?;
            target.set_policy(Some(policy), by, None, now).map_err(Error::from)?.target
        }
        None => target,
    };
    let (changes, gates) = planned(&snapshot, &target, now);
    Ok(Plan {
        gates,
        sessions: snapshot.sessions,
        warnings: elsewhere
            .into_iter()
            .chain(target.policy().into_iter().flat_map(|it| warnings(&snapshot, it, true)))
            .chain(just_in_time(&snapshot))
            .collect(),
        changes,
    })
}

/// What settling would write, and what would come of it at each gate.
fn planned(snapshot: &Snapshot, target: &Target, now: Timestamp) -> (Vec<Change>, Vec<PlannedGate>) {
    let (owner, desired) = (target.owner(), target.rules(now));
    let changes = diff(snapshot, &owner, &desired).changes;
    let gates = target.policy().into_iter().flat_map(Policy::ports).map(|rule| {
        let gate = rule.gate();
        let admits_now = snapshot.admitted(&owner, gate).any.summary();
        let Outlook { shadows, defeated_by, accepted } =
            outlook(snapshot, &owner, gate, &changes, &rule.accepted);
        let denies = snapshot.denies_met(gate, &AddressSet::all(), desired.foreign_denies(gate));
        let may_refuse = snapshot.may_refuse(gate);
        PlannedGate { gate, admits_now, shadows, defeated_by, accepted, may_refuse, denies }
    });
    let gates = gates.collect();
    (changes, gates)
}

/// Foreign rules that let sources in although their port is guarded.
fn defeats(snapshot: &Snapshot, target: Target, policy: &Policy, by: &Person, now: Timestamp) -> Vec<String> {
    let Ok(Next { target, .. }) = target.set_policy(Some(policy.clone()), by, None, now) else {
        return vec![];
    };
    let (_, gates) = planned(snapshot, &target, now);
    let warn = |gate: Gate, rule: String| format!("the lock of port `{gate}` is defeated by {rule}");
    let of = |it: PlannedGate| it.defeated_by.into_iter().map(move |rule| warn(it.gate, rule));
    gates.into_iter().flat_map(of).collect()
}

/// The entry of a refused change of what is guarded.
pub(crate) fn refused(target: &TargetId, by: Speaker<'_>, reasons: &Refusals) -> Record {
    let reasons = reasons.iter().map(ToString::to_string).collect();
    let Speaker { person, via } = by;
    let fact = Fact::PolicyRefused { target: target.clone(), by: person.clone(), reasons, via: via.cloned() };
    Record::of(target, fact)
}

impl Guarding {
    /// As a call wants it, for good.
    pub(crate) fn of(target: TargetId, call: &Call) -> Self {
        let (by, via) = (call.by().clone(), call.via.clone());
        Self { target, by, via, confirm_within: None, take_over: false, accept: vec![], adopts: false }
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker { person: &self.by, via: Some(&self.via) }
    }

    fn confirm_by(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let (min, max) = CONFIRM_WITHIN;
        match self.confirm_within {
            Some(asked) if asked < min || max < asked => {
                Err(Refusal::ConfirmWithin { asked, min, max }.into())
            }
            Some(within) => Ok(Some(now.saturating_add(within).unwrap_or(Timestamp::MAX))),
            None => Ok(None),
        }
    }
}

/// A machine that can be guarded, and its firewalls.
pub(crate) async fn supported(
    outside: &(impl Firewalls + Inventory),
    id: &TargetId,
) -> Result<(Machine, Snapshot), Error> {
    let machine = outside.machine(id).await?;
    let machine = machine.ok_or_else(|| Error::NotFound { what: "target", name: id.to_string() })?;
    match machine.unsupported {
        Some(reason) => Err(Refusal::Unsupported { target: id.clone(), reason: reason.to_string() }.into()),
        None => Ok((machine, outside.read(id).await?)),
    }
}

/// `NotFound` if there is no such machine, nor ever was one that was guarded.
pub(crate) async fn known(
    store: &impl Store,
    inventory: &impl Inventory,
    id: &TargetId,
) -> Result<(), Error> {
    if store.target(id).await?.is_some() || inventory.machine(id).await?.is_some() {
        return Ok(());
    }
    Err(Error::NotFound { what: "target", name: id.to_string() })
}

/// Commits what `decide` makes of a target; nothing where it makes nothing of it. Says whether it did.
async fn change(
    store: &impl Store,
    id: &TargetId,
    may_be_new: bool,
    decide: impl Fn(Target) -> Result<Option<Next>, Refusal> + Send + Sync,
) -> Result<(Target, bool), Error> {
    let decide = &decide;
    transact(store, std::slice::from_ref(id), Rank::Shutting, |_| async move {
        let (target, seen) = match store.target(id).await? {
            Some(found) => found,
            None if may_be_new => (Target::unguarded(id.clone()), Seen::NEVER),
            None => return Err(Refusal::NotEnabled { target: id.clone() }.into()),
        };
        Ok(match decide(target.clone())? {
            None => Attempt::Done((target, false)),
            Some(next) => {
                let after = next.target.clone();
                Attempt::commit(Batch::of(next, seen), (after, true))
            }
        })
    })
    .await
}
