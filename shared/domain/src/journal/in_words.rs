//! Facts in words, for people at a terminal and for readers of events.

use crate::{
    Ask, Cause, Delay, EndReason, Explained, Fact, ForeignDenies, Gate, GrantId, Justification, Pane, Party,
    People, Policy, PortRule, RequestId, Sources, What, Window,
};
use jiff::SignedDuration;
use std::{collections::BTreeMap, net::SocketAddr};

/// How many ranges of a request are named; its event has all of them.
const RANGES_MAX: usize = 4;

impl Fact {
    /// The fact in words, without the person and the machine, which stand beside it.
    #[expect(clippy::too_many_lines, reason = "a line or two for each fact there is")]
    pub fn in_words(&self) -> String {
        match self {
            Self::PolicySet { version, policy, confirm_by, take_over, .. } => {
                let trial = confirm_by.map(|by| format!("; lapses at {by} unless confirmed"));
                let from = if *take_over { "; taken over from another installation" } else { "" };
                format!("policy {version}: {}{from}{}", guarded(policy.as_ref()), trial.unwrap_or_default())
            }
            Self::PolicyConfirmed { version, .. } => format!("policy {version} was confirmed"),
            Self::PolicyReverted { version, policy } => {
                format!("no confirmation came; policy {version}: {}", guarded(policy.as_ref()))
            }
            Self::RequestRefused { request, reasons, .. } => {
                format!("request {request} was refused: {}", reasons.join("; "))
            }
            Self::RequestExplained { answer: Explained::Allowed, .. } => {
                "a request was explained and not made: it would be granted".to_owned()
            }
            Self::RequestExplained { answer: Explained::NeedsApproval, .. } => {
                "a request was explained and not made: it would wait for an approval".to_owned()
            }
            Self::RequestExplained { answer: Explained::Refused, reasons, .. } => {
                format!("a request was explained and not made: it would be refused: {}", reasons.join("; "))
            }
            Self::ApprovalNeeded { request, until, .. } => {
                format!("request {request} waits for an approval until {until}")
            }
            Self::RequestRejected { request, why, .. } => {
                format!("request {request} was rejected{}", because(why.as_deref()))
            }
            Self::RequestWithdrawn { request, .. } => format!("request {request} was withdrawn"),
            Self::DecisionRefused { request, reasons, .. } => {
                format!("a decision about request {request} was refused: {}", reasons.join("; "))
            }
            Self::RequestLapsed { request, .. } => format!("request {request} lapsed"),
            Self::Approved { grant, .. } => {
                let why = grant.justification.as_ref().map(ToString::to_string);
                let (id, gate, sources, end) = (&grant.id, grant.gate, &grant.sources, grant.lease.end());
                let glass = if grant.broke_glass { ", by BREAK-GLASS" } else { "" };
                format!("grant {id}: {gate} from {sources} until {end}{glass}{}", because(why.as_deref()))
            }
            Self::GlassBroken { request, why, opened, skipped, .. } => {
                glass_broken(request, why, opened, skipped)
            }
            Self::Extended { grant, lease, why, .. } => {
                let why = because(why.as_ref().map(Justification::as_str));
                format!("grant {grant} runs until {}{why}", lease.end())
            }
            Self::Ended { grant, reason: EndReason::UserRequested, by, .. } => {
                format!("grant {grant} was closed early by {by}")
            }
            Self::Ended { grant, reason, .. } => {
                format!("grant {grant} was ended: {}", reason_words(*reason))
            }
            Self::Opened { grant, door, over, may_refuse, .. } => opened(grant, *door, over, may_refuse),
            Self::OpenFailed { grant, refused: Some(why), .. } => {
                format!("the rule of grant {grant} was refused: {why}")
            }
            Self::OpenFailed { grant, decided_by: Some(rule), .. } => {
                format!("grant {grant} is kept closed by {rule}")
            }
            Self::OpenFailed { grant, decided_by: None, .. } => format!("grant {grant} does not open"),
            Self::ClosingSoon { grant, end, .. } => format!("grant {grant} ends soon, at {end}"),
            Self::Closed { grant, reason, by_kernel: true, .. } => {
                let reason = reason_words(*reason);
                format!("grant {grant} is closed: {reason}, and the kernel closed the port at that time")
            }
            Self::Closed { grant, reason, late_ms, cloud_ms, delay, .. } => {
                let cloud = cloud_ms.map(|it| format!(", of which {it} ms are the cloud's own write"));
                let (reason, cloud) = (reason_words(*reason), cloud.unwrap_or_default());
                let delay = delay.as_ref().map(delayed).unwrap_or_default();
                format!("grant {grant} is closed: {reason}, {late_ms} ms after its end{cloud}{delay}")
            }
            Self::TakenOver { from } => {
                format!("the worker {from} did not finish in time; another one took over")
            }
            Self::Writing { changes } if changes.is_empty() => "writes no rule".to_owned(),
            Self::Writing { changes } => format!("writes {}", changes.join("; ")),
            Self::ReadBack { agrees, admitted, wanted, accepted } => {
                read_back(*agrees, admitted, wanted, accepted)
            }
            Self::DriftFound { rules } => format!("another party changed {}", rules.join(", ")),
            Self::DriftHealed => "drift is corrected: all rules are as written".to_owned(),
            Self::LockDefeated { gate, by: Some(by), .. } => {
                format!("the lock of {gate} is defeated by {by}")
            }
            Self::LockDefeated { gate, by: None, accepted } if accepted.is_empty() => {
                format!("the lock of {gate} holds again")
            }
            Self::LockDefeated { gate, by: None, accepted } => {
                format!("the lock of {gate} holds again, except for the accepted {}", accepted.join(", "))
            }
            Self::SettleFailed { why } => format!("settling failed, and will be tried again: {why}"),
            Self::OrphanDeleted { firewall, rule } => {
                format!("deleted the orphaned rule {rule} in {}", short(firewall))
            }
            Self::Adopted { policy, .. } => format!("taken over from {}", short(policy)),
            Self::ForeignDeleted { policy: Some(policy), rules, .. } => {
                format!("deletes the policy {} and {} of its rules", short(policy), rules.len())
            }
            Self::ForeignDeleted { policy: None, rules, .. } => format!("deletes {}", rules.join("; ")),
            Self::TokenMade { person, purpose, expires_at, .. } => {
                let purpose = purpose.as_ref().map_or_else(String::new, |it| format!(", for \"{it}\""));
                let end = expires_at.map_or_else(String::new, |it| format!(", valid until {it}"));
                format!("a token was made for {person}{purpose}{end}")
            }
            Self::TokenRevoked { person, keeps_access: false, .. } => {
                format!("the token of {person} was revoked")
            }
            Self::TokenRevoked { person, keeps_access: true, .. } => {
                format!("the token of {person} was revoked; leases and requests of that person stay")
            }
            Self::PolicyRefused { target, reasons, .. } => {
                format!(
                    "a change of the policy of {} was refused: {}",
                    short(target.as_str()),
                    reasons.join("; ")
                )
            }
            Self::EventRefused { source, event, reasons, .. } if event.is_empty() => {
                format!("a command of {source} was refused: {}", reasons.join("; "))
            }
            Self::EventRefused { source, event, reasons, .. } => {
                format!("the event {event} of {source} was refused: {}", reasons.join("; "))
            }
            Self::ExportAsked { from, to, format, .. } => {
                format!("an export of the journal from {from} to {to} as {format} was requested")
            }
            Self::ExportReady { archive, folder, .. } => {
                format!("the journal is exported: {folder} in {archive}")
            }
            Self::TokenRefused { person, reasons, .. } => {
                format!("a change of the token of {person} was refused: {}", reasons.join("; "))
            }
            Self::RoleGranted { binding, .. } => format!("the role {binding} was granted"),
            Self::RoleRevoked { binding, .. } => format!("the role {binding} was revoked"),
            Self::RoleRefused { binding, reasons, .. } => {
                format!("a change of the role {binding} was refused: {}", reasons.join("; "))
            }
            Self::PoliciesChanged { version, added, changed, removed, back_to, why, .. } => {
                let why = because(why.as_ref().map(Justification::as_str));
                format!("{}{why}", policies_changed(*version, *back_to, [added, changed, removed]))
            }
            Self::PoliciesRefused { reasons, .. } => {
                format!("a change of the policies of the installation was refused: {}", reasons.join("; "))
            }
            Self::ClockJumped { by_ms } => jumped(*by_ms),
            Self::DriftRepeated { times } => {
                format!(
                    "its rules were changed by another party {times} times in 15m: another installation may guard it"
                )
            }
            Self::DiskLow { left_mib, wanted_mib } => {
                format!(
                    "the disk has {left_mib} MiB left, and the table needs {wanted_mib} MiB when it next grows"
                )
            }
            Self::DiskFailed { why } => format!("the table cannot be written normally: {why}"),
            Self::DiskRecovered => "the table is written normally again".to_owned(),
        }
    }
}

