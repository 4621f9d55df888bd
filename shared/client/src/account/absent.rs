//! No account: this program was built without the feature `aws`. Nothing of it can be made, so that nothing else asks whether it
//! is there.

use crate::account::{Named, TokenAsked};
use jiff::Timestamp;
use portcullis_program::Failure;
use portcullis_wire::TokenMade;
use std::{convert::Infallible, rc::Rc};
use ureq::http::{Request, Uri};

/// An account that nobody has.
#[derive(Debug)]
pub struct Account(Infallible);

/// A signature that nobody makes.
#[derive(Debug)]
pub struct Signer(Infallible);

impl Account {
    /// Says how to build a program that has one.
    pub fn of(named: &Named) -> Result<Self, Failure> {
        let Named { profile, region } = named;
        let lost = [("profile", profile), ("region", region)];
        let lost =
            lost.iter().filter_map(|(what, name)| Some(format!("the {what} `{}` of AWS", name.as_ref()?)));
        Err(Failure::usage("this program was built without the feature `aws`")
            .because(lost.map(|it| format!("{it} needs it")))
            .next("build it with that feature: `cargo install --locked --path functions/portcullis`"))
    }

    pub fn region(&self) -> Option<&str> {
        match self.0 {}
    }

    pub fn endpoint(&self) -> Option<&str> {
        match self.0 {}
    }

    pub fn keys(&self, _: Timestamp) -> Result<(), Failure> {
        match self.0 {}
    }
}

impl Signer {
    pub fn of(account: &Rc<Account>, _: &Uri) -> Result<Self, Failure> {
        match account.0 {}
    }

    pub fn with(account: &Rc<Account>, _: &str, _: &str) -> Self {
        match account.0 {}
    }

    pub fn renew(&self, _: Timestamp) -> Result<bool, Failure> {
        match self.0 {}
    }

    pub fn signed(&self, _: Request<String>, _: Timestamp) -> Result<Request<String>, Failure> {
        match self.0 {}
    }
}

/// A person's token in a table.
pub fn token(account: &Account, _: &str, _: &TokenAsked) -> Result<TokenMade, Failure> {
    match account.0 {}
}

/// Who has a token in a table.
pub fn people(account: &Account, _: &str) -> Result<Vec<String>, Failure> {
    match account.0 {}
}
