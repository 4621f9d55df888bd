//! Tokens of the token book, on the wire.

use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{Person, Purpose, Token, TokenEnd, said};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// The person.
    pub person: String,
    /// The purpose of the token, as the operator gave it.
    #[serde(default)]
    pub purpose: Option<String>,
    /// The time at which it was made.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// The time from which on it is refused. `null` for a token without an end.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// The time of its last use, at most an hour behind. `null` where no use is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
}

/// A command to make a token. At most one of `expires_in` and `expires_at` is given; without both the token has no end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// The person.
    #[schema(value_type = String)]
    #[serde(deserialize_with = "said::person")]
    pub person: Person,
    /// The purpose of the token: 1 to 100 characters on one line.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// The time for which it is valid, as an ISO 8601 duration: 10 minutes to 400 days.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "said::length", skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<SignedDuration>,
    /// The time from which on it is refused.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "said::any_time", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A new token, shown only this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The person.
    pub person: String,
    /// The token.
    pub token: String,
    /// The time from which on it is refused. `null` for a token without an end.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl TokenBody {
    /// A token with this purpose and this end.
    pub fn of(person: Person, purpose: Option<Purpose>, end: Option<TokenEnd>) -> Self {
        let (expires_in, expires_at) = match end {
            None => (None, None),
            Some(TokenEnd::In(length)) => (Some(length), None),
            Some(TokenEnd::At(time)) => (None, Some(time)),
        };
        Self { person, purpose, expires_in, expires_at }
    }
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            person: token.person.to_string(),
            purpose: token.purpose().map(ToString::to_string),
            made_at: token.made_at,
            expires_at: token.expires_at(),
            last_used_at: token.used_at,
        }
    }
}

impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMade").field("person", &self.person).finish_non_exhaustive()
    }
}
