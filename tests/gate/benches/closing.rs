//! How late leases close while something is wrong, and how many can be asked for and live at all: `cargo bench -p
//! --workspace --bench closing [-- --only NAME,NAME]`.
//!
//! The real program, built for release, guards a simulated Azure that is outside of it. Lateness is the time from the
//! end of a lease to the last packet that passed, by the packet oracle of that cloud; the journal is not asked.

use portcullis_tests::{
    api::{Api, Granted, granted},
    fake_clock::FakeClock,
    installation::{Installation, guest, wait_for},
    lateness::{Lateness, Watched, worst},
    remote_azure::RemoteAzure,
    small_disk::SmallDisk,
    strangers::{Behaviour, Strangers},
};
use serde_json::json;
use std::{
    env,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// One row of the table.
struct Row {
    name: &'static str,
    label: &'static str,
    /// The figure of commit c2844c8, from the report of its review.
    before: &'static str,
    wanted: Wanted,
    measure: fn() -> Result<Measured, String>,
    /// How it is measured.
    how: &'static str,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
    /// There is no bound.
    Anything,
}

struct Measured {
    value: f64,
    /// The value is a lower bound: leases were still open when the observation ended.
    is_open: bool,
    note: String,
}

const ROWS: [Row; 15] = [
    Row {
        name: "growth",
        label: "growth of 3,999 ranges by the same person",
        before: "218 and more",
        wanted: Wanted::AtMost(2.0),
        measure: growth,
        how: "a lease of 10 s; its person asks for 1,500 + 1,500 + 999 more ranges, others for what is refused to them; 4 ranges of a neighbour in the group",
    },
    Row {
        name: "strangers",
        label: "250 callers on any path without a token",
        before: "36",
        wanted: Wanted::AtMost(1.0),
        measure: strangers,
        how: "12 leases that end 1 s apart from 20 s on; the worst",
    },
    Row {
        name: "readers",
        label: "270 callers that never read",
        before: "57",
        wanted: Wanted::AtMost(1.0),
        measure: readers,
        how: "12 leases that end 1 s apart from 20 s on; the worst",
    },
    Row {
        name: "disk",
        label: "disk full for 30 s",
        before: "35 and more",
        wanted: Wanted::AtMost(2.0),
        measure: disk,
        how: "a tmpfs without a free page; 8 leases that end 2 s apart in that time; the worst",
    },
    Row {
        name: "clock",
        label: "clock back 10 min",
        before: "600",
        wanted: Wanted::AtMost(2.0),
        measure: clock,
        how: "libfaketime sets the program's wall clock back; the cloud and the observer keep the right time",
    },
    Row {
        name: "token",
        label: "token refused early",
        before: "88",
        wanted: Wanted::AtMost(3.0),
        measure: || Ok(on_an_ordinary_azure(|azure| azure.cloud.refuse_tokens(None))),
        how: "an ordinary Azure refuses every token that it gave out, once the lease is open; a write takes 2 s of the figure",
    },
    Row {
        name: "lock",
        label: "deletion locked",
        before: "for ever",
        wanted: Wanted::AtMost(3.0),
        measure: || Ok(on_an_ordinary_azure(RemoteAzure::forbid_deletion)),
        how: "a lock `CanNotDelete` on the resource group of an ordinary Azure; a write takes 2 s of the figure",
    },
    Row {
        name: "many",
        label: "3,000 leases of one machine that end together",
        before: "",
        wanted: Wanted::AtMost(2.0),
        measure: many_end,
        how: "until the API shows the last of them as closed, which is after its last packet",
    },
    Row {
        name: "azure",
        label: "ordinary Azure, alone",
        before: "10",
        wanted: Wanted::AtMost(4.0),
        measure: azure_alone,
        how: "until the API shows the grant as closed, which is after its last packet",
    },
    Row {
        name: "azure-three",
        label: "ordinary Azure, three behind one group, each",
        before: "22 for the last",
        wanted: Wanted::AtMost(2.5),
        measure: azure_three,
        how: "three leases that end together; the lateness of the n-th by packets, divided by n; the worst",
    },
    Row {
        name: "azure-open",
        label: "ask to open, ordinary Azure",
        before: "10.2",
        wanted: Wanted::AtMost(3.5),
        measure: azure_open,
        how: "from the ask until the API shows the grant as open; the worst of 3",
    },
    Row {
        name: "refused",
        label: "valid asks refused with 409, 32 callers, one machine, %",
        before: "21",
        wanted: Wanted::AtMost(0.0),
        measure: asks_refused,
        how: "32 people ask for leases of 5 s one after another, for 10 s",
    },
    Row {
        name: "asks",
        label: "valid asks a second, 32 callers, one machine",
        before: "118",
        wanted: Wanted::AtLeast(400.0),
        measure: asks_a_second,
        how: "the same",
    },
    Row {
        name: "lives-one",
        label: "whole lives a second, 32 callers, one machine",
        before: "",
        wanted: Wanted::Anything,
        measure: lives_on_one,
        how: "asked, seen open, closed early, seen closed; the cloud does a write at once",
    },
    Row {
        name: "lives-many",
        label: "whole lives a second, 32 callers, 64 machines",
        before: "",
        wanted: Wanted::Anything,
        measure: lives_on_many,
        how: "the same, on machines with a security group each",
    },
];

fn main() -> ExitCode {
    let only = match only() {
        Ok(only) => only,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let rows: Vec<&Row> =
        ROWS.iter().filter(|it| only.is_empty() || only.iter().any(|name| name == it.name)).collect();
    println!("{:<56} {:>16} {:>10} {:>9}", "lateness of a close, seconds", "c2844c8", "now", "wanted");
    let mut missed = vec![];
    for row in &rows {
        let wanted = row.wanted.shown();
        let (shown, is_met, note) = match (row.measure)() {
            Ok(measured) => (measured.shown(), row.wanted.is_met(&measured), measured.note),
            Err(why) => ("-".to_owned(), false, format!("not measured: {why}")),
        };
        println!("{:<56} {:>16} {shown:>10} {wanted:>9}", row.label, row.before);
        if !note.is_empty() {
            println!("    {note}");
        }
        if !is_met {
            missed.push(row.name);
        }
    }
    println!("\nhow it is measured");
    for row in &rows {
        println!("{:<12} {}", row.name, row.how);
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nbounds that were missed, or not measured: {}", missed.join(", "));
    ExitCode::FAILURE
}

/// The names after `--only`; none is all of them. Cargo adds arguments of its own.
fn only() -> Result<Vec<String>, String> {
    let mut words = env::args().skip(1).skip_while(|it| it != "--only");
    let names: Vec<String> = words.nth(1).iter().flat_map(|it| it.split(',')).map(str::to_owned).collect();
    let is_known = |name: &String| ROWS.iter().any(|row| row.name == name);
    match names.iter().find(|it| !is_known(it)) {
        Some(name) => {
            let known: Vec<&str> = ROWS.iter().map(|it| it.name).collect();
            Err(format!("`--only {name}`: there is no such row; the rows are {}", known.join(", ")))
        }
        None => Ok(names),
    }
}

impl Wanted {
    fn shown(self) -> String {
        match self {
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::Anything => String::new(),
        }
    }

    fn is_met(self, measured: &Measured) -> bool {
        match self {
            Self::AtMost(bound) => !measured.is_open && measured.value <= bound,
            Self::AtLeast(bound) => bound <= measured.value,
            Self::Anything => true,
        }
    }
}

impl Measured {
    fn of(value: f64) -> Self {
        Self { value, is_open: false, note: String::new() }
    }

    fn late(late: &[Lateness]) -> Self {
        let Lateness { seconds, is_open } = worst(late);
        Self { is_open, ..Self::of(seconds) }
    }

    fn noting(self, note: String) -> Self {
        Self { note, ..self }
    }

    fn shown(&self) -> String {
        let precision = if self.value < 100.0 { 2 } else { 0 };
        format!("{}{:.precision$}", if self.is_open { "> " } else { "" }, self.value)
    }
}

/// How long a grant may take to open or to close.
const SETTLED_MAX: Duration = Duration::from_mins(2);

fn growth() -> Result<Measured, String> {
    const PARTS: [u16; 3] = [1500, 1500, 999];
    const PEOPLE: [&str; 5] = ["ann", "bob", "carol", "dave", "erin"];
    const NEIGHBOUR: [&str; 4] = ["198.51.100.1", "198.51.100.3", "198.51.100.5", "198.51.100.7"];
    let scene = Installation::farm(1, 2);
    // All prefixes of a group count together: with this neighbour they are 4,003 of 4,000 also when the lease is over.
    let (neighbour, sources) = (scene.azure.target(1), NEIGHBOUR.map(str::to_owned));
    let (status, answer) =
        scene.operator.ask(&[&neighbour], &sources, 3600).map_err(|error| unanswered(&error))?;
    if status != 202 {
        return Err(format!("{status}: {answer}"));
    }
    let lease = scene.open(0, 10);
    let people = PEOPLE.map(|it| scene.operator.person(it));
    let mut accepted = 0;
    let mut first = 0;
    for part in PARTS {
        let sources: Vec<String> = (first..first + part).map(apart).collect();
        first += part;
        let target = scene.azure.target(0);
        // A share of one person may be smaller than this: then others ask.
        let takes = |it: &&Api| it.ask(&[&target], &sources, 3600).is_ok_and(|(status, _)| status == 202);
        if [&scene.operator].into_iter().chain(&people).any(|it| takes(&it)) {
            accepted += part;
        }
    }
    let note = format!("{accepted} ranges were accepted");
    Ok(Measured::late(&scene.watch(&[lease])).noting(note))
}

fn unanswered(error: &ureq::Error) -> String {
    format!("there was no answer: {error}")
}

/// Addresses that no prefix combines.
fn apart(n: u16) -> String {
    let [high, low] = n.to_be_bytes();
    format!("20.{high}.{low}.1")
}

fn strangers() -> Result<Measured, String> {
    flooded(Behaviour::Asks, 250)
}

fn readers() -> Result<Measured, String> {
    flooded(Behaviour::NeverReads, 270)
}

fn flooded(behaviour: Behaviour, count: usize) -> Result<Measured, String> {
    const LEASES: u16 = 12;
    let scene = Installation::farm(LEASES, 1);
    // The first one ends when all are open and the strangers are at work.
    let leases = scene.open_many(LEASES, 20, 1);
    let strangers = Strangers::at(scene.up.url(), [127, 0, 0, 1].into(), behaviour, count);
    let measured = Measured::late(&scene.watch(&leases));
    let answered = strangers.answered();
    if behaviour == Behaviour::Asks && answered == 0 {
        return Err("no stranger was answered, so that this was no flood".to_owned());
    }
    Ok(measured.noting(format!("{answered} answers were read by strangers")))
}

fn disk() -> Result<Measured, String> {
    const MEGABYTES: u32 = 48;
    const LEASES: u16 = 8;
    const FULL: Duration = Duration::from_secs(30);
    let data = tempfile::tempdir().expect("a folder");
    let disk = SmallDisk::over(data.path(), MEGABYTES)?;
    let azure = RemoteAzure::farm(LEASES, 1);
    let up = azure.up(data.path(), &[], &disk.within());
    let seen = disk.seen_by(&up);
    let scene = Installation::of(azure, up, data, &seen, LEASES);
    let leases = scene.open_many(LEASES, 10, 2);
    disk.fill(&scene.up);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(FULL);
            disk.empty(&scene.up);
        });
        Ok(Measured::late(&scene.watch(&leases)))
    })
}

