//! What things are called. Names are derived, never minted: doing it twice names the same thing.

use crate::{BadName, Gate, Person, Port, Protocol};
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $what:literal, $max:literal, $wanted:literal, $accepts:expr $(, $canonical:path)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What it is called in words, for messages.
            pub const WHAT: &str = $what;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $name {
            /// The name as it is written, which is how it is stored.
            fn written(text: &str) -> Result<Self, BadName> {
                let accepts: fn(&str) -> bool = $accepts;
                if text.is_empty() || $max < text.len() || !accepts(text) || text.trim() != text {
                    return Err(BadName::of(text, $what, $wanted));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                $(
                    if let Some(canonical) = $canonical(text) {
                        return Self::written(&canonical);
                    }
                )?
                Self::written(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::written(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The machine: an ARM resource id, an instance ARN, a host.
    TargetId: "a target id", 512, "1 to 512 printable characters without spaces, and not `portcullis`",
        |it| is_word(it) && it != REST, folded;
    /// What holds rules, possibly for several targets.
    FirewallId: "a firewall id", 512, "1 to 512 printable characters without spaces", is_word;
    /// One request. Derived from the requester and their idempotency key.
    RequestId: "a request id", 64, "1 to 64 letters, digits or dashes", is_slug;
    /// The life of one asked port on one target. Derived from its request.
    GrantId: "a grant id", 80, "1 to 80 letters, digits or dashes", is_slug;
    /// Why somebody asks, in their own words.
    Justification: "a justification", 1000, "1 to 1000 characters on one line",
        |it| !it.chars().any(char::is_control);
    /// Chosen by a client so that asking twice is asking once.
    IdempotencyKey: "an idempotency key", 255, "1 to 255 printable characters",
        |it| it.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    /// What whoever asks calls the matter: every answer names it.
    CorrelationId: "a correlation id", 128, "1 to 128 printable characters without spaces", is_word;
    /// One run of one worker. No two runs that may be alive together share it.
    ClaimToken: "a claim token", 128, "1 to 128 printable characters without spaces", is_word;
    /// One chain of journal entries: a target's, or the one for everything that is no target's.
    Chain: "a journal chain", 512, "a target id, or `portcullis` for what concerns no target", is_word, folded;
}

/// The name of the chain for what concerns no target.
const REST: &str = "portcullis";

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic())
}

/// The one spelling of an ARM resource id, in lower case; nothing for any other name. A text is folded where it comes in, and
/// not where it is read from the table: an old entry keeps its bytes.
///
/// Azure compares its ids without regard to case, and spells them in several ways itself.
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>
fn folded(text: &str) -> Option<String> {
    const ARM: &str = "/subscriptions/";
    let is_arm = text.get(..ARM.len()).is_some_and(|it| it.eq_ignore_ascii_case(ARM));
    is_arm.then(|| text.to_ascii_lowercase())
}

fn is_slug(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

impl IdempotencyKey {
    /// The key of a call that has none of its own: a call at another time asks for something else.
    pub fn at(time: Timestamp) -> Self {
        Self(format!("at {time}"))
    }
}

impl RequestId {
    /// The same person with the same key names the same request, whatever they ask.
    pub fn derived(by: &Person, key: &IdempotencyKey) -> Self {
        Self(digest(&[by.as_str(), key.as_str()]))
    }

    /// The request that asks for something else with a key that has one already: it is refused, and that one is not.
    pub fn of_reused(by: &Person, key: &IdempotencyKey, shown: &str) -> Self {
        Self(digest(&[by.as_str(), key.as_str(), shown]))
    }
}

impl GrantId {
    /// The `n`th grant of a request, counted from 1.
    pub fn derived(request: &RequestId, n: usize) -> Self {
        Self(format!("{request}-{n}"))
    }

    /// The request that it was derived from, and which of its grants it is; none for a name of another making.
    pub fn derivation(&self) -> Option<(RequestId, usize)> {
        let (request, n) = self.0.rsplit_once('-')?;
        Some((request.parse().ok()?, n.parse().ok()?))
    }
}

impl Chain {
    /// The chain for everything that concerns no target.
    pub fn rest() -> Self {
        Self(REST.to_owned())
    }

    /// The target whose chain it is; none for the one of the rest.
    pub fn target(&self) -> Option<TargetId> {
        self.0.parse().ok()
    }
}

/// How the ids of machines begin that guard themselves.
const HOST: &str = "host/";

impl TargetId {
    /// The id of a machine that guards itself, of this name.
    pub fn of_host(name: &str) -> Result<Self, BadName> {
        format!("{HOST}{name}").parse()
    }

    /// Is it a machine that guards itself?
    pub fn is_host(&self) -> bool {
        self.as_str().starts_with(HOST)
    }
}

impl From<&TargetId> for Chain {
    fn from(target: &TargetId) -> Self {
        Self(target.0.clone())
    }
}

/// A target in the name of a rule: firewalls bound the length of names, so this is a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(String);

impl From<&TargetId> for Owner {
    fn from(target: &TargetId) -> Self {
        Self(digest(&[target.as_str()]))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a rule of ours: a target's lockdown, or the door in it at one gate.
///
/// Printed it has at most 45 characters, of letters, digits and dashes (an NSG takes 80).
/// The lockdown sorts first, so it is also written first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleName {
    /// Whose rule it is.
    pub owner: Owner,
    /// The gate it opens; `None` is the lockdown.
    pub gate: Option<Gate>,
}

impl RuleName {
    /// A number below `of` that follows from the name, spread evenly; 0 where there is none below.
    pub fn seat(&self, of: u16) -> u16 {
        let digest = Sha256::digest(self.to_string());
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        number.checked_rem(u32::from(of)).and_then(|it| u16::try_from(it).ok()).unwrap_or(0)
    }
}

const PREFIX: &str = "Portcullis-";
const LOCKDOWN: &str = "lockdown";

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-", self.owner)?;
        match self.gate {
            None => f.write_str(LOCKDOWN),
            Some(Gate { port, protocol }) => write!(f, "{}-{port}", protocol.word()),
        }
    }
}

impl FromStr for RuleName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        const WANTED: &str = "`Portcullis-<owner>-lockdown` or `Portcullis-<owner>-<protocol>-<port>`";
        let bad = || BadName::of(text, "a rule of ours", WANTED);
        let rest = text.strip_prefix(PREFIX).ok_or_else(bad)?;
        let (owner, what) = rest.split_once('-').ok_or_else(bad)?;
        let is_digest = owner.len() == DIGEST_CHARS && owner.chars().all(|c| c.is_ascii_alphanumeric());
        let gate = match what.split_once('-') {
            None if what == LOCKDOWN => None,
            None => return Err(bad()),
            Some((protocol, port)) => {
                let protocol = Protocol::from_word(protocol).ok_or_else(bad)?;
                let port: Port = port.parse().map_err(|_| bad())?;
                Some(Gate { port, protocol })
            }
        };
        let name = Self { owner: Owner(owner.to_owned()), gate };
        if is_digest && name.to_string() == text { Ok(name) } else { Err(bad()) }
    }
}

