//! All there is in a story besides its workers: time, table, firewalls, chance, and who watches.

use super::{
    Plot, Weather,
    actors::{self, Wish},
    clock::{Event, NEVER, Outage, Space, Timeline, ms, stamp},
    cloud::{Cloud, Deed, TARGETS, Whole, target},
    dice::Dice,
    faults::{FULL_MS, Faults, LONG_MS, Lost, Once, RENEWS_MS, SET_MS, SLOW_MS, STARVED_MS, STORM_ENDS_MS},
    log::{Actor, Log},
    machine::{Machine, Setting},
    oracle::{Excuses, Oracle, Scene},
    queue::{Delivery, Queues},
    relay::{Batch, RELAY_LIFE_MS, Stream},
    store::Table,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Error, Jump, ports::Rank};
use portcullis_domain::{CLAIM, FirewallId, LOOK_AGAIN, RETRY_MAX, WORKER_LIFE};
use std::{
    collections::{BTreeMap, BTreeSet},
    task::Waker,
};

/// By then everything must rest.
pub(super) const STORY_ENDS_MS: i64 = 2_400_000;
pub(super) const RECONCILE_EVERY_MS: i64 = 900_000;
/// The last reconcile has time to rest.
const RECONCILES_END_MS: i64 = STORY_ENDS_MS - 60_000;
/// Whatever was refused for lack of a credential, or of a table, is done so long after there is one, less the promise.
const REFUSED_MS: i64 = 3_000;
/// What a call costs that is tried again at once.
const LOST_CALL_MS: i64 = 1_500;
/// A call takes this long at least, and at most so much longer, when nothing is wrong.
const QUICK_MS: (i64, i64) = (2, 40);
/// How long a loser waits at most after one loss, a worker at its claim and others at most, and how often that is doubled; in
/// milliseconds, as in DynamoDB.
const BACK_OFF_MS: i64 = 10;
const BACK_OFF_WORKER_MAX_MS: i64 = 50;
const BACK_OFF_MAX_MS: i64 = 400;
const BACK_OFF_DOUBLINGS_MAX: u32 = 16;
/// A story makes about so many calls; the one that is lost, or fatal, is among them.
const CALLS: u64 = 400;

/// What a worker is for.
#[derive(Debug)]
pub(super) enum Job {
    /// What was committed is told.
    Relay(Batch),
    /// What a queue delivers is done.
    Handle(Delivery),
    /// What is due until then, in milliseconds.
    Expire {
        until: i64,
    },
    Reconcile,
    Wish(Box<Wish>),
    /// Somebody recomputes the journal.
    Verify,
    /// It is recorded that the clock was set.
    Record(Jump),
}

impl Job {
    /// The life of a worker that is born for it.
    pub(super) fn begin(&self, now: i64) -> Life {
        let (life, is_dispensable) = match self {
            Self::Relay(_) => (RELAY_LIFE_MS, true),
            Self::Handle(delivery) => (delivery.life_ms(), false),
            Self::Expire { .. } | Self::Reconcile | Self::Wish(_) | Self::Verify => (ms(WORKER_LIFE), false),
            // It is a part of the program that is not replaced.
            Self::Record(_) => (NEVER - now, true),
        };
        Life { dies_at: now + life, starved_until: 0, is_zombie: false, is_dispensable }
    }
}

