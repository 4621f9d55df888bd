//! What a checkup found, on the wire.

use portcullis_domain::{Finding, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The findings of all checks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DoctorView {
    /// Whether no check failed.
    pub healthy: bool,
    /// The finding of each check.
    pub findings: Vec<FindingView>,
}

/// The finding of one check.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// The check, such as `permissions`.
    pub check: String,
    /// The verdict: `ok`, `warning` or `failed`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// The finding, in words.
    pub found: String,
    /// The action to take.
    pub advice: Option<String>,
}

impl From<Vec<Finding>> for DoctorView {
    fn from(findings: Vec<Finding>) -> Self {
        let view = |it: Finding| FindingView {
            check: it.check.to_owned(),
            verdict: it.verdict,
            found: it.found,
            advice: it.advice,
        };
        let healthy = findings.iter().all(|it| it.verdict != Verdict::Failed);
        Self { healthy, findings: findings.into_iter().map(view).collect() }
    }
}
