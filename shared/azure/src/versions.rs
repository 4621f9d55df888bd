//! The versions of the parts of ARM that are asked.

pub const NETWORK_API: &str = "2024-05-01";
pub const COMPUTE_API: &str = "2024-07-01";
pub const CLASSIC_API: &str = "2017-04-01";
pub const SUBSCRIPTIONS_API: &str = "2022-12-01";

/// The version that a type of resources is asked by.
pub(crate) fn api_of(kind: &str) -> &'static str {
    match kind.split('/').next() {
        Some("Microsoft.Compute") => COMPUTE_API,
        Some("Microsoft.ClassicCompute") => CLASSIC_API,
        Some(_) | None => NETWORK_API,
    }
}
