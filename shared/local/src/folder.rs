//! Evidence in a folder.

use portcullis_app::{Error, ports::Archive};
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
    pub fn at(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|error| unwritten(path, &error))?;
        Ok(Self(path.to_owned()))
    }

    /// Keeps this under a name, whole or not at all. `Conflict` if the name is taken.
    pub fn keep(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.0.join(name);
        // Whoever may read the folder may read what is in it, as of every file that is simply made.
        let mut draft = Builder::new();
        draft.prefix(".").suffix(".part").permissions(Permissions::from_mode(0o666));
        let written = draft.tempfile_in(&self.0).and_then(|mut draft| {
            draft.write_all(content)?;
            draft.as_file().sync_all()?;
            draft.persist_noclobber(&path).map_err(|it| it.error)
        });
        match written {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Conflict),
            Err(error) => Err(unwritten(&path, &error)),
        }
    }
}

impl Archive for Folder {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        self.keep(name, &content)
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::Unavailable { doing: "keep evidence", source: format!("`{}`: {error}", path.display()).into() }
}
