//! What Azure Resource Manager answers: a status, a few headers, and JSON.

use azure_core::http::{
    RawResponse,
    headers::{HeaderName, RETRY_AFTER},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

const DATE: HeaderName = HeaderName::from_static_standard("date");
const LOCATION: HeaderName = HeaderName::from_static_standard("location");
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>
const OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>
const READS_LEFT: HeaderName = HeaderName::from_static("x-ms-ratelimit-remaining-subscription-reads");
const WRITES_LEFT: HeaderName = HeaderName::from_static("x-ms-ratelimit-remaining-subscription-writes");

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    /// Null where there is none, or none that is JSON.
    pub body: Value,
    /// What `Retry-After` asks for.
    pub after: Option<Duration>,
    /// What time it was there.
    pub date: Option<Timestamp>,
    /// When it was asked for: of several tries the one that it answers.
    pub asked: Option<Instant>,
    /// Where to see how a write gets on.
    pub operation: Option<String>,
    /// Where to see what became of it.
    pub location: Option<String>,
    pub reads_left: Option<u64>,
    pub writes_left: Option<u64>,
}

impl Answer {
    pub fn of(response: &RawResponse) -> Self {
        let headers = response.headers();
        let text = |name: &HeaderName| headers.get_optional_str(name);
        let date = text(&DATE).and_then(time);
        Self {
            status: response.status().into(),
            body: serde_json::from_slice(response.body().as_ref()).unwrap_or_default(),
            after: text(&RETRY_AFTER).and_then(|it| wait(it, date)),
            date,
            asked: None,
            operation: text(&OPERATION).map(str::to_owned),
            location: text(&LOCATION).map(str::to_owned),
            reads_left: text(&READS_LEFT).and_then(|it| it.parse().ok()),
            writes_left: text(&WRITES_LEFT).and_then(|it| it.parse().ok()),
        }
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What a `Retry-After` asks for: seconds, or a date, which is counted from the answer's own.
fn wait(text: &str, date: Option<Timestamp>) -> Option<Duration> {
    if let Ok(secs) = text.trim().parse() {
        return Some(Duration::from_secs(secs));
    }
    let wait = time(text)?.duration_since(date?);
    Some(Duration::try_from(wait).unwrap_or_default())
}

fn time(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let date = time("Wed, 01 Jan 2025 00:00:00 GMT");
        assert_eq!(date, "2025-01-01T00:00:00Z".parse().ok());
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(wait("17", None), secs(17));
        assert_eq!(wait("Wed, 01 Jan 2025 00:00:30 GMT", date), secs(30));
        assert_eq!(wait("Tue, 31 Dec 2024 23:59:30 GMT", date), secs(0), "that is over");
        assert_eq!(wait("Wed, 01 Jan 2025 00:00:30 GMT", None), None, "counted from nothing");
        assert_eq!(wait("soon", date), None);
        assert_eq!(wait("-1", date), None);
    }
}
