//! The state of the small world without its workers. It can be copied, and two of them can be compared.

use super::{
    dependencies::unavailable,
    fault::{CLOCK_BACK_MS, Fault, GROWTH_REFUSED_MS, LANDS_WITHIN_MS, NO_SPACE_MS, millis},
    oracle::Oracle,
    run::Choice,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    Error, Reading, Steady,
    ports::{Batch, Seen},
};
use portcullis_domain::{
    Action, AddressSet, Bands, Change, ChangeTo, ClaimToken, Etag, Existing, Families, Firewall, FirewallId,
    FirewallKind, Foreign, Gate, Grant, GrantId, Head, Held, Lease, Owner, Person, Protocol, RETRY_MAX,
    Request, RequestId, RequestState, Rule, RuleName, Snapshot, Sources, Target, TargetId, Told, What,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    net::IpAddr,
    sync::{Arc, OnceLock},
    task::Waker,
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
const BANDS: Bands = Bands { allows: 100..108, denies: 108..111, existing: Existing::Override };

/// A lease of this world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) by: &'static str,
    pub(super) address: &'static str,
    pub(super) starts_ms: i64,
    pub(super) ends_ms: i64,
}

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Load,
    Commit,
    Read,
    Write,
}

/// What a write would do to what stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It lets somebody in who is not let in now, whatever else it does.
    Opens,
    /// It only shuts.
    Shuts,
    /// It shuts by deleting.
    Deletes,
}

/// What becomes of a call: the fault that befalls it, if any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict(pub(super) Option<Fault>);

/// What an actor is at.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    /// The call that waits, and how its caller is woken.
    pub(super) pending: Option<(Call, Waker)>,
    /// What becomes of it, once that was chosen.
    pub(super) verdict: Option<Verdict>,
    /// What it would write.
    pub(super) writes: Option<Change>,
    /// Digest of all that the actor was told: it is a function of that. None for an actor that is not there.
    pub(super) told: Option<u64>,
    /// When its platform kills it.
    pub(super) dies_at: i64,
    /// It gets no turn before.
    pub(super) starved_until: i64,
    /// What it claims by.
    pub(super) token: Option<ClaimToken>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) target: Target,
    version: u64,
    /// Digest of the quiescent state that this one came from: what is said of both needs no saying again.
    pub(super) origin: u64,
    pub(super) told: Told,
    pub(super) head: Head,
    grants: BTreeMap<GrantId, Grant>,
    /// Each with the digest of what it says.
    ours: BTreeMap<RuleName, (Held, u64)>,
    written: u64,
    pub(super) late: Vec<(Change, i64)>,
    /// Until then the firewall takes no growth.
    no_growth_until: i64,
    /// Until then it takes no allow in the place of one that stands.
    no_rewrite_until: i64,
    /// It takes no deletion.
    keeps_rules: bool,
    /// Until then nothing is stored.
    full_until: i64,
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
    /// Who went on last, and how often somebody was left who could go on.
    pub(super) last: Option<usize>,
    pub(super) switches: u32,
    pub(super) oracle: Oracle,
    pub(super) path: Option<Arc<Step>>,
}

/// One choice of a path, and those before it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) at: i64,
    pub(super) choice: Choice,
    /// The call that it is about.
    pub(super) call: Option<Call>,
    pub(super) before: Option<Arc<Self>>,
}

