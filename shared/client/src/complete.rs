//! What a shell offers where a command line names a machine, a grant or a request: what there is, asked of the API.

use crate::{
    auth::Auth,
    client::Client,
    globals::Globals,
    names::{Named, short},
    profile,
};
use clap_complete::engine::CompletionCandidate;
use jiff::SignedDuration;
use portcullis_program::output;
use portcullis_wire::{GrantView, GrantsQuery, RequestView, RequestsQuery};
use std::{env, path::PathBuf, sync::mpsc::sync_channel, thread, time::Duration};

/// How long a shell waits for an answer in all; then it offers nothing.
const WITHIN: Duration = Duration::from_secs(1);
/// How long the cloud may take of that to say which machines the table does not know.
const CLOUD_WITHIN: SignedDuration = SignedDuration::from_millis(500);

/// What can be named.
type Found = Vec<CompletionCandidate>;

/// The machines, by name.
pub fn machines() -> Found {
    in_time(|client| {
        let found = client.listed(CLOUD_WITHIN).ok()?.items;
        Some(found.iter().filter_map(|it| offered(&it.name, short(&it.id))).collect())
    })
}

/// The grants that are not closed, by id.
pub fn grants() -> Found {
    in_time(|client| {
        let query = GrantsQuery { unclosed: Some(true), ..GrantsQuery::default() };
        let found: Vec<GrantView> = client.http.list("/v1/grants", &query, None).ok()?;
        Some(found.iter().filter_map(|it| offered(&it.id, &format!("{} of {}", it.name(), it.by))).collect())
    })
}

/// The requests that wait for an approval, by id.
pub fn requests() -> Found {
    in_time(|client| {
        let query = RequestsQuery { state: Some("pending".to_owned()), ..RequestsQuery::default() };
        let found: Vec<RequestView> = client.http.list("/v1/requests", &query, None).ok()?;
        Some(found.iter().filter_map(|it| offered(&it.id, &format!("of {}", it.by))).collect())
    })
}

/// A name, with a few words about it. A name that a shell could take for more than a word is offered to none.
fn offered(name: &str, about: &str) -> Option<CompletionCandidate> {
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._:/".contains(c));
    let about = Some(output::printable(about).replace('\n', " ")).filter(|it| it != name);
    is_word.then(|| CompletionCandidate::new(name).help(about.map(Into::into)))
}

/// What an API says in time. Whatever is in the way, a person who presses a key hears nothing of it.
fn in_time(ask: fn(&Client) -> Option<Found>) -> Found {
    output::keep_quiet();
    let (given, taken) = sync_channel(1);
    // It ends with the process, which waits no longer than it says.
    thread::spawn(move || {
        let found = client().and_then(|client| ask(&client));
        drop(given.send(found.unwrap_or_default()));
    });
    taken.recv_timeout(WITHIN).unwrap_or_default()
}

/// As the words before the cursor say, or the environment. A key must not make a command ask for a passphrase, so that a profile
/// whose token a command prints, or who signs, is asked for nothing.
fn client() -> Option<Client> {
    let globals = said(env::args().skip_while(|it| it != "--").skip(1));
    let profile = profile::chosen(&globals).ok()?;
    let is_silent = profile.token_command.is_none() && profile.auth == Auth::Bearer;
    if is_silent { Client::of(&globals).ok() } else { None }
}

/// The options of the words of a command line that is not finished.
fn said(words: impl Iterator<Item = String>) -> Globals {
    let mut globals = Globals { url: None, profile: None, auth: None, data: None, json: true, wide: false };
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, words.peek().cloned()),
        };
        match name.as_str() {
            "--url" => globals.url = value,
            "--profile" => globals.profile = value,
            "--data" => globals.data = value.map(PathBuf::from),
            _ => {}
        }
    }
    globals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_an_unfinished_command_line_choose_the_api() {
        let words =
            ["portcullis", "request", "--url=http://127.0.0.1:1", "--data", "/x", "--profile", "lab", "we"];
        let globals = said(words.map(str::to_owned).into_iter());
        assert_eq!(globals.url.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(globals.profile.as_deref(), Some("lab"));
        assert_eq!(globals.data, Some(PathBuf::from("/x")));
    }

    #[test]
    fn name_that_is_no_plain_word_is_not_offered() {
        assert!(offered("web-1.example_2", "x").is_some());
        for name in ["", "a b", "$(id)", "`id`", "a;b", "a\u{1b}[2J", "'"] {
            assert!(offered(name, "x").is_none(), "{name}");
        }
    }
}
