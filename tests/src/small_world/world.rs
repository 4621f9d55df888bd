//! The state of the small world: plain data, so that it can be copied, and two of them can be compared.

use super::{
    Planted,
    actor::{Answer, Asks, Came, Cast, Node, Role, Steps},
    digest::digest_of,
    fault::{
        CLOCK_BACK_MS, Fault, GROWTH_REFUSED_MS, LANDS_WITHIN_MS, NO_COMMIT_MS, NO_SPACE_MS, RESTARTS_MS,
        millis,
    },
    firewall::{Effect, Landed, Refuses, Rules, Versions, Writing},
    oracle::Oracle,
    run::Step,
    table::{Claims, Committing, Stored},
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Reading, Steady};
use portcullis_domain::{
    Gate, Grant, GrantId, Lease, Person, Policy, PortRule, RETRY_MAX, Request, RequestId, RequestState,
    Target, Terms, Told, What,
};
use portcullis_local::Class;
use std::{
    array,
    sync::{Arc, OnceLock},
};

/// The workers, and after them the person who closes a lease.
pub(super) const ACTORS: usize = 3;
pub(super) const WORKERS: usize = 2;
pub(super) const PERSON: usize = 2;
/// What the leases are for.
const GATE: &str = "22/tcp";
/// The first may be closed early.
pub(super) const LEASES: [Asked; 2] = [
    Asked { by: "ann", address: "203.0.113.1", starts_ms: 2_000, ends_ms: 50_000 },
    Asked { by: "bob", address: "203.0.113.9", starts_ms: 0, ends_ms: 4_000 },
];
/// An address that has no lease.
pub(super) const STRANGER: &str = "198.51.100.1";
/// The target is guarded then, and the leases are granted at 0.
const BEGINNING_MS: i64 = -1_000_000;
const EPOCH_MS: i64 = 1_767_225_600_000;

/// A lease of this world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) by: &'static str,
    pub(super) address: &'static str,
    pub(super) starts_ms: i64,
    pub(super) ends_ms: i64,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Load,
    Commit,
    Read,
    Write,
}

/// What an actor is at.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    /// Who sits there, after all that it was told.
    pub(super) node: Option<Arc<Node>>,
    /// The version of what it loaded or stored last, and those of the rules that it read last.
    seen: u64,
    versions: Versions,
    /// When its platform kills it.
    pub(super) dies_at: i64,
    /// It gets no turn before.
    pub(super) starved_until: i64,
    /// It shut something of a lease that is over, and has not committed what came of it.
    pub(super) has_shut: bool,
    /// The commit by which it recorded what it will write.
    pub(super) intent: Option<Arc<Committing>>,
}

/// A write that will land, at any time from now on.
#[derive(Debug, Clone)]
pub(super) struct Late {
    writing: Arc<Writing>,
    wants: Option<u64>,
    pub(super) lands_by: i64,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) table: Arc<Stored>,
    version: u64,
    /// Whose claim stands; of nobody who is alive where it is nobody's here.
    claimed_by: Option<usize>,
    /// What the disk holds, where what is stored is in memory alone.
    on_disk: Option<Arc<Stored>>,
    pub(super) rules: Arc<Rules>,
    pub(super) late: Vec<Late>,
    /// Until then the firewall takes no growth.
    no_growth_until: i64,
    /// Until then it takes no allow in the place of one that stands.
    no_rewrite_until: i64,
    /// It takes no deletion.
    keeps_rules: bool,
    /// Until then the disk is full: what shuts is stored in memory.
    full_until: i64,
    /// Until then nothing is stored.
    no_commit_until: i64,
    /// How far the clock on the wall was set back, and the time that everybody in this process goes by.
    set_back_ms: i64,
    steady: Steady,
    /// Who failed is not set to work again before.
    pub(super) rests_until: [i64; WORKERS],
    pub(super) desks: [Desk; ACTORS],
    /// The person has asked for the early close.
    pub(super) has_closed: bool,
    /// How many there were.
    pub(super) faults: u32,
    /// Who went on last, and how often somebody was left who could go on: where that counts.
    pub(super) last: Option<usize>,
    pub(super) switches: u32,
    pub(super) oracle: Oracle,
    pub(super) path: Option<Arc<Step>>,
    planted: Option<Planted>,
}

