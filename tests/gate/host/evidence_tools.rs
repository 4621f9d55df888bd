//! `DuckDB`, pyarrow and pandas, pinned and unmodified, open each format of an export and find what the journal has.
//! They are installed into the target folder.

use jiff::Timestamp;
use portcullis_domain::csv_time;
use portcullis_tests::{
    binary::{Up, text},
    needs::lacking,
    python::programs,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

const READERS: [&str; 3] = ["duckdb", "pyarrow", "pandas"];
const FORMATS: [&str; 4] = ["jsonl", "flat-jsonl", "csv", "grants-csv"];
/// What a spreadsheet would run, and what has to be quoted.
const REASONS: [&str; 2] = ["=cmd(), \"quoted\", and more", "＝1+1"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("evidence_tools")
}

fn python() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evidence_tools");
    let programs = programs(&folder().join("requirements.txt"), &place);
    programs.unwrap_or_else(|why| lacking("pypi", &why)).join("python")
}

/// Leases of every kind: one that is over, one that was approved and closed, one that broke glass, and a refused request.
fn live(up: &Up) {
    let ask = |words: &[&str]| {
        let answer = up.json(&[&["request", "--from", "203.0.113.9"], words].concat());
        answer["request"]["id"].as_str().expect("an id").to_owned()
    };
    ask(&["db-1", "--for", "1s", "--why", REASONS[0], "--correlation", "ticket-1", "--wait"]);
    up.json(&["enable", "web-1", "--port", "22,approval,break-glass=operator"]);
    let bob = up.json(&["token", "create", "bob"])["token"].as_str().expect("a token").to_owned();
    let waits = ask(&["web-1", "--for", "10m", "--why", REASONS[1]]);
    let approved = up.client().args(["approve", &waits, "--yes"]).env("PORTCULLIS_TOKEN", bob).output();
    let approved = approved.expect("runs");
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    up.json(&["close", &format!("{waits}-1")]);
    ask(&["web-1", "--for", "10m", "--why", "down", "--break-glass", "--wait"]);
    let refused = up.ask(&["request", "web-1", "--from", "203.0.113.9", "--for", "99h"]);
    assert!(!refused.status.success());
    let is_over = |it: &Value| it["target"].as_str().is_some_and(|it| it.ends_with("/db-1"));
    while !up
        .json(&["grants", "--all"])
        .as_array()
        .expect("a list")
        .iter()
        .any(|it| is_over(it) && it["state"] == "closed")
    {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Every entry of the journal before a time, with its chain, as the API has them.
fn journal(up: &Up, to: Timestamp) -> Vec<(String, Value)> {
    let targets = up.json(&["targets"]);
    let ids =
        targets.as_array().expect("a list").iter().map(|it| it["id"].as_str().expect("an id").to_owned());
    let mut entries = vec![];
    for chain in ids.chain(["portcullis".to_owned()]) {
        let found = up.json(&["activity", &chain]);
        let is_before =
            |it: &&Value| it["at"].as_str().is_some_and(|at| at.parse::<Timestamp>().expect("a time") < to);
        let found = found.as_array().expect("a list").iter().filter(is_before).cloned();
        entries.extend(found.map(|it| (chain.clone(), it)));
    }
    entries
}

/// A value of a fact as text; empty where it has none.
fn of(fact: &Value, pointer: &str) -> String {
    fact.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A time as a reader gives it.
fn time(at: &Value) -> String {
    csv_time(at.as_str().expect("text").parse().expect("a time"))
}

/// The lines that a reader should find, without their facts.
fn wanted(format: &str, journal: &[(String, Value)]) -> BTreeSet<Vec<String>> {
    let ids = |fact: &Value| {
        let grant = of(fact, "/grant") + &of(fact, "/grant/id");
        let of_grant = grant.rsplit_once('-').map(|it| it.0.to_owned()).unwrap_or_default();
        let request = Some(of(fact, "/request") + &of(fact, "/grant/request")).filter(|it| !it.is_empty());
        let correlation = of(fact, "/correlation") + &of(fact, "/grant/correlation");
        [request.unwrap_or(of_grant), grant, correlation]
    };
    let record = |(chain, entry): &(String, Value)| {
        let mut line = vec![of(entry, "/hash"), chain.clone(), entry["n"].to_string()];
        if format != "jsonl" {
            line.extend([time(&entry["at"]), of(entry, "/fact/what")]);
            line.extend(ids(&entry["fact"]));
            line.push(entry["at"].to_string());
        }
        line
    };
    let closed = |id: &str| {
        let is_of = |it: &&(String, Value)| it.1["fact"]["what"] == "closed" && it.1["fact"]["grant"] == id;
        journal.iter().find(is_of).map(|it| &it.1)
    };
    let grant = |(_, entry): &(String, Value)| {
        let grant = entry["fact"].get("grant").filter(|it| it.is_object())?;
        let (id, reason) = (of(grant, "/id"), of(grant, "/justification"));
        let guarded = if reason.starts_with(['=', '＝']) { format!("'{reason}") } else { reason };
        let late = |it: &Value| it["fact"]["late_ms"].as_f64().expect("a number") / 1000.0;
        Some(vec![
            id.clone(),
            of(grant, "/request"),
            of(grant, "/by"),
            "22".to_owned(),
            guarded,
            time(&entry["at"]),
            closed(&id).map(|it| time(&it["at"])).unwrap_or_default(),
            closed(&id).map(|it| format!("{:?}", late(it))).unwrap_or_default(),
            if grant["broke_glass"] == true { "yes" } else { "no" }.to_owned(),
        ])
    };
    if format == "grants-csv" {
        journal.iter().filter_map(grant).collect()
    } else {
        journal.iter().map(record).collect()
    }
}

#[test]
#[ignore = "needs pypi"]
fn readers_of_each_format_find_the_ids_and_counts_of_the_journal() {
    let python = python();
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &["--lease-min", "1s"], &[]);
    live(&up);
    let to = Timestamp::now();
    let out = data.path().join("exports");
    std::fs::create_dir(&out).expect("made");
    for format in FORMATS {
        let path = out.join(format).display().to_string();
        let before = to.to_string();
        let exported = up.json(&["export", "--format", format, "--to", &before, "--out", &path]);
        assert_eq!(up.json(&["verify", &path])["records"], exported["records"]);
    }
    let run = Command::new(python).arg(folder().join("read.py")).arg(&out).output().expect("runs");
    assert!(run.status.success(), "{}", text(&run.stderr));
    let seen: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let journal = journal(&up, to);
    let facts: BTreeMap<String, &Value> =
        journal.iter().map(|it| (of(&it.1, "/hash"), &it.1["fact"])).collect();
    for format in FORMATS {
        let wanted = wanted(format, &journal);
        assert!(if format == "grants-csv" { wanted.len() == 3 } else { 20 < wanted.len() }, "{wanted:?}");
        for reader in READERS {
            let found = &seen[reader][format];
            let mut lines: Vec<Vec<String>> =
                serde_json::from_value(found["lines"].clone()).expect("lines of cells");
            if ["flat-jsonl", "csv"].contains(&format) {
                for line in &mut lines {
                    let fact: Value = serde_json::from_str(&line.pop().expect("a fact")).expect("JSON");
                    assert_eq!(&fact, facts[&line[0]], "{reader} of {format}");
                }
            }
            assert_eq!(lines.len(), wanted.len(), "{reader} of {format}");
            assert_eq!(lines.into_iter().collect::<BTreeSet<_>>(), wanted, "{reader} of {format}");
            let is_time = |it: &Value| {
                let it = it.as_str().expect("a type");
                it.starts_with("timestamp") || it.starts_with("datetime64")
            };
            let types = found["times"].as_array().expect("types");
            assert!(types.iter().all(is_time), "{reader} of {format}: {types:?}");
        }
        let columns = READERS.map(|reader| seen[reader][format]["columns"].clone());
        assert!(format == "jsonl" || columns.iter().all(|it| *it == columns[0]), "{format}: {columns:?}");
        assert_ne!(columns[0], json!([]));
    }
}
