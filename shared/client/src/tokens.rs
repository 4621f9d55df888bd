//! Tokens: who may call.

use crate::{
    account::{self, Account, TokenAsked},
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
use portcullis_domain::{Person, Purpose, TOKEN_IN_TEXT, TokenEnd, holds_token};
use portcullis_program::{
    Exit, Failure,
    output::{self, printable},
};
use portcullis_wire::{GrantView, RequestView, RevokedView, TokenBody, TokenView};

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a person's token, and print it, this once; the one before is no longer valid
    #[command(
        after_help = "Examples:\n  portcullis token create ann >ann.token\n  portcullis token create backups --purpose 'nightly backups' --expires 90d >backups.token"
    )]
    Create {
        /// Whose
        person: Person,
        /// The purpose of the token, which `token list` shows: at most 100 characters
        #[arg(long, value_name = "TEXT")]
        purpose: Option<Purpose>,
        /// The end of the token: a length of time from now on, such as `90d`, or a time; 10 minutes to 400 days. Without it the token has no
        /// end
        #[arg(long, value_name = "TIME", value_parser = moments::end)]
        expires: Option<TokenEnd>,
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
            Self::Create { person, purpose, expires, table } => {
                let (whose, purpose, end) = (person.clone(), purpose.clone(), *expires);
                let made = if let Some(table) = table {
                    let account = Account::of(&profile::chosen(globals)?.named())?;
                    account::token(&account, table, &TokenAsked { person: whose, purpose, end })?
                } else {
                    client()?.http.post("/v1/tokens", Some(&TokenBody::of(whose, purpose, end)))?
                };
                out.show(&made, || made.token.clone())?;
                let now = out.now();
                let end = made.expires_at.map_or_else(
                    || "It does not expire: `portcullis token list` shows whether it is used.".to_owned(),
                    |end| {
                        format!(
                            "It expires at {}, {}: make the next one before that.",
                            moments::clock(end, &now),
                            moments::ahead_or_ago(end, &now)
                        )
                    },
                );
                output::note(format_args!(
                    "The token of {person} is shown only this once. {person} sets it as PORTCULLIS_TOKEN, or keeps it in \
                        a file that only {person} can read and names that file as the `token-file` of a profile in {}. {end}",
                    profile::file().display()
                ));
            }
            Self::List => {
                let client = client()?;
                let found: Vec<TokenView> = client.http.get("/v1/tokens")?;
                let empty = "There are no tokens. Make one with `portcullis token create PERSON`.";
                client.out.list(&found, empty, || listed(&found, &client.out.now()))?;
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

/// The tokens, one in a line.
fn listed(tokens: &[TokenView], now: &ZonedDateTime) -> Table {
    let columns = ["PERSON", "PURPOSE", "MADE", "EXPIRES", "LAST USE"];
    let mut table = Table::of(&columns).leaving_out(&["MADE", "PURPOSE"]);
    for it in tokens {
        let is_over = it.expires_at.is_some_and(|end| end <= now.timestamp());
        let end = it.expires_at.map_or_else(
            || "never".to_owned(),
            |end| {
                let when = moments::ahead_or_ago(end, now);
                if is_over { format!("expired {when}") } else { when }
            },
        );
        table.row(
            if is_over { Mark::Look } else { Mark::Good },
            [
                it.person.clone(),
                it.purpose.clone().unwrap_or_default(),
                moments::ago(it.made_at, now),
                end,
                it.last_used_at.map_or_else(|| "never used".to_owned(), |at| moments::ago(at, now)),
            ],
        );
    }
    table
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use portcullis_program::output::Paint;

    #[test]
    fn tokens_are_listed_with_purpose_end_and_last_use_and_an_expired_one_wants_a_look() {
        let now = ZonedDateTime::default();
        let at = |hours| now.timestamp() + SignedDuration::from_hours(hours);
        let view = |person: &str, purpose: Option<&str>, end: Option<i64>, used: Option<i64>| TokenView {
            person: person.to_owned(),
            purpose: purpose.map(ToOwned::to_owned),
            made_at: at(-48),
            expires_at: end.map(at),
            last_used_at: used.map(at),
        };
        let tokens = [
            view("ann", None, None, None),
            view("backups", Some("nightly"), Some(27), Some(-3)),
            view("ci", None, Some(-1), Some(-1)),
        ];
        let lines = [
            "  PERSON   PURPOSE  MADE     EXPIRES          LAST USE",
            "● ann               2 d ago  never            never used",
            "● backups  nightly  2 d ago  in 1 d 3 h       3 h ago",
            "▲ ci                2 d ago  expired 1 h ago  1 h ago",
        ];
        assert_eq!(listed(&tokens, &now).lines(Paint::NONE, None).lines().collect::<Vec<_>>(), lines);
    }
}
