//! What people do in a story: guard, ask, ask again, approve, close early, extend in the last second.

use super::{
    bots::{Flaw, Letter, Says},
    clock::{Timeline, ms, stamp},
    cloud::{TARGETS, target},
    dice::Dice,
    faults::STORM_ENDS_MS,
    outside::Outside,
    rights,
};
use crate::door::{self, Asked, Guarding};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Error, ports::Store};
use portcullis_domain::{
    Ask, ForeignDenies, Gate, GrantId, IdempotencyKey, Justification, People, Person, Policy, PortRule,
    Protocol, RequestId, Sources, TargetId, Terms, What, Window,
};
use std::{fmt, net::IpAddr, sync::LazyLock};

/// How often a person presses the button before giving up.
const PRESSES: usize = 3;
/// Whether the last one asks for more than they may is chance: the longest lease of every policy.
const MAX: SignedDuration = SignedDuration::from_secs(280);
/// The terms of every story.
pub(super) const TERMS: Terms =
    Terms { lease_min: SignedDuration::from_secs(10), pending_for: SignedDuration::from_secs(40) };

/// Addresses to knock from. Two people share the first; the last but one is nobody's.
const ADDRESSES: [&str; 4] = ["203.0.113.1", "203.0.113.9", "198.51.100.1", "2001:db8::1"];
/// Gates to knock at: the last one has two protocols.
pub(super) const GATES: [&str; 4] = ["22/tcp", "3389/tcp", "3389/udp", "53/*"];
/// The one that needs an approval.
const APPROVED_GATE: &str = "3389/udp";

/// Says yes to things that were not shown.
const CARELESS: &str = "dan";

/// What somebody wants.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    Enable {
        guarding: Guarding,
        policy: Policy,
    },
    Edit {
        guarding: Guarding,
        policy: Policy,
    },
    Disable {
        target: TargetId,
    },
    Confirm {
        target: TargetId,
    },
    Open {
        asked: Asked,
    },
    Extend {
        by: Person,
        key: IdempotencyKey,
        grant: GrantId,
        end: Timestamp,
    },
    Close {
        by: Person,
        grant: GrantId,
    },
    Approve {
        request: RequestId,
        by: Person,
    },
    Reject {
        request: RequestId,
        by: Person,
    },
    /// The operator takes the role away by which somebody asks.
    TakeRole {
        of: Person,
    },
    /// A bot says it for them.
    Post(Letter),
}

impl Wish {
    pub(super) async fn utter(self, outside: &Outside, now: Timestamp) -> Result<(), Error> {
        let mut outcome = Ok(());
        self.announce(outside);
        for press in 0..PRESSES {
            outcome = self.press(outside, press, now).await;
            if let Ok(()) | Err(Error::Refused(_) | Error::NotFound { .. }) = &outcome {
                break;
            }
        }
        let mut world = outside.world();
        match &outcome {
            Ok(()) => {}
            Err(Error::Refused(reasons)) => {
                world.oracle.count("refused");
                world.note(outside.actor(), || format!("is refused: {reasons}"));
            }
            Err(error) => world.note(outside.actor(), || format!("is not served: {}", error.full())),
        }
        // People give up and leave nothing behind.
        Ok(())
    }

    /// What is done of this is what somebody asked for. Who decides says so once they were shown what it is.
    fn announce(&self, outside: &Outside) {
        let oracle = &mut outside.world().oracle;
        match self {
            Self::Open { asked } => {
                oracle.asks(RequestId::derived(&asked.by, &asked.key), asked.correlation.clone());
            }
            Self::Extend { by, key, .. } => oracle.asks(RequestId::derived(by, key), None),
            Self::Close { by, grant } => oracle.closes(grant, by),
            Self::Reject { request, by } => oracle.rejects(request, by),
            Self::Enable { .. }
            | Self::Edit { .. }
            | Self::Disable { .. }
            | Self::Confirm { .. }
            | Self::Approve { .. }
            | Self::TakeRole { .. }
            | Self::Post(_) => {}
        }
    }

