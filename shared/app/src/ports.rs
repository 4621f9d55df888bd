//! What the use cases need from outside. The doc comments are the contract; one suite of tests runs on
//! every implementation.

mod adoptable;
mod event;
mod feed;
mod turn;

pub use adoptable::{Adoptable, AdoptableMachine, AdoptablePort, AdoptableRule, Adoptables};
pub use event::{Detail, Event};
pub use feed::FeedItem;
pub use turn::{Rank, Turn};

use crate::{BadToken, BoxError, Error, Principal};
use jiff::Timestamp;
pub use portcullis_domain::Os;
use portcullis_domain::{
    Authority, Chain, Change, Entry, Etag, Finding, FirewallId, Grant, GrantId, Head, MachineFacts, Next,
    Person, Request, RequestId, RuleName, Snapshot, Speaker, Target, TargetId, Token, TokenTerms,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, future::Future, net::IpAddr, str::FromStr};

/// The table. Every call may fail before or after it took effect.
pub trait Store: Send + Sync {
    /// Strongly consistent: sees every commit that took effect before it was called.
    fn target(&self, id: &TargetId) -> impl Future<Output = Result<Option<(Target, Seen)>, Error>> + Send;

    /// Strongly consistent.
    fn request(&self, id: &RequestId) -> impl Future<Output = Result<Option<(Request, Seen)>, Error>> + Send;

    /// A grant as it was last committed, also one that is closed.
    fn grant(&self, id: &GrantId) -> impl Future<Output = Result<Option<Grant>, Error>> + Send;

    /// Where the chain of what concerns no target ends. Strongly consistent.
    fn rest(&self) -> impl Future<Output = Result<Head, Error>> + Send;

    /// The authority as it was last committed; none where nobody ever changed it. Strongly consistent.
    fn authority(&self) -> impl Future<Output = Result<Option<Authority>, Error>> + Send;

    /// A turn at a chain, for a writer that is about to load its target and commit over it. `lost` is how often in a row
    /// the writer has lost to another one at that.
    ///
    /// It only spares a loser its work: what is written stands under the conditions of [`Self::commit`] all the same. A
    /// table whose writers are all in this process gives one turn at a time, by rank and then by arrival; a caller that
    /// stops waiting loses its place. Any other table lets a loser wait a while, longer each time.
    fn turn(&self, _: &Chain, _: Rank, _lost: usize) -> impl Future<Output = Turn> + Send {
        async { Turn::default() }
    }

    /// Writes all of the batch, with its due times, or nothing at all; durable before it answers.
    ///
    /// `Conflict` if anybody wrote one of its items since it was seen, if an entry of its number
    /// exists, or if it approves a grant that ever existed (INVARIANT: granted-once).
    /// An item that was written has the version [`Seen::next`].
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<(), Error>> + Send;