/// A worker, as the platform sees it.
#[derive(Debug)]
pub(super) struct Life {
    /// When the platform kills it.
    pub(super) dies_at: i64,
    /// It gets no turn before.
    pub(super) starved_until: i64,
    /// It slept, and its platform did not count that: its claims may be over.
    pub(super) is_zombie: bool,
    /// It holds nothing that anybody waits for: whatever becomes of it, nothing else may be late.
    pub(super) is_dispensable: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plot: Plot,
    pub(super) faults: Faults,
    pub(super) dice: Dice,
    pub(super) time: Timeline,
    pub(super) lives: BTreeMap<u64, Life>,
    pub(super) table: Table,
    pub(super) cloud: Cloud,
    machine: Machine,
    /// How often somebody set the clock.
    pub(super) settings: u64,
    pub(super) oracle: Oracle,
    pub(super) log: Log,
    pub(super) stream: Stream,
    pub(super) queues: Queues,
    /// A platform that counts sleep kills who slept too long; another one leaves them alive.
    counts_sleep: bool,
    /// How many calls until the one that is lost, or that its worker does not survive.
    fuse: u64,
    asleep_until: i64,
    /// The credential was refused, and another one is to be had then.
    pub(super) renews_at: Option<i64>,
    pub(super) space: Space,
    /// The table takes no commit.
    pub(super) is_table_out: bool,
    /// Who waits for an answer that never comes.
    pub(super) doomed: BTreeSet<u64>,
}

impl World {
    pub(super) fn begin(plot: Plot, is_told: bool) -> Self {
        let faults = plot.weather.faults();
        let mut dice = Dice::of(plot.seed);
        let cloud = Cloud::begin(&mut dice);
        let (stream, queues) = (Stream::begin(&mut dice), Queues::begin(&mut dice));
        let counts_sleep = dice.once_in(2);
        let fuse = 1 + dice.roll(CALLS);
        let mut world = Self {
            plot,
            faults,
            dice,
            time: Timeline::default(),
            lives: BTreeMap::new(),
            table: Table::default(),
            cloud,
            machine: Machine::begin(),
            settings: 0,
            oracle: Oracle::of(&faults),
            log: Log::of(is_told),
            stream,
            queues,
            counts_sleep,
            fuse,
            asleep_until: 0,
            renews_at: None,
            space: Space::Enough,
            is_table_out: false,
            doomed: BTreeSet::new(),
        };
        let beginning = format!("{:?}, {:?}, {:?}", plot.weather, world.stream, world.queues);
        world.note(Actor::World, || beginning);
        if world.stream.is_dead() {
            world.oracle.count("nobody relays");
        }
        actors::cast(&mut world.time, &mut world.dice);
        world.forecast();
        world
    }