impl World {
    /// A target that is guarded, and not yet settled.
    pub(super) fn begin() -> Self {
        let rule = PortRule::offered(parsed("22"), parsed("tcp"));
        let policy = Policy::of(vec![rule], &Terms::default()).expect("valid");
        let target = Target::unguarded(parsed("vm"));
        let unguarded = Stored::of(&target, Told::default());
        let guarded = target.set_policy(Some(policy), &parsed("olga"), None, stamp(BEGINNING_MS));
        let committing = unguarded.committing(guarded.expect("it is new"));
        Self {
            now: BEGINNING_MS,
            table: Arc::clone(&committing.next),
            version: 1,
            claimed_by: None,
            on_disk: None,
            rules: Arc::new(Rules::unguarded()),
            late: vec![],
            no_growth_until: BEGINNING_MS,
            no_rewrite_until: BEGINNING_MS,
            keeps_rules: false,
            full_until: BEGINNING_MS,
            no_commit_until: BEGINNING_MS,
            set_back_ms: 0,
            steady: Steady::begin(reading(BEGINNING_MS, 0), Timestamp::MIN).0,
            rests_until: [BEGINNING_MS; WORKERS],
            desks: array::from_fn(|_| Desk::default()),
            has_closed: false,
            faults: 0,
            last: None,
            switches: 0,
            oracle: Oracle::default(),
            path: None,
            planted: None,
        }
    }

    /// Something is wrong with the world from now on.
    pub(super) fn plant(&mut self, planted: Option<Planted>) {
        self.planted = planted;
    }

