//! Tokens: who may call.

use crate::{
    account::{self, Account},
    client::Client,
    globals::Globals,
    moments, names,
    output::Output,
    path::segment,
    profile,
    table::{Mark, Table},
};
use clap::Subcommand;
use jiff::ZonedDateTime;
use portcullis_domain::{Person, TOKEN_IN_TEXT, holds_token};
use portcullis_program::{
    Exit, Failure,
    output::{self, printable},
};
use portcullis_wire::{GrantView, RequestView, RevokedView, TokenBody, TokenMade, TokenView};

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
    /// Take a person's token away, end their leases, and withdraw their waiting requests
    Revoke {
        /// Whose
        person: Person,
        /// Leave the leases and the waiting requests of the person as they are
        #[arg(long)]
        keep_access: bool,
    },
}

impl Token {
    /// Only who asks Portcullis needs a client: the first token is made without.
    pub fn run(
        &self,
        globals: &Globals,
        client: impl FnOnce() -> Result<Client, Failure>,
    ) -> Result<Exit, Failure> {
        let out = &Output::of(globals);
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
                output::note(format_args!(
                    "The token of {person} is shown only this once. {person} sets it as PORTCULLIS_TOKEN, or keeps it in \
                        a file that only {person} can read and names that file as the `token-file` of a profile in {}.",
                    profile::file().display()
                ));
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
            Self::Revoke { person, keep_access } => {
                let client = client()?;
                let keep = if *keep_access { "?keep_access=true" } else { "" };
                let revoked = client.http.delete(&format!("/v1/tokens/{}{keep}", segment(person.as_str())));
                let revoked: RevokedView = revoked.map_err(|it| {
                    let is_none = it.exit() == Exit::NotFound;
                    if is_none { it.next("`portcullis token list` lists who has one") } else { it }
                })?;
                client.out.show(&revoked, || left(&revoked, &client.out.now()))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// The access that the person had, in a line each, and what became of it.
fn left(revoked: &RevokedView, now: &ZonedDateTime) -> String {
    let fate = if revoked.kept { "stays" } else { "was ended" };
    let grant = |it: &GrantView| {
        let (target, port, end) = (names::short(&it.target), it.port, moments::until(it.end, now));
        format!("\n  grant {} of {target} {port}/{} {fate}, {end}", it.id, it.protocol)
    };
    let fate = if revoked.kept { "still waits" } else { "was withdrawn" };
    let request = |it: &RequestView| format!("\n  request {} {fate}", it.id);
    let lines = revoked.grants.iter().map(grant).chain(revoked.requests.iter().map(request));
    let head = format!("{} no longer has a token.", revoked.person);
    printable(&lines.fold(head, |text, line| text + &line)).into_owned()
}
