//! The journal of a data folder that no process serves.

use super::data::{open, store_file};
use crate::failed::failed;
use portcullis_app::verify;
use portcullis_program::{Exit, Failure};
use portcullis_wire::VerifyView;
use std::{fs, path::Path};

/// Recomputes the journal of a data folder that nobody serves.
pub fn verify_offline(data: &Path) -> Result<VerifyView, Failure> {
    recomputed(data).map_err(served)
}

fn recomputed(data: &Path) -> Result<VerifyView, Failure> {
    let file = store_file(data);
    match fs::metadata(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::not_found(format!("there is no table at `{}`", file.display())));
        }
        // An empty file would be made a new table.
        Ok(seen) if seen.len() == 0 => {
            return Err(Failure::not_found(format!("the table at `{}` is an empty file", file.display())));
        }
        Ok(_) | Err(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::cannot("start", error))?;
    let store = open(data)?;
    Ok(portcullis_http::verified(&runtime.block_on(verify(&store)).map_err(failed)?))
}

fn served(failure: Failure) -> Failure {
    match failure.exit() {
        Exit::Unavailable => failure.next("without --data, the running server is asked"),
        Exit::Done | Exit::Broken | Exit::Usage | Exit::Refused | Exit::NotFound | Exit::Unread => failure,
    }
}
