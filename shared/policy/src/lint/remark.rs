//! A remark on policy files.

use crate::{fault::Fault, file::Written};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// A remark on policies. As text `FILE:LINE: remark`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remark {
    /// The file, where the remark is about a policy in one.
    pub file: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The kind of remark, for programs.
    pub kind: Kind,
    /// The remark.
    pub message: String,
}

/// The kind of a remark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A policy that applies to no question.
    NeverMatches,
    /// A permit all of whose questions a forbid refuses.
    Shadowed,
    /// A permit all of whose questions another one permits.
    Redundant,
    /// A forbid that a bot which speaks for the person evades.
    BotEvades,
    /// A role that no caller has.
    NoMember,
    /// A request that no other caller may approve.
    NoApprover,
    /// A request that is permitted from a wider source than the bound.
    WideSource,
}

/// The widest sources that are no matter for a remark, in bits of their prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Of IPv4, 0 to 32.
    pub ipv4: u8,
    /// Of IPv6, 0 to 128.
    pub ipv6: u8,
}

impl Remark {
    pub(super) fn of(kind: Kind, message: String) -> Self {
        Self { file: None, line: None, kind, message }
    }

    pub(super) fn at(files: &BTreeMap<String, String>, written: &Written, kind: Kind, message: &str) -> Self {
        let Written { file, offset, id, .. } = written;
        let place = Fault::at(file, files.get(file).map_or("", String::as_str), *offset, "");
        let message = format!("policy `{id}` {message}");
        Self { file: Some(place.file), line: Some(place.line), kind, message }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(file), Some(line)) = (&self.file, self.line) {
            write!(f, "{file}:{line}: ")?;
        }
        f.write_str(&self.message)
    }
}
