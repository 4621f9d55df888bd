//! Cases that policies are tested with: who asks for what, and the answer that is expected.

use crate::{
    engine::Engine,
    installation::{Caller, Installation},
};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Circumstances, Decide as _, Judgement, Object, Question, Right, address_range, length, nearest,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
};
use toml::Spanned;

/// The time of a case that names none: noon of a Monday in UTC.
const NOON: &str = "2026-01-05T12:00:00Z";
const MINUTE_SECS: i64 = 60;

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The folder of the policies, from the folder of this file. Default: that folder itself.
    pub policies: Option<String>,
    /// The cases.
    #[serde(rename = "case", default)]
    all: Vec<Case>,
}

/// A case: who asks for what, and the answer that is expected.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    name: Spanned<String>,
    who: Caller,
    groups: Option<BTreeSet<String>>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
    issuer: Option<String>,
    what: Right,
    target: Option<String>,
    #[serde(default)]
    port: Several<u16>,
    protocol: Option<String>,
    #[serde(default)]
    from: Several<String>,
    r#for: Option<String>,
    ahead: Option<String>,
    at: Option<String>,
    reason: Option<String>,
    ticket: Option<String>,
    channel: Option<String>,
    bot: Option<String>,
    #[serde(default)]
    break_glass: bool,
    #[serde(default)]
    own: bool,
    expect: Expected,
    by: Option<BTreeSet<String>>,
    because: Option<String>,
}

/// One thing or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Several<T> {
    One(T),
    Many(Vec<T>),
}

/// The answer that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    Permitted,
    Refused,
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The name of the case.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// Was the answer the expected one?
    pub passed: bool,
    /// The difference from what was expected, a line each.
    pub differences: Vec<String>,
    /// Was it permitted?
    pub permitted: bool,
    /// The policies that decided.
    pub deciding: Vec<String>,
    /// The reasons that their authors gave.
    pub reasons: Vec<String>,
    /// Policies that could not be evaluated.
    pub errors: Vec<String>,
    /// Of a refusal, each change that alone would have turned it.
    pub nearest: Vec<String>,
}

impl Cases {
    /// The cases of this text; `Err` names the place and what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Tries each case. `text` is what the cases were read from; `Err` names the case that cannot be asked.
    pub fn run(
        &self,
        text: &str,
        engine: &Engine,
        installation: &Installation,
    ) -> Result<Vec<Tried>, String> {
        let line = |it: &Case| text[..it.name.span().start.min(text.len())].matches('\n').count() + 1;
        let tried = self.all.iter().map(|it| {
            let questions = it.questions(installation);
            let questions = questions.map_err(|why| format!("case `{}`: {why}", it.name.get_ref()))?;
            let refused = questions.iter().find(|it| !engine.decide(it).is_permitted);
            let nearest = refused.map(|it| nearest(engine, it)).unwrap_or_default();
            let judged = together(questions.iter().map(|it| engine.decide(it)));
            let nearest = nearest.iter().map(ToString::to_string).collect();
            Ok(Tried { nearest, ..it.compared(line(it), &judged) })
        });
        tried.collect()
    }
}

