//! Callers that show no valid token, and asks that cannot be read: counted, limited for each address, and told of.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Finding, Verdict};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How often the log tells of it, at most.
const SAY_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How far back `doctor` looks, in minutes.
const MINUTES: i64 = 60;
/// How many addresses are told apart; all others share what one has.
const ADDRESSES_MAX: usize = 1024;
/// How much may happen at one address at once, and how long until once more.
const BURST: f64 = 30.0;
const REFILL: SignedDuration = SignedDuration::from_secs(2);

/// A thing that no caller should do often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// They showed a token that is not valid, or none where one is needed.
    FailedLogin,
    /// They are known, and sent what cannot be read.
    Unreadable,
    /// There was no place for them, or for an older connection.
    TurnedAway,
}

/// How often it happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Tokens that are not valid, and asks without one.
    pub failed_logins: u64,
    /// Asks that cannot be read.
    pub unreadable: u64,
    /// Connections that there was no place for.
    pub turned_away: u64,
}

/// All that happened lately. It never holds a token.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    unsaid: Counts,
    said_at: Option<Timestamp>,
    minutes: BTreeMap<i64, Counts>,
    /// `None` is all addresses that are not told apart.
    addresses: BTreeMap<Option<IpAddr>, Address>,
}

#[derive(Debug, Clone, Copy)]
struct Address {
    /// How much more may happen here.
    left: f64,
    at: Timestamp,
    count: u64,
}

impl Strangers {
    /// Counts it; says whether it is still little enough for that address.
    pub fn happened(&self, what: Happened, address: Option<IpAddr>, now: Timestamp) -> bool {
        let mut lately = self.lately();
        lately.count(what, now);
        let is_within = lately.address(address, now).take(now);
        let unsaid = lately.take_unsaid(now);
        // Nobody who logs may hold what others wait for.
        drop(lately);
        say(unsaid);
        is_within
    }

    /// Tells the log what it was not told yet, if it is time to.
    pub fn say(&self, now: Timestamp) {
        let unsaid = self.lately().take_unsaid(now);
        say(unsaid);
    }