    async fn press(&self, o: &Outside, press: usize, now: Timestamp) -> Result<(), Error> {
        match self {
            Self::Enable { guarding, policy } => door::enable(o, o, guarding, policy, now).await.map(|_| ()),
            Self::Edit { guarding, policy } => door::edit(o, o, guarding, policy, now).await.map(|_| ()),
            Self::Disable { target } => door::disable(o, o, target, &person("olga"), now).await.map(|_| ()),
            Self::Confirm { target } => door::confirm(o, o, target, &person("olga"), now).await.map(|_| ()),
            Self::Open { asked } => door::initiate(o, &TERMS, asked, now).await.map(|_| ()),
            Self::Extend { by, key, grant, end } => {
                door::extend(o, &TERMS, extending(by, key, grant, *end), now).await.map(|_| ())
            }
            Self::Close { by, grant } => door::close(o, grant, by, None, now).await.map(|_| ()),
            Self::Approve { request, by } => {
                let shown = Self::shown(o, request, by).await?;
                door::approve(o, &TERMS, request, by, &shown, now).await.map(|_| ())
            }
            Self::Reject { request, by } => {
                let shown = Self::shown(o, request, by).await?;
                door::reject(o, request, by, &shown, None, now).await.map(|_| ())
            }
            Self::TakeRole { of } => rights::take(o, of, now).await,
            Self::Post(letter) => letter.post(o, press).await,
        }
    }

    async fn shown(o: &Outside, id: &RequestId, by: &Person) -> Result<String, Error> {
        let (request, _) =
            o.request(id).await?.ok_or_else(|| Error::NotFound { what: "request", name: id.to_string() })?;
        let shown = if by.as_str() == CARELESS { "something else".to_owned() } else { request.shown() };
        o.world().oracle.shown(id, by, &shown);
        Ok(shown)
    }
}

/// Who does what when, as the dice say.
pub(super) fn cast(time: &mut Timeline, dice: &mut Dice) {
    for (n, id) in TARGETS.iter().enumerate() {
        let at = if n == 0 || dice.once_in(2) { 0 } else { dice.below(200_000) };
        guard(time, dice, &target(id), at);
    }
    let rush = if dice.once_in(3) { 2_000 } else { 300_000 };
    for n in 0..=dice.roll(7) {
        let asked_at = 5_000 + dice.below(rush);
        lease(time, dice, n, asked_at);
    }
    if dice.once_in(8) {
        crowd(time, dice);
    }
    for n in 0..dice.roll(4) {
        mischief(time, dice, n);
    }
    for (at, of) in rights::cast(dice) {
        time.wish(at, Wish::TakeRole { of });
    }
}

/// An event that must be refused: by who is no bot here, for whom it may not speak, or nothing that can be read.
fn mischief(time: &mut Timeline, dice: &mut Dice, n: u64) {
    let flaw = *dice.pick(&[
        Flaw::NotAllowed,
        Flaw::NotAllowed,
        Flaw::NotAllowed,
        Flaw::Garbage,
        Flaw::AnotherVersion,
        Flaw::AnotherKind,
        Flaw::Timeless,
    ]);
    let stranger = ("stranger", ["ann", "carol"][dice.index(2)]);
    let (source, by) = if flaw == Flaw::NotAllowed {
        *dice.pick(&[stranger, ("chatops", "eve")])
    } else {
        ("chatops", "ann")
    };
    // What others ask for, so that only who asks is wrong.
    let others = person(["ann", "bob"][dice.index(2)]);
    let key = format!("key {}", dice.roll(4)).parse().expect("a key");
    let request = RequestId::derived(&others, &key);
    let says = match dice.roll(4) {
        0 => Says::Approve(request),
        1 => Says::Close(GrantId::derived(&request, 1)),
        _ => {
            let window = Window::For(SignedDuration::from_secs(60));
            Says::request(vec![Ask { sources: sources_of(ADDRESSES[2]), ..ask(dice, GATES[0], window) }])
        }
    };
    let letter = Letter {
        source,
        event: format!("mischief-{n}"),
        id: None,
        correlation: Some(format!("mischief-{n}").parse().expect("a correlation id")),
        by: person(by),
        says,
        flaw: Some(flaw),
    };
    time.wish(dice.below(400_000), Wish::Post(letter));
}

/// What somebody wants, said by a bot for them; as often as not by an event that has no id of its own.
fn by_bot(dice: &mut Dice, event: String, by: &Person, says: Says) -> Letter {
    let id = (!dice.once_in(4)).then(|| format!("{event} of ours"));
    let correlation = (!dice.once_in(4)).then(|| format!("about-{event}").parse().expect("a correlation id"));
    let source = *dice.pick(&["chatops", "deploy"]);
    Letter { source, event, id, correlation, by: by.clone(), says, flaw: None }
}

