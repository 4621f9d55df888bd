//! Facts of the journal in words.

use crate::{names, ports, table::Mark, words::people};
use jiff::SignedDuration;
use portcullis_domain::{
    Cause, Delay, EndReason, Explained, Fact, Gate, GrantId, Justification, Pane, Party, People, Policy,
    PortRule, RequestId,
};
use portcullis_wire::PortRuleView;
use std::{collections::BTreeMap, net::SocketAddr};

/// A fact in words.
#[expect(clippy::too_many_lines, reason = "a line or two for each fact there is")]
pub fn told(fact: &Fact) -> String {
    match fact {
        Fact::PolicySet { version, policy, confirm_by, take_over, .. } => {
            let trial = confirm_by.map(|by| format!("; lapses at {by} unless confirmed"));
            let from = if *take_over { "; taken over from another installation" } else { "" };
            format!("policy {version}: {}{from}{}", guarded(policy.as_ref()), trial.unwrap_or_default())
        }
        Fact::PolicyConfirmed { version, .. } => format!("policy {version} was confirmed"),
        Fact::PolicyReverted { version, policy } => {
            format!("no confirmation came; policy {version}: {}", guarded(policy.as_ref()))
        }
        Fact::RequestRefused { request, reasons, .. } => {
            format!("request {request} was refused: {}", reasons.join("; "))
        }
        Fact::RequestExplained { answer: Explained::Allowed, .. } => {
            "a request was explained and not made: it would be granted".to_owned()
        }
        Fact::RequestExplained { answer: Explained::NeedsApproval, .. } => {
            "a request was explained and not made: it would wait for an approval".to_owned()
        }
        Fact::RequestExplained { answer: Explained::Refused, reasons, .. } => {
            format!("a request was explained and not made: it would be refused: {}", reasons.join("; "))
        }
        Fact::ApprovalNeeded { request, until, .. } => {
            format!("request {request} waits for an approval until {until}")
        }
        Fact::RequestRejected { request, why, .. } => {
            format!("request {request} was rejected{}", because(why.as_deref()))
        }
        Fact::RequestWithdrawn { request, by, .. } => format!("request {request} was withdrawn by {by}"),
        Fact::DecisionRefused { request, reasons, .. } => {
            format!("a decision about request {request} was refused: {}", reasons.join("; "))
        }
        Fact::RequestLapsed { request, .. } => format!("request {request} lapsed"),
        Fact::Approved { grant, .. } => {
            let why = grant.justification.as_ref().map(ToString::to_string);
            let (id, gate, sources, end) = (&grant.id, grant.gate, &grant.sources, grant.lease.end());
            let glass = if grant.broke_glass { ", by BREAK-GLASS" } else { "" };
            format!("grant {id}: {gate} from {sources} until {end}{glass}{}", because(why.as_deref()))
        }
        Fact::GlassBroken { request, why, opened, skipped, .. } => {
            glass_broken(request, why, opened, skipped)
        }
        Fact::Extended { grant, lease, why, .. } => {
            let why = because(why.as_ref().map(Justification::as_str));
            format!("grant {grant} runs until {}{why}", lease.end())
        }
        Fact::Ended { grant, reason: EndReason::UserRequested, by, .. } => {
            format!("grant {grant} was closed early by {by}")
        }
        Fact::Ended { grant, reason, .. } => format!("grant {grant} was ended: {}", reason_words(*reason)),
        Fact::Opened { grant, door, over, may_refuse, .. } => opened(grant, *door, over, may_refuse),
        Fact::OpenFailed { grant, refused: Some(why), .. } => {
            format!("the rule of grant {grant} was refused: {why}")
        }
        Fact::OpenFailed { grant, decided_by: Some(rule), .. } => {
            format!("grant {grant} is kept closed by {rule}")
        }
        Fact::OpenFailed { grant, decided_by: None, .. } => format!("grant {grant} does not open"),
        Fact::ClosingSoon { grant, end, .. } => format!("grant {grant} ends soon, at {end}"),
        Fact::Closed { grant, reason, by_kernel: true, .. } => {
            let reason = reason_words(*reason);
            format!("grant {grant} is closed: {reason}, and the kernel closed the port at that time")
        }
        Fact::Closed { grant, reason, late_ms, cloud_ms, delay, .. } => {
            let cloud = cloud_ms.map(|it| format!(", of which {it} ms are the cloud's own write"));
            let (reason, cloud) = (reason_words(*reason), cloud.unwrap_or_default());
            let delay = delay.as_ref().map(delayed).unwrap_or_default();
            format!("grant {grant} is closed: {reason}, {late_ms} ms after its end{cloud}{delay}")
        }
        Fact::TakenOver { from } => {
            format!("the worker {from} did not finish in time; another one took over")
        }
        Fact::Writing { changes } if changes.is_empty() => "writes no rule".to_owned(),
        Fact::Writing { changes } => format!("writes {}", changes.join("; ")),
        Fact::ReadBack { agrees, admitted, wanted } => read_back(*agrees, admitted, wanted),
        Fact::DriftFound { rules } => format!("another party changed {}", rules.join(", ")),
        Fact::DriftHealed => "drift is corrected: all rules are as written".to_owned(),
        Fact::LockDefeated { gate, by: Some(by) } => format!("the lock of {gate} is defeated by {by}"),
        Fact::LockDefeated { gate, by: None } => format!("the lock of {gate} holds again"),
        Fact::SettleFailed { why } => format!("settling failed, and will be tried again: {why}"),
        Fact::OrphanDeleted { firewall, rule } => {
            format!("deleted the orphaned rule {rule} in {}", names::short(firewall))
        }
        Fact::Adopted { policy, .. } => format!("taken over from {}", names::short(policy)),
        Fact::ForeignDeleted { policy: Some(policy), rules, .. } => {
            format!("deletes the policy {} and {} of its rules", names::short(policy), rules.len())
        }
        Fact::ForeignDeleted { policy: None, rules, .. } => format!("deletes {}", rules.join("; ")),
        Fact::TokenMade { person, .. } => format!("a token was made for {person}"),
        Fact::TokenRevoked { person, .. } => format!("the token of {person} was revoked"),
        Fact::PolicyRefused { target, reasons, .. } => {
            format!(
                "a change of the policy of {} was refused: {}",
                names::short(target.as_str()),
                reasons.join("; ")
            )
        }
        Fact::EventRefused { source, event, reasons, .. } if event.is_empty() => {
            format!("a command of {source} was refused: {}", reasons.join("; "))
        }
        Fact::EventRefused { source, event, reasons, .. } => {
            format!("the event {event} of {source} was refused: {}", reasons.join("; "))
        }
        Fact::ExportAsked { from, to, format, .. } => {
            format!("an export of the journal from {from} to {to} as {format} was requested")
        }
        Fact::ExportReady { archive, folder, .. } => {
            format!("the journal is exported: {folder} in {archive}")
        }
        Fact::TokenRefused { person, reasons, .. } => {
            format!("a change of the token of {person} was refused: {}", reasons.join("; "))
        }
        Fact::ClockJumped { by_ms } => jumped(*by_ms),
        Fact::DriftRepeated { times } => {
            format!(
                "its rules were changed by another party {times} times in 15m: another installation may guard it"
            )
        }
        Fact::DiskLow { left_mib, wanted_mib } => {
            format!(
                "the disk has {left_mib} MiB left, and the table needs {wanted_mib} MiB when it next grows"
            )
        }
        Fact::DiskFailed { why } => format!("the table cannot be written normally: {why}"),
        Fact::DiskRecovered => "the table is written normally again".to_owned(),
    }
}

