//! Tokens: who may call.

use crate::{
    account::{self, Account},
    client::Client,
    globals::Globals,
    moments,
    output::Output,
    path::segment,
    profile,
    table::{Mark, Table},
};
use clap::Subcommand;
use portcullis_domain::{Person, TOKEN_IN_TEXT, holds_token};
use portcullis_program::{Exit, Failure, output};
use portcullis_wire::{TokenBody, TokenMade, TokenView};

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a person's token, and print it, this once; the one before is no longer valid
    #[command(after_help = "Example:\n  portcullis token create ann >ann.token")]
    Create {
        /// Whose
        person: Person,
        /// In this table in AWS itself, by keys that the AWS CLI knows: the first token of a deployment
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
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
    /// Only who asks Portcullis needs a client: the first token is made without.
    pub fn run(
        &self,
        globals: &Globals,
        client: impl FnOnce() -> Result<Client, Failure>,
    ) -> Result<Exit, Failure> {
        let out = &Output::here(globals.json);
        match self {
            Self::Create { person, .. } if holds_token(person.as_str()) => {
                return Err(Failure::usage("the name of a person must not be a token").next(TOKEN_IN_TEXT));
            }
            Self::Create { person, table } => {
                let made = match table {
                    Some(table) => {
                        let account = Account::of(&profile::chosen(globals)?.named())?;
                        let token = account::token(&account, person, table)?;
                        TokenMade { person: person.to_string(), token }
                    }
                    None => client()?.http.post("/v1/tokens", Some(&TokenBody { person: person.clone() }))?,
                };
                out.show(&made, || made.token.clone())?;
                output::note(format_args!("The token of {person} is shown only this once."));
            }
            Self::List => {
                let client = client()?;
                let found: Vec<TokenView> = client.http.get("/v1/tokens")?;
                let empty = "There are no tokens. Make one with `portcullis token create PERSON`.";
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
                let client = client()?;
                let revoked = client.http.delete(&format!("/v1/tokens/{}", segment(person.as_str())));
                revoked.map_err(|it| {
                    let is_none = it.exit() == Exit::NotFound;
                    if is_none { it.next("`portcullis token list` lists who has one") } else { it }
                })?;
                client.out.show(&serde_json::json!({ "person": person }), || {
                    format!("{person} no longer has a token.")
                })?;
            }
        }
        Ok(Exit::Done)
    }
}
