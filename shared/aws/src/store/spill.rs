//! Where the live grants of a target stand: a few in its own item, so that a life costs what it always did; more than that
//! in chunks, items of the same partition. An item has at most 400 KB, and a transaction at most 100 items.
//!
//! The target's item says which chunks there are, and by which version of the target each was written last. So its condition
//! holds for all of them, and a reader that meets a commit between two reads knows it.

use super::items::{Key, body_packed, s, sized, whole};
use super::{DynamoStore, Item, READ, commit, corrupt, items::VERSION};
use aws_sdk_dynamodb::types::{AttributeValue, builders::PutBuilder};
use futures_util::future::try_join_all;
use portcullis_app::{Error, ports::Seen};
use portcullis_domain::{Grant, GrantId, Next, Target, TargetId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// Which chunks a target has: the attribute of its item, as JSON.
pub const SPILLED: &str = "spilled";

/// How long the grants in a target's own item may get, in bytes as JSON, before they are put into a chunk: each commit
/// writes all of that item.
const INLINE_MAX: usize = 32 * 1024;
/// How long a chunk may get by that; a single grant may be longer, and what becomes of grants needs room too.
const CHUNK_MAX: usize = 160 * 1024;
/// A commit to more targets than this spills nothing: its other items leave no room for chunks. The next commit to one
/// of them alone does.
const TARGETS_MAX: usize = 8;
/// How many spilled targets are remembered.
const REMEMBERED_MAX: usize = 1_000;
/// How often a target is read that others write to meanwhile.
const LOOKS_MAX: usize = 10;

/// The chunks of one version of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spilled {
    version: u64,
    chunks: BTreeMap<u16, Chunk>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chunk {
    /// The version of the target that it was written with.
    version: u64,
    grants: BTreeSet<GrantId>,
    bytes: usize,
}

/// What this process knows of spilled targets, from its last read or commit of each. A target that it does not know is taken
/// for one without chunks, and the condition of the commit says whether that is so.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<BTreeMap<TargetId, Spilled>>);

impl Remembered {
    pub fn get(&self, id: &TargetId, seen: Seen) -> Option<Spilled> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).filter(|it| it.version == seen.0).cloned()
    }

    pub fn set(&self, id: &TargetId, spilled: Option<Spilled>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match spilled {
            Some(spilled) => {
                if REMEMBERED_MAX <= known.len() && !known.contains_key(id) {
                    known.clear();
                }
                known.insert(id.clone(), spilled);
            }
            None => drop(known.remove(id)),
        }
    }
}

/// How a target is written: what stays in its own item, and which chunks are written beside it.
pub struct Layout<'a> {
    pub inline: Target,
    /// Nothing where the target has no chunk.
    pub spilled: Option<Spilled>,
    chunks: BTreeMap<u16, Vec<&'a Grant>>,
}

impl<'a> Layout<'a> {
    /// What is to be written over `before`, in a commit to so many targets.
    ///
    /// Only chunks that hold a changed grant are written, and one that takes what is spilled now.
    pub fn of(next: &'a Next, seen: Seen, before: Option<&Spilled>, targets: usize) -> Result<Self, Error> {
        let version = seen.next().0;
        let mut spilled = before.cloned().unwrap_or_default();
        let changed: BTreeSet<&GrantId> = next.grants.iter().map(|it| &it.id).collect();
        let is_touched = |it: &Chunk| it.grants.iter().any(|id| changed.contains(id));
        let mut touched: BTreeSet<u16> =
            spilled.chunks.iter().filter(|(_, it)| is_touched(it)).map(|(n, _)| *n).collect();
        let live = next.target.grants();
        for chunk in spilled.chunks.values_mut() {
            chunk.grants.retain(|id| live.get(id).is_some());
        }
        let elsewhere: BTreeSet<&GrantId> = spilled.chunks.values().flat_map(|it| &it.grants).collect();
        let inline: Vec<&Grant> = live.values().filter(|it| !elsewhere.contains(&it.id)).collect();
        let lengths = inline.iter().map(|it| length(it)).collect::<Result<Vec<usize>, _>>()?;
        let is_spilling = targets <= TARGETS_MAX && INLINE_MAX < lengths.iter().sum::<usize>();
        let mut inline = inline.into_iter().zip(lengths).collect::<Vec<_>>();
        let stays = if is_spilling { vec![] } else { std::mem::take(&mut inline) };
        for (grant, length) in inline {
            let n = spilled.roomiest(length, &touched);
            let chunk = spilled.chunks.entry(n).or_default();
            chunk.grants.insert(grant.id.clone());
            chunk.bytes += length;
            touched.insert(n);
        }
        let mut chunks = BTreeMap::new();
        for n in touched {
            let Some(chunk) = spilled.chunks.get_mut(&n) else { continue };
            let held: Vec<&Grant> = chunk.grants.iter().filter_map(|id| live.get(id)).collect();
            let lengths = held.iter().map(|it| length(it)).sum::<Result<usize, _>>()?;
            (chunk.version, chunk.bytes) = (version, lengths);
            chunks.insert(n, held);
        }
        // What is empty is written once more, so that its room is not paid for, and then no longer named.
        spilled.chunks.retain(|_, it| !it.grants.is_empty());
        spilled.version = version;
        let inline = next.target.without_grants().with_grants(stays.into_iter().map(|(it, _)| it.clone()));
        Ok(Self { inline, spilled: (!spilled.chunks.is_empty()).then_some(spilled), chunks })
    }

