//! The judge of our policies: Cedar's binding for Python, pinned and unmodified, gives the same answers to generated questions. It is of
//! an older version (4.12) than the engine is (4.14). It is installed into the target folder.

use jiff::{Timestamp, tz::TimeZone};
use portcullis_domain::{
    Authority, Circumstances, Decide as _, Facts, Object, Os, Policies, PrincipalKind, Question, Right,
    Subject, address_range,
};
use portcullis_policy::{Engine, SCHEMA, in_json};
use portcullis_tests::{binary::text, given::named, needs::lacking, python::programs};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

const QUESTIONS: usize = 10_000;
/// Sets of policies, among which the questions are shared out.
const SETS: usize = 8;
/// Python's binding takes numbers as JSON has them: greater ones are rounded by some readers.
const LONG_MAX: i64 = (1 << 53) - 1;

const POLICIES: [&str; 14] = [
    r#"@id("ops-hour") permit (principal in Group::"ops", action in [Action::"request", Action::"extend"], resource) when { context has minutes && context.minutes <= 60 && context has source && context.source.isInRange(ip("203.0.113.0/24")) };"#,
    r#"@id("dba-db") permit (principal in Group::"dba", action, resource is Machine) when { resource.hasTag("role") && resource.getTag("role") == "db" && context has reason && context.reason like "*INC-*" };"#,
    r#"@id("ann") permit (principal in Person::"Ann", action, resource);"#,
    r#"@id("ann-herself") permit (principal == Person::"ann", action == Action::"read", resource == Machine::"web-1");"#,
    r#"permit (principal is Workload, action in [Action::"request", Action::"open-without-approval"], resource is Machine) when { principal.hasTag("repo") && principal.getTag("repo") like "org/*" };"#,
    r#"@id("prod-ticket") forbid (principal, action, resource is Machine) when { resource.hasTag("stage") && ["prod", "Prod"].contains(resource.getTag("stage")) } unless { context has ticket && context.ticket like "CHG*" };"#,
    r#"@id("no-loopback") forbid (principal, action, resource) when { context has source && (context.source.isLoopback() || context.source.isMulticast()) };"#,
    r#"@id("night") forbid (principal, action, resource) when { context.minute_of_day < 360 || context.weekday == 7 };"#,
    r#"@id("overflow") forbid (principal in Group::"ops", action, resource) when { context has minutes && context.minutes * 9000000000000 < 0 };"#,
    r#"@id("overflow-of-a-permit") permit (principal, action == Action::"approve", resource) when { context has minutes_ahead && context.minutes_ahead + 9223372036854775000 > 0 };"#,
    r#"@id("wide") forbid (principal, action, resource) when { context has prefix && context has family && ((context.family == 4 && context.prefix < 16) || (context.family == 6 && context.prefix < 64)) };"#,
    r#"@id("others") permit (principal, action in [Action::"approve", Action::"close"], resource) unless { context.is_own || context.break_glass };"#,
    r#"permit (principal in Group::"quoted \"group\"", action, resource == Installation::"portcullis");"#,
    r#"@id("windows") permit (principal, action, resource is Machine) when { resource has os && resource.os == "windows" && context has port && context.port == 3389 };"#,
];
const BINDINGS: [(&str, &str, &str); 8] = [
    ("reader", "everyone", "everything"),
    ("requester", "group:ops", "tag:stage=prod"),
    ("requester", "person:ANN", "group:s1/rg"),
    ("approver", "group:quoted \"group\"", "account:s1"),
    ("operator", "workload:ci", "target:web-1"),
    ("configurator", "person:bob", "tag:o\"wner=b\\ob"),
    ("auditor", "group:dba", "everything"),
    ("approver", "person:\u{430}nn", "everything"),
];

/// The same numbers each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(count).expect("a count")).expect("a number")
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn is(&mut self, in_hundred: usize) -> bool {
        self.below(100) < in_hundred
    }

    fn perhaps<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        self.is(70).then(|| self.one(all).clone())
    }
}