fn clock() -> Result<Measured, String> {
    const BACK: i64 = -600;
    let clock = FakeClock::new()?;
    let data = tempfile::tempdir().expect("a folder");
    let azure = RemoteAzure::farm(1, 1);
    let within = clock.within();
    let within: Vec<&str> = within.iter().map(String::as_str).collect();
    let up = azure.up(data.path(), &[], &within);
    let seen = data.path().to_owned();
    let scene = Installation::of(azure, up, data, &seen, 1);
    let lease = scene.open(0, 10);
    clock.shift(BACK);
    Ok(Measured::late(&scene.watch(&[lease])))
}

/// One lease, and something that happens once it is open.
fn on_an_ordinary_azure(happens: impl Fn(&RemoteAzure)) -> Measured {
    let scene = Installation::farm(1, 1);
    scene.azure.ordinary();
    let lease = scene.open(0, 10);
    happens(&scene.azure);
    Measured::late(&scene.watch(&[lease]))
}

fn many_end() -> Result<Measured, String> {
    const LEASES: usize = 3000;
    /// One person may hold a quarter of what a machine has room for.
    const PEOPLE: usize = 8;
    /// Time for all to be asked for, in seconds.
    const ASKED_WITHIN: i64 = 90;
    let scene = Installation::farm(1, 1);
    let target = scene.azure.target(0);
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ASKED_WITHIN);
    let people: Vec<Api> = (0..PEOPLE).map(|n| scene.operator.person(&format!("caller-{n}"))).collect();
    thread::scope(|scope| {
        let asking = people.iter().enumerate().map(|(who, api)| {
            let target = target.as_str();
            scope.spawn(move || {
                let left =
                    || u64::try_from(end.duration_since(jiff::Timestamp::now()).as_secs()).unwrap_or(1);
                (0..LEASES / PEOPLE).try_for_each(|n| {
                    let source = format!("203.{who}.{}.{}", n / 100, 2 * (n % 100));
                    match api.ask(&[target], &[source], left()).map_err(|error| unanswered(&error))? {
                        (202, _) => Ok(()),
                        (status, answer) => Err(format!("{status}: {answer}")),
                    }
                })
            })
        });
        let asking: Vec<_> = asking.collect();
        asking.into_iter().try_for_each(|it| it.join().map_err(|_| "a caller failed".to_owned())?)
    })?;
    let spare = end.duration_since(jiff::Timestamp::now());
    if spare < jiff::SignedDuration::from_secs(5) {
        return Err(format!("{LEASES} leases were not all asked for within {ASKED_WITHIN} s"));
    }
    let opened = |from: &str| wait_for("a lease to open", || scene.azure.passes(0, from));
    (0..PEOPLE).for_each(|who| opened(&format!("203.{who}.3.148")));
    thread::sleep(Duration::try_from(end.duration_since(jiff::Timestamp::now())).unwrap_or_default());
    let path = format!("/v1/grants?unclosed=true&limit=1&target={}", target.replace('/', "%2F"));
    let is_closed = || {
        let shown = scene.operator.get(&path);
        shown.is_ok_and(|(status, it)| status == 200 && it["items"].as_array().is_some_and(Vec::is_empty))
    };
    wait_for("all to be closed", is_closed);
    let late = jiff::Timestamp::now().duration_since(end).as_secs_f64();
    Ok(Measured { is_open: scene.azure.passes(0, "203.0.0.0"), ..Measured::of(late) })
}

