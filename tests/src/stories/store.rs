//! The table: all-or-nothing commits on versions, and a due index that is kept at every commit.

use super::{
    clock::Space,
    outside::{Outside, unavailable},
    world::World,
};
use crate::given;
use jiff::Timestamp;
use portcullis_app::{
    Error,
    ports::{
        Batch, Cursor, Due, FeedItem, GrantFilter, Page, PageAsked, Rank, RequestFilter, Seen, Store, Turn,
    },
};
use portcullis_domain::{
    Authority, Chain, Entry, Fact, Grant, GrantId, Head, Next, Owner, Request, RequestId, Target, TargetId,
    Told,
};
use portcullis_local::Class;
use std::collections::{BTreeMap, BTreeSet};

/// Lists come in parts as short as this, so that whoever reads them has to go on.
const PAGE_MAX: usize = 2;

/// What is stored.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) targets: BTreeMap<TargetId, Row>,
    pub(super) requests: BTreeMap<RequestId, (Request, Seen)>,
    grants: BTreeMap<GrantId, Grant>,
    /// In the order in which they came.
    asked: Vec<RequestId>,
    granted: Vec<GrantId>,
    rest: Vec<Entry>,
    rest_head: Head,
    authority: Option<Authority>,
    due: BTreeSet<(Timestamp, Due)>,
}

/// One target, with its journal and what that tells.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) target: Target,
    pub(super) version: Seen,
    pub(super) entries: Vec<Entry>,
    pub(super) told: Told,
    pub(super) head: Head,
}

impl Table {
    /// Every grant of a target that ever was.
    pub(super) fn grants_of<'a>(&'a self, target: &'a TargetId) -> impl Iterator<Item = &'a Grant> {
        self.grants.values().filter(move |it| it.target == *target)
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Every entry of every chain.
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.targets.values().flat_map(|row| &row.entries).chain(&self.rest)
    }

    /// Whose name that is, among those who are known.
    pub(super) fn owner(&self, owner: &Owner) -> Option<TargetId> {
        self.targets.values().map(|row| &row.target).find(|it| it.owner() == *owner).map(|it| it.id.clone())
    }

    /// Is nothing of the batch newer than what it was made of?
    fn accepts(&self, batch: &Batch) -> bool {
        let target = |(next, seen): &(Next, Seen)| {
            let row = self.targets.get(&next.target.id);
            let version = row.map_or(Seen::NEVER, |it| it.version);
            let n = row.map_or(0, |it| it.entries.len() as u64);
            let granted = |entry: &Entry| matches!(&entry.fact, Fact::Approved { grant, .. } if self.grants.contains_key(&grant.id));
            version == *seen
                && next.entries.first().is_none_or(|entry| entry.n == n)
                && !next.entries.iter().any(granted)
        };
        let request = |(request, seen): &(Request, Seen)| {
            self.requests.get(&request.id).map_or(Seen::NEVER, |(_, version)| *version) == *seen
        };
        batch.targets.iter().all(target)
            && batch.request.iter().all(request)
            && (batch.authority.is_none() || !batch.rest.is_empty())
            && batch.rest.first().is_none_or(|entry| entry.n == self.rest.len() as u64)
    }

    fn write(&mut self, next: Next, seen: Seen) -> Option<Target> {
        let Next { target, entries, grants } = next;
        for grant in grants {
            let id = grant.id.clone();
            if self.grants.insert(id.clone(), grant).is_none() {
                self.granted.push(id);
            }
        }
        let due = target.due_at().map(|at| (at, Due::Target(target.id.clone())));
        let row = self.targets.entry(target.id.clone());
        let mut before = None;
        let row = row.and_modify(|row| before = Some(row.target.clone())).or_insert_with(|| Row {
            target: target.clone(),
            version: Seen::NEVER,
            entries: vec![],
            told: Told::default(),
            head: Head::default(),
        });
        row.target = target;
        row.version = seen.next();
        row.entries.extend(entries);
        if let Some(at) = before.as_ref().and_then(Target::due_at) {
            self.due.remove(&(at, Due::Target(row.target.id.clone())));
        }
        self.due.extend(due);
        before
    }

    fn write_request(&mut self, request: Request, seen: Seen) -> Option<Request> {
        let due = |it: &Request| it.due_at().map(|at| (at, Due::Request(it.id.clone())));
        let (id, new) = (request.id.clone(), due(&request));
        let before = self.requests.insert(id.clone(), (request, seen.next()));
        if let Some(old) = before.as_ref().and_then(|(it, _)| due(it)) {
            self.due.remove(&old);
        }
        self.due.extend(new);
        if before.is_none() {
            self.asked.push(id);
        }
        before.map(|(it, _)| it)
    }
}

