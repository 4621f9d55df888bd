//! The folder that a client keeps evidence in passes the suite of archives.

use portcullis_app::{Error, ports::Archive};
use portcullis_client::Folder;
use std::{fs, io::ErrorKind};

portcullis_tests::every_contract_of_an_archive! { a_folder }

/// What a client keeps evidence in, as an archive.
struct Kept(Folder);

impl Archive for Kept {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        self.0.keep(name, &content).map_err(|error| {
            if error.kind() == ErrorKind::AlreadyExists {
                return Error::Conflict;
            }
            Error::Unavailable { doing: "keep evidence", source: error.into() }
        })
    }
}

/// The content under a name, as the contract of an archive sees it.
type Read<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

async fn a_folder(contract: impl AsyncFn(&Kept, Read<'_>)) {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("new");
    contract(&Kept(Folder::at(&path).expect("made")), &|name| fs::read(path.join(name)).ok()).await;
    let names = fs::read_dir(&path).expect("listed").map(|it| it.expect("an entry").file_name());
    let drafts: Vec<_> = names.filter(|it| it.to_string_lossy().starts_with('.')).collect();
    assert!(drafts.is_empty(), "no draft is left: {drafts:?}");
}
