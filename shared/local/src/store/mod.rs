//! The table in one file, with redb: durable before it answers, whole or not at all.
//!
//! Reads see the last commit and never wait; they go to memory or the page cache, so they are not
//! handed to another thread. Writes share transactions.

mod class;
mod commit;
mod disk;
mod failed;
mod feed;
mod file;
mod people;
mod reserve;
pub(crate) mod tables;
mod targets;
mod transaction;
mod turns;
mod writer;

pub use class::Class;
pub(crate) use commit::{append, rest_head};
use commit::{of_request, of_target};
use disk::Room;
pub(crate) use failed::Failed;
use failed::{corrupt, unavailable};
use file::{File, mib};
use jiff::{SignedDuration, Timestamp};
use people::of_person;
use portcullis_app::{
    Disk, Error, Finding,
    ports::{
        Batch, Cursor, Due, FeedItem, GrantFilter, PART_BYTES_MAX, Page, PageAsked, Rank, RequestFilter,
        Seen, Store, Turn,
    },
};
use portcullis_domain::{
    Authority, Cause, Chain, Delay, Entry, Fact, Grant, GrantId, Head, Hindrance, Request, RequestId, Target,
    TargetId,
};
use redb::{ReadTransaction, ReadableDatabase};
use std::{collections::BTreeMap, fmt, ops::Bound, path::Path, sync::Arc, time::Duration};
pub(crate) use tables::Open;
use tables::{DUE_TARGET, LAYOUT, META_AUTHORITY, META_LAYOUT, META_REST, json, nanos, parse};
use targets::Decoded;
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};
use turns::Turns;
use writer::{Standing, Writer};

/// How many listed items one page may look at: a filter that fits few gives short pages, not long waits.
const LOOKED_AT_MAX: usize = 10_000;

/// For how long a write that was made is proof enough that one can be made.
const PROBE_EVERY: Duration = Duration::from_secs(3);
/// How long a write may take before the disk is taken to hang.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// The table in one file. One process at a time: the file is locked.
pub struct RedbStore {
    // Dropped first: its thread holds the file too.
    writer: Writer,
    file: Arc<File>,
    turns: Turns,
    decoded: Decoded,
}