/// A part of a list, the newest first. A cursor is the number of those that came before.
fn part<'a, T: Clone + 'a>(
    all: impl DoubleEndedIterator<Item = &'a T> + ExactSizeIterator,
    fits: impl Fn(&T) -> bool,
    page: &PageAsked,
) -> Page<T> {
    let before = page.after.as_ref().map_or(all.len(), |it| it.0.parse().expect("made here"));
    let mut wanted = all.enumerate().rev().filter(|(n, it)| *n < before && fits(it)).peekable();
    let items: Vec<(usize, &T)> = wanted.by_ref().take(page.at_most).collect();
    let last = items.last().filter(|_| wanted.peek().is_some());
    let next = last.map(|(n, _)| Cursor(n.to_string()));
    Page { items: items.into_iter().map(|(_, it)| it.clone()).collect(), next }
}

impl World {
    /// What there is to store a commit in, as the local table has it: while the disk is full what a caller asks for finds
    /// nothing, what a caller takes away what was kept back, or memory alone, and what settles as much.
    fn space_for(&mut self, batch: &Batch) -> Space {
        let rows = &self.table.targets;
        let class = Class::of(batch, |id| rows.get(id)?.target.policy());
        match (self.space, class) {
            (Space::Enough, _) | (Space::KeptBack, Class::Ends | Class::Settles) => Space::Enough,
            (Space::KeptBack | Space::None, Class::Asks) => Space::None,
            (Space::None, Class::Ends) => Space::KeptBack,
            (Space::None, Class::Settles) => {
                self.oracle.count("stored in memory");
                Space::Enough
            }
        }
    }

    fn commit(&mut self, worker: &Outside, batch: Batch) -> Result<(), Error> {
        let missing = |what| Err(unavailable("store it", what));
        if self.is_table_out {
            self.oracle.count("nothing was stored");
            self.note(worker.actor(), || "meets a table that takes nothing".to_owned());
            return missing("the table takes no commit");
        }
        match self.space_for(&batch) {
            Space::Enough => self.make(worker, batch),
            Space::KeptBack => {
                self.oracle.count("end was not acknowledged");
                self.note(worker.actor(), || "takes away, and is told that it is in memory alone".to_owned());
                self.make(worker, batch).and_then(|()| missing("it is in memory alone"))
            }
            Space::None => {
                self.oracle.count("ask was not stored");
                self.note(worker.actor(), || "finds no space to store that".to_owned());
                missing("no space is left on the disk")
            }
        }
    }

    fn make(&mut self, worker: &Outside, batch: Batch) -> Result<(), Error> {
        if !self.table.accepts(&batch) {
            self.oracle.count("commit lost the race");
            self.note(worker.actor(), || "loses the race for a commit".to_owned());
            return Err(Error::Conflict);
        }
        let now = self.time.now;
        let is_extension = batch.request.is_some();
        for (next, seen) in batch.targets {
            for entry in &next.entries {
                self.note(worker.actor(), || format!("{} #{}: {:?}", entry.chain, entry.n, entry.fact));
            }
            let (id, is_wanted) = (next.target.id.clone(), is_extension || next.entries.iter().any(is_wish));
            let entries = next.entries.clone();
            let before = self.table.write(next, seen);
            let Some(row) = self.table.targets.get_mut(&id) else { continue };
            self.oracle.committed(row, before.as_ref(), (&entries, &self.cloud), worker.worker, now);
            let due_at = row.target.due_at();
            self.log.note(now, worker.actor(), || format!("{id} is due at {due_at:?}"));
            if is_wanted {
                self.watch_the_leases_of(&id);
            }
            self.stream(&Chain::from(&id), entries);
        }
        if let Some((request, seen)) = batch.request {
            self.note(worker.actor(), || {
                format!("request {} of {} is {}", request.id, request.by, request.state.word())
            });
            let before = self.table.write_request(request.clone(), seen);
            self.oracle.decided(before.as_ref(), &request, now);
        }
        if let Some(authority) = batch.authority {
            self.oracle.authorised(&authority, now);
            self.table.authority = Some(authority);
        }
        if !batch.rest.is_empty() {
            for entry in &batch.rest {
                self.note(worker.actor(), || format!("rest #{}: {:?}", entry.n, entry.fact));
                match self.table.rest_head.follow(&Chain::rest(), entry) {
                    Ok(head) => self.table.rest_head = head,
                    Err(bad) => self.oracle.break_rule("journal-equals-state", now, bad),
                }
                self.oracle.recorded(entry, now);
            }
            self.table.rest.extend(batch.rest.iter().cloned());
            self.stream(&Chain::rest(), batch.rest);
        }
        self.oracle.stir();
        Ok(())
    }

    fn watch_the_leases_of(&mut self, id: &TargetId) {
        let Some(row) = self.table.targets.get(id) else { return };
        let edges = row.target.grants().values().flat_map(|it| [it.lease.start(), it.lease.end()]);
        let edges: Vec<i64> =
            edges.map(super::clock::world_ms).filter(|edge| self.time.now < *edge).collect();
        for edge in edges {
            self.time.at(edge, super::clock::Event::Look);
        }
    }
}

/// What changes the leases of a target.
fn is_wish(entry: &Entry) -> bool {
    matches!(
        entry.fact,
        Fact::Approved { .. } | Fact::Extended { .. } | Fact::Ended { .. } | Fact::PolicySet { .. }
    )
}

