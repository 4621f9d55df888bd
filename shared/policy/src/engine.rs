//! The engine: decides by roles and policy files.

use crate::{
    asked::Asked,
    binding::{in_cedar, of_the_operator},
    compiled::Compiled,
    fault::Faults,
    file::{self, Written, check},
    known::Known,
    slices::{Scoped, Slices},
};
use cedar_policy::{AuthorizationError, Authorizer, Decision, Policy, PolicyId};
use jiff::tz::TimeZone;
use portcullis_domain::{Authority, Binding, Decide, Judgement, OPERATOR, Person, Question, Scope};
use std::{collections::BTreeSet, fmt};

/// Decides by the bindings and the policy files of one version of an authority: something has to permit, whatever forbids wins, and a policy that
/// cannot be evaluated refuses.
/// INVARIANT (an-error-refuses): Cedar itself passes over a policy that it cannot evaluate, also over one that would have forbidden. Here it
/// refuses.
pub struct Engine {
    /// The operator of the installation, the bindings, and the policies of files, each in their order.
    rules: Vec<Rule>,
    slices: Slices,
    zone: TimeZone,
    authorizer: Authorizer,
    has_files: bool,
    /// Is a role bound to a tag?
    has_tags: bool,
}

struct Rule {
    id: String,
    reason: Option<String>,
    text: Text,
}

/// A policy, or the text of one that is read when it is first needed: most callers need few bindings of many.
enum Text {
    Read(Box<Policy>),
    Written(String),
    Binding(Binding),
}

impl Engine {
    /// The engine of an authority, and of the operator whom the installation itself names. Its policy files have to pass [`check`]. Days and
    /// hours are those of `zone`.
    pub fn of(authority: &Authority, operator: Option<&Person>, zone: TimeZone) -> Result<Self, Faults> {
        check(&authority.policies.files, &Known::default())?;
        Self::of_checked(authority, operator, zone)
    }

    /// The same of an authority whose policy files passed the check when they were stored. A policy that does not fit the schema all the same
    /// refuses what it is asked about.
    pub fn of_checked(
        authority: &Authority,
        operator: Option<&Person>,
        zone: TimeZone,
    ) -> Result<Self, Faults> {
        let mut engine = Self::of_bindings(&authority.bindings, operator, zone);
        for Written { id, reason, policy, .. } in file::read(&authority.policies.files)? {
            let scope = Scoped::of(&policy);
            engine.add(id, reason, Text::Read(Box::new(policy)), &scope);
            engine.has_files = true;
        }
        Ok(engine)
    }

    /// The same of policies that were compiled when they were stored: none is parsed before a question needs it.
    pub fn of_compiled(
        bindings: &BTreeSet<Binding>,
        compiled: Compiled,
        operator: Option<&Person>,
        zone: TimeZone,
    ) -> Self {
        let mut engine = Self::of_bindings(bindings, operator, zone);
        for policy in compiled.policies {
            let scope = policy.scope();
            engine.add(policy.id, policy.reason, Text::Written(policy.text), &scope);
            engine.has_files = true;
        }
        engine
    }

    fn of_bindings(bindings: &BTreeSet<Binding>, operator: Option<&Person>, zone: TimeZone) -> Self {
        let mut engine = Self {
            rules: vec![],
            slices: Slices::default(),
            zone,
            authorizer: Authorizer::new(),
            has_files: false,
            has_tags: bindings.iter().any(|it| matches!(it.scope, Scope::Tag { .. })),
        };
        let anchor = operator.map(|it| (OPERATOR.to_owned(), of_the_operator(it)));
        let bound = bindings.iter().map(|it| (it.to_string(), it.clone()));
        for (id, binding) in anchor.into_iter().chain(bound) {
            let scope = Scoped::of_binding(&binding);
            engine.add(id, None, Text::Binding(binding), &scope);
        }
        engine
    }