    /// At most `at_most` things that are due by `until`, each with its due time, longest due first; from an
    /// index and never by a scan.
    ///
    /// The index may be a moment behind the table, either way: what was just committed may be missing, and
    /// what was just done may still be in it. Whoever hangs on it looks again.
    fn due(
        &self,
        until: Timestamp,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<(Timestamp, Due)>, Error>> + Send;

    /// Targets that were ever guarded, by id, after `after`: at most `at_most`, fewer where they are longer together
    /// than [`PART_BYTES_MAX`], and none at the end.
    fn targets(
        &self,
        after: Option<&TargetId>,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<Target>, Error>> + Send;

    /// Every chain that has an entry, by name, after `after`.
    fn chains(
        &self,
        after: Option<&Chain>,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<Chain>, Error>> + Send;

    /// Requests, the newest first; a page of them ends where it is longer than [`PART_BYTES_MAX`].
    fn requests(
        &self,
        of: &RequestFilter,
        page: &PageAsked,
    ) -> impl Future<Output = Result<Page<Request>, Error>> + Send;

    /// Grants, the newest first; the same.
    fn grants(
        &self,
        of: &GrantFilter,
        page: &PageAsked,
    ) -> impl Future<Output = Result<Page<Grant>, Error>> + Send;

    /// At most `at_most` entries of a chain, from number `from` on; fewer where they are longer together than
    /// [`PART_BYTES_MAX`], and none at the end.
    fn entries(
        &self,
        chain: &Chain,
        from: u64,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<Entry>, Error>> + Send;

    /// The last entry of a chain, in one read; nothing where it has none.
    fn last(&self, chain: &Chain) -> impl Future<Output = Result<Option<Entry>, Error>> + Send;

    /// Items of the feed at or after a time, by time, and after `after` where that is given; fewer than `at_most` is the
    /// end. Every entry is in one item. Items of one time come in an order of the table's own, always the same.
    ///
    /// An item has the time of its entries, not that of its commit, and the feed may be an index that is a moment behind: a
    /// reader finds an item later at a time that it has read already.
    fn feed(
        &self,
        since: Timestamp,
        after: Option<&FeedItem>,
        at_most: usize,
    ) -> impl Future<Output = Result<Vec<FeedItem>, Error>> + Send;

    /// The entries of items of the feed, item by item; of fewer items, but of one at least, where they are longer together
    /// than [`PART_BYTES_MAX`].
    fn recorded(&self, items: &[FeedItem]) -> impl Future<Output = Result<Vec<Vec<Entry>>, Error>> + Send;

    /// The time from which on the feed has every entry. Entries before it are in their chains alone, if the table is older
    /// than its feed.
    fn feed_begins(&self) -> impl Future<Output = Result<Timestamp, Error>> + Send {
        async { Ok(Timestamp::MIN) }
    }
}

/// How long the records of one read are together, in bytes as JSON; a single record may be longer. The number of
/// records does not say how much memory they take: one entry may name thousands of ranges.
pub const PART_BYTES_MAX: usize = 1 << 20;

/// The version of an item that was loaded. Spent by committing over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen(pub u64);

/// What is written together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Targets, each with the version that it replaces.
    pub targets: Vec<(Next, Seen)>,
    /// A request, with the version that it replaces.
    pub request: Option<(Request, Seen)>,
    /// Entries that concern no target.
    pub rest: Vec<Entry>,
    /// The authority, whose change is among the entries of the rest: a batch with it and without them is refused as a conflict.
    pub authority: Option<Authority>,
}

/// Something that somebody has to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A target, to be settled.
    Target(TargetId),
    /// A pending request, to lapse.
    Request(RequestId),
}

/// Which requests.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only those in this state, as [`portcullis_domain::RequestState::word`] says it.
    pub state: Option<String>,
    /// Only theirs.
    pub by: Option<Person>,
}

/// Which grants.
#[derive(Debug, Clone, Default)]
pub struct GrantFilter {
    /// Only those of this target.
    pub target: Option<TargetId>,
    /// Only those of this request.
    pub request: Option<RequestId>,
    /// Only theirs.
    pub by: Option<Person>,
    /// Only those that are not closed.
    pub unclosed: bool,
}

/// Which part of a long list.
#[derive(Debug, Clone)]
pub struct PageAsked {
    /// Where the part before ended.
    pub after: Option<Cursor>,
    /// How long a part may be.
    pub at_most: usize,
}

/// A part of a long list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Where to go on; nothing at the end of the list.
    pub next: Option<Cursor>,
}

/// A place in a list. Opaque to everybody but the store that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// Whatever holds rules. Every call may fail before or after it took effect, and a write may take
/// effect minutes later, even if its caller is long dead.
pub trait Firewalls: Send + Sync {
    /// Every firewall on the ways to the target, with who is connected where that is known. At least one, but
    /// for a target that was there, is known to be gone, and has no rule of ours left.
    ///
    /// `NotFound` for a target that never existed, `Broken` for one that nothing can guard and that has no rule
    /// of ours.
    fn read(&self, target: &TargetId) -> impl Future<Output = Result<Snapshot, Error>> + Send;

    /// Every rule of ours in every firewall that can be seen, for whichever target, with what it tells of itself.
    fn ours(&self) -> impl Future<Output = Result<Vec<OurRule>, Error>> + Send;

