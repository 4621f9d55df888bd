//! The keys that an issuer publishes (RFC 7517).

use crate::algorithm::{Algorithm, Kind};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

/// How many keys are read of one set: issuers publish two to ten.
pub const KEYS_MAX: usize = 100;

/// The keys of an issuer that may sign tokens.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    kid: Option<String>,
    kind: Kind,
    /// The one algorithm that it is for, as the set names it.
    algorithm: Option<String>,
    public: DecodingKey,
}

/// A key as it is published. Fields that say nothing of signatures are passed over.
#[derive(Debug, Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl Keys {
    /// The keys of a set. A key of a kind that is not known here, or that is not for signatures, is passed over.
    pub fn of(text: &[u8]) -> Result<Self, serde_json::Error> {
        let set: Set = serde_json::from_slice(text)?;
        let published = set.keys.into_iter().take(KEYS_MAX).map(serde_json::from_value::<Published>);
        Ok(Self(published.filter_map(|it| Key::of(it.ok()?)).collect()))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Is there a key for this algorithm?
    pub fn serve(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|it| it.is_for(algorithm))
    }

    /// The key of this id for this algorithm. Without an id, the only one for the algorithm. None where there are several: guessing
    /// would let a token try them all.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let is_named = |it: &&Key| kid.is_none() || it.kid.as_deref() == kid;
        let mut fit = self.0.iter().filter(is_named).filter(|it| it.is_for(algorithm));
        let found = fit.next()?;
        fit.next().is_none().then_some(&found.public)
    }
}

impl Key {
    fn of(it: Published) -> Option<Self> {
        let signs = it.purpose.as_deref().is_none_or(|it| it == "sig");
        let verifies = it.key_ops.as_ref().is_none_or(|it| it.iter().any(|it| it == "verify"));
        if !signs || !verifies {
            return None;
        }
        let (kind, key) = match (it.kty.as_str(), it.crv.as_deref()) {
            ("RSA", _) => (Kind::Rsa, DecodingKey::from_rsa_components(&it.n?, &it.e?)),
            ("EC", Some("P-256")) => (Kind::P256, DecodingKey::from_ec_components(&it.x?, &it.y?)),
            ("EC", Some("P-384")) => (Kind::P384, DecodingKey::from_ec_components(&it.x?, &it.y?)),
            ("OKP", Some("Ed25519")) => (Kind::Ed25519, DecodingKey::from_ed_components(&it.x?)),
            _ => return None,
        };
        Some(Self { kid: it.kid, kind, algorithm: it.alg, public: key.ok()? })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        // A set may name the curve by RFC 9864 where its tokens say `EdDSA`.
        let is_said =
            |said: &str| said == algorithm.to_string() || said == "Ed25519" && self.kind == Kind::Ed25519;
        self.kind == algorithm.kind() && self.algorithm.as_deref().is_none_or(is_said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(keys: &Value) -> Keys {
        Keys::of(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
    }

    #[test]
    fn key_is_chosen_by_id_kind_and_use_and_none_is_guessed() {
        let p256 = |kid: &str| json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": kid });
        let rsa = json!({ "kty": "RSA", "n": "AA", "e": "AQAB", "kid": "r", "alg": "RS256" });
        let mut encrypts = p256("enc");
        encrypts["use"] = json!("enc");
        let mut wraps = p256("wrap");
        wraps["key_ops"] = json!(["wrapKey"]);
        let set = keys(
            &json!([p256("a"), rsa, encrypts, wraps, { "kty": "oct", "k": "AA", "kid": "s" }, "no key", {}]),
        );
        assert_eq!(set.count(), 2);
        let found = |kid, algorithm| set.find(kid, algorithm).is_some();
        assert!(found(Some("a"), Algorithm::Es256) && found(None, Algorithm::Es256));
        assert!(found(Some("r"), Algorithm::Rs256) && found(None, Algorithm::Rs256));
        assert!(!found(Some("a"), Algorithm::Rs256) && !found(Some("r"), Algorithm::Es256));
        assert!(!found(Some("r"), Algorithm::Ps256), "the set says that it is for RS256");
        for kid in ["enc", "wrap", "s", "b", ""] {
            assert!(!found(Some(kid), Algorithm::Es256), "{kid}");
        }
        let two = keys(&json!([p256("a"), p256("b")]));
        assert!(
            two.find(None, Algorithm::Es256).is_none() && two.find(Some("b"), Algorithm::Es256).is_some()
        );
        assert!(Keys::of(br#"{"keys": {}}"#).is_err() && Keys::of(b"<html>").is_err());
    }
}