    /// The finding of `doctor` about the last hour.
    pub(crate) fn finding(&self, now: Timestamp) -> Finding {
        const CHECK: &str = "callers";
        let mut lately = self.lately();
        lately.forget(now);
        let Counts { failed_logins, unreadable, turned_away } =
            lately.minutes.values().copied().fold(Counts::default(), |all, it| Counts {
                failed_logins: all.failed_logins + it.failed_logins,
                unreadable: all.unreadable + it.unreadable,
                turned_away: all.turned_away + it.turned_away,
            });
        if failed_logins + unreadable + turned_away == 0 {
            return Finding::ok(
                CHECK,
                "in the last hour all callers had valid tokens and sent readable requests",
            );
        }
        let hour = |it: &&(&Option<IpAddr>, &Address)| {
            now.duration_since(it.1.at) < SignedDuration::from_mins(MINUTES)
        };
        let most = lately.addresses.iter().filter(|it| hour(&it)).max_by_key(|(_, it)| it.count);
        let most = most
            .and_then(|(address, _)| *address)
            .map_or_else(String::new, |it| format!(", most from `{it}`"));
        let found = format!(
            "in the last hour: {failed_logins} failed logins, {unreadable} unreadable requests, \
                {turned_away} connections over the limit{most}"
        );
        let advice = "find the caller at that address; with --listen, serve on an address that only known \
            callers can reach";
        Finding { verdict: Verdict::Warning, ..Finding::warning(CHECK, found, advice) }
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lately {
    fn count(&mut self, what: Happened, now: Timestamp) {
        self.forget(now);
        for counts in [&mut self.unsaid, self.minutes.entry(minute(now)).or_default()] {
            match what {
                Happened::FailedLogin => counts.failed_logins += 1,
                Happened::Unreadable => counts.unreadable += 1,
                Happened::TurnedAway => counts.turned_away += 1,
            }
        }
    }

    /// A clock that was set back forgets what is yet to come.
    fn forget(&mut self, now: Timestamp) {
        let now = minute(now);
        self.minutes.retain(|it, _| now - MINUTES < *it && *it <= now);
    }

    fn address(&mut self, address: Option<IpAddr>, now: Timestamp) -> &mut Address {
        let mut key = address.map(network);
        if !self.addresses.contains_key(&key) && ADDRESSES_MAX <= self.addresses.len() {
            // Those that may do as much as any other need not be remembered.
            self.addresses.retain(|_, it| it.refilled(now) < BURST);
            if ADDRESSES_MAX <= self.addresses.len() {
                key = None;
            }
        }
        self.addresses.entry(key).or_insert(Address { left: BURST, at: now, count: 0 })
    }

    fn take_unsaid(&mut self, now: Timestamp) -> Option<Counts> {
        let is_time = self.said_at.is_none_or(|at| now < at || SAY_EVERY <= now.duration_since(at));
        if self.unsaid == Counts::default() || !is_time {
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Address {
    fn refilled(&self, now: Timestamp) -> f64 {
        let since = now.duration_since(self.at).as_secs_f64().max(0.0);
        (self.left + since / REFILL.as_secs_f64()).min(BURST)
    }

    fn take(&mut self, now: Timestamp) -> bool {
        let left = self.refilled(now);
        self.at = now;
        self.count += 1;
        let is_within = 1.0 <= left;
        self.left = if is_within { left - 1.0 } else { left };
        is_within
    }
}

fn say(unsaid: Option<Counts>) {
    if let Some(Counts { failed_logins, unreadable, turned_away }) = unsaid {
        tracing::warn!(
            failed_logins,
            unreadable,
            turned_away,
            "Calls came without a valid token, or were unreadable"
        );
    }
}

fn minute(now: Timestamp) -> i64 {
    now.as_second().div_euclid(60)
}

/// The part of an address that is counted as one: a caller with one of IPv6 has the 64 bits behind it as well.
pub fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !(u64::MAX as u128);
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn failed_logins_beyond_the_limit_of_an_address_are_refused_until_time_passed() {
        let strangers = Strangers::default();
        let fails =
            |from: &str, second| strangers.happened(Happened::FailedLogin, Some(address(from)), at(second));
        let within = (0..100).filter(|_| fails("2001:db8::1", 0)).count();
        assert_eq!(within, 30);
        assert!(!fails("2001:db8::ffff:2", 0), "the network of an address shares its limit");
        assert!(fails("192.0.2.2", 0), "another address has its own");
        assert!(fails("2001:db8::1", 2) && !fails("2001:db8::1", 2), "one more after two seconds");
        assert!(!fails("2001:db8::1", -600), "a clock that was set back gives nothing");
    }

    #[test]
    fn addresses_are_bounded_and_the_rest_share_one_limit() {
        let strangers = Strangers::default();
        for n in 0..5000_u32 {
            let address = Some(IpAddr::from(n.to_be_bytes()));
            strangers.happened(Happened::FailedLogin, address, at(0));
        }
        assert_eq!(strangers.lately().addresses.len(), ADDRESSES_MAX + 1);
        assert!(!strangers.happened(Happened::FailedLogin, Some(address("198.51.100.1")), at(0)));
        assert!(
            strangers.happened(Happened::FailedLogin, Some(address("198.51.100.1")), at(600)),
            "all are refilled"
        );
        assert!(strangers.lately().addresses.len() < ADDRESSES_MAX);
    }

    #[test]
    fn the_log_is_told_at_once_and_then_once_a_minute_with_a_count() {
        let strangers = Strangers::default();
        let mut lately = strangers.lately();
        let mut counted = |what: Happened, second| {
            lately.count(what, at(second));
            lately.take_unsaid(at(second))
        };
        let one = Counts { failed_logins: 1, ..Counts::default() };
        assert_eq!(counted(Happened::FailedLogin, 0), Some(one));
        assert_eq!(counted(Happened::FailedLogin, 1), None);
        assert_eq!(counted(Happened::Unreadable, 59), None);
        let three = Counts { failed_logins: 1, unreadable: 1, turned_away: 1 };
        assert_eq!(counted(Happened::TurnedAway, 60), Some(three));
        assert_eq!(lately.take_unsaid(at(600)), None, "nothing is left to say");
    }

    #[test]
    fn doctor_counts_the_last_hour_and_names_the_address_with_most() {
        let strangers = Strangers::default();
        assert_eq!(strangers.finding(at(0)).verdict, Verdict::Ok);
        for _ in 0..3 {
            strangers.happened(Happened::FailedLogin, Some(address("192.0.2.7")), at(0));
        }
        strangers.happened(Happened::Unreadable, Some(address("192.0.2.8")), at(1800));
        let finding = strangers.finding(at(1801));
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(
            finding.found.contains("3 failed logins, 1 unreadable") && finding.found.contains("`192.0.2.7`"),
            "{}",
            finding.found
        );
        let finding = strangers.finding(at(3700));
        assert!(
            finding.found.contains("0 failed logins, 1 unreadable") && finding.found.contains("`192.0.2.8`"),
            "{}",
            finding.found
        );
        assert_eq!(strangers.finding(at(9000)).verdict, Verdict::Ok);
    }
}