impl Case {
    /// A question for each pair of a port and a source.
    fn questions(&self, installation: &Installation) -> Result<Vec<Question>, String> {
        let mut subject = installation.subject(&self.who);
        subject.claims.clone_from(&self.claims);
        subject.groups.extend(self.groups.iter().flatten().cloned());
        subject.issuer = self.issuer.clone().unwrap_or(subject.issuer);
        let object = match &self.target {
            None => Object::Installation,
            Some(name) => Object::Machine(Box::new(installation.machine(name)?)),
        };
        let read = |text: &Option<String>| {
            text.as_ref().map(|it| length(it).map_err(|error| error.to_string())).transpose()
        };
        let source = |text: &String| {
            address_range(text).ok_or_else(|| format!("`{text}` is not an address or a range"))
        };
        let sources = self.from.all().iter().map(source).collect::<Result<Vec<IpNet>, _>>()?;
        let common = Circumstances {
            now: self.now()?,
            channel: self.channel.clone().unwrap_or_else(|| "http".to_owned()),
            bot: self.bot.clone(),
            protocol: self
                .protocol
                .clone()
                .or_else(|| (!self.port.all().is_empty()).then(|| "tcp".to_owned())),
            minutes: read(&self.r#for)?.map(minutes),
            minutes_ahead: read(&self.ahead)?.map(|it| it.as_secs() / MINUTE_SECS),
            reason: self.reason.clone(),
            ticket: self.ticket.clone(),
            break_glass: self.break_glass,
            is_own: self.own,
            port: None,
            source: None,
        };
        let each = pairs(self.port.all(), &sources).into_iter().map(|(port, source)| Question {
            subject: subject.clone(),
            right: self.what,
            object: object.clone(),
            circumstances: Circumstances { port, source, ..common.clone() },
        });
        Ok(each.collect())
    }

    fn now(&self) -> Result<Timestamp, String> {
        let text = self.at.as_deref().unwrap_or(NOON);
        text.parse().map_err(|_| format!("`{text}` is not a time, such as `{NOON}`"))
    }

    fn compared(&self, line: usize, judged: &Judgement) -> Tried {
        let word = |is_permitted| if is_permitted { "permitted" } else { "refused" };
        let expected = self.expect == Expected::Permitted;
        let answer = (expected != judged.is_permitted)
            .then(|| format!("expected {}, and it is {}", word(expected), word(judged.is_permitted)));
        let deciding: BTreeSet<String> = judged.deciding.iter().cloned().collect();
        let by = self.by.as_ref().filter(|it| **it != deciding);
        let by =
            by.map(|it| format!("expected the policies {}, and it is {}", listed(it), listed(&deciding)));
        let because = self.because.as_ref().filter(|it| !judged.reasons.contains(it));
        let reasons = listed(&judged.reasons);
        let because = because.map(|it| format!("expected the reason `{it}`, and it is {reasons}"));
        let errors = judged.errors.iter().map(|it| format!("could not be evaluated: {it}"));
        let differences: Vec<String> = answer.into_iter().chain(by).chain(because).collect();
        Tried {
            name: self.name.get_ref().clone(),
            line,
            passed: differences.is_empty(),
            differences: differences
                .iter()
                .cloned()
                .chain(errors.filter(|_| !differences.is_empty()))
                .collect(),
            permitted: judged.is_permitted,
            deciding: judged.deciding.clone(),
            reasons: judged.reasons.clone(),
            errors: judged.errors.clone(),
            nearest: vec![],
        }
    }
}

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self::Many(vec![])
    }
}

impl<T> Several<T> {
    fn all(&self) -> &[T] {
        match self {
            Self::One(it) => slice::from_ref(it),
            Self::Many(all) => all,
        }
    }
}

/// Every pair; where there is none of a kind each of the other alone.
fn pairs(ports: &[u16], sources: &[IpNet]) -> Vec<(Option<u16>, Option<IpNet>)> {
    let (ports, sources) = (each_or_none(ports), each_or_none(sources));
    ports.iter().flat_map(|port| sources.iter().map(|source| (*port, *source))).collect()
}

fn each_or_none<T: Copy>(all: &[T]) -> Vec<Option<T>> {
    if all.is_empty() { vec![None] } else { all.iter().copied().map(Some).collect() }
}

/// All of them must be permitted: the first refusal, or else every approval.
pub fn together(judgements: impl Iterator<Item = Judgement>) -> Judgement {
    let mut all = Judgement { is_permitted: true, ..Judgement::default() };
    for judged in judgements {
        if !judged.is_permitted {
            return judged;
        }
        let new = |old: &[String], more: Vec<String>| -> Vec<String> {
            more.into_iter().filter(|it| !old.contains(it)).collect()
        };
        let (deciding, reasons) = (new(&all.deciding, judged.deciding), new(&all.reasons, judged.reasons));
        all.deciding.extend(deciding);
        all.reasons.extend(reasons);
    }
    all
}

/// A length as policies have it: in minutes, rounded up, so that none passes for a shorter one.
pub fn minutes(length: SignedDuration) -> i64 {
    let whole = length.as_secs() / MINUTE_SECS;
    if length == SignedDuration::from_mins(whole) { whole } else { whole + 1 }
}

