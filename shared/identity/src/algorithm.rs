//! The algorithms by which tokens may be signed: with a private key alone.

use std::{fmt, str::FromStr};

/// An algorithm of RFC 7518 or RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// The kind of key that an algorithm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

const NAMES: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
];
/// The name of RFC 9864 for `EdDSA` with that curve. It is refused, since the library that reads tokens does not know it.
const ED25519: &str = "Ed25519";

/// A name that is no algorithm of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAlgorithm {
    #[error(
        "`{ED25519}` (RFC 9864) is not supported: let the issuer sign with `EdDSA`, which is the same signature"
    )]
    Ed25519,
    #[error("`{0}` needs a secret that both sides know, or no key at all: choose one of {all}", all = listed(NAMES.map(|it| it.1)))]
    Symmetric(String),
    #[error("`{0}` is no algorithm that is supported: choose one of {all}", all = listed(NAMES.map(|it| it.1)))]
    Unknown(String),
}

/// How many characters of a name are repeated.
const SAID_MAX: usize = 20;

impl Algorithm {
    pub fn kind(self) -> Kind {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => Kind::Rsa,
            Self::Es256 => Kind::P256,
            Self::Es384 => Kind::P384,
            Self::EdDsa => Kind::Ed25519,
        }
    }

    /// The same, as the library that reads tokens calls it.
    pub fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl FromStr for Algorithm {
    type Err = BadAlgorithm;
    fn from_str(name: &str) -> Result<Self, BadAlgorithm> {
        let known = NAMES.iter().find(|it| it.0 == name);
        known.map(|it| it.1).ok_or_else(|| {
            let said: String = name.chars().take(SAID_MAX).collect();
            match name {
                ED25519 => BadAlgorithm::Ed25519,
                _ if name.starts_with("HS") || name.eq_ignore_ascii_case("none") => {
                    BadAlgorithm::Symmetric(said)
                }
                _ => BadAlgorithm::Unknown(said),
            }
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|it| it.1 == *self).map_or("", |it| it.0))
    }
}

/// `` `RS256`, `ES256` ``.
pub fn listed(algorithms: impl IntoIterator<Item = Algorithm>) -> String {
    algorithms.into_iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_read_to_the_letter_and_a_symmetric_one_is_refused() {
        for (name, algorithm) in NAMES {
            assert_eq!(name.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), name);
        }
        let why = |name: &str| name.parse::<Algorithm>().expect_err(name).to_string();
        for name in ["HS256", "HS512", "none", "None", "NONE"] {
            assert!(why(name).contains("needs a secret"), "{name}");
        }
        assert!(why("Ed25519").contains("let the issuer sign with `EdDSA`"));
        for name in ["", "rs256", "RS256 ", "ES512", "ES256K", "RSA-OAEP"] {
            assert!(why(name).contains("is no algorithm"), "{name}");
        }
    }
}
