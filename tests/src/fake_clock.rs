//! A wall clock of one program alone that a test sets, by libfaketime. The program's monotonic clock stays right.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where distributions put it: in a folder of the architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// How soon a program notices that its clock was set, in seconds.
const NOTICED_SECS: u32 = 1;

/// The clock, until it is dropped.
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    folder: tempfile::TempDir,
}

impl FakeClock {
    /// One that is right; why not, where libfaketime is not installed.
    pub fn new() -> Result<Self, String> {
        let library = library().ok_or("libfaketime is not installed")?;
        let clock = Self { library, folder: tempfile::tempdir().expect("a folder") };
        clock.shift(0);
        Ok(clock)
    }

    /// What to put before a command, so that it has this clock.
    pub fn within(&self) -> [String; 6] {
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display()),
            format!("FAKETIME_CACHE_DURATION={NOTICED_SECS}"),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "FAKETIME_DISABLE_SHM=1".to_owned(),
        ]
    }

    /// Sets it: so many seconds after the right time, or before it.
    pub fn shift(&self, seconds: i64) {
        let draft = self.folder.path().join("draft");
        fs::write(&draft, format!("{seconds:+}")).expect("written");
        fs::rename(draft, self.file()).expect("renamed");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("time")
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir(LIBRARIES).ok()?.filter_map(Result::ok);
    let installed = folders.map(|it| it.path().join(LIBRARY));
    installed.chain([Path::new(LIBRARIES).join(LIBRARY)]).find(|it| it.exists())
}
