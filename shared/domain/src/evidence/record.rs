//! A record of the journal as a line of a file.

use crate::{
    Content, Entry, Hash,
    csv::{csv_line, csv_time},
};
use serde::{Deserialize, Serialize};

/// A record in columns, each of one type in every record. A column is called as no dialect of SQL has to quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    chain: String,
    n: u64,
    /// The time with a fixed number of digits.
    occurred_at: String,
    what: String,
    request_id: Option<String>,
    grant_id: Option<String>,
    correlation_id: Option<String>,
    via: Option<String>,
    /// The same time as it is stored, which the hash covers: JSON, as the fact is. A reader takes it for text, and keeps it.
    stored_at: String,
    fact: String,
    prev: String,
    hash: String,
}

/// The header of a file of records as comma-separated values.
const COLUMNS: [&str; 12] = [
    "chain",
    "n",
    "occurred_at",
    "what",
    "request_id",
    "grant_id",
    "correlation_id",
    "via",
    "stored_at",
    "fact",
    "prev",
    "hash",
];
/// The same in version 1, which had the time as it is stored.
const COLUMNS_1: [&str; 10] =
    ["chain", "n", "at", "what", "request", "grant", "correlation_id", "fact", "prev", "hash"];

/// The columns of a version.
pub(crate) fn columns(version: u32) -> &'static [&'static str] {
    if version == 1 { &COLUMNS_1 } else { &COLUMNS }
}

/// A record as a line of comma-separated values.
pub(crate) fn csv(entry: &Entry) -> Result<String, serde_json::Error> {
    Ok(csv_line(Record::of(entry)?.cells()))
}

/// A record as a line of JSON with flat columns.
pub(crate) fn flat(entry: &Entry) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(&Record::of(entry)?)? + "\n")
}

/// The entry that a line of flat JSON states; nothing where its columns do not agree.
pub(crate) fn of_flat(line: &str) -> Option<Entry> {
    let record: Record = serde_json::from_str(line).ok()?;
    let entry = record.entry()?;
    (Record::of(&entry).ok()? == record).then_some(entry)
}

/// The entry that the cells of a line state; nothing where they do not agree.
pub(crate) fn of_cells(cells: &[String], version: u32) -> Option<Entry> {
    let entry = match (version, cells) {
        (1, [chain, n, at, _, _, _, _, fact, prev, hash]) => {
            entry(chain, n.parse().ok()?, at, fact, prev, hash)?
        }
        (2, [chain, n, _, _, _, _, _, _, at, fact, prev, hash]) => {
            entry(chain, n.parse().ok()?, &unquoted(at)?, fact, prev, hash)?
        }
        _ => return None,
    };
    // The columns that only repeat what the fact says are not in its hash.
    let record = Record::of(&entry).ok()?;
    let again: &[String] = if version == 1 { &record.cells_1() } else { &record.cells() };
    (again == cells).then_some(entry)
}

fn unquoted(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn entry(chain: &str, n: u64, at: &str, fact: &str, prev: &str, hash: &str) -> Option<Entry> {
    let content = Content::of(chain, n, at, fact, prev).ok()?;
    Entry::of(content, Hash::try_from(hash.to_owned()).ok()?).ok()
}

impl Record {
    fn of(entry: &Entry) -> Result<Self, serde_json::Error> {
        let fact: serde_json::Value = serde_json::from_str(entry.stored_fact())?;
        Ok(Self {
            chain: entry.chain.to_string(),
            n: entry.n,
            occurred_at: csv_time(entry.at),
            what: fact.get("what").and_then(|it| it.as_str()).unwrap_or_default().to_owned(),
            request_id: entry.fact.request().map(String::from),
            grant_id: entry.fact.grant().cloned().map(String::from),
            correlation_id: entry.fact.correlation().cloned().map(String::from),
            via: entry.fact.about().via.cloned().map(String::from),
            stored_at: serde_json::to_string(&entry.stored_at())?,
            fact: entry.stored_fact().to_owned(),
            prev: entry.prev.to_string(),
            hash: entry.hash.to_string(),
        })
    }

    fn entry(&self) -> Option<Entry> {
        entry(&self.chain, self.n, &unquoted(&self.stored_at)?, &self.fact, &self.prev, &self.hash)
    }

    /// In [`COLUMNS`].
    fn cells(self) -> [String; 12] {
        let Self { chain, n, occurred_at, what, stored_at, fact, prev, hash, .. } = self;
        let named = [self.request_id, self.grant_id, self.correlation_id, self.via];
        let [request, grant, correlation, via] = named.map(Option::unwrap_or_default);
        let n = n.to_string();
        [chain, n, occurred_at, what, request, grant, correlation, via, stored_at, fact, prev, hash]
    }

    /// In [`COLUMNS_1`].
    fn cells_1(self) -> [String; 10] {
        let at = unquoted(&self.stored_at).unwrap_or_default();
        let [chain, n, _, what, request, grant, correlation, _, _, fact, prev, hash] = self.cells();
        [chain, n, at, what, request, grant, correlation, fact, prev, hash]
    }
}
