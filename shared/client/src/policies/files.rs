//! The files of a folder of policies, as the engine reads them.

use super::sources::{Sources, ill_described};
use portcullis_domain::Authority;
use portcullis_policy::{Engine, Faults, Installation};
use portcullis_program::Failure;
use std::{collections::BTreeMap, path::Path};

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
        let Sources { files, described } = Sources::of(folder)?;
        let installation = Installation::read(&described.unwrap_or_default());
        let installation = installation.map_err(|why| ill_described(folder, &why))?;
        Ok(Self { policies: files, installation })
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

/// Policy files that have faults.
pub fn faulty(faults: &Faults) -> Failure {
    Failure::broken("the policy files have faults").because(faults.0.iter().map(ToString::to_string))
}
