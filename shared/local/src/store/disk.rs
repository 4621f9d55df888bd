//! The bytes of the table on a disk that may run full, fail, and come back.
//!
//! The library gives up for good after any error of its storage, and every commit may make the file longer. So that a
//! full disk is no error, growth always succeeds here: where the disk has no room for it, the file is only *said* to be
//! longer, and [`Disk::is_overdrawn`]. A transaction that overdrew is to be aborted, which gives the growth back. All
//! that the file has is backed by blocks of the disk, so that a commit into free pages needs no room at all.

use redb::StorageBackend;
use rustix::{
    fs::{FallocateFlags, fallocate, fstatvfs},
    io::Errno,
    process::{Resource, getrlimit},
};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The file grows by as much as it is long: the library doubles it, up to a region.
const REGION_BYTES: u64 = 4 << 30;
/// The least that the disk must have left for the table, in bytes: what is kept back, and as much again.
const GROWTH_MIN: u64 = 16 << 20;
/// A disk with less than this left is full, in bytes: nothing else on this machine gets on either.
const FULL_BELOW: u64 = 4 << 20;
/// With more than this left, in bytes, a disk is not asked whether it is full.
const PLENTY: u64 = 64 << 20;
/// What is kept in memory is kept in blocks of so many bytes.
const BLOCK: u64 = 4096;

/// The file behind a database, shared with whoever opened it.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    file: fs::File,
    /// How long the library believes the file to be.
    said: AtomicU64,
    /// How long it is.
    real: AtomicU64,
    /// Nothing is read or written any more: another one took its place.
    is_closed: AtomicBool,
    /// What was written, by the number of its block, where nothing is written to the file; see [`Disk::in_memory`].
    memory: Option<Mutex<BTreeMap<u64, Box<[u8]>>>>,
}

/// How much room there is for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What the disk has left for us, in bytes.
    pub left: u64,
    /// What the table wants of it when it next grows, in bytes.
    pub wanted: u64,
}

impl Disk {
    /// A file that is written.
    pub fn of(file: fs::File) -> io::Result<Self> {
        let disk = Self::with(file, None)?;
        let length = disk.length();
        // A file of an earlier version has holes, whose blocks somebody else may take. Where there are none left it is
        // written as far as it goes.
        if 0 < length
            && let Err(error) = disk.0.back(0, length)
        {
            tracing::warn!(%error, "Space on the disk could not be reserved for the whole file of the table");
        }
        Ok(disk)
    }

    /// A file that cannot be written: it is read, and what is written is kept in memory alone.
    pub fn in_memory(file: fs::File) -> io::Result<Self> {
        Self::with(file, Some(Mutex::default()))
    }

    fn with(file: fs::File, memory: Option<Mutex<BTreeMap<u64, Box<[u8]>>>>) -> io::Result<Self> {
        let length = AtomicU64::new(file.metadata()?.len());
        let real = AtomicU64::new(length.load(Ordering::Relaxed));
        Ok(Self(Arc::new(Inner { file, said: length, real, is_closed: AtomicBool::new(false), memory })))
    }

    /// Is the file said to be longer than it is? Then nothing may be committed.
    pub fn is_overdrawn(&self) -> bool {
        self.0.memory.is_none() && self.0.real.load(Ordering::SeqCst) < self.0.said.load(Ordering::SeqCst)
    }

    /// How long the library believes the file to be.
    fn length(&self) -> u64 {
        self.0.said.load(Ordering::SeqCst)
    }
}

/// How much room the disk of a file has for it.
pub fn room(file: &fs::File) -> io::Result<Room> {
    let wanted = file.metadata()?.len().clamp(GROWTH_MIN, REGION_BYTES);
    let seen = fstatvfs(file)?;
    Ok(Room { left: seen.f_bavail.saturating_mul(seen.f_frsize), wanted })
}

/// Has the disk so little left that it is full, also for us?
pub fn is_nearly_full(file: &fs::File) -> io::Result<bool> {
    Ok(room(file)?.left < PLENTY && take(file, FULL_BELOW).is_err())
}

/// Would the disk have what the table wants when it next grows?
pub fn try_to_grow(file: &fs::File) -> io::Result<()> {
    take(file, room(file)?.wanted)
}

/// Takes so many bytes from the disk, and gives them back: an error where that cannot be.
fn take(file: &fs::File, bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    // What is beyond the end of a file is not measured by this limit, and what will be in it is.
    if getrlimit(Resource::Fsize).current.is_some_and(|it| it < length.saturating_add(bytes)) {
        return Err(Errno::FBIG.into());
    }
    let taken = match fallocate(file, FallocateFlags::KEEP_SIZE, length, bytes) {
        // Where nothing can be kept back the disk's word is taken.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            return if bytes <= room(file)?.left { Ok(()) } else { Err(Errno::NOSPC.into()) };
        }
        taken => taken,
    };
    // Blocks beyond the end go with a truncation to the end.
    file.set_len(length)?;
    Ok(taken?)
}

