//! A checkup: whether all that Portcullis stands on is as it should be, and what to do where it is not.

use crate::{
    Error,
    ports::{Checkup, Firewalls, Inventory, OurRule, Store},
    sweep::{Fate, fate},
    watch::all,
};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Chain, Entry, Fact, Finding, Owner, Target, Verdict, diff};
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
        Ok(known) => {
            Finding::ok("table", format!("it can be read and written, and knows {} machines", known.len()))
        }
        Err(error) => {
            Finding::failed("table", error.as_str(), "see whether its disk is full or its file is damaged")
        }
    });
    let checkup = outside.checkup().await;
    let is_answered = checkup.first().is_none_or(|it| it.verdict != Verdict::Failed);
    findings.extend(checkup);
    if !is_answered {
        let advice = "put right what failed, and look again";
        findings.push(Finding::warning("locks", "nobody answers, so nothing else was looked at", advice));
        return findings;
    }
    let unseen = match outside.machines(None, 1).await {
        Ok(page) => page.unseen,
        Err(error) => vec![error.full()],
    };
    findings
        .extend(unseen.into_iter().map(|it| Finding::warning("machines", it, "give the right to list them")));
    let Ok(known) = known else { return findings };
    findings.extend(owners(outside, &known, now).await);
    let guarded: Vec<Target> = known.iter().filter(|it| it.policy().is_some()).cloned().collect();
    let count = guarded.len();
    let locks = stream::iter(guarded).map(|it| async move { lock(outside, &it, now).await });
    let locks: Vec<Vec<Finding>> = locks.buffered(AT_ONCE_MAX).collect().await;
    let bad: Vec<Finding> = locks.into_iter().flatten().collect();
    if bad.is_empty() {
        findings.push(Finding::ok("locks", format!("the lock of each of {count} guarded machines holds")));
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
                format!("the rules of `{id}` were changed behind our back {times} times in {WITHIN:#}");
            let advice =
                "does another installation guard it? Disable it in one of them; `activity` says which rules";
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
            let advice = "until it can, rules that nobody needs any more are not found";
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
        return vec![Finding::ok(CHECK, format!("each of {count} rules of ours has its machine"))];
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
    let found = format!("`{name}` in `{firewall}` is of a machine that this table does not guard");
    match fate(inventory, orphan, now).await {
        Ok(Fate::Deleted) => {
            let advice = "it is deleted when everything is next compared with the table";
            Finding::warning(check, found, advice)
        }
        Ok(Fate::Lasts { until }) => {
            let advice = format!(
                "it may be another installation's, so it stays until its end, {until}; if nobody needs it, delete it"
            );
            Finding::warning(check, found, advice)
        }
        Ok(Fate::Stays) => {
            let advice = match &orphan.machine {
                Some(machine) => format!(
                    "`enable` its machine, `{machine}`, with `--take-over`, and then `disable` it, unless another \
                    installation guards it: a lock is only deleted once its machine is known to be gone"
                ),
                None => "`enable` its machine with `--take-over`, and then `disable` it; if it is gone, delete the rule: which machine it \
                    locks cannot be told, so its lock is never just deleted"
                    .to_owned(),
            };
            Finding::warning(check, found, advice)
        }
        Err(error) => {
            let found = format!("{found}, and nobody can tell whether that is gone: {}", error.full());
            Finding::warning(check, found, "until its machine can be asked for, its lock stays")
        }
    }
}

/// What is wrong with the lock of a machine.
async fn lock(firewalls: &impl Firewalls, target: &Target, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "locks";
    let id = &target.id;
    let snapshot = match firewalls.read(id).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let advice = "until its firewalls can be read, nothing of it opens or shuts";
            return vec![Finding::failed(CHECK, format!("`{id}`: {}", error.full()), advice)];
        }
    };
    let defeated = |(gate, by)| {
        let found = format!("the lock of `{gate}` of `{id}` is defeated by {by}");
        Finding::failed(CHECK, found, "delete or narrow that rule, or move it out of our priorities")
    };
    let mut findings: Vec<Finding> = target.defeats_in(&snapshot, now).into_iter().map(defeated).collect();
    if target.is_settled(now) && !diff(&snapshot, &target.owner(), &target.rules(now)).is_empty() {
        let found = format!("somebody else changed the rules of `{id}`");
        findings.push(Finding::warning(CHECK, found, "they are put back when everything is next compared"));
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
                "look again in a moment; if it stays so, nobody settles what is due",
            ),
            times => Finding::failed(
                CHECK,
                format!("`{}` could not be settled, {times} times in a row", it.id),
                "`activity` says why",
            ),
        })
        .collect();
    if findings.is_empty() {
        vec![Finding::ok(
            CHECK,
            format!("the firewalls of each of {} machines are as they should be", known.len()),
        )]
    } else {
        findings
    }
}
