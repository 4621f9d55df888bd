//! Machines by name on the wire, and how long a caller waits for the cloud.

use crate::PortRuleView;
use jiff::SignedDuration;
use portcullis_domain::{TargetState, said};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A part of all names.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamesView {
    /// By id.
    pub items: Vec<NameView>,
    /// Give this as `after` to go on; `null` at the end.
    pub next: Option<String>,
    /// Whether the catalogue of the cloud is in it: `not_asked`, `answered` or `silent`. Else these are the targets of the table.
    #[schema(value_type = String)]
    pub catalogue: Catalogue,
    /// Why the catalogue is silent, or what it could not see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// Whether a catalogue was asked, and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Catalogue {
    /// The caller wanted the table alone.
    NotAsked,
    /// It answered.
    Answered,
    /// It did not answer in time, or refused.
    Silent,
}

/// A machine by its names.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NameView {
    /// What Portcullis calls it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `configured`, `not_configured` or `unsupported`.
    #[schema(value_type = String)]
    pub state: TargetState,
    /// `linux` or `windows`.
    pub os: String,
    /// What to connect to.
    pub addresses: Vec<String>,
    /// What may be asked for.
    pub ports: Vec<PortRuleView>,
}

/// Which part of a list, and how long to wait for the cloud.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Where the part before ended: its `next`.
    pub after: Option<String>,
    /// How many, 1 to 200. Default 100.
    pub limit: Option<usize>,
    /// How long the cloud may take to answer, as an ISO 8601 duration of at most 30 seconds; with `PT0S` it is not asked. What it
    /// does not tell by then comes from the table.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length")]
    pub wait: Option<SignedDuration>,
}

/// How long to wait for the cloud.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PatienceQuery {
    /// How long the cloud may take to answer, as an ISO 8601 duration of at most 30 seconds; with `PT0S` it is not asked. What it
    /// does not tell by then comes from the table.
    #[param(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length")]
    pub wait: Option<SignedDuration>,
}
