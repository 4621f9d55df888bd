//! The house: which way the arrows point, how small the mains are, and that the README tells the truth.

use portcullis_tests::{modules::Modules, root};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

/// Which packages of ours each package may see.
const ARROWS: [(&str, &[&str]); 27] = [
    ("portcullis-domain", &[]),
    ("portcullis-app", &["portcullis-domain"]),
    // Clients are built of it, so it sees no use case.
    ("portcullis-wire", &["portcullis-domain"]),
    ("portcullis-http", &["portcullis-app", "portcullis-domain", "portcullis-wire"]),
    // Policies are decided, tested and explained offline.
    ("portcullis-policy", &["portcullis-domain"]),
    ("portcullis-local", &["portcullis-app", "portcullis-domain"]),
    ("portcullis-aws", &["portcullis-app", "portcullis-domain", "portcullis-outgoing"]),
    // The simulator is what its own tests ask; its product never sees it.
    ("portcullis-azure", &["portcullis-app", "portcullis-domain", "portcullis-outgoing"]),
    ("portcullis-identity", &["portcullis-app", "portcullis-domain", "portcullis-outgoing"]),
    // What the functions have in common names what they stand on, so that each main is a few lines.
    (
        "portcullis-lambda",
        &[
            "portcullis-app",
            "portcullis-aws",
            "portcullis-azure",
            "portcullis-domain",
            "portcullis-http",
            "portcullis-identity",
            "portcullis-outgoing",
        ],
    ),
    (
        "portcullis-api",
        &["portcullis-app", "portcullis-domain", "portcullis-http", "portcullis-lambda", "portcullis-policy"],
    ),
    ("portcullis-expire", &["portcullis-app", "portcullis-lambda"]),
    ("portcullis-export", &["portcullis-app", "portcullis-domain", "portcullis-lambda"]),
    ("portcullis-reconcile", &["portcullis-app", "portcullis-lambda", "portcullis-policy"]),
    ("portcullis-relay", &["portcullis-lambda"]),
    ("portcullis-settle", &["portcullis-lambda"]),
    ("portcullis-submit", &["portcullis-app", "portcullis-lambda", "portcullis-policy"]),
    // A client is built of shapes and words; what it needs of AWS and of Cedar is behind features of its own.
    (
        "portcullis-client",
        &[
            "portcullis-aws",
            "portcullis-domain",
            "portcullis-outgoing",
            "portcullis-policy",
            "portcullis-program",
            "portcullis-wire",
        ],
    ),
    (
        "portcullis-host",
        &[
            "portcullis-app",
            "portcullis-azure",
            "portcullis-domain",
            "portcullis-http",
            "portcullis-identity",
            "portcullis-local",
            "portcullis-outgoing",
            "portcullis-policy",
            "portcullis-program",
            "portcullis-simcloud",
            "portcullis-wire",
        ],
    ),
    (
        "portcullis-portcullis",
        &[
            "portcullis-client",
            "portcullis-domain",
            "portcullis-host",
            "portcullis-program",
            "portcullis-wire",
        ],
    ),
    ("portcullis-program", &[]),
    // One set of rules for every connection that leaves.
    ("portcullis-outgoing", &[]),
    // Its truth is its own: what it shares with nobody, it cannot get wrong together with them.
    ("portcullis-simcloud", &[]),
    // What ours are measured against.
    ("portcullis-empty", &[]),
    ("portcullis-sdk", &["portcullis-aws"]),
    // Whoever runs the fast tests builds nothing of AWS's.
    (
        "portcullis-tests",
        &[
            "portcullis-app",
            "portcullis-azure",
            "portcullis-domain",
            "portcullis-http",
            "portcullis-identity",
            "portcullis-local",
            "portcullis-outgoing",
            "portcullis-policy",
            "portcullis-simcloud",
            "portcullis-wire",
        ],
    ),
    (
        "portcullis-gate",
        &[
            "portcullis-app",
            "portcullis-aws",
            "portcullis-azure",
            "portcullis-client",
            "portcullis-domain",
            "portcullis-http",
            "portcullis-local",
            "portcullis-policy",
            "portcullis-simcloud",
            "portcullis-tests",
            "portcullis-wire",
        ],
    ),
];
/// Modules that need each other, by their crate, since they are one thing in several files; with why.
const ONE_THING: [(&str, &[&str], &str); 8] = [
    (
        "shared/domain",
        &[
            "drifts",
            "glass",
            "grant",
            "grants",
            "journal",
            "journal::about",
            "journal::chain",
            "journal::replay",
            "lease",
            "next",
            "policy",
            "refusal",
            "request",
            "review",
            "room",
            "target",
            "view",
        ],
        "one aggregate: a target's transitions give facts, and facts hold what they are about",
    ),
    ("shared/domain", &["net", "space"], "sources, and the set of addresses that they are"),
    (
        "shared/azure",
        &["azure", "inventory", "leftovers", "retired", "room", "snapshot", "write"],
        "the type `Azure`",
    ),
    ("shared/aws", &["store", "store::commit", "store::lists", "store::spill"], "the type `DynamoStore`"),
    ("shared/simcloud", &["cloud", "jit", "permissions", "restrictions"], "the type `Cloud`"),
    ("tests", &["fleet", "fleet::furniture"], "the type `Fleet`"),
    (
        "tests",
        &[
            "small_world::actor",
            "small_world::digest",
            "small_world::fault",
            "small_world::firewall",
            "small_world::memory",
            "small_world::oracle",
            "small_world::run",
            "small_world::table",
            "small_world::world",
        ],
        "one simulator: everything in it happens in its `World`",
    ),
    (
        "tests",
        &[
            "stories",
            "stories::actors",
            "stories::bots",
            "stories::clock",
            "stories::cloud",
            "stories::executor",
            "stories::faults",
            "stories::machine",
            "stories::oracle",
            "stories::oracle::asked",
            "stories::oracle::bus",
            "stories::oracle::gates",
            "stories::oracle::permitted",
            "stories::oracle::record",
            "stories::outside",
            "stories::queue",
            "stories::relay",
            "stories::store",
            "stories::world",
        ],
        "one simulator: everything in it happens in its `World`",
    ),
];
/// What the domain may be made of: nothing that reads a clock, throws dice or waits.
const DOMAIN: [&str; 9] = [
    "data-encoding",
    "ipnet",
    "jiff",
    "serde",
    "serde_json",
    "sha2",
    "thiserror",
    "unicode-normalization",
    "unicode-security",
];
/// How long a `main.rs` may be, in lines.
const MAIN_MAX: usize = 40;
/// The README's second command.
const TEST: &str = "cargo test";
/// How long any file of ours may be, in lines.
const FILE_MAX: usize = 700;