fn azure_alone() -> Result<Measured, String> {
    let scene = Installation::farm(1, 1);
    scene.azure.ordinary();
    let target = scene.azure.target(0);
    let Granted { id, end } = scene.operator.lease(&target, &guest(0), 30);
    scene.operator.until(&id, "open", SETTLED_MAX).ok_or("it did not open")?;
    scene.operator.until(&id, "closed", SETTLED_MAX).ok_or("it did not close")?;
    let late = jiff::Timestamp::now().duration_since(end).as_secs_f64();
    let passes = scene.azure.passes(0, &guest(0));
    Ok(Measured { is_open: passes, ..Measured::of(late) })
}

fn azure_three() -> Result<Measured, String> {
    const BEHIND: usize = 3;
    let scene = Installation::farm(1, 3);
    scene.azure.ordinary();
    let targets: Vec<String> = (0..BEHIND).map(|it| scene.azure.target(it)).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let from = guest(0);
    let (status, answer) =
        scene.operator.ask(&targets, std::slice::from_ref(&from), 50).map_err(|error| unanswered(&error))?;
    if status != 202 {
        return Err(format!("{status}: {answer}"));
    }
    let grants = granted(&answer);
    let leases: Vec<Watched> = grants
        .iter()
        .zip(0..)
        .map(|(it, machine)| Watched { machine, from: from.clone(), end: it.end })
        .collect();
    wait_for("the leases to open", || leases.iter().all(|it| scene.azure.passes(it.machine, &it.from)));
    let mut late = scene.watch(&leases);
    late.sort_by(|one, two| one.seconds.total_cmp(&two.seconds));
    let seconds: Vec<String> = late.iter().map(|it| format!("{:.1} s", it.seconds)).collect();
    let each = late.iter().zip(1_u8..).map(|(it, n)| Lateness { seconds: it.seconds / f64::from(n), ..*it });
    let each: Vec<Lateness> = each.collect();
    Ok(Measured::late(&each).noting(format!("gone after {}", seconds.join(", "))))
}