impl RedbStore {
    /// Opens the file, or makes it. `Unavailable` if another process has it open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Arc::new(File::open(path)?);
        let writer = Writer::start(Arc::clone(&file))?;
        Ok(Self { writer, file, turns: Turns::default(), decoded: Decoded::default() })
    }

    /// Can it be read and written? `Unavailable` if not. A write is tried, unless one was made a moment ago.
    pub async fn probe(&self) -> Result<(), Error> {
        self.rest().await?;
        if self.writer.wrote_within(PROBE_EVERY) {
            return Ok(());
        }
        let again = |open: &mut Open<'_>| {
            open.meta.insert(META_LAYOUT, json(&LAYOUT)?.as_slice())?;
            Ok(vec![])
        };
        let hangs =
            |_| unavailable("write the table")(format!("its disk has not answered for {PROBE_MAX:?}").into());
        timeout(PROBE_MAX, self.write(Class::Asks, again)).await.map_err(hangs)?
    }

    /// How the table stands with its disk, in short.
    pub fn disk(&self) -> Disk {
        if self.writer.standing() != Standing::Sound {
            let why = self.writer.outage().map_or_else(String::new, |(_, _, why)| why);
            return Disk::Failed { why };
        }
        match self.file.room() {
            Ok(Room { left, wanted }) if left < wanted => {
                Disk::Low { left_mib: left >> 20, wanted_mib: wanted >> 20 }
            }
            Ok(_) => Disk::Sound,
            Err(error) => Disk::Failed { why: error.full() },
        }
    }

    /// How the table stands with its disk, for a checkup.
    pub fn checkup(&self) -> Finding {
        const CHECK: &str = "disk";
        let room = match self.file.room() {
            Ok(room) => room,
            Err(error) => return Finding::failed(CHECK, error.full(), "check whether its disk is mounted"),
        };
        let Room { left, wanted } = room;
        let found = format!("it has {} left; the table needs {} when it next grows", mib(left), mib(wanted));
        match self.writer.standing() {
            Standing::Sound if wanted <= left => Finding::ok(CHECK, found),
            Standing::Sound => Finding::warning(CHECK, found, "free some space, before callers are refused"),
            Standing::Low => {
                let advice = "free some space: callers are refused, and leases still end in reserved space";
                Finding::failed(CHECK, format!("it is full: {found}"), advice)
            }
            Standing::Unwritten | Standing::Down => {
                let advice = "check the disk: leases still end, and are recorded once it can be written";
                Finding::failed(CHECK, format!("the table cannot be written: {found}"), advice)
            }
        }
    }

    /// What of its disk kept it from being written lately, by what time it is now.
    pub fn hindrance(&self, now: Timestamp) -> Option<Hindrance> {
        let (from, to, why) = self.writer.outage()?;
        let before = |ago: Duration| {
            let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
            now.saturating_sub(ago).unwrap_or(Timestamp::MIN)
        };
        Some(Hindrance { from: before(from), to: before(to), delay: Delay::of(Cause::DiskFull, &why) })
    }

    /// Everything that is committed from now on, a commit at a time.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<[Entry]>> {
        self.writer.subscribe()
    }

    /// Changes with everything that is committed from now on.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.writer.commits()
    }

    pub(crate) fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Failed>,
    ) -> Result<T, Error> {
        let read = |opened: &file::Opened| {
            opened.database.begin_read().map_err(Failed::from).and_then(|table| look(&table))
        };
        self.file.with(read)?.map_err(|failed| failed.told("read the table"))
    }

    pub(crate) async fn write(
        &self,
        class: Class,
        write: impl Fn(&mut Open<'_>) -> Result<Vec<Entry>, Failed> + Send + 'static,
    ) -> Result<(), Error> {
        self.writer.write(class, write).await
    }

    /// What a batch is for. Only where it sets a policy has the table to be asked.
    async fn class(&self, batch: &Batch) -> Class {
        let mut before = BTreeMap::new();
        for (next, _) in &batch.targets {
            let sets = |it: &Entry| matches!(it.fact, Fact::PolicySet { policy: Some(_), .. });
            if next.entries.iter().any(sets)
                && let Ok(Some((target, _))) = self.target(&next.target.id).await
            {
                before.insert(target.id.clone(), target);
            }
        }
        Class::of(batch, |id| before.get(id)?.policy())
    }
}

impl Store for RedbStore {
    async fn target(&self, id: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        self.read(|table| {
            let rows = table.open_table(tables::TARGETS)?;
            let Some(found) = rows.get(id.as_str())? else { return Ok(None) };
            let (version, row) = found.value();
            if let Some(target) = self.decoded.get(id, version.0, row) {
                return Ok(Some((target, Seen(version.0))));
            }
            let read = targets::read(table, id.as_str(), (version, row))?;
            self.decoded.keep(read.target.clone(), read.version, read.row);
            Ok(Some((read.target, Seen(version.0))))
        })
    }

