//! What people look at: packets, activity, and whether the journal is whole.

use crate::{
    Error,
    guard::{known, supported},
    ports::{Firewalls, GrantFilter, Inventory, PageAsked, RequestFilter, Store},
    transact::CONFLICTS_MAX,
};
use portcullis_domain::{
    AcceptedPacket, Authority, BadRecord, Chain, Decision, Entry, Gate, Grant, Head, Packet, Sessions,
    Target, TargetId, Told, Waiting,
};
use std::net::IpAddr;

/// How many targets or entries are read at a time.
const PAGE: usize = 500;
/// How often lists are looked at before they are believed: each may be a moment behind.
const LIST_LOOKS_MAX: usize = 20;

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many chains.
    pub chains: usize,
    /// How many entries.
    pub entries: u64,
    /// The first record of each chain that is not what was written.
    pub bad: Vec<BadRecord>,
}

/// What becomes of a packet to a target, and of the session that it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whether it gets there, and which rule says so.
    pub decision: Decision,
    /// The accepted rule by which it gets there.
    pub accepted: Option<AcceptedPacket>,
    /// What becomes of open sessions when a lease ends.
    pub sessions: Sessions,
    /// Packet filters of others that may still refuse it.
    pub may_refuse: Vec<String>,
    /// What is on the ways and could not be read, in a sentence each.
    pub unread: Vec<String>,
}

/// Whether a packet gets to a target, and which rule says so: the firewalls are asked, not the table. That knows only which
/// rules are accepted, and which machines there are whose catalogue does not list them, or not any more.
pub(crate) async fn check(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    target: &TargetId,
    gate: Gate,
    source: IpAddr,
) -> Result<Checked, Error> {
    let known = store.target(target).await?.map(|(target, _)| target);
    let snapshot = match supported(outside, target).await {
        Err(Error::NotFound { .. }) if known.is_some() => outside.read(target).await?,
        outcome => outcome?.1,
    };
    let packet = Packet { source, protocol: gate.protocol, port: gate.port };
    let decision = snapshot.decide(&target.into(), &packet);
    let accepted = known.and_then(|it| it.accepted_for(&snapshot, &packet, &decision));
    let may_refuse = snapshot.may_refuse(gate);
    Ok(Checked { decision, accepted, sessions: snapshot.sessions, may_refuse, unread: snapshot.unread })
}

/// What happened to a target, or with no target to none, oldest first, from entry `from` on, or without that the newest; and the
/// number of the entry to go on with, if there is more.
pub(crate) async fn activity(
    store: &impl Store,
    inventory: &impl Inventory,
    chain: &Chain,
    from: Option<u64>,
    at_most: usize,
) -> Result<(Vec<Entry>, Option<u64>), Error> {
    if let Some(target) = chain.target() {
        known(store, inventory, &target).await?;
    }
    let from = if let Some(from) = from {
        from
    } else {
        let count = u64::try_from(at_most).unwrap_or(u64::MAX);
        store.last(chain).await?.map_or(0, |last| (last.n + 1).saturating_sub(count))
    };
    let entries = store.entries(chain, from, at_most).await?;
    let Some(next) = entries.last().map(|it| it.n + 1) else { return Ok((entries, None)) };
    // A part that is shorter than asked for may have been cut for its length.
    let is_all = entries.len() < at_most && store.last(chain).await?.is_none_or(|it| it.n < next);
    Ok((entries, (!is_all).then_some(next)))
}

/// Recomputes every chain and compares it with what is stored; needs nothing but the store, and may run
/// beside others who write.
///
/// INVARIANT (journal-equals-state): and so finds what was changed, dropped or reordered.
pub async fn verify(store: &impl Store) -> Result<Verified, Error> {
    let mut verified = Verified { chains: 0, entries: 0, bad: vec![] };
    let mut pending = waiting(store).await?;
    let mut after: Option<TargetId> = None;
    loop {
        let page = store.targets(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for target in page {
            verified.settled(store, Chain::from(&target.id), &mut pending).await?;
        }
    }
    verified.settled(store, Chain::rest(), &mut pending).await?;
    let mut after: Option<Chain> = None;
    loop {
        let page = store.chains(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(verified) };
        after = Some(last.clone());
        for chain in page {
            let is_stored = match chain.target() {
                Some(target) => store.target(&target).await?.is_some(),
                None => true,
            };
            if !is_stored {
                verified.bad.push(BadRecord::NoState { chain });
            }
        }
    }
}

/// What is stored of a chain: where it ends, and of a target the rest of it.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    head: Head,
    target: Option<Target>,
    /// Of the chain of the rest.
    authority: Option<Authority>,
    /// Requests that wait and name the target.
    pending: Vec<Waiting>,
}

impl Stored {
    async fn load(store: &impl Store, chain: &Chain, pending: &[Waiting]) -> Result<Self, Error> {
        let Some(id) = chain.target() else {
            let (head, authority) = (store.rest().await?, store.authority().await?);
            return Ok(Self { head, target: None, authority, pending: vec![] });
        };
        let pending = pending.iter().filter(|it| it.targets.contains(&id)).cloned().collect();
        let target = store.target(&id).await?.map(|(target, _)| target);
        Ok(Self {
            head: target.as_ref().map(Target::head).unwrap_or_default(),
            target,
            authority: None,
            pending,
        })
    }
}

