//! Which operations of the door each command of the program performs: the program's own log tells.

use portcullis_app::{Operation, OperationKind};
use portcullis_tests::{
    binary::{Up, program, text},
    sentences::dialect,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

const ANN: &str = "203.0.113.9";
/// How long the log may be behind an answer.
const LOG_MAX: Duration = Duration::from_secs(20);

/// Each command that asks a server, and the operation that it is there for.
const COMMANDS: [(&str, Operation); 23] = [
    ("targets", Operation::Machines),
    ("plan", Operation::Plan),
    ("enable", Operation::Enable),
    ("confirm", Operation::Confirm),
    ("edit", Operation::Edit),
    ("disable", Operation::Disable),
    ("request", Operation::Initiate),
    ("explain", Operation::Explain),
    ("requests", Operation::Requests),
    ("approve", Operation::Approve),
    ("reject", Operation::Reject),
    ("withdraw", Operation::Withdraw),
    ("grants", Operation::Grants),
    ("close", Operation::Close),
    ("extend", Operation::Extend),
    ("check", Operation::Check),
    ("activity", Operation::Activity),
    ("verify", Operation::Verify),
    ("export", Operation::Export),
    ("events", Operation::Happened),
    ("adopt", Operation::Adoptables),
    ("doctor", Operation::Doctor),
    ("whoami", Operation::Whoami),
];

/// Commands that ask none, or several: an event performs what it names (`door`), and tokens and policy files have commands of their own.
const OTHERS: [&str; 13] = [
    "up",
    "demo",
    "simcloud",
    "send",
    "deploy-check",
    "profiles",
    "login",
    "logout",
    "policy",
    "token",
    "role",
    "completions",
    "man",
];

/// A program that logs its operations.
struct Place {
    up: Up,
    folder: tempfile::TempDir,
    read: usize,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = File::create(folder.path().join("log")).expect("a file");
        let up = Up::start_with(&folder.path().join("data"), &[], &[], |command| {
            command.env("PORTCULLIS_LOG", "warn,portcullis_app::door=debug").stderr(log);
        });
        let mut place = Self { up, folder, read: 0 };
        place.operations(None);
        place
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs a command, and gives the operations that were logged since; waits until one is the wanted one.
    fn run(&mut self, words: &[&str], wanted: Operation) -> BTreeSet<String> {
        self.run_as(None, words, wanted)
    }

    fn run_as(&mut self, token: Option<&str>, words: &[&str], wanted: Operation) -> BTreeSet<String> {
        let mut command = self.up.client();
        if let Some(token) = token {
            command.env("PORTCULLIS_TOKEN", token);
        }
        let output = command.args(words).output().expect("runs");
        let operations = self.operations(Some(wanted));
        let told = || format!("{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
        assert!(operations.contains(wanted.name()), "{}: {operations:?}", told());
        operations
    }

    fn operations(&mut self, wanted: Option<Operation>) -> BTreeSet<String> {
        let (begun, mut found) = (Instant::now(), BTreeSet::new());
        loop {
            let log = fs::read_to_string(self.folder.path().join("log")).expect("text");
            let whole = log.rfind('\n').map_or(0, |it| it + 1);
            let new = &log[self.read..whole];
            let names = new.lines().filter_map(|it| it.split("operation=\"").nth(1)?.split('"').next());
            found.extend(names.map(str::to_owned));
            self.read = whole;
            let is_there = wanted.is_none_or(|it| found.contains(it.name()));
            if is_there || LOG_MAX < begun.elapsed() {
                return found;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn of(name: &str) -> Operation {
    COMMANDS.iter().find(|(command, _)| *command == name).expect("is listed").1
}

/// The commands of the program, as its help lists them.
fn in_help() -> BTreeSet<String> {
    let output = Command::new(program()).arg("--help").output().expect("runs");
    let help = text(&output.stdout);
    let (_, after) = help.split_once("Commands:").expect("a list of commands");
    let lines = after.lines().skip(1).take_while(|it| !it.is_empty());
    let names = lines.filter(|it| it.starts_with("  ") && !it.starts_with("   "));
    let names = names.filter_map(|it| it.split_whitespace().next());
    names.filter(|it| *it != "help").map(str::to_owned).collect()
}

/// The help of the program and of each command.
fn pages() -> Vec<String> {
    let mut pages = vec![];
    let commands = in_help();
    for command in std::iter::once(None).chain(commands.iter().map(Some)) {
        let words = command.into_iter().map(String::as_str).chain(["--help"]);
        let output = Command::new(program()).args(words).env("COLUMNS", "120").output().expect("runs");
        assert!(output.status.success(), "{command:?}");
        pages.push(text(&output.stdout));
    }
    pages
}

/// A change of wording is reviewed as one.
#[test]
fn help_of_each_command_is_in_these_words() {
    insta::assert_snapshot!(pages().join("\n----\n\n"));
}

#[test]
fn help_of_each_command_uses_the_words_of_the_glossary() {
    for page in pages() {
        for line in page.lines() {
            // An option may be followed by its meaning: `- federated: An application …`.
            let meaning = line.split_once(": ").map_or(line, |(_, it)| it);
            let found = dialect(line).or_else(|| dialect(meaning));
            assert_eq!(found, None, "{line}");
        }
    }
}

#[test]
fn each_command_of_the_help_is_listed_with_its_operation() {
    let listed = COMMANDS.iter().map(|(name, _)| *name).chain(OTHERS);
    assert_eq!(in_help(), listed.map(str::to_owned).collect());
}

#[test]
fn each_command_performs_the_operation_that_it_is_for_and_changes_nothing_else() {
    let mut place = Place::new();
    let mut performed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let file = place.folder.path().join("evidence");
    let file = file.to_str().expect("text").to_owned();
    let mut run = |place: &mut Place, words: &[&'static str], more: &[&str]| {
        let name = words[0];
        let operations = place.run(&[words, more].concat(), of(name));
        performed.entry(name).or_default().extend(operations);
    };
    run(&mut place, &["targets"], &[]);
    run(&mut place, &["plan", "web-1"], &[]);
    run(&mut place, &["enable", "web-1"], &[]);
    run(&mut place, &["edit", "web-1", "--add-port", "8443", "--confirm-within", "5m"], &[]);
    run(&mut place, &["confirm", "web-1"], &[]);
    run(&mut place, &["explain", "web-1:22", "--from", ANN], &[]);
    run(&mut place, &["request", "web-1:22", "--from", ANN, "--for", "10m"], &[]);
    run(&mut place, &["extend", "web-1:22", "--by", "5m"], &[]);
    run(&mut place, &["grants"], &[]);
    run(&mut place, &["check", "web-1", "22", "--from", ANN], &[]);
    run(&mut place, &["close", "web-1:22"], &[]);
    run(&mut place, &["requests"], &[]);
    run(&mut place, &["activity", "web-1"], &[]);
    run(&mut place, &["events"], &[]);
    run(&mut place, &["verify"], &[]);
    let day = [
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-02T00:00:00Z",
        "--format",
        "jsonl",
        "--out",
        &file,
    ];
    run(&mut place, &["export"], &day);
    run(&mut place, &["adopt"], &[]);
    run(&mut place, &["doctor"], &[]);
    run(&mut place, &["whoami"], &[]);
    run(&mut place, &["edit", "web-1", "--set", "22,approver=bob"], &[]);
    let asked = place.up.json(&["request", "web-1:22", "--from", ANN, "--for", "10m"]);
    place.operations(None);
    run(&mut place, &["withdraw"], &[asked["request"]["id"].as_str().expect("an id")]);
    for verb in ["reject", "approve"] {
        let asked = place.up.json(&["request", "web-1:22", "--from", ANN, "--for", "10m"]);
        let bob = token(&place.up, "bob");
        place.operations(None);
        let id = asked["request"]["id"].as_str().expect("an id");
        let operations = place.run_as(Some(&bob), &[verb, id, "--yes"], of(verb));
        performed.entry(verb).or_default().extend(operations);
    }
    let operations = place.run(&["disable", "web-1"], of("disable"));
    performed.entry("disable").or_default().extend(operations);
    assert_eq!(performed.len(), COMMANDS.len(), "each was run: {:?}", performed.keys());
    for (name, operations) in performed {
        let wanted = of(name);
        let is_command =
            |it: &&Operation| it.kind() == OperationKind::Command && operations.contains(it.name());
        let changes: Vec<Operation> = Operation::ALL.iter().filter(is_command).copied().collect();
        let allowed: &[Operation] = match wanted.kind() {
            OperationKind::Command => &[wanted],
            OperationKind::Query => &[],
        };
        assert_eq!(changes, allowed, "`{name}` performs {operations:?}");
    }
    assert!(Path::new(&place.data()).is_dir());
}

fn token(up: &Up, person: &str) -> String {
    let made: Value = up.json(&["token", "create", person]);
    made["token"].as_str().expect("a token").to_owned()
}
