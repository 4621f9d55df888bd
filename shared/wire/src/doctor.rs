//! What a checkup found, on the wire.

use portcullis_domain::{Finding, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a checkup found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DoctorView {
    /// Did nothing fail?
    pub healthy: bool,
    /// Everything that was looked at.
    pub findings: Vec<FindingView>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// Such as `permissions`.
    pub check: String,
    /// `ok`, `warning` or `failed`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
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
