//! What was once recorded stays readable and verifies: entries of every fact with their hashes, and a table and exports
//! that an older version made.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    self as app, Evidence, MANIFEST,
    ports::{PageAsked, RequestFilter, Store},
};
use portcullis_domain::{Chain, Entry, GrantState, Hash, Head, Terms};
use portcullis_local::RedbStore;
use portcullis_tests::door;
use portcullis_tests::{facts::every_what, given::person};
use serde_json::{Value, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

/// A line for each entry, as JSON.
const GOLDEN: &str = include_str!("../golden/journal.jsonl");

fn golden() -> Vec<(&'static str, Entry)> {
    GOLDEN
        .lines()
        .map(|line| (line, serde_json::from_str(line).unwrap_or_else(|it| panic!("{it}: {line}"))))
        .collect()
}

#[test]
fn the_golden_journal_has_an_entry_of_every_fact() {
    let what = |(line, _): &(&str, Entry)| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["fact"]["what"].as_str().expect("a word").to_owned()
    };
    let told: BTreeSet<String> = golden().iter().map(what).collect();
    assert_eq!(told, every_what(), "a new fact has its line in tests/golden/journal.jsonl");
}

#[test]
fn golden_entries_verify_and_the_same_facts_are_still_recorded_with_the_same_bytes() {
    let mut heads: BTreeMap<Chain, Head> = BTreeMap::new();
    for (line, entry) in golden() {
        let head = heads.entry(entry.chain.clone()).or_default();
        let (_, again) = head.append(&entry.chain, entry.at, [entry.fact.clone()]);
        assert_eq!(serde_json::to_string(&again[0]).expect("writes"), line);
        *head = head.follow(&entry.chain, &entry).unwrap_or_else(|bad| panic!("{bad}"));
    }
    assert!(heads.values().all(|it| 5 < it.n), "{heads:?}");
}

/// INVARIANT (hashed-as-stored), as `docs/evidence.md` tells it to an auditor, with nothing of ours but a hash.
#[test]
fn the_hash_of_an_entry_is_that_of_its_five_stored_values_in_an_array() {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        chain: &'a RawValue,
        #[serde(borrow)]
        n: &'a RawValue,
        #[serde(borrow)]
        at: &'a RawValue,
        #[serde(borrow)]
        fact: &'a RawValue,
        #[serde(borrow)]
        prev: &'a RawValue,
        hash: String,
    }
    for line in GOLDEN.lines() {
        let Line { chain, n, at, fact, prev, hash } = serde_json::from_str(line).expect("an entry");
        let preimage = format!("[{chain},{n},{at},{fact},{prev}]");
        assert_eq!(Hash::of(preimage.as_bytes()).to_string(), hash, "{preimage}");
    }
}

/// How many entries that version recorded.
const ENTRIES: u64 = 59;

/// What c2844c8 made, by the commands in `tests/fixtures/c2844c8/README.md`.
fn older(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/c2844c8").join(name)
}

#[test]
fn exports_of_an_older_version_verify_and_a_changed_byte_is_found() {
    for (folder, file) in [("export-jsonl", "journal-00001.jsonl"), ("export-csv", "journal-00001.csv")] {
        let read = |name: &str| fs::read(older(folder).join(name)).expect("is there");
        let check = |content: &[u8]| {
            let mut evidence = Evidence::of(&read(MANIFEST)).expect("a manifest");
            assert_eq!(evidence.next_file(), Some(file));
            evidence.file(content)?;
            evidence.finish()
        };
        let content = read(file);
        assert_eq!(check(&content).expect("whole").records, ENTRIES, "{folder}");
        let text = String::from_utf8(content).expect("text");
        let changed = text.replacen("disk full", "disk fall", 1);
        assert_ne!(changed, text);
        assert!(check(changed.as_bytes()).is_err(), "{folder}");
    }
}

#[tokio::test]
async fn a_table_of_an_older_version_verifies_and_is_worked_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("portcullis.redb");
    fs::copy(older("portcullis.redb"), &table).expect("copied");
    let store = RedbStore::open(&table).expect("opens");
    let verify = async || {
        let verified = app::verify(&store).await.expect("verified");
        assert_eq!(verified.bad, []);
        verified.entries
    };
    assert_eq!(verify().await, ENTRIES);
    let feed = store.feed(Timestamp::MIN, None, 1000).await.expect("read");
    assert!(feed.is_sorted_by_key(|it| it.at));
    let recorded = store.recorded(&feed).await.expect("read").concat();
    let numbers: BTreeSet<(Chain, u64)> = recorded.iter().map(|it| (it.chain.clone(), it.n)).collect();
    assert_eq!((recorded.len() as u64, numbers.len() as u64), (ENTRIES, ENTRIES), "the feed has all of them");

    let waits = RequestFilter { state: Some("pending".to_owned()), ..RequestFilter::default() };
    let page = PageAsked { after: None, at_most: 10 };
    let waiting = store.requests(&waits, &page).await.expect("listed").items.pop().expect("one waits");
    let before_it_lapses = waiting.due_at().expect("a time") - SignedDuration::from_secs(1);
    let (bob, shown) = (person("bob"), waiting.shown());
    let approved =
        door::approve(&store, &Terms::default(), &waiting.id, &bob, &shown, before_it_lapses).await;
    let grant = approved.expect("approved").grants.pop().expect("one");
    let closed = door::close(&store, &grant.id, &bob, None, before_it_lapses).await.expect("closed");
    assert_eq!(closed.state(before_it_lapses), GrantState::Closing);
    let (target, _) = store.target(&grant.target).await.expect("read").expect("is there");
    assert!(target.grants().values().any(|it| it.opened_at.is_some()), "what was open is known");
    assert!(ENTRIES + 2 <= verify().await, "and goes on in the same chains");
}

/// The check that `docs/evidence.md` gives to an auditor, run as it is written there.
#[test]
fn the_check_without_portcullis_passes_an_export_and_finds_a_changed_byte() {
    let page = include_str!("../../docs/evidence.md");
    let check = page.split_once("```sh\n").and_then(|it| it.1.split_once("```")).expect("a script").0;
    let folder = tempfile::tempdir().expect("a folder");
    let name = "journal-00001.jsonl";
    let records = fs::read_to_string(older("export-jsonl").join(name)).expect("is there");
    let run = |records: &str| {
        fs::write(folder.path().join(name), records).expect("written");
        let output =
            Command::new("sh").args(["-c", check]).current_dir(folder.path()).output().expect("runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run(&records), (true, "every hash is the one of its content\n".to_owned()));
    let (is_whole, told) = run(&records.replacen("disk full", "disk fall", 1));
    assert!(!is_whole && told.contains("disk fall"), "{told}");
}
