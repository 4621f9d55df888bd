//! Machines by name on the wire, and how long a caller waits for the cloud.

use crate::PortRuleView;
use jiff::SignedDuration;
use portcullis_domain::{TargetState, said};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A page of the names of machines.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamesView {
    /// The names, ordered by id.
    pub items: Vec<NameView>,
    /// The `after` of the next page; `null` on the last one.
    pub next: Option<String>,
    /// Whether the catalogue of the cloud is included: `not_asked`, `answered` or `silent`. If not, the names are those of the table.
    #[schema(value_type = String)]
    pub catalogue: Catalogue,
    /// The reason why the catalogue is silent, or the parts that it could not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// Whether a catalogue was asked, and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Catalogue {
    /// The caller wanted the table alone.
    NotAsked,
    /// The catalogue answered.
    Answered,
    /// The catalogue did not answer in time, or refused.
    Silent,
}

/// A machine by its names.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NameView {
    /// The id of the target.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state: `configured`, `not_configured` or `unsupported`.
    #[schema(value_type = String)]
    pub state: TargetState,
    /// The operating system: `linux` or `windows`.
    pub os: String,
    /// The address to connect to.
    pub addresses: Vec<String>,
    /// The ports that may be requested.
    pub ports: Vec<PortRuleView>,
}

/// A page of a list, and the time to wait for the cloud.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// The `next` of the previous page.
    pub after: Option<String>,
    /// The length of a page, 1 to 200. Default 100.
    pub limit: Option<usize>,
    /// The time that the cloud may take to answer, as an ISO 8601 duration of at most 30 seconds; with `PT0S` it is not asked.
    /// Machines that it has not listed by then come from the table.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length")]
    pub wait: Option<SignedDuration>,
}

/// The time to wait for the cloud.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PatienceQuery {
    /// The time that the cloud may take to answer, as an ISO 8601 duration of at most 30 seconds; with `PT0S` it is not asked.
    /// Machines that it has not listed by then come from the table.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length")]
    pub wait: Option<SignedDuration>,
}