    /// Makes the changes in their order. Writing twice is once; deleting the absent succeeds. Whoever settles sends what
    /// only shuts in a call of its own, before what opens.
    ///
    /// `Conflict` if a rule is not the one that its `if_match` names, or its priority is in use. What
    /// came before the change that failed may have been written: a read tells.
    fn write(
        &self,
        target: Option<&TargetId>,
        changes: &[Change],
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A rule of ours that was found somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurRule {
    /// Where.
    pub firewall: FirewallId,
    /// Which.
    pub name: RuleName,
    /// Its version.
    pub etag: Option<Etag>,
    /// Until when an allow itself says that it is wanted; nothing where that cannot be read, and for a lock.
    pub until: Option<Timestamp>,
    /// The machine that a lock is for, as far as that follows from what is there: nothing where it does not. Its
    /// name is a digest, so whoever guesses can tell whether they are right.
    pub machine: Option<TargetId>,
    /// Is it over, and only stands because it could not be deleted? It speaks of nobody, and is deleted once it can be.
    pub is_over: bool,
}

/// What machines there are.
pub trait Inventory: Send + Sync {
    /// Machines by id, after `after`, with what could not be seen.
    fn machines(
        &self,
        after: Option<&TargetId>,
        at_most: usize,
    ) -> impl Future<Output = Result<Machines, Error>> + Send;

    /// One machine.
    fn machine(&self, id: &TargetId) -> impl Future<Output = Result<Option<Machine>, Error>> + Send;

    /// Is it proven that there is no such machine? Not by its absence from a list: `false` wherever it may merely
    /// not be seen.
    fn is_gone(&self, _: &TargetId) -> impl Future<Output = Result<bool, Error>> + Send {
        async { Ok(false) }
    }
}

/// A part of the inventory.
#[derive(Debug, Clone, Default)]
pub struct Machines {
    /// What is in it, by id. Fewer than asked for is the end.
    pub items: Vec<Machine>,
    /// What could not be seen, and why, in a line each.
    pub unseen: Vec<String>,
}

/// A machine, guarded or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What Portcullis calls it.
    pub id: TargetId,
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// What runs on it.
    pub os: Os,
    /// What to connect to.
    pub addresses: Vec<IpAddr>,
    /// What guards it: `nsg`, `firewall`, `nftables`.
    pub guarded_by: Option<String>,
    /// Its network interfaces, where the cloud tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// What its owners wrote on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Why it cannot be guarded.
    pub unsupported: Option<Unsupported>,
}

/// A network interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// What the cloud calls it.
    pub name: String,
    /// Its addresses in its own network.
    pub private: Vec<IpAddr>,
    /// Its addresses on the Internet.
    pub public: Vec<IpAddr>,
    /// Every firewall on the way to it, in the order in which a packet meets them.
    pub firewalls: Vec<FirewallId>,
}

/// Why a machine cannot be guarded. The words are those of Defender's reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsupported {
    /// Nothing on its path holds rules.
    NoFirewall,
    /// A classic VM.
    Classic,
    /// Its firewall is managed by Firewall Manager.
    FirewallManager,
    /// A policy of the organisation forbids it.
    DisabledByPolicy,
    /// It has no network interface.
    NoNic,
}

/// What somebody else's just-in-time access guards, so that Portcullis can take it over. Where there is no such
/// thing, nothing has to be said.
pub trait Adoption: Send + Sync {
    /// Every foreign policy, and every rule that it left in a firewall, also for machines that are
    /// gone; with what could not be seen.
    fn found(&self) -> impl Future<Output = Result<Adoptables, Error>> + Send {
        async { Ok(Adoptables::default()) }
    }

    /// Deletes a policy, and then its rules, as they were found: who only lost the rules might write them
    /// again. Deleting the absent succeeds; nobody else's rules are touched.
    ///
    /// `Conflict` if any of it is not what was found. What came before it may have been deleted.
    fn remove(&self, what: &Adoptable) -> impl Future<Output = Result<(), Error>> + Send {
        let name = what.name.clone();
        async { Err(Error::NotFound { what: "foreign policy", name }) }
    }
}

/// What only whoever asks a cloud knows of how that goes.
pub trait Checkup: Send + Sync {
    /// Looks at all that the firewalls and the inventory stand on, and changes nothing. What cannot be looked
    /// at is a finding too. The first says whether anything can be asked at all: where that failed, nobody goes
    /// on. Nothing, where there is nothing but what everybody sees.
    fn checkup(&self) -> impl Future<Output = Vec<Finding>> + Send {
        async { vec![] }
    }
}

