//! The contract of events in `infra/events`: its examples are what it says, and what the code tells is what it says.

use jiff::{SignedDuration, Timestamp};
use jsonschema::Validator;
use portcullis_app::{
    Bots, Error, Event, Incoming, Rights, Submitted, events,
    ports::{Batch, Seen, Store},
    submit,
};
use portcullis_domain::{
    Ask, Cause, Chain, Entry, Fact, GrantId, Head, Party, Sources, TargetId, Terms, What, Window,
};
use portcullis_local::RedbStore;
use portcullis_tests::door::{Asked, initiate};
use portcullis_tests::{
    facts::every_what,
    given::{HOUR, at, guarded, named},
    schemas::Schemas,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fs, path::Path};

/// What bots tell us.
const IN: [&str; 8] = [
    "access.approve",
    "access.close",
    "access.explain",
    "access.extend",
    "access.reject",
    "access.request",
    "access.withdraw",
    "export.request",
];
/// How many entries a chain has at most here.
const ENTRIES_MAX: usize = 100;
/// What the journal has and no event tells.
const UNTOLD: [&str; 13] = [
    "adopted",
    "decision_refused",
    "foreign_deleted",
    "policies_refused",
    "policy_refused",
    "read_back",
    "role_refused",
    "settle_failed",
    "taken_over",
    "token_made",
    "token_refused",
    "token_revoked",
    "writing",
];

#[test]
fn examples_match_their_schema() {
    let schemas = Schemas::ours();
    assert!(IN.iter().all(|it| schemas.kinds().any(|kind| kind == *it)), "{IN:?}");
    for kind in schemas.kinds() {
        let examples = schemas.examples(kind);
        assert!(!examples.is_empty(), "{kind} has examples");
        for example in examples {
            schemas.hold(kind, example);
            // What nobody has said is not there: a misspelt field is noticed.
            let mut more = example.clone();
            more["unheard"] = json!(true);
            assert_ne!(schemas.wrong(kind, &more), [""; 0], "{kind}: {more}");
            let mut other = example.clone();
            other["version"] = json!(2);
            assert_ne!(schemas.wrong(kind, &other), [""; 0], "{kind}: another version is another shape");
        }
    }
}

#[test]
fn schemas_accept_no_other_fields() {
    for (kind, schema) in Schemas::ours().all() {
        for object in objects(schema) {
            // A map, of which the names are somebody else's, says what its values are.
            let Some(known) = object["properties"].as_object() else {
                assert!(object["additionalProperties"].is_object(), "{kind}: {object}");
                continue;
            };
            assert_eq!(object["additionalProperties"], false, "{kind}: {object}");
            for name in object["required"].as_array().into_iter().flatten() {
                assert!(known.contains_key(name.as_str().expect("a name")), "{kind}: {name}");
            }
        }
    }
}

/// Each example is one of our events to the letter, and everything else that its fact is told as is what its schema
/// says.
#[test]
fn published_events_match_their_schemas() {
    let schemas = Schemas::ours();
    let (mut told, mut whats) = (BTreeSet::new(), BTreeSet::new());
    for kind in schemas.kinds().filter(|it| !IN.contains(it)) {
        for example in schemas.examples(kind) {
            let written = &example["fact"];
            let fact: Fact =
                serde_json::from_value(written.clone()).unwrap_or_else(|it| panic!("{kind}: {it}"));
            assert_eq!(json!(fact), *written, "{kind}: nothing is left out, and nothing is added");
            let events = events(&entry(example, fact));
            let same = events.iter().find(|it| it.kind == kind);
            assert_eq!(same.map(|it| json!(it.detail)).as_ref(), Some(example), "{kind}");
            told.extend(events.iter().map(|it| it.kind));
            holds_all(&events);
            whats.insert(written["what"].as_str().expect("a word").to_owned());
        }
    }
    assert_eq!(told, schemas.kinds().filter(|it| !IN.contains(it)).collect(), "every kind has a schema");
    let defined = schemas.all()["fact"]["$defs"].as_object().expect("facts").keys().cloned().collect();
    assert_eq!(whats, defined, "every fact has an example");
    let untold = UNTOLD.map(ToOwned::to_owned);
    assert_eq!(&every_what() - &whats, untold.into(), "a fact is told or not, and that is said");
}

