//! Short digests of what people were shown.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A short digest of something that can be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn of(content: &impl Serialize) -> Self {
        const DIGEST_BYTES: usize = 12;
        let content = serde_json::to_vec(content).unwrap_or_default();
        Self(HEXLOWER.encode(&Sha256::digest(content)[..DIGEST_BYTES]))
    }
}