impl Serialize for RuleName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RuleName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

const DIGEST_BYTES: usize = 10;
const DIGEST_CHARS: usize = 16;

/// 80 bits of SHA-256 as 16 lower-case letters and digits: no two names collide by accident.
fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        // A length before each part, so that no two lists run together into the same text.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    BASE32_NOPAD.encode(&hasher.finalize()[..DIGEST_BYTES]).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_id_in_any_letter_case_names_one_target_and_one_chain() {
        let (one, other) = ("/subscriptions/A/resourceGroups/RG/vm", "/SUBSCRIPTIONS/a/resourcegroups/rg/VM");
        let target = one.parse::<TargetId>().expect("valid");
        assert_eq!(target, other.parse().expect("valid"));
        assert_eq!(target.as_str(), "/subscriptions/a/resourcegroups/rg/vm");
        assert_eq!(Chain::from(&target), other.parse().expect("valid"));
        let stored = serde_json::from_value::<TargetId>(serde_json::json!(one)).expect("valid");
        assert_eq!(stored.as_str(), one, "an entry keeps the bytes that it was stored with");
    }

    #[test]
    fn name_of_a_host_keeps_its_letter_case() {
        assert_eq!("Web-1".parse::<TargetId>().expect("valid").as_str(), "Web-1");
    }

    #[test]
    fn a_rule_name_reads_back() {
        let owner = Owner::from(&"/subscriptions/a/vm".parse::<TargetId>().expect("valid"));
        for gate in [None, Some("22/tcp".parse().expect("valid")), Some("53/*".parse().expect("valid"))] {
            let name = RuleName { owner: owner.clone(), gate };
            assert_eq!(name.to_string().parse(), Ok(name.clone()));
            assert!(name.to_string().len() <= 45);
        }
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for name in
            ["allow-ssh", "Portcullis-", "Portcullis-x-lockdown", "Portcullis-aaaaaaaaaaaaaaaa-tcp-022"]
        {
            assert!(name.parse::<RuleName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_grant_says_which_request_it_is_of() {
        let request: RequestId = "a-request".parse().expect("valid");
        assert_eq!(GrantId::derived(&request, 12).derivation(), Some((request, 12)));
        assert_eq!("another".parse::<GrantId>().expect("valid").derivation(), None);
    }

    #[test]
    fn a_key_does_not_run_into_the_person() {
        let id = |by: &str, key: &str| {
            RequestId::derived(&by.parse().expect("valid"), &key.parse().expect("valid"))
        };
        assert_eq!(id("ann", "k"), id("ann", "k"));
        assert_ne!(id("ann", "bk"), id("annb", "k"));
        let reused =
            |shown| RequestId::of_reused(&"ann".parse().expect("valid"), &"k".parse().expect("valid"), shown);
        assert_eq!(reused("1h"), reused("1h"));
        assert!(reused("1h") != reused("2h") && reused("1h") != id("ann", "k"));
    }
}
