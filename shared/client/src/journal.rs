//! What happened, and whether it is still what was written.

use crate::{
    client::Client,
    complete,
    connection::{PART, PARTS_MAX},
    count::count,
    facts::{by, mark},
    lookup::Among,
    moments,
    output::Output,
    path::target_path,
    table::{Mark, Table},
    words,
};
use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use portcullis_domain::{Fact, Person, csv_line, csv_time};
use portcullis_program::{
    Exit, Failure,
    output::{self, escaped, printable},
};
use portcullis_wire::{ActivityQuery, EntryView, Listed, VerifyView};
use std::{collections::BTreeSet, num::NonZeroUsize};

/// Whose activity.
#[derive(Debug, Args)]
#[command(after_help = ACTIVITY)]
pub struct Activity {
    /// The machine: any unique part of its name; `portcullis` for entries that concern no machine
    #[arg(add = ArgValueCandidates::new(complete::machines))]
    target: String,
    /// Print comma-separated values with every detail, for spreadsheets
    #[arg(long)]
    csv: bool,
    /// Only the newest entries, at most so many
    #[arg(long, value_name = "COUNT", value_parser = count, allow_negative_numbers = true)]
    limit: Option<NonZeroUsize>,
    /// Only entries since then: a length of time ago, a time or a date
    #[arg(long, value_name = "TIME", value_parser = moments::past)]
    since: Option<Timestamp>,
    /// Only entries that this person or bot caused or approved
    #[arg(long, value_name = "NAME")]
    by: Option<Person>,
    /// Only entries of this kind, such as `opened`; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = known_kind)]
    kinds: Vec<String>,
}

const ACTIVITY: &str = "\
Entries are printed with the oldest first. The column KIND has the kinds.

Examples:
  portcullis activity web-1
  portcullis activity web-1 --limit 20
  portcullis activity web-1 --since 7d --by ann --kind approved,closed
  portcullis activity web-1 --csv >web-1.csv";

/// How much earlier than the entry before it an entry may be: the clocks of workers differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);
/// The number of the first entry of a chain.
const FIRST: u64 = 1;
/// The chain of what concerns no target.
const REST: &str = "portcullis";

impl Activity {
    /// Is it for a spreadsheet?
    pub fn is_csv(&self) -> bool {
        self.csv
    }

    /// Lists it, the oldest entry first.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        if self.csv && client.out.is_json() {
            return Err(Failure::usage("`--csv` and `--json` are two formats").next("give one of them"));
        }
        let chain = match self.target.as_str() {
            REST => REST.to_owned(),
            name => client.named(name, Among::Guarded)?.id,
        };
        let (found, names) = self.found(client, &target_path(&chain, "/activity"))?;
        if self.csv {
            output::line(csv(&found).trim_end())?;
            return Ok(Exit::Done);
        }
        let is_filtered = self.since.is_some() || self.by.is_some() || !self.kinds.is_empty();
        let empty = match &self.by {
            Some(by) if !names.contains(by) => nothing_by(by, &names),
            Some(_) | None if is_filtered => {
                "The machine has no such entries. `portcullis activity TARGET` lists all entries, with their kinds."
                    .to_owned()
            }
            Some(_) | None => {
                "The machine has no entries yet. Guard it with `portcullis enable TARGET`.".to_owned()
            }
        };
        client.out.list(&found, &empty, || table(&found, &client.out.now()))?;
        Ok(Exit::Done)
    }
}

/// No entry is by this name, which may be a typo: those that there are.
fn nothing_by(by: &Person, names: &BTreeSet<Person>) -> String {
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let there = if names.is_empty() {
        "no entry names a person".to_owned()
    } else {
        format!("its entries name {names}")
    };
    printable(&format!("The person or bot `{by}` caused or approved no entry of the machine: {there}."))
        .into_owned()
}

impl Activity {
    /// The entries that are wanted, the oldest first, and the people and bots of all that were read. They are read from the newest one
    /// backwards, no further than is needed.
    fn found(&self, client: &Client, path: &str) -> Result<(Vec<EntryView>, BTreeSet<Person>), Failure> {
        let limit = self.limit.map_or(usize::MAX, NonZeroUsize::get);
        let is_rest_needless = |oldest: &EntryView, found: usize| {
            let earliest = self.since.map(|since| since.saturating_sub(CLOCKS_DIFFER).unwrap_or(since));
            limit <= found || earliest.is_some_and(|it| oldest.at < it)
        };
        let (mut backwards, mut names): (Vec<EntryView>, _) = (vec![], BTreeSet::new());
        let mut part =
            read(client, path, ActivityQuery { newest: Some(true), ..ActivityQuery::default() }, PART)?;
        for _ in 0..PARTS_MAX {
            let Some(oldest) = part.first().cloned() else { break };
            names.extend(part.iter().filter_map(fact).flat_map(|it| people(&it)));
            backwards.extend(part.into_iter().rev().filter(|it| self.wants(it)));
            if oldest.n <= FIRST || is_rest_needless(&oldest, backwards.len()) {
                break;
            }
            let before = u64::try_from(PART).map_or(FIRST, |part| oldest.n.saturating_sub(part).max(FIRST));
            let count = usize::try_from(oldest.n - before).unwrap_or(PART);
            let query = ActivityQuery { after: Some(before.to_string()), ..ActivityQuery::default() };
            part = read(client, path, query, count)?;
        }
        backwards.truncate(limit);
        backwards.reverse();
        Ok((backwards, names))
    }