impl What {
    /// What is asked for, such as `22 of web-1 from 203.0.113.9/32 for 1h`.
    pub fn in_words(&self) -> String {
        match self {
            Self::Initiate { asks, break_glass } => {
                let asks = asks.iter().map(Ask::in_words).collect::<Vec<_>>().join("; ");
                let glass = if *break_glass { ", by BREAK-GLASS" } else { "" };
                let asks = if asks.is_empty() { "no port".to_owned() } else { asks };
                format!("{asks}{glass}")
            }
            Self::Extend { target, grant, end } => {
                format!("a later end of grant {grant} of {}, {end}", short(target.as_str()))
            }
        }
    }
}

impl Ask {
    fn in_words(&self) -> String {
        let port = self.protocol.map_or(self.port.to_string(), |it| format!("{}/{it}", self.port));
        let window = match self.window {
            Window::For(length) => format!("for {length:#}"),
            Window::Until(end) => format!("until {end}"),
            Window::From { start, length } => format!("from {start} for {length:#}"),
        };
        format!("{port} of {} from {} {window}", short(self.target.as_str()), few(&self.sources))
    }
}

impl PortRule {
    /// The rule in words, such as `22/tcp, from anywhere, at most 3h, with an approval`.
    pub fn in_words(&self) -> String {
        let names = |people: &People| people.people().iter().map(ToString::to_string).collect::<Vec<_>>();
        let (approvers, glass) = (self.approvers.as_ref().map(names), self.break_glass.as_ref().map(names));
        let gate = format!("{}/{}", self.port, self.protocol);
        let (sources, denies) = (self.sources.to_string(), self.foreign_denies);
        let words = rule_in_words(&gate, &sources, self.max, approvers.as_deref(), glass.as_deref(), denies);
        self.accepted.iter().fold(words, |words, it| {
            format!("{words}, accepts {} in {}", it.rule, short(it.firewall.as_str()))
        })
    }
}

