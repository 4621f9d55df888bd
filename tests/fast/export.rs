//! Evidence: what is exported verifies by itself, and whatever is done to it is found.

use jiff::Timestamp;
use portcullis_app::{
    BadExport, Error, Evidence, Exporting, Format, MANIFEST, Manifest, export,
    ports::{Archive, Batch, Seen, Store},
};
use portcullis_domain::{BadRecord, Chain, Fact, Hash, Head, Target};
use portcullis_local::RedbStore;
use portcullis_tests::{
    archive::{Files, exported, verified},
    given::{at, guarded, named},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// A table with three targets, each with an entry every ten seconds, and some of the rest.
async fn table(entries: i64) -> (tempfile::TempDir, RedbStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = RedbStore::open(&folder.path().join("table.redb")).expect("opens");
    for name in ["vm-1", "vm-2", "vm-3"] {
        let guarded = guarded(name, at(0));
        store.commit(Batch::of(guarded.clone(), Seen::NEVER)).await.expect("committed");
        note(&store, guarded.target, Seen(1), entries).await;
    }
    let facts = [Fact::DriftHealed, Fact::DriftHealed];
    let (_, rest) = Head::default().append(&Chain::rest(), at(5), facts);
    store.commit(Batch { rest, ..Batch::default() }).await.expect("committed");
    (folder, store)
}

async fn note(store: &RedbStore, mut target: Target, mut seen: Seen, entries: i64) {
    for n in 1..=entries {
        // What a spreadsheet would run, and what has to be quoted.
        let why = format!("=cmd(), \"{n}\"\nand more");
        let next = target.note(vec![Fact::SettleFailed { why }], at(10 * n));
        target = next.target.clone();
        store.commit(Batch::of(next, seen)).await.expect("committed");
        seen = seen.next();
    }
}

const RECORDS: [Format; 3] = [Format::Jsonl, Format::FlatJsonl, Format::Csv];

fn first(format: Format) -> String {
    format.file(1)
}

/// The export with other lines in its first file; the manifest says of the file what it is now.
fn with_lines(files: &Files, format: Format, change: impl FnOnce(&mut Vec<String>)) -> Files {
    let mut files = files.clone();
    let text = String::from_utf8(files[&first(format)].clone()).expect("text");
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    change(&mut lines);
    files.insert(first(format), lines.concat().into_bytes());
    files
}

fn with_manifest(files: &Files, change: impl FnOnce(&mut Value)) -> Files {
    let mut files = files.clone();
    let mut manifest: Value = serde_json::from_slice(&files[MANIFEST]).expect("JSON");
    change(&mut manifest);
    files.insert(MANIFEST.to_owned(), serde_json::to_vec(&manifest).expect("writes"));
    files
}

#[tokio::test]
async fn all_of_it_verifies_alone_in_each_format_of_records() {
    let (_folder, store) = table(10).await;
    for format in RECORDS {
        let (manifest, files) = exported(&store, Timestamp::UNIX_EPOCH, Timestamp::MAX, format).await;
        assert_eq!((manifest.records, manifest.chains.len(), manifest.files.len()), (35, 4, 1));
        assert_eq!(verified(&files), Ok(manifest), "{format:?}");
    }
}

/// What readers of columns rely on: one type for each in every record, and times of one length.
#[tokio::test]
async fn flat_records_have_the_columns_of_comma_separated_ones_each_of_one_type() {
    let (_folder, store) = table(3).await;
    let (_, files) = exported(&store, Timestamp::UNIX_EPOCH, Timestamp::MAX, Format::FlatJsonl).await;
    let text = String::from_utf8(files[&first(Format::FlatJsonl)].clone()).expect("text");
    let records: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    let (_, csv) = exported(&store, Timestamp::UNIX_EPOCH, Timestamp::MAX, Format::Csv).await;
    let csv = String::from_utf8(csv[&first(Format::Csv)].clone()).expect("text");
    let columns: BTreeSet<&str> = csv.lines().next().expect("a header").split(',').collect();
    assert!(11 < records.len(), "{text}");
    for record in &records {
        let fields = record.as_object().expect("an object");
        assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), columns);
        let is_text = |name: &str| {
            fields[name].is_string() || fields[name].is_null() && (name.ends_with("_id") || name == "via")
        };
        assert!(
            fields.keys().all(|it| if it == "n" { fields[it].is_u64() } else { is_text(it) }),
            "{record}"
        );
        assert_eq!(record["occurred_at"].as_str().map(str::len), Some("2027-01-15T08:00:00.000000Z".len()));
        // As `docs/evidence.md` tells it to an auditor.
        let text = |name: &str| fields[name].as_str().expect("text");
        let (chain, n, at, fact, prev) =
            (&record["chain"], &record["n"], text("stored_at"), text("fact"), &record["prev"]);
        let hash = Hash::of(format!("[{chain},{n},{at},{fact},{prev}]").as_bytes());
        assert_eq!(hash.to_string(), text("hash"));
    }
}

