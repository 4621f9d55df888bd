//! Every text that a user can read, listed in snapshots: a change of wording is reviewed as one.
//!
//! The lists are read from the sources, the template, the schemas and the description of the API, so that none of them
//! can lack a text. Help pages are in `commands`.

use insta::assert_snapshot;
use jiff::SignedDuration;
use portcullis_domain::{Gate, GrantId, Person, Refusal, RefusalKind, Room, TargetId};
use portcullis_tests::{
    given::{at, named},
    root,
    schemas::Schemas,
    sentences::{Texts, dialect, is_sentence, texts},
    template::Template,
};
use serde_json::Value;
use std::{collections::BTreeMap, fs};

/// Texts that are kept in firewalls or in the journal, and read back from there: they keep their words.
const KEPT: [&str; 2] = ["Portcullis: nobody passes without a lease to ", "nobody"];
/// One of each kind of refusal.
fn every_refusal() -> Vec<Refusal> {
    let gate: Gate = named("22/tcp");
    let hours = SignedDuration::from_hours;
    let target = || named::<TargetId>("web-1");
    let (ann, bob) = (|| named::<Person>("ann"), || named::<Person>("bob"));
    let grant = || named::<GrantId>("r1-1");
    let guarded = || vec![gate, named("3389/tcp")];
    vec![
        Refusal::NothingAsked,
        Refusal::TooManyTargets { count: 21, max: 20 },
        Refusal::TooManyGates { count: 41, max: 40 },
        Refusal::AskedTwice { target: target(), gate },
        Refusal::UnknownTarget { target: target() },
        Refusal::NotEnabled { target: target() },
        Refusal::NotGuarded { target: target(), asked: "80".to_owned(), guarded: guarded() },
        Refusal::NoSources { target: target(), gate },
        Refusal::UnusableSource { target: named("web-1"), asked: named("127.0.0.1") },
        Refusal::SourceNotAllowed {
            target: target(),
            gate,
            asked: named("203.0.113.9"),
            allowed: named("198.51.100.0/24"),
        },
        Refusal::TooManySources { target: target(), gate, count: 4_001, max: 4_000 },
        Refusal::FirewallFull {
            target: target(),
            firewall: named("nsg-1"),
            what: "ranges",
            asked: 200,
            room: 150,
            held: 100,
        },
        Refusal::TooManyLeases { target: target(), count: 4_000 },
        Refusal::ShareUsedUp {
            target: target(),
            by: ann(),
            room: Room::Leases,
            held: 999,
            asked: 2,
            max: 1_000,
        },
        Refusal::OnlyReserveLeft { target: target(), room: Room::Ranges, held: 3_600, asked: 1, max: 3_600 },
        Refusal::TooLong { asked: hours(9), max: hours(3) },
        Refusal::TooShort { asked: SignedDuration::from_secs(1), min: SignedDuration::from_mins(1) },
        Refusal::StartsTooLate { start: at(0), within: hours(24) },
        Refusal::Over,
        Refusal::NobodyMayApprove { target: target(), gate, by: ann() },
        Refusal::NobodyMayExtend { target: target(), gate, by: ann(), holder: Box::new(bob()) },
        Refusal::OwnLease { by: ann(), grant: grant() },
        Refusal::OneBot { bot: "chatops".to_owned() },
        Refusal::NoCommonApprover,
        Refusal::MayNotBreakGlass { target: target(), gate, by: ann(), may: vec![bob()] },
        Refusal::MayNotBreakGlass { target: target(), gate, by: ann(), may: vec![] },
        Refusal::GlassWithoutWhy,
        Refusal::GlassLater { start: at(0) },
        Refusal::KeyReused { key: named("incident 7"), request: named("r1") },
        Refusal::OwnRequest { by: ann() },
        Refusal::NotAnApprover { by: ann(), approvers: vec![bob()] },
        Refusal::NotTheRequester { by: bob(), requester: ann() },
        Refusal::NotPending { state: "approved" },
        Refusal::NotAsShown,
        Refusal::GrantOver { grant: grant() },
        Refusal::LastSeconds { grant: grant(), within: SignedDuration::from_secs(5) },
        Refusal::NotLater { end: at(0) },
        Refusal::ChangedMeanwhile { target: target() },
        Refusal::NotTheOperator { by: ann(), operator: named("operator") },
        Refusal::OperatorsToken { operator: named("operator") },
        Refusal::TokenTooShort { expires_at: at(0), min: SignedDuration::from_mins(10) },
        Refusal::TokenTooLong { expires_at: at(0), max: hours(24 * 400) },
        Refusal::NoPorts,
        Refusal::PortTwice { gate },
        Refusal::NoAllowedSources { gate },
        Refusal::TooManyPorts { count: 41, max: 40 },
        Refusal::AlreadyEnabled { target: target() },
        Refusal::GuardedElsewhere { target: target(), rules: vec![] },
        Refusal::Unsupported {
            target: target(),
            reason: "no firewall on its network path takes rules".to_owned(),
        },
        Refusal::NothingToConfirm { target: target() },
        Refusal::Unconfirmed { target: target() },
        Refusal::ConfirmWithin {
            asked: SignedDuration::from_secs(1),
            min: SignedDuration::from_secs(5),
            max: hours(1),
        },
        Refusal::NoSuchPort { target: target(), port: named("80"), guarded: guarded() },
    ]
}