/// A rule of a port in words, of its parts; `*` is any person.
pub fn rule_in_words(
    gate: &str,
    sources: &str,
    max: SignedDuration,
    approvers: Option<&[String]>,
    break_glass: Option<&[String]>,
    foreign_denies: ForeignDenies,
) -> String {
    let is_anybody = |people: &[String]| people.iter().any(|it| it == "*");
    let approval = match approvers {
        None => String::new(),
        Some(people) if is_anybody(people) => ", with an approval".to_owned(),
        Some(people) => format!(", approved by {}", people.join(" or ")),
    };
    let glass = match break_glass {
        None | Some([]) => String::new(),
        Some(people) if is_anybody(people) => ", break-glass by every person".to_owned(),
        Some(people) => format!(", break-glass by {}", people.join(" or ")),
    };
    let denies = match foreign_denies {
        ForeignDenies::Respect => "",
        ForeignDenies::Override => ", over foreign denies",
    };
    format!("{gate}, from {sources}, at most {max:#}{approval}{glass}{denies}")
}

/// How many policies of a change are named; its event has all of them.
const POLICIES_NAMED_MAX: usize = 4;

fn policies_changed(version: u64, back_to: Option<u64>, changes: [&Vec<String>; 3]) -> String {
    let named = |(word, ids): (&str, &Vec<String>)| {
        let more = ids.len().saturating_sub(POLICIES_NAMED_MAX);
        let more = (0 < more).then(|| format!(" and {more} more"));
        let first = ids.iter().take(POLICIES_NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        (!ids.is_empty()).then(|| format!("{word} {first}{}", more.unwrap_or_default()))
    };
    let words = ["added", "changed", "removed"];
    let changes: Vec<String> = words.into_iter().zip(changes).filter_map(named).collect();
    let changes = if changes.is_empty() { "no policy differs".to_owned() } else { changes.join("; ") };
    let back = back_to.map(|it| format!(", those of version {it} again")).unwrap_or_default();
    format!("the policies of the installation are version {version}{back}: {changes}")
}

fn glass_broken(request: &RequestId, why: &str, opened: &[Pane], skipped: &People) -> String {
    let opened = opened.iter().map(|it| format!("{}:{}", short(it.target.as_str()), it.gate));
    let opened = opened.collect::<Vec<_>>().join(", ");
    let approvers =
        if skipped.people().is_empty() { "another person".to_owned() } else { skipped.in_words() };
    let why = because(Some(why));
    format!("BREAK-GLASS used by request {request}: {opened} without the approval of {approvers}{why}")
}

fn opened(grant: &GrantId, door: Option<SocketAddr>, over: &[String], may_refuse: &[String]) -> String {
    let at = door.map(|it| format!(" at {it}")).unwrap_or_default();
    let over = if over.is_empty() { String::new() } else { format!(", over {}", over.join(", ")) };
    let by_ours = may_refuse.iter().fold(String::new(), |text, it| text + "; " + it);
    format!("grant {grant} is open{at}{over}{by_ours}")
}

fn read_back(
    agrees: bool,
    admitted: &BTreeMap<Gate, String>,
    wanted: &BTreeMap<Gate, String>,
    accepted: &BTreeMap<Gate, String>,
) -> String {
    let part = |word: &str, of: &BTreeMap<Gate, String>, gate: &Gate| {
        of.get(gate).map(|who| format!(", {word} {who}")).unwrap_or_default()
    };
    let gates = admitted.iter().map(|(gate, who)| {
        format!("{gate} admits {who}{}{}", part("wanted", wanted, gate), part("accepted", accepted, gate))
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
fn guarded(policy: Option<&Policy>) -> String {
    match policy {
        Some(policy) => policy.ports().iter().map(PortRule::in_words).collect::<Vec<_>>().join("; "),
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
        EndReason::NotPermitted => "its requester is no longer permitted to have it",
    }
}

impl People {
    /// The people with an `or` between them; any person is another one than who asks.
    pub fn in_words(&self) -> String {
        match self {
            Self::Anybody => "another person".to_owned(),
            Self::Only(_) => self.people().iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        }
    }
}

/// The first ranges, and how many more there are.
pub fn few(sources: &Sources) -> String {
    match sources.ranges().get(RANGES_MAX..) {
        Some(more @ [_, ..]) => {
            let first = Sources::of(sources.ranges()[..RANGES_MAX].to_vec());
            format!("{first} and {} more", more.len())
        }
        Some([]) | None => sources.to_string(),
    }
}

/// The end of a long id, which is the part that people recognise.
pub fn short(id: &str) -> &str {
    id.rsplit('/').find(|it| !it.is_empty()).unwrap_or(id)
}
