//! Events and evidence on the wire.

use crate::{AnswerView, GrantView, Problem};
use jiff::Timestamp;
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
    /// Only those that answer what was asked with this id.
    pub correlation: Option<String>,
}

/// A part of what happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HappenedView {
    /// The oldest first.
    pub events: Vec<EventView>,
    /// The `since` to go on with. Some events are told again then, with the same ids.
    #[schema(value_type = String, format = DateTime)]
    pub next: Timestamp,
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
    /// `jsonl` or `csv`.
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
