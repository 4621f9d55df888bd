//! What people do in a story: guard, ask, ask again, approve, close early, extend in the last second.

use super::{
    clock::{Timeline, ms, stamp},
    cloud::{TARGETS, target},
    dice::Dice,
    faults::STORM_ENDS_MS,
    outside::Outside,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_app::{self as app, Asked, Error, Guarding, ports::Store};
use portcullis_domain::{
    Approvers, Ask, Gate, GrantId, IdempotencyKey, Person, Policy, PortRule, Protocol, RequestId, Sources,
    TargetId, Terms, What, Window,
};
use std::{fmt, net::IpAddr};

/// How often a person presses the button before giving up.
const PRESSES: usize = 3;
/// Whether the last one asks for more than they may is chance: the longest lease of every policy.
const MAX: SignedDuration = SignedDuration::from_secs(280);
/// The terms of every story.
pub(super) const TERMS: Terms =
    Terms { lease_min: SignedDuration::from_secs(10), pending_for: SignedDuration::from_secs(40) };

/// Addresses to knock from. Two people share the first; the last but one is nobody's.
pub(super) const ADDRESSES: [&str; 4] = ["203.0.113.1", "203.0.113.9", "198.51.100.1", "2001:db8::1"];
/// Gates to knock at: the last one has two protocols.
pub(super) const GATES: [&str; 4] = ["22/tcp", "3389/tcp", "3389/udp", "53/*"];
/// The one that needs an approval.
const APPROVED_GATE: &str = "3389/udp";

/// Says yes to things that were not shown.
const CARELESS: &str = "dan";

/// What somebody wants.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    Enable { guarding: Guarding, policy: Policy },
    Edit { guarding: Guarding, policy: Policy },
    Disable { target: TargetId },
    Confirm { target: TargetId },
    Open { asked: Asked },
    Extend { by: Person, key: IdempotencyKey, grant: GrantId, end: Timestamp },
    Close { by: Person, grant: GrantId },
    Approve { request: RequestId, by: Person },
    Reject { request: RequestId, by: Person },
}

impl Wish {
    pub(super) async fn utter(self, outside: &Outside, now: Timestamp) -> Result<(), Error> {
        let mut outcome = Ok(());
        for _ in 0..PRESSES {
            outcome = self.press(outside, now).await;
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

    async fn press(&self, o: &Outside, now: Timestamp) -> Result<(), Error> {
        match self {
            Self::Enable { guarding, policy } => app::enable(o, o, guarding, policy, now).await.map(|_| ()),
            Self::Edit { guarding, policy } => {
                app::edit(o, o, guarding, |_| Ok(policy.clone()), now).await.map(|_| ())
            }
            Self::Disable { target } => app::disable(o, o, target, &person("olga"), now).await.map(|_| ()),
            Self::Confirm { target } => app::confirm(o, o, target, &person("olga"), now).await.map(|_| ()),
            Self::Open { asked } => app::initiate(o, &TERMS, asked, now).await.map(|_| ()),
            Self::Extend { by, key, grant, end } => {
                app::extend(o, &TERMS, extending(by, key, grant, *end), now).await.map(|_| ())
            }
            Self::Close { by, grant } => app::close(o, grant, by, None, now).await.map(|_| ()),
            Self::Approve { request, by } => {
                let shown = Self::shown(o, request, by).await?;
                app::approve(o, &TERMS, request, by, &shown, now).await.map(|_| ())
            }
            Self::Reject { request, by } => {
                let shown = Self::shown(o, request, by).await?;
                app::reject(o, request, by, &shown, None, now).await.map(|_| ())
            }
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
}

/// Many ask for one gate just when somebody's lease of it ends: their asks must not keep it open.
fn crowd(time: &mut Timeline, dice: &mut Dice) {
    const CROWD: i64 = 40;
    const ONE_EVERY_MS: i64 = 150;
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
            what: What::Initiate { asks: vec![ask] },
            justification: None,
            correlation: None,
        }
    };
    time.wish(asked_at, Wish::Open { asked: asking(0, length, ADDRESSES[0]) });
    for n in 1..CROWD {
        let at = asked_at + length + (n - CROWD / 4) * ONE_EVERY_MS + dice.below(ONE_EVERY_MS);
        time.wish(at, Wish::Open { asked: asking(n, 60_000, ADDRESSES[1]) });
    }
}

/// A machine is guarded; perhaps on trial, perhaps differently later, perhaps no longer.
fn guard(time: &mut Timeline, dice: &mut Dice, id: &TargetId, at: i64) {
    let guarding = |dice: &mut Dice| {
        let within = SignedDuration::from_millis(5_000 + dice.below(60_000));
        let confirm_within = dice.once_in(3).then_some(within);
        Guarding { target: id.clone(), by: person("olga"), confirm_within }
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
            let again = Guarding { target: id.clone(), by: person("olga"), confirm_within: None };
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
        rules.push(PortRule { port, protocol, sources, max: MAX, approvers });
    }
    Policy::of(rules, &TERMS).expect("a policy")
}

fn approvers(dice: &mut Dice) -> Approvers {
    match dice.roll(4) {
        0 | 1 => Approvers::AnybodyElse,
        2 => Approvers::Only(["carol", CARELESS].map(person).into()),
        _ => Approvers::Only([].into()),
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
    let key: IdempotencyKey = format!("key {n}").parse().expect("a key");
    let request = RequestId::derived(&by, &key);
    let grant = GrantId::derived(&request, 1);
    let asked =
        Asked { by: by.clone(), key, what: What::Initiate { asks }, justification: None, correlation: None };
    time.wish(asked_at, Wish::Open { asked: asked.clone() });
    if dice.once_in(3) {
        // Pressed twice, or delivered late, even after the close.
        let again_at = asked_at + dice.below(2 * length);
        time.wish(again_at, Wish::Open { asked });
    }
    if gate == APPROVED_GATE {
        decide(time, dice, asked_at, &request);
    }
    if dice.once_in(3) {
        let soon = if dice.once_in(2) { 15_000 } else { end - asked_at };
        let close_at = asked_at + dice.below(soon);
        time.wish(close_at, Wish::Close { by: by.clone(), grant: grant.clone() });
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
        let wish = if dice.once_in(5) { Wish::Reject { request, by } } else { Wish::Approve { request, by } };
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
    let of = |text: &str| text.parse::<Sources>().expect("sources");
    match dice.roll(16) {
        0..=4 => of(ADDRESSES[0]),
        5..=8 => of(ADDRESSES[1]),
        9..=12 => of("203.0.113.0/29"),
        13 | 14 => of(ADDRESSES[3]),
        _ => Sources::default(),
    }
}

pub(super) fn addresses() -> [IpAddr; 4] {
    ADDRESSES.map(|it| it.parse().expect("an address"))
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
        }
    }
}

fn extending(by: &Person, key: &IdempotencyKey, grant: &GrantId, end: Timestamp) -> app::Extending {
    let (by, key, grant) = (by.clone(), key.clone(), grant.clone());
    app::Extending { by, key, grant, end, justification: None, correlation: None }
}
