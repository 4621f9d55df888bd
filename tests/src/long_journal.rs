//! A journal as long as one likes, which takes no room: each entry is made when it is asked for.

use crate::given::{self, asked, at, in_one_read, named, person};
use jiff::Timestamp;
use portcullis_app::{
    Error,
    ports::{Batch, Due, FeedItem, GrantFilter, Page, PageAsked, RequestFilter, Seen, Store},
};
use portcullis_domain::{
    Authority, Chain, EndReason, Entry, Fact, Grant, GrantId, Hash, Head, Request, RequestId, Sources,
    Target, TargetId,
};
use std::{collections::BTreeMap, iter::successors, net::Ipv4Addr, ops::Bound};

/// How long a reason of a no is at most as it is recorded, in characters.
const REASON_MAX: usize = 500;
/// What is said where more is asked for.
const NOT_READ: &str = "an export reads chains and entries alone, and `verify` of a journal without targets no more than lists and heads";

/// What an export and `verify` read of a table without targets, and nothing else of it.
#[derive(Debug)]
pub struct LongJournal {
    told: Told,
    /// The hash of each entry, by chain: whoever cuts a chain in half does not have all of it recomputed.
    hashes: BTreeMap<Chain, Vec<Hash>>,
}

/// What its entries say.
#[derive(Debug)]
enum Told {
    /// In each entry somebody was refused at length.
    Refused(Box<Fact>),
    /// A grant with many ranges is made and shut, one after another.
    Granted(Box<Grant>),
}

impl Told {
    fn fact(&self, n: u64) -> Fact {
        match self {
            Self::Refused(fact) => (**fact).clone(),
            Self::Granted(grant) => {
                let id: GrantId = named(&format!("a-request-{}", n / 2));
                let closed = Fact::Closed {
                    grant: id.clone(),
                    reason: EndReason::Expired,
                    late_ms: 7,
                    cloud_ms: None,
                    delay: None,
                    by_kernel: false,
                    correlation: None,
                };
                let made = || Fact::Approved {
                    grant: Box::new(Grant { id, ..(**grant).clone() }),
                    approver: None,
                    approver_via: None,
                };
                if n.is_multiple_of(2) { made() } else { closed }
            }
        }
    }
}

impl LongJournal {
    /// So many grants in this chain, one after another, with so many ranges each.
    pub fn of_grants(chain: Chain, grants: usize, ranges: u32) -> Self {
        // Every second address: neighbours would be one range.
        let address = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 2 * n).to_string();
        let sources = Sources::try_from((0..ranges).map(address).collect::<Vec<_>>()).expect("ranges");
        let grant = given::grant(&given::request("ann", "key", "vm", at(0)), &named("vm"), at(0));
        Self::telling(Told::Granted(Box::new(Grant { sources, ..grant })), [chain], 2 * grants)
    }

    /// So many entries in each of these chains, with so many reasons in each entry.
    pub fn of(chains: impl IntoIterator<Item = Chain>, entries: usize, reasons: usize) -> Self {
        let asked = asked("ann", "key", &["vm"], "198.51.100.1");
        let refused = Fact::RequestRefused {
            request: named("a-request"),
            by: person("ann"),
            asked: asked.what,
            why: None,
            reasons: vec!["x".repeat(REASON_MAX); reasons],
            codes: vec![],
            correlation: None,
            via: None,
            authority: None,
        };
        Self::telling(Told::Refused(Box::new(refused)), chains, entries)
    }

    fn telling(told: Told, chains: impl IntoIterator<Item = Chain>, entries: usize) -> Self {
        let hashes = |chain: &Chain| -> Vec<Hash> {
            let follow = |head: &Head| Some(head.append(chain, Self::at(head.n), [told.fact(head.n)]).0);
            successors(Some(Head::default()), follow).skip(1).take(entries).map(|it| it.hash).collect()
        };
        let hashes = chains.into_iter().map(|chain| (chain.clone(), hashes(&chain))).collect();
        Self { told, hashes }
    }

    /// When the `n`th entry of each chain was recorded, before anything that is recorded now.
    pub fn at(n: u64) -> Timestamp {
        const BEGINNING: i64 = 1_700_000_000;
        let second = BEGINNING.checked_add_unsigned(n).expect("in range");
        Timestamp::from_second(second).expect("in range")
    }

    fn entry(&self, chain: &Chain, n: usize) -> Option<Entry> {
        let hashes = self.hashes.get(chain)?;
        hashes.get(n)?;
        let hash = n.checked_sub(1).map(|before| hashes[before]).unwrap_or_default();
        let head = Head { n: n as u64, hash };
        head.append(chain, Self::at(head.n), [self.told.fact(head.n)]).1.pop()
    }
}

impl Store for LongJournal {
    async fn chains(&self, after: Option<&Chain>, at_most: usize) -> Result<Vec<Chain>, Error> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let chains = self.hashes.range::<Chain, _>((after, Bound::Unbounded));
        Ok(chains.map(|(chain, _)| chain.clone()).take(at_most).collect())
    }

    async fn entries(&self, chain: &Chain, from: u64, at_most: usize) -> Result<Vec<Entry>, Error> {
        let from = usize::try_from(from).expect("a place in memory");
        Ok(in_one_read((from..).map_while(|n| self.entry(chain, n)).take(at_most)))
    }

    async fn last(&self, chain: &Chain) -> Result<Option<Entry>, Error> {
        let entries = self.hashes.get(chain).map_or(0, Vec::len);
        Ok(entries.checked_sub(1).and_then(|n| self.entry(chain, n)))
    }

    async fn target(&self, _: &TargetId) -> Result<Option<(Target, Seen)>, Error> {
        unreachable!("{NOT_READ}")
    }

    async fn request(&self, _: &RequestId) -> Result<Option<(Request, Seen)>, Error> {
        unreachable!("{NOT_READ}")
    }

    async fn grant(&self, _: &GrantId) -> Result<Option<Grant>, Error> {
        unreachable!("{NOT_READ}")
    }

    async fn authority(&self) -> Result<Option<Authority>, Error> {
        Ok(None)
    }

    async fn rest(&self) -> Result<Head, Error> {
        let hashes = self.hashes.get(&Chain::rest());
        let head = |hashes: &Vec<Hash>| Head {
            n: hashes.len() as u64,
            hash: hashes.last().copied().unwrap_or_default(),
        };
        Ok(hashes.map(head).unwrap_or_default())
    }

    async fn commit(&self, _: Batch) -> Result<(), Error> {
        unreachable!("{NOT_READ}")
    }

    async fn due(&self, _: Timestamp, _: usize) -> Result<Vec<(Timestamp, Due)>, Error> {
        unreachable!("{NOT_READ}")
    }

    async fn targets(&self, _: Option<&TargetId>, _: usize) -> Result<Vec<Target>, Error> {
        Ok(vec![])
    }

    async fn requests(&self, _: &RequestFilter, _: &PageAsked) -> Result<Page<Request>, Error> {
        Ok(Page { items: vec![], next: None })
    }

    async fn grants(&self, _: &GrantFilter, _: &PageAsked) -> Result<Page<Grant>, Error> {
        unreachable!("{NOT_READ}")
    }

    async fn feed(&self, _: Timestamp, _: Option<&FeedItem>, _: usize) -> Result<Vec<FeedItem>, Error> {
        unreachable!("{NOT_READ}")
    }

    async fn recorded(&self, _: &[FeedItem]) -> Result<Vec<Vec<Entry>>, Error> {
        unreachable!("{NOT_READ}")
    }
}