    /// When the backstop runs, and when what goes wrong.
    fn forecast(&mut self) {
        let mut reconcile_at = self.dice.below(RECONCILE_EVERY_MS);
        while reconcile_at < RECONCILES_END_MS {
            self.time.at(reconcile_at, Event::Spawn(Job::Reconcile));
            self.oracle.reconciles_at(reconcile_at);
            reconcile_at += RECONCILE_EVERY_MS;
        }
        self.time.at(STORY_ENDS_MS - 10_000, Event::Spawn(Job::Verify));
        for _ in 0..self.dice.roll(self.faults.meddles_max + 1) {
            let at = self.dice.below(STORM_ENDS_MS / 2);
            self.time.at(at, Event::Meddle);
        }
        for n in 0..self.dice.roll(self.faults.intrusions_max + 1) {
            let (firewall, rule) = self.cloud.intruder(n, &mut self.dice);
            let (from, until) = self.trouble();
            self.time.at(until, Event::Retreat(firewall.clone(), rule.name.clone()));
            self.time.at(from, Event::Intrude(firewall, rule, until));
        }
        for _ in 0..self.dice.roll(self.faults.outages_max + 1) {
            let firewall = self.cloud.any(&mut self.dice);
            let (from, until) = self.trouble();
            let how = *self.dice.pick(&[Outage::Throttled, Outage::Broken]);
            self.time.at(from, Event::Break(firewall.clone(), how, until));
            self.time.at(until, Event::Repair(firewall));
        }
        for _ in 0..self.dice.roll(self.faults.limits_max + 1) {
            let firewall = self.cloud.any(&mut self.dice);
            let (from, until) = self.trouble();
            // As often as not for good.
            let until = if self.dice.once_in(2) { until } else { STORY_ENDS_MS };
            self.time.at(from, Event::Fill(firewall.clone(), until));
            self.time.at(until, Event::Enlarge(firewall));
        }
        for n in 0..self.dice.roll(self.faults.squeezes_max + 1) {
            self.squeeze(n);
        }
        for _ in 0..self.dice.roll(self.faults.keeps_max + 1) {
            let Some(firewall) = self.cloud.any_keeper(&mut self.dice) else { continue };
            let (from, until) = self.trouble();
            self.time.at(from, Event::Keep(firewall.clone()));
            // As often as not for good.
            if self.dice.once_in(2) {
                self.time.at(until, Event::LetGo(firewall));
            }
        }
        for _ in 0..self.dice.roll(self.faults.clock_sets_max + 1) {
            let (from, until) = self.trouble();
            let far =
                |dice: &mut Dice, most| if dice.once_in(2) { dice.below(5_000) } else { dice.below(most) };
            let setting = match self.dice.roll(4) {
                0 | 1 => Setting::By(-far(&mut self.dice, SET_MS)),
                2 => Setting::By(far(&mut self.dice, LONG_MS)),
                _ => Setting::Stand,
            };
            self.time.at(from, Event::Set(setting));
            let after = if self.dice.once_in(2) { Setting::Right } else { Setting::GoOn };
            self.time.at(until, Event::Set(after));
        }
        for _ in 0..self.dice.roll(self.faults.revocations_max + 1) {
            let (at, renews) = (self.dice.below(STORM_ENDS_MS / 2), self.dice.below(RENEWS_MS));
            self.time.at(at, Event::Revoke(at + renews));
        }
        for _ in 0..self.dice.roll(self.faults.fills_max + 1) {
            let (from, until) = self.trouble();
            self.time.at(from, Event::Space(Space::KeptBack, until));
            if self.dice.once_in(2) {
                let none_at = from + self.dice.below(until - from);
                let none_until = until.min(none_at + self.dice.below(FULL_MS));
                self.time.at(none_at, Event::Space(Space::None, none_until));
                self.time.at(none_until, Event::Space(Space::KeptBack, until));
            }
            self.time.at(until, Event::Space(Space::Enough, STORY_ENDS_MS));
        }
        for _ in 0..self.dice.roll(self.faults.table_outs_max + 1) {
            let (from, _) = self.trouble();
            let until = from + 1 + self.dice.below(FULL_MS);
            self.time.at(from, Event::Shut(until));
            self.time.at(until, Event::Reopen);
        }
        for _ in 0..self.dice.roll(self.faults.sleeps_max + 1) {
            let (from, until) = self.trouble();
            self.time.at(from, Event::Sleep { until });
        }
    }

    /// A firewall is full from soon after somebody was let in, until long after that lease is over.
    fn squeeze(&mut self, n: u64) {
        let asked_at = 20_000 + self.dice.below(STORM_ENDS_MS / 2);
        let (full_at, long) = actors::squeeze(&mut self.time, &mut self.dice, n, asked_at);
        let firewall = self.cloud.any_before(&target(TARGETS[0]), &mut self.dice);
        self.time.at(full_at, Event::Fill(firewall.clone(), full_at + long));
        self.time.at(full_at + long, Event::Enlarge(firewall));
    }

    /// From some time on, for some time: where most of the story happens.
    fn trouble(&mut self) -> (i64, i64) {
        let from = self.dice.below(STORM_ENDS_MS / 2);
        let long = if self.dice.once_in(3) { 10_000 } else { LONG_MS };
        (from, from + 1 + self.dice.below(long))
    }