/// What each package depends on, by name, for its product and for its tests.
fn dependencies() -> BTreeMap<String, Vec<(String, bool)>> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let metadata =
        Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let all = dependencies.iter().map(|it| (text(&it["name"]), it["kind"].is_null()));
        (text(&package["name"]), all.collect())
    };
    packages.iter().map(of).collect()
}

/// Every source file of ours.
fn sources() -> Vec<PathBuf> {
    let sources = files(&["functions", "shared", "tests"], &["rs"]);
    assert!(30 < sources.len(), "the files were found");
    sources
}

/// Every file in these folders whose name ends so.
fn files(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = folders.iter().map(|it| root().join(it)).collect();
    let mut files = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| endings.iter().any(|ending| it == *ending)) {
                files.push(path);
            }
        }
    }
    files
}

/// All of it, one after the other.
fn text(files: &[PathBuf]) -> String {
    files.iter().map(|path| fs::read_to_string(path).expect("reads")).collect()
}

#[test]
fn the_arrows_point_one_way() {
    let known = dependencies();
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(names, expected, "every package has its arrows here");
    for (name, may_see) in ARROWS {
        // Whose own tests ask a simulated cloud may see that there.
        let is_for_tests = |it: &(String, bool)| !it.1 && it.0 == "portcullis-simcloud";
        let ours = known[name].iter().filter(|it| it.0.starts_with("portcullis-"));
        for (dependency, _) in ours.filter(|it| !is_for_tests(it)) {
            assert!(may_see.contains(&dependency.as_str()), "`{name}` must not see `{dependency}`");
        }
    }
}

