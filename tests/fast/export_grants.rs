//! Grants as evidence: a row for each one that lived in a period, with all that its life is told by.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    BadExport, Format, MANIFEST,
    ports::{Batch, GrantFilter, PageAsked, Seen, Store},
};
use portcullis_domain::{Cause, Delay, EndReason, Fact, Grant, GrantState, Lease, Request, Via, What};
use portcullis_local::RedbStore;
use portcullis_tests::{
    archive::{Files, exported, verified},
    door,
    given::{self, HOUR, asked, at, guarded, named, person},
    place::Place,
};
use std::collections::BTreeMap;

const ID: &str = "/subscriptions/s-1/resourcegroups/lab/providers/microsoft.compute/virtualmachines/vm-1";
const FILE: &str = "grants-00001.csv";

/// A table of one machine, with these facts so many seconds after it was guarded.
async fn table(facts: Vec<(i64, Fact)>) -> (tempfile::TempDir, RedbStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = RedbStore::open(&folder.path().join("table.redb")).expect("opens");
    let guarded = guarded(ID, at(0));
    store.commit(Batch::of(guarded.clone(), Seen::NEVER)).await.expect("committed");
    let (mut target, mut seen) = (guarded.target, Seen(1));
    for (second, fact) in facts {
        let next = target.note(vec![fact], at(second));
        target = next.target.clone();
        store.commit(Batch::of(next, seen)).await.expect("committed");
        seen = seen.next();
    }
    (folder, store)
}

/// A grant of a request by ann, from a time for an hour.
fn grant(request: &str, n: usize, start: i64) -> Grant {
    let request_of = given::request("ann", request, ID, at(start));
    let request_of = Request { via: Some(Via::Bot("chatops".to_owned())), ..request_of };
    let of = given::grant(&request_of, &named(ID), at(start));
    Grant { id: named(&format!("{request}-{n}")), request: named(request), ..of }
}

fn needs_approval(request: &str, what: What) -> Fact {
    Fact::ApprovalNeeded {
        request: named(request),
        by: person("ann"),
        asked: what,
        why: None,
        until: at(9_000),
        shown: None,
        approvers: None,
        because: vec![],
        correlation: None,
        via: Some(Via::Bot("chatops".to_owned())),
        authority: None,
    }
}

fn approved(grant: Grant, approver: Option<&str>) -> Fact {
    let approver_via = approver.map(|_| Via::Cli);
    Fact::Approved { grant: Box::new(grant), approver: approver.map(person), approver_via }
}

fn opened(grant: &str) -> Fact {
    Fact::Opened {
        grant: named(grant),
        access: None,
        door: None,
        over: vec![],
        may_refuse: vec![],
        after_ms: None,
        correlation: None,
    }
}

fn closed(grant: &str, reason: EndReason, late_ms: i64, delay: Option<Delay>) -> Fact {
    Fact::Closed {
        grant: named(grant),
        reason,
        late_ms,
        cloud_ms: None,
        delay,
        by_kernel: false,
        correlation: None,
    }
}

/// One approved with another, extended and closed late; the other one ended before it opened; one that broke glass and is open.
fn lives() -> Vec<(i64, Fact)> {
    let extended = Lease::starting(at(20), HOUR * 2).expect("a lease");
    let initiate = || asked("ann", "r1", &[ID], "198.51.100.1").what;
    let extend = What::Extend { target: named(ID), grant: named("r1-1"), end: at(7_220) };
    let why = Some(given::because("=cmd(), \"it\" is down, INC-7"));
    let first = Grant { justification: why, correlation: Some(named("INC-7")), ..grant("r1", 1, 20) };
    let glass = Grant { broke_glass: true, sources: named("2001:db8::/64"), ..grant("r3", 1, 200) };
    let prolonged = Fact::Extended {
        grant: named("r1-1"),
        request: named("r2"),
        lease: extended,
        by: person("ann"),
        approver: Some(person("carol")),
        why: None,
        correlation: None,
        via: Some(Via::Bot("chatops".to_owned())),
        approver_via: Some(Via::Http),
        authority: None,
    };
    let ended = Fact::Ended {
        grant: named("r1-2"),
        lease: Lease::starting(at(20), SignedDuration::from_secs(30)).expect("a lease"),
        reason: EndReason::UserRequested,
        by: person("bob"),
        correlation: None,
        via: Some(Via::Cli),
    };
    let late = Some(Delay::of(Cause::CloudRefused, "403"));
    vec![
        (10, needs_approval("r1", initiate())),
        (20, approved(first, Some("bob"))),
        (20, approved(grant("r1", 2, 20), Some("bob"))),
        (22, opened("r1-1")),
        (50, ended),
        (51, closed("r1-2", EndReason::UserRequested, 1_000, None)),
        (90, needs_approval("r2", extend)),
        (100, prolonged),
        (200, approved(glass, None)),
        (201, opened("r3-1")),
        (7_227, closed("r1-1", EndReason::Expired, 7_214, late)),
    ]
}

