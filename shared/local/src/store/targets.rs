//! Targets: each in a row of its own, with its live grants in rows of theirs, so that an ask writes one grant however many
//! there are. What is read is kept decoded: a target is read at every ask, and thousands of rows take longer than a commit.

use super::{
    failed::{Failed, corrupt},
    tables::{GRANTS, GRANTS_LIVE, Open, Version, json, parse},
};
use portcullis_domain::{Grant, Next, Target, TargetId};
use redb::{ReadTransaction, ReadableTable};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How many targets are kept decoded.
const TARGETS_MAX: usize = 1_000;
/// How many grants they have together: some 2 kB each.
const GRANTS_MAX: usize = 20_000;

/// Targets as they were last read or committed.
#[derive(Debug, Default)]
pub struct Decoded(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    targets: BTreeMap<TargetId, KeptTarget>,
    grants: usize,
    uses: u64,
}

#[derive(Debug)]
struct KeptTarget {
    version: u64,
    /// Its own row: what is there now is compared with it, so that a changed file is never covered up.
    row: Vec<u8>,
    target: Target,
    used: u64,
}

impl Decoded {
    /// A target of this version with this row, if that is what is kept.
    pub fn get(&self, id: &TargetId, version: u64, row: &[u8]) -> Option<Target> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let found = kept.targets.get_mut(id).filter(|it| it.version == version && it.row == row)?;
        found.used = now;
        Some(found.target.clone())
    }

    /// Keeps a target that is stored for good, unless a later version is kept.
    pub fn keep(&self, target: Target, version: u64, row: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.targets.get(&target.id).is_some_and(|it| version < it.version) {
            return;
        }
        kept.uses += 1;
        let (id, used) = (target.id.clone(), kept.uses);
        kept.grants += target.grants().len();
        let before = kept.targets.insert(id, KeptTarget { version, row, target, used });
        kept.grants -= before.map_or(0, |it| it.target.grants().len());
        while 1 < kept.targets.len() && (TARGETS_MAX < kept.targets.len() || GRANTS_MAX < kept.grants) {
            let oldest = kept.targets.iter().min_by_key(|(_, it)| it.used).map(|(id, _)| id.clone());
            let gone = oldest.and_then(|id| kept.targets.remove(&id));
            kept.grants -= gone.map_or(0, |it| it.target.grants().len());
        }
    }
}

/// A target as its rows say, with its version, its own row, and how long all of them are, in bytes.
pub struct Rows {
    pub target: Target,
    pub version: u64,
    pub row: Vec<u8>,
    pub bytes: usize,
}

/// A target with its live grants.
pub fn read(
    table: &ReadTransaction,
    id: &str,
    ((version, _), row): (Version, &[u8]),
) -> Result<Rows, Failed> {
    let target: Target = parse("targets", id, row)?;
    let (live, grants) = (table.open_table(GRANTS_LIVE)?, table.open_table(GRANTS)?);
    let (mut held, mut bytes) = (Vec::<Grant>::new(), row.len());
    for found in live.range((id, "")..)? {
        let (key, ()) = found.map(|(key, value)| (key, value.value()))?;
        let (of, grant) = key.value();
        if of != id {
            break;
        }
        let stored = grants.get(grant)?;
        let stored = stored.ok_or_else(|| corrupt("grants_live", grant, &"there is no such grant"))?;
        let json = stored.value().1;
        bytes += json.len();
        held.push(parse("grants", grant, json)?);
    }
    Ok(Rows { target: target.with_grants(held), version, row: row.to_vec(), bytes })
}

/// The row of a target itself.
pub fn row(next: &Next) -> Result<Vec<u8>, Failed> {
    json(&next.target.without_grants())
}

/// Gives each live grant of a file of the layout before the row of its own that makes it one.
pub fn take_grants_out(open: &mut Open<'_>) -> Result<(), Failed> {
    let ids = open.targets.iter()?.map(|found| Ok(found?.0.value().to_owned()));
    let ids = ids.collect::<Result<Vec<String>, redb::StorageError>>()?;
    for id in ids {
        let (version, target) = match open.targets.get(id.as_str())? {
            Some(found) => {
                let (version, row) = found.value();
                // One that cannot be read stays as it is: `verify` names it.
                let Ok(target) = parse::<Target>("targets", &id, row) else { continue };
                (version, target)
            }
            None => continue,
        };
        for (grant, _) in target.grants() {
            open.grants_live.insert((id.as_str(), grant.as_str()), ())?;
        }
        open.targets.insert(id.as_str(), (version, json(&target.without_grants())?.as_slice()))?;
    }
    Ok(())
}
