//! The file with the list of bots, which is read again whenever the list is needed.

use portcullis_app::{Bots, Finding};
use portcullis_domain::said::unmarked;
use portcullis_program::{Failure, private};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The list of bots, and the file that it is read from, if there is one.
#[derive(Debug)]
pub struct BotsFile {
    bots: Bots,
    file: Option<PathBuf>,
    read: Mutex<Reading>,
}

/// The last reading of the file.
#[derive(Debug)]
struct Reading {
    /// The content, or the reason why there is none.
    content: Result<String, String>,
    /// The reason why no list is read from it.
    why: Option<String>,
}

impl BotsFile {
    /// The list in a file; without a file no bot may speak. An error where it cannot be read: a program that starts is watched.
    pub fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let content = file.map(content).transpose()?.unwrap_or_default();
        let bots = file.map(|file| list(file, &content)).transpose()?.unwrap_or_default();
        Ok(Self {
            bots,
            file: file.map(Path::to_owned),
            read: Mutex::new(Reading { content: Ok(content), why: None }),
        })
    }

    /// The list as the file is now. It is short, and read only where an event or a checkup needs it: no time stamp of a file tells as
    /// surely that it is the same.
    ///
    /// INVARIANT (empty-is-nothing): a file that cannot be read any more names no bot.
    pub fn now(&self) -> &Bots {
        if let Some(file) = &self.file {
            let content = content(file).map_err(|failure| failure.message().to_owned());
            let mut before = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if before.content != content {
                let read = content.as_ref().map_err(Clone::clone);
                let read = read.and_then(|it| list(file, it).map_err(|failure| failure.message().to_owned()));
                let (bots, why) = match read {
                    Ok(bots) => (bots, None),
                    Err(why) => (Bots::default(), Some(why)),
                };
                match &why {
                    None => tracing::info!("The list of bots was read again"),
                    Some(why) => {
                        tracing::error!(why, "The list of bots cannot be read: no bot may send events");
                    }
                }
                self.bots.replace(&bots);
                *before = Reading { content, why };
            }
        }
        &self.bots
    }

    /// The finding of a checkup, where the file cannot be read.
    pub fn finding(&self) -> Option<Finding> {
        self.now();
        let why = self.read.lock().unwrap_or_else(PoisonError::into_inner).why.clone()?;
        let advice = "correct the file: it is read again at the next event, without a restart";
        Some(Finding::failed("bots", format!("no bot may send events: {why}"), advice))
    }
}

fn content(file: &Path) -> Result<String, Failure> {
    private::check_file(file)?;
    private::read_regular(file).map(unmarked).map_err(|error| cannot(file, &error.to_string()))
}

fn list(file: &Path, content: &str) -> Result<Bots, Failure> {
    content.parse().map_err(|why: String| cannot(file, &why))
}

fn cannot(file: &Path, why: &str) -> Failure {
    Failure::usage(format!("cannot use `{}`: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    const ANN: &str = r#"[{"source": "chatops", "for": ["ann"]}]"#;
    const BOB: &str = r#"[{"source": "chatops", "for": ["bob"]}]"#;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn said(bots: &Bots) -> String {
        format!("{bots:?}")
    }

    fn as_said(text: &str) -> String {
        said(&text.parse().expect("bots"))
    }

    #[test]
    fn file_that_changed_is_read_again_and_one_that_did_not_is_not() {
        let folder = folder();
        let file = folder.path().join("bots.json");
        fs::write(&file, ANN).expect("written");
        let bots = BotsFile::open(Some(&file)).expect("opens");
        assert_eq!(said(bots.now()), as_said(ANN));
        // Of the same length: in place, and by another file.
        fs::write(&file, BOB).expect("written");
        assert_eq!(said(bots.now()), as_said(BOB));
        let draft = folder.path().join("draft");
        fs::write(&draft, ANN).expect("written");
        fs::rename(&draft, &file).expect("renamed");
        assert_eq!(said(bots.now()), as_said(ANN));
        assert!(bots.finding().is_none());
    }

    #[test]
    fn file_that_cannot_be_read_any_more_permits_no_bot_until_it_is_corrected() {
        let folder = folder();
        let file = folder.path().join("bots.json");
        fs::write(&file, ANN).expect("written");
        let bots = BotsFile::open(Some(&file)).expect("opens");
        let refused = |what: &str| {
            assert_eq!(said(bots.now()), as_said("[]"), "{what}");
            let finding = bots.finding().expect("a finding");
            assert!(finding.found.contains("bots.json"), "{what}: {finding:?}");
        };
        fs::write(&file, "[{").expect("written");
        refused("no JSON");
        fs::remove_file(&file).expect("removed");
        refused("no file");
        let made = std::process::Command::new("mkfifo").arg(&file).status().expect("runs");
        assert!(made.success());
        refused("a pipe, for whose writer no caller waits");
        fs::remove_file(&file).expect("removed");
        fs::write(&file, BOB).expect("written");
        assert_eq!(said(bots.now()), as_said(BOB));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("set");
        refused("others may write it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        assert_eq!(said(bots.now()), as_said(BOB));
        assert!(bots.finding().is_none());
    }

    #[test]
    fn start_without_a_file_names_no_bot_and_with_a_bad_one_fails() {
        assert_eq!(said(BotsFile::open(None).expect("opens").now()), as_said("[]"));
        let folder = folder();
        assert!(BotsFile::open(Some(&folder.path().join("none.json"))).is_err());
    }
}