fn subjects() -> Vec<Subject> {
    let of = |kind, name: &str, groups: &[&str], claims: &[(&str, &str)]| Subject {
        kind,
        name: named(name),
        issuer: "https://idp.example.org".to_owned(),
        groups: groups.iter().map(|it| (*it).to_owned()).collect(),
        claims: claims.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    vec![
        of(PrincipalKind::Person, "Ann", &["ops", "dba"], &[("department", "\u{e9}")]),
        of(PrincipalKind::Person, "bob", &["ops"], &[]),
        of(PrincipalKind::Person, "cleo", &["quoted \"group\""], &[]),
        of(PrincipalKind::Person, "dan", &[], &[]),
        // In one world for all questions a bot is in the groups of the person whom it is in.
        of(PrincipalKind::Bot, "ann", &["ops", "dba"], &[]),
        of(PrincipalKind::Bot, "bob", &["ops"], &[]),
        of(PrincipalKind::Workload, "ci", &["dba"], &[("repo", "org/app")]),
        of(PrincipalKind::Workload, "ann", &[], &[("repo", "other/app")]),
        of(PrincipalKind::Platform, "portcullis", &[], &[]),
    ]
}

fn objects() -> Vec<Object> {
    let arm = |name: &str| {
        format!("/subscriptions/s1/resourcegroups/rg/providers/microsoft.compute/virtualmachines/{name}")
    };
    let of = |id: &str, os, tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Object::Machine(Box::new(Facts { os, tags, ..Facts::of(&named(id)) }))
    };
    vec![
        Object::Installation,
        of("web-1", Some(Os::Linux), &[("stage", "dev")]),
        of("db-1", None, &[("stage", "prod"), ("role", "db")]),
        of(&arm("db-2"), Some(Os::Windows), &[("role", "db")]),
        of(&arm("web-2"), Some(Os::Windows), &[("stage", "Prod"), ("o\"wner", "b\\ob")]),
    ]
}

fn question(dice: &mut Dice) -> Question {
    let sources = [
        "203.0.113.9",
        "203.0.113.0/25",
        "198.51.100.7",
        "127.0.0.1",
        "224.0.0.1",
        "::1",
        "::ffff:203.0.113.9",
        "2001:db8::/48",
        "0.0.0.0/0",
        "::/0",
    ];
    let texts = ["", "INC-1", "see INC-22 now", "CHG*", "CHG1", "a\u{0}b", "\u{e9} INC-9"].map(str::to_owned);
    let minutes = [0, 1, 60, 61, 1_025, LONG_MAX, -5];
    let circumstances = Circumstances {
        now: Timestamp::from_second(i64::try_from(dice.below(4_000_000_000)).expect("a time"))
            .expect("a time"),
        channel: (*dice.one(&["http", "cli", "bot"])).to_owned(),
        bot: dice.perhaps(&texts),
        port: dice.perhaps(&[22, 3389, 1, u16::MAX]),
        protocol: dice.perhaps(&["tcp".to_owned(), "*".to_owned()]),
        source: dice.perhaps(&sources).map(|it| address_range(it).expect("a range")),
        minutes: dice.perhaps(&minutes),
        minutes_ahead: dice.perhaps(&minutes),
        reason: dice.perhaps(&texts),
        ticket: dice.perhaps(&texts),
        break_glass: dice.is(30),
        is_own: dice.is(30),
    };
    let (subject, right) = (dice.one(&subjects()).clone(), *dice.one(Right::ALL));
    Question { subject, right, object: dice.one(&objects()).clone(), circumstances }
}