fn azure_open() -> Result<Measured, String> {
    const ROUNDS: usize = 3;
    let scene = Installation::farm(1, 1);
    scene.azure.ordinary();
    let target = scene.azure.target(0);
    let mut took = vec![];
    for n in 0..ROUNDS {
        let asked = Instant::now();
        let Granted { id, .. } = scene.operator.lease(&target, &guest(n), 3600);
        scene.operator.until(&id, "open", SETTLED_MAX).ok_or("it did not open")?;
        took.push(asked.elapsed().as_secs_f64());
    }
    let note = took.iter().map(|it| format!("{it:.1} s")).collect::<Vec<_>>().join(", ");
    let worst = took.into_iter().fold(0.0, f64::max);
    Ok(Measured::of(worst).noting(format!("open after {note}")))
}

/// How many people call at once.
const CALLERS: u8 = 32;

fn asks_refused() -> Result<Measured, String> {
    let asked = ask_for_ten_seconds()?;
    let share = 100.0 * asked.conflicts / asked.all();
    Ok(Measured::of(share).noting(asked.shown()))
}

fn asks_a_second() -> Result<Measured, String> {
    let asked = ask_for_ten_seconds()?;
    Ok(Measured::of(asked.granted / asked.seconds).noting(asked.shown()))
}

