//! What a deployment looks like, all of it by looking.

use crate::deployment::aws::{Aws, Looked, Service, Stack, Unseen};
use serde_json::{Value, json};

/// The functions that a deployment has.
pub const FUNCTIONS: [&str; 7] = ["api", "submit", "settle", "expire", "reconcile", "relay", "export"];
/// Those that take what they do from a queue or a stream.
pub const FED: [&str; 4] = ["submit", "settle", "relay", "export"];
/// Those that a rule of the bus feeds.
pub const TOLD: [&str; 3] = ["submit", "settle", "export"];
/// What a rule of the account's own bus feeds.
const ARCHIVED: &str = "archived";
/// What the clock starts.
pub const CLOCK: [&str; 3] = ["expire", "reconcile", "nightly"];

/// What a deployment looks like.
#[derive(Debug)]
pub struct Seen {
    /// What it is called.
    pub name: String,
    /// What CloudFormation says of it.
    pub stack: Stack,
    /// The state of each function, by its name.
    pub functions: Vec<(&'static str, Looked<String>)>,
    /// The state of each rule, by its name.
    pub clock: Vec<(&'static str, Looked<String>)>,
    /// The same of the rules of the bus.
    pub told: Vec<(&'static str, Looked<String>)>,
    /// Whether what feeds a function is on.
    pub fed: Vec<(&'static str, Looked<String>)>,
    /// How many messages are dead, by whose they were.
    pub dead: Vec<(&'static str, Looked<u64>)>,
    /// What CloudWatch says of the alarms.
    pub alarms: Looked<Alarms>,
    /// What DynamoDB says of the table.
    pub table: Looked<Table>,
    /// Who has a token.
    pub tokens: Looked<Vec<String>>,
    /// Where the API is, and whether it is in health.
    pub api: (String, Looked<()>),
}

/// The alarms of a deployment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// How many there are.
    pub count: usize,
    /// Those that are not there.
    pub missing: Vec<String>,
    /// Those that are in alarm.
    pub alarmed: Vec<String>,
    /// How many tell somebody.
    pub telling: usize,
}

/// A table, but for what is in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Does its stream tell what is committed?
    pub has_stream: bool,
    /// Can it be put back to any second?
    pub is_recoverable: bool,
    /// Does it refuse to be deleted?
    pub is_protected: bool,
}

impl Seen {
    /// Looks at everything. What is asked of Portcullis itself is given.
    pub fn at(
        aws: &Aws,
        name: &str,
        stack: Stack,
        tokens: Looked<Vec<String>>,
        api: (String, Looked<()>),
    ) -> Self {
        let of_each = |names: &[&'static str], look: &dyn Fn(&str) -> Looked<String>| {
            names.iter().map(|it| (*it, look(&format!("{name}-{it}")))).collect::<Vec<_>>()
        };
        let rule = |bus: Option<&str>, name: &str| {
            let answer = aws.call(
                Service::EventBridge,
                "DescribeRule",
                &match bus {
                    Some(bus) => json!({ "Name": name, "EventBusName": bus }),
                    None => json!({ "Name": name }),
                },
            );
            text(&answer?, "State")
        };
        let dead = |it: &&'static str| (*it, dead(aws, &format!("{name}-{it}-dead")));
        let table = stack.outputs.get("TableName").map_or_else(
            || Err(Unseen::of("the stack has no output `TableName`")),
            |table| self::table(aws, table),
        );
        Self {
            functions: of_each(&FUNCTIONS, &|name| function(aws, name)),
            clock: of_each(&CLOCK, &|name| rule(None, name)),
            told: [
                of_each(&TOLD, &|rule_name| rule(Some(name), rule_name)),
                of_each(&[ARCHIVED], &|rule_name| rule(None, rule_name)),
            ]
            .concat(),
            fed: of_each(&FED, &|name| fed(aws, name)),
            dead: FED.iter().map(dead).collect(),
            alarms: alarms(aws, name),
            table,
            tokens,
            api,
            name: name.to_owned(),
            stack,
        }
    }
}

fn function(aws: &Aws, name: &str) -> Looked<String> {
    let found = aws.lambda(&format!("/2015-03-31/functions/{name}"))?;
    let (state, update) =
        (text(&found["Configuration"], "State")?, text(&found["Configuration"], "LastUpdateStatus")?);
    // Inactive is what nobody called for weeks: the next call starts it.
    Ok(match (state.as_str(), update.as_str()) {
        ("Active" | "Inactive", "Successful") => READY.to_owned(),
        ("Active" | "Inactive", _) => format!("its update is {update}"),
        (_, _) => state,
    })
}

/// The state of what works.
pub const READY: &str = "ready";
/// The same of a rule, in AWS's word.
pub const ENABLED: &str = "ENABLED";

fn fed(aws: &Aws, name: &str) -> Looked<String> {
    let found = aws.lambda(&format!("/2015-03-31/event-source-mappings/?FunctionName={name}"))?;
    let sources = found["EventSourceMappings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let states = sources.iter().map(|it| text(it, "State")).collect::<Result<Vec<String>, Unseen>>()?;
    Ok(match states.iter().find(|it| *it != "Enabled") {
        None if states.is_empty() => "it does not exist".to_owned(),
        None => READY.to_owned(),
        Some(state) => state.to_lowercase(),
    })
}

fn dead(aws: &Aws, queue: &str) -> Looked<u64> {
    const VISIBLE: &str = "ApproximateNumberOfMessages";
    let url = text(&aws.call(Service::Sqs, "GetQueueUrl", &json!({ "QueueName": queue }))?, "QueueUrl")?;
    let wanted = json!({ "QueueUrl": url, "AttributeNames": [VISIBLE] });
    let found = aws.call(Service::Sqs, "GetQueueAttributes", &wanted)?;
    let count = text(&found["Attributes"], VISIBLE)?;
    count.parse().map_err(|_| Unseen::of(&format!("`{count}` is not a number of messages")))
}

/// By their names: what another stack is called may begin as this one is.
fn alarms(aws: &Aws, stack: &str) -> Looked<Alarms> {
    let wanted: Vec<String> = alarm_names().map(|it| format!("{stack}-{it}")).collect();
    let found = aws.call(Service::CloudWatch, "DescribeAlarms", &json!({ "AlarmNames": wanted }))?;
    let mut seen = Alarms { missing: wanted, ..Alarms::default() };
    for alarm in found["MetricAlarms"].as_array().into_iter().flatten() {
        let name = text(alarm, "AlarmName")?;
        seen.count += 1;
        seen.missing.retain(|it| *it != name);
        seen.telling += usize::from(alarm["AlarmActions"].as_array().is_some_and(|it| !it.is_empty()));
        if alarm["StateValue"] == "ALARM" {
            seen.alarmed.push(name);
        }
    }
    Ok(seen)
}

fn alarm_names() -> impl Iterator<Item = String> {
    const ALONE: [&str; 9] = [
        "break-glass-used",
        "close-late-cloud",
        "close-late-machine",
        "close-late-portcullis",
        "errors-logged",
        "expire-silent",
        "http-5xx",
        "relay-behind",
        "url-5xx",
    ];
    let dead = FED.iter().map(|it| format!("{it}-dead"));
    let of_each = FUNCTIONS.iter().flat_map(|it| [format!("{it}-errors"), format!("{it}-throttles")]);
    dead.chain(of_each).chain(ALONE.map(str::to_owned))
}

fn table(aws: &Aws, table: &str) -> Looked<Table> {
    let named = json!({ "TableName": table });
    let found = aws.call(Service::DynamoDb, "DescribeTable", &named)?;
    let backups = aws.call(Service::DynamoDb, "DescribeContinuousBackups", &named)?;
    let recovery = &backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
    Ok(Table {
        has_stream: found["Table"]["StreamSpecification"]["StreamEnabled"] == true,
        is_recoverable: recovery["PointInTimeRecoveryStatus"] == ENABLED,
        is_protected: found["Table"]["DeletionProtectionEnabled"] == true,
    })
}

fn text(of: &Value, name: &str) -> Looked<String> {
    let found = of[name].as_str().map(str::to_owned);
    found.ok_or_else(|| Unseen::of(&format!("the answer of AWS has no `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_alarm_of_the_template_is_looked_at() {
        let template = include_str!("../../../../template.yaml");
        let named = template.split("AlarmName: !Sub ${AWS::StackName}-").skip(1);
        let named: BTreeSet<String> = named.filter_map(|it| Some(it.lines().next()?.to_owned())).collect();
        assert_eq!(alarm_names().collect::<BTreeSet<_>>(), named);
    }
}
