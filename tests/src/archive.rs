//! An archive in memory.

use portcullis_app::{Error, ports::Archive};
use std::{collections::BTreeMap, sync::Mutex};

/// What was put, by name.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    /// Everything that is kept, by its name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
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