#[tokio::test]
async fn a_range_is_from_its_first_entry_to_its_last_and_ranges_meet_without_gap() {
    let (_folder, store) = table(10).await;
    let (one, files) = exported(&store, at(20), at(50), Format::Jsonl).await;
    assert!(verified(&files).is_ok());
    let numbers: Vec<(u64, u64, u64)> = one.chains.iter().map(|it| (it.first, it.last, it.records)).collect();
    assert_eq!(numbers, [(2, 4, 3); 3], "20, 30 and 40 s, and not 50; nothing of the rest");
    let (two, files) = exported(&store, at(50), at(10_000), Format::Jsonl).await;
    assert!(verified(&files).is_ok());
    for (one, two) in one.chains.iter().zip(&two.chains) {
        assert_eq!((one.last + 1, one.head), (two.first, two.before));
    }
    let (none, files) = exported(&store, at(20_000), at(30_000), Format::Csv).await;
    assert_eq!((none.records, none.files.len(), files.len()), (0, 0, 1), "nothing is evidence too");
    assert!(verified(&files).is_ok());
}

#[tokio::test]
async fn clocks_that_differ_drop_no_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = RedbStore::open(&folder.path().join("table.redb")).expect("opens");
    let (mut head, mut rest) = (Head::default(), vec![]);
    for second in [0, 10, 13, 9, 12, 11, 20, 30] {
        let (next, entries) = head.append(&Chain::rest(), at(second), [Fact::DriftHealed]);
        head = next;
        rest.extend(entries);
    }
    store.commit(Batch { rest, ..Batch::default() }).await.expect("committed");
    for middle in 0..31 {
        let (one, files) = exported(&store, at(0), at(middle), Format::Jsonl).await;
        assert!(verified(&files).is_ok(), "up to {middle}");
        let (two, files) = exported(&store, at(middle), at(99), Format::Jsonl).await;
        assert!(verified(&files).is_ok(), "from {middle}");
        assert_eq!(one.records + two.records, 8, "cut at {middle}");
    }
}

#[tokio::test]
async fn many_records_are_many_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = RedbStore::open(&folder.path().join("table.redb")).expect("opens");
    let long = "x".repeat(100_000);
    let facts = (0..100).map(|_| Fact::SettleFailed { why: long.clone() });
    let (_, rest) = Head::default().append(&Chain::rest(), at(0), facts);
    store.commit(Batch { rest, ..Batch::default() }).await.expect("committed");
    for format in RECORDS {
        let (manifest, mut files) = exported(&store, at(0), at(1), format).await;
        assert_eq!(manifest.files.len(), 3, "10 MB in files of some 4 MiB");
        assert!(files.values().all(|it| it.len() < (4 << 20) + 300_000));
        assert_eq!(verified(&files).as_ref(), Ok(&manifest));
        // Swapped files are records out of order, and a missing one is missed.
        let names: Vec<String> = manifest.files.iter().map(|it| it.name.clone()).collect();
        let (one, two) = (files[&names[0]].clone(), files[&names[1]].clone());
        let swapped: Files =
            files.clone().into_iter().chain([(names[0].clone(), two), (names[1].clone(), one)]).collect();
        let bad = verified(&swapped).expect_err("swapped");
        assert!(matches!(bad, BadExport::Record { bad: BadRecord::OutOfOrder { n: 0, .. }, .. }), "{bad}");
        files.remove(&names[2]);
        assert_eq!(verified(&files), Err(BadExport::Missing { file: names[2].clone() }));
    }
}

