//! The manifest of an export: which files and which records it has.

use crate::{Chain, Hash};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of what is exported.
pub const VERSION: u32 = 1;
/// The file that says what the others are.
pub const MANIFEST: &str = "manifest.json";

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values for spreadsheets.
    Csv,
}

/// What an export says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of its shape.
    pub version: u32,
    /// From then on.
    pub from: Timestamp,
    /// And before that.
    pub to: Timestamp,
    /// How the records are written.
    pub format: Format,
    /// How many there are.
    pub records: u64,
    /// In order.
    pub files: Vec<ManifestFile>,
    /// In order: the records of one follow those of the one before.
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
    /// How many records are in it.
    pub records: u64,
    /// SHA-256 of all of it.
    pub sha256: Hash,
}

/// What of a chain is in the range: without gaps, so that it can be verified alone.
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
    /// How names of files in it end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }
}

impl Manifest {
    /// Of an export that has nothing yet.
    pub fn of(from: Timestamp, to: Timestamp, format: Format) -> Self {
        Self { version: VERSION, from, to, format, records: 0, files: vec![], chains: vec![] }
    }
}
