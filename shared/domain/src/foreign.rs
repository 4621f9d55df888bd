//! Foreign rules: how one is named, and what becomes of a deny.

use crate::{FirewallId, RuleName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A foreign rule and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignRule {
    /// Its name.
    pub name: String,
    /// Its firewall.
    pub firewall: FirewallId,
}

/// What becomes of foreign denies of single sources where a lease meets them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignDenies {
    /// They win: their sources are not let in.
    #[default]
    Respect,
    /// The lease wins.
    Override,
}

impl ForeignDenies {
    /// Is it what no policy has to say?
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the names of rules of Microsoft's own just-in-time access begin in a security group, before and since 2023, in lower case.
/// <https://learn.microsoft.com/azure/defender-for-cloud/just-in-time-access-usage>
const JUST_IN_TIME: [&str; 2] = ["securitycenter-jitrule", "microsoftdefenderforcloud-jitrule"];

/// Is it the name of a rule of Microsoft's own just-in-time access in a security group?
pub fn is_just_in_time(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    JUST_IN_TIME.iter().any(|it| name.starts_with(it))
}

/// Does a foreign rule of this name stand for one of ours that was changed? That is drift, and nobody can say what it lets in.
pub(crate) fn is_stand_in(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    let is_ours = |name: &str| name.parse::<RuleName>().is_ok();
    name.starts_with('(') || is_ours(name) || name.rsplit_once('-').is_some_and(|(name, _)| is_ours(name))
}

impl fmt::Display for ForeignRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.firewall)
    }
}