#[derive(Default)]
struct Asked {
    granted: f64,
    conflicts: f64,
    others: f64,
    seconds: f64,
}

impl Asked {
    fn all(&self) -> f64 {
        self.granted + self.conflicts + self.others
    }

    fn shown(&self) -> String {
        let Self { granted, conflicts, others, seconds } = self;
        format!("{granted} granted, {conflicts} answered with 409, {others} otherwise, in {seconds:.1} s")
    }
}

/// Every caller is a person with an address; a lease is over soon, so that nobody meets a share of theirs.
fn ask_for_ten_seconds() -> Result<Asked, String> {
    const LEASE_SECS: u64 = 5;
    const TIME: Duration = Duration::from_secs(10);
    let scene = Installation::farm(1, 1);
    let target = scene.azure.target(0);
    let callers: Vec<Api> = (0..CALLERS).map(|n| scene.operator.person(&format!("caller-{n}"))).collect();
    let start = Instant::now();
    let counts = thread::scope(|scope| {
        let ask = |(api, n): (Api, usize)| {
            let (target, mut counted) = (&target, Asked::default());
            let sources = [guest(n)];
            scope.spawn(move || {
                while start.elapsed() < TIME {
                    match api.ask(&[target], &sources, LEASE_SECS) {
                        Ok((202, _)) => counted.granted += 1.0,
                        Ok((409, _)) => counted.conflicts += 1.0,
                        Ok(_) | Err(_) => counted.others += 1.0,
                    }
                }
                counted
            })
        };
        let callers: Vec<_> = callers.into_iter().zip(0..).map(ask).collect();
        callers.into_iter().map(|it| it.join().expect("asks")).collect::<Vec<Asked>>()
    });
    let add = |sum: Asked, it: Asked| Asked {
        granted: sum.granted + it.granted,
        conflicts: sum.conflicts + it.conflicts,
        others: sum.others + it.others,
        ..sum
    };
    let seconds = start.elapsed().as_secs_f64();
    let asked = Asked { seconds, ..counts.into_iter().fold(Asked::default(), add) };
    if asked.all() < 1.0 {
        return Err("no caller was answered".to_owned());
    }
    Ok(asked)
}

fn lives_on_one() -> Result<Measured, String> {
    lives(1)
}

fn lives_on_many() -> Result<Measured, String> {
    lives(64)
}

/// Whole lives, one after another by each caller: asked, seen open, closed, seen closed by a read-back.
fn lives(machines: u16) -> Result<Measured, String> {
    const TIME: Duration = Duration::from_secs(15);
    let scene = Installation::farm(machines, 1);
    scene.azure.plan(&json!({ "operation_millis": 0 }));
    let callers: Vec<Api> = (0..CALLERS).map(|n| scene.operator.person(&format!("caller-{n}"))).collect();
    let (lived, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let start = Instant::now();
    thread::scope(|scope| {
        for (api, n) in callers.iter().zip(0_usize..) {
            let (scene, lived, failed) = (&scene, Arc::clone(&lived), Arc::clone(&failed));
            scope.spawn(move || {
                let (from, mut machine) = (guest(n), n);
                while start.elapsed() < TIME && !failed.load(Ordering::Relaxed) {
                    let target = scene.azure.target(machine % usize::from(machines));
                    match live_once(api, &target, &from) {
                        Some(()) => lived.fetch_add(1, Ordering::Relaxed),
                        None => return failed.store(true, Ordering::Relaxed),
                    };
                    machine += usize::from(CALLERS);
                }
            });
        }
    });
    if failed.load(Ordering::Relaxed) {
        return Err("a life did not end".to_owned());
    }
    let lived = u32::try_from(lived.load(Ordering::Relaxed)).expect("few");
    Ok(Measured::of(f64::from(lived) / start.elapsed().as_secs_f64()))
}

/// Nothing if it could not be lived to its end.
fn live_once(api: &Api, target: &str, from: &str) -> Option<()> {
    const TRIES_MAX: usize = 100;
    let ask = || api.ask(&[target], &[from.to_owned()], 3600).ok().filter(|(status, _)| *status == 202);
    // An ask that lost against another one is asked again.
    let (_, answer) = (0..TRIES_MAX).find_map(|_| ask())?;
    let id = granted(&answer).first()?.id.clone();
    api.until(&id, "open", SETTLED_MAX)?;
    let close =
        || api.post(&format!("/v1/grants/{id}/close"), &json!({})).ok().filter(|(status, _)| *status == 200);
    (0..TRIES_MAX).find_map(|_| close())?;
    api.until(&id, "closed", SETTLED_MAX).map(drop)
}
