//! The file, open and locked; and opened anew where the disk failed it.

use super::{
    disk::{self, Disk, Room},
    failed::{Failed, unavailable},
    feed, people,
    tables::{
        LAYOUT, LAYOUT_BY_SPELLING, LAYOUT_WITH_GRANTS, LAYOUT_WITHOUT_FEED, META_LAYOUT, Open, json, parse,
    },
    targets,
};
use portcullis_app::Error;
use redb::{Database, ReadableDatabase as _, TableError};
use std::{
    fs::{self, OpenOptions, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

/// How much of the file is held in memory, in bytes: by itself the library takes a GiB of a machine that has other work.
const CACHE_BYTES: usize = 64 << 20;

/// The file, open and locked; or for a while without a database, after the disk failed.
pub struct File {
    path: PathBuf,
    /// The lock is on this one, and stays while the database is opened anew.
    locked: fs::File,
    open: RwLock<Option<Opened>>,
}

/// A database on its disk.
pub struct Opened {
    pub database: Database,
    pub disk: Disk,
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
        let name = path.display();
        let broken = |error: io::Error| unavailable("open the table")(format!("`{name}`: {error}").into());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(broken)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "is in use by another process; stop that one first, or choose another folder";
                return Err(unavailable("open the table")(format!("`{name}` {why}").into()));
            }
            Err(TryLockError::Error(error)) => return Err(broken(error)),
        }
        let this = Self { path: path.to_owned(), locked: file, open: RwLock::new(None) };
        this.reopen()?;
        Ok(this)
    }

    /// Does something with the database. It is not opened anew meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&Opened) -> T) -> Result<T, Error> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let closed =
            || unavailable("use the table")("its disk failed, and the table is being reopened".into());
        open.as_ref().map(work).ok_or_else(closed)
    }

    /// Opens it anew, as after a restart: what was acknowledged is there, and nothing else.
    ///
    /// After a failed write the database refuses every other one, also when the disk has room again.
    pub fn reopen(&self) -> Result<(), Error> {
        self.replace(Disk::of)
    }

    /// Opens it anew with what is written kept in memory alone: see [`Disk::in_memory`].
    pub fn reopen_in_memory(&self) -> Result<(), Error> {
        self.replace(Disk::in_memory)
    }

    fn replace(&self, disk: impl FnOnce(fs::File) -> io::Result<Disk>) -> Result<(), Error> {
        // Whoever reads is waited for: they hold the database, which must be gone before there is another one.
        let before = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        // The library may panic when it closes what a failure left behind. The lock is ours, and stays.
        if catch_unwind(AssertUnwindSafe(|| drop(before))).is_err() {
            tracing::warn!("The table was not closed properly");
        }
        let file = self.locked.try_clone().and_then(disk);
        let disk = file.map_err(|error| self.unopened(&error))?;
        let opened = open(&disk, &self.path)?;
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    }

    /// How much room the disk has for the table.
    pub fn room(&self) -> Result<Room, Error> {
        disk::room(&self.locked).map_err(|error| self.unopened(&error))
    }

    /// Would the next commits find room, and be written?
    pub fn is_fit(&self) -> bool {
        disk::try_to_write(&self.locked).and_then(|()| disk::try_to_grow(&self.locked)).is_ok()
    }

    /// Can it be written at all?
    pub fn is_written(&self) -> bool {
        disk::try_to_write(&self.locked).is_ok()
    }

    /// Is hardly anything left on its disk?
    pub fn is_nearly_full(&self) -> bool {
        disk::is_nearly_full(&self.locked).unwrap_or(false)
    }

    /// Why a commit of a caller finds no room, in words.
    pub fn full(&self) -> Error {
        let folder = self.path.parent().unwrap_or(&self.path).display();
        let why = match self.room() {
            Ok(Room { left, wanted }) => {
                format!("`{folder}` has {} left, and the table needs {}", mib(left), mib(wanted))
            }
            Err(error) => error.full(),
        };
        unavailable(FULL)(why.into())
    }

    fn unopened(&self, error: &io::Error) -> Error {
        unavailable("open the table")(format!("`{}`: {error}", self.path.display()).into())
    }
}

/// Callers are told so: the folder and the numbers are for the operator.
const FULL: &str =
    "record this: the disk of the table is full. Leases still end; free some space, and try again";

/// A size in words.
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn open(disk: &Disk, path: &Path) -> Result<Opened, Error> {
    let name = path.display();
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(disk.clone());
    let database = opened.map_err(|error| Error::Broken {
        doing: "open the table",
        source: format!("`{name}`: {error}").into(),
    })?;
    lay_out(&database).map_err(|failed| match failed {
        Failed::Whole(error) => error,
        Failed::Torn(error) => unavailable("lay out the table")(format!("`{name}`: {error}").into()),
    })?;
    Ok(Opened { database, disk: disk.clone() })
}

/// Makes the tables of a new file, and knows those of an old one: that is no write.
fn lay_out(database: &Database) -> Result<(), Failed> {
    let known = known_layout(database)?;
    match known {
        Some(LAYOUT) => return Ok(()),
        Some(LAYOUT_BY_SPELLING | LAYOUT_WITHOUT_FEED | LAYOUT_WITH_GRANTS) | None => {}
        Some(other) => {
            let why = format!("its layout has version {other}, and this program supports version {LAYOUT}");
            return Err(Failed::Whole(Error::Broken { doing: "open the table", source: why.into() }));
        }
    }
    let transaction = database.begin_write()?;
    {
        let mut open = Open::of(&transaction)?;
        if known == Some(LAYOUT_WITH_GRANTS) {
            targets::take_grants_out(&mut open)?;
        }
        if known != Some(LAYOUT_BY_SPELLING) {
            feed::make(&mut open)?;
        }
        people::fold(&mut open)?;
        open.meta.insert(META_LAYOUT, json(&LAYOUT)?.as_slice())?;
    }
    transaction.commit()?;
    Ok(())
}

fn known_layout(database: &Database) -> Result<Option<u64>, Failed> {
    let table = match database.begin_read()?.open_table(super::tables::META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let known = table.get(META_LAYOUT)?;
    Ok(known.map(|it| parse::<u64>("meta", META_LAYOUT, it.value())).transpose()?)
}