fn glass_broken(request: &RequestId, why: &str, opened: &[Pane], skipped: &People) -> String {
    let opened = opened.iter().map(|it| format!("{}:{}", names::short(it.target.as_str()), it.gate));
    let opened = opened.collect::<Vec<_>>().join(", ");
    let skipped: Vec<String> = skipped.people().iter().map(ToString::to_string).collect();
    let approvers = if skipped.is_empty() { "another person".to_owned() } else { people(&skipped) };
    let why = because(Some(why));
    format!("BREAK-GLASS used by request {request}: {opened} without the approval of {approvers}{why}")
}

fn opened(grant: &GrantId, door: Option<SocketAddr>, over: &[String], may_refuse: &[String]) -> String {
    let at = door.map(|it| format!(" at {it}")).unwrap_or_default();
    let over = if over.is_empty() { String::new() } else { format!(", over {}", over.join(", ")) };
    let by_ours = may_refuse.iter().map(|it| format!("; {it}")).collect::<String>();
    format!("grant {grant} is open{at}{over}{by_ours}")
}

fn read_back(agrees: bool, admitted: &BTreeMap<Gate, String>, wanted: &BTreeMap<Gate, String>) -> String {
    let gates = admitted.iter().map(|(gate, who)| match wanted.get(gate) {
        Some(wanted) => format!("{gate} admits {who}, wanted {wanted}"),
        None => format!("{gate} admits {who}"),
    });
    let gates = gates.collect::<Vec<_>>().join("; ");
    let verdict = if agrees { "as written" } else { "not as written" };
    if gates.is_empty() {
        format!("our rules were read back {verdict}: no port is guarded")
    } else {
        format!("our rules were read back {verdict}: {gates}")
    }
}