    async fn request(&self, id: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        self.read(|table| {
            let requests = table.open_table(tables::REQUESTS)?;
            let Some(found) = requests.get(id.as_str())? else { return Ok(None) };
            let ((version, _), _, value) = found.value();
            Ok(Some((parse("requests", id.as_str(), value)?, Seen(version))))
        })
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Error> {
        self.read(|table| grant(table, id.as_str()))
    }

    async fn rest(&self) -> Result<Head, Error> {
        self.read(|table| match table.open_table(tables::META)?.get(META_REST)? {
            Some(head) => Ok(parse("meta", META_REST, head.value())?),
            None => Ok(Head::default()),
        })
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        self.read(|table| match table.open_table(tables::META)?.get(META_AUTHORITY)? {
            Some(authority) => Ok(Some(parse("meta", META_AUTHORITY, authority.value())?)),
            None => Ok(None),
        })
    }

    async fn turn(&self, chain: &Chain, rank: Rank, _: usize) -> Turn {
        self.turns.take(chain, rank).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let class = self.class(&batch).await;
        let rows = batch.targets.iter().map(|(next, _)| targets::row(next)).collect::<Result<Vec<_>, _>>();
        let rows = Arc::new(rows.map_err(|failed| failed.told("write the table"))?);
        let (batch, written) = (Arc::new(batch), Arc::clone(&rows));
        let writing = Arc::clone(&batch);
        self.write(class, move |open| commit::commit(&writing, &written, open)).await?;
        // Only now: what was not made durable may be another version of the same number.
        for ((next, seen), row) in batch.targets.iter().zip(rows.iter()) {
            self.decoded.keep(next.target.clone(), seen.next().0, row.clone());
        }
        Ok(())
    }

    async fn due(&self, until: Timestamp, at_most: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        self.read(|table| {
            let index = table.open_table(tables::DUE)?;
            let until = (nanos(until) + 1, DUE_TARGET, "");
            let mut due = vec![];
            for found in index.range(..until)?.take(at_most) {
                let (key, _) = found?;
                let (at, kind, id) = key.value();
                let at = Timestamp::from_nanosecond(at).map_err(|error| corrupt("due", id, &error))?;
                let what = match kind {
                    DUE_TARGET => Due::Target(name("due", id)?),
                    _ => Due::Request(name("due", id)?),
                };
                due.push((at, what));
            }
            Ok(due)
        })
    }

    async fn targets(&self, after: Option<&TargetId>, at_most: usize) -> Result<Vec<Target>, Error> {
        self.read(|table| {
            let rows = table.open_table(tables::TARGETS)?;
            let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_str()));
            let (mut listed, mut bytes) = (vec![], 0);
            for found in rows.range::<&str>((from, Bound::Unbounded))?.take(at_most) {
                let (id, value) = found?;
                let read = targets::read(table, id.value(), value.value())?;
                bytes += read.bytes;
                if PART_BYTES_MAX < bytes && !listed.is_empty() {
                    break;
                }
                listed.push(read.target);
            }
            Ok(listed)
        })
    }

    async fn chains(&self, after: Option<&Chain>, at_most: usize) -> Result<Vec<Chain>, Error> {
        self.read(|table| {
            let entries = table.open_table(tables::ENTRIES)?;
            let mut chains: Vec<Chain> = vec![];
            // From the end of one chain straight to the next: entries are not walked through.
            while chains.len() < at_most {
                let from = match chains.last().or(after) {
                    Some(chain) => Bound::Excluded((chain.as_str(), u64::MAX)),
                    None => Bound::Unbounded,
                };
                let mut rest = entries.range::<(&str, u64)>((from, Bound::Unbounded))?;
                let Some(found) = rest.next() else { break };
                let (key, _) = found?;
                chains.push(name("entries", key.value().0)?);
            }
            Ok(chains)
        })
    }

    async fn requests(&self, of: &RequestFilter, asked: &PageAsked) -> Result<Page<Request>, Error> {
        let before = before(asked)?;
        clock_first().await;
        self.read(|table| {
            let requests = table.open_table(tables::REQUESTS)?;
            let listed = table.open_table(tables::REQUESTS_LISTED)?;
            let newest = listed
                .range(..before)?
                .rev()
                .map(|found| found.map(|(n, id)| (n.value(), id.value().to_owned())));
            page(newest, asked.at_most, |id| {
                let Some(found) = requests.get(id)? else { return Ok(None) };
                let value = found.value().2;
                let request: Request = parse("requests", id, value)?;
                let fits = of.state.as_ref().is_none_or(|state| request.state.word() == state)
                    && of.by.as_ref().is_none_or(|by| request.by == *by);
                Ok(fits.then_some((request, value.len())))
            })
        })
    }

    async fn grants(&self, of: &GrantFilter, asked: &PageAsked) -> Result<Page<Grant>, Error> {
        let before = before(asked)?;
        // The index that narrows most; what else is asked for is looked at one by one.
        let whose = of.request.as_ref().map(|it| of_request(it.as_str()));
        let whose = whose.or_else(|| of.target.as_ref().map(|it| of_target(it.as_str())));
        let whose = whose.or_else(|| of.by.as_ref().map(of_person).filter(|_| !of.unclosed));
        clock_first().await;
        self.read(|table| {
            let fitting = |id: &str| {
                let found = sized_grant(table, id)?;
                Ok(found.filter(|(it, _)| {
                    of.target.as_ref().is_none_or(|target| it.target == *target)
                        && of.request.as_ref().is_none_or(|request| it.request == *request)
                        && of.by.as_ref().is_none_or(|by| it.by == *by)
                        && !(of.unclosed && it.closed_at.is_some())
                }))
            };
            if let Some(whose) = whose {
                let index = table.open_table(tables::GRANTS_OF)?;
                let range = index.range((whose.as_str(), 0)..(whose.as_str(), before))?;
                let newest =
                    range.rev().map(|found| found.map(|(n, id)| (n.value().1, id.value().to_owned())));
                return page(newest, asked.at_most, fitting);
            }
            let listed = if of.unclosed { tables::GRANTS_UNCLOSED } else { tables::GRANTS_LISTED };
            let listed = table.open_table(listed)?;
            let newest = listed
                .range(..before)?
                .rev()
                .map(|found| found.map(|(n, id)| (n.value(), id.value().to_owned())));
            page(newest, asked.at_most, fitting)
        })
    }

    async fn entries(&self, chain: &Chain, from: u64, at_most: usize) -> Result<Vec<Entry>, Error> {
        clock_first().await;
        self.read(|table| {
            let entries = table.open_table(tables::ENTRIES)?;
            let (mut listed, mut bytes) = (vec![], 0);
            for found in entries.range((chain.as_str(), from)..=(chain.as_str(), u64::MAX))?.take(at_most) {
                let (key, value) = found?;
                let (chain, n) = key.value();
                bytes += value.value().len();
                if PART_BYTES_MAX < bytes && !listed.is_empty() {
                    break;
                }
                listed.push(parse("entries", &format!("{chain} {n}"), value.value())?);
            }
            Ok(listed)
        })
    }

    async fn last(&self, chain: &Chain) -> Result<Option<Entry>, Error> {
        self.read(|table| {
            let entries = table.open_table(tables::ENTRIES)?;
            let mut all = entries.range((chain.as_str(), 0)..=(chain.as_str(), u64::MAX))?;
            let Some(found) = all.next_back() else { return Ok(None) };
            let (key, value) = found?;
            let (chain, n) = key.value();
            Ok(Some(parse("entries", &format!("{chain} {n}"), value.value())?))
        })
    }

    async fn feed(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> Result<Vec<FeedItem>, Error> {
        clock_first().await;
        self.read(|table| feed::list(table, since, after, at_most))
    }

    async fn recorded(&self, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        clock_first().await;
        self.read(|table| feed::recorded(table, items))
    }
}

