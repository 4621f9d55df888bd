//! Files and folders that only their owner may change: those that hold secrets, and those that are obeyed.
//!
//! The rule is that of `ssh`: the owner is the user who runs this program or root, and neither the group nor
//! others may write.

use crate::failure::Failure;
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, DirBuilder, File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};
use tempfile::Builder;

/// Bits of a mode: the group or others may write.
const WRITTEN_BY_OTHERS: u32 = 0o022;
/// The group or others may read.
const READ_BY_OTHERS: u32 = 0o044;
/// Anybody may write.
const WRITTEN_BY_ANYBODY: u32 = 0o002;
/// A file in such a folder is renamed by its owner alone.
const STICKY: u32 = 0o1000;

/// Makes a folder that only its owner enters, or refuses one that somebody else may change. Files that are made
/// from now on are private too.
pub fn make_folder(folder: &Path) -> Result<(), Failure> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        Failure::broken(format!("cannot make the data folder `{}`: {error}", folder.display()))
    })?;
    check_folder(folder)
}

/// Refuses a folder that somebody else owns, may write to, or may put another one in the place of.
pub fn check_folder(folder: &Path) -> Result<(), Failure> {
    check_folder_of(folder, None)
}

/// The same for the folder of a secret: whoever owns that may own the folder too, as a service that made both.
pub fn check_folder_of(folder: &Path, secret: Option<&Path>) -> Result<(), Failure> {
    let unreadable = |error: io::Error| cannot_read(folder, &error);
    let folder = fs::canonicalize(folder).map_err(unreadable)?;
    let seen = fs::metadata(&folder).map_err(unreadable)?;
    if !seen.is_dir() {
        return Err(Failure::usage(format!("`{}` is not a folder", folder.display())));
    }
    let owner_of_secret = secret.and_then(|it| fs::metadata(it).ok()).map(|it| it.uid());
    if owner_of_secret == Some(seen.uid()) {
        check_mode(&folder, seen.mode())?;
    } else {
        check(&folder, &seen)?;
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    let mode = fs::metadata(parent).map_err(|error| cannot_read(parent, &error))?.mode();
    if mode & WRITTEN_BY_ANYBODY != 0 && mode & STICKY == 0 {
        let (parent, mode) = (parent.display(), mode & 0o7777);
        let message = format!("`{}` is in `{parent}` (mode {mode:04o})", folder.display());
        return Err(Failure::usage(format!("{message}, where other users may replace it"))
            .next(format!("run `chmod o-w {parent}`, or choose another folder")));
    }
    Ok(())
}

/// Refuses a file that somebody else owns or may write. A file that is not there, a pipe and a terminal pass.
pub fn check_file(file: &Path) -> Result<(), Failure> {
    match fs::metadata(file) {
        Ok(seen) if seen.is_file() => check(file, &seen),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot_read(file, &error)),
    }
}

/// The content of a file that is read again and again. It never waits, as the reader of a pipe or of a terminal does: those are
/// refused.
pub fn read_regular(file: &Path) -> io::Result<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let mut opened = File::options().read(true).custom_flags(flags).open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut content = String::new();
    opened.read_to_string(&mut content)?;
    Ok(content)
}

/// Refuses a token that the group or others may write. Its owner may be the service that made it.
pub fn check_token(file: &Path) -> Result<(), Failure> {
    match fs::metadata(file) {
        Ok(seen) if seen.is_file() => check_mode(file, seen.mode()),
        // Reading it says more.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The warning about a secret in a file that others may read.
pub fn readable_by_others(file: &Path) -> Option<String> {
    let seen = fs::metadata(file).ok().filter(|it| it.is_file() && it.mode() & READ_BY_OTHERS != 0)?;
    let (file, mode) = (file.display(), seen.mode() & 0o7777);
    Some(format!("other users may read the token in `{file}` (mode {mode:04o}): run `chmod go-r {file}`"))
}

/// Puts a secret into a file, whole or not at all: half a token would lock its owner out.
///
/// The draft is new, private and of a name that nobody can foresee, so a file or a link that was made beforehand
/// receives nothing.
pub fn write_secret(file: &Path, secret: &str) -> io::Result<()> {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut draft = Builder::new().prefix(".secret-").tempfile_in(folder)?;
    writeln!(draft, "{secret}")?;
    draft.as_file().sync_all()?;
    draft.persist(file).map_err(|it| it.error)?;
    // A name is durable once its folder is.
    File::open(folder)?.sync_all()
}

fn check(path: &Path, seen: &Metadata) -> Result<(), Failure> {
    let (name, mode, owner) = (path.display(), seen.mode() & 0o7777, seen.uid());
    let us = rustix::process::geteuid().as_raw();
    if owner != us && owner != 0 {
        let message = format!("`{name}` (mode {mode:04o}) belongs to user {owner}, who may change it");
        return Err(Failure::usage(message).next(format!("run `chown {us} {name}`, or choose another file")));
    }
    check_mode(path, mode)
}

fn check_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    if mode & WRITTEN_BY_OTHERS == 0 {
        return Ok(());
    }
    let (name, mode) = (path.display(), mode & 0o7777);
    let message = format!("`{name}` (mode {mode:04o}) may be changed by other users");
    Err(Failure::usage(message).next(format!("run `chmod go-w {name}`")))
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::broken(format!("cannot read `{}`: {error}", path.display()))
}