#[test]
fn refusals_name_the_input_and_the_remedy_in_these_words() {
    let kind = |it: &Refusal| match it.kind() {
        RefusalKind::Forbidden => "403",
        RefusalKind::State => "409",
        RefusalKind::Content => "422",
    };
    let lines =
        every_refusal().iter().map(|it| format!("{} {}: {it}", kind(it), it.code())).collect::<Vec<_>>();
    assert_snapshot!(lines.join("\n"));
}

/// Folders whose texts are the program's own. The simulated cloud speaks as Azure does.
fn folders() -> Vec<String> {
    let shared = fs::read_dir(root().join("shared")).expect("a folder");
    let paths = shared.map(|it| it.expect("an entry").path()).filter(|it| it.join("src").is_dir());
    let names = paths.filter_map(|it| Some(it.file_name()?.to_str()?.to_owned()));
    let crates = names.filter(|it| it != "simcloud").map(|it| format!("shared/{it}/src"));
    let mut folders: Vec<String> = crates.chain(["functions".to_owned()]).collect();
    folders.sort();
    assert!(folders.len() > 10, "{folders:?}");
    folders
}

/// The descriptions and titles of a document, each after the place that it describes.
fn described(at: &str, document: &Value, keys: &[&str], lines: &mut Vec<String>) {
    match document {
        Value::Object(fields) => {
            // In the order of their keys, however the document has them.
            for (key, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                if let Some(text) = value.as_str().filter(|_| keys.contains(&key.as_str())) {
                    lines.push(format!("{at}: {text}"));
                } else {
                    described(&format!("{at}/{key}"), value, keys, lines);
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                described(&format!("{at}/{i}"), item, keys, lines);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn of_schemas() -> Vec<String> {
    let mut lines = vec![];
    for (name, schema) in Schemas::ours().all() {
        described(name, schema, &["title", "description"], &mut lines);
    }
    lines
}

fn of_api() -> Vec<String> {
    let document = serde_json::to_value(portcullis_http::openapi()).expect("writes");
    let mut lines = vec![];
    described("", &document, &["title", "summary", "description"], &mut lines);
    lines
}

fn of_template() -> Vec<String> {
    let (template, mut lines) = (Template::read(), vec![]);
    described("", template.at(""), &["Description", "AlarmDescription"], &mut lines);
    for (name, dashboard) in template.of("AWS::CloudWatch::Dashboard") {
        let body = dashboard["DashboardBody"]["Fn::Sub"].as_str().expect("a text");
        let body: Value = serde_json::from_str(body).expect("JSON");
        described(name, &body, &["title", "label", "markdown"], &mut lines);
    }
    lines
}

fn of_logs() -> Vec<String> {
    let files = folders().into_iter().flat_map(|it| texts(&it));
    files.flat_map(|(file, it)| it.logs.into_iter().map(move |line| format!("{file}: {line}"))).collect()
}

fn sentences_of(folder: &str) -> Vec<String> {
    let mut lines = vec![];
    for (file, texts) in texts(folder) {
        let sentences: Vec<String> = texts.literals.into_iter().filter(|it| is_sentence(it)).collect();
        if !sentences.is_empty() {
            lines.push(format!("\n## {file}"));
            lines.extend(sentences);
        }
    }
    lines
}

#[test]
fn sentences_of_each_crate_are_in_these_words() {
    for folder in folders() {
        let name = folder.trim_start_matches("shared/").trim_end_matches("/src");
        assert_snapshot!(format!("sentences_of_{name}"), sentences_of(&folder).join("\n"));
    }
}

#[test]
fn log_lines_are_in_these_words() {
    assert_snapshot!(of_logs().join("\n"));
}

#[test]
fn alarms_dashboard_and_parameters_are_in_these_words() {
    assert_snapshot!(of_template().join("\n"));
}

#[test]
fn schemas_of_events_describe_themselves_in_these_words() {
    assert_snapshot!(of_schemas().join("\n"));
}

#[test]
fn the_description_of_the_api_is_in_these_words() {
    assert_snapshot!(of_api().join("\n"));
}

#[test]
fn every_text_uses_the_words_of_the_glossary() {
    let literals = folders().into_iter().flat_map(|it| texts(&it));
    let literals = literals.flat_map(|(file, it)| {
        it.literals.into_iter().chain(it.logs).map(move |text| format!("{file}: {text}"))
    });
    let mut wrong = vec![];
    for line in literals.chain(of_template()).chain(of_schemas()).chain(of_api()) {
        let (_, text) = line.split_once(": ").expect("a place and a text");
        let found = dialect(text).filter(|_| !KEPT.contains(&text));
        wrong.extend(found.map(|it| format!("`{it}` in {line}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scan_leaves_out_attributes_tests_and_assertions() {
    let source = r##"
        //! a comment
        #[error("could not {doing}")]
        struct A;
        #[expect(lint, reason = "a reason")]
        fn f() { assert!(true, "an assertion"); g("one \
            sentence", r#"a "raw" one"#, format!("in {a}")); }
        #[cfg(test)]
        mod tests { const A: &str = "a test"; }
        const B: &str = "the last";
    "##;
    let literals = Texts::of(source).literals;
    assert_eq!(literals, ["could not {doing}", "one sentence", "a \"raw\" one", "in {a}", "the last"]);
}

#[test]
fn the_scan_shows_level_message_and_fields_of_a_log_line() {
    let source = r#"fn f() {
        tracing::warn!(target.id = %id, error = error.full(), ?codes, "A claim stays");
        tracing::info_span!("call", %method, path);
    }"#;
    let logs = Texts::of(source).logs;
    assert_eq!(logs, ["warn: A claim stays (target.id, error, codes)", "info_span: call (method, path)"]);
}
