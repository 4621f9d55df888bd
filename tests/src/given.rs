//! Targets, policies and requests that tests begin with.

use crate::door::Asked;
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    BoxError, Error,
    ports::{Clock, PART_BYTES_MAX, Store},
};
use portcullis_domain::{
    Ask, Chain, Entry, Grant, GrantId, Justification, Lease, Next, People, Person, Policy, PortRule, Request,
    RequestId, RequestState, Target, TargetId, Terms, What, Window,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// An hour, the length of most leases here.
pub const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A whole second after the beginning of these tests' time.
pub fn at(second: i64) -> Timestamp {
    const BEGINNING: i64 = 1_800_000_000;
    Timestamp::from_second(BEGINNING + second).expect("in range")
}

/// Dice that fall on a number of their own each time: what tests make does not depend on chance.
pub fn dice() -> Result<[u8; 32], BoxError> {
    static THROWN: AtomicU64 = AtomicU64::new(1);
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&THROWN.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Ok(secret)
}

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub struct Still(pub Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn sleep_until(&self, _: Timestamp) -> Result<(), Error> {
        Ok(())
    }
}

/// Whatever can be written as text.
pub fn named<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error:?}"))
}

/// SSH for anybody for up to three hours.
pub fn ssh() -> Policy {
    Policy::of(vec![PortRule::offered(named("22"), named("tcp"))], &Terms::default()).expect("valid")
}

/// SSH for anybody to whom anybody else said yes.
pub fn ssh_with_approval() -> Policy {
    let offered = PortRule::offered(named("22"), named("tcp"));
    let rule = PortRule { approvers: Some(People::Anybody), ..offered };
    Policy::of(vec![rule], &Terms::default()).expect("valid")
}

/// The same, and these people may break its glass.
pub fn ssh_behind_glass(breakers: &[&str]) -> Policy {
    let break_glass = Some(People::Only(breakers.iter().map(|it| person(it)).collect()));
    let behind = |it: &PortRule| PortRule { break_glass: break_glass.clone(), ..it.clone() };
    let rules = ssh_with_approval().ports().iter().map(behind).collect();
    Policy::of(rules, &Terms::default()).expect("valid")
}

/// A target that is guarded from `now` on, as it should be stored.
pub fn guarded(id: &str, now: Timestamp) -> Next {
    Target::unguarded(named(id)).set_policy(Some(ssh()), &named("owner"), None, now).expect("new")
}

/// Somebody's wish for SSH to some targets, for an hour from its granting.
pub fn asked(by: &str, key: &str, targets: &[&str], from: &str) -> Asked {
    let ask = |target: &&str| Ask {
        target: named(target),
        port: named("22"),
        protocol: None,
        sources: named(from),
        window: Window::For(HOUR),
    };
    let what = What::Initiate { asks: targets.iter().map(ask).collect(), break_glass: false };
    Asked { by: named(by), key: named(key), what, justification: None, correlation: None }
}

/// As many of these entries as a table gives in one read.
pub fn in_one_read(entries: impl Iterator<Item = Entry>) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &Entry| {
        let is_first = bytes == 0;
        bytes += serde_json::to_vec(entry).expect("JSON").len();
        is_first || bytes <= PART_BYTES_MAX
    };
    entries.take_while(fits).collect()
}

/// Every entry of a chain, however many reads that takes.
pub async fn all_entries(store: &impl Store, chain: &Chain) -> Vec<Entry> {
    let mut entries: Vec<Entry> = vec![];
    loop {
        let next = entries.last().map_or(0, |it| it.n + 1);
        let part = store.entries(chain, next, usize::MAX).await.expect("listed");
        if part.is_empty() {
            return entries;
        }
        entries.extend(part);
    }
}

/// A request by somebody, as it was approved at `now`.
pub fn request(by: &str, key: &str, target: &str, now: Timestamp) -> Request {
    let Asked { by, key, what, justification, correlation } = asked(by, key, &[target], "198.51.100.1");
    let id = RequestId::derived(&by, &key);
    Request {
        id,
        by,
        via: None,
        signed_in: None,
        authority: None,
        what,
        justification,
        correlation,
        asked_at: now,
        state: RequestState::Approved { at: now, by: None, via: None, broke_glass: false },
    }
}

/// The first grant of a request for SSH, from `now` for an hour.
pub fn grant(request: &Request, target: &TargetId, now: Timestamp) -> Grant {
    let lease = Lease::starting(now, HOUR).expect("an hour is a lease");
    let id = GrantId::derived(&request.id, 0);
    Grant::approved(id, request, (target.clone(), named("22/tcp")), named("198.51.100.1"), lease)
}

/// Somebody.
pub fn person(name: &str) -> Person {
    named(name)
}

/// A reason.
pub fn because(text: &str) -> Justification {
    named(text)
}
