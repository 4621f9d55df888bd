//! A question: may this caller do this to that, now?

use super::role::Right;
use crate::{Justification, Os, Person, TargetId};
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// May this caller do this to that, under these circumstances? Of a request each pair of a port and a source is a question of its own, and all of
/// them must be permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The caller.
    pub subject: Subject,
    /// The right that it takes.
    pub right: Right,
    /// The machine, or the installation.
    pub object: Object,
    /// The rest.
    pub circumstances: Circumstances,
}

/// The caller, as the issuer vouches for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The kind of caller.
    pub kind: PrincipalKind,
    /// The name.
    pub name: Person,
    /// The word for the authority that vouches for the name, such as `tokens`, `aws` or the URL of an identity provider.
    pub issuer: String,
    /// The groups that the issuer puts the caller in.
    pub groups: BTreeSet<String>,
    /// Anything else that the issuer says.
    pub claims: BTreeMap<String, String>,
}

/// The kind of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrincipalKind {
    /// A person.
    Person,
    /// A program with an identity of its own.
    Workload,
    /// A bot, which speaks for people.
    Bot,
    /// The cloud, or Portcullis itself.
    Platform,
}

/// What an action is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// The installation: who may call, evidence, what concerns no machine.
    Installation,
    /// A machine.
    Machine(Box<Facts>),
}

/// The facts of a machine that policies go by. Absent is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The machine.
    pub id: TargetId,
    /// `azure`, `aws` or `host`.
    pub provider: String,
    /// The subscription or account, in lower case.
    pub account: Option<String>,
    /// The resource group, in lower case.
    pub group: Option<String>,
    /// The region, as its cloud spells it.
    pub region: Option<String>,
    /// The operating system.
    pub os: Option<Os>,
    /// The tags of its owners; keys in lower case.
    pub tags: BTreeMap<String, String>,
    /// The kind of what guards it: `nsg`, `firewall`, `nftables`.
    pub guard: Option<String>,
}

/// The circumstances of an action. Absent is not known, or does not concern it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The time of the question.
    pub now: Timestamp,
    /// The channel: `http`, `cli`, `bot` or `portcullis`.
    pub channel: String,
    /// The source of the bot that speaks.
    pub bot: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// `tcp`, `udp` or `*`.
    pub protocol: Option<String>,
    /// The source network.
    pub source: Option<IpNet>,
    /// The length that was asked for, in minutes, rounded up.
    pub minutes: Option<i64>,
    /// How long until the lease starts, in minutes, rounded down; 0 is now.
    pub minutes_ahead: Option<i64>,
    /// The reason, in the caller's words.
    pub reason: Option<String>,
    /// The ticket that the reason names, [`Justification::ticket`].
    pub ticket: Option<String>,
    /// Is it to be opened without the approval that is needed?
    pub break_glass: bool,
    /// Is the request or the lease the caller's own?
    pub is_own: bool,
}

impl Circumstances {
    /// The same, for this reason and with the ticket that it names.
    #[must_use]
    pub fn because(self, why: Option<&Justification>) -> Self {
        let ticket = why.and_then(Justification::ticket).map(str::to_owned);
        Self { reason: why.map(ToString::to_string), ticket, ..self }
    }
}

/// The answer to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Is it permitted?
    pub is_permitted: bool,
    /// Does a policy forbid it? Then those that do have decided.
    pub is_forbidden: bool,
    /// The ids of the policies or bindings that decided.
    pub deciding: Vec<String>,
    /// The reasons that their authors gave.
    pub reasons: Vec<String>,
    /// Policies that could not be evaluated: then nothing is permitted.
    pub errors: Vec<String>,
}

/// Decides questions. Pure: the same question has the same answer.
pub trait Decide: Send + Sync {
    /// The answer.
    fn decide(&self, question: &Question) -> Judgement;

    /// Is what is permitted on the installation permitted on every machine too, whatever the circumstances?
    fn is_plain(&self) -> bool;

    /// Does an answer depend on more of a machine than its id tells?
    fn needs_facts(&self) -> bool;
}

impl Facts {
    /// The facts that the id of a machine tells.
    pub fn of(id: &TargetId) -> Self {
        let path: Vec<&str> = id.as_str().split('/').collect();
        let (provider, account, group) = match path.as_slice() {
            ["", "subscriptions", account, "resourcegroups", group, ..] => {
                ("azure", Some(*account), Some(*group))
            }
            ["", "subscriptions", account, ..] => ("azure", Some(*account), None),
            [arn] if arn.starts_with("arn:") => ("aws", arn.split(':').nth(4), None),
            _ => ("host", None, None),
        };
        Self {
            id: id.clone(),
            provider: provider.to_owned(),
            account: account.map(str::to_owned),
            group: group.map(str::to_owned),
            region: None,
            os: None,
            tags: BTreeMap::new(),
            guard: None,
        }
    }
}

impl PrincipalKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Person, Self::Workload, Self::Bot, Self::Platform];

    /// The word in policies.
    pub fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Workload => "workload",
            Self::Bot => "bot",
            Self::Platform => "platform",
        }
    }
}