    fn wants(&self, entry: &EntryView) -> bool {
        let kind = kind(entry);
        let is_kind = |it: &String| it == kind;
        self.since.is_none_or(|since| since <= entry.at)
            && (self.kinds.is_empty() || self.kinds.iter().any(is_kind))
            && self.by.as_ref().is_none_or(|by| fact(entry).is_some_and(|fact| people(&fact).contains(by)))
    }
}

/// A kind of entry, as it is stored; typed with dashes or capitals it is the same.
fn known_kind(text: &str) -> Result<String, String> {
    let kind = text.replace('-', "_").to_ascii_lowercase();
    let kinds = Fact::kinds();
    let is_known = kinds.contains(&kind.as_str());
    let unknown = || format!("`{text}` is no kind of entry: {} are", kinds.join(", "));
    is_known.then_some(kind).ok_or_else(unknown)
}

/// So many entries. A part of the API may be shorter than it was asked for.
fn read(
    client: &Client,
    path: &str,
    mut query: ActivityQuery,
    count: usize,
) -> Result<Vec<EntryView>, Failure> {
    let mut found: Vec<EntryView> = vec![];
    loop {
        query.limit = Some(count - found.len());
        let part: Listed<EntryView> = client.http.query(path, &query)?;
        found.extend(part.items);
        let Some(next) = part.next.filter(|_| found.len() < count) else { return Ok(found) };
        query = ActivityQuery { after: Some(next), ..ActivityQuery::default() };
    }
}

/// The people and bots that caused or approved it.
fn people(fact: &Fact) -> Vec<Person> {
    let about = fact.about();
    let caused = about.by.and_then(|it| it.parse::<Person>().ok());
    caused.into_iter().chain(about.approver.cloned()).collect()
}

/// The kind of fact, as it is stored.
fn kind(entry: &EntryView) -> &str {
    entry.fact.get("what").and_then(|it| it.as_str()).unwrap_or_default()
}

/// Has the journal recomputed where it is kept.
pub fn verify(client: &Client) -> Result<Exit, Failure> {
    verified(&client.http.get("/v1/verify")?, &client.out)
}

/// Shows what became of a verification.
pub fn verified(seen: &VerifyView, out: &Output) -> Result<Exit, Failure> {
    out.show(seen, || verdict(seen))?;
    Ok(exit(seen))
}

/// A journal without an entry proves nothing, so it is no success.
fn exit(seen: &VerifyView) -> Exit {
    match (seen.whole, seen.entries) {
        (false, _) => Exit::Broken,
        (true, 0) => Exit::NotFound,
        (true, _) => Exit::Done,
    }
}

/// What became of a verification, in words.
fn verdict(seen: &VerifyView) -> String {
    if seen.whole && seen.entries == 0 {
        return "The journal has no entries to verify.".to_owned();
    }
    if seen.whole {
        return format!("The journal is whole: {} entries in {} chains.", seen.entries, seen.chains);
    }
    let bad = seen.bad.iter().map(|it| format!("\n  {}", printable(it)));
    format!("The journal differs from the one that was written:{}", bad.collect::<String>())
}

fn table(found: &[EntryView], now: &ZonedDateTime) -> Table {
    let mut table = Table::prose(&["N", "TIME", "KIND", "BY", "EVENT"]).leaving_out(&["KIND"]);
    for it in found {
        let fact = fact(it);
        let mark = fact.as_ref().map_or(Mark::Plain, mark);
        // A newer server may tell what this client has no words for.
        let what = fact.as_ref().map_or_else(|| it.fact.to_string(), Fact::in_words);
        let by = fact.as_ref().and_then(by).unwrap_or_else(|| "-".to_owned());
        table.row(
            mark,
            [
                it.n.to_string(),
                moments::clock(it.at, now),
                kind(it).to_owned(),
                by,
                words::short(&words::plain(&what, now)),
            ],
        );
    }
    table
}

