//! How a requester signed in: what policies go by when they are asked again whether the requester may have what was granted.

use crate::{Person, PrincipalKind, Subject, Via};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How a requester signed in, as the issuer vouched for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The word for the authority that vouched for the name, as in [`Subject::issuer`].
    pub issuer: String,
    /// The requester is a workload, not a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_workload: bool,
    /// The groups that the issuer put the requester in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Anything else that the issuer said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
}

impl SignIn {
    /// How this caller signed in, where that is more than the name and the channel tell.
    pub fn of(subject: &Subject, via: &Via) -> Option<Self> {
        let signed_in = Self {
            issuer: subject.issuer.clone(),
            is_workload: subject.kind == PrincipalKind::Workload,
            groups: subject.groups.clone(),
            claims: subject.claims.clone(),
        };
        (signed_in != Self::told_by(Some(via))).then_some(signed_in)
    }

    /// As the channel tells it: by a token of the installation, or by a bot.
    fn told_by(via: Option<&Via>) -> Self {
        Self {
            issuer: via.and_then(Via::bot).map_or_else(|| "tokens".to_owned(), |bot| format!("bot {bot}")),
            is_workload: false,
            groups: BTreeSet::new(),
            claims: BTreeMap::new(),
        }
    }

    /// The caller who signed in so; without it no more is known than the name and the channel.
    pub fn subject(signed_in: Option<&Self>, name: &Person, via: Option<&Via>) -> Subject {
        let known = signed_in.cloned().unwrap_or_else(|| Self::told_by(via));
        let kind = if known.is_workload { PrincipalKind::Workload } else { PrincipalKind::Person };
        Subject { kind, name: name.clone(), issuer: known.issuer, groups: known.groups, claims: known.claims }
    }

    /// How long it is about as JSON, in bytes; never less.
    pub(crate) fn length(&self) -> usize {
        /// The names of all fields.
        const FIELDS: usize = 100;
        /// What stands around an item.
        const ITEM: usize = 6;
        let quoted = |text: &String| {
            let escaped =
                |it: char| if it.is_control() || matches!(it, '"' | '\\') { 6 } else { it.len_utf8() };
            text.chars().map(escaped).sum::<usize>() + ITEM
        };
        let claims = self.claims.iter().map(|(name, value)| quoted(name) + quoted(value));
        FIELDS + quoted(&self.issuer) + self.groups.iter().map(quoted).sum::<usize>() + claims.sum::<usize>()
    }
}
