//! What a deployment lacks, by how it looks.

use crate::deployment::{
    aws::{Looked, Unseen},
    seen::{Alarms, ENABLED, READY, Seen, Table},
};
use portcullis_domain::{Finding, Verdict};

/// Everything that was looked at, and what to do about it.
pub fn findings(seen: &Seen) -> Vec<Finding> {
    let mut findings = vec![stack(seen), api(seen), functions(seen)];
    findings.push(clock(seen));
    findings.push(events(seen));
    findings.push(dead_letters(seen));
    findings.push(alarms(seen));
    findings.extend(table(seen));
    findings.push(tokens(seen));
    findings.extend(azure(seen));
    findings.push(bots(seen));
    findings
}

fn stack(seen: &Seen) -> Finding {
    const CHECK: &str = "stack";
    let (name, status) = (&seen.name, seen.stack.status.as_str());
    let found = format!("`{name}` is {status}");
    match status {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => ok(CHECK, found),
        "UPDATE_ROLLBACK_COMPLETE" => {
            warning(CHECK, format!("{found}: the last deployment failed"), DEPLOY_AGAIN)
        }
        _ if status.ends_with("_IN_PROGRESS") => warning(
            CHECK,
            found,
            "run `deploy-check` again when the \
            deployment has ended",
        ),
        _ => failed(CHECK, found, DEPLOY_AGAIN),
    }
}

const DEPLOY_AGAIN: &str = "find the failure in the events of the stack, and deploy again";

fn api(seen: &Seen) -> Finding {
    const CHECK: &str = "api";
    let (url, health) = &seen.api;
    match health {
        Ok(()) => ok(CHECK, format!("`{url}` answers and reaches the table")),
        Err(why) => failed(CHECK, format!("`{url}`: {why}"), "the log of `api` has the cause"),
    }
}

fn functions(seen: &Seen) -> Finding {
    let advice = "deploy again; the failure is in the events of the stack";
    each("functions", "functions are ready", &seen.functions, READY, advice)
}

fn clock(seen: &Seen) -> Finding {
    let advice = "enable the rule: without `expire` no lease is closed at its end";
    each("clock", "schedules are on", &seen.clock, ENABLED, advice)
}

/// What makes things prompt.
fn events(seen: &Seen) -> Finding {
    const CHECK: &str = "events";
    let advice = "enable it: without events ports open a minute late, and bots get no answers";
    let rules = each(CHECK, "", &seen.told, ENABLED, advice);
    if rules.verdict != Verdict::Ok {
        return rules;
    }
    each(CHECK, "functions receive their events", &seen.fed, READY, advice)
}

