//! Events and evidence on the wire.

use crate::{AnswerView, GrantView, Problem};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Format, said};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which events.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Those of then and later. Default: from now on.
    #[param(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "said::any_time")]
    pub since: Option<Timestamp>,
    /// Those that no answer has told yet: the `cursor` of the answer before, in place of `since`.
    pub after: Option<String>,
    /// Only those that answer what was asked with this id.
    pub correlation: Option<String>,
    /// Only those of this request and of its grants.
    pub request: Option<String>,
    /// How long the answer may wait for the first event, as an ISO 8601 duration of at most 30 seconds. It comes as soon as there
    /// is one. Where the API runs on AWS, and where 64 callers wait already, it comes at once.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length")]
    pub wait: Option<SignedDuration>,
}

/// A part of what happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HappenedView {
    /// The oldest first.
    pub events: Vec<EventView>,
    /// The `since` to go on with. Some events are told again then, with the same ids.
    #[schema(value_type = String, format = DateTime)]
    pub next: Timestamp,
    /// The `after` to go on with. No event is told again then, but where more than 256 changes were recorded within 30 seconds.
    #[serde(default)]
    pub cursor: String,
    /// Is there more already?
    pub more: bool,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// What happened, such as `grant.opened`.
    pub kind: String,
    /// As it is on the bus: `version`, `id`, `at`, `fact`, and where known `target`, `request`, `grant` and
    /// `correlation_id`.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// What became of a bot's event.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SubmittedView {
    /// Was it not refused?
    pub accepted: bool,
    /// Every reason for a no.
    pub reasons: Vec<String>,
    /// The request that it made or decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerView>,
    /// The grant that it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<GrantView>,
}

/// What to export.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// From then on.
    #[param(value_type = String, format = DateTime)]
    #[serde(deserialize_with = "said::time")]
    pub from: Timestamp,
    /// And before that.
    #[param(value_type = String, format = DateTime)]
    #[serde(deserialize_with = "said::time")]
    pub to: Timestamp,
    /// `jsonl`, `flat-jsonl`, `csv` or `grants-csv`.
    #[param(value_type = String)]
    pub format: Format,
}

/// A line of an export: a whole file of it, the last of which is `manifest.json`; or why there are no more.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportLine {
    /// A file.
    File {
        /// What it is called.
        name: String,
        /// All of it.
        content: String,
    },
    /// Nothing more comes.
    Failed(Problem),
}

impl SubmittedView {
    /// A yes.
    pub fn accepted() -> Self {
        Self { accepted: true, reasons: vec![], answer: None, closed: None }
    }
}
