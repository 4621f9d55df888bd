//! The bounds of an installation: what it may see, and where its rules stand.

use portcullis_domain::{Bands, Existing};

/// What may be seen and where our rules stand.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Which subscriptions; none means every one that the identity sees.
    pub subscriptions: Vec<String>,
    /// Where our rules stand in security groups.
    pub bands: Bands,
}

impl Bounds {
    /// Every subscription, and the first priorities that there are: above what a portal makes of itself, which
    /// begins at 300. With [`Existing::Respect`] the last ones, above the rules that everybody has.
    pub fn with(existing: Existing) -> Self {
        let (allows, denies) = match existing {
            Existing::Override => (100..200, 200..300),
            Existing::Respect => (3700..3900, 3900..4096),
        };
        Self { subscriptions: vec![], bands: Bands { allows, denies, existing } }
    }
}
