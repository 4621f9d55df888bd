//! Parts that a program has no right to. None of its operations needs them; a use of one is an error.

use crate::{
    Error,
    ports::{Adoption, Authentication, Checkup, Firewalls, Inventory, Machine, Machines, OurRule, Tokens},
};
use jiff::Timestamp;
use portcullis_domain::{Change, Person, Snapshot, Speaker, TargetId, Token, TokenTerms};

/// No firewalls, no machines and no tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Absent;

fn absent<T>(doing: &'static str) -> Result<T, Error> {
    Err(Error::Broken { doing, source: "this program has no permission for this".into() })
}

impl Firewalls for Absent {
    async fn read(&self, _: &TargetId) -> Result<Snapshot, Error> {
        absent("read a firewall")
    }

    async fn ours(&self) -> Result<Vec<OurRule>, Error> {
        absent("list rules")
    }

    async fn write(&self, _: Option<&TargetId>, _: &[Change]) -> Result<(), Error> {
        absent("write to a firewall")
    }
}

impl Inventory for Absent {
    async fn machines(&self, _: Option<&TargetId>, _: usize) -> Result<Machines, Error> {
        absent("list machines")
    }

    async fn machine(&self, _: &TargetId) -> Result<Option<Machine>, Error> {
        absent("read a machine")
    }
}

impl Adoption for Absent {}

impl Checkup for Absent {}

impl Authentication for Absent {
    async fn authenticate(
        &self,
        _: &str,
        _: Timestamp,
    ) -> Result<Result<crate::Principal, crate::BadToken>, Error> {
        absent("check a token")
    }
}

impl Tokens for Absent {
    async fn issue(&self, _: &Person, _: &TokenTerms, _: Speaker<'_>, _: Timestamp) -> Result<String, Error> {
        absent("make a token")
    }

    async fn revoke(&self, _: &Person, _: bool, _: Speaker<'_>, _: Timestamp) -> Result<(), Error> {
        absent("revoke a token")
    }

    async fn list(&self) -> Result<Vec<Token>, Error> {
        absent("list tokens")
    }
}
