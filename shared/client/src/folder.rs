//! A folder that evidence is kept in.

use std::{
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tempfile::Builder;

/// A folder that keeps what is put into it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// This one; it is made where it is not there.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Keeps this under a name, whole or not at all. `AlreadyExists` if the name is taken.
    pub fn keep(&self, name: &str, content: &[u8]) -> io::Result<()> {
        // Whoever may read the folder may read what is in it, as of every file that is simply made.
        let mut draft = Builder::new();
        draft.prefix(".").suffix(".part").permissions(Permissions::from_mode(0o666));
        let mut draft = draft.tempfile_in(&self.0)?;
        draft.write_all(content)?;
        draft.as_file().sync_all()?;
        draft.persist_noclobber(self.0.join(name)).map(drop).map_err(|it| it.error)
    }
}
