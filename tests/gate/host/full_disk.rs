//! A disk that runs full, or fails: what shuts goes on, what is acknowledged is there, and what is not does not look so.
//!
//! The table meets a limit on the length of files in a process of its own. The real program meets a full disk: a
//! `tmpfs` in a mount namespace of its own, which somebody keeps full.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    self as app, Error,
    ports::{Batch, Seen, Store},
};
use portcullis_domain::{Chain, Fact, TargetId};
use portcullis_local::RedbStore;
use portcullis_tests::{
    binary::{Up, WITHOUT_SIGXFSZ, program, text},
    given::{at, guarded, named},
    needs::lacking,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::Value;
use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Set in the process whose files are limited: the folder of its table.
const FOLDER: &str = "PORTCULLIS_FULL_DISK_FOLDER";
/// How many commits make the reserve whole, one part each, and some more.
const COMMITS: u64 = 40;
/// How many closings what is kept back has room for, at least.
const CLOSINGS: u64 = 2_000;
/// How long until a disk with room again is noticed.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// How soon anything is answered, whatever the disk does.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Runs a test of this file again, alone in a process whose files can be limited.
fn in_a_process_of_its_own(name: &str, test: impl FnOnce(&Path)) {
    if let Some(folder) = env::var_os(FOLDER) {
        return test(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let output = Command::new(WITHOUT_SIGXFSZ[0])
        .args(&WITHOUT_SIGXFSZ[1..])
        .arg(&log)
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", &format!("full_disk::{name}"), "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    let log = fs::read_to_string(log).unwrap_or_default();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{log}");
}

/// No file of this process grows beyond this; `None` lifts that.
fn limit_files(bytes: Option<u64>) {
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("limited");
}

struct Table {
    store: Arc<RedbStore>,
    runtime: tokio::runtime::Runtime,
}

impl Table {
    fn open(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { store: Arc::new(RedbStore::open(&folder.join("portcullis.redb")).expect("opens")), runtime }
    }

    /// Commits facts of a target; how long its chain is then.
    fn commit(&self, id: &TargetId, facts: Vec<Fact>) -> Result<u64, Error> {
        self.runtime.block_on(async {
            let (next, seen) = match self.store.target(id).await? {
                Some((target, seen)) => (target.note(facts, at(0)), seen),
                None => (guarded(id.as_str(), at(0)), Seen::NEVER),
            };
            let length = next.target.head().n;
            let start = Instant::now();
            let outcome = self.store.commit(Batch::of(next, seen)).await;
            assert!(start.elapsed() < ANSWER_MAX, "answered after {:?}", start.elapsed());
            outcome.map(|()| length)
        })
    }

    /// What the clock records.
    fn settle(&self, id: &TargetId, words: usize) -> Result<u64, Error> {
        self.commit(id, vec![Fact::SettleFailed { why: "x".repeat(words) }])
    }

    /// What a caller takes away.
    fn end(&self, id: &TargetId) -> Result<u64, Error> {
        self.commit(
            id,
            vec![Fact::RequestRejected {
                request: named("a-request"),
                by: named("ann"),
                why: None,
                correlation: None,
                via: None,
            }],
        )
    }

    /// What a caller asks for.
    fn ask(&self, id: &TargetId, words: usize) -> Result<u64, Error> {
        self.commit(
            id,
            vec![Fact::DecisionRefused {
                request: named("a-request"),
                by: named("ann"),
                reasons: vec!["x".repeat(words)],
                via: None,
                authority: None,
            }],
        )
    }

    fn length(&self, id: &TargetId) -> u64 {
        let found = self.runtime.block_on(self.store.target(id)).expect("loads");
        found.expect("is there").0.head().n
    }

    fn probe(&self) -> Result<(), Error> {
        self.runtime.block_on(self.store.probe())
    }

    fn is_whole(&self) {
        let verified = self.runtime.block_on(app::verify(&*self.store)).expect("verified");
        assert!(verified.bad.is_empty() && 0 < verified.entries, "{:?}", verified.bad);
    }

    fn until_it_is_written(&self) {
        let start = Instant::now();
        while let Err(error) = self.probe() {
            assert!(start.elapsed() < RECOVERY_MAX, "{}", error.full());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn is_refused(outcome: Result<u64, Error>, words: &str) {
    let Err(error @ Error::Unavailable { .. }) = outcome else { panic!("{outcome:?}") };
    assert!(error.full().contains(words), "`{words}` in: {}", error.full());
}

/// Until the table cannot grow: what was acknowledged last.
fn fill(table: &Table, id: &TargetId) -> u64 {
    let mut acknowledged = table.length(id);
    loop {
        match table.ask(id, 20_000) {
            Ok(length) => acknowledged = length,
            refused => {
                is_refused(refused, "the disk of the table is full");
                return acknowledged;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_callers_and_records_thousands_of_closings() {
    in_a_process_of_its_own("a_full_disk_refuses_callers_and_records_thousands_of_closings", |folder| {
        let table = Table::open(folder);
        let (asked, closed): (TargetId, TargetId) = (named("asked"), named("closed"));
        for _ in 0..COMMITS {
            table.ask(&asked, 10).expect("committed");
            table.settle(&closed, 10).expect("committed");
        }
        let file = folder.join("portcullis.redb");
        limit_files(Some(fs::metadata(&file).expect("is there").len()));
        let acknowledged = fill(&table, &asked);
        assert_eq!(table.length(&asked), acknowledged, "what was refused did not happen");
        let error = table.probe().expect_err("no write can be made for a caller");
        assert!(error.to_string().contains("the disk of the table is full"), "{error}");
        let said = format!("{:?}", table.store.checkup());
        assert!(said.contains("it is full") && said.contains("Failed"), "{said}");
        let mut last = 0;
        for _ in 0..CLOSINGS {
            last = table.settle(&closed, 300).expect("a closing is recorded");
        }
        last = table.end(&closed).expect("an early close is recorded").max(last);
        is_refused(table.ask(&asked, 10), "the disk of the table is full");
        // Durably: what is in the file now is all that a crash leaves.
        let crashed = tempfile::tempdir().expect("a folder");
        limit_files(None);
        fs::copy(&file, crashed.path().join("portcullis.redb")).expect("copied");
        let after_a_crash = Table::open(crashed.path());
        assert_eq!((after_a_crash.length(&asked), after_a_crash.length(&closed)), (acknowledged, last));
        after_a_crash.is_whole();
        table.until_it_is_written();
        table.ask(&asked, 10).expect("callers are served again");
        table.is_whole();
    });
}

#[test]
fn closings_continue_in_memory_and_are_recorded_late_where_the_table_cannot_be_written() {
    let name = "closings_continue_in_memory_and_are_recorded_late_where_the_table_cannot_be_written";
    in_a_process_of_its_own(name, |folder| {
        let table = Table::open(folder);
        let id: TargetId = named("closed");
        for _ in 0..COMMITS {
            table.settle(&id, 10).expect("committed");
        }
        let before = table.length(&id);
        // Somebody reads all the time: that keeps nobody from opening the table anew.
        let is_over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (store, is_over) = (Arc::clone(&table.store), Arc::clone(&is_over));
                thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                    while !is_over.load(Ordering::SeqCst) {
                        drop(runtime.block_on(store.entries(
                            &Chain::from(&named::<TargetId>("closed")),
                            0,
                            50,
                        )));
                    }
                })
            })
            .collect();
        limit_files(Some(0));
        let mut last = 0;
        for n in 1..=200 {
            last = table.settle(&id, 10).expect("the clock goes on");
            assert_eq!(last, before + n);
        }
        assert_eq!(table.length(&id), last, "it sees what it did");
        is_refused(table.ask(&id, 10), "cannot be written");
        assert!(table.probe().is_err());
        // It takes effect, so that the gate is shut, and nobody is told that it is safe.
        is_refused(table.end(&id), "cannot be written");
        assert_eq!(table.length(&id), last + 1);
        limit_files(None);
        table.until_it_is_written();
        assert_eq!(table.length(&id), last + 1);
        last = table.settle(&id, 10).expect("it goes on from there");
        table.is_whole();
        is_over.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.join().expect("reads");
        }
        drop(table);
        let again = Table::open(folder);
        assert_eq!(again.length(&id), last);
        again.is_whole();
    });
}

#[test]
fn reserved_space_is_used_before_memory() {
    let name = "reserved_space_is_used_before_memory";
    in_a_process_of_its_own(name, |folder| {
        let table = Table::open(folder);
        let (asked, id): (TargetId, TargetId) = (named("asked"), named("closed"));
        for _ in 0..COMMITS {
            table.ask(&asked, 10).expect("committed");
            table.settle(&id, 10).expect("committed");
        }
        let file = folder.join("portcullis.redb");
        limit_files(Some(fs::metadata(&file).expect("is there").len()));
        fill(&table, &asked);
        let (mut last, mut durable) = (table.length(&id), 0);
        while table.end(&id).map(|length| durable = length).is_ok() {
            last = table.settle(&id, 60_000).expect("the clock goes on");
        }
        assert!(60 < durable, "{durable} were recorded");
        for _ in 0..20 {
            last = table.settle(&id, 60_000).expect("the clock goes on");
        }
        limit_files(None);
        table.until_it_is_written();
        drop(table);
        let again = Table::open(folder);
        assert_eq!(again.length(&id), last);
        again.is_whole();
    });
}

/// For how long the disk of the real program stays full.
const FULL_FOR: Duration = Duration::from_secs(30);
/// How long after its end a lease may be open.
const LATE_MAX: SignedDuration = SignedDuration::from_secs(2);
/// Mounts a disk of this size on the folder that comes next, where only the program behind it sees it; its log goes to
/// the file that is in the environment.
const ON_ITS_OWN_DISK: [&str; 5] = [
    "unshare",
    "-m",
    "sh",
    "-c",
    "mount -t tmpfs -o size=80m,mode=0700 tmpfs \"$0\" && exec \"$@\" 2>>\"$PORTCULLIS_TEST_LOG\"",
];

/// The real program on a small disk of its own.
struct Program {
    up: Up,
    /// Its disk, as others reach it.
    disk: PathBuf,
    token: String,
    _place: tempfile::TempDir,
    log: PathBuf,
}

impl Program {
    fn start() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let data = place.path().join("data");
        fs::create_dir(&data).expect("made");
        let log = place.path().join("log");
        let (folder, logged) = (data.display().to_string(), format!("PORTCULLIS_TEST_LOG={}", log.display()));
        let within = [&["env", &logged], ON_ITS_OWN_DISK.as_slice(), &[&folder]].concat();
        let up = Up::start(&data, &["--lease-min", "1s"], &within);
        let disk = PathBuf::from(format!("/proc/{}/root{folder}", up.id()));
        let token = fs::read_to_string(disk.join("token")).expect("a token").trim().to_owned();
        Self { up, disk, token, _place: place, log }
    }

    fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.env("PORTCULLIS_URL", self.up.url()).env("PORTCULLIS_TOKEN", &self.token);
        command.args(words).output().expect("runs")
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.ask(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn passes(&self, machine: &str) -> bool {
        match self.ask(&["check", machine, "22", "--from", "203.0.113.9"]).status.code() {
            Some(0) => true,
            Some(3) => false,
            other => panic!("`check` exits {other:?}"),
        }
    }

    /// When a lease ends.
    fn open(&self, machine: &str, length: &str) -> Timestamp {
        let words =
            ["request", machine, "--from", "203.0.113.9", "--for", length, "--why", "disk full", "--wait"];
        let answer = self.json(&words);
        answer["grants"][0]["end"].as_str().expect("an end").parse().expect("a time")
    }
}

/// Takes all that a disk has, and whatever it has again, until told to stop.
fn keep_full(disk: &Path, is_over: &AtomicBool) {
    let filler = disk.join("filler");
    let mut file = File::create(&filler).expect("made");
    while !is_over.load(Ordering::SeqCst) {
        for length in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; length]).is_ok() {}
        }
        thread::sleep(Duration::from_millis(20));
    }
    fs::remove_file(&filler).expect("removed");
}

#[test]
#[ignore = "needs root"]
fn leases_end_on_time_while_the_disk_of_the_real_program_is_full() {
    let may_mount = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|it| it.status.success());
    if !may_mount {
        lacking("root", "no disk can be mounted for one program alone");
    }
    let it = Program::start();
    // The third is guarded from the beginning.
    let machines = ["web-1", "app-1", "db-1"];
    for machine in &machines[..2] {
        it.json(&["enable", machine]);
    }
    // So many commits that what is kept back is whole.
    for _ in 0..8 {
        it.open("web-1", "1s");
    }
    let lengths = ["6s", "9s", "12s"];
    let ends: Vec<(&str, Timestamp)> = machines
        .into_iter()
        .zip(lengths)
        .map(|(machine, length)| (machine, it.open(machine, length)))
        .collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let filler = {
        let (disk, is_over) = (it.disk.clone(), Arc::clone(&is_over));
        thread::spawn(move || keep_full(&disk, &is_over))
    };
    let since = Instant::now();
    for (machine, end) in &ends {
        while Timestamp::now() < *end + LATE_MAX {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!it.passes(machine), "`{machine}` is open {LATE_MAX:#} after its lease");
    }
    let refused = it.ask(&["request", "web-1", "--from", "203.0.113.9"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("the disk of the table is full"), "{}", text(&refused.stderr));
    while since.elapsed() < FULL_FOR {
        assert_eq!(it.up.health(), 503);
        thread::sleep(Duration::from_secs(2));
    }
    let doctor = it.ask(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(text(&doctor.stdout).contains("it is full"), "{}", text(&doctor.stdout));
    is_over.store(true, Ordering::SeqCst);
    filler.join().expect("stops");
    let start = Instant::now();
    while it.up.health() != 200 {
        assert!(start.elapsed() < RECOVERY_MAX, "it is served again");
        thread::sleep(Duration::from_millis(50));
    }
    it.open("web-1", "5m");
    assert!(it.passes("web-1"));
    let late: Vec<Value> = it.json(&["grants", "--all"]).as_array().expect("a list").clone();
    let late = late.iter().filter(|it| it["state"] == "closed").map(|it| {
        let time =
            |field: &str| -> Timestamp { it[field].as_str().expect("a time").parse().expect("a time") };
        time("closed_at").duration_since(time("end"))
    });
    let worst = late.max().expect("some are closed");
    assert!(worst <= LATE_MAX, "recorded {worst:#} late");
    assert_eq!(it.ask(&["verify"]).status.code(), Some(0));
    let told = || text(&it.ask(&["events", "--since", "10m"]).stdout);
    while !told().contains("disk.recovered") {
        assert!(start.elapsed() < RECOVERY_MAX, "it is told: {}", told());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(told().matches("disk.failed").count(), 1, "{}", told());
    let log = fs::read_to_string(&it.log).expect("reads");
    assert_eq!(log.matches("The disk is full").count(), 1, "{log}");
    assert!(!log.contains("panicked") && !log.contains("in use by another process"), "{log}");
}
