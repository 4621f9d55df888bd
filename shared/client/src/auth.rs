//! The way in which a person says who they are.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How we say who we are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// With a token
    #[default]
    Bearer,
    /// With a signature of AWS keys
    Sigv4,
    /// With a log-in at an identity provider
    Oidc,
}
