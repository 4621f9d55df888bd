//! Places for connections: few for callers who have shown no token, a share for each address and each person.
//!
//! A new connection is always taken. Where there is no place for it, an older one of a stranger is closed: one that has
//! asked without a token, or else the one that has been silent for longest, and last of all one whose token is being looked
//! up. A caller with a token shows it at once and is a stranger no longer, so that neither those who ask nor those who wait
//! can keep callers out, however long the look takes.

use portcullis_domain::Person;
use portcullis_http::network;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of callers who have shown no token.
    pub strangers: usize,
    /// Of those, from one address, or one network of IPv6.
    pub per_address: usize,
    /// Of callers who have shown a valid token.
    pub known: usize,
    /// Of those, of one person.
    pub per_person: usize,
}

/// The connections there are.
#[derive(Debug)]
pub struct Places {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By the order in which they came.
    strangers: BTreeMap<u64, Stranger>,
    known: BTreeMap<Person, usize>,
}

#[derive(Debug)]
struct Stranger {
    from: IpAddr,
    stage: Stage,
    /// Dropped, it closes the connection.
    open: oneshot::Sender<()>,
}

/// How far a stranger has come; the first leaves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// A request was read, without a valid token.
    Asked,
    /// Nothing was read yet.
    Silent,
    /// A token was read, and nobody knows yet whose it is.
    Shows,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Held {
    Stranger(u64),
    Known { person: Person, _open: oneshot::Sender<()> },
}

/// Ready once the connection has to make place for another one.
pub type Closed = oneshot::Receiver<()>;

impl Places {
    /// None is taken yet.
    pub fn of(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// Takes a connection of a stranger; says whether another one was closed for it.
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> (Place, Closed, bool) {
        let from = network(from);
        let (open, closed) = oneshot::channel();
        let mut taken = locked(&self.taken);
        let leaves = taken.leaves_for(from, self.limits);
        let evicted = leaves.and_then(|it| taken.strangers.remove(&it)).is_some();
        let n = taken.next;
        taken.next += 1;
        taken.strangers.insert(n, Stranger { from, stage: Stage::Silent, open });
        let place = Place { places: Arc::clone(self), held: Mutex::new(Held::Stranger(n)) };
        (place, closed, evicted)
    }
}

impl Taken {
    /// The oldest stranger of the address that has its share, or where all places are taken of the one that has most; of those
    /// at the first stage that there is, since who has said nothing yet may be about to show a token.
    fn leaves_for(&self, from: IpAddr, limits: Limits) -> Option<u64> {
        let mut shares: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for it in self.strangers.values() {
            *shares.entry(it.from).or_default() += 1;
        }
        let greediest = shares.iter().max_by_key(|(_, count)| **count).map(|(from, _)| *from);
        let leaves = if shares.get(&from).is_some_and(|count| limits.per_address <= *count) {
            from
        } else if limits.strangers <= self.strangers.len() {
            greediest?
        } else {
            return None;
        };
        let of_address = self.strangers.iter().filter(|(_, it)| it.from == leaves);
        of_address.min_by_key(|(n, it)| (it.stage, **n)).map(|(n, _)| *n)
    }

    fn has_place_for(&self, person: &Person, limits: Limits) -> bool {
        let all: usize = self.known.values().sum();
        all < limits.known && self.known.get(person).is_none_or(|count| *count < limits.per_person)
    }

    fn leave(&mut self, person: &Person) {
        if let Some(count) = self.known.get_mut(person) {
            *count -= 1;
            if *count == 0 {
                self.known.remove(person);
            }
        }
    }
}

impl Place {
    /// Remembers that its caller shows a token, which is about to be looked up.
    pub fn shows_token(&self) {
        self.comes_to(Stage::Shows);
    }

    /// Remembers that its caller has asked without a valid token.
    pub fn asked_without_token(&self) {
        self.comes_to(Stage::Asked);
    }

    fn comes_to(&self, stage: Stage) {
        let (mut taken, held) = (locked(&self.places.taken), locked(&self.held));
        match &*held {
            Held::Stranger(n) => {
                if let Some(stranger) = taken.strangers.get_mut(n) {
                    stranger.stage = stage;
                }
            }
            // A place that was earned once is kept.
            Held::Known { .. } => {}
        }
    }

