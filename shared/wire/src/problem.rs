//! An answer that is not what was asked for, on the wire: RFC 9457 problems.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An RFC 9457 problem, with every reason.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A word for programs: `urn:portcullis:refused`, `…:not-found`, `…:bad-input` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// Every reason for a refusal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// One reason for a refusal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// A word for programs, such as `too-long`.
    pub code: String,
    /// What was asked, and what would be allowed.
    pub message: String,
}