/// Many ask for one gate just when somebody's lease of it ends: their asks must not keep it open.
fn crowd(time: &mut Timeline, dice: &mut Dice) {
    const CROWD: i64 = 40;
    // All at once, or for so long that one worker's life is too short for all of it.
    let (one_every, lasts) = *dice.pick(&[(150, 60_000), (1_000, 12_000)]);
    let (asked_at, length) = (60_000 + dice.below(60_000), 20_000);
    let asking = |n: i64, length: i64, sources: &str| {
        let ask = Ask {
            target: target(TARGETS[0]),
            port: GATES[0].parse::<Gate>().expect("a gate").port,
            protocol: None,
            sources: sources.parse().expect("sources"),
            window: Window::For(SignedDuration::from_millis(length)),
        };
        let key = format!("crowd {n}").parse().expect("a key");
        Asked {
            by: person("ann"),
            key,
            what: What::Initiate { asks: vec![ask], break_glass: false },
            justification: None,
            correlation: None,
        }
    };
    time.wish(asked_at, Wish::Open { asked: asking(0, length, ADDRESSES[0]) });
    let by_bots = dice.once_in(2);
    for n in 1..CROWD {
        let at = asked_at + length + (n - CROWD / 4) * one_every + dice.below(one_every);
        let asked = asking(n, lasts, ADDRESSES[1]);
        let What::Initiate { asks, .. } = &asked.what else { unreachable!("it asks for a lease") };
        let letter =
            by_bots.then(|| by_bot(dice, format!("crowd-{n}"), &asked.by, Says::request(asks.clone())));
        time.wish(at, letter.map_or(Wish::Open { asked }, Wish::Post));
    }
}

/// Two are let in, and others ask for more of the same gate before the first of these leases is over; says from when on a
/// firewall has to be full, and for how long, so that what they ask for is refused just when it ends. The second one stays.
pub(super) fn squeeze(time: &mut Timeline, dice: &mut Dice, n: u64, asked_at: i64) -> (i64, i64) {
    const OPENS_MS: i64 = 4_000;
    const MORE: [&str; 2] = [ADDRESSES[1], ADDRESSES[2]];
    let length = 12_000 + dice.below(30_000);
    let full_at = asked_at + OPENS_MS;
    let more_at = full_at + dice.below(length - OPENS_MS);
    let asks = [
        ("first", asked_at, length, &ADDRESSES[..1]),
        ("second", asked_at, 3 * length, &ADDRESSES[3..]),
        ("more", more_at, 2 * length, &MORE[..]),
    ];
    for (which, at, length, sources) in asks {
        let ask = Ask {
            target: target(TARGETS[0]),
            port: GATES[0].parse::<Gate>().expect("a gate").port,
            protocol: None,
            sources: Sources::try_from(sources.iter().map(ToString::to_string).collect::<Vec<_>>())
                .expect("sources"),
            window: Window::For(SignedDuration::from_millis(length)),
        };
        let asked = Asked {
            by: person("ann"),
            key: format!("squeeze {n} {which}").parse().expect("a key"),
            what: What::Initiate { asks: vec![ask], break_glass: false },
            justification: None,
            correlation: None,
        };
        time.wish(at, Wish::Open { asked });
    }
    (full_at, 3 * length)
}

