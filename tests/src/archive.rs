//! An archive in memory.

use jiff::Timestamp;
use portcullis_app::{
    BadExport, Error, Evidence, Exporting, Format, MANIFEST, Manifest, export,
    ports::{Archive, Store},
};
use std::{collections::BTreeMap, sync::Mutex};

/// The files of an export, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// An export of a period, into memory.
pub async fn exported(
    store: &impl Store,
    from: Timestamp,
    to: Timestamp,
    format: Format,
) -> (Manifest, Files) {
    let archive = Memory::default();
    let manifest = export(store, &archive, &Exporting { from, to, format }).await.expect("exported");
    (manifest, archive.files())
}

/// What comes of verifying these files by themselves.
pub fn verified(files: &Files) -> Result<Manifest, BadExport> {
    let mut evidence = Evidence::of(&files[MANIFEST])?;
    while let Some(file) = evidence.next_file().map(str::to_owned) {
        let content = files.get(&file).ok_or(BadExport::Missing { file })?;
        evidence.file(content)?;
    }
    evidence.finish()
}

/// What was put, by name.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Files>);

impl Memory {
    /// Everything that is kept, by its name.
    pub fn files(&self) -> Files {
        self.0.lock().expect("no test has panicked in it").clone()
    }
}

impl Archive for Memory {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let mut kept = self.0.lock().expect("no test has panicked in it");
        if kept.contains_key(name) {
            return Err(Error::Conflict);
        }
        kept.insert(name.to_owned(), content);
        Ok(())
    }
}
