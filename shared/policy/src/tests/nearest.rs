//! The nearest asks that would pass, by policies in Cedar.

use super::given::of;
use crate::Engine;
use jiff::tz::TimeZone;
use portcullis_domain::{
    Authority, Circumstances, Facts, Object, Policies, PrincipalKind, Question, Right, Subject, nearest,
};
use std::collections::{BTreeMap, BTreeSet};

/// The nearest asks to eight hours on a Sunday at 22:40, from a whole network.
fn told(policy: &str, right: Right) -> Vec<String> {
    let files = BTreeMap::from([("a.cedar".to_owned(), policy.to_owned())]);
    let policies = Policies { zone: None, files };
    let authority = Authority { policies, ..Authority::default() };
    let engine = Engine::of(&authority, None, TimeZone::UTC).unwrap_or_else(|it| panic!("{it}"));
    let subject = Subject {
        kind: PrincipalKind::Person,
        name: of("ann"),
        issuer: "tokens".to_owned(),
        groups: BTreeSet::new(),
        claims: BTreeMap::new(),
    };
    let circumstances = Circumstances {
        now: "2026-11-29T22:40:00Z".parse().expect("a time"),
        source: Some(of("203.0.113.0/24")),
        minutes: Some(480),
        ..Circumstances::default()
    };
    let object = Object::Machine(Box::new(Facts::of(&of("web-1"))));
    let found = nearest(&engine, &Question { subject, right, object, circumstances });
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn refusal_names_each_change_that_alone_would_turn_it() {
    let when = |condition: &str| {
        format!("permit (principal, action == Action::\"request\", resource) when {{ {condition} }};")
    };
    for (condition, expected) in [
        ("context has minutes && context.minutes <= 95", vec!["for 1h 35m"]),
        ("context has minutes && context.minutes < 480", vec!["for 7h 59m"]),
        ("context has prefix && context.prefix >= 28", vec!["from 203.0.113.0/28"]),
        ("context.weekday == 1 && context.minute_of_day >= 480", vec!["at 2026-11-30T08:00:00Z"]),
        (
            "context.minute_of_day < 60 || (context has minutes && context.minutes <= 60)",
            vec!["for 1h", "at 2026-11-30T00:00:00Z"],
        ),
        ("context.is_own", vec![]),
        ("true", vec![]),
    ] {
        assert_eq!(told(&when(condition), Right::Request), expected, "{condition}");
    }
}

#[test]
fn opening_without_an_approval_that_is_refused_would_pass_with_one() {
    let policy =
        r#"permit (principal, action == Action::"request", resource) unless { context.break_glass };"#;
    let approved = ["with the approval of another person"];
    assert_eq!(told(policy, Right::OpenWithoutApproval), approved);
    assert_eq!(told(policy, Right::BreakGlass), approved);
    assert!(told(policy, Right::Approve).is_empty());
}