#[tokio::test]
async fn a_change_of_records_is_found() {
    let (_folder, store) = table(10).await;
    for format in RECORDS {
        // Where the third record of the first chain stands: the rest comes first, with two.
        let header = usize::from(format == Format::Csv);
        let third = header + 4;
        let (_, files) = exported(&store, Timestamp::UNIX_EPOCH, Timestamp::MAX, format).await;
        let of = |change: &dyn Fn(&mut Vec<String>)| verified(&with_lines(&files, format, change));
        let record = |bad: Result<Manifest, BadExport>| match bad {
            Err(BadExport::Record { line, bad, .. }) => (line, bad),
            other => panic!("{other:?}"),
        };
        let changed = of(&|lines| lines[third] = lines[third].replace("and more", "and less"));
        assert!(matches!(record(changed), (line, BadRecord::Changed { n: 2, .. }) if line == third + 1));
        let dropped = of(&|lines| drop(lines.remove(third)));
        assert!(
            matches!(record(dropped), (line, BadRecord::OutOfOrder { n: 2, found: 3, .. }) if line == third + 1)
        );
        let reordered = of(&|lines| lines.swap(third, third + 1));
        assert!(matches!(record(reordered), (_, BadRecord::OutOfOrder { n: 2, found: 3, .. })));
        let doubled = of(&|lines| lines.insert(third, lines[third].clone()));
        assert!(matches!(record(doubled), (_, BadRecord::OutOfOrder { n: 3, found: 2, .. })));
        let cut = of(&|lines| drop(lines.pop()));
        assert_eq!(
            cut,
            Err(BadExport::OtherFile { file: first(format), what: "length" }),
            "before the end is missed"
        );
        let more = of(&|lines| lines.push(lines[third].clone()));
        assert!(matches!(more, Err(BadExport::Extra { n: 2, .. })), "{more:?}");
        let half = of(&|lines| lines[third].truncate(20));
        assert!(matches!(half, Err(BadExport::Unreadable { .. })), "{half:?}");
        let not_text = {
            let mut files = files.clone();
            files.get_mut(&first(format)).expect("a file")[400] = 0xFF;
            verified(&files)
        };
        assert!(not_text.is_err());
    }
    // What only repeats the fact is checked too.
    let (_, files) = exported(&store, Timestamp::UNIX_EPOCH, Timestamp::MAX, Format::Csv).await;
    for (before, after) in [("settle_failed", "drift_healed"), (".000000Z", ".000001Z")] {
        let renamed = with_lines(&files, Format::Csv, |lines| lines[5] = lines[5].replacen(before, after, 1));
        assert!(matches!(verified(&renamed), Err(BadExport::Unreadable { line: 6, .. })), "{before}");
        let (_, flat) = exported(&store, Timestamp::UNIX_EPOCH, Timestamp::MAX, Format::FlatJsonl).await;
        let renamed =
            with_lines(&flat, Format::FlatJsonl, |lines| lines[5] = lines[5].replacen(before, after, 1));
        assert!(matches!(verified(&renamed), Err(BadExport::Unreadable { line: 6, .. })), "{before}");
    }
    let runs = String::from_utf8(files[&first(Format::Csv)].clone()).expect("text");
    assert!(
        runs.lines().flat_map(|it| it.split(',')).all(|it| !it.starts_with(['=', '+', '@'])),
        "nothing runs"
    );
    assert!(!runs.contains('\r'), "a line ends with LF alone");
}