/// A machine is guarded; perhaps on trial, perhaps differently later, perhaps no longer.
fn guard(time: &mut Timeline, dice: &mut Dice, id: &TargetId, at: i64) {
    let guarding = |dice: &mut Dice| {
        let within = SignedDuration::from_millis(5_000 + dice.below(60_000));
        let confirm_within = dice.once_in(3).then_some(within);
        Guarding { target: id.clone(), by: person("olga"), confirm_within, take_over: false }
    };
    let confirmed = |time: &mut Timeline, dice: &mut Dice, at: i64, guarding: &Guarding| {
        if let Some(within) = guarding.confirm_within.filter(|_| dice.once_in(2)) {
            time.wish(at + 1_000 + dice.below(ms(within)), Wish::Confirm { target: id.clone() });
        }
    };
    let mut enabling = guarding(dice);
    if dice.once_in(2) {
        enabling.confirm_within = None;
    }
    confirmed(time, dice, at, &enabling);
    time.wish(at, Wish::Enable { guarding: enabling, policy: policy(dice) });
    for _ in 0..dice.roll(3) {
        let at = at + dice.below(500_000);
        let editing = guarding(dice);
        confirmed(time, dice, at, &editing);
        time.wish(at, Wish::Edit { guarding: editing, policy: policy(dice) });
    }
    if dice.once_in(4) {
        let disable_at = at + dice.below(500_000);
        time.wish(disable_at, Wish::Disable { target: id.clone() });
        if dice.once_in(2) {
            let again =
                Guarding { target: id.clone(), by: person("olga"), confirm_within: None, take_over: false };
            let at = disable_at + dice.below(20_000);
            time.wish(at, Wish::Enable { guarding: again, policy: policy(dice) });
        }
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let mut rules = vec![];
    for gate in GATES {
        if gate != GATES[0] && dice.once_in(4) {
            continue;
        }
        let Gate { port, protocol } = gate.parse().expect("a gate");
        let everybody = Sources::anywhere();
        let sources = if dice.once_in(4) { "203.0.113.0/24".parse().expect("a range") } else { everybody };
        let approvers = (gate == APPROVED_GATE).then(|| approvers(dice));
        let break_glass = approvers.as_ref().and_then(|_| breakers(dice));
        rules.push(PortRule {
            port,
            protocol,
            sources,
            max: MAX,
            approvers,
            break_glass,
            foreign_denies: ForeignDenies::Respect,
            accepted: vec![],
        });
    }
    Policy::of(rules, &TERMS).expect("a policy")
}

fn approvers(dice: &mut Dice) -> People {
    match dice.roll(4) {
        0 | 1 => People::Anybody,
        2 => People::Only(["carol", CARELESS].map(person).into()),
        _ => People::Only([].into()),
    }
}

fn breakers(dice: &mut Dice) -> Option<People> {
    match dice.roll(4) {
        0 => Some(People::Anybody),
        1 => Some(People::Only(["ann"].map(person).into())),
        2 => Some(People::Only([].into())),
        _ => None,
    }
}

/// One request, and what follows from it.
fn lease(time: &mut Timeline, dice: &mut Dice, n: u64, asked_at: i64) {
    let by = person(["ann", "bob"][dice.index(2)]);
    let length = 10_000 + dice.below(ms(MAX));
    let wait = if dice.once_in(5) { 30_000 + dice.below(90_000) } else { 0 };
    let end = asked_at + wait + length;
    let span = SignedDuration::from_millis(length);
    let window = match (wait, dice.once_in(2)) {
        (0, true) => Window::For(span),
        (0, false) => Window::Until(stamp(end)),
        (_, _) => Window::From { start: stamp(asked_at + wait), length: span },
    };
    let gate = GATES[dice.index(8) / 2];
    let mut asks = vec![ask(dice, gate, window)];
    if dice.once_in(4) {
        asks.push(ask(dice, gate, window));
    }
    let break_glass = dice.once_in(if gate == APPROVED_GATE { 3 } else { 12 });
    // Who forgets to say why is refused.
    let why: Option<Justification> =
        (break_glass && !dice.once_in(6)).then(|| "nobody answers".parse().expect("a reason"));
    let says = Says::Request { asks: asks.clone(), why: why.clone(), break_glass };
    // No event says from when on.
    let letter = (wait == 0 && dice.once_in(2)).then(|| by_bot(dice, format!("ask-{n}"), &by, says));
    let key = letter.as_ref().map(|it| it.key(&it.event));
    let key: IdempotencyKey = key.unwrap_or_else(|| format!("key {n}").parse().expect("a key"));
    let request = RequestId::derived(&by, &key);
    let grant = GrantId::derived(&request, 1);
    let correlation = letter.as_ref().and_then(|it| it.correlation.clone());
    let what = What::Initiate { asks, break_glass };
    let asked = Asked { by: by.clone(), key, what, justification: why, correlation };
    let wish = letter.map_or(Wish::Open { asked: asked.clone() }, Wish::Post);
    time.wish(asked_at, wish.clone());
    if dice.once_in(3) {
        // Pressed twice, or delivered late, even after the close; who asked by a bot may ask by themselves, too.
        let again_at = asked_at + dice.below(2 * length);
        time.wish(again_at, if dice.once_in(2) { wish } else { Wish::Open { asked } });
    }
    if gate == APPROVED_GATE {
        decide(time, dice, asked_at, &request);
    }
    if dice.once_in(3) {
        let soon = if dice.once_in(2) { 15_000 } else { end - asked_at };
        let close_at = asked_at + dice.below(soon);
        let wish = if dice.once_in(3) {
            Wish::Post(by_bot(dice, format!("close-{n}"), &by, Says::Close(grant.clone())))
        } else {
            Wish::Close { by: by.clone(), grant: grant.clone() }
        };
        time.wish(close_at, wish);
    }
    if dice.once_in(2) {
        let early = if dice.once_in(2) { dice.below(8_000) } else { dice.below(length) };
        let later = (end + 10_000 + dice.below(200_000)).min(STORM_ENDS_MS);
        let key: IdempotencyKey = format!("more {n}").parse().expect("a key");
        if gate == APPROVED_GATE {
            decide(time, dice, end - early, &RequestId::derived(&by, &key));
        }
        time.wish(end - early, Wish::Extend { by, key, grant, end: stamp(later) });
    }
}

/// Approvals come in time, late, twice, by people who may not; or never.
fn decide(time: &mut Timeline, dice: &mut Dice, asked_at: i64, request: &RequestId) {
    for _ in 0..dice.roll(4) {
        let by = person(["ann", "bob", "carol", "carol", CARELESS][dice.index(5)]);
        let at = asked_at + dice.below(50_000);
        let request = request.clone();
        let is_no = dice.once_in(5);
        let wish = if dice.once_in(3) {
            let says = if is_no { Says::Reject(request) } else { Says::Approve(request) };
            Wish::Post(by_bot(dice, format!("decide-{at}"), &by, says))
        } else if is_no {
            Wish::Reject { request, by }
        } else {
            Wish::Approve { request, by }
        };
        time.wish(at, wish);
    }
}

fn ask(dice: &mut Dice, gate: &str, window: Window) -> Ask {
    let Gate { port, protocol } = gate.parse().expect("a gate");
    let protocol: Option<Protocol> = (!dice.once_in(8)).then_some(protocol);
    let at = usize::try_from(dice.roll(4) * 2 / 3).expect("few");
    Ask { target: target(TARGETS[at]), port, protocol, sources: sources(dice), window }
}

/// One address, another, both, the office that the first is in, or a mistake.
fn sources(dice: &mut Dice) -> Sources {
    let of = sources_of;
    match dice.roll(16) {
        0..=4 => of(ADDRESSES[0]),
        5..=8 => of(ADDRESSES[1]),
        9..=12 => of("203.0.113.0/29"),
        13 | 14 => of(ADDRESSES[3]),
        _ => Sources::default(),
    }
}

fn sources_of(text: &str) -> Sources {
    text.parse().expect("sources")
}

/// Those who may get in: everybody who is asked for, and one who is asked for with the whole office alone.
pub(super) fn addresses() -> [IpAddr; 5] {
    static ALL: LazyLock<[IpAddr; 5]> = LazyLock::new(|| {
        let [one, another, guest, six] = ADDRESSES;
        [one, another, guest, six, "203.0.113.2"].map(|it| it.parse().expect("an address"))
    });
    *ALL
}

fn person(name: &str) -> Person {
    name.parse().expect("a person")
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable { guarding, policy } => write!(f, "enable {guarding:?} {policy:?}"),
            Self::Edit { guarding, policy } => write!(f, "edit {guarding:?} {policy:?}"),
            Self::Disable { target } => write!(f, "disable {target}"),
            Self::Confirm { target } => write!(f, "confirm {target}"),
            Self::Open { asked } => write!(f, "ask {:?}", asked.what),
            Self::Extend { grant, end, .. } => write!(f, "extend {grant} until {end}"),
            Self::Close { grant, .. } => write!(f, "close {grant}"),
            Self::Approve { request, by } => write!(f, "approve {request} as {by}"),
            Self::Reject { request, by } => write!(f, "reject {request} as {by}"),
            Self::TakeRole { of } => write!(f, "take the role of {of} away"),
            Self::Post(letter) => write!(f, "{letter}"),
        }
    }
}

fn extending(by: &Person, key: &IdempotencyKey, grant: &GrantId, end: Timestamp) -> door::Extending {
    let (by, key, grant) = (by.clone(), key.clone(), grant.clone());
    door::Extending { by, key, grant, end, justification: None, correlation: None }
}