fn text(files: &Files) -> String {
    String::from_utf8(files[FILE].clone()).expect("text")
}

/// The cells of a row by their column, where no cell has a comma.
fn row<'a>(text: &'a str, id: &str) -> BTreeMap<&'a str, &'a str> {
    let mut lines = text.lines();
    let columns = lines.next().expect("a header").split(',');
    let row = lines.find(|it| it.starts_with(&format!("{id},"))).unwrap_or_else(|| panic!("{id} in {text}"));
    columns.zip(row.split(',')).collect()
}

fn ids(text: &str) -> Vec<&str> {
    text.lines().skip(1).map(|it| it.split(',').next().expect("a cell")).collect()
}

#[tokio::test]
async fn row_of_a_grant_has_its_whole_life_and_is_empty_where_nothing_happened() {
    let (_folder, store) = table(lives()).await;
    let (manifest, files) = exported(&store, at(0), at(9_000), Format::GrantsCsv).await;
    assert_eq!((manifest.records, manifest.chains.len()), (3, 1));
    assert_eq!(verified(&files), Ok(manifest));
    let text = text(&files);
    assert_eq!(
        text,
        format!(
            "grant_id,request_id,requested_by,via,machine,subscription,machine_id,port,protocol,sources,reason,ticket,\
             correlation_id,asked_at,decided_at,approved_by,approved_via,starts_at,opened_at,agreed_end,shut_at,late_seconds,\
             late_cause,end_reason,closed_by,break_glass\n\
             r1-2,r1,ann,bot chatops,vm-1,s-1,{ID},22,tcp,198.51.100.1/32,,,,2027-01-15T08:00:10.000000Z,\
             2027-01-15T08:00:20.000000Z,bob,cli,2027-01-15T08:00:20.000000Z,,2027-01-15T09:00:20.000000Z,\
             2027-01-15T08:00:51.000000Z,1.000,,user_requested,bob,no\n\
             r1-1,r1,ann,bot chatops,vm-1,s-1,{ID},22,tcp,198.51.100.1/32,\"'=cmd(), \"\"it\"\" is down, INC-7\",INC-7,INC-7,\
             2027-01-15T08:00:10.000000Z,2027-01-15T08:00:20.000000Z,bob; carol,cli; http,2027-01-15T08:00:20.000000Z,\
             2027-01-15T08:00:22.000000Z,2027-01-15T10:00:20.000000Z,2027-01-15T10:00:27.000000Z,7.214,\
             cloud-refused,expired,,no\n\
             r3-1,r3,ann,bot chatops,vm-1,s-1,{ID},22,tcp,2001:db8::/64,,,,2027-01-15T08:03:20.000000Z,\
             2027-01-15T08:03:20.000000Z,,,2027-01-15T08:03:20.000000Z,2027-01-15T08:03:21.000000Z,\
             2027-01-15T09:03:20.000000Z,,,,,,yes\n"
        )
    );
}

#[tokio::test]
async fn grant_is_in_each_period_that_has_a_moment_of_its_life_as_it_was_at_the_end_of_that() {
    let (_folder, store) = table(lives()).await;
    for (from, to, wanted) in [
        (0, 20, vec![]),
        (0, 21, vec!["r1-1", "r1-2"]),
        (51, 60, vec!["r1-2", "r1-1"]),
        (52, 60, vec!["r1-1"]),
        (300, 400, vec!["r1-1", "r3-1"]),
        (7_228, 9_000, vec!["r3-1"]),
        (800_000, 900_000, vec!["r3-1"]),
    ] {
        let (manifest, files) = exported(&store, at(from), at(to), Format::GrantsCsv).await;
        assert_eq!(verified(&files).as_ref(), Ok(&manifest), "{from} to {to}");
        let found = if files.contains_key(FILE) { text(&files) } else { String::new() };
        assert_eq!(ids(&found), wanted, "{from} to {to}");
    }
    let (_, files) = exported(&store, at(0), at(40), Format::GrantsCsv).await;
    let text = text(&files);
    let known_then = row(&text, "r1-2");
    assert_eq!((known_then["shut_at"], known_then["closed_by"], known_then["end_reason"]), ("", "", ""));
}

