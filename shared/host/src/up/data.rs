//! The data folder: the table, the operator's token, and the file of the simulated cloud.

use crate::{failed::failed, site::LocalSite, steady};
use portcullis_app::{
    Error,
    ports::{Store as _, Tokens as _},
};
use portcullis_domain::{Head, Person, Speaker, TokenTerms, Via};
use portcullis_local::RedbStore;
use portcullis_program::{Failure, TOKEN_FILE, private};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The table's file.
pub(crate) const STORE_FILE: &str = "portcullis.redb";
/// The simulated cloud's file.
pub(super) const SIMCLOUD_FILE: &str = "simcloud.json";

/// A token without its table would make a new beginning of a loss: nothing of the old table would shut any more.
pub(super) fn has_its_table(data: &Path) -> Result<(), Failure> {
    let has_token = data.join(TOKEN_FILE).symlink_metadata().is_ok();
    let has_table = fs::metadata(store_file(data)).is_ok_and(|it| 0 < it.len());
    if has_token && !has_table { Err(lost_table(data)) } else { Ok(()) }
}

pub(super) fn lost_table(data: &Path) -> Failure {
    let (table, token) = (store_file(data), data.join(TOKEN_FILE));
    let (table, token) = (table.display(), token.display());
    Failure::broken(format!("`{token}` exists, and its table `{table}` is missing or empty")).next(format!(
        "restore `{table}` from a copy; or remove `{token}` to start without its machines, leases and journal"
    ))
}

pub(super) fn open(data: &Path) -> Result<RedbStore, Failure> {
    RedbStore::open(&store_file(data)).map_err(|error| match error {
        Error::Unavailable { .. } => Failure::unavailable(error.full()),
        error @ (Error::Refused(_) | Error::NotFound { .. } | Error::Conflict | Error::Broken { .. }) => {
            failed(error)
        }
    })
}

/// The table's file in a data folder.
pub(super) fn store_file(data: &Path) -> PathBuf {
    data.join(STORE_FILE)
}

/// The simulated cloud's file in a data folder.
pub(super) fn simcloud_file(data: &Path) -> PathBuf {
    data.join(SIMCLOUD_FILE)
}

/// Makes the operator's token if its file is not there; says whether it was made.
pub(super) async fn operator_token(
    site: &LocalSite,
    operator: &Person,
    data: &Path,
) -> Result<bool, Failure> {
    let path = data.join(TOKEN_FILE);
    if path.try_exists().unwrap_or(true) {
        if let Some(warning) = private::readable_by_others(&path) {
            tracing::warn!("{warning}");
        }
        // Whoever made the token had it recorded: a journal without an entry is another one.
        if site.store.rest().await.map_err(failed)? == Head::default() {
            return Err(lost_table(data));
        }
        return Ok(false);
    }
    // Nobody can call yet who could ask for it at the door. It has no end: nobody else could make its successor.
    let by = Speaker { person: operator, via: Some(&Via::Portcullis) };
    let token =
        site.tokens.issue(operator, &TokenTerms::default(), by, steady::now()).await.map_err(failed)?;
    private::write_secret(&path, &token)
        .map_err(|error| Failure::broken(format!("cannot write `{}`: {error}", path.display())))?;
    Ok(true)
}