#[test]
fn no_modules_need_each_other() {
    let mut count = 0;
    let manifests = files(&["functions", "shared", "tests"], &["toml"]);
    for manifest in manifests.iter().filter(|it| it.ends_with("Cargo.toml")) {
        let folder = manifest.parent().expect("a folder");
        let name = folder.strip_prefix(root()).expect("in the workspace").display().to_string();
        let one_thing: Vec<&[&str]> =
            ONE_THING.iter().filter(|it| it.0 == name).map(|(_, modules, _)| *modules).collect();
        let roots = ["src/lib.rs", "src/main.rs"].map(|it| folder.join(it));
        for root in roots.iter().filter(|it| it.exists()) {
            let modules = Modules::of(root);
            count += modules.count();
            let shown = |it: &(String, String)| format!("{} -> {}", it.0, it.1);
            let cycles = modules.cycles(&one_thing);
            let cycles = cycles.iter().map(|it| it.iter().map(shown).collect::<Vec<_>>().join(", "));
            let cycles: Vec<String> = cycles.collect();
            assert!(cycles.is_empty(), "modules of {name} need each other:\n  {}", cycles.join("\n  "));
        }
    }
    assert!(300 < count, "the modules were found: {count}");
}

#[test]
fn the_domain_is_pure() {
    let known = dependencies();
    for (dependency, _) in known["portcullis-domain"].iter().filter(|(_, in_product)| *in_product) {
        assert!(DOMAIN.contains(&dependency.as_str()), "`{dependency}` in the domain");
    }
}

/// One stray default feature of an SDK would bring a second one back, and seconds of building with it.
#[test]
fn there_is_one_way_over_the_network() {
    const ONE: [&str; 4] = ["http", "hyper", "hyper-rustls", "rustls"];
    const NONE: [&str; 5] = ["aws-lc-sys", "native-tls", "openssl-sys", "reqwest", "rustls-native-certs"];
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("a lock");
    let count = |name: &str| lock.matches(&format!("name = \"{name}\"\n")).count();
    for name in ONE {
        assert_eq!(count(name), 1, "versions of `{name}`: `cargo tree --invert {name}` says who wants them");
    }
    for name in NONE {
        assert_eq!(count(name), 0, "`{name}`: `cargo tree --invert {name}` says who wants it");
    }
}

/// The names of all that this package of ours is built of, with these arguments.
fn tree(package: &str, arguments: &[&str]) -> String {
    let tree = ["tree", "--offline", "-p", package, "--prefix", "none", "-e", "normal"];
    let tree = Command::new(env!("CARGO")).args(tree).args(arguments).current_dir(root()).output();
    let tree = tree.expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains("portcullis-"), "{tree}");
    tree
}

#[test]
fn the_first_command_of_the_readme_builds_nothing_of_aws_and_no_cedar() {
    let tree = tree("portcullis-portcullis", &["--no-default-features"]);
    let is_left_out = |it: &&str| ["aws-", "cedar-", "lalrpop"].iter().any(|name| it.starts_with(name));
    assert_eq!(tree.lines().find(is_left_out), None);
}

/// Its engine costs a cold start milliseconds, and whoever settles asks nobody for a right.
#[test]
fn functions_that_ask_for_no_rights_link_no_cedar() {
    for (function, asks_for_rights) in [
        ("api", true),
        ("submit", true),
        ("settle", false),
        ("expire", false),
        ("reconcile", true),
        ("relay", false),
        ("export", false),
    ] {
        let tree = tree(&format!("portcullis-{function}"), &[]);
        assert_eq!(tree.lines().any(|it| it.starts_with("cedar-")), asks_for_rights, "{function}");
    }
}

#[test]
fn mains_are_small_and_files_have_one_subject() {
    let lines = |path: &PathBuf| fs::read_to_string(path).expect("reads").lines().count();
    for path in &sources() {
        let max = if path.ends_with("src/main.rs") { MAIN_MAX } else { FILE_MAX };
        assert!(lines(path) <= max, "{} has more than {max} lines", path.display());
    }
}

#[test]
fn nothing_is_allowed_silently() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("reads");
        let marker = concat!("#[", "allow(");
        assert!(!text.contains(marker), "{}: say `#[expect(…, reason = …)]`", path.display());
    }
}

