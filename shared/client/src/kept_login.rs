//! The log-ins of this machine: a private file each.

use crate::{
    globals::state_dir,
    oidc::{Oidc, Usable},
};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use portcullis_program::{Failure, private};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fmt,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A log-in, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The token that is sent to Portcullis.
    token: String,
    until: Timestamp,
    /// The token by which another one is had.
    pub renewal: Option<String>,
}

/// Where one log-in is kept.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Login {
    pub fn of(usable: Usable, renewal: Option<String>) -> Self {
        Self { token: usable.token, until: usable.until, renewal }
    }

    pub fn usable(&self) -> Usable {
        Usable { token: self.token.clone(), until: self.until }
    }
}

impl Place {
    /// The place of the log-in for one Portcullis: a token goes to no other one, even where both trust the same issuer.
    pub fn of(url: &str, oidc: &Oidc) -> Result<Self, Failure> {
        let folder = state_dir();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| {
            Failure::broken(format!("cannot make the folder `{}`: {error}", folder.display()))
        })?;
        private::check_folder(&folder)?;
        let Oidc { issuer, client_id, audience, .. } = oidc;
        let named =
            [url, issuer, client_id, &oidc.scope(), audience.as_deref().unwrap_or_default()].join("\n");
        let digest = HEXLOWER.encode(&Sha256::digest(format!("{named}\n{:?}", oidc.kind())));
        Ok(Self(folder.join(format!("login-{}.json", &digest[..16]))))
    }

    /// The log-in, if there is one.
    pub fn read(&self) -> Result<Option<Login>, Failure> {
        private::check_file(&self.0)?;
        match fs::read_to_string(&self.0) {
            // One that cannot be read is as good as none: it may be of another version.
            Ok(text) => Ok(serde_json::from_str(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.cannot("read", &error)),
        }
    }

    pub fn write(&self, login: &Login) -> Result<(), Failure> {
        let text =
            serde_json::to_string(login).map_err(|error| Failure::cannot("write the log-in", error))?;
        private::write_secret(&self.0, &text).map_err(|error| self.cannot("write", &error))
    }

    /// Forgets it. `false` where there was none.
    pub fn forget(&self) -> Result<bool, Failure> {
        match fs::remove_file(&self.0) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.cannot("remove", &error)),
        }
    }

    /// Waits for other commands that are renewing it: a token that renews is often good for one time.
    pub fn lock(&self) -> Result<File, Failure> {
        let path = self.0.with_extension("lock");
        let opened = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let locked = opened.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|error| Failure::broken(format!("cannot lock `{}`: {error}", path.display())))
    }

    /// Its path, to be named.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn cannot(&self, doing: &str, error: &io::Error) -> Failure {
        Failure::broken(format!("cannot {doing} the log-in `{}`: {error}", self.0.display()))
    }
}

/// Without its tokens.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("until", &self.until).finish_non_exhaustive()
    }
}