/// Whatever may be absent of a fact may be absent of what is told.
#[test]
fn events_of_facts_with_absent_fields_match_their_schemas() {
    let schemas = Schemas::ours();
    let mut count = 0;
    for kind in schemas.kinds().filter(|it| !IN.contains(it)) {
        for example in schemas.examples(kind) {
            for less in with_less(&example["fact"]) {
                let Ok(fact) = serde_json::from_value::<Fact>(less) else { continue };
                holds_all(&events(&entry(example, fact)));
                count += 1;
            }
        }
    }
    assert!(10 < count, "there were such facts: {count}");
}

/// What was asked and refused is recorded as it was asked, however odd, and told so.
#[tokio::test]
async fn refused_requests_are_published_as_they_were_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = RedbStore::open(&folder.path().join("table.redb")).expect("opens");
    store.commit(Batch::of(guarded("vm-1", at(0)), Seen::NEVER)).await.expect("committed");
    let odd = odd(&leased(&store).await);
    for (n, what) in odd.iter().enumerate() {
        let (by, key) = (named("ann"), named(&format!("odd-{n}")));
        let asked = Asked { by, key, what: what.clone(), justification: None, correlation: None };
        let outcome = initiate(&store, &Terms::default(), &asked, at(1)).await;
        assert!(matches!(outcome, Err(Error::Refused(_))), "{what:?}: {outcome:?}");
    }
    // And what no door could make anything of.
    let garbage: [&[u8]; 3] = [b"{", b"{}", br#"{"source":"","detail-type":"","id":"","detail":[]}"#];
    for body in garbage {
        let incoming = Incoming { body, source: None, has_archive: true };
        let answer =
            submit(&store, &Terms::default(), &Rights::default(), &Bots::default(), incoming, at(2)).await;
        assert!(matches!(answer, Ok(Submitted::Refused(_))), "{answer:?}");
    }
    let mut told = vec![];
    for chain in [Chain::rest(), Chain::from(&named::<TargetId>("vm-1"))] {
        let entries = store.entries(&chain, 0, ENTRIES_MAX).await.expect("read");
        told.extend(entries.iter().flat_map(events));
    }
    holds_all(&told);
    let refused = told.iter().filter(|it| it.kind == "request.refused").count();
    assert_eq!(refused, odd.len() + garbage.len(), "each is told once: it names one machine at most");
}

fn ask(window: Window, sources: Sources) -> Ask {
    Ask { target: named("vm-1"), port: named("22"), protocol: None, sources, window }
}

fn open(asks: Vec<Ask>) -> What {
    What::Initiate { asks, break_glass: false }
}

/// A grant whose lease somebody may want to be longer.
async fn leased(store: &RedbStore) -> GrantId {
    let what = open(vec![ask(Window::For(HOUR), named("198.51.100.1"))]);
    let (by, key) = (named("ann"), named("lease"));
    let asked = Asked { by, key, what, justification: None, correlation: None };
    let answer = initiate(store, &Terms::default(), &asked, at(1)).await.expect("granted");
    answer.grants[0].id.clone()
}

/// What nobody may have.
fn odd(grant: &GrantId) -> Vec<What> {
    let windows = [
        Window::For(-HOUR),
        Window::For(SignedDuration::ZERO),
        Window::For(SignedDuration::from_millis(1_500)),
        Window::For(SignedDuration::from_hours(1_000_000)),
        Window::Until(Timestamp::MIN),
        Window::Until(Timestamp::MAX),
        Window::From { start: Timestamp::MIN, length: HOUR },
        Window::From { start: Timestamp::MAX, length: -HOUR },
    ];
    let here: Sources = named("198.51.100.1");
    let windows = windows.map(|it| open(vec![ask(it, here.clone())]));
    let extend = What::Extend { target: named("vm-1"), grant: grant.clone(), end: Timestamp::MIN };
    let nobody = open(vec![ask(Window::For(HOUR), Sources::default())]);
    windows.into_iter().chain([open(vec![]), nobody, extend]).collect()
}

/// A schema that accepts what no fact is would promise too much.
#[test]
fn a_fact_that_a_schema_accepts_is_readable() {
    let schemas = Schemas::ours();
    for kind in schemas.kinds().filter(|it| !IN.contains(it)) {
        let fact = schemas.validator(&json!({ "$ref": format!("{}#/properties/fact", Schemas::at(kind)) }));
        for example in schemas.examples(kind).iter().map(|it| &it["fact"]) {
            holds(&fact, example, kind);
            for changed in changes(example) {
                let is_fact = serde_json::from_value::<Fact>(changed.clone()).is_ok();
                assert!(is_fact || !fact.is_valid(&changed), "{kind}: {changed} is no fact");
            }
        }
    }
}

