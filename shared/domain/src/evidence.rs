//! Checking an export by itself: nothing but its files is asked.

mod lines;
mod lives;
mod manifest;
mod record;

pub use lines::Lines;
pub use manifest::{Format, MANIFEST, Manifest, ManifestFile, Segment};

use crate::{BadRecord, Chain, Entry, Hash, Head, csv::csv_cells};

/// What is wrong with an export: the first thing, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each one and its fields mean")]
pub enum BadExport {
    #[error("`{MANIFEST}` cannot be read: {why}")]
    Manifest { why: String },
    #[error("version {version} of an export as `{format}` is not supported: {known} is accepted")]
    Version { version: u32, format: &'static str, known: u32 },
    #[error("`{file}` is missing")]
    Missing { file: String },
    #[error("`{file}` is not in the manifest")]
    Unlisted { file: String },
    #[error("line {line} of `{file}` cannot be read in the format of the export")]
    Unreadable { file: String, line: usize },
    #[error("line {line} of `{file}`: {bad}")]
    Record { file: String, line: usize, bad: BadRecord },
    #[error("line {line} of `{file}`: entry {n} of `{chain}` is not in the manifest")]
    Extra { file: String, line: usize, chain: Chain, n: u64 },
    #[error("line {line} of `{file}`: the records of `{chain}` are not all of its range")]
    OtherRange { file: String, line: usize, chain: Chain },
    #[error("`{file}` is not the file that was written: its {what} differs")]
    OtherFile { file: String, what: &'static str },
    #[error("entries of `{chain}` are missing from entry {n} on")]
    CutShort { chain: Chain, n: u64 },
    #[error("the manifest was changed: its {what} of `{of}` differs from the records")]
    OtherManifest { what: &'static str, of: String },
}

/// An export while its files are read, in their order.
#[derive(Debug)]
pub struct Evidence {
    manifest: Manifest,
    /// How many files were read.
    files: usize,
    /// How many segments were read whole.
    segments: usize,
    /// Where the segment that is being read is.
    head: Option<Head>,
    records: u64,
}

impl Evidence {
    /// What the manifest promises.
    pub fn of(manifest: &[u8]) -> Result<Self, BadExport> {
        let read = serde_json::from_slice::<Manifest>(manifest);
        let manifest = read.map_err(|error| BadExport::Manifest { why: error.to_string() })?;
        let Manifest { version, format, .. } = manifest;
        let known = format.version();
        if !(1..=known).contains(&version) {
            return Err(BadExport::Version { version, format: format.word(), known });
        }
        let other = |what, of: &str| Err(BadExport::OtherManifest { what, of: of.to_owned() });
        for (n, file) in manifest.files.iter().enumerate() {
            if file.name != format.file(n + 1) {
                return other("name", &file.name);
            }
        }
        for segment in &manifest.chains {
            let records = segment.last.checked_sub(segment.first).and_then(|it| it.checked_add(1));
            if records != Some(segment.records) {
                return other("count", segment.chain.as_str());
            }
        }
        if sum(manifest.files.iter().map(|it| it.records)) != Some(manifest.records) {
            return other("count", "records in files");
        }
        // Grants are told by any number of records.
        if !manifest.has_grants()
            && sum(manifest.chains.iter().map(|it| it.records)) != Some(manifest.records)
        {
            return other("count", "records in chains");
        }
        Ok(Self { manifest, files: 0, segments: 0, head: None, records: 0 })
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The name of the next file to be read.
    pub fn next_file(&self) -> Option<&str> {
        self.manifest.files.get(self.files).map(|it| it.name.as_str())
    }

    /// Checks all of the next file.
    pub fn file(&mut self, content: &[u8]) -> Result<(), BadExport> {
        let Some(listed) = self.manifest.files.get(self.files).cloned() else { return Ok(()) };
        let mut records = 0;
        let header = self.manifest.columns();
        let whole = String::from_utf8_lossy(content);
        for (n, line) in whole.lines().enumerate() {
            let (file, line_number) = (listed.name.clone(), n + 1);
            let unreadable = || BadExport::Unreadable { file: file.clone(), line: line_number };
            if let Some(columns) = header
                && n == 0
            {
                if csv_cells(line).is_none_or(|it| it != columns) {
                    return Err(unreadable());
                }
                continue;
            }
            if self.manifest.has_grants() {
                let is_row = csv_cells(line).is_some_and(|it| it.len() == lives::COLUMNS.len());
                is_row.then_some(()).ok_or_else(unreadable)?;
            } else {
                let entry = self.parse(line).ok_or_else(unreadable)?;
                self.record(&entry, &file, line_number)?;
            }
            records += 1;
        }
        self.records += records;
        self.files += 1;
        is_as_listed(&listed, content, records)
    }

    /// Was everything there?
    pub fn finish(self) -> Result<Manifest, BadExport> {
        if let Some(file) = self.next_file() {
            return Err(BadExport::Missing { file: file.to_owned() });
        }
        // A row of a grant has no hash: its file has one.
        let unread = self.manifest.chains.get(self.segments).filter(|_| !self.manifest.has_grants());
        if let Some(segment) = unread {
            let n = self.head.map_or(segment.first, |it| it.n);
            return Err(BadExport::CutShort { chain: segment.chain.clone(), n });
        }
        Ok(self.manifest)
    }

    fn parse(&self, line: &str) -> Option<Entry> {
        match self.manifest.format {
            Format::Jsonl => serde_json::from_str(line).ok(),
            Format::FlatJsonl => record::of_flat(line),
            Format::Csv => record::of_cells(&csv_cells(line)?, self.manifest.version),
            Format::GrantsCsv => None,
        }
    }

    fn record(&mut self, entry: &Entry, file: &str, line: usize) -> Result<(), BadExport> {
        let (file, chain) = (file.to_owned(), entry.chain.clone());
        let Some(segment) = self.manifest.chains.get(self.segments) else {
            return Err(BadExport::Extra { file, line, chain, n: entry.n });
        };
        let head = self.head.unwrap_or(Head { n: segment.first, hash: segment.before });
        let bad = |bad| BadExport::Record { file: file.clone(), line, bad };
        let head = head.follow(&segment.chain, entry).map_err(bad)?;
        let Segment { first, last, head: promised, .. } = *segment;
        if entry.n == first && entry.at < self.manifest.from
            || entry.n == last && self.manifest.to <= entry.at
        {
            return Err(BadExport::OtherRange { file, line, chain });
        }
        self.head = Some(head);
        if entry.n == last {
            if head.hash != promised {
                return Err(bad(BadRecord::OtherHead { chain }));
            }
            (self.head, self.segments) = (None, self.segments + 1);
        }
        Ok(())
    }
}

impl Manifest {
    fn has_grants(&self) -> bool {
        self.format == Format::GrantsCsv
    }

    /// The header of each file, where its format has one.
    fn columns(&self) -> Option<&'static [&'static str]> {
        match self.format {
            Format::Jsonl | Format::FlatJsonl => None,
            Format::Csv => Some(record::columns(self.version)),
            Format::GrantsCsv => Some(&lives::COLUMNS),
        }
    }
}

fn is_as_listed(listed: &ManifestFile, content: &[u8], records: u64) -> Result<(), BadExport> {
    let other = |what| Err(BadExport::OtherFile { file: listed.name.clone(), what });
    if content.len() as u64 != listed.bytes {
        other("length")
    } else if records != listed.records {
        other("number of records")
    } else if Hash::of(content) != listed.sha256 {
        other("SHA-256")
    } else {
        Ok(())
    }
}

fn sum(mut counts: impl Iterator<Item = u64>) -> Option<u64> {
    counts.try_fold(0_u64, u64::checked_add)
}
