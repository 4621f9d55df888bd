//! A checkup: whether all that Portcullis stands on is as it should be, and what to do where it is not.

use crate::{
    Error,
    load::all,
    ports::{Checkup, Firewalls, Inventory, OurRule, Store},
    sweep::{Fate, fate},
    unshut::said_unshut,
};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{CLOUD_WRITE_MAX, Chain, Entry, Fact, Finding, Owner, Target, Verdict, diff};
use std::collections::BTreeSet;

/// How many machines are looked at at once.
const AT_ONCE_MAX: usize = 16;

/// Looks at everything, and changes nothing. What cannot be looked at is a finding too. `table` is why
/// the table cannot be read and written, if it cannot.
pub(crate) async fn doctor(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory + Checkup),
    table: Option<&Error>,
    now: Timestamp,
) -> Vec<Finding> {
    let known = match table {
        None => all(store).await.map_err(|error| error.full()),
        Some(error) => Err(error.full()),
    };
    let mut findings = vec![];
    findings.push(match &known {
        Ok(known) => Finding::ok(
            "table",
            format!("the table can be read and written, and has {}", machines(known.len(), "")),
        ),
        Err(error) => {
            Finding::failed("table", error.as_str(), "check whether its disk is full or its file is damaged")
        }
    });
    let checkup = outside.checkup().await;
    let is_answered = checkup.first().is_none_or(|it| it.verdict != Verdict::Failed);
    findings.extend(checkup);
    // What the table alone knows is told also while nobody answers.
    if let Ok(known) = &known {
        findings.extend(closings(known, now));
    }
    if !is_answered {
        let advice = "correct the failed check, and run `doctor` again";
        findings.push(Finding::warning(
            "locks",
            "there is no answer, so the other checks were skipped",
            advice,
        ));
        return findings;
    }
    let unseen = match outside.machines(None, 1).await {
        Ok(page) => page.unseen,
        Err(error) => vec![error.full()],
    };
    findings.extend(
        unseen.into_iter().map(|it| Finding::warning("machines", it, "assign the permission to list them")),
    );
    let Ok(known) = known else { return findings };
    findings.extend(owners(outside, &known, now).await);
    let guarded: Vec<Target> = known.iter().filter(|it| it.policy().is_some()).cloned().collect();
    let count = guarded.len();
    let locks = stream::iter(guarded).map(|it| async move { lock(store, outside, &it, now).await });
    let locks: Vec<Vec<Finding>> = locks.buffered(AT_ONCE_MAX).collect().await;
    let bad: Vec<Finding> = locks.into_iter().flatten().collect();
    if bad.is_empty() {
        findings.push(Finding::ok("locks", format!("the lock of {} holds", machines(count, "guarded "))));
    }
    findings.extend(bad);
    findings.extend(settled(&known, now));
    findings.extend(undone(store, &known, now).await);
    findings
}

/// Machines whose rules were changed behind our back again and again: whoever does that will do it once more.
async fn undone(store: &impl Store, known: &[Target], now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "drift";
    const TIMES: usize = 3;
    const WITHIN: SignedDuration = SignedDuration::from_mins(15);
    const ENTRIES_MAX: usize = 200;
    let guarded = known.iter().filter(|it| it.policy().is_some());
    let guarded: Vec<_> =
        guarded.map(|it| (it.id.clone(), it.head().n.saturating_sub(ENTRIES_MAX as u64))).collect();
    let found = stream::iter(guarded).map(|(id, from)| async move {
        let entries = store.entries(&Chain::from(&id), from, ENTRIES_MAX).await.unwrap_or_default();
        let is_late = |it: &&Entry| now.duration_since(it.at) < WITHIN;
        let is_drift = |it: &&Entry| matches!(it.fact, Fact::DriftFound { .. });
        let times = entries.iter().filter(is_late).filter(is_drift).count();
        (TIMES <= times).then(|| {
            let found =
                format!("the rules of `{id}` were changed by another party {times} times in {WITHIN:#}");
            let advice =
                "another installation may guard it: disable it in one of them; `activity` lists the rules";
            Finding::warning(CHECK, found, advice)
        })
    });
    let found: Vec<Option<Finding>> = found.buffered(AT_ONCE_MAX).collect().await;
    found.into_iter().flatten().collect()
}

/// Rules of ours whose machine the table does not guard, and what becomes of each.
async fn owners(outside: &(impl Firewalls + Inventory), known: &[Target], now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "owners";
    let found = match outside.ours().await {
        Ok(found) => found,
        Err(error) => {
            let advice = "until this works, orphaned rules are not found";
            return vec![Finding::failed(CHECK, error.full(), advice)];
        }
    };
    let owners: BTreeSet<Owner> = known.iter().filter(|it| !it.is_at_rest()).map(Target::owner).collect();
    let count = found.len();
    let orphans: Vec<OurRule> =
        found.into_iter().filter(|it| !it.is_over && !owners.contains(&it.name.owner)).collect();
    let findings = stream::iter(orphans).map(|it| async move { orphan(CHECK, outside, &it, now).await });
    let findings: Vec<Finding> = findings.buffered(AT_ONCE_MAX).collect().await;
    if findings.is_empty() {
        return vec![Finding::ok(CHECK, format!("each of our {count} rules belongs to a guarded machine"))];
    }
    findings
}