/// Before the words of a refusal, which may be long: the cause and whose it is.
fn delayed(delay: &Delay) -> String {
    let Delay { cause, why } = delay;
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("; delayed by `{}`, {}{why}", cause.word(), whose(*cause))
}

fn whose(cause: Cause) -> &'static str {
    match cause.party() {
        Party::Portcullis => "owned by Portcullis",
        Party::Cloud => "owned by the cloud",
        Party::Machine => "owned by the machine",
    }
}

fn jumped(by_ms: i64) -> String {
    const HALF_A_SECOND_MS: i64 = 500;
    let way = if by_ms.is_negative() { "back" } else { "forward" };
    let by = SignedDuration::from_millis(by_ms.saturating_abs().saturating_add(HALF_A_SECOND_MS));
    format!("the clock of the machine was set {way} by {:#}", SignedDuration::from_secs(by.as_secs()))
}

/// The person, or the source, that a fact comes from, and the bot that spoke for them.
pub fn by(fact: &Fact) -> Option<String> {
    fact.about().speakers()
}

/// How a fact stands in a table.
pub fn mark(fact: &Fact) -> Mark {
    match fact {
        Fact::Opened { .. }
        | Fact::Closed { delay: None, .. }
        | Fact::Approved { .. }
        | Fact::Extended { .. }
        | Fact::DriftHealed
        | Fact::DiskRecovered
        | Fact::LockDefeated { by: None, .. } => Mark::Good,
        Fact::ReadBack { agrees: true, wanted, .. } if wanted.is_empty() => Mark::Good,
        Fact::PolicyRefused { .. }
        | Fact::TokenRefused { .. }
        | Fact::EventRefused { .. }
        | Fact::RequestRefused { .. }
        | Fact::ApprovalNeeded { .. }
        | Fact::RequestRejected { .. }
        | Fact::DecisionRefused { .. }
        | Fact::TakenOver { .. }
        | Fact::PolicyReverted { .. }
        | Fact::OrphanDeleted { .. }
        | Fact::ClockJumped { .. }
        | Fact::Closed { delay: Some(_), .. }
        | Fact::DiskLow { .. }
        | Fact::ReadBack { .. } => Mark::Look,
        Fact::OpenFailed { .. }
        | Fact::GlassBroken { .. }
        | Fact::DriftFound { .. }
        | Fact::DriftRepeated { .. }
        | Fact::DiskFailed { .. }
        | Fact::LockDefeated { by: Some(_), .. }
        | Fact::SettleFailed { .. } => Mark::Bad,
        Fact::PolicySet { .. }
        | Fact::PolicyConfirmed { .. }
        | Fact::RequestWithdrawn { .. }
        | Fact::RequestExplained { .. }
        | Fact::RequestLapsed { .. }
        | Fact::Ended { .. }
        | Fact::ClosingSoon { .. }
        | Fact::Writing { .. }
        | Fact::Adopted { .. }
        | Fact::ForeignDeleted { .. }
        | Fact::TokenMade { .. }
        | Fact::ExportAsked { .. }
        | Fact::ExportReady { .. }
        | Fact::TokenRevoked { .. } => Mark::Plain,
    }
}

fn guarded(policy: Option<&Policy>) -> String {
    let words = |it: &PortRule| ports::words(&PortRuleView::from(it));
    match policy {
        Some(policy) => policy.ports().iter().map(words).collect::<Vec<_>>().join("; "),
        None => "not guarded".to_owned(),
    }
}

fn because(why: Option<&str>) -> String {
    why.map(|why| format!(", because: {why}")).unwrap_or_default()
}

fn reason_words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Expired => "its lease ended",
        EndReason::UserRequested => "it was closed early",
        EndReason::PolicyChanged => "its port is no longer guarded",
    }
}
