//! Policy files on this machine, and what stands beside them.

use portcullis_program::Failure;
use std::{collections::BTreeMap, fs, io, path::Path};

/// The folder of policy files where no other one is named.
pub const FOLDER: &str = "policies";
/// How the name of a policy file ends.
const ENDING: &str = "cedar";
/// The name of the file in a folder of policies that describes the installation.
const INSTALLATION: &str = "installation.toml";

/// A folder of policies.
#[derive(Debug)]
pub struct Sources {
    /// The text of each policy file, by its name.
    pub files: BTreeMap<String, String>,
    /// The description of the installation, if it is there.
    pub described: Option<String>,
}

impl Sources {
    /// The files in this folder: at least a policy file or a description of the installation.
    pub fn of(folder: &Path) -> Result<Self, Failure> {
        let entries = fs::read_dir(folder).map_err(|error| unread(folder, &error))?;
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(|error| unread(folder, &error))?.path();
            let name = path.file_name().and_then(|it| it.to_str()).map(str::to_owned);
            if let Some(name) = name.filter(|_| path.extension().is_some_and(|it| it == ENDING)) {
                files.insert(name, read(&path)?);
            }
        }
        let path = folder.join(INSTALLATION);
        let described = if path.exists() { Some(read(&path)?) } else { None };
        if files.is_empty() && described.is_none() {
            let none = format!("there is no policy file in `{}`", folder.display());
            return Err(Failure::not_found(none).next("name a folder with files that end in `.cedar`"));
        }
        Ok(Self { files, described })
    }
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| unread(path, &error))
}

/// A file that is not what it should be.
pub fn unusable(path: &Path, why: &str) -> Failure {
    Failure::broken(format!("cannot use `{}`", path.display())).because(why.lines().map(str::to_owned))
}

/// The description of the installation in this folder that is not what it should be.
pub fn ill_described(folder: &Path, why: &str) -> Failure {
    unusable(&folder.join(INSTALLATION), why)
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::not_found(format!("there is no `{}`", path.display()));
    }
    Failure::cannot(&format!("read `{}`", path.display()), error)
}
