//! An answer that is not what was asked for, on the wire: RFC 9457 problems.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An RFC 9457 problem, with every reason.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, for programs: `urn:portcullis:refused`, `…:not-found`, `…:bad-input` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The details of this case.
    pub detail: String,
    /// Every reason of a refusal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// One reason for a refusal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// The code of the reason, for programs, such as `too-long`.
    pub code: String,
    /// The input, the fault, and the input that would be accepted.
    pub message: String,
}
