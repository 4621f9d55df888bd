//! The token book and the issuers, as one proof of who calls.

use crate::{checkup::checkup, issuer::Issuers, token::is_jwt};
use jiff::Timestamp;
use portcullis_app::{
    BadToken, Error, Principal,
    ports::{Authentication, Tokens},
};
use portcullis_domain::{Finding, Person, Speaker, Token, TokenTerms};

/// A token book, and the issuers that are believed beside it.
#[derive(Debug)]
pub struct Authenticators<B> {
    /// The token book.
    pub book: B,
    /// The issuers.
    pub issuers: Issuers,
}

impl<B: Authentication> Authentication for Authenticators<B> {
    /// The form of a token says whose it is: a book makes none with a dot. So no caller with a token of the book waits for an issuer,
    /// and the table is not asked for the others.
    async fn authenticate(&self, bearer: &str, now: Timestamp) -> Result<Result<Principal, BadToken>, Error> {
        if !is_jwt(bearer) || self.issuers.all().is_empty() {
            return self.book.authenticate(bearer, now).await;
        }
        let proven = self.issuers.principal(bearer, now).await;
        proven.map_err(|source| Error::Unavailable {
            doing: "read the keys of the issuer of the token",
            source: source.into(),
        })
    }

    async fn authorities(&self, now: Timestamp) -> Vec<Finding> {
        checkup(&self.issuers, now).await
    }
}

impl<B: Tokens> Tokens for Authenticators<B> {
    async fn issue(
        &self,
        person: &Person,
        terms: &TokenTerms,
        by: Speaker<'_>,
        now: Timestamp,
    ) -> Result<String, Error> {
        self.book.issue(person, terms, by, now).await
    }

    async fn revoke(
        &self,
        person: &Person,
        keeps_access: bool,
        by: Speaker<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.book.revoke(person, keeps_access, by, now).await
    }

    async fn list(&self) -> Result<Vec<Token>, Error> {
        self.book.list().await
    }
}
