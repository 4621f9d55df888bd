//! Sessions that are open when a lease ends.

use serde::{Deserialize, Serialize};

/// The fate of open sessions at the end of a lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sessions {
    /// They go on, and new ones are refused, as firewalls with connection tracking do unless they are told otherwise.
    #[default]
    Survive,
    /// They end with the lease.
    EndWithLease,
}
