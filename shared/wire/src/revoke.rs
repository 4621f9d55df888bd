//! Taking a token away, on the wire.

use crate::{GrantView, RequestView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What becomes of the access that a token leaves behind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevokeQuery {
    /// Whether the person keeps their leases and waiting requests. Default: the leases end, and the requests are withdrawn.
    #[serde(default)]
    pub keep_access: bool,
}

/// A revoked token, with the access that it left behind.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevokedView {
    /// The person.
    pub person: String,
    /// Whether the person keeps the access below.
    pub kept: bool,
    /// The leases of the person that were not over, as they are now.
    pub grants: Vec<GrantView>,
    /// The requests of the person that waited for an approval, as they are now.
    pub requests: Vec<RequestView>,
}