    /// Its caller has shown the token of a person. `false` where that person, or all who are known, have no more places.
    pub fn is_of(&self, person: &Person) -> bool {
        let limits = self.places.limits;
        let (mut taken, mut held) = (locked(&self.places.taken), locked(&self.held));
        match &mut *held {
            Held::Known { person: known, .. } if known == person => true,
            Held::Known { person: known, .. } => {
                let has_place = taken.has_place_for(person, limits);
                if has_place {
                    taken.leave(known);
                    *taken.known.entry(person.clone()).or_default() += 1;
                    *known = person.clone();
                }
                has_place
            }
            Held::Stranger(n) => {
                if !taken.has_place_for(person, limits) {
                    return false;
                }
                // One that had to make place meanwhile is being closed.
                let Some(stranger) = taken.strangers.remove(n) else { return false };
                *taken.known.entry(person.clone()).or_default() += 1;
                *held = Held::Known { person: person.clone(), _open: stranger.open };
                true
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = locked(&self.places.taken);
        match &*locked(&self.held) {
            Held::Stranger(n) => drop(taken.strangers.remove(n)),
            Held::Known { person, .. } => taken.leave(person),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { strangers: 4, per_address: 3, known: 3, per_person: 2 };

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn person(name: &str) -> Person {
        name.parse().expect("a name")
    }

    fn is_closed(closed: &mut Closed) -> bool {
        !matches!(closed.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    #[test]
    fn a_full_address_closes_its_own_oldest_stranger_alone() {
        let places = Places::of(LIMITS);
        let mut other = places.enter(address("192.0.2.2"));
        let mut first = places.enter(address("192.0.2.1"));
        let mut rest: Vec<_> = (0..2).map(|_| places.enter(address("192.0.2.1"))).collect();
        assert!(!is_closed(&mut first.1));
        let new = places.enter(address("::ffff:192.0.2.1"));
        assert!(new.2 && is_closed(&mut first.1), "its oldest one makes place");
        assert!(!is_closed(&mut other.1) && rest.iter_mut().all(|it| !is_closed(&mut it.1)));
        assert!(!first.0.is_of(&person("ann")), "a connection that is being closed gets no other place");
    }

    #[test]
    fn a_stranger_who_asked_leaves_before_an_older_one_whose_request_is_not_read_yet() {
        let places = Places::of(LIMITS);
        let mut unread = places.enter(address("192.0.2.1"));
        let (mut asked, mut last) = (places.enter(address("192.0.2.1")), places.enter(address("192.0.2.1")));
        asked.0.asked_without_token();
        let _new = places.enter(address("192.0.2.1"));
        assert!(is_closed(&mut asked.1) && !is_closed(&mut unread.1) && !is_closed(&mut last.1));
        assert!(unread.0.is_of(&person("ann")), "its token is read after that");
    }

    #[test]
    fn a_token_that_is_being_looked_up_keeps_its_place_before_the_silent_and_a_bad_one_loses_it() {
        let places = Places::of(LIMITS);
        let enter = || places.enter(address("192.0.2.1"));
        let (mut ann, mut bad) = (enter(), enter());
        ann.0.shows_token();
        bad.0.shows_token();
        let flood: Vec<_> = (0..20).map(|_| enter()).collect();
        assert!(!is_closed(&mut ann.1) && !is_closed(&mut bad.1));
        bad.0.asked_without_token();
        let _new = enter();
        assert!(is_closed(&mut bad.1) && ann.0.is_of(&person("ann")));
        drop(flood);
    }

    #[test]
    fn a_full_house_closes_a_stranger_of_the_address_with_most() {
        let places = Places::of(LIMITS);
        let mut lone = places.enter(address("2001:db8:0:1::1"));
        let mut crowd: Vec<_> =
            (0..3).map(|n| places.enter(address(&format!("2001:db8:0:2::{n}")))).collect();
        let new = places.enter(address("192.0.2.9"));
        assert!(new.2 && is_closed(&mut crowd[0].1) && !is_closed(&mut lone.1));
    }

    #[test]
    fn a_caller_with_a_token_leaves_the_places_of_strangers_and_is_never_closed_for_one() {
        let places = Places::of(LIMITS);
        let mut ann = places.enter(address("192.0.2.1"));
        assert!(
            ann.0.is_of(&person("ann")) && ann.0.is_of(&person("ann")),
            "showing it twice is showing it once"
        );
        let flood: Vec<_> = (0..20).map(|_| places.enter(address("192.0.2.1"))).collect();
        assert!(!is_closed(&mut ann.1));
        assert_eq!(locked(&places.taken).strangers.len(), LIMITS.per_address);
        drop(flood);
        assert!(locked(&places.taken).strangers.is_empty());
    }

    #[test]
    fn known_callers_have_a_share_each_and_leave_it_when_they_go() {
        let places = Places::of(LIMITS);
        let enter = || places.enter(address("192.0.2.1")).0;
        let (one, two, three) = (enter(), enter(), enter());
        assert!(one.is_of(&person("ann")) && two.is_of(&person("ann")));
        assert!(!three.is_of(&person("ann")), "she has her share");
        assert!(three.is_of(&person("bob")));
        let four = enter();
        assert!(!four.is_of(&person("carol")), "all places are taken");
        drop(one);
        assert!(four.is_of(&person("carol")));
        assert!(!two.is_of(&person("dora")), "no place for one more person");
        drop(three);
        assert!(two.is_of(&person("dora")), "a connection may show another token");
        drop((two, four));
        assert!(locked(&places.taken).known.is_empty());
    }
}
