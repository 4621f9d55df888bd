//! What somebody else's just-in-time access guards, as it is found.

use jiff::Timestamp;
use portcullis_domain::{Action, Etag, FirewallId, TargetId};

/// All that was found of somebody else's just-in-time access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoptables {
    /// Every policy, and then what belongs to none, by machine.
    pub items: Vec<Adoptable>,
    /// What could not be seen, and why, in a line each.
    pub unseen: Vec<String>,
}

/// A policy of somebody else's with the rules that it has in firewalls, or rules that no policy has any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoptable {
    /// The policy's id; none where there is no policy.
    pub policy: Option<String>,
    /// What people call the policy, or else the machine.
    pub name: String,
    /// The machines that it guards.
    pub machines: Vec<AdoptableMachine>,
    /// Its rules.
    pub rules: Vec<AdoptableRule>,
}

/// A machine that somebody else's policy guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptableMachine {
    /// The machine.
    pub target: TargetId,
    /// What may be asked for, as it is written there.
    pub ports: Vec<AdoptablePort>,
}

/// A port of somebody else's policy, word for word: not all of it means something here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptablePort {
    /// The port; 0 is one of them.
    pub number: u16,
    /// The protocol.
    pub protocol: String,
    /// From where one may ask.
    pub sources: Vec<String>,
    /// The longest lease.
    pub longest: String,
}

/// A rule of somebody else's just-in-time access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptableRule {
    /// Where it stands.
    pub firewall: FirewallId,
    /// What it is called there.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// To packets of this protocol.
    pub protocol: String,
    /// From here.
    pub sources: Vec<String>,
    /// To these ports.
    pub ports: Vec<String>,
    /// Of this machine; none where nobody knows it.
    pub target: Option<TargetId>,
    /// Until when it shall stand, if that is known.
    pub until: Option<Timestamp>,
    /// What it was when it was found, for whoever deletes it.
    pub seen: Etag,
}