    /// Every policy by its id and its text in Cedar, in their order: the operator's, those of the bindings, those of the files.
    pub fn in_cedar(&self) -> Result<Vec<(String, String)>, String> {
        let one = |(number, rule): (usize, &Rule)| {
            let text = self.policy(number)?.to_cedar();
            Ok((rule.id.clone(), text.ok_or_else(|| format!("policy `{}` has no text", rule.id))?))
        };
        self.rules.iter().enumerate().map(one).collect()
    }

    fn add(&mut self, id: String, reason: Option<String>, text: Text, scope: &Scoped) {
        self.slices.add(self.rules.len(), scope);
        self.rules.push(Rule { id, reason, text });
    }

    /// The ids of all policies, in their order.
    #[cfg(test)]
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.rules.iter().map(|it| it.id.as_str()).collect()
    }

    /// All policies at once, each with its number as its id.
    #[cfg(test)]
    pub(crate) fn whole(&self) -> Result<cedar_policy::PolicySet, String> {
        let numbered = |it: usize| Ok(self.policy(it)?.new_id(PolicyId::new(it.to_string())));
        let policies = (0..self.rules.len()).map(numbered).collect::<Result<Vec<_>, String>>()?;
        cedar_policy::PolicySet::from_policies(policies).map_err(|error| error.to_string())
    }

    fn policy(&self, number: usize) -> Result<Policy, String> {
        let rule = &self.rules[number];
        let read =
            |text: &str| Policy::parse(None, text).map_err(|error| format!("policy `{}`: {error}", rule.id));
        match &rule.text {
            Text::Read(policy) => Ok(policy.as_ref().clone()),
            Text::Written(text) => read(text),
            Text::Binding(binding) => read(&in_cedar(binding)),
        }
    }

    fn rule(&self, id: &PolicyId) -> Option<(usize, &Rule)> {
        let number = AsRef::<str>::as_ref(id).parse().ok()?;
        Some((number, self.rules.get(number)?))
    }

    fn told(&self, error: &AuthorizationError) -> String {
        match error {
            AuthorizationError::PolicyEvaluationError(it) => {
                let id = self.rule(it.policy_id()).map_or("", |(_, rule)| rule.id.as_str());
                format!("policy `{id}`: {}", it.inner())
            }
        }
    }
}

impl Decide for Engine {
    /// A policy of a file may forbid anything on any machine.
    fn is_plain(&self) -> bool {
        !self.has_files
    }

    fn needs_facts(&self) -> bool {
        self.has_files || self.has_tags
    }

