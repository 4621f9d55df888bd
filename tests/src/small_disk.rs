//! A small disk that a program alone sees: a file system in memory, in a mount namespace of its own, which a test fills
//! and empties.

use crate::binary::Up;
use rustix::process::getuid;
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

/// What is written at a time: smaller than a page, so that no byte is left.
const CHUNK: usize = 1 << 10;
/// Where the program finds its own mount, as the test may reach it.
const FILLER: &str = "filler";

/// A disk of a few megabytes over a folder.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    mount: String,
}

impl SmallDisk {
    /// Over this folder; why not, where that is not possible.
    pub fn over(folder: &Path, megabytes: u32) -> Result<Self, String> {
        if !getuid().is_root() {
            return Err("a file system can be mounted by root alone".to_owned());
        }
        let mount =
            format!("mount -t tmpfs -o size={megabytes}m,mode=700 tmpfs {} && exec \"$@\"", folder.display());
        Ok(Self { folder: folder.to_owned(), mount })
    }

    /// What to put before a command, so that it has this disk. Each command has one of its own.
    pub fn within(&self) -> [&str; 6] {
        ["unshare", "--mount", "sh", "-c", &self.mount, "sh"]
    }

    /// The folder as the program sees it.
    pub fn seen_by(&self, up: &Up) -> PathBuf {
        let folder = self.folder.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(up.id().to_string()).join("root").join(folder)
    }

    /// Leaves no room.
    pub fn fill(&self, up: &Up) {
        let mut filler = File::create(self.seen_by(up).join(FILLER)).expect("created");
        // Writing fails when the disk is full, which is what is wanted.
        while filler.write_all(&[0; CHUNK]).is_ok() {}
    }

    /// Gives the room back.
    pub fn empty(&self, up: &Up) {
        fs::remove_file(self.seen_by(up).join(FILLER)).expect("removed");
    }
}