fn listed<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|it| format!("`{it}`")).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTALLATION: &str = r#"
zone = "Europe/Berlin"
people = ["ann", "cleo"]
groups = { ops = ["ann"] }

[[machine]]
id = "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web-1"
tags = { Stage = "prod" }

[[binding]]
role = "requester"
member = "group:ops"
scope = "tag:stage=prod"
"#;
    const POLICIES: &str = r#"@id("short") @reason("at most four hours")
forbid (principal, action == Action::"request", resource) when { context has minutes && context.minutes > 240 };
@id("no-telnet") forbid (principal, action, resource) when { context has port && context.port == 23 };"#;

    fn tried(cases: &str) -> Vec<Tried> {
        let installation = Installation::read(INSTALLATION).expect("an installation");
        let policies = BTreeMap::from([("a.cedar".to_owned(), POLICIES.to_owned())]);
        let authority = installation.authority(policies);
        let engine = Engine::of(&authority, None, installation.zone()).expect("an engine");
        let read = Cases::read(cases).unwrap_or_else(|why| panic!("{why}"));
        read.run(cases, &engine, &installation).expect("asked")
    }

    #[test]
    fn case_passes_if_answer_policies_and_reason_are_the_expected_ones() {
        let tried = tried(
            r#"
[[case]]
name = "an hour"
who = "Ann"
what = "request"
target = "web-1"
port = [22, 3389]
from = ["203.0.113.9", "2001:db8::1"]
for = "1h"
expect = "permitted"
by = ["requester for group:ops on tag:stage=prod"]

[[case]]
name = "a day"
who = "ann"
what = "request"
target = "web-1"
for = "4h 1s"
expect = "refused"
by = ["short"]
because = "at most four hours"

[[case]]
name = "one port of two"
who = "ann"
what = "request"
target = "web-1"
port = [22, 23]
expect = "refused"
by = ["no-telnet"]

[[case]]
name = "not on call"
who = "cleo"
what = "request"
target = "web-1"
expect = "refused"
by = []
"#,
        );
        assert!(tried.iter().all(|it| it.passed), "{tried:#?}");
        assert_eq!(tried.iter().map(|it| it.line).collect::<Vec<_>>(), [3, 14, 24, 33]);
    }

    #[test]
    fn case_that_fails_names_each_difference() {
        let tried = tried(
            r#"
[[case]]
name = "wrong in every way"
who = "ann"
what = "request"
target = "web-1"
for = "5h"
expect = "permitted"
by = ["requester for group:ops on tag:stage=prod"]
because = "on call"
"#,
        );
        assert_eq!(
            tried[0].differences,
            [
                "expected permitted, and it is refused",
                "expected the policies `requester for group:ops on tag:stage=prod`, and it is `short`",
                "expected the reason `on call`, and it is `at most four hours`",
            ]
        );
        assert_eq!(tried[0].nearest, ["for 4h"]);
    }

    #[test]
    fn case_that_cannot_be_asked_is_named() {
        let installation = Installation::read(INSTALLATION).expect("an installation");
        let engine = Engine::of(&installation.authority(BTreeMap::new()), None, installation.zone())
            .expect("an engine");
        let case = |more: &str| {
            format!(
                "[[case]]\nname = \"it\"\nwho = \"ann\"\nwhat = \"request\"\nexpect = \"refused\"\n{more}"
            )
        };
        for (more, expected) in [
            ("target = \"web-9\"", "case `it`: there is no machine `web-9` in installation.toml"),
            ("from = \"10.0.0.0/33\"", "case `it`: `10.0.0.0/33` is not an address or a range"),
            ("at = \"noon\"", "case `it`: `noon` is not a time, such as `2026-01-05T12:00:00Z`"),
        ] {
            let text = case(more);
            let read = Cases::read(&text).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(read.run(&text, &engine, &installation), Err(expected.to_owned()));
        }
        for (text, expected) in [
            (case("wat = 1"), "unknown field `wat`"),
            (
                case("").replace("\"ann\"", "\"cat:ann\""),
                "`cat:ann` is not a caller, such as `ann`, `workload:ci` or `bot:ann`",
            ),
        ] {
            let why = Cases::read(&text).expect_err("a fault");
            assert!(why.contains(expected), "{why}");
        }
    }
}