/// Whoever is told of a late closing looks its cause up, and finds it under whose it is.
#[test]
fn every_cause_of_a_late_closing_is_in_the_schema_and_on_its_page() {
    let words = Cause::ALL.map(|it| json!(it.word()));
    assert_eq!(Schemas::ours().all()["types"]["$defs"]["delay"]["properties"]["cause"]["enum"], json!(words));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/closing.md");
    let page = fs::read_to_string(page).expect("reads");
    let mut of_others = BTreeSet::from(Cause::ALL.map(Cause::word));
    for party in Party::ALL {
        let title = match party {
            Party::Cloud => "\n## The cloud's\n",
            Party::Machine => "\n## The machine's\n",
            Party::Portcullis => "\n## Portcullis's own\n",
        };
        let part = page.split_once(title).unwrap_or_else(|| panic!("no `{title}`")).1;
        let part = part.split_once("\n## ").map_or(part, |(part, _)| part);
        let named = Cause::ALL.into_iter().filter(|it| part.contains(&format!("\n| `{}` |", it.word())));
        for cause in named {
            assert_eq!(cause.party(), party, "{} stands under another owner", cause.word());
            of_others.remove(cause.word());
        }
        assert!(page.contains(&format!("`…-close-late-{}`", party.word())), "its alarm");
    }
    assert_eq!(of_others, BTreeSet::new(), "each is explained");
}

/// A fact as the entry that an example tells.
fn entry(example: &Value, fact: Fact) -> Entry {
    let id = example["id"].as_str().expect("text");
    let [_, n, chain] = id.rsplitn(3, '#').collect::<Vec<_>>()[..] else { panic!("{id}") };
    let at = example["at"].as_str().expect("text").parse().expect("a time");
    let head = Head { n: n.parse().expect("a number"), ..Head::default() };
    let (_, mut entries) = head.append(&named(chain), at, [fact]);
    entries.pop().expect("one entry")
}

/// As they are put on the bus.
fn holds_all(events: &[Event]) {
    for Event { kind, detail } in events {
        Schemas::ours().hold(kind, &json!(detail));
    }
}

fn holds(validator: &Validator, instance: &Value, what: &str) {
    let errors: Vec<String> = validator.iter_errors(instance).map(|it| it.to_string()).collect();
    assert_eq!(errors, [""; 0], "{what}: {instance}");
}

/// Every schema of an object in there; what only narrows another one down is none.
fn objects(within: &Value) -> Vec<&Value> {
    let inner = match within {
        Value::Object(fields) => fields.iter().filter(|it| it.0 != "examples").map(|it| it.1).collect(),
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    };
    let here = Some(within).filter(|it| it["type"] == "object");
    here.into_iter().chain(inner.into_iter().flat_map(objects)).collect()
}

/// The same with each field in turn left out.
fn with_less(value: &Value) -> Vec<Value> {
    let Value::Object(fields) = value else { return vec![] };
    let mut all = vec![];
    for (name, inner) in fields {
        let mut less = fields.clone();
        less.remove(name);
        all.push(Value::Object(less));
        for inner in with_less(inner) {
            let mut less = fields.clone();
            less.insert(name.clone(), inner);
            all.push(Value::Object(less));
        }
    }
    all
}

/// The same with each field in turn left out, emptied, or of another type; and with one too many.
fn changes(value: &Value) -> Vec<Value> {
    let mut all = vec![Value::Null, json!(true), json!(-1), json!(""), json!([]), json!([""]), json!({})];
    let within =
        |key: &dyn Fn(Value) -> Value, inner: &Value| changes(inner).into_iter().map(key).collect::<Vec<_>>();
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let mut less = fields.clone();
                less.remove(name);
                all.push(less.into());
                let put = |it| {
                    Value::Object(
                        fields.clone().into_iter().chain([(name.clone(), it)]).collect::<Map<_, _>>(),
                    )
                };
                all.extend(within(&put, inner));
            }
            let one_more = fields.clone().into_iter().chain([("unheard".to_owned(), json!(1))]);
            all.push(Value::Object(one_more.collect()));
        }
        Value::Array(items) => {
            for (n, inner) in items.iter().enumerate() {
                let put = |it| {
                    let mut items = items.clone();
                    items[n] = it;
                    Value::Array(items)
                };
                all.extend(within(&put, inner));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}
