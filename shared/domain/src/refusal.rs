//! Every way to be told no, in words that are safe to show.

use crate::{
    FirewallId, Gate, GrantId, IdempotencyKey, Nearest, Person, Port, RequestId, Right, Role, Room, RuleName,
    Scope, Sources, TargetId, net::listed,
};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// A no that is the caller's to fix: their input, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each one and its fields mean")]
pub enum Refusal {
    // Asking
    #[error("nothing was asked for: name at least one port of one target")]
    NothingAsked,
    #[error("`{count}` targets in one request are too many: at most {max}")]
    TooManyTargets { count: usize, max: usize },
    #[error("`{count}` ports in one request are too many: at most {max}")]
    TooManyGates { count: usize, max: usize },
    #[error("port `{gate}` of `{target}` is asked for twice")]
    AskedTwice { target: TargetId, gate: Gate },
    #[error(
        "`{target}` is not guarded here, and never was: `portcullis targets` and `GET /v1/names` list the machines by their ids"
    )]
    UnknownTarget { target: TargetId },
    #[error("`{target}` is not guarded: enable it first")]
    NotEnabled { target: TargetId },
    #[error("port `{asked}` of `{target}` is not guarded: {} may be asked for", listed(guarded))]
    NotGuarded { target: TargetId, asked: String, guarded: Vec<Gate> },
    #[error("port `{gate}` of `{target}` is asked for without a source: name an address or a range")]
    NoSources { target: TargetId, gate: Gate },
    #[error("`{asked}` may not reach port `{gate}` of `{target}`: sources within {allowed} may")]
    SourceNotAllowed { target: TargetId, gate: Gate, asked: Sources, allowed: Sources },
    #[error("`{asked}` is no address from which `{target}` is reached: name your own, such as `203.0.113.9`")]
    UnusableSource { target: TargetId, asked: Sources },
    #[error("port `{gate}` of `{target}` would have `{count}` ranges in its leases: at most {max}")]
    TooManySources { target: TargetId, gate: Gate, count: usize, max: usize },
    #[error(
        "`{asked}` more {what} for `{target}` do not fit in `{firewall}`: beside its other rules, of other machines and of \
        others, it takes `{room}` for this machine, of which `{held}` are taken by leases. Ask for fewer, close a lease, or \
        make room there"
    )]
    FirewallFull {
        target: TargetId,
        firewall: FirewallId,
        what: &'static str,
        asked: usize,
        room: usize,
        held: usize,
    },
    #[error(
        "`{target}` has `{count}` leases, and there is no room for more: close one, or name fewer ranges"
    )]
    TooManyLeases { target: TargetId, count: usize },
    #[error(
        "`{by}` holds `{held}` {room} of `{target}` and asks for `{asked}` more: one person may hold {max}; close what is no longer needed, or ask for less"
    )]
    ShareUsedUp { target: TargetId, by: Person, room: Room, held: usize, asked: usize, max: usize },
    #[error(
        "`{target}` has `{held}` {room}, and `{asked}` more would use the room that is kept for break-glass: at most {max} without; wait until some are closed"
    )]
    OnlyReserveLeft { target: TargetId, room: Room, held: usize, asked: usize, max: usize },
    #[error("`{:#}` is too long: at most {max:#}", whole(asked))]
    TooLong { asked: SignedDuration, max: SignedDuration },
    #[error("`{:#}` is too short: at least {min:#}", begun(asked))]
    TooShort { asked: SignedDuration, min: SignedDuration },
    #[error("`{start}` is too far ahead: a lease starts within {within:#}")]
    StartsTooLate { start: Timestamp, within: SignedDuration },
    #[error("the lease would be over before it starts: its end must be in the future")]
    Over,
    #[error(
        "port `{gate}` of `{target}` needs an approval, and its only approver is the requester `{by}`: name another approver in the policy"
    )]
    NobodyMayApprove { target: TargetId, gate: Gate, by: Person },
    #[error(
        "a later end of a lease of port `{gate}` of `{target}` needs an approval, and its only approvers are `{by}`, who asks, and `{holder}`, who holds the lease: name another approver in the policy"
    )]
    NobodyMayExtend { target: TargetId, gate: Gate, by: Person, holder: Box<Person> },
    #[error("the ports asked for have no approver in common: ask for them in requests of their own")]
    NoCommonApprover,
    #[error("`{by}` may not use break-glass for port `{gate}` of `{target}`: {} may", none_or(may))]
    MayNotBreakGlass { target: TargetId, gate: Gate, by: Person, may: Vec<Person> },
    #[error("break-glass needs a reason: give a justification")]
    GlassWithoutWhy,
    #[error(
        "break-glass opens at once, and `{start}` is in the future: leave the start out, or wait for an approval"
    )]
    GlassLater { start: Timestamp },
    #[error(
        "the idempotency key `{key}` is that of request `{request}`, which asks for something else: use a new one"
    )]
    KeyReused { key: IdempotencyKey, request: RequestId },
    // Deciding
    #[error("`{by}` made this request and may not decide it: another approver has to")]
    OwnRequest { by: Person },
    #[error(
        "`{by}` holds the lease of `{grant}` and may not approve a later end of it: another approver has to"
    )]
    OwnLease { by: Person, grant: GrantId },
    #[error(
        "the bot `{bot}` made this request and may not approve it too, for whichever person: approve it by another bot or by `portcullis approve` with the token of another person, or permit that bot both with `both_halves` in the list of bots"
    )]
    OneBot { bot: String },
    #[error("`{by}` may not decide this: {} may", none_or(approvers))]
    NotAnApprover { by: Person, approvers: Vec<Person> },
    #[error(
        "`{by}` may not withdraw this: `{requester}`, who made the request, may; an approver rejects it instead"
    )]
    NotTheRequester { by: Person, requester: Person },
    #[error("the request is {state}, so there is nothing left to decide")]
    NotPending { state: &'static str },
    #[error("the request is not the one that was shown: read it again")]
    NotAsShown,
    // Living
    #[error("the lease of `{grant}` is over: ask for a new one")]
    GrantOver { grant: GrantId },
    #[error("the lease of `{grant}` ends in less than {within:#}: ask for a new one")]
    LastSeconds { grant: GrantId, within: SignedDuration },
    #[error("the new end must be later than `{end}`")]
    NotLater { end: Timestamp },
    // Guarding
    #[error("`{target}` was changed by another caller meanwhile: read it again")]
    ChangedMeanwhile { target: TargetId },
    #[error("`{by}` may not administer this installation: `{operator}` may")]
    NotTheOperator { by: Person, operator: Person },
    #[error("{}", not_permitted(by, *right, target.as_ref(), why))]
    NotPermitted { by: Box<Person>, right: Right, target: Option<TargetId>, why: Box<WhyNot> },
    #[error("`{by}` is no operator on `{scope}`, and changes no role there")]
    NotTheirsToGive { by: Person, scope: Box<Scope> },
    #[error("`everyone` cannot be an operator: name a person, a group or a workload")]
    EveryoneAnOperator,
    #[error("there are {max} roles, and no more fit: revoke some, or give a role to a group")]
    TooManyRoles { max: usize },
    #[error("this installation has policies, and this server cannot decide by them: {why}")]
    PoliciesUnread { why: String },
    #[error("the policy files have faults: {}", faults.join("; "))]
    PolicyFaults { faults: Vec<String> },
    #[error(
        "`{name}` is not the name of a policy file: 1 to 64 letters, digits, `-`, `_` or `.`, with `.cedar` at the end"
    )]
    BadPolicyFile { name: String },
    #[error("`{count}` policies are too many: at most {max}")]
    TooManyPolicies { count: usize, max: usize },
    #[error("the policy files take `{bytes}` bytes as they are stored: at most {max}")]
    PoliciesTooLong { bytes: usize, max: usize },
    #[error(
        "the policies are version {version}{}, and not version {expected}: `portcullis policy diff` shows the difference from the new ones",
        by.as_ref().map(|it| format!(", by `{it}`")).unwrap_or_default()
    )]
    PoliciesNewer { expected: u64, version: u64, by: Option<Box<Person>> },
    #[error(
        "`{by}` could no longer administer this installation by these policies: {}",
        if reasons.is_empty() { "nothing permits it".to_owned() } else { reasons.join("; ") }
    )]
    LocksOut { by: Person, reasons: Vec<String> },
    #[error("this is the last operator on everything: grant the role to another one first")]
    LastOperator,
    #[error(
        "the token of `{operator}` is made by `portcullis up`: delete the file `token` in its data folder and start it again"
    )]
    OperatorsToken { operator: Person },
    #[error(
        "a token that expires at `{expires_at}` would be valid for too short a time: at least {min:#}, or without an end"
    )]
    TokenTooShort { expires_at: Timestamp, min: SignedDuration },
    #[error(
        "a token that expires at `{expires_at}` would be valid for too long: at most {} days, or without an end",
        max.as_hours() / 24
    )]
    TokenTooLong { expires_at: Timestamp, max: SignedDuration },
    #[error("a policy needs at least one port")]
    NoPorts,
    #[error("port `{gate}` is in the policy twice")]
    PortTwice { gate: Gate },
    #[error("port `{gate}` allows no source: name a range, or `*` for anywhere")]
    NoAllowedSources { gate: Gate },
    #[error("`{count}` ports in one policy are too many: at most {max}")]
    TooManyPorts { count: usize, max: usize },
    #[error("`{target}` is guarded already, by another policy: edit it instead")]
    AlreadyEnabled { target: TargetId },
    #[error(
        "`{target}` has rules of a Portcullis that this table does not know ({}): another installation may guard it, and two would undo each other's rules; disable it there, or if that table is lost take it over",
        listed(rules)
    )]
    GuardedElsewhere { target: TargetId, rules: Vec<RuleName> },
    #[error("`{target}` cannot be guarded: {reason}")]
    Unsupported { target: TargetId, reason: String },
    #[error("`{target}` has no change that waits for a confirmation")]
    NothingToConfirm { target: TargetId },
    #[error("`{target}` has a change that waits for a confirmation: confirm it or let it lapse")]
    Unconfirmed { target: TargetId },
    #[error("`{asked:#}` is not a time to confirm within: {min:#} to {max:#}")]
    ConfirmWithin { asked: SignedDuration, min: SignedDuration, max: SignedDuration },
    #[error("`{target}` has no port `{port}` in its policy: {} are", listed(guarded))]
    NoSuchPort { target: TargetId, port: Port, guarded: Vec<Gate> },
    #[error(
        "`{asked}` is no foreign rule that lets sources in without a lease: {} may be accepted",
        listed(may)
    )]
    NoSuchRule { asked: String, may: Vec<String> },
    #[error("`{asked}` may be any of {}: give more of the name", listed(may))]
    SeveralRules { asked: String, may: Vec<String> },
    #[error("`{asked}` is to be accepted, and accepted no longer: say one of the two")]
    AcceptedAndNot { asked: String },
    #[error("`{asked}` is no accepted rule: accepted is {}", none_of(accepted))]
    NotAccepted { asked: String, accepted: Vec<String> },
    #[error("`{count}` acceptances in one policy, counted at each port, are too many: at most {max}")]
    TooManyAccepted { count: usize, max: usize },
}

