//! `kill -9` at any moment loses nothing that was acknowledged, and a second process is told so.

use portcullis_app::{
    self as app, Error,
    ports::{Batch, Seen, Store},
};
use portcullis_domain::{Fact, TargetId};
use portcullis_local::RedbStore;
use portcullis_tests::given::{at, guarded, named};
use std::{
    env,
    io::{BufRead, BufReader, Lines, Write, stdout},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

/// Set in the process that is killed: the table it writes to.
const TABLE: &str = "PORTCULLIS_DURABILITY_TABLE";
/// How often a process is killed, and after how many acknowledgements of its own.
const KILLS: u64 = 8;
const ACKNOWLEDGED: u64 = 40;
/// How many writers there are in that process, each with a target of its own.
const WRITERS: u64 = 4;
/// A process that nobody kills ends after so many commits of each writer.
const COMMITS_MAX: u64 = 100_000;

/// Commits, and says which commits were acknowledged, until killed.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn commit_until_killed(table: &Path) {
    let store = Arc::new(RedbStore::open(table).expect("opens"));
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let id: TargetId = named(&format!("vm-{writer}"));
            for _ in 0..COMMITS_MAX {
                let (next, seen) = match store.target(&id).await.expect("loads") {
                    Some((target, seen)) => (target.note(vec![Fact::DriftHealed], at(0)), seen),
                    None => (guarded(id.as_str(), at(0)), Seen::NEVER),
                };
                let length = next.target.head().n;
                store.commit(Batch::of(next, seen)).await.expect("committed");
                let mut out = stdout().lock();
                writeln!(out, "acknowledged {id} {length}").and_then(|()| out.flush()).expect("heard");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("writes");
    }
}

fn spawn(table: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "durability::an_acknowledged_commit_survives_a_kill", "--nocapture"])
        .env(TABLE, table)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    (child, lines)
}

/// The next acknowledgement: whose, and how long its chain is.
fn acknowledged(line: &str) -> Option<(TargetId, u64)> {
    let (id, length) = line.split_once("acknowledged ")?.1.split_once(' ')?;
    Some((named(id), length.parse().ok()?))
}

#[test]
fn an_acknowledged_commit_survives_a_kill() {
    if let Some(table) = env::var_os(TABLE) {
        return commit_until_killed(Path::new(&table));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("portcullis.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for kill in 0..KILLS {
        let (mut child, lines) = spawn(&table);
        let mut last = std::collections::BTreeMap::new();
        let heard = lines.map_while(Result::ok).filter_map(|line| acknowledged(&line));
        // Each time at another moment.
        for (id, length) in heard.take(usize::try_from(ACKNOWLEDGED + 7 * kill).expect("small")) {
            last.insert(id, length);
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("gone");
        assert!(!last.is_empty(), "it committed something");
        let store = RedbStore::open(&table).expect("opens again");
        for (id, length) in last {
            let (target, _) = runtime.block_on(store.target(&id)).expect("loads").expect("is there");
            assert!(
                length <= target.head().n,
                "{id}: {length} were acknowledged, {} are there",
                target.head().n
            );
        }
        let verified = runtime.block_on(app::verify(&store)).expect("verified");
        assert_eq!(verified.bad, vec![]);
    }
}

#[test]
fn a_second_process_on_the_same_table_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("portcullis.redb");
    let (mut child, mut lines) = spawn(&table);
    lines
        .find(|line| line.as_ref().is_ok_and(|it| acknowledged(it).is_some()))
        .expect("it runs")
        .expect("it speaks");
    let refused = RedbStore::open(&table);
    child.kill().expect("SIGKILL");
    child.wait().expect("gone");
    let Err(error) = refused else { panic!("both opened it") };
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(
        error.full().contains("another process") && error.full().contains("portcullis.redb"),
        "{}",
        error.full()
    );
}
