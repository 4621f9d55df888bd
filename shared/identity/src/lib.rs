//! Callers who are known to an OpenID Connect provider: people who log in there, and workloads such as CI jobs.
//!
//! [`Settings`] say which issuers are believed, and which names each of them may give. [`Authenticators`] proves who calls: by the
//! token book, and by the tokens of those issuers. The table is never asked for the token of an issuer, nor an issuer for a token of
//! the table.

mod algorithm;
mod authenticators;
mod checkup;
mod claims;
mod fetch;
mod issuer;
mod keys;
mod pattern;
mod principal;
mod provider;
mod settings;
mod signature;
mod token;

pub use authenticators::Authenticators;
pub use issuer::Issuers;
pub use settings::{BadSettings, Settings};
pub use token::TOKEN_MAX;
