//! A record of the journal as a line of a file.

use crate::{Entry, csv::csv_line, evidence::manifest::Format};

/// What a file of comma-separated values begins with.
pub(crate) const COLUMNS: [&str; 10] =
    ["chain", "n", "at", "what", "request", "grant", "correlation_id", "fact", "prev", "hash"];

impl Format {
    /// How a file begins.
    pub fn header(self) -> String {
        match self {
            Self::Jsonl => String::new(),
            Self::Csv => csv_line(COLUMNS),
        }
    }

    /// A record as a line, with its end.
    pub fn line(self, entry: &Entry) -> Result<String, serde_json::Error> {
        match self {
            Self::Jsonl => Ok(serde_json::to_string(entry)? + "\n"),
            Self::Csv => Ok(csv_line(cells(entry)?)),
        }
    }
}

/// An entry in [`COLUMNS`].
pub(crate) fn cells(entry: &Entry) -> Result<[String; 10], serde_json::Error> {
    let fact: serde_json::Value = serde_json::from_str(entry.stored_fact())?;
    let what = fact.get("what").and_then(|it| it.as_str()).unwrap_or_default().to_owned();
    Ok([
        entry.chain.to_string(),
        entry.n.to_string(),
        entry.stored_at(),
        what,
        entry.fact.request().map(String::from).unwrap_or_default(),
        entry.fact.grant().cloned().map(String::from).unwrap_or_default(),
        entry.fact.correlation().cloned().map(String::from).unwrap_or_default(),
        entry.stored_fact().to_owned(),
        entry.prev.to_string(),
        entry.hash.to_string(),
    ])
}
