//! A token before it is believed: enough is read of it to know who could vouch for it.

use crate::algorithm::{Algorithm, listed};
use data_encoding::BASE64URL_NOPAD;
use portcullis_app::BadToken;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// How long a token may be, in bytes. A caller in 200 groups of Entra ID has one of about 9,000.
pub const TOKEN_MAX: usize = 16 << 10;

/// What a token says of itself. Nobody has vouched for it yet.
#[derive(Debug)]
pub struct Unverified {
    pub issuer: String,
    header: Header,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Claimed {
    iss: Option<String>,
}

/// Is it of the form of a JSON Web Token? The token book makes none with a dot.
pub fn is_jwt(bearer: &str) -> bool {
    let is_base64 = |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'));
    let parts: Vec<&str> = bearer.splitn(4, '.').collect();
    parts.len() == 3 && !parts[0].is_empty() && parts.iter().all(|it| is_base64(it))
}

impl Unverified {
    pub fn of(bearer: &str) -> Result<Self, BadToken> {
        if TOKEN_MAX < bearer.len() {
            return Err(BadToken::TooLong(TOKEN_MAX));
        }
        let mut parts = bearer.split('.');
        let header: Header = part(parts.next())?;
        let claimed: Claimed = part(parts.next())?;
        let issuer = claimed.iss.ok_or_else(|| BadToken::Missing("iss".to_owned()))?;
        Ok(Self { issuer, header })
    }

    /// The algorithm and the id of the key, where its issuer may sign so and it is a token for callers.
    pub fn signed(&self, accepted: &[Algorithm]) -> Result<(Algorithm, Option<&str>), BadToken> {
        let algorithm = self.header.alg.parse().ok().filter(|it| accepted.contains(it));
        let algorithm = algorithm.ok_or_else(|| BadToken::Algorithm(listed(accepted.iter().copied())))?;
        // Issuers sign other things with the same keys, such as the notice that a session ended.
        // <https://www.rfc-editor.org/rfc/rfc8725#section-3.11>
        let typ = self.header.typ.as_deref().map(str::to_ascii_lowercase);
        let typ = typ.as_deref().map(|it| it.strip_prefix("application/").unwrap_or(it));
        if !matches!(typ, None | Some("jwt" | "at+jwt")) {
            return Err(BadToken::Purpose);
        }
        if self.header.crit.is_some() {
            return Err(BadToken::Critical);
        }
        Ok((algorithm, self.header.kid.as_deref()))
    }
}

fn part<T: DeserializeOwned>(text: Option<&str>) -> Result<T, BadToken> {
    let bytes = BASE64URL_NOPAD.decode(text.unwrap_or_default().as_bytes());
    let bytes = bytes.map_err(|_| BadToken::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| BadToken::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_of_a_token_is_three_parts_of_base64() {
        for text in ["eyJ9.eyJ9.abc-_", "eyJ9.eyJ9.", "a.b.c"] {
            assert!(is_jwt(text), "{text}");
        }
        for text in ["", "pct_abc", "a.b", "a.b.c.d", ".b.c", "a.b.c=", "a b.c.d", "a.b.c d"] {
            assert!(!is_jwt(text), "{text}");
        }
    }
}
