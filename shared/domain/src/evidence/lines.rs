//! The lines of an export, as the entries of one chain are read.

use super::{
    lives::{self, Lives},
    manifest::Format,
    record,
};
use crate::{Entry, csv::csv_line};
use jiff::Timestamp;

/// The lines that a chain gives, entry by entry.
#[derive(Debug)]
pub enum Lines {
    /// One for each entry.
    Records(Format),
    /// One for each grant that lived at a time or later.
    Grants(Timestamp, Lives),
}

impl Format {
    /// How a file begins.
    pub fn header(self) -> String {
        match self {
            Self::Jsonl | Self::FlatJsonl => String::new(),
            Self::Csv => csv_line(record::columns(self.version())),
            Self::GrantsCsv => csv_line(lives::COLUMNS),
        }
    }
}

impl Lines {
    /// Of a chain, in an export of the time from then on.
    pub fn of(format: Format, from: Timestamp) -> Self {
        match format {
            Format::Jsonl | Format::FlatJsonl | Format::Csv => Self::Records(format),
            Format::GrantsCsv => Self::Grants(from, Lives::default()),
        }
    }

    /// Must all entries of the chain be read, also those before the time?
    pub fn need_all(&self) -> bool {
        matches!(self, Self::Grants(..))
    }

    /// The line that an entry gives, with its end.
    pub fn entry(&mut self, entry: &Entry) -> Result<Option<String>, serde_json::Error> {
        Ok(match self {
            Self::Records(Format::Jsonl) => Some(serde_json::to_string(entry)? + "\n"),
            Self::Records(Format::FlatJsonl) => Some(record::flat(entry)?),
            Self::Records(Format::Csv | Format::GrantsCsv) => Some(record::csv(entry)?),
            Self::Grants(from, lives) => {
                lives.follow(entry).filter(|it| it.lasts_until(*from)).map(|it| it.line())
            }
        })
    }

    /// The lines that are left at the end of the chain.
    pub fn left(self) -> impl Iterator<Item = String> {
        let lives = match self {
            Self::Records(_) => Lives::default(),
            Self::Grants(_, lives) => lives,
        };
        lives.left().map(|it| it.line())
    }
}
