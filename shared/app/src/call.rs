//! A call: the caller, the channel, and the names that the caller gave it.

use jiff::Timestamp;
use portcullis_domain::{CorrelationId, IdempotencyKey, Person, PrincipalKind, Speaker, Via};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// One call, whatever it asks for, as its channel understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The caller.
    pub principal: Principal,
    /// The channel that it came by, and the program that spoke.
    pub via: Via,
    /// The caller's address; unknown where the channel does not tell.
    pub address: Option<IpAddr>,
    /// Two calls of one principal with the same key ask for the same. Without a key each call asks anew.
    pub key: Option<IdempotencyKey>,
    /// The caller's name for the matter, which every answer and event repeats.
    pub correlation: Option<CorrelationId>,
    /// The time at which it is decided.
    pub now: Timestamp,
}

/// A caller whose identity is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The kind of caller.
    pub kind: PrincipalKind,
    /// The name, unique within this installation: the journal has it.
    pub id: Person,
    /// The authority that vouches for the name.
    pub issuer: Issuer,
    /// The groups that the issuer puts the caller in.
    pub groups: BTreeSet<String>,
    /// Whether those are all that there are.
    pub groups_known: GroupsKnown,
    /// Anything else that the issuer says of the caller, for policies.
    pub claims: BTreeMap<String, String>,
}

/// Whether a caller's groups are known: that none are named does not say that there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupsKnown {
    /// The issuer named all of them.
    All,
    /// The issuer names no groups, or the settings do not say in which claim.
    Nobody,
    /// The token has no such claim.
    Missing,
    /// The caller is in more groups than fit into a token (Entra ID's group overage).
    /// <https://learn.microsoft.com/security/zero-trust/develop/configure-tokens-group-claims-app-roles#group-overages>
    Overage,
}

/// The authority that vouches for a caller's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Issuer {
    /// The token book of this installation.
    Tokens,
    /// AWS, which checked the signature of the call.
    Aws,
    /// An OpenID Connect provider, by the URL of its `iss`.
    Oidc(String),
    /// A bot that may speak for this person.
    Bot {
        /// The source of its events.
        source: String,
        /// Whether it may bring both a request and the approval of that, each for another person.
        both_halves: bool,
    },
}

impl GroupsKnown {
    /// The machine-readable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Nobody => "not_told",
            Self::Missing => "missing",
            Self::Overage => "overage",
        }
    }
}

impl fmt::Display for Issuer {
    /// The word in policies: `tokens`, `aws`, the URL of a provider, or `bot` and its source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens => f.write_str("tokens"),
            Self::Aws => f.write_str("aws"),
            Self::Oidc(url) => f.write_str(url),
            Self::Bot { source, .. } => write!(f, "bot {source}"),
        }
    }
}

impl Principal {
    /// A person of no group, of whom the issuer says nothing else.
    pub fn person(id: Person, issuer: Issuer) -> Self {
        let (groups, claims) = (BTreeSet::new(), BTreeMap::new());
        let groups_known = GroupsKnown::Nobody;
        Self { kind: PrincipalKind::Person, id, issuer, groups, groups_known, claims }
    }

    /// May the program that speaks for them bring both a request and its approval?
    pub(crate) fn may_bring_both_halves(&self) -> bool {
        match &self.issuer {
            Issuer::Bot { both_halves, .. } => *both_halves,
            Issuer::Tokens | Issuer::Aws | Issuer::Oidc(_) => false,
        }
    }
}

impl Call {
    /// A call over HTTP without a key or a correlation id.
    pub fn over_http(principal: Principal, address: Option<IpAddr>, now: Timestamp) -> Self {
        Self { principal, via: Via::Http, address, key: None, correlation: None, now }
    }

    /// The name of the caller.
    pub fn by(&self) -> &Person {
        &self.principal.id
    }

    /// The caller, and how they spoke: every entry of the call says so.
    pub fn speaker(&self) -> Speaker<'_> {
        Speaker { person: self.by(), via: Some(&self.via) }
    }

    /// The idempotency key; where the caller gave none, the time of the call.
    pub fn key(&self) -> IdempotencyKey {
        self.key.clone().unwrap_or_else(|| IdempotencyKey::at(self.now))
    }
}