#[tokio::test]
async fn a_change_of_the_manifest_is_found() {
    let (_folder, store) = table(10).await;
    let (_, files) = exported(&store, at(20), at(50), Format::Jsonl).await;
    let of = |change: &dyn Fn(&mut Value)| verified(&with_manifest(&files, change)).expect_err("found");
    let zeros = "0".repeat(64);
    for (what, bad) in [
        ("version", of(&|it| it["version"] = 2.into())),
        ("records", of(&|it| it["records"] = 8.into())),
        ("from", of(&|it| it["from"] = at(25).to_string().into())),
        ("to", of(&|it| it["to"] = at(40).to_string().into())),
        ("format", of(&|it| it["format"] = "csv".into())),
        ("a chain's count", of(&|it| it["chains"][0]["records"] = 2.into())),
        ("a chain's first", of(&|it| it["chains"][0]["first"] = 1.into())),
        (
            "a chain's end",
            of(&|it| {
                (it["chains"][0]["last"], it["chains"][0]["records"], it["chains"][1]["records"]) =
                    (3.into(), 2.into(), 4.into());
            }),
        ),
        ("a chain's head", of(&|it| it["chains"][0]["head"] = zeros.clone().into())),
        ("what is before a chain", of(&|it| it["chains"][0]["before"] = zeros.clone().into())),
        ("a chain's name", of(&|it| it["chains"][0]["chain"] = "vm-9".into())),
        ("a chain less", of(&|it| drop(it["chains"].as_array_mut().expect("chains").pop()))),
        (
            "a chain more",
            of(&|it| {
                let chains = it["chains"].as_array_mut().expect("chains");
                chains.push(chains[0].clone());
            }),
        ),
        ("a file less", of(&|it| it["files"] = Value::Array(vec![]))),
        ("a file's name", of(&|it| it["files"][0]["name"] = "../journal".into())),
        ("a file's length", of(&|it| it["files"][0]["bytes"] = 1.into())),
        ("a file's hash", of(&|it| it["files"][0]["sha256"] = zeros.clone().into())),
        ("a field more", of(&|it| it["signed"] = true.into())),
    ] {
        assert!(!bad.to_string().is_empty(), "{what}");
    }
    assert!(matches!(Evidence::of(b"{"), Err(BadExport::Manifest { .. })));
    // The last records gone, and the counts of the file and in all made to fit: the chain's end tells.
    let fewer = with_lines(&files, Format::Jsonl, |lines| drop(lines.pop()));
    let (content, hash) = (&fewer[&first(Format::Jsonl)], Hash::of(&fewer[&first(Format::Jsonl)]));
    let fewer = with_manifest(&fewer, |it| {
        it["files"][0]["bytes"] = content.len().into();
        it["files"][0]["sha256"] = hash.to_string().into();
        it["files"][0]["records"] = 8.into();
        it["records"] = 8.into();
        it["chains"][0]["records"] = 2.into();
        it["chains"][0]["first"] = 3.into();
    });
    assert!(verified(&fewer).is_err());
}

#[tokio::test]
async fn an_export_that_breaks_off_says_so() {
    /// An archive that is full.
    struct Full;
    impl Archive for Full {
        async fn put(&self, _: &str, _: Vec<u8>) -> Result<(), Error> {
            Err(Error::Unavailable { doing: "keep evidence", source: "it is full".into() })
        }
    }
    let (_folder, store) = table(1).await;
    let asked = Exporting { from: at(0), to: at(99), format: Format::Jsonl };
    assert!(matches!(export(&store, &Full, &asked).await, Err(Error::Unavailable { .. })));
    let name: Chain = named("vm-1");
    assert_eq!(store.last(&name).await.expect("read").map(|it| it.n), Some(1));
}