fn each(
    check: &'static str,
    all_is_well: &str,
    states: &[(&'static str, Looked<String>)],
    wanted: &str,
    advice: &str,
) -> Finding {
    let wrong: Vec<String> = states
        .iter()
        .filter_map(|(name, state)| match state {
            Ok(state) if state == wanted => None,
            Ok(state) => Some(format!("`{name}` is {}", state.to_lowercase())),
            Err(unseen) if unseen.is_missing() => Some(format!("`{name}` does not exist")),
            Err(_) => None,
        })
        .collect();
    let unseen = states.iter().find_map(|(_, state)| state.as_ref().err().filter(|it| !it.is_missing()));
    match (wrong.is_empty(), unseen) {
        (false, _) => failed(check, wrong.join(", "), advice),
        (true, Some(unseen)) => not_seen(check, unseen),
        (true, None) => ok(check, format!("{} {all_is_well}", states.len())),
    }
}

fn dead_letters(seen: &Seen) -> Finding {
    const CHECK: &str = "dead letters";
    let dead = seen.dead.iter().filter_map(|(name, count)| Some((name, *count.as_ref().ok()?)));
    let dead: Vec<String> = dead.filter(|it| 0 < it.1).map(|(it, n)| format!("{n} of `{it}`")).collect();
    if !dead.is_empty() {
        let advice = "read the messages, correct the cause, and start a redrive of the queue";
        return failed(CHECK, format!("messages that could not be processed: {}", dead.join(", ")), advice);
    }
    let missing = seen.dead.iter().filter(|it| it.1.as_ref().is_err_and(Unseen::is_missing));
    let missing: Vec<&str> = missing.map(|it| it.0).collect();
    if !missing.is_empty() {
        return failed(
            CHECK,
            format!("there is no dead-letter queue of {}", missing.join(", ")),
            DEPLOY_AGAIN,
        );
    }
    match seen.dead.iter().find_map(|(_, count)| count.as_ref().err()) {
        Some(unseen) => not_seen(CHECK, unseen),
        None => ok(CHECK, "all messages were processed".to_owned()),
    }
}

fn alarms(seen: &Seen) -> Finding {
    const CHECK: &str = "alarms";
    match &seen.alarms {
        Err(unseen) => not_seen(CHECK, unseen),
        Ok(Alarms { missing, .. }) if !missing.is_empty() => {
            failed(CHECK, format!("missing: {}", missing.join(", ")), DEPLOY_AGAIN)
        }
        Ok(Alarms { alarmed, .. }) if !alarmed.is_empty() => {
            let advice = "infra/aws/README.md has the meaning of each alarm and the action to take";
            failed(CHECK, format!("in alarm: {}", alarmed.join(", ")), advice)
        }
        Ok(Alarms { telling: 0, count, .. }) => {
            let advice = "deploy with AlarmTopic=ARN, an SNS topic that reaches the operator";
            warning(CHECK, format!("{count} alarms have no topic to publish to"), advice)
        }
        Ok(Alarms { count, .. }) => ok(CHECK, format!("none of {count} is in alarm")),
    }
}

fn table(seen: &Seen) -> Vec<Finding> {
    const CHECK: &str = "table";
    let &Table { has_stream, is_recoverable, is_protected } = match &seen.table {
        Ok(table) => table,
        Err(unseen) if unseen.is_missing() => {
            return vec![failed(
                CHECK,
                "the table does not exist".to_owned(),
                "restore it, or deploy a new stack",
            )];
        }
        Err(unseen) => return vec![not_seen(CHECK, unseen)],
    };
    let lacks = [
        (
            has_stream,
            failed(
                CHECK,
                "the stream of the table is off".to_owned(),
                "deploy again: no event is published \
                on the bus",
            ),
        ),
        (
            is_recoverable,
            warning(
                CHECK,
                "the table cannot be restored to an earlier time".to_owned(),
                "turn on \
                point-in-time recovery of the table",
            ),
        ),
        (
            is_protected,
            warning(
                CHECK,
                "the table is not protected from deletion".to_owned(),
                "deploy with \
            DeletionProtection=true",
            ),
        ),
    ];
    let lacks: Vec<Finding> = lacks.into_iter().filter(|(has, _)| !has).map(|(_, it)| it).collect();
    if lacks.is_empty() {
        vec![ok(
            CHECK,
            "the table is protected and can be restored, and its stream is \
        on"
            .to_owned(),
        )]
    } else {
        lacks
    }
}

fn tokens(seen: &Seen) -> Finding {
    const CHECK: &str = "tokens";
    let operator = parameter(seen, "Operator");
    let table = seen.stack.outputs.get("TableName").map_or("TABLE", String::as_str);
    let make = format!("make one with `portcullis token create {operator} --table {table}`");
    match &seen.tokens {
        Err(unseen) => not_seen(CHECK, unseen),
        Ok(people) if people.is_empty() => failed(CHECK, "there are no tokens".to_owned(), make),
        Ok(people) if !people.iter().any(|it| it == operator) => warning(
            CHECK,
            format!(
                "the operator, `{operator}`, has no token, and only the operator can make \
                tokens"
            ),
            make,
        ),
        Ok(people) => ok(CHECK, format!("{} people have tokens, the operator among them", people.len())),
    }
}

fn azure(seen: &Seen) -> Vec<Finding> {
    const CHECK: &str = "azure";
    const IDENTITIES: &str = "infra/azure makes the identities; deploy with the values that it prints";
    let missing = ["AzureTenant", "AzureClient"].into_iter().filter(|it| parameter(seen, it).is_empty());
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        return vec![failed(CHECK, format!("not set: {}", missing.join(", ")), IDENTITIES)];
    }
    let mut findings = vec![];
    if parameter(seen, "AzureLogin") != "federated" {
        let advice = "deploy with AzureLogin=federated, which needs no secret";
        findings.push(warning(CHECK, "a client secret is stored".to_owned(), advice));
    }
    if parameter(seen, "AzureReader").is_empty() {
        let found = "the API reads Azure with the identity that may change firewalls".to_owned();
        findings.push(warning(CHECK, found, "deploy with AzureReader=CLIENT-ID, of the read-only identity"));
    }
    if findings.is_empty() {
        findings.push(ok(CHECK, "two identities, and no secret; `portcullis doctor` tests them".to_owned()));
    }
    findings
}

fn bots(seen: &Seen) -> Finding {
    const CHECK: &str = "bots";
    let (bots, principals) = (parameter(seen, "Bots"), parameter(seen, "BotPrincipals"));
    let has_bots = !matches!(bots.trim(), "" | "[]");
    match (has_bots, principals.is_empty()) {
        (true, true) => {
            let advice = "deploy with BotPrincipals=ARN, the roles that may put events on the bus";
            warning(CHECK, "bots are configured, but no role may put events on the bus".to_owned(), advice)
        }
        (false, false) => {
            let advice = "deploy with Bots=…, the bots and the people they may act for";
            warning(CHECK, "roles may put events on the bus, but no bot is configured".to_owned(), advice)
        }
        (true, false) => ok(CHECK, "bots are configured".to_owned()),
        (false, true) => ok(CHECK, "no bot is configured".to_owned()),
    }
}

fn parameter<'s>(seen: &'s Seen, name: &str) -> &'s str {
    seen.stack.parameters.get(name).map_or("", String::as_str)
}