    /// What comes next on the timeline; a job, if a worker is needed for it.
    pub(super) fn happen(&mut self) -> Option<Job> {
        match self.time.pop_event()? {
            Event::Spawn(job) => return Some(job),
            Event::Read(part) => return self.read(part),
            Event::Deliver(queue) => return self.deliver(queue),
            Event::Land(deed) => self.land_late(&deed),
            Event::WriteBack(firewall, whole) => self.write_back(&firewall, whole),
            Event::Meddle => self.meddle(),
            Event::Intrude(firewall, rule, until) => {
                self.note(Actor::World, || {
                    format!("a foreign rule is put above ours: {rule:?} in {firewall}")
                });
                self.oracle.count("foreign rule above ours");
                self.cloud.intrude(&firewall, rule, self.time.now);
                // Lateness is told once a look has seen it gone.
                self.oracle.excuse(None, self.time.now, until + ms(RETRY_MAX), Excuses::WorkAndCuts);
            }
            Event::Retreat(firewall, name) => {
                self.note(Actor::World, || format!("the foreign rule {name} is taken from {firewall}"));
                self.cloud.retreat(&firewall, &name, self.time.now);
            }
            Event::Break(firewall, how, until) => {
                self.note(Actor::World, || format!("{firewall} is {how:?}"));
                self.oracle.count("firewall out of order");
                self.cloud.set_outage(&firewall, Some(how));
                self.oracle.excuse(None, self.time.now, until + ms(RETRY_MAX), Excuses::WorkAndHealing);
            }
            Event::Repair(firewall) => {
                self.note(Actor::World, || format!("{firewall} is repaired"));
                self.cloud.set_outage(&firewall, None);
            }
            Event::Sleep { until } => self.sleep(until),
            Event::Revoke(renews_at) => {
                self.note(Actor::World, || {
                    format!("the credential is refused; another is had at {renews_at} ms")
                });
                self.renews_at = Some(renews_at.max(self.renews_at.unwrap_or(0)));
                self.oracle.excuse(None, self.time.now, renews_at + REFUSED_MS, Excuses::Work);
            }
            Event::Space(space, until) => {
                self.note(Actor::World, || format!("space on the disk until {until} ms: {space:?}"));
                // What shuts is stored all the same: that excuses no lateness.
                self.space = space;
            }
            Event::Shut(until) => {
                self.note(Actor::World, || format!("the table takes no commit until {until} ms"));
                self.is_table_out = true;
                // A worker that cannot even give its claim back leaves it standing; nobody claims anything meanwhile.
                let until = until.max(self.time.now + ms(CLAIM));
                self.oracle.excuse(None, self.time.now, until + REFUSED_MS, Excuses::Work);
            }
            Event::Reopen => {
                self.note(Actor::World, || "the table takes commits again".to_owned());
                self.is_table_out = false;
            }
            Event::Fill(firewall, until) => {
                self.note(Actor::World, || format!("{firewall} is full until {until} ms"));
                self.cloud.set_full(&firewall, true);
                // Nobody who is let in is cut by that, and what is over is shut; the others wait.
                self.oracle.excuse(None, self.time.now, until + ms(RETRY_MAX), Excuses::Growth);
            }
            Event::Enlarge(firewall) => {
                self.note(Actor::World, || format!("{firewall} is full no longer"));
                self.cloud.set_full(&firewall, false);
            }
            Event::Keep(firewall) => {
                self.note(Actor::World, || format!("{firewall} refuses to delete any rule"));
                self.cloud.set_keeping(&firewall, true);
            }
            Event::LetGo(firewall) => {
                self.note(Actor::World, || format!("{firewall} deletes rules again"));
                self.cloud.set_keeping(&firewall, false);
            }
            Event::Set(setting) => self.set(setting),
            Event::Look => {}
        }
        self.oracle.stir();
        None
    }

    fn land_late(&mut self, deed: &Deed) {
        let change = deed.change();
        let landed = self.cloud.land(deed, self.time.now);
        self.note(Actor::World, || format!("late write lands: {deed}: {landed:?}"));
        if landed == Ok(true) {
            self.oracle.count("write landed late");
            // Between the first look and the second.
            let until = self.time.now + ms(LOOK_AGAIN[1]) - ms(LOOK_AGAIN[0]);
            let owner = self.table.owner(&change.name.owner);
            self.oracle.excuse(owner, self.time.now, until, Excuses::WorkAndCuts);
        }
    }

