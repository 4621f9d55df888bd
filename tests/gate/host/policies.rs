//! Commands on policy files: the examples of docs/policy.md as they are written there, and what goes wrong.

use portcullis_tests::{
    binary::{program, text},
    root,
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const FENCE: &str = "```";

/// The blocks of the page: the line before each, its language and its lines.
fn blocks() -> Vec<(String, String, String)> {
    let page = fs::read_to_string(root().join("docs/policy.md")).expect("a page");
    let (mut blocks, mut lines, mut before) = (vec![], page.lines(), "");
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix(FENCE) {
            let block: Vec<&str> = lines.by_ref().take_while(|it| *it != FENCE).collect();
            blocks.push((before.to_owned(), language.to_owned(), block.join("\n") + "\n"));
            before = "";
        } else if !line.is_empty() {
            before = line;
        }
    }
    blocks
}

/// Writes the files that the page shows.
fn write(folder: &Path) {
    fs::create_dir(folder.join("policies")).expect("made");
    let mut names = vec![];
    for (before, _, block) in blocks() {
        if let Some(name) = before.strip_prefix('`').and_then(|it| it.strip_suffix("`:")) {
            fs::write(folder.join(name), block).expect("written");
            names.push(name.to_owned());
        }
    }
    assert_eq!(
        names,
        ["on-call.cedar", "installation.toml", "cases.toml"].map(|it| format!("policies/{it}"))
    );
}

fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(program()).arg("policy").args(words).current_dir(folder).output().expect("runs")
}

/// The exit code, and both outputs.
fn told(output: &Output) -> (i32, String) {
    (output.status.code().expect("a code"), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn examples_of_the_page_answer_as_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let mut count = 0;
    for (_, _, block) in blocks().iter().filter(|(_, language, _)| language == "console") {
        for example in block.split("$ portcullis policy ").skip(1) {
            let (command, expected) = example.split_once('\n').expect("an answer");
            let words: Vec<&str> = command.split(' ').collect();
            let output = run(folder.path(), &words);
            let lines: Vec<String> =
                text(&output.stdout).lines().map(|it| it.trim_end().to_owned()).collect();
            assert_eq!(lines.join("\n"), expected.trim_end(), "{command}\n{}", text(&output.stderr));
            count += 1;
        }
    }
    assert!(4 <= count, "{count}");
}

#[test]
fn case_that_fails_ends_with_1_and_names_the_difference_and_the_nearest_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let path = folder.path().join("policies/cases.toml");
    let cases = fs::read_to_string(&path).expect("reads");
    fs::write(&path, cases.replace("expect = \"refused\"\nby = [\"four-hours\"]", "expect = \"permitted\""))
        .expect("written");
    let (code, words) = told(&run(folder.path(), &["test", "policies/cases.toml"]));
    let expected = "policies/cases.toml:14: `a whole day`: expected permitted, and it is refused; it would pass for 4h\nCases: 4, passed: 3.\n";
    assert_eq!(code, 1);
    assert!(words.ends_with(expected), "{words}");
    let output = run(folder.path(), &["test", "policies/cases.toml", "--json"]);
    let tried: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let whole = &tried[1];
    assert_eq!(
        (&whole["passed"], &whole["line"], &whole["nearest"][0]),
        (&false.into(), &14.into(), &"for 4h".into())
    );
    assert_eq!(whole["deciding"][0], "four-hours");
}

#[test]
fn faults_of_policy_files_have_their_places_and_end_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let policy =
        "permit (\n  principal in Group::\"obs\",\n  action,\n  resource\n) when { context.minute <= 5 };\n";
    fs::write(folder.path().join("policies/wrong.cedar"), policy).expect("written");
    let (code, words) = told(&run(folder.path(), &["check"]));
    assert_eq!(code, 1);
    assert!(words.contains("wrong.cedar:1:1: policy `wrong.cedar#1`: there is no group `obs`\n"), "{words}");
    assert!(
        words.contains("wrong.cedar:5:10: for policy `wrong.cedar#1`, attribute `minute` in context"),
        "{words}"
    );
    let json = run(folder.path(), &["check", "--json"]);
    let checked: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(
        (&checked["faults"][0]["file"], &checked["faults"][0]["line"]),
        (&"wrong.cedar".into(), &1.into())
    );
    for words in [&["lint"][..], &["test", "policies/cases.toml"], &["who-can", "web-1", "22"]] {
        let (code, told) = told(&run(folder.path(), words));
        assert!(code == 1 && told.contains("the policy files have faults"), "{told}");
    }
}

#[test]
fn folder_without_policies_and_a_machine_that_is_not_there_are_not_found() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(told(&run(folder.path(), &["check"])).0, 4);
    fs::create_dir(folder.path().join("policies")).expect("made");
    let (code, words) = told(&run(folder.path(), &["check"]));
    assert!(code == 4 && words.contains("there is no policy file in `policies`"), "{words}");
    fs::remove_dir(folder.path().join("policies")).expect("removed");
    write(folder.path());
    let (code, words) = told(&run(folder.path(), &["who-can", "web-9", "22"]));
    assert!(code == 4 && words.contains("there is no machine `web-9` in installation.toml"), "{words}");
}

#[test]
fn remarks_end_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let (code, words) = told(&run(folder.path(), &["lint", "--widest-ipv4", "24"]));
    let expected = "`on-call` permits requests from 0.0.0.0/0, which is wider than /24\n";
    assert_eq!((code, words.as_str()), (1, expected));
}

#[test]
fn schema_is_the_one_that_is_published() {
    let output = run(&root(), &["schema"]);
    let published = fs::read_to_string(root().join("infra/policy/portcullis.cedarschema")).expect("a schema");
    assert_eq!(text(&output.stdout), published);
}