#[test]
fn the_readme_names_every_promise_and_each_is_a_test() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let promises = fs::read_to_string(root().join("tests/fast/promises.rs")).expect("promises");
    for promise in [
        "shut-by-default",
        "shut-on-time",
        "no-neighbour-harmed",
        "nothing-unrecorded",
        "one-door-in",
        "twice-is-once",
    ] {
        assert!(readme.contains(promise), "the README does not name {promise}");
        let test = format!("async fn {}()", promise.replace('-', "_"));
        assert!(promises.contains(&test), "there is no test of {promise}");
    }
}

#[test]
fn every_rule_is_cited_where_it_is_kept_and_is_tested() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("an ARCHITECTURE");
    let table = architecture.lines().skip_while(|line| *line != "| rule | why |").skip(2);
    let names = table.map_while(|line| line.strip_prefix("| ")?.split_once(" |")).map(|(name, _)| name);
    let names: Vec<&str> = names.collect();
    assert!(10 < names.len(), "the table was found: {names:?}");
    let (kept, tested) = (text(&files(&["shared"], &["rs"])), text(&files(&["tests"], &["rs", "patch"])));
    for name in names {
        assert!(
            kept.contains(&format!("INVARIANT ({name})")),
            "nothing in shared/ says that it keeps {name}"
        );
        let is_tested = tested.contains(name) || tested.contains(&name.replace('-', "_"));
        assert!(is_tested, "no test, rule of the oracle or mutant in tests/ names {name}");
    }
}

#[test]
fn the_gate_runs_the_readmes_test_command() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let gate = fs::read_to_string(root().join(".ci/run")).expect("a gate");
    let is_there = |text: &str| {
        let commands = text.lines().map(|it| it.split('#').next().unwrap_or_default());
        commands
            .map(|it| it.trim().trim_start_matches("$ "))
            .any(|it| it == TEST || it == format!("part fast {TEST}"))
    };
    assert!(is_there(&readme), "the README says `{TEST}`");
    assert!(is_there(&gate), "the gate runs `{TEST}`");
}

#[test]
fn every_bench_is_run_at_night_and_has_its_table() {
    let names = |it: &PathBuf| it.file_stem().expect("a name").to_string_lossy().into_owned();
    let benches: BTreeSet<String> = files(&["tests/gate/benches"], &["rs"]).iter().map(names).collect();
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("read");
    let night = read("tests/night");
    let night = night.lines().find_map(|it| it.strip_prefix("benches=(")?.strip_suffix(')')).expect("a list");
    assert_eq!(night.split(' ').map(str::to_owned).collect::<BTreeSet<_>>(), benches);
    let page = read("docs/performance.md");
    let marked = page.lines().filter_map(|it| it.strip_prefix("<!-- bench: ")?.strip_suffix(" -->"));
    let mut marked: BTreeSet<String> = marked.map(str::to_owned).collect();
    // It measures builds, and is a script.
    marked.remove("newcomer");
    assert_eq!(marked, benches, "docs/performance.md");
}

#[test]
fn every_known_report_names_a_test_that_there_is() {
    let page = fs::read_to_string(root().join("docs/known-reports.md")).expect("read");
    let rows: Vec<&str> = page.lines().filter(|it| it.starts_with("| ")).skip(2).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let test = row.trim_end_matches(" |").rsplit("| ").next().expect("a cell").trim_matches('`');
        let (suite, name) = test.split_once("::").unwrap_or_else(|| panic!("`{test}` is no test: {row}"));
        let file = format!("{suite}.rs");
        let has = |path: &PathBuf| {
            path.ends_with(&file) && text(std::slice::from_ref(path)).contains(&format!("fn {name}("))
        };
        assert!(sources().iter().any(has), "{test}");
    }
}