/// RFC 4180, with what identifies an entry and all that it says.
fn csv(found: &[EntryView]) -> String {
    let mut text = csv_line(["n", "occurred_at", "what", "caused_by", "words", "detail", "hash"]);
    for it in found {
        let fact = fact(it);
        let by = fact.as_ref().and_then(by).unwrap_or_default();
        let words = fact.as_ref().map(Fact::in_words).unwrap_or_default();
        let (n, at, detail) = (it.n.to_string(), csv_time(it.at), it.fact.to_string());
        // A detail says all, as JSON does; for the rest a person needs no more than they see.
        let cells = [&n, &at, kind(it), &by, &words, &it.hash].map(printable);
        let [n, at, what, by, words, hash] = &cells;
        text.push_str(&csv_line([n, at, what, by, words, &escaped(&detail), hash]));
    }
    text
}

fn fact(entry: &EntryView) -> Option<Fact> {
    serde_json::from_value(entry.fact.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(fact: serde_json::Value) -> EntryView {
        EntryView { n: 7, at: jiff::Timestamp::UNIX_EPOCH, fact, hash: "ab".to_owned() }
    }

    #[test]
    fn a_spreadsheet_reads_every_entry_and_runs_none() {
        let made = json!({"what": "token_made", "person": "ann, \"the one\"", "by": "=cmd()"});
        let text = csv(&[entry(made)]);
        let line = text.lines().nth(1).expect("a line");
        assert!(line.starts_with("7,1970-01-01T00:00:00.000000Z,token_made,'=cmd(),"), "{line}");
        assert!(line.contains("\"a token was made for ann, \"\"the one\"\"\""), "{line}");
        assert!(line.ends_with(",ab"), "{line}");
    }

    #[test]
    fn a_spreadsheet_is_told_of_a_sign_that_steers_a_terminal_and_not_given_it() {
        let made = json!({"what": "event_refused", "source": "a\u{9b}2J\u{202e}b\x1b", "event": "e", "reasons": ["no"]});
        let text = csv(&[entry(made)]);
        assert!(!text.contains(['\u{9b}', '\u{202e}', '\x1b']), "{text}");
        assert!(
            text.contains("a\u{FFFD}2J\u{FFFD}b\u{FFFD}") && text.contains("a\\u009b2J\\u202eb\\u001b"),
            "{text}"
        );
    }

    #[test]
    fn a_late_closing_has_its_cause_and_owner_in_words_and_in_csv() {
        let delay = json!({ "cause": "cloud-refused", "why": "403 `Nope`: no" });
        let closed =
            json!({"what": "closed", "grant": "r-1", "reason": "expired", "late_ms": 9000, "delay": delay});
        let words = "delayed by `cloud-refused`, owned by the cloud: 403 `Nope`: no";
        let fact: Fact = serde_json::from_value(closed.clone()).expect("a fact");
        assert!(fact.in_words().ends_with(words), "{}", fact.in_words());
        assert_eq!(mark(&fact), Mark::Look);
        let text = csv(&[entry(closed)]);
        assert!(text.contains(words) && text.contains(r#"cause"":""cloud-refused"#), "{text}");
    }

    #[test]
    fn an_entry_names_the_reason_of_an_extension_who_closed_a_takeover_and_the_kernel() {
        let told = |fact: serde_json::Value| serde_json::from_value::<Fact>(fact).expect("a fact").in_words();
        let lease = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"});
        let extended = json!({"what": "extended", "grant": "r-1", "request": "q", "lease": lease, "by": "ann",
                              "approver": null, "why": "a second disk"});
        assert!(told(extended).ends_with(", because: a second disk"));
        let ended =
            json!({"what": "ended", "grant": "r-1", "lease": lease, "reason": "user_requested", "by": "bob"});
        assert_eq!(told(ended), "grant r-1 was closed early by bob");
        let set = json!({"what": "policy_set", "version": 1, "policy": null, "by": "ann", "take_over": true});
        assert!(told(set).contains("taken over from another installation"));
        let shut =
            json!({"what": "closed", "grant": "r-1", "reason": "expired", "late_ms": 0, "by_kernel": true});
        assert!(told(shut).contains("the kernel closed the port"));
    }

    #[test]
    fn a_read_back_without_ports_has_words() {
        let fact = |admitted: serde_json::Value| {
            let fact = json!({"what": "read_back", "agrees": true, "admitted": admitted});
            serde_json::from_value::<Fact>(fact).expect("a fact").in_words()
        };
        assert_eq!(fact(json!({})), "our rules were read back as written: no port is guarded");
        assert_eq!(
            fact(json!({"22/tcp": "nobody"})),
            "our rules were read back as written: 22/tcp admits nobody"
        );
    }

    #[test]
    fn an_unknown_fact_is_shown_as_received() {
        let table = table(&[entry(json!({"what": "tomorrows_fact"}))], &ZonedDateTime::default());
        assert!(format!("{table:?}").contains("tomorrows_fact"));
    }
}