    fn write_back(&mut self, firewall: &FirewallId, whole: Whole) {
        if !self.cloud.write_back(firewall, whole, self.time.now) {
            return;
        }
        self.note(Actor::World, || format!("another client writes {firewall} back as it read it"));
        self.oracle.count("group written back");
        // By the first look after our writes, which came after it was read.
        let until = self.time.now + ms(LOOK_AGAIN[0]) + ms(CLAIM);
        self.oracle.excuse(None, self.time.now, until, Excuses::WorkAndCuts);
    }

    fn meddle(&mut self) {
        let Some((firewall, name)) = self.cloud.meddle(self.time.now, &mut self.dice) else { return };
        self.note(Actor::World, || format!("a foreign hand is at {name} in {firewall}"));
        self.oracle.count("meddled");
        // Also a neighbour's: what a rule was made into may speak of everybody behind the firewall.
        let until = self.oracle.next_reconcile(self.time.now, self.faults.is_deadly());
        self.oracle.excuse(None, self.time.now, until, Excuses::WorkAndCuts);
    }

    fn sleep(&mut self, until: i64) {
        if until <= self.time.now {
            return;
        }
        self.note(Actor::World, || format!("the host sleeps until {until} ms"));
        self.oracle.count("host slept");
        self.oracle.sleeps_until(until);
        self.time.sleep(until);
        self.asleep_until = self.asleep_until.max(until);
        self.oracle.excuse(None, self.time.now, until, Excuses::WorkAndHealing);
        if self.counts_sleep {
            // Who should have died meanwhile dies before it goes on.
            return;
        }
        let slept = until - self.time.now;
        for life in self.lives.values_mut() {
            life.dies_at += slept;
            life.is_zombie = true;
        }
        if !self.lives.is_empty() {
            // What they write in their sleep is looked at again by who took their claims over.
            let rested = until + ms(WORKER_LIFE) + ms(CLAIM) + ms(LOOK_AGAIN[0]);
            self.oracle.excuse(None, self.time.now, rested, Excuses::WorkAndCuts);
        }
    }

    /// Somebody sets the clock of the machine. No end may come late for it by the clock that runs, nor by the one on the
    /// wall: so nothing excuses that, but where the wall leaps nothing can have been done meanwhile.
    fn set(&mut self, setting: Setting) {
        let now = self.time.now;
        let until = self.machine.set(setting, now);
        self.settings += 1;
        self.note(Actor::World, || format!("the clock is set: {setting:?}"));
        self.oracle.count(match setting {
            Setting::By(by) if by < 0 => "clock set back",
            Setting::By(_) | Setting::Right | Setting::GoOn => "clock set",
            Setting::Stand => "clock stands still",
        });
        if now < until {
            self.note(Actor::World, || format!("it is {until} ms at once"));
            self.oracle.count("clock set forward");
            self.oracle.sleeps_until(until);
            self.time.sleep(until);
            self.asleep_until = self.asleep_until.max(until);
            self.oracle.excuse(None, now, until, Excuses::WorkAndHealing);
            self.time.now = until;
        }
        self.clock(0);
        self.time.rouse();
    }

    /// What a worker takes for the time whose clock is `skew` milliseconds ahead. That somebody set it is recorded.
    pub(super) fn clock(&mut self, skew: i64) -> Timestamp {
        let (shown, jump) = self.machine.shows(self.time.now);
        if let Some(jump) = jump {
            self.oracle.jumped(jump);
            self.time.at(self.time.now, Event::Spawn(Job::Record(jump)));
        }
        shown.saturating_add(SignedDuration::from_millis(skew)).unwrap_or(shown)
    }

