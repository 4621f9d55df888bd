//! Events and evidence on the wire.

use crate::{AnswerView, GrantView, Problem, ReviewView};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Format, said};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A filter of events.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// The earliest time. Default: from now on.
    #[param(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "said::any_time")]
    pub since: Option<Timestamp>,
    /// Only the events that no answer has shown yet: the `cursor` of the answer before, in place of `since`.
    pub after: Option<String>,
    /// Only the events with this correlation id.
    pub correlation: Option<String>,
    /// Only those of this request and of its grants.
    pub request: Option<String>,
    /// How long the answer may wait for the first event, as an ISO 8601 duration of at most 30 seconds. It comes as soon as there
    /// is one. Where the API runs on AWS, and where 64 callers wait already, it comes at once.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length")]
    pub wait: Option<SignedDuration>,
}

/// A page of events.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HappenedView {
    /// The events, the oldest first.
    pub events: Vec<EventView>,
    /// The `since` of the next page. Some events are repeated there, with the same ids.
    #[schema(value_type = String, format = DateTime)]
    pub next: Timestamp,
    /// The `after` of the next page. No event is repeated there, unless more than 256 changes were recorded within 30 seconds.
    #[serde(default)]
    pub cursor: String,
    /// Whether there are more events already.
    pub more: bool,
}

/// An event.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// The kind of event, such as `grant.opened`.
    pub kind: String,
    /// Its content, as it is on the bus: `version`, `id`, `at`, `sentence`, `fact`, and where known `target`, `request`, `grant` and
    /// `correlation_id`.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// The result of a bot's event.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SubmittedView {
    /// Whether the event was accepted.
    pub accepted: bool,
    /// Every reason of a refusal.
    pub reasons: Vec<String>,
    /// The request that the event made or decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerView>,
    /// The review that the event asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewView>,
    /// The grant that the event ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<GrantView>,
}

/// The period and format of an export.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// The beginning of the period.
    #[param(value_type = String, format = DateTime)]
    #[serde(deserialize_with = "said::time")]
    pub from: Timestamp,
    /// The end of the period, which is not part of it.
    #[param(value_type = String, format = DateTime)]
    #[serde(deserialize_with = "said::time")]
    pub to: Timestamp,
    /// The format: `jsonl`, `flat-jsonl`, `csv` or `grants-csv`.
    #[param(value_type = String)]
    pub format: Format,
}

/// A line of an export: one whole file, the last of which is `manifest.json`; or the reason why it was interrupted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportLine {
    /// A file.
    File {
        /// Its name.
        name: String,
        /// Its content.
        content: String,
    },
    /// The export was interrupted.
    Failed(Problem),
}

impl SubmittedView {
    /// The value `true`.
    pub fn accepted() -> Self {
        Self { accepted: true, reasons: vec![], answer: None, review: None, closed: None }
    }
}