/// Whoever reads a long list part by part must not keep the clock waiting.
async fn clock_first() {
    tokio::task::yield_now().await;
}

/// The next part of a list, where everything listed can be loaded or does not fit.
fn page<T>(
    newest: impl Iterator<Item = Result<(u64, String), redb::StorageError>>,
    at_most: usize,
    mut fitting: impl FnMut(&str) -> Result<Option<(T, usize)>, Failed>,
) -> Result<Page<T>, Failed> {
    let (mut page, mut bytes) = (Page { items: vec![], next: None }, 0);
    let mut last = None;
    for (looked_at, found) in newest.enumerate() {
        if page.items.len() == at_most || looked_at == LOOKED_AT_MAX || PART_BYTES_MAX < bytes {
            page.next = last.map(|number: u64| Cursor(number.to_string()));
            break;
        }
        let (number, id) = found?;
        if let Some((item, length)) = fitting(&id)? {
            page.items.push(item);
            bytes += length;
        }
        last = Some(number);
    }
    Ok(page)
}

/// The number in the list that a page ends before.
fn before(asked: &PageAsked) -> Result<u64, Error> {
    match &asked.after {
        None => Ok(u64::MAX),
        Some(Cursor(text)) => {
            text.parse().map_err(|_| Error::NotFound { what: "page after", name: text.clone() })
        }
    }
}

fn grant(table: &ReadTransaction, id: &str) -> Result<Option<Grant>, Failed> {
    Ok(sized_grant(table, id)?.map(|(grant, _)| grant))
}

/// A grant, and how long it is as JSON.
fn sized_grant(table: &ReadTransaction, id: &str) -> Result<Option<(Grant, usize)>, Failed> {
    let grants = table.open_table(tables::GRANTS)?;
    let Some(found) = grants.get(id)? else { return Ok(None) };
    let value = found.value().1;
    Ok(Some((parse("grants", id, value)?, value.len())))
}

/// A name that was stored, and so was one.
fn name<T: std::str::FromStr<Err: fmt::Display>>(table: &'static str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|error| corrupt(table, text, &error))
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedbStore")
    }
}
