//! The description of the API by outside judges: two independent validators, and a client that is generated from it and works.

use portcullis_tests::{
    binary::{Up, text},
    needs::lacking,
    python::programs,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The other validator, by its package and its program.
const VALIDATOR: (&str, &str) = ("@seriousme/openapi-schema-validator@2.11.0", "validate-api");

fn description() -> Value {
    serde_json::to_value(portcullis_http::openapi()).expect("JSON")
}

/// The description in a file of its own.
fn written(folder: &Path) -> PathBuf {
    let path = folder.join("openapi.json");
    fs::write(&path, description().to_string()).expect("written");
    path
}

#[test]
fn each_operation_has_a_name_of_its_own_and_each_answer_a_description() {
    let description = description();
    let paths = description["paths"].as_object().expect("paths");
    let operations = || paths.values().flat_map(|it| it.as_object().expect("operations").values());
    let names: BTreeSet<&str> = operations().filter_map(|it| it["operationId"].as_str()).collect();
    assert_eq!(names.len(), operations().count());
    for operation in operations() {
        for (status, answer) in operation["responses"].as_object().expect("answers") {
            let said = answer["description"].as_str().unwrap_or_default();
            assert!(
                said.ends_with('.') && said != "Another answer.",
                "{}: {status}",
                operation["operationId"]
            );
            let is_problem =
                answer["content"].as_object().is_some_and(|it| it.contains_key("application/json"));
            assert!(
                !(status.starts_with(['4', '5']) && is_problem),
                "{}: {status}",
                operation["operationId"]
            );
        }
    }
}

#[test]
#[ignore = "needs pypi"]
fn client_that_is_generated_from_the_description_guards_requests_and_closes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("api_description");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("api_description");
    let python = programs(&folder.join("requirements.txt"), &place);
    let python = python.unwrap_or_else(|why| lacking("pypi", &why)).join("python");
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    let targets = up.json(&["targets"]);
    let is_web = |it: &&Value| it["name"] == "web-1";
    let target = targets.as_array().expect("a list").iter().find(is_web).expect("there")["id"].clone();
    let token = fs::read_to_string(data.path().join("token")).expect("a token");
    let mut client = Command::new(python);
    client.arg(folder.join("client.py")).arg(written(data.path())).arg(data.path().join("client"));
    client.args([up.url(), target.as_str().expect("an id")]).env("PORTCULLIS_TOKEN", token.trim());
    let ran = client.output().expect("runs");
    assert!(ran.status.success(), "{}{}", text(&ran.stdout), text(&ran.stderr));
    let mut saw: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let said = saw["said"].take();
    // A stream of lines is beyond what it generates.
    let left_out = said.as_str().expect("text").matches("WARNING parsing").count();
    assert_eq!(left_out, 1, "{said}");
    assert!(said.as_str().expect("text").contains("GET /v1/export"), "{said}");
    let wanted = json!({
        "said": null, "guarded": [22], "same": true, "grants": 1, "closed": true,
        "refused": [422, ["nothing-asked"]], "machine": "configured",
    });
    assert_eq!(saw, wanted);
}

#[test]
#[ignore = "needs npm"]
fn description_is_valid_for_a_validator_of_another_language() {
    let folder = tempfile::tempdir().expect("a folder");
    let (package, program) = VALIDATOR;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(folder.path())
        .arg(package);
    let installed = npm.output().unwrap_or_else(|why| lacking("npm", &why.to_string()));
    assert!(installed.status.success(), "{}", text(&installed.stderr));
    let program = folder.path().join("node_modules/.bin").join(program);
    let judged = Command::new(program).arg(written(folder.path())).output().expect("runs");
    let verdict = text(&judged.stdout);
    let verdict: Value = serde_json::from_str(&verdict).unwrap_or_else(|_| panic!("{verdict}"));
    assert_eq!(verdict["valid"], true, "{verdict:#}");
}
