#!/usr/bin/env bash
# redb 4.6.0: a table that is growing asks for as much room again as its whole file has, for one record; and a commit that finds no
# room makes every later write fail, also once there is room, until the database is opened anew. Reads go on.
#
# Seen: a file of 26 MiB asks for 52 MiB where one record of 1 KiB more finds no page, and where a disk has 1 MiB left for it; the commit fails
# with "no storage space". With room again, begin_write fails with "Previous I/O error occurred. Please close and re-open the
# database", and redb does not ask its backend for room again.
#
# It matters where writing must go on beside a disk that fills: half of the disk may be free, and a program that only tries again never
# writes again.
#
# Needs cargo. Runs by itself, in a temporary folder; exit code 1 if redb does otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "growth"
version = "0.0.0"
edition = "2021"

[dependencies]
redb = "=4.6.0"

[workspace]
END
cat >src/main.rs <<'END'
use redb::{backends::InMemoryBackend, Database, ReadableDatabase, StorageBackend, TableDefinition};
use std::sync::{
    atomic::{AtomicU64, Ordering},
    Arc, Mutex,
};

#[derive(Debug)]
struct Told {
    inner: InMemoryBackend,
    lengths: Arc<Mutex<Vec<u64>>>,
    room: Arc<AtomicU64>,
}

impl StorageBackend for Told {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.lengths.lock().unwrap().push(len);
        if self.room.load(Ordering::Relaxed) < len {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.inner.write(offset, data)
    }
}

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");

fn insert(database: &Database, n: u64) -> Result<(), String> {
    let write = database.begin_write().map_err(|error| format!("begin_write: {error}"))?;
    {
        let mut table = write.open_table(TABLE).map_err(|error| format!("open_table: {error}"))?;
        table.insert(n, &[7; 1024][..]).map_err(|error| format!("insert: {error}"))?;
    }
    write.commit().map_err(|error| format!("commit: {error}"))
}

fn read(database: &Database) -> Result<bool, String> {
    let read = database.begin_read().map_err(|error| format!("begin_read: {error}"))?;
    let table = read.open_table(TABLE).map_err(|error| format!("open_table: {error}"))?;
    let found = table.get(0).map_err(|error| format!("get: {error}"))?;
    Ok(found.is_some())
}

fn main() {
    let (lengths, room) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicU64::new(u64::MAX)));
    let backend = Told { inner: InMemoryBackend::new(), lengths: Arc::clone(&lengths), room: Arc::clone(&room) };
    let database = Database::builder().create_with_backend(backend).unwrap();
    let (mut seen, mut n) = (0, 0);
    while n < 12_000 {
        insert(&database, n).unwrap();
        let all = lengths.lock().unwrap().clone();
        for len in &all[seen..] {
            println!("after {n:>5} records of 1 KiB: length {:>5} KiB", len / 1024);
        }
        seen = all.len();
        n += 1;
    }
    room.store(lengths.lock().unwrap()[seen - 1] + (1 << 20), Ordering::Relaxed);
    println!("there is room for 1 MiB more");
    let why = loop {
        match insert(&database, n) {
            Ok(()) => n += 1,
            Err(why) => break why,
        }
    };
    let asked = lengths.lock().unwrap()[seen] / 1024;
    println!("after {n} records: length {asked} KiB is refused: {why}");
    room.store(u64::MAX, Ordering::Relaxed);
    println!("there is room for anything");
    println!("insert: {:?}", insert(&database, n));
    println!("read: {:?}", read(&database));
    println!("asked for more again: {}", seen + 1 < lengths.lock().unwrap().len());
}
END
cargo run --quiet --release | tee seen
cat >wanted <<'END'
after  9790 records of 1 KiB: length 26628 KiB
there is room for 1 MiB more
after 19624 records: length 53252 KiB is refused: commit: I/O error: no storage space
there is room for anything
insert: Err("begin_write: Previous I/O error occurred. Please close and re-open the database.")
read: Ok(true)
asked for more again: false
END
tail -n 7 seen | diff wanted - && echo "redb 4.6.0 still does so"