impl Verified {
    /// Somebody may write while we read: what seems wrong is looked at again until nobody did.
    async fn settled(
        &mut self,
        store: &impl Store,
        chain: Chain,
        pending: &mut Vec<Waiting>,
    ) -> Result<(), Error> {
        self.chains += 1;
        let mut stored = Stored::load(store, &chain, pending).await?;
        for _ in 0..CONFLICTS_MAX {
            let bad = match recompute(store, &chain, &stored).await? {
                Ok(entries) => {
                    self.entries += entries;
                    return Ok(());
                }
                Err(bad) => bad,
            };
            *pending = waiting(store).await?;
            let now = Stored::load(store, &chain, pending).await?;
            if now == stored {
                self.bad.push(bad);
                return Ok(());
            }
            stored = now;
        }
        Err(Error::Conflict)
    }
}

/// One chain against what is stored of it: how many entries it has, or its first bad record.
async fn recompute(
    store: &impl Store,
    chain: &Chain,
    stored: &Stored,
) -> Result<Result<u64, BadRecord>, Error> {
    let (mut head, mut told, mut authority) = (Head::default(), Told::default(), Authority::founding());
    while head.n < stored.head.n {
        let left = usize::try_from(stored.head.n - head.n).unwrap_or(PAGE);
        let entries = match store.entries(chain, head.n, PAGE.min(left)).await {
            // One by one, to name the first that cannot be read.
            Err(Error::Broken { .. }) => store.entries(chain, head.n, 1).await,
            outcome => outcome,
        };
        let entries = match entries {
            Err(Error::Broken { .. }) => {
                return Ok(Err(BadRecord::Unreadable { chain: chain.clone(), n: head.n }));
            }
            outcome => outcome?,
        };
        if entries.is_empty() {
            let (chain, wanted, found) = (chain.clone(), stored.head.n, head.n);
            return Ok(Err(BadRecord::CutShort { chain, wanted, found }));
        }
        for entry in &entries {
            head = match head.follow(chain, entry) {
                Ok(head) => head,
                Err(bad) => return Ok(Err(bad)),
            };
            authority.follow(entry);
            let closed = told.hear(entry);
            if let Some(grant) = closed
                && !is_stored(store, &grant).await?
            {
                return Ok(Err(BadRecord::OtherGrant { chain: chain.clone(), grant: grant.id }));
            }
        }
    }
    if head != stored.head {
        return Ok(Err(BadRecord::OtherHead { chain: chain.clone() }));
    }
    match store.entries(chain, head.n, 1).await {
        Ok(beyond) if beyond.is_empty() => {}
        Ok(_) | Err(Error::Broken { .. }) => {
            return Ok(Err(BadRecord::BeyondHead { chain: chain.clone(), n: head.n }));
        }
        Err(error) => return Err(error),
    }
    if stored.target.is_none() && stored.authority.clone().unwrap_or_else(Authority::founding) != authority {
        return Ok(Err(BadRecord::OtherState { chain: chain.clone(), field: "the roles and policies" }));
    }
    Ok(state(store, chain, stored, &told).await?.map(|()| head.n))
}

/// What is stored of a target against what its chain tells.
async fn state(
    store: &impl Store,
    chain: &Chain,
    stored: &Stored,
    told: &Told,
) -> Result<Result<(), BadRecord>, Error> {
    let Some(target) = &stored.target else { return Ok(Ok(())) };
    for grant in target.grants().values() {
        if !is_stored(store, grant).await? {
            return Ok(Err(BadRecord::OtherGrant { chain: chain.clone(), grant: grant.id.clone() }));
        }
    }
    if let Err(bad) = told.agrees_with(target) {
        return Ok(Err(bad));
    }
    let mut pending = stored.pending.clone();
    let mut agrees = listed(store, chain, &target.id, told, &pending).await?;
    for _ in 1..LIST_LOOKS_MAX {
        if agrees.is_ok() {
            break;
        }
        pending = waiting(store).await?;
        pending.retain(|it| it.targets.contains(&target.id));
        agrees = listed(store, chain, &target.id, told, &pending).await?;
    }
    Ok(agrees)
}

/// What lists show of a target, its grants and the requests that wait, against what its chain tells.
async fn listed(
    store: &impl Store,
    chain: &Chain,
    target: &TargetId,
    told: &Told,
    pending: &[Waiting],
) -> Result<Result<(), BadRecord>, Error> {
    let of = GrantFilter { target: Some(target.clone()), ..GrantFilter::default() };
    let (mut stored, mut page) = (0, PageAsked { after: None, at_most: PAGE });
    loop {
        let part = store.grants(&of, &page).await?;
        stored += part.items.len();
        match part.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    if stored == told.granted() {
        return Ok(told.agrees_with_pending(chain, pending));
    }
    Ok(Err(BadRecord::OtherCount { chain: chain.clone(), told: told.granted(), stored }))
}

async fn is_stored(store: &impl Store, grant: &Grant) -> Result<bool, Error> {
    match store.grant(&grant.id).await {
        Ok(stored) => Ok(stored.is_some_and(|it| it.agrees_with(grant))),
        Err(Error::Broken { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Every request that waits.
async fn waiting(store: &impl Store) -> Result<Vec<Waiting>, Error> {
    let of = RequestFilter { state: Some("pending".to_owned()), by: None };
    let (mut waiting, mut page) = (vec![], PageAsked { after: None, at_most: PAGE });
    loop {
        let part = store.requests(&of, &page).await?;
        waiting.extend(part.items.iter().map(Waiting::from));
        match part.next {
            Some(next) => page.after = Some(next),
            None => return Ok(waiting),
        }
    }
}
