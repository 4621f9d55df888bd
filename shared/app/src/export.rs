//! The journal of a time range, as evidence that can be checked without us.

use crate::{
    Error,
    csv::csv_line,
    ports::{Archive, Store},
};
use jiff::Timestamp;
use portcullis_domain::{CLAIM, Chain, Entry, Format, Hash, Head};
use serde::{Deserialize, Serialize};

/// The version of what is exported.
pub(crate) const VERSION: u32 = 1;
/// The file that says what the others are.
pub const MANIFEST: &str = "manifest.json";
/// A file is ended by the record with which it is longer than this, in bytes.
const PART_MIN: usize = 4 << 20;
/// How many chains or entries are read at a time.
const PAGE: usize = 200;
/// How many entries before the one that was found may belong to a range too: clocks differ, so the times of a
/// chain are not quite in order.
const JITTER: u64 = 64;
/// What a file of comma-separated values begins with.
pub(crate) const COLUMNS: [&str; 10] =
    ["chain", "n", "at", "what", "request", "grant", "correlation_id", "fact", "prev", "hash"];

/// What to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exporting {
    /// From then on.
    pub from: Timestamp,
    /// And before that.
    pub to: Timestamp,
    /// How.
    pub format: Format,
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

/// Writes the journal of a range, chain by chain, in files of bounded length, and last the manifest. What is in
/// memory does not grow with the journal, but for a line of the manifest for each chain and file.
pub async fn export(
    store: &impl Store,
    archive: &impl Archive,
    asked: &Exporting,
) -> Result<Manifest, Error> {
    let mut writing = Writing { archive, part: Part::of(asked.format), manifest: Manifest::of(asked) };
    let mut after: Option<Chain> = None;
    loop {
        let chains = store.chains(after.as_ref(), PAGE).await?;
        let Some(last) = chains.last() else { break };
        after = Some(last.clone());
        for chain in &chains {
            segment(store, chain, asked, &mut writing).await?;
        }
    }
    writing.finish().await
}

async fn segment(
    store: &impl Store,
    chain: &Chain,
    asked: &Exporting,
    writing: &mut Writing<'_, impl Archive>,
) -> Result<(), Error> {
    // Most chains have nothing new: one read says so. Clocks differ by less than a claim.
    let last = store.last(chain).await?;
    let is_old = |it: &Entry| it.at.saturating_add(CLAIM).is_ok_and(|latest| latest < asked.from);
    if last.is_none_or(|it| is_old(&it)) {
        return Ok(());
    }
    let first = first_since(store, chain, asked.from).await?;
    let end = first_since(store, chain, asked.to).await?;
    let (mut next, mut begun) = (first, None::<Segment>);
    while next < end {
        let wanted = usize::try_from(end - next).unwrap_or(PAGE).min(PAGE);
        let entries = store.entries(chain, next, wanted).await?;
        if entries.is_empty() {
            let source = format!("`{chain}` has no entry {next}, but later ones").into();
            return Err(Error::Broken { doing: "export the journal", source });
        }
        for entry in &entries {
            let segment = begun.get_or_insert_with(|| Segment {
                chain: chain.clone(),
                first: entry.n,
                last: entry.n,
                before: entry.prev,
                head: entry.hash,
                records: 0,
            });
            // Who exports is not who verifies; but what is broken is not written down as whole.
            let head = Head { n: next, hash: if segment.records == 0 { entry.prev } else { segment.head } };
            let head = head.follow(chain, entry);
            let head =
                head.map_err(|bad| Error::Broken { doing: "export the journal", source: bad.into() })?;
            (segment.last, segment.head) = (entry.n, head.hash);
            segment.records += 1;
            next = head.n;
            writing.record(entry).await?;
        }
    }
    writing.manifest.chains.extend(begun);
    Ok(())
}

/// The number of the first entry of a chain at or after a time; the one after its last where there is none.
pub(crate) async fn first_since(store: &impl Store, chain: &Chain, since: Timestamp) -> Result<u64, Error> {
    let Some(last) = store.last(chain).await? else { return Ok(0) };
    let (mut low, mut high) = (0, last.n + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let found = store.entries(chain, middle, 1).await?;
        if found.first().is_none_or(|it| since <= it.at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let mut from = low.saturating_sub(JITTER);
    while from < low {
        let before = store.entries(chain, from, usize::try_from(low - from).unwrap_or_default()).await?;
        if let Some(first) = before.iter().find(|it| since <= it.at) {
            return Ok(first.n);
        }
        let Some(last) = before.last() else { break };
        from = last.n + 1;
    }
    Ok(low)
}

struct Writing<'a, A> {
    archive: &'a A,
    part: Part,
    manifest: Manifest,
}

/// A file that is being made.
struct Part {
    format: Format,
    text: String,
    records: u64,
}

impl<A: Archive> Writing<'_, A> {
    async fn record(&mut self, entry: &Entry) -> Result<(), Error> {
        self.part.text.push_str(&line(self.part.format, entry)?);
        self.part.records += 1;
        if self.part.text.len() < PART_MIN { Ok(()) } else { self.put().await }
    }

    async fn put(&mut self) -> Result<(), Error> {
        let format = self.part.format;
        let Part { text, records, .. } = std::mem::replace(&mut self.part, Part::of(format));
        let name = format!("journal-{:05}.{}", self.manifest.files.len() + 1, format.ending());
        let (bytes, sha256) = (text.len() as u64, Hash::of(text.as_bytes()));
        self.archive.put(&name, text.into_bytes()).await?;
        self.manifest.files.push(ManifestFile { name, bytes, records, sha256 });
        self.manifest.records += records;
        Ok(())
    }

    async fn finish(mut self) -> Result<Manifest, Error> {
        if 0 < self.part.records {
            self.put().await?;
        }
        let mut text = serde_json::to_vec_pretty(&self.manifest).map_err(unwritable)?;
        text.push(b'\n');
        self.archive.put(MANIFEST, text).await?;
        Ok(self.manifest)
    }
}

impl Part {
    fn of(format: Format) -> Self {
        let text = match format {
            Format::Jsonl => String::new(),
            Format::Csv => csv_line(COLUMNS),
        };
        Self { format, text, records: 0 }
    }
}

impl Manifest {
    fn of(asked: &Exporting) -> Self {
        let Exporting { from, to, format } = *asked;
        Self { version: VERSION, from, to, format, records: 0, files: vec![], chains: vec![] }
    }
}

fn line(format: Format, entry: &Entry) -> Result<String, Error> {
    match format {
        Format::Jsonl => Ok(serde_json::to_string(entry).map_err(unwritable)? + "\n"),
        Format::Csv => Ok(csv_line(cells(entry)?)),
    }
}

/// An entry in [`COLUMNS`].
pub(crate) fn cells(entry: &Entry) -> Result<[String; 10], Error> {
    let fact: serde_json::Value = serde_json::from_str(entry.stored_fact()).map_err(unwritable)?;
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

fn unwritable(error: serde_json::Error) -> Error {
    Error::Broken { doing: "write a record", source: error.into() }
}