/// In whole seconds, and never less.
fn whole(length: &SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(length.as_secs().saturating_add(i64::from(0 < length.subsec_nanos())))
}

/// The whole seconds of a length, since an end that was asked for is some of a second away; of a length below one its milliseconds.
fn begun(length: &SignedDuration) -> SignedDuration {
    match (length.as_secs(), length.subsec_millis()) {
        (0, 0) => *length,
        (0, millis) => SignedDuration::from_millis(millis.into()),
        (secs, _) => SignedDuration::from_secs(secs),
    }
}

/// What the caller has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// Who asks.
    Forbidden,
    /// What is there already.
    State,
    /// What was asked.
    Content,
}

impl Refusal {
    /// A word that programs can rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NothingAsked => "nothing-asked",
            Self::TooManyTargets { .. } => "too-many-targets",
            Self::TooManyGates { .. } => "too-many-ports",
            Self::AskedTwice { .. } => "asked-twice",
            Self::UnknownTarget { .. } => "unknown-target",
            Self::NotEnabled { .. } => "not-enabled",
            Self::NotGuarded { .. } | Self::NoSuchPort { .. } => "not-guarded",
            Self::NoSources { .. } => "no-sources",
            Self::SourceNotAllowed { .. } => "source-not-allowed",
            Self::UnusableSource { .. } => "unusable-source",
            Self::TooManySources { .. } => "too-many-sources",
            Self::FirewallFull { .. } => "firewall-full",
            Self::TooManyLeases { .. } => "too-many-leases",
            Self::ShareUsedUp { .. } => "share-used-up",
            Self::OnlyReserveLeft { .. } => "only-reserve-left",
            Self::TooLong { .. } => "too-long",
            Self::TooShort { .. } => "too-short",
            Self::StartsTooLate { .. } => "starts-too-late",
            Self::Over => "over",
            Self::NobodyMayApprove { .. } | Self::NobodyMayExtend { .. } => "nobody-may-approve",
            Self::NoCommonApprover => "no-common-approver",
            Self::MayNotBreakGlass { .. } => "may-not-break-glass",
            Self::GlassWithoutWhy => "glass-without-why",
            Self::GlassLater { .. } => "glass-later",
            Self::KeyReused { .. } => "key-reused",
            Self::OwnRequest { .. } => "own-request",
            Self::OwnLease { .. } => "own-lease",
            Self::OneBot { .. } => "one-bot",
            Self::NotAnApprover { .. } => "not-an-approver",
            Self::NotTheRequester { .. } => "not-the-requester",
            Self::NotPending { .. } => "not-pending",
            Self::NotAsShown => "not-as-shown",
            Self::GrantOver { .. } => "grant-over",
            Self::LastSeconds { .. } => "last-seconds",
            Self::NotLater { .. } => "not-later",
            Self::ChangedMeanwhile { .. } => "changed-meanwhile",
            Self::NotTheOperator { .. } => "not-the-operator",
            Self::NotPermitted { .. } => "not-permitted",
            Self::NotTheirsToGive { .. } => "not-theirs-to-give",
            Self::EveryoneAnOperator => "everyone-an-operator",
            Self::TooManyRoles { .. } => "too-many-roles",
            Self::PoliciesUnread { .. } => "policies-unread",
            Self::PolicyFaults { .. } => "policy-faults",
            Self::BadPolicyFile { .. } => "bad-policy-file",
            Self::TooManyPolicies { .. } => "too-many-policies",
            Self::PoliciesTooLong { .. } => "policies-too-long",
            Self::PoliciesNewer { .. } => "policies-newer",
            Self::LocksOut { .. } => "locks-out",
            Self::LastOperator => "last-operator",
            Self::OperatorsToken { .. } => "operators-token",
            Self::TokenTooShort { .. } => "token-too-short",
            Self::TokenTooLong { .. } => "token-too-long",
            Self::NoPorts => "no-ports",
            Self::PortTwice { .. } => "port-twice",
            Self::NoAllowedSources { .. } => "no-allowed-sources",
            Self::TooManyPorts { .. } => "too-many-policy-ports",
            Self::AlreadyEnabled { .. } => "already-enabled",
            Self::GuardedElsewhere { .. } => "guarded-elsewhere",
            Self::Unsupported { .. } => "unsupported",
            Self::NothingToConfirm { .. } => "nothing-to-confirm",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::ConfirmWithin { .. } => "confirm-within",
            Self::NoSuchRule { .. } => "no-such-rule",
            Self::SeveralRules { .. } => "several-rules",
            Self::NotAccepted { .. } => "not-accepted",
            Self::AcceptedAndNot { .. } => "accepted-and-not",
            Self::TooManyAccepted { .. } => "too-many-accepted",
        }
    }

    /// What the caller has to change.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::SourceNotAllowed { .. }
            | Self::NobodyMayApprove { .. }
            | Self::NobodyMayExtend { .. }
            | Self::MayNotBreakGlass { .. }
            | Self::OwnRequest { .. }
            | Self::OwnLease { .. }
            | Self::OneBot { .. }
            | Self::NotAnApprover { .. }
            | Self::NotTheRequester { .. }
            | Self::NotTheOperator { .. }
            | Self::NotPermitted { .. }
            | Self::PoliciesUnread { .. }
            | Self::NotTheirsToGive { .. } => RefusalKind::Forbidden,
            Self::NotEnabled { .. }
            | Self::TooManySources { .. }
            | Self::FirewallFull { .. }
            | Self::TooManyLeases { .. }
            | Self::ShareUsedUp { .. }
            | Self::OnlyReserveLeft { .. }
            | Self::KeyReused { .. }
            | Self::NotPending { .. }
            | Self::NotAsShown
            | Self::GrantOver { .. }
            | Self::LastSeconds { .. }
            | Self::AlreadyEnabled { .. }
            | Self::ChangedMeanwhile { .. }
            | Self::GuardedElsewhere { .. }
            | Self::Unsupported { .. }
            | Self::NothingToConfirm { .. }
            | Self::Unconfirmed { .. }
            | Self::TooManyRoles { .. }
            | Self::PoliciesNewer { .. }
            | Self::LastOperator => RefusalKind::State,
            Self::NothingAsked
            | Self::TooManyTargets { .. }
            | Self::TooManyGates { .. }
            | Self::AskedTwice { .. }
            | Self::UnknownTarget { .. }
            | Self::NotGuarded { .. }
            | Self::NoSuchPort { .. }
            | Self::NoSources { .. }
            | Self::UnusableSource { .. }
            | Self::TooLong { .. }
            | Self::TooShort { .. }
            | Self::StartsTooLate { .. }
            | Self::Over
            | Self::NoCommonApprover
            | Self::GlassWithoutWhy
            | Self::GlassLater { .. }
            | Self::NotLater { .. }
            | Self::OperatorsToken { .. }
            | Self::EveryoneAnOperator
            | Self::PolicyFaults { .. }
            | Self::BadPolicyFile { .. }
            | Self::TooManyPolicies { .. }
            | Self::PoliciesTooLong { .. }
            | Self::LocksOut { .. }
            | Self::TokenTooShort { .. }
            | Self::TokenTooLong { .. }
            | Self::NoPorts
            | Self::PortTwice { .. }
            | Self::NoAllowedSources { .. }
            | Self::TooManyPorts { .. }
            | Self::ConfirmWithin { .. }
            | Self::NoSuchRule { .. }
            | Self::SeveralRules { .. }
            | Self::NotAccepted { .. }
            | Self::AcceptedAndNot { .. }
            | Self::TooManyAccepted { .. } => RefusalKind::Content,
        }
    }
}