impl World {
    /// A target that is guarded, and not yet settled.
    pub(super) fn begin() -> Self {
        let rule = portcullis_domain::PortRule::offered(parsed("22"), parsed("tcp"));
        let policy =
            portcullis_domain::Policy::of(vec![rule], &portcullis_domain::Terms::default()).expect("valid");
        let target = Target::unguarded(parsed("vm"));
        let mut world = Self {
            now: BEGINNING_MS,
            origin: 0,
            target,
            version: 0,
            told: Told::default(),
            head: Head::default(),
            grants: BTreeMap::new(),
            ours: BTreeMap::new(),
            written: 0,
            late: vec![],
            no_growth_until: BEGINNING_MS,
            no_rewrite_until: BEGINNING_MS,
            keeps_rules: false,
            full_until: BEGINNING_MS,
            set_back_ms: 0,
            steady: Steady::begin(reading(BEGINNING_MS, 0), Timestamp::MIN).0,
            rests_until: [BEGINNING_MS; WORKERS],
            desks: Default::default(),
            has_closed: false,
            faults: 0,
            last: None,
            switches: 0,
            oracle: Oracle::default(),
            path: None,
        };
        let guarded = world.target.clone().set_policy(Some(policy), &parsed("olga"), None, world.stamp());
        world
            .commit(PERSON, Batch::of(guarded.expect("it is new"), Seen::NEVER))
            .expect("nobody else writes");
        world
    }

    /// Both leases are granted, and the first of them begins.
    pub(super) fn grant_both(&mut self) {
        (self.now, self.path) = (0, None);
        self.steady = Steady::begin(reading(0, 0), Timestamp::MIN).0;
        let now = self.stamp();
        let grants = LEASES.iter().enumerate().map(|(n, it)| {
            let by: Person = parsed(it.by);
            let id = RequestId::derived(&by, &parsed(&format!("key {n}")));
            let length = SignedDuration::from_millis(it.ends_ms - it.starts_ms);
            let lease = Lease::starting(stamp(it.starts_ms), length).expect("a lease");
            let request = Request {
                id: id.clone(),
                by,
                what: What::Initiate { asks: vec![], break_glass: false },
                justification: None,
                correlation: None,
                asked_at: now,
                state: RequestState::Approved { at: now, by: None, broke_glass: false },
            };
            let place = (self.target.id.clone(), gate());
            Grant::approved(GrantId::derived(&id, 0), &request, place, parsed(it.address), lease)
        });
        let next = self.target.clone().grant(grants.collect(), None, now);
        self.commit(PERSON, Batch::of(next, Seen(self.version))).expect("nobody else writes");
    }

    /// The true time, which nobody in it can know.
    pub(super) fn stamp(&self) -> Timestamp {
        stamp(self.now)
    }

    /// The time as everybody in this process reads it.
    pub(super) fn time(&mut self) -> Timestamp {
        self.steady.next(reading(self.now, self.set_back_ms)).0
    }

    /// The same for who only wants to know what it would be.
    fn time_there(&self) -> Timestamp {
        let mut steady = self.steady;
        steady.next(reading(self.now, self.set_back_ms)).0
    }

