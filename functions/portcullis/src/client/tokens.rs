//! Tokens: who may call.

use super::{Client, connection, moments};
use crate::{
    failure::{Exit, Failure},
    output,
    table::{Mark, Table},
};
use clap::Subcommand;
use portcullis_domain::Person;
use portcullis_http::wire::{TokenBody, TokenMade, TokenView};

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a person's token, and print it, this once; the one before is no longer valid
    #[command(after_help = "Example:\n  portcullis token create ann >ann.token")]
    Create {
        /// Whose
        person: Person,
    },
    /// List who has a token
    List,
    /// Take a person's token away
    Revoke {
        /// Whose
        person: Person,
    },
}

impl Token {
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        match self {
            Self::Create { person } => {
                let made: TokenMade =
                    client.http.post("/v1/tokens", Some(&TokenBody { person: person.clone() }))?;
                client.out.show(&made, || made.token.clone())?;
                output::note(format_args!("This is the only time that the token of {person} is shown."));
            }
            Self::List => {
                let found: Vec<TokenView> = client.http.get("/v1/tokens")?;
                let empty = "Nobody has a token. Make one with `portcullis token create PERSON`.";
                client.out.list(&found, empty, || {
                    let now = client.out.now();
                    let mut table = Table::of(&["PERSON", "MADE"]);
                    for it in &found {
                        table.row(Mark::Good, [it.person.clone(), moments::ago(it.made_at, &now)]);
                    }
                    table
                })?;
            }
            Self::Revoke { person } => {
                client.http.delete(&format!("/v1/tokens/{}", connection::segment(person.as_str())))?;
                client.out.show(&serde_json::json!({ "person": person }), || {
                    format!("{person} has no token any longer.")
                })?;
            }
        }
        Ok(Exit::Done)
    }
}
