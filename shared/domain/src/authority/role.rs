//! Rights, and the roles that give them.

use crate::BadName;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Declares an enum of words: as text, on the wire and in policies each is its word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $what:literal, $($(#[$each:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$each])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word on the wire and in policies.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                let wanted = concat!("one of" $(, " `", $word, "`")*);
                let found = Self::ALL.iter().find(|it| it.word() == text);
                found.copied().ok_or_else(|| BadName::of(text, $what, wanted))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// A right: an action that policies permit or forbid.
    Right: "a right",
    /// To see machines, requests, leases and the journal.
    Read = "read",
    /// To request access.
    Request = "request",
    /// To have a request opened without an approval, where its port needs none.
    OpenWithoutApproval = "open-without-approval",
    /// To approve or reject requests.
    Approve = "approve",
    /// To end a lease.
    Close = "close",
    /// To have a lease extended.
    Extend = "extend",
    /// To guard a machine, and to change its policy.
    Configure = "configure",
    /// To take evidence away.
    Export = "export",
    /// To open without the approval that is needed.
    BreakGlass = "break-glass",
    /// To change who may call, and what they may do.
    Administer = "administer",
}

words! {
    /// A role: a set of rights.
    Role: "a role",
    /// Sees everything, and changes nothing.
    Reader = "reader",
    /// Requests access, and ends leases of their own.
    Requester = "requester",
    /// Decides requests, and ends leases.
    Approver = "approver",
    /// Guards machines, and changes their policies.
    Configurator = "configurator",
    /// Reads the journal, and takes evidence away.
    Auditor = "auditor",
    /// Does everything, and says who may do what.
    Operator = "operator",
}

impl Role {
    /// The rights that it gives. A requester closes leases of their own alone.
    pub fn rights(self) -> &'static [Right] {
        match self {
            Self::Reader => &[Right::Read],
            Self::Requester => &[
                Right::Read,
                Right::Request,
                Right::OpenWithoutApproval,
                Right::Extend,
                Right::Close,
                Right::BreakGlass,
            ],
            Self::Approver => &[Right::Read, Right::Approve, Right::Close],
            Self::Configurator => &[Right::Read, Right::Configure],
            Self::Auditor => &[Right::Read, Right::Export],
            Self::Operator => Right::ALL,
        }
    }

    /// Is this right of the role about leases of one's own alone?
    pub fn is_for_own_alone(self, right: Right) -> bool {
        match self {
            Self::Requester => right == Right::Close,
            Self::Reader | Self::Approver | Self::Configurator | Self::Auditor | Self::Operator => false,
        }
    }
}