    fn decide(&self, question: &Question) -> Judgement {
        let asked = match Asked::of(question, &self.zone) {
            Ok(asked) => asked,
            Err(error) => return Judgement { errors: vec![error.to_string()], ..Judgement::default() },
        };
        let (mut permits, mut forbids, mut errors) = (BTreeSet::new(), BTreeSet::new(), vec![]);
        for slice in self.slices.of(question.right, &asked.names) {
            let set = match slice.set(&|it| self.policy(it)) {
                Ok(set) => set,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let response = self.authorizer.is_authorized(&asked.request, set, &asked.entities);
            // Of what decides in a slice, all permits or all forbids.
            let deciding = match response.decision() {
                Decision::Allow => &mut permits,
                Decision::Deny => &mut forbids,
            };
            let told = response.diagnostics();
            deciding.extend(told.reason().filter_map(|it| Some(self.rule(it)?.0)));
            errors.extend(told.errors().map(|it| self.told(it)));
        }
        errors.sort();
        let is_permitted = forbids.is_empty() && errors.is_empty() && !permits.is_empty();
        let deciding = if forbids.is_empty() { &permits } else { &forbids };
        let deciding: Vec<&Rule> = deciding.iter().map(|it| &self.rules[*it]).collect();
        Judgement {
            is_permitted,
            is_forbidden: !forbids.is_empty(),
            deciding: deciding.iter().map(|it| it.id.clone()).collect(),
            reasons: deciding.iter().filter_map(|it| it.reason.clone()).collect(),
            errors,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("rules", &self.rules.len())
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::given::of;
    use jiff::Timestamp;
    use portcullis_domain::{Circumstances, Facts, Object, Policies, PrincipalKind, Right, Subject};
    use std::collections::BTreeMap;

    fn engine_in(zone: &str, files: &[(&str, &str)]) -> Result<Engine, Faults> {
        let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        let policies = Policies { zone: None, files };
        let zone = TimeZone::get(zone).expect("a time zone");
        Engine::of(&Authority { policies, ..Authority::default() }, None, zone)
    }

    fn engine(text: &str) -> Engine {
        engine_in("UTC", &[("a.cedar", text)]).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// Ann requests port 22 of `web-1` for an hour.
    fn question() -> Question {
        let subject = Subject {
            kind: PrincipalKind::Person,
            name: of("Ann"),
            issuer: "tokens".to_owned(),
            groups: BTreeSet::from(["ops".to_owned()]),
            claims: BTreeMap::new(),
        };
        let circumstances = Circumstances {
            channel: "http".to_owned(),
            port: Some(22),
            protocol: Some("tcp".to_owned()),
            source: Some(of("203.0.113.9/32")),
            minutes: Some(60),
            ..Circumstances::default()
        };
        let object = Object::Machine(Box::new(Facts::of(&of("web-1"))));
        Question { subject, right: Right::Request, object, circumstances }
    }

    #[test]
    fn answer_names_its_policies_by_our_ids_and_their_reasons() {
        let text = r#"permit (principal in Group::"ops", action, resource);
@id("ops-too") @reason("ops is on call")
permit (principal in Group::"ops", action == Action::"request", resource);"#;
        let judged = engine(text).decide(&question());
        assert!(judged.is_permitted);
        assert_eq!(judged.deciding, ["a.cedar#1", "ops-too"]);
        assert_eq!(judged.reasons, ["ops is on call"]);
        let forbidden = format!("{text}\n@reason(\"frozen\") forbid (principal, action, resource);");
        let judged = engine(&forbidden).decide(&question());
        assert!(!judged.is_permitted);
        assert_eq!(
            (judged.deciding, judged.reasons),
            (vec!["a.cedar#3".to_owned()], vec!["frozen".to_owned()])
        );
    }

    #[test]
    fn policy_that_cannot_be_evaluated_refuses_though_cedar_passes_over_it() {
        let text = r#"permit (principal, action, resource);
@id("too-long") forbid (principal, action, resource)
when { context has minutes && context.minutes * 9000000000000000000 > 1 };"#;
        let judged = engine(text).decide(&question());
        assert!(!judged.is_permitted);
        assert!(
            judged.errors.len() == 1 && judged.errors[0].starts_with("policy `too-long`: "),
            "{judged:?}"
        );
        let mut without = question();
        without.circumstances.minutes = None;
        assert!(engine(text).decide(&without).is_permitted);
    }

    #[test]
    fn every_spelling_of_a_name_in_a_policy_is_one_person_and_a_bot_is_in_whom_it_speaks_for() {
        let mut bot = question();
        bot.subject.kind = PrincipalKind::Bot;
        let mut workload = question();
        workload.subject.kind = PrincipalKind::Workload;
        for (scope, expected) in [
            ("principal == Person::\"ANN\"", [true, false, false]),
            ("principal in Person::\"\u{430}nn\"", [true, true, false]),
            ("principal == Bot::\"ann\"", [false, true, false]),
            ("principal == Workload::\"Ann\"", [false, false, true]),
        ] {
            let engine = engine(&format!("permit ({scope}, action, resource);"));
            let answers = [&question(), &bot, &workload].map(|it| engine.decide(it).is_permitted);
            assert_eq!(answers, expected, "{scope}");
        }
    }

    #[test]
    fn address_of_ipv4_in_ipv6_clothes_is_in_the_network_that_a_policy_names() {
        let text = r#"forbid (principal, action, resource) when { context has source && context.source.isInRange(ip("203.0.113.0/24")) && context has prefix && context.prefix == 32 };
permit (principal, action, resource);"#;
        let mut asked = question();
        asked.circumstances.source = Some(of("::ffff:203.0.113.9/128"));
        assert!(!engine(text).decide(&asked).is_permitted);
        asked.circumstances.source = Some(of("::ffff:203.0.112.9/128"));
        assert!(engine(text).decide(&asked).is_permitted);
    }

    #[test]
    fn days_and_hours_are_those_of_the_time_zone() {
        let text = "permit (principal, action, resource) when { context.weekday == 7 && context.minute_of_day == 180 };";
        // Clocks in Berlin go from 2:00 to 3:00 at that moment, and from 3:00 to 2:00 an hour before the other.
        for (zone, at, expected) in [
            ("UTC", "2026-03-29T03:00:00Z", true),
            ("Europe/Berlin", "2026-03-29T01:00:00Z", true),
            ("Europe/Berlin", "2026-03-29T03:00:00Z", false),
            ("Europe/Berlin", "2026-10-25T02:00:00Z", true),
            ("Pacific/Auckland", "2026-11-28T14:00:00Z", true),
        ] {
            let engine = engine_in(zone, &[("a.cedar", text)]).expect("an engine");
            let mut asked = question();
            asked.circumstances.now = at.parse::<Timestamp>().expect("a time");
            assert_eq!(engine.decide(&asked).is_permitted, expected, "{zone} {at}");
        }
    }

    #[test]
    fn fault_is_told_with_its_file_line_and_column() {
        for (text, expected) in [
            ("\n  permit (principal, action, resource", "a.cedar:2:38: unexpected end of input"),
            (
                "// one\npermit (principal, action, resource) when { resource.os == \"linux\" };",
                "a.cedar:2:45: for policy `a.cedar#1`, attribute `os` on entity type `Installation` not found (machines alone have attributes",
            ),
            (
                "permit (principal, action == Action::\"reqest\", resource);",
                "a.cedar:1:30: for policy `a.cedar#1`, unrecognized action",
            ),
            (
                "permit (principal == ?principal, action, resource);",
                "a.cedar:1:1: a policy with `?principal`",
            ),
            (
                "permit (principal, action, resource);\n@id(\"reader for everyone\")\npermit (principal, action, resource);",
                "a.cedar:2:1: `reader for everyone` is not the id of a policy",
            ),
            (
                "@id(\"x\")permit (principal, action, resource);\n\n@id(\"x\")permit (principal, action, resource);",
                "a.cedar:3:1: policy `x` has the id of another one, in a.cedar:1",
            ),
            (
                "permit (principal == Person::\"*\", action, resource);",
                "a.cedar:1:1: policy `a.cedar#1`: `*` is not a person",
            ),
        ] {
            let faults = engine_in("UTC", &[("a.cedar", text)]).expect_err("faults").to_string();
            assert!(faults.starts_with(expected), "{text}\n{faults}");
        }
    }

    #[test]
    fn caller_or_machine_that_does_not_exist_is_a_fault_where_all_are_known() {
        let files = |text: &str| BTreeMap::from([("a.cedar".to_owned(), text.to_owned())]);
        let known = Known {
            people: Some(BTreeSet::from([of("Ann")])),
            groups: Some(BTreeSet::from(["ops".to_owned()])),
            machines: Some(BTreeSet::from([of("web-1")])),
            workloads: None,
        };
        let right = files(
            r#"permit (principal in Person::"ann", action, resource == Machine::"web-1");
permit (principal in Group::"ops", action, resource);
permit (principal == Workload::"any", action, resource);"#,
        );
        assert_eq!(check(&right, &known), Ok(3));
        let wrong = files(
            "permit (principal, action, resource) when {\n  principal in Group::\"obs\" || resource == Machine::\"web-2\" };",
        );
        let faults = check(&wrong, &known).expect_err("faults").to_string();
        let expected = "a.cedar:1:1: policy `a.cedar#1`: there is no group `obs`\na.cedar:1:1: policy `a.cedar#1`: there is no machine `web-2`";
        assert_eq!(faults, expected);
    }
}