/// The firewalls and the machines behind them, with everything else that is known of them.
pub trait Outside: Firewalls + Inventory + Adoption + Checkup {}

impl<T: Firewalls + Inventory + Adoption + Checkup> Outside for T {}

/// Proof of who calls.
pub trait Authentication: Send + Sync {
    /// The principal that a bearer token stands for at a time, or why it proves nobody. A token of the token book that was revoked
    /// is so at once, and one that expires from its end on. Nothing but what its authority made is taken for a token, and neither
    /// answer holds any of it.
    ///
    /// A token book keeps the time of such a proof as the last use of the token, once in [`portcullis_domain::TOKEN_USE_KEPT_EVERY`]:
    /// no call fails where that cannot be written, or waits for it longer than [`crate::USE_WAIT_MAX`].
    ///
    /// `Unavailable` where its authority cannot be asked: then it is not known whether it is valid.
    fn authenticate(
        &self,
        bearer: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Result<Principal, BadToken>, Error>> + Send;

    /// Looks at the authorities that it stands on, for a checkup. Nothing, where there is nothing but the table.
    fn authorities(&self, _: Timestamp) -> impl Future<Output = Vec<Finding>> + Send {
        async { vec![] }
    }
}

/// The token book: one token a person.
pub trait Tokens: Send + Sync {
    /// Makes a token out of 256 random bits, in place of the one that the person had. It is told here and never again; the
    /// table keeps its digest. The token and its entry are written together.
    fn issue(
        &self,
        person: &Person,
        terms: &TokenTerms,
        by: Speaker<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<String, Error>> + Send;

    /// Takes a person's token away at once, together with an entry, which says whether the person keeps the access that they have.
    /// `NotFound` if they have none.
    fn revoke(
        &self,
        person: &Person,
        keeps_access: bool,
        by: Speaker<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The tokens, by the names of their people.
    fn list(&self) -> impl Future<Output = Result<Vec<Token>, Error>> + Send;
}

/// 256 bits that nobody can guess.
pub type Dice = fn() -> Result<[u8; 32], BoxError>;

/// What time it is, and waiting for a time.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Waits until [`Self::now`] is `at` or later, also if the machine is asleep meanwhile; not at all for what
    /// is over. May wake early, as when somebody set the clock: whoever needs to know looks at it.
    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Where evidence is kept.
pub trait Archive: Send + Sync {
    /// Keeps this under a name, whole or not at all. Never overwrites: `Conflict` if the name is taken, by
    /// whatever it is.
    fn put(&self, name: &str, content: Vec<u8>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Where events go.
pub trait Bus: Send + Sync {
    /// Publishes all, and tells which could not be: a success may still have failures in it.
    fn publish(&self, events: &[Event]) -> impl Future<Output = Result<Vec<NotPublished>, Error>> + Send;
}

/// An event that the bus did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotPublished {
    /// Which: its place in what was published.
    pub at: usize,
    /// Why.
    pub why: String,
    /// Will it never be taken, however often it is tried?
    pub is_hopeless: bool,
}

impl Seen {
    /// The version of what does not exist.
    pub const NEVER: Self = Self(0);

    /// The version after this one was replaced.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Batch {
    /// A batch of one target.
    pub fn of(next: Next, seen: Seen) -> Self {
        Self { targets: vec![(next, seen)], ..Self::default() }
    }
}

impl Machine {
    /// What a target keeps of it.
    pub fn facts(&self) -> MachineFacts {
        let Self { name, location, os, addresses, tags, guarded_by, .. } = self.clone();
        MachineFacts { name, location, os, addresses, tags, guarded_by }
    }
}

impl Unsupported {
    /// The machine-readable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoFirewall => "no_firewall",
            Self::Classic => "classic",
            Self::FirewallManager => "firewall_manager",
            Self::DisabledByPolicy => "disabled_by_policy",
            Self::NoNic => "no_nic",
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFirewall => "no firewall on its network path takes rules (no_firewall)",
            Self::Classic => "it is a classic machine (classic)",
            Self::FirewallManager => "its firewall is managed by Firewall Manager (firewall_manager)",
            Self::DisabledByPolicy => "a policy of its owner forbids it (disabled_by_policy)",
            Self::NoNic => "it has no network interface (no_nic)",
        })
    }
}

impl FromStr for Cursor {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}
