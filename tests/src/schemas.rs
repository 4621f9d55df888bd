//! The contract of events in `infra/events`: what is told is what it says.

use jsonschema::{Registry, RegistryBuilder, Validator};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, sync::OnceLock};

/// What events are made of, and what they tell.
const SHARED: [&str; 2] = ["fact", "types"];

/// Every schema, by its name; those of events compiled.
#[derive(Debug)]
pub struct Schemas {
    all: BTreeMap<String, Value>,
    kinds: BTreeMap<String, Validator>,
}

impl Schemas {
    /// Those of `infra/events`. Once for each program: whoever tells thousands of stories asks often.
    pub fn ours() -> &'static Self {
        static OURS: OnceLock<Schemas> = OnceLock::new();
        OURS.get_or_init(Self::read)
    }

    fn read() -> Self {
        let folder = crate::root().join("infra/events");
        let files = fs::read_dir(folder).expect("a folder").map(|it| it.expect("an entry").path());
        let named = files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".schema.json")?.to_owned();
            let schema: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).expect("JSON");
            assert_eq!(schema["$id"], Self::at(&name));
            Some((name, schema))
        });
        let mut schemas = Self { all: named.collect(), kinds: BTreeMap::new() };
        assert!(SHARED.iter().all(|it| schemas.all.contains_key(*it)), "{:?}", schemas.all.keys());
        let kinds = schemas.all.keys().filter(|it| !SHARED.contains(&it.as_str()));
        let compiled = kinds.map(|it| (it.clone(), schemas.validator(&json!({ "$ref": Self::at(it) }))));
        schemas.kinds = compiled.collect();
        schemas
    }

    /// What a schema is called by others.
    pub fn at(name: &str) -> String {
        format!("https://portcullis.example/events/{name}.schema.json")
    }

    /// Every schema, by its name, also those that events are made of.
    pub fn all(&self) -> &BTreeMap<String, Value> {
        &self.all
    }

    /// Every kind of event.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// The examples of a kind.
    pub fn examples(&self, kind: &str) -> &[Value] {
        self.all[kind]["examples"].as_array().map_or(&[], Vec::as_slice)
    }

    /// What is wrong with the `detail` of an event of this kind; nothing if it is what its schema says.
    pub fn wrong(&self, kind: &str, detail: &Value) -> Vec<String> {
        match self.kinds.get(kind) {
            // Nearly always, and sooner known than which error there is.
            Some(known) if known.is_valid(detail) => vec![],
            Some(known) => known.iter_errors(detail).map(|it| it.to_string()).collect(),
            None => vec![format!("`{kind}` has no schema")],
        }
    }

    /// Panics where [`Self::wrong`] has anything to say.
    pub fn hold(&self, kind: &str, detail: &Value) {
        assert_eq!(self.wrong(kind, detail), [""; 0], "{kind}: {detail}");
    }

    /// Of any schema. Nothing is fetched: what one schema says of another is in that folder.
    pub fn validator(&self, schema: &Value) -> Validator {
        let known = self.all.iter().map(|(name, it)| (Self::at(name), it.clone()));
        let registry = Registry::new().extend(known).and_then(RegistryBuilder::prepare).expect("schemas");
        let options = jsonschema::options().with_registry(&registry).should_validate_formats(true);
        options.build(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
    }
}
