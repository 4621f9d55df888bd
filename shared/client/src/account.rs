//! A person's AWS account: as whom, and where. The feature `aws` is all of it that needs AWS's own libraries.

#[cfg(not(feature = "aws"))]
mod absent;
#[cfg(feature = "aws")]
mod first;
#[cfg(feature = "aws")]
mod keys;
#[cfg(feature = "aws")]
mod signer;

#[cfg(not(feature = "aws"))]
pub use absent::{Account, Signer, people, token};
#[cfg(feature = "aws")]
pub use {
    first::{people, token},
    keys::Account,
    signer::Signer,
};

use portcullis_domain::{Person, Purpose, TokenEnd};
use portcullis_program::Failure;

/// Who of AWS a person is, and in which region.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// A profile of the AWS tools. `None` is what `AWS_PROFILE` says, or keys in the environment.
    pub profile: Option<String>,
    /// `None` is what `AWS_REGION` says, or the profile.
    pub region: Option<String>,
}

/// A token that is asked for.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only an account has a table to make it in"))]
pub struct TokenAsked {
    /// Whose it is to be.
    pub person: Person,
    /// What it is for.
    pub purpose: Option<Purpose>,
    /// Its end; none for a token without one.
    pub end: Option<TokenEnd>,
}

/// Nothing says which region.
pub fn no_region() -> Failure {
    Failure::usage("the region of AWS is not set").next("set AWS_REGION, or `region` in the profile")
}