async fn orphan(
    check: &'static str,
    inventory: &impl Inventory,
    orphan: &OurRule,
    now: Timestamp,
) -> Finding {
    let OurRule { firewall, name, .. } = orphan;
    let found = format!("`{name}` in `{firewall}` is orphaned: this table does not guard its machine");
    match fate(inventory, orphan, now).await {
        Ok(Fate::Deleted) => {
            let advice = "the next reconcile deletes it";
            Finding::warning(check, found, advice)
        }
        Ok(Fate::Lasts { until }) => {
            let advice = format!(
                "it may belong to another installation, so it stays until its end, {until}; delete it if it \
                    is not needed"
            );
            Finding::warning(check, found, advice)
        }
        Ok(Fate::Stays) => {
            let advice = match &orphan.machine {
                Some(machine) => format!(
                    "`enable` its machine, `{machine}`, with `--take-over`, and then `disable` it, unless \
                        another installation guards it: a lock is deleted only once its machine is known to \
                        be deleted"
                ),
                None => "`enable` its machine with `--take-over`, and then `disable` it; if the machine was \
                    deleted, delete the rule: the rule does not identify its machine, so Portcullis never deletes it"
                    .to_owned(),
            };
            Finding::warning(check, found, advice)
        }
        Err(error) => {
            let found =
                format!("{found}, and it is unknown whether the machine still exists: {}", error.full());
            Finding::warning(check, found, "until its machine can be read, its lock stays")
        }
    }
}

/// What is wrong with the lock of a machine.
async fn lock(
    store: &impl Store,
    firewalls: &impl Firewalls,
    target: &Target,
    now: Timestamp,
) -> Vec<Finding> {
    const CHECK: &str = "locks";
    let id = &target.id;
    let snapshot = match firewalls.read(id).await {
        Ok(snapshot) => snapshot,
        Err(error) if error.is_being_written() && !is_long(store, target, now).await => {
            let advice = "run `doctor` again in a few seconds";
            return vec![Finding::warning(CHECK, format!("`{id}` is being written"), advice)];
        }
        Err(error) => {
            let advice = "until its firewalls can be read, none of its ports opens or closes";
            return vec![Finding::failed(CHECK, format!("`{id}`: {}", error.full()), advice)];
        }
    };
    let defeated = |(gate, by)| {
        let found = format!("the lock of `{gate}` of `{id}` is defeated by {by}");
        Finding::failed(CHECK, found, "delete or narrow that rule, or move it out of our priorities")
    };
    let mut findings: Vec<Finding> = target.defeats_in(&snapshot, now).into_iter().map(defeated).collect();
    findings.extend(target.accepted_in(&snapshot, now).iter().map(|(gate, it)| {
        let found =
            format!("the lock of `{gate}` of `{id}` lets {} in by {}", it.sources.summary(), it.in_words());
        Finding::ok(CHECK, found)
    }));
    findings.extend(target.gone_in(&snapshot).into_iter().map(|it| {
        let found = format!("`{id}` accepts {it}, which no longer lets sources in");
        let advice = "if it is not to come back, `portcullis edit` the machine with `--no-longer-accept`";
        Finding::warning(CHECK, found, advice)
    }));
    if target.is_settled(now) && !diff(&snapshot, &target.owner(), &target.rules(now)).is_empty() {
        let (found, advice) = if snapshot.outlasting.is_empty() {
            (format!("the rules of `{id}` were changed by another party"), "the next reconcile restores them")
        } else {
            let found =
                format!("the clock was set, so the time-outs in the packet filter of `{id}` are too long");
            (found, "the next reconcile corrects them")
        };
        findings.push(Finding::warning(CHECK, found, advice));
    }
    findings
}

/// Does the last write of a machine's rules that we recorded last longer than a write may?
async fn is_long(store: &impl Store, target: &Target, now: Timestamp) -> bool {
    const ENTRIES_MAX: usize = 50;
    let from = target.head().n.saturating_sub(ENTRIES_MAX as u64);
    let entries = store.entries(&Chain::from(&target.id), from, ENTRIES_MAX).await.unwrap_or_default();
    let mut writes = entries.iter().rev().filter(|it| matches!(it.fact, Fact::Writing { .. }));
    writes.next().is_some_and(|it| CLOUD_WRITE_MAX < now.duration_since(it.at))
}

/// Leases that are over and were not seen to be shut.
fn closings(known: &[Target], now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "closings";
    const ADVICE: &str = "the scheduler tries again every few seconds; until the firewall answers, close the port in the \
        cloud or on the machine; `activity` has the reason";
    let late = known.iter().flat_map(|it| said_unshut(it, now));
    let mut findings: Vec<Finding> = late.map(|it| Finding::failed(CHECK, it, ADVICE)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "each lease that is over was seen closed, or is being closed"));
    }
    findings
}

/// Machines whose firewalls are not, or not yet, as they should be.
fn settled(known: &[Target], now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "settled";
    let unsettled = known.iter().filter(|it| !it.is_settled(now));
    let findings: Vec<Finding> = unsettled
        .map(|it| match it.misses() {
            0 => Finding::warning(
                CHECK,
                format!("`{}` is being settled", it.id),
                "run `doctor` again in a minute; if this stays, the scheduler is not running",
            ),
            times => Finding::failed(
                CHECK,
                format!("`{}` could not be settled, {times} times in a row", it.id),
                "`activity` has the reason",
            ),
        })
        .collect();
    if findings.is_empty() {
        vec![Finding::ok(
            CHECK,
            format!("the firewalls of {} have the rules that they should have", machines(known.len(), "")),
        )]
    } else {
        findings
    }
}

/// So many machines, in words.
fn machines(count: usize, kind: &str) -> String {
    let noun = if count == 1 { "machine" } else { "machines" };
    format!("{count} {kind}{noun}")
}