/// Writes the file's first bytes over themselves, durably: an error where nothing can be written.
pub fn try_to_write(file: &fs::File) -> io::Result<()> {
    let mut first = [0; 64];
    file.read_exact_at(&mut first, 0)?;
    file.write_all_at(&first, 0)?;
    file.sync_data()
}

/// Is it the disk that has no room, or a limit or a quota that leaves none?
pub fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
}

impl Inner {
    fn open(&self) -> io::Result<()> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(io::Error::other("the file of the table was reopened"));
        }
        Ok(())
    }

    /// Gives a part of the file its blocks, and the file the length up to there.
    fn back(&self, from: u64, to: u64) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), from, to - from) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                // Here a full disk is only noticed by a write that fails.
                if self.file.metadata()?.len() < to {
                    self.file.set_len(to)?;
                }
            }
            backed => backed?,
        }
        Ok(())
    }

    fn blocks(memory: &Mutex<BTreeMap<u64, Box<[u8]>>>) -> MutexGuard<'_, BTreeMap<u64, Box<[u8]>>> {
        memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's own bytes; beyond its end it has zeros.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.file.metadata()?.len().saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        let (there, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        self.file.read_exact_at(there, offset)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.open()?;
        Ok(self.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.open()?;
        let Some(memory) = &self.0.memory else { return self.0.file.read_exact_at(out, offset) };
        self.0.read_file(offset, out)?;
        let blocks = Inner::blocks(memory);
        for (place, part) in parts(offset, out.len()) {
            if let Some(block) = blocks.get(&place.block) {
                out[part].copy_from_slice(&block[place.from..place.to]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.open()?;
        let real = self.0.real.load(Ordering::SeqCst);
        if self.0.memory.is_none() && real < length {
            match self.0.back(real, length) {
                Ok(()) => self.0.real.store(length, Ordering::SeqCst),
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        } else if self.0.memory.is_none() && length < real {
            self.0.file.set_len(length)?;
            self.0.real.store(length, Ordering::SeqCst);
        }
        self.0.said.store(length, Ordering::SeqCst);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.open()?;
        if self.0.memory.is_some() { Ok(()) } else { self.0.file.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.open()?;
        let Some(memory) = &self.0.memory else {
            if self.0.real.load(Ordering::SeqCst) < offset.saturating_add(data.len() as u64) {
                return Err(Errno::NOSPC.into());
            }
            return self.0.file.write_all_at(data, offset);
        };
        let mut blocks = Inner::blocks(memory);
        for (place, part) in parts(offset, data.len()) {
            if let Some(block) = blocks.get_mut(&place.block) {
                block[place.from..place.to].copy_from_slice(&data[part]);
                continue;
            }
            let mut block = vec![0; to_usize(BLOCK)].into_boxed_slice();
            self.0.read_file(place.block * BLOCK, &mut block)?;
            block[place.from..place.to].copy_from_slice(&data[part]);
            blocks.insert(place.block, block);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.is_closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// A part of a block.
struct Place {
    block: u64,
    from: usize,
    to: usize,
}

/// So many bytes from `offset` on, by block, each with where it is among these bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (Place, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let from = to_usize(at % BLOCK);
        let to = to_usize(BLOCK).min(from + length - done);
        let part = done..done + to - from;
        done = part.end;
        Some((Place { block: at / BLOCK, from, to }, part))
    })
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_memory_writes_are_read_back_and_the_file_stays_as_it_was() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let content: Vec<u8> = (0..10_000_u32).map(|it| (it % 251) as u8).collect();
        fs::write(file.path(), &content).expect("written");
        let disk = Disk::in_memory(file.reopen().expect("opens")).expect("a disk");
        disk.set_len(20_000).expect("grows");
        let mut model = content.clone();
        model.resize(20_000, 0);
        for (offset, length, byte) in [(0, 64, 1), (4_090, 12, 2), (8_000, 9_000, 3), (19_999, 1, 4)] {
            disk.write(offset, &vec![byte; length]).expect("kept");
            model[to_usize(offset)..to_usize(offset) + length].fill(byte);
        }
        for (offset, length) in [(0, 20_000), (4_000, 200), (9_999, 2), (63, 2)] {
            let mut read = vec![9; length];
            disk.read(offset, &mut read).expect("reads");
            assert_eq!(read, model[to_usize(offset)..to_usize(offset) + length]);
        }
        assert_eq!(fs::read(file.path()).expect("reads"), content);
    }
}
