//! What holds of the engine, over generated questions.

use super::given;
use crate::{Compiled, Engine, Known, asked::Asked, check, in_cedar};
use cedar_policy::{Authorizer, Decision};
use jiff::tz::TimeZone;
use portcullis_domain::{Authority, Decide as _, Judgement, Person, Policies, Question, Roles};
use proptest::{collection::vec, prelude::*, sample::subsequence};
use std::collections::{BTreeMap, BTreeSet};

/// Policies that hold back the longer something is asked for: the longer, the fewer permits and the more forbids.
const PERMITS: [&str; 5] = [
    "permit (principal, action, resource) when { context has minutes && context.minutes <= 60 };",
    r#"permit (principal in Group::"ops", action == Action::"request", resource is Machine) when { context has minutes && context.minutes < 600 };"#,
    r#"permit (principal == Person::"Ann", action, resource) unless { context has prefix && context.prefix < 24 };"#,
    r#"permit (principal, action in [Action::"read", Action::"close"], resource == Machine::"web-1") when { principal.hasTag("department") };"#,
    r#"permit (principal is Bot in Person::"ann", action, resource) when { context.weekday <= 5 && context.minute_of_day >= 480 };"#,
];
const FORBIDS: [&str; 5] = [
    "forbid (principal, action, resource) when { context has minutes && context.minutes > 480 };",
    r#"forbid (principal in Group::"Ops", action, resource) when { context has source && context.source.isInRange(ip("203.0.113.0/24")) };"#,
    r#"forbid (principal, action, resource is Machine) when { resource.hasTag("stage") && resource.getTag("stage") == "prod" } unless { context has ticket && context.ticket like "INC-*" };"#,
    r#"forbid (principal in Person::"bob", action, resource);"#,
    // Of more than 1,024 minutes the product overflows, so that this one cannot be evaluated.
    "forbid (principal, action, resource) when { context has minutes && context.minutes * 9000000000000000 > 1 && principal is Platform };",
];

fn engine(authority: &Authority, operator: Option<&Person>) -> Engine {
    Engine::of_checked(authority, operator, TimeZone::UTC).expect("an engine")
}

/// The authority with these policies.
fn with(authority: &Authority, policies: &[&str]) -> Authority {
    let files = BTreeMap::from([("all.ceda".to_owned(), policies.join("\n"))]);
    Authority { policies: Policies { zone: None, files }, ..authority.clone() }
}

fn policies() -> impl Strategy<Value = Vec<&'static str>> {
    let all: Vec<&str> = PERMITS.iter().chain(&FORBIDS).copied().collect();
    subsequence(all, 0..=6)
}

/// The answer of Cedar itself to all policies at once: is it permitted, and by or because of which; the policies that it could not evaluate.
fn of_whole(engine: &Engine, question: &Question) -> (bool, BTreeSet<String>, usize) {
    let asked = Asked::of(question, &TimeZone::UTC).expect("fits the schema");
    let response =
        Authorizer::new().is_authorized(&asked.request, &engine.whole().expect("reads"), &asked.entities);
    let (told, ids) = (response.diagnostics(), engine.ids());
    let deciding =
        told.reason().map(|it| ids[AsRef::<str>::as_ref(it).parse::<usize>().expect("a numbe")].to_owned());
    (response.decision() == Decision::Allow, deciding.collect(), told.errors().count())
}

#[test]
fn policies_of_these_proofs_fit_the_schema() {
    let all = with(&Authority::default(), &[PERMITS, FORBIDS].concat());
    check(&all.policies.files, &Known::default()).unwrap_or_else(|faults| panic!("{faults}"));
}

proptest! {
    // To validate takes longest.
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn every_binding_fits_the_schema(binding in given::binding()) {
        let files = BTreeMap::from([("binding.ceda".to_owned(), in_cedar(&binding))]);
        prop_assert_eq!(check(&files, &Known::default()), Ok(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn bindings_alone_decide_as_roles_do((authority, operator) in given::authority(), questions in vec(given::question(), 20)) {
        let (engine, roles) = (engine(&authority, operator.as_ref()), Roles::of(authority, operator));
        for question in questions {
            prop_assert_eq!(engine.decide(&question), roles.decide(&question));
        }
    }

    #[test]
    fn slices_and_compiled_policies_decide_as_the_whole_set_does_and_an_error_refuses(
        (authority, operator) in given::authority(),
        policies in policies(),
        questions in vec(given::question(), 5),
    ) {
        let authority = with(&authority, &policies);
        let engine = engine(&authority, operator.as_ref());
        let stored = serde_json::to_string(&Compiled::of(&authority.policies.files).expect("compiles")).expect("writes");
        let compiled = serde_json::from_str(&stored).expect("reads");
        let compiled = Engine::of_compiled(&authority.bindings, compiled, operator.as_ref(), TimeZone::UTC);
        for question in questions {
            let (is_permitted, deciding, errors) = of_whole(&engine, &question);
            let ours = engine.decide(&question);
            prop_assert_eq!(&compiled.decide(&question), &ours);
            prop_assert_eq!(ours.is_permitted, is_permitted && errors == 0);
            prop_assert_eq!(ours.errors.len(), errors);
            prop_assert_eq!(ours.deciding.into_iter().collect::<BTreeSet<_>>(), deciding);
        }
    }

    #[test]
    fn fewer_bindings_more_forbids_or_a_longer_ask_never_turn_a_refusal_into_an_approval(
        (authority, operator) in given::authority(),
        policies in policies(),
        more in 0..FORBIDS.len(),
        question in given::question(),
        longer in 0..10_000_i64,
    ) {
        let whole = with(&authority, &policies);
        let engine_of = |authority: &Authority| engine(authority, operator.as_ref());
        let before: Judgement = engine_of(&whole).decide(&question);
        if !before.is_permitted {
            let forbidden = with(&authority, &[policies.as_slice(), &[FORBIDS[more]]].concat());
            prop_assert!(!engine_of(&forbidden).decide(&question).is_permitted);
            for binding in &authority.bindings {
                let mut fewer = whole.clone();
                fewer.bindings.remove(binding);
                prop_assert!(!engine_of(&fewer).decide(&question).is_permitted);
            }
            let mut asked = question.clone();
            asked.circumstances.minutes = question.circumstances.minutes.map(|it| it + longer);
            prop_assert!(!engine_of(&whole).decide(&asked).is_permitted);
        }
    }
}
