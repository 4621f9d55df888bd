//! The manifest of an export: which files it has, and which records or grants.

use crate::{Chain, Hash};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The file that says what the others are.
pub const MANIFEST: &str = "manifest.json";

/// The lines of an export. `docs/evidence.md` has the columns of each format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Records as they are stored, a JSON object a line.
    Jsonl,
    /// Records with columns of one type each, a JSON object a line.
    FlatJsonl,
    /// Records with the same columns, as comma-separated values.
    Csv,
    /// Grants, a row each, as comma-separated values.
    GrantsCsv,
}

/// What an export says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of its format.
    pub version: u32,
    /// From then on.
    pub from: Timestamp,
    /// And before that.
    pub to: Timestamp,
    /// How the records are written.
    pub format: Format,
    /// How many records there are, or grants.
    pub records: u64,
    /// In order.
    pub files: Vec<ManifestFile>,
    /// In order: the records of one follow those of the one before. Of grants, the chains that tell their lives.
    pub chains: Vec<Segment>,
}

/// One file of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// What it is called.
    pub name: String,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// How many records or grants are in it.
    pub records: u64,
    /// SHA-256 of all of it.
    pub sha256: Hash,
}

/// What of a chain is in the range, without gaps, so that it can be verified alone; of grants, all that was read of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Which chain.
    pub chain: Chain,
    /// The number of the first record.
    pub first: u64,
    /// And of the last.
    pub last: u64,
    /// The hash of the record before the first; all zeros if there is none.
    pub before: Hash,
    /// The hash of the last record.
    pub head: Hash,
    /// How many there are.
    pub records: u64,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Jsonl, Self::FlatJsonl, Self::Csv, Self::GrantsCsv];

    /// The word that programs go by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::FlatJsonl => "flat-jsonl",
            Self::Csv => "csv",
            Self::GrantsCsv => "grants-csv",
        }
    }

    /// What a line is, in the plural.
    pub fn lines(self) -> &'static str {
        match self {
            Self::Jsonl | Self::FlatJsonl | Self::Csv => "records",
            Self::GrantsCsv => "grants",
        }
    }

    /// The name of the `n`th file, counted from 1.
    pub fn file(self, n: usize) -> String {
        match self {
            Self::Jsonl | Self::FlatJsonl => format!("journal-{n:05}.jsonl"),
            Self::Csv => format!("journal-{n:05}.csv"),
            Self::GrantsCsv => format!("grants-{n:05}.csv"),
        }
    }

    /// The version of what is written now. Version 1 of `csv` had other columns.
    pub fn version(self) -> u32 {
        match self {
            Self::Jsonl | Self::FlatJsonl | Self::GrantsCsv => 1,
            Self::Csv => 2,
        }
    }
}

impl Manifest {
    /// Of an export that has nothing yet.
    pub fn of(from: Timestamp, to: Timestamp, format: Format) -> Self {
        Self { version: format.version(), from, to, format, records: 0, files: vec![], chains: vec![] }
    }
}