fn authority(dice: &mut Dice) -> Authority {
    let bindings = BINDINGS.iter().filter(|_| dice.is(50)).map(|(role, member, scope)| {
        serde_json::from_value(json!({ "role": role, "member": member, "scope": scope })).expect("a binding")
    });
    let bindings = bindings.collect();
    let policies: Vec<&str> = POLICIES.iter().filter(|_| dice.is(60)).copied().collect();
    let files = BTreeMap::from([("all.cedar".to_owned(), policies.join("\n"))]);
    Authority { version: 1, bindings, policies: Policies { zone: None, files }, ..Authority::default() }
}

/// A set of policies with questions, as the judge reads it, and our answers as the judge gives them.
fn asked(dice: &mut Dice) -> (Value, Vec<Value>) {
    let authority = authority(dice);
    let engine = Engine::of(&authority, Some(&named("olga")), TimeZone::UTC).expect("an engine");
    let (mut requests, mut entities, mut answers) = (vec![], BTreeMap::new(), vec![]);
    for _ in 0..QUESTIONS / SETS {
        let question = question(dice);
        let mut json = in_json(&question, &TimeZone::UTC).expect("in JSON");
        requests.push(json["request"].take());
        for entity in json["entities"].as_array().expect("a list") {
            entities.insert(entity["uid"].to_string(), entity.clone());
        }
        let judged = engine.decide(&question);
        // Cedar passes over what it cannot evaluate; the engine refuses.
        assert!(!judged.is_permitted || judged.errors.is_empty(), "{judged:?}");
        let deciding: BTreeSet<String> = judged.deciding.into_iter().collect();
        answers.push(
            json!({ "permitted": judged.is_permitted, "deciding": deciding, "errors": judged.errors.len() }),
        );
    }
    let policies = engine.in_cedar().expect("texts");
    let entities: Vec<Value> = entities.into_values().collect();
    (json!({ "policies": policies, "requests": requests, "entities": entities }), answers)
}

#[test]
#[ignore = "needs pypi"]
fn cedar_for_python_gives_the_same_answers_to_ten_thousand_questions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy_judge");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policy_judge");
    let python = programs(&folder.join("requirements.txt"), &place);
    let python = python.unwrap_or_else(|why| lacking("pypi", &why)).join("python");
    let mut dice = Dice(16);
    let (sets, ours): (Vec<Value>, Vec<Vec<Value>>) = (0..SETS).map(|_| asked(&mut dice)).unzip();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), json!({ "schema": SCHEMA, "sets": sets }).to_string()).expect("written");
    let judge = Command::new(python).arg(folder.join("judge.py")).arg(file.path()).output().expect("runs");
    assert!(judge.status.success(), "{}", text(&judge.stderr));
    let theirs: Vec<Value> = serde_json::from_slice(&judge.stdout).expect("JSON");
    let (ours, requests): (Vec<Value>, Vec<&Value>) =
        (ours.concat(), sets.iter().flat_map(|it| it["requests"].as_array().expect("a list")).collect());
    assert_eq!((ours.len(), theirs.len()), (QUESTIONS, QUESTIONS));
    let count = |what: &dyn Fn(&Value) -> bool| theirs.iter().filter(|it| what(it)).count();
    for (ours, (theirs, request)) in ours.iter().zip(theirs.iter().zip(requests)) {
        assert_eq!(
            (&ours["deciding"], &ours["errors"]),
            (&theirs["deciding"], &theirs["errors"]),
            "{request}"
        );
        // an-error-refuses
        let is_permitted = theirs["allowed"] == true && theirs["errors"] == 0;
        assert_eq!(ours["permitted"], is_permitted, "{request}");
    }
    // Answers of each kind are there to be compared.
    assert!(QUESTIONS / 20 < count(&|it| it["allowed"] == true));
    assert!(QUESTIONS / 20 < count(&|it| it["allowed"] == false && it["deciding"] != json!([])));
    assert!(QUESTIONS / 100 < count(&|it| it["errors"] != 0));
    assert!(0 < count(&|it| it["allowed"] == true && it["errors"] != 0));
}