    /// When a time comes that is waited for from now on, unless the clock is set: and how often it was.
    pub(super) fn wakes_at(&mut self, at: Timestamp) -> (i64, u64) {
        self.clock(0);
        (self.machine.wakes_at(at, self.time.now), self.settings)
    }

    /// Until when a worker waits that lost a race for a commit, so that not all losers meet again: at most twice as long with
    /// every loss, and a worker with its claim less than others.
    pub(super) fn backs_off(&mut self, worker: u64, rank: Rank, lost: usize) -> i64 {
        if self.doomed.contains(&worker) {
            return NEVER;
        }
        let longest = match rank {
            Rank::Worker => BACK_OFF_WORKER_MAX_MS,
            Rank::Shutting | Rank::Asking => BACK_OFF_MAX_MS,
        };
        let doublings = u32::try_from(lost).unwrap_or(u32::MAX).min(BACK_OFF_DOUBLINGS_MAX);
        self.time.now + self.dice.below((BACK_OFF_MS * 2_i64.pow(doublings)).min(longest))
    }

    /// When the worker that calls now will go on, if ever.
    pub(super) fn pause(&mut self, worker: u64) -> i64 {
        let now = self.time.now;
        let (least, spread) = QUICK_MS;
        let quick = now + least + self.dice.below(spread);
        if self.doomed.contains(&worker) {
            return NEVER;
        }
        let strikes = self.faults.once == Some(Once::Death) && self.burns();
        if strikes || self.storms() && self.dice.once_in(self.faults.dies_once_in) {
            self.die(worker);
            return NEVER;
        }
        if self.storms() && self.dice.once_in(self.faults.slow_once_in) {
            let until = now + self.dice.below(SLOW_MS);
            self.note(Actor::Worker(worker), || format!("waits until {until} ms"));
            self.excuse_work(worker, until);
            return until;
        }
        if self.storms() && self.dice.once_in(self.faults.starved_once_in) {
            let until = now + self.dice.below(STARVED_MS);
            self.starve(worker, until);
        }
        quick
    }

    /// Death at an await: at once, or after waiting for an answer that never comes.
    pub(super) fn die(&mut self, worker: u64) {
        let now = self.time.now;
        let at_once = self.dice.once_in(2);
        self.note(Actor::Worker(worker), || (if at_once { "dies" } else { "hangs" }).to_owned());
        if let Some(life) = self.lives.get_mut(&worker) {
            if at_once {
                life.dies_at = now;
            }
            // Whoever does more than relay gives up by itself before.
            let until = life.dies_at.min(now + ms(WORKER_LIFE));
            self.excuse_work(worker, until);
        }
    }

    /// Its timers fire, and nobody lets it go on.
    fn starve(&mut self, worker: u64, until: i64) {
        self.note(Actor::Worker(worker), || format!("gets no turn until {until} ms"));
        self.oracle.count("worker starved");
        if let Some(life) = self.lives.get_mut(&worker) {
            life.starved_until = until;
        }
        self.excuse_work(worker, until);
    }

    /// Does a worker that was woken get no turn? It is woken again when it does.
    pub(super) fn is_starved(&mut self, worker: u64, waker: &Waker) -> bool {
        let until = self.lives.get(&worker).map_or(0, |it| it.starved_until);
        if until <= self.time.now {
            return false;
        }
        self.time.wake(until, waker.clone());
        true
    }

    /// INVARIANT (the-clock-closes): whatever becomes of a relay, nothing opens or closes late.
    fn excuse_work(&mut self, worker: u64, until: i64) {
        if self.lives.get(&worker).is_none_or(|it| !it.is_dispensable) {
            self.oracle.excuse(None, self.time.now, until, Excuses::Work);
        }
    }

