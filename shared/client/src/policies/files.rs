//! The files of a folder of policies.

use portcullis_domain::Authority;
use portcullis_policy::{Engine, Faults, INSTALLATION, Installation};
use portcullis_program::Failure;
use std::{collections::BTreeMap, fs, io, path::Path};

/// How the name of a policy file ends.
const ENDING: &str = "cedar";

/// A folder of policies.
#[derive(Debug)]
pub struct Files {
    /// The text of each policy file, by its name.
    pub policies: BTreeMap<String, String>,
    /// Who and what there is.
    pub installation: Installation,
}

impl Files {
    /// What is in this folder: at least a policy file or a description of the installation.
    pub fn of(folder: &Path) -> Result<Self, Failure> {
        let entries = fs::read_dir(folder).map_err(|error| unread(folder, &error))?;
        let mut policies = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(|error| unread(folder, &error))?.path();
            let name = path.file_name().and_then(|it| it.to_str()).map(str::to_owned);
            if let Some(name) = name.filter(|_| path.extension().is_some_and(|it| it == ENDING)) {
                policies.insert(name, read(&path)?);
            }
        }
        let described = folder.join(INSTALLATION);
        let is_described = described.exists();
        if policies.is_empty() && !is_described {
            let none = format!("there is no policy file in `{}`", folder.display());
            return Err(Failure::not_found(none).next("name a folder with files that end in `.cedar`"));
        }
        let text = if is_described { read(&described)? } else { String::new() };
        let installation = Installation::read(&text).map_err(|why| unusable(&described, &why))?;
        Ok(Self { policies, installation })
    }

    /// The bindings of the installation with the policy files.
    pub fn authority(&self) -> Authority {
        self.installation.authority(self.policies.clone())
    }

    /// What decides by them.
    pub fn engine(&self) -> Result<Engine, Failure> {
        let Self { policies: _, installation } = self;
        let engine = Engine::of(&self.authority(), installation.operator(), installation.zone());
        engine.map_err(|faults| faulty(&faults))
    }
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| unread(path, &error))
}

/// Policy files that have faults.
pub fn faulty(faults: &Faults) -> Failure {
    Failure::broken("the policy files have faults").because(faults.0.iter().map(ToString::to_string))
}

/// A file that is not what it should be.
pub fn unusable(path: &Path, why: &str) -> Failure {
    Failure::broken(format!("cannot use `{}`", path.display())).because(why.lines().map(str::to_owned))
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::not_found(format!("there is no `{}`", path.display()));
    }
    Failure::cannot(&format!("read `{}`", path.display()), error)
}
