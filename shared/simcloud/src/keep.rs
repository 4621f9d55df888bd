//! Kept in a file, so that a new start goes on where the last one ended.

use crate::{Clock, NotASnapshot, Simcloud};
use std::{
    fs::{self, File},
    future::Future,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::Builder;
use tokio::{task, time};

/// How long to rest after the file was written: what changes meanwhile is written at once.
const REST: Duration = Duration::from_millis(100);
/// How long to rest after it could not be.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A file that a cloud cannot be kept in.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is there, and cannot be read.
    #[error("cannot read `{}`", file.display())]
    Unread {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("cannot go on from `{}`", file.display())]
    Strange {
        /// Which.
        file: PathBuf,
        /// Why.
        source: NotASnapshot,
    },
    /// What was there before is there still.
    #[error("cannot write `{}`", file.display())]
    Unwritten {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Simcloud {
    /// The cloud that a file holds; none, where there is no file.
    pub fn load(file: &Path, clock: Clock) -> Result<Option<Self>, FileError> {
        let snapshot = match fs::read_to_string(file) {
            Ok(snapshot) => snapshot,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError::Unread { file: file.to_owned(), source }),
        };
        let strange = |source| FileError::Strange { file: file.to_owned(), source };
        Self::restore(&snapshot, clock).map(Some).map_err(strange)
    }

    /// Writes the cloud as it is now to a file: the whole of it, or the file stays as it was.
    pub fn save(&self, file: &Path) -> Result<(), FileError> {
        let unwritten = |source| FileError::Unwritten { file: file.to_owned(), source };
        replace(file, &self.snapshot()).map_err(unwritten)
    }
}

/// Saves a cloud to a file after every change, until it is told to stop, and then once more: so `stop`
/// is to come when nobody is answered any more. One save at a time, of whatever is newest then. `failed`
/// is told when saving begins to fail; it is tried again.
pub async fn keep(
    cloud: Arc<Simcloud>,
    file: PathBuf,
    stop: impl Future<Output = ()> + Send,
    mut failed: impl FnMut(&FileError) + Send,
) -> Result<(), FileError> {
    let mut changes = cloud.changes();
    let mut is_stopping = false;
    let mut has_failed = false;
    tokio::pin!(stop);
    loop {
        changes.borrow_and_update();
        let (it, to) = (Arc::clone(&cloud), file.clone());
        let saved = task::spawn_blocking(move || it.save(&to)).await;
        let gave_up =
            |error: task::JoinError| Err(FileError::Unwritten { file: file.clone(), source: error.into() });
        let saved = saved.unwrap_or_else(gave_up);
        if is_stopping {
            return saved;
        }
        if let Err(error) = &saved
            && !has_failed
        {
            failed(error);
        }
        has_failed = saved.is_err();
        let rest = if has_failed { REST_AFTER_FAILURE } else { REST };
        let next = async {
            time::sleep(rest).await;
            // A cloud that is gone cannot change: it is held here.
            if !has_failed && changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = next => {}
            () = &mut stop => is_stopping = true,
        }
    }
}

/// Writes a draft beside a file and puts it in its place. The draft is new, private, and of a name that nobody can
/// foresee: a file or a link that was made beforehand receives nothing.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut draft = Builder::new().prefix(".simcloud-").tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(file).map_err(|it| it.error)?;
    // A name is safe once its folder is.
    File::open(folder)?.sync_all()
}