fn ok(check: &'static str, found: String) -> Finding {
    Finding { check, verdict: Verdict::Ok, found, advice: None }
}

fn warning(check: &'static str, found: String, advice: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Warning, found, advice: Some(advice.into()) }
}

fn failed(check: &'static str, found: String, advice: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Failed, found, advice: Some(advice.into()) }
}

fn not_seen(check: &'static str, unseen: &Unseen) -> Finding {
    let advice = "use an identity with the permission: AWS's managed policy ReadOnlyAccess and reads of the table are enough";
    warning(check, format!("could not be read: {unseen}"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{
        aws::Stack,
        seen::{CLOCK, FED, FUNCTIONS, TOLD},
    };

    /// A deployment that lacks nothing.
    fn whole() -> Seen {
        let state = |names: &[&'static str], state: &str| {
            names.iter().map(|it| (*it, Ok(state.to_owned()))).collect::<Vec<_>>()
        };
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let parameters = [
            ("Operator", "olga"),
            ("AzureTenant", "t"),
            ("AzureClient", "c"),
            ("AzureReader", "r"),
            ("AzureLogin", "federated"),
            ("Bots", "[]"),
        ];
        Seen {
            name: "portcullis".to_owned(),
            stack: Stack {
                status: "CREATE_COMPLETE".to_owned(),
                parameters: pairs(&parameters),
                outputs: pairs(&[("TableName", "table-1")]),
            },
            functions: state(&FUNCTIONS, READY),
            clock: state(&CLOCK, ENABLED),
            told: state(&TOLD, ENABLED),
            fed: state(&FED, READY),
            dead: FED.iter().map(|it| (*it, Ok(0))).collect(),
            alarms: Ok(Alarms { count: 21, telling: 21, ..Alarms::default() }),
            table: Ok(Table { has_stream: true, is_recoverable: true, is_protected: true }),
            tokens: Ok(vec!["olga".to_owned()]),
            api: ("https://a".to_owned(), Ok(())),
        }
    }

    /// What is found besides what is well.
    fn amiss(change: impl FnOnce(&mut Seen)) -> Vec<(&'static str, Verdict, String)> {
        let mut seen = whole();
        change(&mut seen);
        let found = findings(&seen).into_iter().filter(|it| it.verdict != Verdict::Ok);
        found
            .map(|it| {
                let advice = it.advice.expect("what is amiss can be mended");
                (it.check, it.verdict, format!("{}; {advice}", it.found))
            })
            .collect()
    }

    #[test]
    fn a_whole_deployment_has_no_findings() {
        assert_eq!(amiss(|_| {}), []);
    }

    #[test]
    fn each_missing_part_is_one_finding_with_its_advice() {
        type Change = (fn(&mut Seen), &'static str, Verdict, &'static str);
        const CHANGES: &[Change] = &[
            (|it| it.stack.status = "ROLLBACK_COMPLETE".to_owned(), "stack", Verdict::Failed, "ROLLBACK"),
            (
                |it| it.stack.status = "UPDATE_ROLLBACK_COMPLETE".to_owned(),
                "stack",
                Verdict::Warning,
                "deployment failed",
            ),
            (|it| it.api.1 = Err(Unseen::of("502")), "api", Verdict::Failed, "https://a"),
            (|it| it.functions[2].1 = Ok("Failed".to_owned()), "functions", Verdict::Failed, "`settle`"),
            (
                |it| it.clock[0].1 = Ok("DISABLED".to_owned()),
                "clock",
                Verdict::Failed,
                "`expire` is disabled",
            ),
            (
                |it| it.told[1].1 = Ok("DISABLED".to_owned()),
                "events",
                Verdict::Failed,
                "`settle` is disabled",
            ),
            (|it| it.fed[2].1 = Ok("disabled".to_owned()), "events", Verdict::Failed, "`relay` is disabled"),
            (|it| it.dead[1].1 = Ok(3), "dead letters", Verdict::Failed, "3 of `settle`"),
            (
                |it| {
                    it.alarms = Ok(Alarms {
                        alarmed: vec!["portcullis-close-late-cloud".to_owned()],
                        ..Alarms::default()
                    });
                },
                "alarms",
                Verdict::Failed,
                "portcullis-close-late-cloud",
            ),
            (
                |it| it.alarms = Ok(Alarms { count: 21, ..Alarms::default() }),
                "alarms",
                Verdict::Warning,
                "AlarmTopic",
            ),
            (
                |it| {
                    let missing = vec!["portcullis-api-errors".to_owned()];
                    it.alarms = Ok(Alarms { missing, ..Alarms::default() });
                },
                "alarms",
                Verdict::Failed,
                "portcullis-api-errors",
            ),
            (|it| it.tokens = Ok(vec![]), "tokens", Verdict::Failed, "token create olga --table table-1"),
            (|it| it.tokens = Ok(vec!["ann".to_owned()]), "tokens", Verdict::Warning, "olga"),
            (|it| drop(it.stack.parameters.remove("AzureClient")), "azure", Verdict::Failed, "AzureClient"),
            (|it| drop(it.stack.parameters.remove("AzureReader")), "azure", Verdict::Warning, "AzureReader"),
            (
                |it| drop(it.stack.parameters.insert("Bots".to_owned(), "[{}]".to_owned())),
                "bots",
                Verdict::Warning,
                "BotPrincipals",
            ),
            (|it| it.table = Err(Unseen::of("AccessDenied")), "table", Verdict::Warning, "could not be read"),
        ];
        for (n, (change, check, verdict, words)) in CHANGES.iter().enumerate() {
            let found = amiss(change);
            assert_eq!(found.len(), 1, "{n}: {found:?}");
            assert_eq!((found[0].0, found[0].1), (*check, *verdict), "{n}: {found:?}");
            assert!(found[0].2.contains(words), "{n}: {found:?}");
        }
    }

    #[test]
    fn each_thing_that_keeps_a_table_safe_is_named() {
        let lacking = |table: Table| amiss(|it| it.table = Ok(table));
        let all = lacking(Table { has_stream: false, is_recoverable: false, is_protected: false });
        assert_eq!(all.len(), 3, "{all:?}");
    }
}
