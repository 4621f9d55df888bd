//! The signatures of tokens, checked by `ring`: `jsonwebtoken` has no cryptography of its own where no feature is chosen.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result, new_error},
    signature::{Error, Verifier},
};
use ring::signature::{self as of_ring, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Lets the library check signatures by `ring`, once for the process.
pub fn by_ring() {
    // It is ours already where this was called before: nothing else in this process installs one.
    let _ = PROVIDER.install_default();
}

/// One algorithm with one key.
struct Ring {
    algorithm: Algorithm,
    by: By,
    key: DecodingKey,
}

enum By {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

/// Nothing is signed here.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the library has them so")]
fn signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the library has them so")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let by = match algorithm {
        Algorithm::RS256 => By::Rsa(&of_ring::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => By::Rsa(&of_ring::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => By::Rsa(&of_ring::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => By::Rsa(&of_ring::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => By::Rsa(&of_ring::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => By::Rsa(&of_ring::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => By::Curve(&of_ring::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => By::Curve(&of_ring::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => By::Curve(&of_ring::ED25519),
        // The secret ones, and those of a later version of the library.
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 | _ => {
            return Err(new_error(ErrorKind::UnsupportedAlgorithm));
        }
    };
    // A public key must never be taken for a secret, nor a key for one of another kind.
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidKeyFormat));
    }
    Ok(Box::new(Ring { algorithm: *algorithm, by, key: key.clone() }))
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let checked = match (&self.by, self.key.kind()) {
            (By::Rsa(by), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(by, message, signature)
            }
            (By::Curve(by), DecodingKeyKind::SecretOrDer(point)) => {
                of_ring::UnparsedPublicKey::new(*by, point).verify(message, signature)
            }
            (By::Rsa(_), DecodingKeyKind::SecretOrDer(_))
            | (By::Curve(_), DecodingKeyKind::RsaModulusExponent { .. }) => return Err(Error::new()),
        };
        checked.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