    pub(super) fn loses(&mut self, worker: u64) -> Option<Lost> {
        let strikes = self.faults.once == Some(Once::Lost) && self.burns();
        if !(strikes || self.storms() && self.dice.once_in(self.faults.lost_once_in)) {
            return None;
        }
        let lost = *self.dice.pick(&[Lost::Unreached, Lost::Unheard]);
        self.note(Actor::Worker(worker), || format!("the next call is {lost:?}"));
        self.oracle.count("call lost");
        self.excuse_work(worker, self.time.now + LOST_CALL_MS);
        Some(lost)
    }

    /// The platform killed a worker: perhaps it leaves a claim.
    pub(super) fn lost_worker(&mut self, worker: u64) {
        self.note(Actor::Worker(worker), || "is killed by its platform".to_owned());
        self.oracle.count("worker died");
        self.excuse_work(worker, self.time.now + ms(CLAIM));
        self.lives.remove(&worker);
    }

    /// A worker could not do what it was born for, or some of it.
    pub(super) fn gave_up(&mut self, worker: u64, error: &Error, what: &'static str) {
        self.oracle.count(what);
        self.note(Actor::Worker(worker), || format!("{what}: {}", error.full()));
        // Where nothing is wrong, or what is wrong is over by itself, whoever gives up gives back what it claimed.
        let is_mild = match self.plot.weather {
            Weather::Calm
            | Weather::Skewed
            | Weather::Limited
            | Weather::DeletionRefused
            | Weather::WrittenBack
            | Weather::Paced
            | Weather::TokenRefused
            | Weather::NoSpace
            | Weather::TableOut => true,
            Weather::OneLost
            | Weather::OneDeath
            | Weather::Asleep
            | Weather::Outage
            | Weather::Late
            | Weather::Meddled
            | Weather::Stale
            | Weather::Stormy
            // Who slept while the clock was set forward may have been at work for longer than a worker lives.
            | Weather::ClockSet
            | Weather::Starved
            | Weather::Everything => false,
        };
        if !is_mild {
            self.excuse_work(worker, self.time.now + ms(CLAIM));
        }
        if matches!(error, Error::Broken { .. }) && !self.has_outages() {
            let now = self.time.now;
            self.oracle.break_rule("nothing-is-broken", now, error.full());
        }
    }

    fn burns(&mut self) -> bool {
        let burns = self.fuse == 1;
        self.fuse = self.fuse.saturating_sub(1);
        burns
    }

    pub(super) fn storms(&self) -> bool {
        self.time.now < STORM_ENDS_MS
    }

    pub(super) fn skew(&mut self) -> i64 {
        let most = self.faults.skew_ms;
        self.dice.below(2 * most + 1) - most
    }

    /// No clock is so fast that more would be due by it.
    pub(super) fn is_anything_due_by(&self, then: i64) -> bool {
        let latest = stamp(then + self.faults.skew_ms);
        self.table.next_due().is_some_and(|at| at <= latest)
    }

    /// Until when the host sleeps, or slept.
    pub(super) fn awake_at(&self) -> i64 {
        self.asleep_until
    }

    pub(super) fn observe(&mut self) {
        let Self { oracle, table, cloud, time, .. } = self;
        oracle.observe(&Scene { table, cloud, now: time.now });
    }

    pub(super) fn conclude(&mut self) {
        let Self { oracle, table, cloud, time, .. } = self;
        oracle.conclude(&Scene { table, cloud, now: time.now });
        let left = self.queues.left();
        if left != 0 {
            let how = format!("{left} messages are neither handled nor dead letters");
            self.oracle.break_rule("nothing-is-left-out", self.time.now, how);
        }
    }

    pub(super) fn note(&mut self, who: Actor, what: impl FnOnce() -> String) {
        self.log.note(self.time.now, who, what);
    }

    /// Is a broken firewall part of this story?
    pub(super) fn has_outages(&self) -> bool {
        matches!(self.plot.weather, Weather::Outage | Weather::Everything)
    }
}
