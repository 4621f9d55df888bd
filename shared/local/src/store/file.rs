//! The file, open: and opened anew where the disk failed it.

use super::{
    Failed,
    tables::{LAYOUT, LAYOUT_WITH_GRANTS, META_LAYOUT, Open, json, parse},
    targets, unavailable,
};
use portcullis_app::Error;
use redb::{Database, DatabaseError, ReadableTable};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// How much of the file is held in memory, in bytes: by itself the library takes a GiB of a machine that has other work.
const CACHE_BYTES: usize = 64 << 20;

/// The file, open and locked; or for a while not, after the disk failed.
pub struct File {
    path: PathBuf,
    database: RwLock<Option<Arc<Database>>>,
}

impl File {
    /// Opens the file, or makes it. `Unavailable` if another process has it open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            let made = fs::create_dir_all(folder);
            made.map_err(|error| {
                unavailable("make the data folder")(format!("`{}`: {error}", folder.display()).into())
            })?;
        }
        let database = Arc::new(open(path)?);
        Ok(Self { path: path.to_owned(), database: RwLock::new(Some(database)) })
    }

    /// The database, for one read or one write.
    pub fn database(&self) -> Result<Arc<Database>, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || unavailable("use the table")("the disk failed it; it is opened anew".into());
        database.clone().ok_or_else(closed)
    }

    /// Opens it anew, as after a restart: what was acknowledged is there, and nothing else.
    ///
    /// After a failed write the database refuses every other one, also when the disk has room again.
    pub fn reopen(&self) -> Result<(), Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The lock is on the file: it has to be let go before it can be taken.
        drop(database.take());
        *database = Some(Arc::new(open(&self.path)?));
        Ok(())
    }
}

fn open(path: &Path) -> Result<Database, Error> {
    let name = path.display();
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
    let database = opened.map_err(|error| {
        if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
            let why = "is in use by another process; stop that one first, or choose another folder";
            unavailable("open the table")(format!("`{name}` {why}").into())
        } else {
            Error::Broken { doing: "open the table", source: format!("`{name}`: {error}").into() }
        }
    })?;
    lay_out(&database).map_err(|failed| match failed {
        Failed::Whole(error) => error,
        Failed::Torn(error) => unavailable("lay out the table")(format!("`{name}`: {error}").into()),
    })?;
    Ok(database)
}

/// Makes the tables of a new file, and knows those of an old one.
fn lay_out(database: &Database) -> Result<(), Failed> {
    let transaction = database.begin_write()?;
    {
        let mut open = Open::of(&transaction)?;
        let known = match open.meta.get(META_LAYOUT)? {
            Some(found) => Some(parse::<u64>("meta", META_LAYOUT, found.value())?),
            None => None,
        };
        match known {
            Some(LAYOUT) => {}
            Some(LAYOUT_WITH_GRANTS) => {
                targets::take_grants_out(&mut open)?;
                open.meta.insert(META_LAYOUT, json(&LAYOUT)?.as_slice())?;
            }
            Some(other) => {
                let why = format!("its layout is version {other}, and this program knows version {LAYOUT}");
                return Err(Failed::Whole(Error::Broken { doing: "open the table", source: why.into() }));
            }
            None => drop(open.meta.insert(META_LAYOUT, json(&LAYOUT)?.as_slice())?),
        }
    }
    transaction.commit()?;
    Ok(())
}
