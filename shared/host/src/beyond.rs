//! What is beyond firewalls and machines: somebody else's just-in-time access, and how the clouds fare.

use crate::outside::Outside;
use portcullis_app::{
    Adoptable, Adoptables, Error, Finding,
    ports::{Adoption, Checkup},
};

/// This machine has no other just-in-time access than ours.
impl Adoption for Outside {
    async fn found(&self) -> Result<Adoptables, Error> {
        match &self.azure {
            Some(azure) => azure.found().await,
            None => Ok(Adoptables::default()),
        }
    }

    async fn remove(&self, what: &Adoptable) -> Result<(), Error> {
        match &self.azure {
            Some(azure) => azure.remove(what).await,
            None => Err(Error::NotFound { what: "foreign policy", name: what.name.clone() }),
        }
    }
}

/// The cloud comes first: where it cannot be asked, nothing else of it is.
impl Checkup for Outside {
    async fn checkup(&self) -> Vec<Finding> {
        let mut findings = match &self.azure {
            Some(azure) => azure.checkup().await,
            None => vec![],
        };
        if let Some(host) = &self.host {
            findings.extend(host.checkup().await);
        }
        findings
    }
}
