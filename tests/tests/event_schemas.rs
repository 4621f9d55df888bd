//! The contract of events in `infra/events`: its examples are what it says, and what the code tells is what it says.

use jsonschema::{Registry, RegistryBuilder, Validator};
use portcullis_app::events;
use portcullis_domain::{Chain, Fact, Head};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// What events are made of, and what they tell.
const SHARED: [&str; 2] = ["fact", "types"];
/// What bots tell us.
const IN: [&str; 5] = ["access.approve", "access.close", "access.reject", "access.request", "export.request"];
/// What the journal has and no event tells.
const UNTOLD: [&str; 11] = [
    "adopted",
    "decision_refused",
    "foreign_deleted",
    "policy_refused",
    "read_back",
    "settle_failed",
    "taken_over",
    "token_made",
    "token_refused",
    "token_revoked",
    "writing",
];

#[test]
fn examples_are_what_their_schema_says() {
    let schemas = Schemas::read();
    for kind in schemas.kinds() {
        let validator = schemas.validator(&json!({ "$ref": at(kind) }));
        let examples = schemas.examples(kind);
        assert!(!examples.is_empty(), "{kind} has examples");
        for example in examples {
            holds(&validator, example, kind);
            // What nobody has said is not there: a misspelt field is noticed.
            let mut more = example.clone();
            more["unheard"] = json!(true);
            assert!(!validator.is_valid(&more), "{kind}: {more}");
            let mut other = example.clone();
            other["version"] = json!(2);
            assert!(!validator.is_valid(&other), "{kind}: another version is another shape");
        }
    }
}

#[test]
fn nothing_is_said_beyond_what_is_written() {
    for (kind, schema) in &Schemas::read().0 {
        for object in objects(schema) {
            assert_eq!(object["additionalProperties"], false, "{kind}: {object}");
            let known = object["properties"].as_object().expect("properties");
            for name in object["required"].as_array().into_iter().flatten() {
                assert!(known.contains_key(name.as_str().expect("a name")), "{kind}: {name}");
            }
        }
    }
}

/// Each example of a fact is one of ours to the letter, and is told as what its file is called.
#[test]
fn the_code_tells_what_the_schemas_say() {
    let schemas = Schemas::read();
    let (mut told, mut whats) = (BTreeSet::new(), BTreeSet::new());
    for kind in schemas.kinds().filter(|it| !IN.contains(it)) {
        for example in schemas.examples(kind) {
            let written = &example["fact"];
            let fact: Fact =
                serde_json::from_value(written.clone()).unwrap_or_else(|it| panic!("{kind}: {it}"));
            assert_eq!(json!(fact), *written, "{kind}: nothing is left out, and nothing is added");
            let (_, entries) = Head::default().append(&Chain::rest(), at_noon(), [fact]);
            let kinds: Vec<&str> = events(&entries[0]).iter().map(|it| it.kind).collect();
            assert!(kinds.contains(&kind), "{kind}: is told as {kinds:?}");
            told.extend(kinds);
            whats.insert(written["what"].as_str().expect("a word").to_owned());
        }
    }
    assert_eq!(told, schemas.kinds().filter(|it| !IN.contains(it)).collect(), "every kind has a schema");
    let defined = schemas.0["fact"]["$defs"].as_object().expect("facts").keys().cloned().collect();
    assert_eq!(whats, defined, "every fact has an example");
    let untold = UNTOLD.map(ToOwned::to_owned);
    assert_eq!(&every_what() - &whats, untold.into(), "a fact is told or not, and that is said");
}

/// A schema that accepts what no fact is would promise too much.
#[test]
fn what_the_schemas_accept_is_a_fact() {
    let schemas = Schemas::read();
    for kind in schemas.kinds().filter(|it| !IN.contains(it)) {
        let fact = schemas.validator(&json!({ "$ref": format!("{}#/properties/fact", at(kind)) }));
        for example in schemas.examples(kind).iter().map(|it| &it["fact"]) {
            holds(&fact, example, kind);
            for changed in changes(example) {
                let is_fact = serde_json::from_value::<Fact>(changed.clone()).is_ok();
                assert!(is_fact || !fact.is_valid(&changed), "{kind}: {changed} is no fact");
            }
        }
    }
}

/// Every schema, by its name.
struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/events");
        let files = fs::read_dir(folder).expect("a folder").map(|it| it.expect("an entry").path());
        let named = files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".schema.json")?.to_owned();
            let schema: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).expect("JSON");
            assert_eq!(schema["$id"], at(&name));
            Some((name, schema))
        });
        let schemas: BTreeMap<String, Value> = named.collect();
        assert!(IN.iter().chain(&SHARED).all(|it| schemas.contains_key(*it)), "{:?}", schemas.keys());
        Self(schemas)
    }

    /// Every kind of event.
    fn kinds(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|it| !SHARED.contains(it))
    }

    fn examples(&self, kind: &str) -> &[Value] {
        self.0[kind]["examples"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Nothing is fetched: what one schema says of another is in this folder.
    fn validator(&self, schema: &Value) -> Validator {
        let known = self.0.iter().map(|(name, it)| (at(name), it.clone()));
        let registry = Registry::new().extend(known).and_then(RegistryBuilder::prepare).expect("schemas");
        let options = jsonschema::options().with_registry(&registry).should_validate_formats(true);
        options.build(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
    }
}

fn at(name: &str) -> String {
    format!("https://portcullis.example/events/{name}.schema.json")
}

fn at_noon() -> jiff::Timestamp {
    "2026-03-02T12:00:00Z".parse().expect("a time")
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

/// Every word that a fact may begin with, as the parser itself tells them.
fn every_what() -> BTreeSet<String> {
    let error = serde_json::from_value::<Fact>(json!({ "what": "?" })).expect_err("there is no such fact");
    let words = error.to_string();
    let words = words.split_once("expected one of").expect("what is expected").1;
    words.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}