#[tokio::test]
async fn rows_agree_with_the_grants_that_the_table_has() {
    let place = Place::new();
    let id = place.guard("web-1", &given::ssh_with_approval()).await;
    let ask = async |key: &str| {
        let asked = asked("ann", key, &[id.as_str()], "198.51.100.1");
        let answer = door::initiate(place.store(), place.terms(), &asked, place.now()).await.expect("asked");
        place.pass(SignedDuration::from_secs(7));
        let (request, bob) = (answer.request, person("bob"));
        let shown = request.shown();
        door::approve(place.store(), place.terms(), &request.id, &bob, &shown, place.now())
            .await
            .expect("approved")
    };
    for key in ["1", "2", "3"] {
        let answer = ask(key).await;
        place.expire().await;
        if key == "2" {
            place.pass(SignedDuration::from_secs(9));
            let (grant, ann) = (&answer.grants[0].id, person("ann"));
            door::close(place.store(), grant, &ann, None, place.now()).await.expect("closed");
            place.expire().await;
        }
        place.pass(SignedDuration::from_mins(25));
    }
    place.expire().await;
    let page = PageAsked { after: None, at_most: 10 };
    let grants = place.store().grants(&GrantFilter::default(), &page).await.expect("listed").items;
    let (manifest, files) = exported(place.store(), at(0), Timestamp::MAX, Format::GrantsCsv).await;
    assert_eq!(verified(&files), Ok(manifest));
    let text = text(&files);
    let mut states = vec![];
    for grant in &grants {
        let row = row(&text, grant.id.as_str());
        let time = |at: Option<Timestamp>| at.map(portcullis_domain::csv_time).unwrap_or_default();
        assert_eq!(row["opened_at"], time(grant.opened_at), "{text}");
        assert_eq!(row["shut_at"], time(grant.closed_at), "{text}");
        let asked_at = place.store().request(&grant.request).await.expect("read").expect("there").0.asked_at;
        assert_eq!(row["asked_at"], time(Some(asked_at)), "{text}");
        assert_eq!((row["approved_by"], row["break_glass"]), ("bob", "no"), "{text}");
        let is_early = grant.end_reason == Some(EndReason::UserRequested);
        assert_eq!(row["closed_by"], if is_early { "ann" } else { "" }, "{text}");
        states.push(grant.state(place.now()));
    }
    states.sort_unstable();
    assert_eq!(states, [GrantState::Open, GrantState::Closed, GrantState::Closed]);
    assert_eq!(ids(&text).len(), grants.len());
}

#[tokio::test]
async fn changed_rows_are_found() {
    let (_folder, store) = table(lives()).await;
    let (_, files) = exported(&store, at(0), at(9_000), Format::GrantsCsv).await;
    let whole = text(&files);
    let with = |text: &str| {
        let changed = [(FILE.to_owned(), text.as_bytes().to_vec())];
        verified(&files.clone().into_iter().chain(changed).collect())
    };
    assert!(with(&whole).is_ok());
    let dropped: String = whole.split_inclusive('\n').take(3).collect();
    for (text, what) in [
        (whole.replace("bob; carol", "bob; claus"), "SHA-256"),
        (whole.replace("bob; carol", "bob"), "length"),
        (dropped, "length"),
    ] {
        assert_eq!(with(&text), Err(BadExport::OtherFile { file: FILE.to_owned(), what }));
    }
    for text in [whole.replacen("via", "by", 1), whole.replacen(",vm-1,", ",vm-1,,", 1)] {
        assert!(matches!(with(&text), Err(BadExport::Unreadable { .. })), "{text}");
    }
    let mut fewer = files.clone();
    fewer.remove(FILE);
    assert_eq!(verified(&fewer), Err(BadExport::Missing { file: FILE.to_owned() }));
    let manifest = String::from_utf8(files[MANIFEST].clone()).expect("text");
    let counted = manifest.replacen("\"records\": 3", "\"records\": 2", 1);
    fewer = files.clone();
    fewer.insert(MANIFEST.to_owned(), counted.into_bytes());
    assert!(matches!(verified(&fewer), Err(BadExport::OtherManifest { .. })));
}