    /// What lasts of a fault that befell a call.
    pub(super) fn befall(&mut self, fault: Fault) {
        match fault {
            Fault::GrowthRefused => {
                self.no_growth_until = self.now + GROWTH_REFUSED_MS;
                // What is refused for good is tried again ever more seldom.
                self.oracle.excuse_opening(self.no_growth_until + millis(RETRY_MAX));
            }
            Fault::RewriteRefused => {
                self.no_rewrite_until = self.now + GROWTH_REFUSED_MS;
                // What cannot be narrowed is deleted, and then opened anew.
                self.oracle.excuse_cuts(self.no_rewrite_until + millis(RETRY_MAX));
            }
            Fault::DeletionRefused => self.keeps_rules = true,
            Fault::NoSpace => self.full_until = self.now + NO_SPACE_MS,
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

    /// Would it change nothing?
    pub(super) fn is_befallen(&self, fault: Fault) -> bool {
        fault == Fault::DeletionRefused && self.keeps_rules
    }

    pub(super) fn lease(&self, of: Asked) -> Option<&Grant> {
        self.target.grants().values().find(|it| it.by.as_str() == of.by)
    }

    /// The lease that the person closes.
    pub(super) fn grant(&self, of: Asked) -> Option<(GrantId, Person)> {
        self.grants.values().find(|it| it.by.as_str() == of.by).map(|it| (it.id.clone(), it.by.clone()))
    }

    pub(super) fn grant_of(&self, id: &GrantId) -> Option<Grant> {
        self.grants.get(id).cloned()
    }

    pub(super) fn load(&self, id: &TargetId) -> Option<(Target, Seen)> {
        (*id == self.target.id).then(|| (self.target.clone(), Seen(self.version)))
    }

    /// All or nothing, on the version that was seen.
    pub(super) fn commit(&mut self, actor: usize, batch: Batch) -> Result<(), Error> {
        if self.now < self.full_until {
            return Err(unavailable("store it"));
        }
        let [(next, seen)] = <[_; 1]>::try_from(batch.targets).expect("there is one target");
        if seen != Seen(self.version) || next.entries.first().is_some_and(|it| it.n != self.head.n) {
            return Err(Error::Conflict);
        }
        let before = std::mem::replace(&mut self.target, next.target);
        self.version += 1;
        self.grants.extend(next.grants.into_iter().map(|it| (it.id.clone(), it)));
        self.committed(actor, &before, &next.entries);
        Ok(())
    }

    pub(super) fn read(&mut self) -> Snapshot {
        let (retired, ours): (Vec<_>, Vec<_>) = self.ours.iter().partition(|(_, (held, _))| is_retired(held));
        let retired = retired.into_iter().map(|(name, (held, _))| silent(name, held.priority));
        let firewall = Firewall {
            id: firewall(),
            kind: FirewallKind::Ordered { otherwise: Action::Deny },
            bands: BANDS,
            inside: AddressSet::default(),
            families: Families::BOTH,
            foreign: retired.chain([everybody()]).collect(),
            ours: ours.into_iter().map(|(name, (held, _))| (name.clone(), held.clone())).collect(),
        };
        Snapshot::of(self.time(), vec![firewall])
    }

    /// A write takes effect, unless the rule is not the one that was meant; says whether that changed anything.
    pub(super) fn land(&mut self, change: &Change) -> Result<bool, Error> {
        let held = self.ours.get(&change.name).map(|(held, _)| held);
        let is_rewritten = self.now < self.no_rewrite_until && self.let_in(&change.name).is_some();
        let is_meant = change.if_match.is_none() || held.is_some_and(|it| it.etag == change.if_match);
        let says = |it: Option<&(Held, u64)>| it.map(|(held, says)| (*says, held.priority));
        let before = says(self.ours.get(&change.name));
        match &change.to {
            ChangeTo::Delete if held.is_none() => {}
            ChangeTo::Delete | ChangeTo::Put { .. } if !is_meant => return Err(Error::Conflict),
            ChangeTo::Delete if self.keeps_rules => return Err(refused("deletion")),
            ChangeTo::Put { rule: Rule::Allow { .. }, .. } if is_rewritten => {
                return Err(refused("any other text"));
            }
            ChangeTo::Put { .. }
                if self.now < self.no_growth_until && self.effect(change) == Effect::Opens =>
            {
                return Err(refused("growth"));
            }
            ChangeTo::Delete => drop(self.ours.remove(&change.name)),
            ChangeTo::Put { rule, priority } => {
                if self.ours.iter().any(|(name, (it, _))| *name != change.name && it.priority == *priority) {
                    return Err(Error::Conflict);
                }
                self.written += 1;
                let etag = Some(Etag(self.written.to_string()));
                let says = digest_of(rule);
                let held = Held { rule: Some(rule.clone()), priority: *priority, beside: vec![], etag };
                self.ours.insert(change.name.clone(), (held, says));
            }
        }
        Ok(before != says(self.ours.get(&change.name)))
    }

    /// What a write would do to the rule that stands.
    pub(super) fn effect(&self, change: &Change) -> Effect {
        match &change.to {
            ChangeTo::Delete => Effect::Deletes,
            ChangeTo::Put { rule: Rule::Deny { .. }, .. } => Effect::Shuts,
            ChangeTo::Put { rule: Rule::Allow { sources, .. }, .. } => {
                let is_covered = self.let_in(&change.name).is_some_and(|it| it.cover(sources));
                if is_covered { Effect::Shuts } else { Effect::Opens }
            }
        }
    }

    /// Whom a rule lets in.
    pub(super) fn let_in(&self, name: &RuleName) -> Option<&Sources> {
        let (held, _) = self.ours.get(name)?;
        match held.rule.as_ref()? {
            Rule::Allow { sources, .. } => Some(sources),
            Rule::Deny { .. } => None,
        }
    }

    /// Is it the rule that a write means?
    pub(super) fn is_meant(&self, change: &Change) -> bool {
        self.ours.get(&change.name).is_some_and(|(held, _)| held.etag == change.if_match)
    }

    /// What a rule that may not be deleted is written over with; nothing where that is done.
    pub(super) fn retiring(&self, deletion: &Change) -> Option<Change> {
        let (held, _) = self.ours.get(&deletion.name).filter(|(held, _)| !is_retired(held))?;
        let to = ChangeTo::Put { rule: Rule::Deny { gates: BTreeSet::new() }, priority: held.priority };
        Some(Change { to, ..deletion.clone() })
    }

    /// A write will land, at any time from now on.
    pub(super) fn delay(&mut self, change: &Change) {
        self.late.push((change.clone(), self.now + LANDS_WITHIN_MS));
    }

    /// Does a packet from there get through? The first rule that speaks of it decides.
    pub(super) fn passes(&self, from: IpAddr) -> bool {
        let (source, gate): (IpAddr, Gate) = (from, gate());
        let admits = |sources: &Sources| sources.ranges().iter().any(|range| range.contains(&source));
        let speaking = self.ours.values().filter_map(|(held, _)| match held.rule.as_ref()? {
            Rule::Deny { gates } => gates.contains(&gate).then_some((held.priority, false)),
            Rule::Allow { gate: of, sources, .. } => {
                (*of == gate && admits(sources)).then_some((held.priority, true))
            }
        });
        speaking.min().is_none_or(|(_, passes)| passes)
    }

    /// The names of all rules of ours that say anything.
    pub(super) fn held(&self) -> impl Iterator<Item = &RuleName> {
        self.ours.iter().filter(|(_, (held, _))| !is_retired(held)).map(|(name, _)| name)
    }

    pub(super) fn lock(&self) -> RuleName {
        RuleName { owner: Owner::from(&self.target.id), gate: None }
    }

    /// A name that stands in no claim and that no live worker has.
    pub(super) fn fresh_token(&self) -> ClaimToken {
        let is_free = |it: &ClaimToken| {
            self.desks.iter().all(|desk| desk.token.as_ref() != Some(it))
                && self.target.standing(it, self.stamp()) != portcullis_domain::Standing::Mine
        };
        let mut all = (0..=ACTORS).map(|n| parsed::<ClaimToken>(&format!("w{n}")));
        all.find(is_free).expect("fewer are in use")
    }

    pub(super) fn is_due(&self) -> bool {
        self.target.due_at().is_some_and(|at| at <= self.time_there())
    }

    /// Nobody is alive who knows of versions: they begin anew, so that they do not keep equal states apart.
    pub(super) fn forget_versions(&mut self) {
        (self.version, self.written) = (1, 0);
        (self.last, self.switches) = (None, 0);
        for (held, _) in self.ours.values_mut() {
            self.written += 1;
            let etag = Some(Etag(self.written.to_string()));
            for (change, _) in self.late.iter_mut().filter(|(it, _)| it.if_match == held.etag) {
                change.if_match.clone_from(&etag);
            }
            held.etag = etag;
        }
    }

    /// What an actor was told goes into what it is.
    pub(super) fn tell(&mut self, actor: usize, what: impl std::hash::Hash) {
        let told = &mut self.desks[actor].told;
        let mut hasher = DefaultHasher::new();
        (*told, what).hash(&mut hasher);
        *told = Some(hasher.finish());
    }

    /// What an actor is told of the table, or of the firewall.
    pub(super) fn digest_of_call(&self, call: Call) -> u64 {
        let mut hasher = DefaultHasher::new();
        match call {
            Call::Load => self.hash_target(&mut hasher),
            Call::Read => {
                self.time_there().hash(&mut hasher);
                self.hash_rules(&mut hasher);
            }
            Call::Commit | Call::Write => {}
        }
        hasher.finish()
    }

    /// Two worlds of one digest have the same future, but for the hashes of their journals.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_target(&mut hasher);
        (self.origin, self.last, self.switches).hash(&mut hasher);
        self.hash_world(&mut hasher);
        for desk in &self.desks {
            let token = desk.token.as_ref().map(ClaimToken::as_str);
            (desk.told, token, desk.dies_at, desk.starved_until).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The same of a quiescent state, whatever it came from.
    pub(super) fn quiescent_digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        digest_of(&self.target).hash(&mut hasher);
        self.hash_world(&mut hasher);
        hasher.finish()
    }

    fn hash_world(&self, hasher: &mut DefaultHasher) {
        (self.now, self.has_closed, self.faults).hash(hasher);
        // What is over is no longer a difference.
        let lasting =
            [self.no_growth_until, self.no_rewrite_until, self.full_until].map(|until| until.max(self.now));
        (lasting, self.keeps_rules, self.rests_until.map(|until| until.max(self.now))).hash(hasher);
        // A steady time depends on nothing else of the past.
        let (steady, epoch) = (&self.steady, stamp(0));
        (self.set_back_ms, steady.lead(), steady.running_at(epoch)).hash(hasher);
        self.hash_rules(hasher);
        for (change, lands_by) in &self.late {
            (change.to_string(), change.if_match.as_ref().map(|it| &it.0), lands_by).hash(hasher);
        }
        self.oracle.hash(hasher);
    }

    /// All that is stored, as far as two paths from one quiescent state can differ in it: the journal tells it, and
    /// beside that there is only whose claim stands, and until when.
    fn hash_target(&self, hasher: &mut DefaultHasher) {
        let claims = |it: &Desk| {
            let token = it.token.as_ref()?;
            Some(self.target.standing(token, self.stamp()) == portcullis_domain::Standing::Mine)
        };
        (self.version, self.head.n, self.head.hash.to_string(), self.target.due_at()).hash(hasher);
        (self.target.is_claimed(), self.desks.iter().map(claims).collect::<Vec<_>>()).hash(hasher);
    }

    fn hash_rules(&self, hasher: &mut DefaultHasher) {
        for (name, (held, says)) in &self.ours {
            let etag = held.etag.as_ref().map(|it| &it.0);
            (name.gate.is_some(), held.priority, etag, says).hash(hasher);
        }
    }
}

/// Digest of all that is stored but the hashes of the journal.
fn digest_of(what: &impl Serialize) -> u64 {
    let mut value = serde_json::to_value(what).expect("it is stored as JSON");
    if let Some(fields) = value.as_object_mut() {
        fields.remove("head");
    }
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

/// A foreign rule beneath ours that lets everybody in: what a lock is for.
fn everybody() -> Foreign {
    Foreign {
        name: "all".to_owned(),
        priority: 4000,
        action: Action::Allow,
        protocol: Protocol::Any,
        sources: Sources::anywhere(),
        unsure: Sources::default(),
        ports: vec![0..=u16::MAX],
        to: Sources::anywhere(),
    }
}

/// A rule of ours that is over, and may not be deleted, as an adapter shows it: it says nothing.
fn silent(name: &RuleName, priority: u16) -> Foreign {
    Foreign { name: name.to_string(), priority, action: Action::Deny, ports: vec![], ..everybody() }
}

fn is_retired(held: &Held) -> bool {
    matches!(&held.rule, Some(Rule::Deny { gates }) if gates.is_empty())
}

fn refused(what: &'static str) -> Error {
    Error::Broken { doing: "write the rule", source: what.into() }
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

fn firewall() -> FirewallId {
    parsed("nsg")
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
