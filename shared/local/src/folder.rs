//! Evidence in a folder.

use portcullis_app::{Error, ports::Archive};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

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
        let (path, draft) = (self.0.join(name), self.0.join(format!(".{name}.part")));
        let written = fs::File::create(&draft).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()?;
            // Unlike a rename, a link does not overwrite.
            fs::hard_link(&draft, &path)
        });
        let is_taken = matches!(&written, Err(error) if error.kind() == io::ErrorKind::AlreadyExists);
        // A draft that stays is overwritten by the next one.
        drop(fs::remove_file(&draft));
        if is_taken { Err(Error::Conflict) } else { written.map_err(|error| unwritten(&path, &error)) }
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