    /// The chunks that are written, as items.
    pub fn puts(&self, table: &str, version: u64) -> Result<Vec<PutBuilder>, Error> {
        let id = &self.inline.id;
        let put = |(n, grants): (&u16, &Vec<&Grant>)| {
            let item = commit::put(table, &Key::chunk(id, *n));
            Ok(item.item(super::BODY, body_packed(grants)?).item(VERSION, super::items::n(version)))
        };
        self.chunks.iter().map(put).collect()
    }
}

impl Spilled {
    /// The chunk that a grant of this length goes to: one that is written anyway if it has room, else the one with most
    /// room, else a new one.
    fn roomiest(&self, length: usize, touched: &BTreeSet<u16>) -> u16 {
        let fits = self.chunks.iter().filter(|(_, it)| it.bytes + length <= CHUNK_MAX);
        let found = fits.min_by_key(|(n, it)| (!touched.contains(n), it.bytes)).map(|(n, _)| *n);
        found.unwrap_or_else(|| (0..=u16::MAX).find(|n| !self.chunks.contains_key(n)).unwrap_or(u16::MAX))
    }

    /// As the target's item names it.
    pub fn attribute(&self) -> Result<AttributeValue, Error> {
        let versions: BTreeMap<u16, u64> = self.chunks.iter().map(|(n, it)| (*n, it.version)).collect();
        let json = serde_json::to_string(&versions);
        Ok(s(json.map_err(|error| Error::Broken { doing: "write a record as JSON", source: error.into() })?))
    }
}

impl DynamoStore {
    /// A target as its item and its chunks say, with its version, and how long it is as JSON; nothing where it is not there.
    pub(super) async fn assembled(
        &self,
        id: &TargetId,
        item: Option<Item>,
    ) -> Result<Option<(Target, Seen, usize)>, Error> {
        let mut found = item;
        for _ in 0..LOOKS_MAX {
            let Some(item) = found else { return Ok(None) };
            let (inline, mut bytes): (Target, usize) = sized(&item)?;
            let version = whole(&item, VERSION)?;
            let Some(named) = item.get(SPILLED) else {
                self.remembered.set(id, None);
                return Ok(Some((inline, Seen(version), bytes)));
            };
            let versions = named.as_s().ok().and_then(|it| serde_json::from_str(it).ok());
            let versions: BTreeMap<u16, u64> =
                versions.ok_or_else(|| corrupt(&item, &"it has no list of its chunks"))?;
            let items =
                try_join_all(versions.keys().map(|n| async move { self.get(&Key::chunk(id, *n)).await }));
            let (mut spilled, mut held) = (Spilled { version, chunks: BTreeMap::new() }, vec![]);
            for ((n, written), chunk) in versions.iter().zip(items.await?) {
                let Some(chunk) = chunk.filter(|it| whole(it, VERSION).ok() == Some(*written)) else { break };
                let (grants, length): (Vec<Grant>, usize) = sized(&chunk)?;
                bytes += length;
                let ids = grants.iter().map(|it| it.id.clone()).collect();
                spilled.chunks.insert(*n, Chunk { version: *written, grants: ids, bytes: length });
                held.extend(grants);
            }
            if spilled.chunks.len() == versions.len() {
                self.remembered.set(id, Some(spilled));
                return Ok(Some((inline.with_grants(held), Seen(version), bytes)));
            }
            // Another commit came between: its version of the target says which chunks belong to it.
            found = self.get(&Key::target(id)).await?;
        }
        let source = format!("`{id}` was changed during each of {LOOKS_MAX} reads").into();
        Err(Error::Unavailable { doing: READ, source })
    }
}

fn length(grant: &Grant) -> Result<usize, Error> {
    let json = serde_json::to_vec(grant);
    Ok(json.map_err(|error| Error::Broken { doing: "write a record as JSON", source: error.into() })?.len())
}