/// Why a caller may not do something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhyNot {
    /// The roles that would permit it.
    pub roles: Vec<Role>,
    /// The ids of the policies that forbid it.
    pub policies: Vec<String>,
    /// What those say, and what is wrong with policies that cannot be evaluated. Empty where nothing permits it.
    pub reasons: Vec<String>,
    /// What would pass instead, where that was looked for.
    pub nearest: Vec<Nearest>,
}

/// Such as "`ann` may not close leases of `web-1`: that takes the role `approver` or `operator` there".
fn not_permitted(
    by: &Person,
    right: Right,
    target: Option<&TargetId>,
    WhyNot { roles, policies: _, reasons, nearest }: &WhyNot,
) -> String {
    let deed = match right {
        Right::Read => "read",
        Right::Request => "request access to",
        Right::OpenWithoutApproval => "open ports without an approval on",
        Right::Approve => "decide requests for",
        Right::Close => "close leases of",
        Right::Extend => "extend leases of",
        Right::Configure => "change what is guarded on",
        Right::Export => "export the journal of",
        Right::BreakGlass => "open without the approval that is needed on",
        Right::Administer => "administer",
    };
    let object = target.map_or_else(|| "this installation".to_owned(), |it| format!("`{it}`"));
    let why = if reasons.is_empty() {
        let roles: Vec<String> = roles.iter().map(|it| format!("`{it}`")).collect();
        format!(
            "that takes the role {} there; an operator grants it with `portcullis role grant`",
            roles.join(" or ")
        )
    } else {
        reasons.join("; ")
    };
    let nearest: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    let passes = if right == Right::OpenWithoutApproval { "open at once" } else { "pass" };
    let instead = if nearest.is_empty() {
        String::new()
    } else {
        format!("; it would {passes} {}", nearest.join(", or "))
    };
    format!("`{by}` may not {deed} {object}: {why}{instead}")
}

fn none_of(rules: &[String]) -> String {
    if rules.is_empty() { "none".to_owned() } else { listed(rules) }
}

fn none_or(people: &[Person]) -> String {
    if people.is_empty() { "no person".to_owned() } else { listed(people) }
}

/// Every reason for a no; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    first: Refusal,
    rest: Vec<Refusal>,
}

impl Refusals {
    /// `None` without a reason.
    pub fn of(reasons: Vec<Refusal>) -> Option<Self> {
        let mut reasons = reasons.into_iter();
        let first = reasons.next()?;
        Some(Self { first, rest: reasons.collect() })
    }

    /// These, and then those.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.rest.extend(std::iter::once(more.first).chain(more.rest));
        self
    }

    /// Every reason, in the order of what was asked.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

impl From<Refusal> for Refusals {
    fn from(first: Refusal) -> Self {
        Self { first, rest: vec![] }
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.rest.iter().try_for_each(|it| write!(f, "; {it}"))
    }
}

impl std::error::Error for Refusals {}