impl Store for Outside {
    async fn target(&self, id: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        self.call(|world| Ok(world.table.targets.get(id).map(|row| (row.target.clone(), row.version)))).await
    }

    async fn request(&self, id: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        self.call(|world| Ok(world.table.requests.get(id).cloned())).await
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>, Error> {
        self.call(|world| Ok(world.table.grants.get(id).cloned())).await
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        self.call(|world| Ok(world.table.authority.clone())).await
    }

    async fn rest(&self) -> Result<Head, Error> {
        self.call(|world| Ok(world.table.rest_head)).await
    }

    /// As a table whose writers are of many processes: a loser waits a random while, longer each time.
    async fn turn(&self, _: &Chain, rank: Rank, lost: usize) -> Turn {
        if 0 < lost {
            let until = self.world().backs_off(self.worker, rank, lost);
            self.until(until).await;
        }
        Turn::default()
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.call(|world| world.commit(self, batch)).await
    }

    async fn due(&self, until: Timestamp, at_most: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        self.call(|world| {
            let due = world.table.due.iter().take_while(|(at, _)| *at <= until);
            Ok(due.take(at_most).cloned().collect())
        })
        .await
    }

    async fn targets(&self, after: Option<&TargetId>, at_most: usize) -> Result<Vec<Target>, Error> {
        self.call(|world| {
            let rows = world.table.targets.iter().filter(|(id, _)| after.is_none_or(|after| after < *id));
            Ok(rows.take(at_most.min(PAGE_MAX)).map(|(_, row)| row.target.clone()).collect())
        })
        .await
    }

    async fn chains(&self, after: Option<&Chain>, at_most: usize) -> Result<Vec<Chain>, Error> {
        self.call(|world| {
            let rows = world.table.targets.keys().map(Chain::from);
            let rest = (!world.table.rest.is_empty()).then(Chain::rest);
            let mut chains: Vec<Chain> = rows.chain(rest).collect();
            chains.sort();
            chains.retain(|it| after.is_none_or(|after| after < it));
            chains.truncate(at_most.min(PAGE_MAX));
            Ok(chains)
        })
        .await
    }

    async fn requests(&self, of: &RequestFilter, page: &PageAsked) -> Result<Page<Request>, Error> {
        self.call(|world| {
            let Table { requests, asked, .. } = &world.table;
            let fits = |it: &Request| {
                of.by.as_ref().is_none_or(|by| it.by == *by)
                    && of.state.as_ref().is_none_or(|state| it.state.word() == state)
            };
            Ok(part(asked.iter().map(|id| &requests[id].0), fits, page))
        })
        .await
    }

    async fn grants(&self, of: &GrantFilter, page: &PageAsked) -> Result<Page<Grant>, Error> {
        self.call(|world| {
            let Table { grants, granted, .. } = &world.table;
            let fits = |it: &Grant| {
                of.target.as_ref().is_none_or(|target| it.target == *target)
                    && of.request.as_ref().is_none_or(|request| it.request == *request)
                    && of.by.as_ref().is_none_or(|by| it.by == *by)
                    && !(of.unclosed && it.closed_at.is_some())
            };
            Ok(part(granted.iter().map(|id| &grants[id]), fits, page))
        })
        .await
    }

    async fn entries(&self, chain: &Chain, from: u64, at_most: usize) -> Result<Vec<Entry>, Error> {
        self.call(|world| {
            let rows = &world.table.targets;
            let row = rows.values().find(|row| Chain::from(&row.target.id) == *chain);
            let entries = row.map_or(&world.table.rest, |row| &row.entries);
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            Ok(given::in_one_read(entries.iter().skip(from).take(at_most).cloned()))
        })
        .await
    }

    async fn last(&self, chain: &Chain) -> Result<Option<Entry>, Error> {
        self.call(|world| {
            let rows = &world.table.targets;
            let row = rows.values().find(|row| Chain::from(&row.target.id) == *chain);
            Ok(row.map_or(&world.table.rest, |row| &row.entries).last().cloned())
        })
        .await
    }

    async fn feed(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> Result<Vec<FeedItem>, Error> {
        self.call(|world| {
            let all = world.table.entries().filter(|it| since <= it.at);
            let mut items: Vec<FeedItem> =
                all.map(|it| FeedItem { at: it.at, chain: it.chain.clone(), last: it.n }).collect();
            items.retain(|it| after.is_none_or(|after| after < it));
            items.sort();
            items.truncate(at_most);
            Ok(items)
        })
        .await
    }

    async fn recorded(&self, items: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        self.call(|world| {
            let is_it = |it: &&Entry, item: &FeedItem| it.chain == item.chain && it.n == item.last;
            let all = items.iter().filter_map(|item| world.table.entries().find(|it| is_it(it, item)));
            Ok(given::in_one_read(all.cloned()).into_iter().map(|it| vec![it]).collect())
        })
        .await
    }
}
