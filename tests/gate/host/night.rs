//! The real program for a long time: killed again and again, flooded, and on a disk that fills and empties. The long
//! versions run at night (`tests/night`); the gate kills it five times.

use portcullis_tests::{
    api::{Api, Granted, granted},
    binary::{program, text},
    installation::{Installation, guest, wait_for},
    lateness::{Lateness, Watched, watch, worst},
    remote_azure::RemoteAzure,
    small_disk::SmallDisk,
    stories::Dice,
    strangers::{Behaviour, Strangers},
};
use serde_json::json;
use std::{
    env,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How late a lease may close in a flood or on a full disk, in seconds.
const FLOODED_MAX: f64 = 1.0;
const FULL_MAX: f64 = 2.0;
/// How long an overdue lease may let packets through once the program is up again: no figure, but a bound of patience,
/// since the machine of a test may be busy.
const OVERDUE_MAX: Duration = Duration::from_secs(15);

#[test]
fn up_killed_five_times_under_asks_loses_nothing_acknowledged() {
    kill_again_and_again(5);
}

mod at_night {
    #[test]
    #[ignore = "takes long: tests/night kills"]
    fn up_killed_fifty_times_under_asks_loses_nothing_acknowledged() {
        super::kill_again_and_again(50);
    }

    #[test]
    #[ignore = "takes long: tests/night flood"]
    fn leases_end_on_time_in_a_flood() {
        super::flood();
    }

    #[test]
    #[ignore = "takes long, and needs root: tests/night disk"]
    fn leases_end_on_time_while_a_disk_fills_and_empties() {
        super::fill_and_empty_a_disk();
    }
}

/// A lease that was acknowledged.
#[derive(Debug, Clone)]
struct Acknowledged {
    grant: Granted,
    lease: Watched,
    /// Was its early end acknowledged?
    is_closed: bool,
}

/// The cloud outlives the program; each lease has a source of its own, so that packets tell leases apart.
fn kill_again_and_again(kills: u64) {
    const MACHINES: u16 = 6;
    let seed = seed();
    let mut dice = Dice::of(seed);
    let (azure, data) = (RemoteAzure::farm(2, MACHINES / 2), tempfile::tempdir().expect("a folder"));
    let all: Mutex<Vec<Acknowledged>> = Mutex::default();
    let mut up = azure.up(data.path(), &[], &[]);
    let operator = Api::operator(up.url(), data.path());
    (0..MACHINES.into()).for_each(|it| operator.enable(&azure.target(it)));
    for kill in 0..kills {
        let operator = Api::operator(up.url(), data.path());
        let killed = AtomicBool::new(false);
        let before = all.lock().expect("no panic").len();
        thread::scope(|scope| {
            for caller in 0..4 {
                let (azure, all, killed, operator) = (&azure, &all, &killed, &operator);
                let dice = Dice::of(seed ^ (kill << 8) ^ caller);
                scope.spawn(move || ask_until_killed(azure, operator, all, killed, dice));
            }
            wait_for("something to be acknowledged", || before < all.lock().expect("no panic").len());
            thread::sleep(Duration::from_millis(dice.roll(900)));
            up.kill();
            killed.store(true, Ordering::Relaxed);
        });
        verified(data.path());
        up = azure.up(data.path(), &[], &[]);
        let operator = Api::operator(up.url(), data.path());
        let known = all.lock().expect("no panic").clone();
        overdue_are_shut(&azure, &known);
        known[before..].iter().for_each(|it| is_kept(&operator, it));
    }
    let operator = Api::operator(up.url(), data.path());
    let known = all.into_inner().expect("no panic");
    for it in &known {
        is_kept(&operator, it);
        let closed = operator.until(&it.grant.id, "closed", Duration::from_mins(1));
        assert!(closed.is_some(), "{it:?} is not closed");
    }
    overdue_are_shut(&azure, &known);
    assert_eq!(up.json(&["verify"])["whole"], true);
    println!("{} leases were acknowledged over {kills} kills, seed {seed}", known.len());
}

/// Asks for leases of a few seconds, and closes some early, until the program is gone.
fn ask_until_killed(
    azure: &RemoteAzure,
    operator: &Api,
    all: &Mutex<Vec<Acknowledged>>,
    killed: &AtomicBool,
    mut dice: Dice,
) {
    while !killed.load(Ordering::Relaxed) {
        let machine = dice.index(6);
        let source = u16::try_from(dice.roll(1 << 16)).expect("two bytes").to_be_bytes();
        let from = format!("198.18.{}.{}", source[0], source[1]);
        let asked = operator.ask(&[&azure.target(machine)], std::slice::from_ref(&from), 1 + dice.roll(4));
        // No answer, or another one: nothing was acknowledged.
        let Ok((202, answer)) = asked else { continue };
        let grant = granted(&answer).remove(0);
        let id = grant.id.clone();
        let lease = Watched { machine, from, end: grant.end };
        all.lock().expect("no panic").push(Acknowledged { grant, lease, is_closed: false });
        let close = || operator.post(&format!("/v1/grants/{id}/close"), &json!({}));
        if dice.once_in(4) && close().is_ok_and(|(status, _)| status == 200) {
            let mut all = all.lock().expect("no panic");
            let closed = all.iter_mut().find(|it| it.grant.id == id).expect("it was granted");
            closed.is_closed = true;
        }
    }
}

/// What was acknowledged is there, as it was acknowledged.
fn is_kept(operator: &Api, it: &Acknowledged) {
    let (status, grant) = operator.get(&format!("/v1/grants/{}", it.grant.id)).expect("an answer");
    assert_eq!(status, 200, "{it:?} was acknowledged: {grant}");
    let end: jiff::Timestamp = grant["end"].as_str().expect("an end").parse().expect("a time");
    assert!(end == it.grant.end || it.is_closed || grant["reason"] == "user_requested", "{it:?}: {grant}");
    if it.is_closed {
        assert!(
            ["closing", "closed"].contains(&grant["state"].as_str().expect("a state")),
            "{it:?}: {grant}"
        );
    }
}

/// Leases that are over let no packet through once the program is up.
fn overdue_are_shut(azure: &RemoteAzure, known: &[Acknowledged]) {
    let start = Instant::now();
    let now = jiff::Timestamp::now();
    let mut over: Vec<&Acknowledged> =
        known.iter().filter(|it| it.lease.end <= now || it.is_closed).collect();
    loop {
        over.retain(|it| azure.passes(it.lease.machine, &it.lease.from));
        if over.is_empty() {
            return;
        }
        assert!(start.elapsed() < OVERDUE_MAX, "after {OVERDUE_MAX:?} they are still open: {over:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The journal of a program that is gone is whole.
fn verified(data: &Path) {
    let verified = Command::new(program()).arg("verify").arg("--data").arg(data).output().expect("runs");
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
}

/// Strangers that ask, that say nothing and that never read, one kind after another and all at once; in between, asks
/// with a token.
fn flood() {
    const MACHINES: u16 = 12;
    const CROWDS: [(Behaviour, usize); 3] =
        [(Behaviour::Asks, 250), (Behaviour::NeverReads, 270), (Behaviour::Silent, 1000)];
    let it = Installation::farm(MACHINES, 1);
    let crowd = |(behaviour, count): &(Behaviour, usize)| {
        Strangers::at(it.up.url(), [127, 0, 0, 2].into(), *behaviour, *count)
    };
    let mut all = vec![];
    for kinds in [&CROWDS[..1], &CROWDS[1..2], &CROWDS[2..], &CROWDS[..]] {
        // The first of these leases were granted before the flood, the others within it.
        let mut leases = it.open_many(MACHINES / 2, 15, 1);
        let crowds: Vec<Strangers> = kinds.iter().map(crowd).collect();
        let half = usize::from(MACHINES / 2);
        for machine in half..2 * half {
            let asked = Instant::now();
            let lease = it.operator.ask(&[&it.azure.target(machine)], &[guest(machine)], 5);
            let (status, answer) = lease.expect("an answer in a flood");
            assert_eq!(status, 202, "{kinds:?}: {answer}");
            println!("{kinds:?}: a valid ask was answered after {:?}", asked.elapsed());
            let end = granted(&answer)[0].end;
            leases.push(Watched { machine, from: guest(machine), end });
        }
        let late = it.watch(&leases);
        let answered: Vec<u64> = crowds.iter().map(Strangers::answered).collect();
        println!("{kinds:?}: {answered:?} answers to strangers; late by {late:?}");
        all.extend(late);
    }
    assert!(is_on_time(&all, FLOODED_MAX), "{all:?}");
    assert_eq!(it.up.json(&["verify"])["whole"], true);
}

/// A disk without a free page for ten seconds, and with room for five, again and again.
fn fill_and_empty_a_disk() {
    const MACHINES: u16 = 8;
    const ROUNDS: usize = 8;
    const MEGABYTES: u32 = 48;
    let (data, azure) = (tempfile::tempdir().expect("a folder"), RemoteAzure::farm(MACHINES, 1));
    let disk = SmallDisk::over(data.path(), MEGABYTES).expect("a small disk");
    let up = azure.up(data.path(), &[], &disk.within());
    let seen = disk.seen_by(&up);
    let it = Installation::of(azure, up, data, &seen, MACHINES);
    let mut late = vec![];
    for _ in 0..ROUNDS {
        let leases = it.open_many(MACHINES, 5, 1);
        let last = leases.iter().map(|it| it.end).max().expect("a lease");
        disk.fill(&it.up);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_secs(10));
                disk.empty(&it.up);
            });
            let left = Duration::try_from(last.duration_since(jiff::Timestamp::now())).unwrap_or_default();
            late.extend(watch(&it.azure, &leases, Duration::from_secs(2), left + Duration::from_mins(2)));
        });
        wait_for("the program to be well again", || it.up.health() == 200);
    }
    println!("late by {late:?}");
    assert!(is_on_time(&late, FULL_MAX), "{late:?}");
    assert_eq!(it.operator.get("/v1/verify").expect("an answer").1["whole"], true);
}

fn is_on_time(late: &[Lateness], at_most: f64) -> bool {
    let worst = worst(late);
    !worst.is_open && worst.seconds <= at_most
}

fn seed() -> u64 {
    let seed = env::var("NIGHT_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    seed
}