#[test]
fn every_mutant_says_its_mechanism_and_fits_the_tree() {
    let patches = files(&["tests/mutants"], &["patch"]);
    assert!(50 < patches.len(), "the mutants were found");
    let suites = files(&["tests/fast", "tests/gate/azure", "tests/gate/aws", "tests/gate/host"], &["rs"]);
    for path in patches {
        let text = fs::read_to_string(&path).expect("reads");
        let first = text.lines().next().unwrap_or_default();
        assert!(first.ends_with('.') && first.len() <= 120, "{}: `{first}` is no sentence", path.display());
        if let Some(suite) = text.lines().find_map(|it| it.strip_prefix("suite: ")) {
            let (suite, name) = suite.split_once(' ').unwrap_or((suite, ""));
            let file = suites.iter().find(|it| it.file_stem().is_some_and(|it| it == suite));
            let tests = file.map_or_else(String::new, |it| fs::read_to_string(it).expect("reads"));
            let is_there = tests.contains(&format!("fn {name}"));
            assert!(is_there, "{}: no test `{name}` in `{suite}`", path.display());
        }
        // Where this tree is no repository, one that it lies in would pass over every patch.
        let mut git = Command::new("git");
        git.args(["apply", "--check"]).arg(&path).current_dir(root());
        git.envs(root().parent().map(|it| ("GIT_CEILING_DIRECTORIES", it)));
        let git = git.output().expect("git runs");
        let why = String::from_utf8_lossy(&git.stderr);
        assert!(git.status.success(), "{} does not fit the tree: {why}", path.display());
    }
}

/// A name of a need, and the beginnings of the names of tests that need it, as `.ci/run` has them.
fn needed() -> BTreeMap<String, Vec<String>> {
    let gate = fs::read_to_string(root().join(".ci/run")).expect("a gate");
    let table =
        gate.split("declare -A needed=(").nth(1).and_then(|it| it.split("\n)").next()).expect("a table");
    let rows = table.split('[').skip(1).map(|row| {
        let (need, names) = row.split_once("]=").expect("a row");
        (need.to_owned(), names.replace('"', "").split_whitespace().map(str::to_owned).collect())
    });
    rows.collect()
}

/// The tests that are ignored unless they are asked for: the file of each, the modules and the name, and the reason.
fn ignored() -> Vec<(PathBuf, String, String)> {
    let mut all = vec![];
    for path in files(&["tests/fast", "tests/gate/azure", "tests/gate/aws", "tests/gate/host"], &["rs"]) {
        let text = fs::read_to_string(&path).expect("reads");
        let suite = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let night = text.find("mod at_night {").unwrap_or(text.len());
        for (at, marker) in text.match_indices(concat!("#[ignore", " = \"")) {
            let (reason, rest) = text[at + marker.len()..].split_once("\"]").expect("a reason");
            // A test, or what a macro makes tests of.
            let words = rest.split(|it: char| !(it.is_alphanumeric() || "_$#".contains(it)));
            let name =
                words.filter(|it| !["", "#", "async", "fn"].contains(it)).find(|it| !it.starts_with('#'));
            let within = if night < at { "at_night::" } else { "" };
            all.push((
                path.clone(),
                format!("{suite}::{within}{}", name.expect("a name")),
                reason.to_owned(),
            ));
        }
    }
    all
}

#[test]
fn a_test_that_is_ignored_needs_what_the_gate_knows_or_takes_long() {
    let (needed, ignored) = (needed(), ignored());
    assert!(40 < ignored.len() && 4 < needed.len(), "they were found: {} {needed:?}", ignored.len());
    let is_of = |need: &str, name: &str| needed[need].iter().any(|it| format!("{name}::").starts_with(it));
    for (path, name, reason) in &ignored {
        let Some(needs) = reason.strip_prefix("needs ") else {
            let is_apart =
                name.contains("::at_night::") || path.parent().is_some_and(|it| it.ends_with("fast"));
            assert!(
                reason.starts_with("takes ") && is_apart,
                "{name}: `{reason}` is no need, and no matter of the night"
            );
            continue;
        };
        let needs: Vec<&str> = needs.split(" and ").collect();
        assert!(needs.iter().all(|it| needed.contains_key(*it)), "{name}: the gate knows no `{reason}`");
        for need in needed.keys() {
            assert_eq!(
                needs.contains(&need.as_str()),
                is_of(need, name),
                "{name} and {need}, by .ci/run and by its reason"
            );
        }
    }
    for (need, names) in &needed {
        for it in names {
            let is_there = ignored.iter().any(|(_, name, _)| format!("{name}::").starts_with(it));
            assert!(is_there, "no test that needs {need} is called `{it}…`");
        }
    }
}
