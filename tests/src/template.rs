//! `template.yaml` as the tests read it: JSON, with every short form such as `!Ref` written out.

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value, json};
use std::fs;

/// What is deployed, as it stands in the template.
#[derive(Debug)]
pub struct Template(Value);

impl Template {
    /// The one of this repository.
    pub fn read() -> Self {
        let path = crate::root().join("template.yaml");
        let text = fs::read_to_string(path).expect("a template");
        let mut documents = Yaml::load_from_str(&text).expect("YAML");
        assert_eq!(documents.len(), 1);
        let mut whole = written_out(&documents.remove(0));
        // Tests compare parts of it as text.
        whole.sort_all_objects();
        Self(whole)
    }

    /// What stands at this place, such as `/Resources/Table`.
    pub fn at(&self, pointer: &str) -> &Value {
        self.find(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"))
    }

    /// What stands there, if anything does.
    pub fn find(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// The resources of a kind, by their names: what their properties are.
    pub fn of(&self, kind: &str) -> Vec<(&str, &Value)> {
        let resources = self.at("/Resources").as_object().expect("resources").iter();
        let of_kind = resources.filter(|(_, it)| it["Type"] == kind);
        of_kind.map(|(name, it)| (name.as_str(), &it["Properties"])).collect()
    }

    /// The properties of a resource.
    pub fn properties(&self, name: &str) -> &Value {
        self.at(&format!("/Resources/{name}/Properties"))
    }
}

/// What a value of the template stands for, in short: `Table.Arn`, `${Table.Arn}/index/*`.
pub fn short(value: &Value) -> String {
    let Some(only) = value.as_object().and_then(|it| it.iter().next().filter(|_| it.len() == 1)) else {
        return value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    };
    match (only.0.as_str(), only.1) {
        ("Fn::GetAtt", Value::Array(path)) => path.iter().map(short).collect::<Vec<_>>().join("."),
        ("Ref" | "Fn::Sub", Value::String(text)) => text.clone(),
        _ => value.to_string(),
    }
}

fn written_out(node: &Yaml) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(it)) => json!(it),
        Yaml::Value(Scalar::Integer(it)) => json!(it),
        Yaml::Value(Scalar::FloatingPoint(it)) => json!(it.into_inner()),
        Yaml::Value(Scalar::String(it)) => json!(it),
        Yaml::Sequence(items) => items.iter().map(written_out).collect(),
        Yaml::Mapping(fields) => {
            let field = |(key, value)| (text(key), written_out(value));
            let all: Map<String, Value> = fields.iter().map(field).collect();
            assert_eq!(all.len(), fields.len(), "no two keys are one");
            Value::Object(all)
        }
        Yaml::Tagged(tag, node) => intrinsic(&tag.suffix, written_out(node)),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => panic!("{node:?}"),
    }
}

fn text(key: &Yaml) -> String {
    key.as_str().unwrap_or_else(|| panic!("{key:?} is no text")).to_owned()
}

fn intrinsic(name: &str, of: Value) -> Value {
    match (name, of) {
        ("Ref" | "Condition", of) => json!({ name: of }),
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.').expect("an attribute");
            json!({ "Fn::GetAtt": [resource, attribute] })
        }
        (_, of) => json!({ format!("Fn::{name}"): of }),
    }
}
