//! The journal of a time range, as evidence that can be checked without us.

use crate::{
    Error,
    ports::{Archive, Store},
};
use jiff::Timestamp;
use portcullis_domain::{
    CLAIM, Chain, Entry, Format, Hash, Head, Lines, MANIFEST, Manifest, ManifestFile, Segment,
};

/// A file is ended by the line with which it is longer than this, in bytes.
const PART_MIN: usize = 4 << 20;
/// How many chains or entries are read at a time.
const PAGE: usize = 200;
/// How many entries before the one that was found may belong to a range too: clocks differ, so the times of a
/// chain are not quite in order.
const JITTER: u64 = 64;
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

/// Writes the journal of a range, or the grants that lived in it, chain by chain, in files of bounded length, and last the
/// manifest. What is in memory does not grow with the journal, but for a line of the manifest for each chain and file.
pub async fn export(
    store: &impl Store,
    archive: &impl Archive,
    asked: &Exporting,
) -> Result<Manifest, Error> {
    let mut writing = Writing {
        archive,
        part: Part::of(asked.format),
        manifest: Manifest::of(asked.from, asked.to, asked.format),
    };
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
    let mut lines = Lines::of(asked.format, asked.from);
    let first = if lines.need_all() {
        0
    } else {
        // Most chains have nothing new: one read says so. Clocks differ by less than a claim.
        let last = store.last(chain).await?;
        let is_old = |it: &Entry| it.at.saturating_add(CLAIM).is_ok_and(|latest| latest < asked.from);
        if last.is_none_or(|it| is_old(&it)) {
            return Ok(());
        }
        first_since(store, chain, asked.from).await?
    };
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
            if let Some(line) = lines.entry(entry).map_err(unwritable)? {
                writing.line(&line).await?;
            }
        }
    }
    for line in lines.left() {
        writing.line(&line).await?;
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
    async fn line(&mut self, line: &str) -> Result<(), Error> {
        self.part.text.push_str(line);
        self.part.records += 1;
        if self.part.text.len() < PART_MIN { Ok(()) } else { self.put().await }
    }

    async fn put(&mut self) -> Result<(), Error> {
        let format = self.part.format;
        let Part { text, records, .. } = std::mem::replace(&mut self.part, Part::of(format));
        let name = format.file(self.manifest.files.len() + 1);
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
        Self { format, text: format.header(), records: 0 }
    }
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::Broken { doing: "write a record", source: error.into() }
}