    fn is(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// What all actors have in common.
    pub(super) fn cast() -> Arc<Cast> {
        let [grant, _] = grants();
        Arc::new(Cast { target: parsed("vm"), grant })
    }

    /// Both leases are granted, and the first of them begins.
    pub(super) fn grant_both(&mut self) {
        (self.now, self.path) = (0, None);
        self.steady = Steady::begin(reading(0, 0), Timestamp::MIN).0;
        let next = self.table.target(false).clone().grant(grants().to_vec(), None, stamp(0));
        self.table = Arc::clone(&self.table.committing(next).next);
        self.version += 1;
    }

    /// The time as everybody in this process reads it.
    pub(super) fn time(&mut self) -> Timestamp {
        self.steady.next(reading(self.now, self.set_back_ms)).0
    }

    /// The same for who only wants to know what it would be.
    fn time_there(&self) -> i64 {
        let mut steady = self.steady;
        world_ms(steady.next(reading(self.now, self.set_back_ms)).0)
    }

    pub(super) fn is_due(&self) -> bool {
        self.table.due_at.is_some_and(|at| at <= self.time_there())
    }

    pub(super) fn is_claimed_by(&self, actor: usize) -> bool {
        self.claimed_by == Some(actor)
    }

    /// The call that an actor waits for, if it could be answered now.
    pub(super) fn pending(&self, actor: usize) -> Option<&Asks> {
        let desk = &self.desks[actor];
        desk.node.as_ref().filter(|_| desk.starved_until <= self.now)?.asks()
    }

    /// What lasts of a fault that befell a call.
    pub(super) fn befall(&mut self, fault: Fault) {
        let now = self.now;
        self.oracle.excuse(now + fault.excuses_ms());
        match fault {
            Fault::GrowthRefused => {
                self.no_growth_until = now + GROWTH_REFUSED_MS;
                // What is refused for good is tried again ever more seldom.
                self.oracle.excuse_opening(self.no_growth_until + millis(RETRY_MAX));
            }
            Fault::RewriteRefused => {
                self.no_rewrite_until = now + GROWTH_REFUSED_MS;
                // What cannot be narrowed is deleted, and then opened anew.
                self.oracle.excuse_cuts(self.no_rewrite_until + millis(RETRY_MAX));
            }
            Fault::DeletionRefused => self.keeps_rules = true,
            Fault::NoSpace => self.full_until = now + NO_SPACE_MS,
            Fault::NoCommit => self.no_commit_until = now + NO_COMMIT_MS,
            Fault::Crash => self.crash(),
            Fault::ClockBack => self.set_back_ms += CLOCK_BACK_MS,
            Fault::Unreached
            | Fault::Unheard
            | Fault::Dies
            | Fault::Starved
            | Fault::Late
            | Fault::LateUnheard
            | Fault::Doubled => {}
        }
    }

    /// The process dies, with all that is in its memory alone, and a new one takes the claims of the dead.
    fn crash(&mut self) {
        let rests_until = self.now + RESTARTS_MS;
        (0..ACTORS).for_each(|actor| self.leave(actor));
        self.rests_until = [rests_until; WORKERS];
        if let Some(on_disk) = self.on_disk.take() {
            self.table = on_disk;
            self.version += 1;
            // Who is let in again is let in anew.
            self.oracle.forget_who_is_in();
        }
        let is_stored = self.no_commit_until <= self.now;
        if let Some(released) = self.table.without_claim(stamp(self.now)).filter(|_| is_stored) {
            self.store(&released, None);
        }
    }

    /// Would it change nothing?
    pub(super) fn is_befallen(&self, fault: Fault) -> bool {
        fault == Fault::DeletionRefused && self.keeps_rules
    }

    /// Nobody sits there any longer.
    pub(super) fn leave(&mut self, actor: usize) {
        self.desks[actor] = Desk::default();
        self.claimed_by = self.claimed_by.filter(|it| *it != actor);
    }

    /// Somebody begins there.
    pub(super) fn spawn(&mut self, actor: usize, dies_at: i64, steps: &mut Steps) {
        let role = if actor == PERSON { Role::Person } else { Role::Worker };
        let now = self.time();
        self.desks[actor] = Desk { node: Some(steps.begin(role, now)), dies_at, ..Desk::default() };
    }

    /// The call of an actor is answered; gives whether the actor is done, and well.
    pub(super) fn answer(&mut self, actor: usize, fault: Option<Fault>, steps: &mut Steps) -> Option<bool> {
        let node = self.desks[actor].node.clone()?;
        let answer = match node.asks()? {
            Asks::Write(writing) => self.write(actor, fault, writing),
            _ if fault == Some(Fault::Unreached) => Answer::Unavailable,
            Asks::Commit(committing) => {
                let answer = self.commit(actor, committing);
                match (fault, answer) {
                    (Some(Fault::Unheard), Answer::Committed(_)) => Answer::Unavailable,
                    (_, answer) => answer,
                }
            }
            Asks::Find => Answer::Found,
            Asks::Load => Answer::Loaded {
                stored: Arc::clone(&self.table),
                is_mine: self.is_claimed_by(actor)
                    || self.is(Planted::ClaimsAreShared) && self.table.is_claimed,
                version: self.version,
            },
            Asks::Read => Answer::Read { rules: Arc::clone(&self.rules), at: world_ms(self.time()) },
        };
        let desk = &mut self.desks[actor];
        match &answer {
            Answer::Loaded { version, .. } => desk.seen = *version,
            Answer::Read { rules, .. } => desk.versions = rules.versions,
            Answer::Committed(committing) => {
                desk.seen = self.version;
                if committing.intends.is_some() {
                    desk.intent = Some(Arc::clone(committing));
                }
            }
            Answer::Found | Answer::Written | Answer::Conflict | Answer::Unavailable | Answer::Refused(_) => {
            }
        }
        let next = steps.answer(&node, &answer);
        match next.came {
            Came::To(_) => {
                desk.node = Some(next);
                None
            }
            Came::End { is_ok } => {
                self.leave(actor);
                Some(is_ok)
            }
        }
    }

    /// All or nothing, on the version that was seen.
    ///
    /// Where the disk is full it is kept in memory, as the local table does it: what settles is stored, what a person takes
    /// away takes effect and is not acknowledged, and what is asked for is refused.
    fn commit(&mut self, actor: usize, committing: &Arc<Committing>) -> Answer {
        if self.now < self.no_commit_until {
            return Answer::Unavailable;
        }
        let is_full = self.now < self.full_until;
        let is_refused = match committing.class {
            Class::Asks => true,
            Class::Settles => self.is(Planted::SettlingIsRefused),
            Class::Ends => false,
        };
        if is_full && is_refused {
            return Answer::Unavailable;
        }
        if self.desks[actor].seen != self.version && !self.is(Planted::VersionsAreIgnored) {
            return Answer::Conflict;
        }
        if committing.of != self.table.says() {
            self.oracle.break_rule("journal-equals-state", "a commit is made over another one".to_owned());
        }
        let before = self.store(committing, Some(actor));
        self.committed(actor, &before, committing);
        match committing.class {
            Class::Ends if is_full => Answer::Unavailable,
            Class::Settles | Class::Ends | Class::Asks => Answer::Committed(Arc::clone(committing)),
        }
    }

    fn store(&mut self, committing: &Committing, actor: Option<usize>) -> Arc<Stored> {
        let before = std::mem::replace(&mut self.table, Arc::clone(&committing.next));
        self.version += 1;
        if self.now < self.full_until {
            self.on_disk.get_or_insert_with(|| Arc::clone(&before));
        }
        self.claimed_by = match committing.claims {
            Claims::Nobodys => None,
            Claims::Mine => actor,
            Claims::Others => self.claimed_by,
        };
        before
    }

    fn write(&mut self, actor: usize, fault: Option<Fault>, writing: &Arc<Writing>) -> Answer {
        let wants = writing.wants(self.desks[actor].versions);
        if fault == Some(Fault::Unreached) {
            return Answer::Unavailable;
        }
        self.wrote(actor, writing, wants);
        if matches!(fault, Some(Fault::Late | Fault::LateUnheard | Fault::Doubled)) {
            self.late.push(Late {
                writing: Arc::clone(writing),
                wants,
                lands_by: self.now + LANDS_WITHIN_MS,
            });
        }
        let landed = match fault {
            Some(Fault::Late) => return Answer::Written,
            Some(Fault::LateUnheard) => return Answer::Unavailable,
            _ => self.land(writing, wants),
        };
        match landed {
            Some(answer) => answer,
            None if fault == Some(Fault::Unheard) => Answer::Unavailable,
            None => Answer::Written,
        }
    }

    /// A write takes effect; why not, if it does not.
    fn land(&mut self, writing: &Writing, wants: Option<u64>) -> Option<Answer> {
        let refuses = Refuses {
            growth: self.now < self.no_growth_until,
            rewrites: self.now < self.no_rewrite_until,
            deletions: self.keeps_rules,
        };
        match self.rules.land(writing, wants, refuses) {
            Landed::Changed(rules) => {
                self.rules = Arc::new(rules);
                // What is for a version that is gone never lands.
                let rules = Arc::clone(&self.rules);
                self.late.retain(|it| it.wants.is_none_or(|wants| rules.versions.contains(&wants)));
                None
            }
            Landed::Same => None,
            Landed::Conflict => Some(Answer::Conflict),
            Landed::Refused => Some(Answer::Refused(self.rules.retiring(&writing.change))),
        }
    }

    pub(super) fn land_late(&mut self, n: usize) {
        let Late { writing, wants, .. } = self.late.remove(n);
        let before = self.rules.shape.from(0);
        if self.land(&writing, wants).is_none() && self.rules.shape.from(0) != before {
            self.landed_late();
        }
    }

    pub(super) fn effect(&self, asks: &Asks) -> Option<Effect> {
        match asks {
            Asks::Write(writing) => Some(self.rules.effect(&writing.change)),
            Asks::Find | Asks::Load | Asks::Commit(_) | Asks::Read => None,
        }
    }

    /// The disk has room again: what was kept in memory is on it.
    pub(super) fn recover(&mut self) {
        if self.full_until <= self.now {
            self.on_disk = None;
        }
    }

    /// Two worlds of one digest have the same future: all that it counts of the past is what somebody may still ask for, all
    /// that it counts of times is how far they are from now, and of versions whether they are the newest. Workers have
    /// no names.
    pub(super) fn digest(&self) -> u64 {
        let mut workers = [self.desk_digest(0), self.desk_digest(1)];
        workers.sort_unstable();
        digest_of((workers, self.desk_digest(PERSON), self.own_digest()))
    }

    /// Digest of one actor's part of the world.
    pub(super) fn desk_digest(&self, actor: usize) -> u64 {
        let now = self.now;
        let desk = &self.desks[actor];
        let rests_until = self.rests_until.get(actor).map_or(0, |it| (it - now).max(0));
        let Some(node) = &desk.node else { return digest_of((rests_until, self.last == Some(actor))) };
        let are_newest: [bool; 2] =
            array::from_fn(|n| desk.versions[n] != 0 && desk.versions[n] == self.rules.versions[n]);
        digest_of((
            (node.told, node.began - now, desk.seen == self.version, are_newest),
            (desk.dies_at - now, (desk.starved_until - now).max(0), desk.has_shut),
            (self.is_claimed_by(actor), rests_until, self.last == Some(actor)),
        ))
    }

    fn own_digest(&self) -> u64 {
        let now = self.now;
        let lasting = [self.no_growth_until, self.no_rewrite_until, self.full_until, self.no_commit_until];
        let late = self
            .late
            .iter()
            .map(|it| digest_of((it.writing.shape.from(now), it.wants.is_some(), it.lands_by - now)));
        // A steady time depends on nothing else of the past.
        let ahead = world_ms(self.steady.now())
            - i64::try_from(self.steady.running_at(self.steady.now()).as_millis()).expect("short");
        let lead = self.steady.lead().as_millis();
        digest_of((
            (self.table.shape.from(now), self.on_disk.as_ref().map(|it| it.shape.from(now))),
            (self.rules.shape.from(now), late.fold(0_u64, u64::wrapping_add)),
            (lasting.map(|until| (until - now).max(0)), self.keeps_rules, self.set_back_ms, ahead, lead),
            (self.has_closed, self.faults, self.switches, self.oracle.digest(now)),
        ))
    }

    /// Digest to the letter: of every version and hash, of the hour, and of which worker it is.
    pub(super) fn letter(&self) -> u64 {
        let desk = |it: &Desk| {
            let at = (it.seen, it.versions, it.dies_at, it.starved_until, it.has_shut);
            (it.node.as_ref().map(|it| it.letter()), at)
        };
        let late = self.late.iter().map(|it| (it.writing.shape.from(0), it.wants, it.lands_by));
        digest_of((
            (self.now, self.digest(), self.table.letter, self.version, self.claimed_by),
            (self.on_disk.as_ref().map(|it| it.letter), self.rules.letter()),
            (late.collect::<Vec<_>>(), self.desks.iter().map(desk).collect::<Vec<_>>(), self.rests_until),
        ))
    }
}

fn grants() -> [Grant; 2] {
    let mut n = 0;
    LEASES.map(|it| {
        let by: Person = parsed(it.by);
        let id = RequestId::derived(&by, &parsed(&format!("key {n}")));
        n += 1;
        let length = SignedDuration::from_millis(it.ends_ms - it.starts_ms);
        let lease = Lease::starting(stamp(it.starts_ms), length).expect("a lease");
        let request = Request {
            id: id.clone(),
            by,
            via: None,
            signed_in: None,
            authority: None,
            what: What::Initiate { asks: vec![], break_glass: false },
            justification: None,
            correlation: None,
            asked_at: stamp(0),
            state: RequestState::Approved { at: stamp(0), by: None, via: None, broke_glass: false },
        };
        let place = (parsed("vm"), gate());
        Grant::approved(GrantId::derived(&id, 0), &request, place, parsed(it.address), lease)
    })
}

/// What both clocks show.
fn reading(now: i64, set_back_ms: i64) -> Reading {
    Reading { wall: stamp(now - set_back_ms), running: SignedDuration::from_millis(now) }
}

/// The gate of all leases.
pub(super) fn gate() -> Gate {
    static GATE_OF_ALL: OnceLock<Gate> = OnceLock::new();
    *GATE_OF_ALL.get_or_init(|| parsed(GATE))
}

pub(super) fn stamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(EPOCH_MS + ms).expect("in range")
}

/// The first whole millisecond by which that time has come.
pub(super) fn world_ms(at: Timestamp) -> i64 {
    let ceiled = at.as_nanosecond().div_euclid(1_000_000) + i128::from(at.as_nanosecond() % 1_000_000 != 0);
    i64::try_from(ceiled).expect("in range") - EPOCH_MS
}

pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error:?}"))
}
