//! What is deployed to AWS, as `template.yaml` says it: each function may do what its row here says and no more,
//! lives as long as its work takes, and nothing that fails is lost.

use portcullis_domain::{Party, WORKER_LIFE};
use portcullis_tests::{
    binary::text,
    needs::lacking,
    python::programs,
    template::{Template, short},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// Some actions, on what, and only if.
type May = (&'static [&'static str], &'static str, Option<&'static str>);
/// A function: its folder, how many seconds it lives, and all that it may do beside writing its log.
type Row = (&'static str, i64, &'static [May]);

/// One authority each.
const FUNCTIONS: [Row; 7] = [
    ("Api", 25, &[(API_TABLE, "Table.Arn", None), DUE, LISTED, OF_PERSON, OF_TARGET, AZURE]),
    ("Expire", 120 + WORKER_LIFE.as_secs() + START_SECS, &[(EXPIRE_TABLE, "Table.Arn", None), DUE, AZURE]),
    (
        "Export",
        900,
        &[
            (EXPORT_TABLE, "Table.Arn", None),
            LISTED,
            (&["s3:PutObject"], "${Archive.Arn}/*", None),
            (QUEUE, "ExportQueue.Arn", None),
        ],
    ),
    ("Reconcile", WORKER_LIFE.as_secs() + START_SECS, &[(RECONCILE_TABLE, "Table.Arn", None), AZURE]),
    ("Relay", 30, &[(STREAM, "Table.StreamArn", None), BUS, (&["sqs:SendMessage"], "RelayDead.Arn", None)]),
    (
        "Settle",
        WORKER_LIFE.as_secs() + START_SECS,
        &[(SETTLE_TABLE, "Table.Arn", None), (QUEUE, "SettleQueue.Arn", None), AZURE],
    ),
    ("Submit", 20, &[(SUBMIT_TABLE, "Table.Arn", None), (QUEUE, "SubmitQueue.Arn", None)]),
];
// Whoever commits puts and updates: a transaction asks for the authority of each of its parts, and their conditions ask for none.
// Nobody has `dynamodb:Scan`: what is due is never found by looking at everything.
/// Every route: what is named, what is listed, the entries of a chain, and the feed, which stands in the index of what is due. It alone takes something away: the digest of a
/// token that is good no more.
const API_TABLE: &[&str] = &[
    "dynamodb:BatchGetItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
];
/// What is due names a target or a request, and all else of it is found by its key.
const EXPIRE_TABLE: &[&str] = &["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"];
/// The entries of each chain. It writes nothing, and asks for nothing by its key.
const EXPORT_TABLE: &[&str] = &["dynamodb:Query"];
/// All targets, which stand in a partition of the table itself, and where the chain of the rest ends.
const RECONCILE_TABLE: &[&str] = &[
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
];
/// The one target that an event names.
const SETTLE_TABLE: &[&str] = &["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"];
/// What an event names, the grants of a request, and the entries of the rest, which say whether an export was told of: all
/// of that by keys and partitions of the table itself.
const SUBMIT_TABLE: &[&str] = &[
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
];
const QUERY: &[&str] = &["dynamodb:Query"];
const DUE: May = (QUERY, "${Table.Arn}/index/due", None);
const LISTED: May = (QUERY, "${Table.Arn}/index/listed", None);
const OF_PERSON: May = (QUERY, "${Table.Arn}/index/of_person", None);
const OF_TARGET: May = (QUERY, "${Table.Arn}/index/of_target", None);
const STREAM: &[&str] =
    &["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"];
const QUEUE: &[&str] = &["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
const BUS: May = (
    &["events:PutEvents"],
    "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/${AWS::StackName}",
    Some(r#"{"StringEqualsIfExists":{"events:source":"portcullis"}}"#),
);
/// A token that says which role it is, for Azure alone. The action knows no resource.
const AZURE: May = (
    &["sts:GetWebIdentityToken"],
    "*",
    Some(r#"{"ForAllValues:StringEquals":{"sts:IdentityTokenAudience":"api://AzureADTokenExchange"}}"#),
);
const LOG: &[&str] = &["logs:CreateLogStream", "logs:PutLogEvents"];
/// What a run of `expire` has beyond the minute that it looks ahead and its last settle.
const START_SECS: i64 = 5;
/// How long after a run has ended its metrics may be told, in seconds.
const TOLD_SECS: i64 = 3 * 60;
/// The longest time for which a clock may stand still unnoticed, in seconds.
const SILENT_MAX_SECS: i64 = 10 * 60;
/// What counts the errors in the logs.
const LOGGED: &str = "errors_logged";
/// How much longer than a function's life a message of its queue is hidden, as Lambda advises.
const HIDDEN_LIVES: i64 = 6;
/// The longest that a queue keeps a message.
const FORTNIGHT_SECS: i64 = 14 * 24 * 3600;
/// Where an authority says `*` for an action or a resource, and why that is no more than it should be.
const WILDCARDS: [(&str, &str); 7] = [
    // A token for Azure is of no resource: its audience is what binds it.
    ("ApiRole", "*"),
    ("ExpireRole", "*"),
    ("ReconcileRole", "*"),
    ("SettleRole", "*"),
    // The objects of a bucket; and what is refused to everybody.
    ("ExportRole", "${Archive.Arn}/*"),
    ("ArchivePolicy", "${Archive.Arn}/*"),
    ("ArchivePolicy", "s3:*"),
];

#[test]
fn each_function_may_do_what_its_row_says_and_no_more() {
    let template = Template::read();
    let functions = names(&template, "AWS::Serverless::Function");
    assert_eq!(functions, FUNCTIONS.iter().map(|it| it.0.to_owned()).collect(), "every function has its row");
    let roles = FUNCTIONS.iter().map(|it| format!("{}Role", it.0)).collect();
    assert_eq!(names(&template, "AWS::IAM::Role"), roles, "and a role of its own");
    for kind in ["AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy"] {
        assert_eq!(names(&template, kind).len(), 0, "nothing is added to a role from elsewhere");
    }
    for (name, _, may) in FUNCTIONS {
        let function = template.properties(name);
        assert_eq!(short(&function["Role"]), format!("{name}Role.Arn"));
        for more in ["Policies", "Events", "Connectors"] {
            assert!(function[more].is_null(), "{name}: SAM would add to the role for {more}");
        }
        let role = template.properties(&format!("{name}Role"));
        let keys: Vec<&String> = role.as_object().expect("properties").keys().collect();
        assert_eq!(keys, ["AssumeRolePolicyDocument", "Policies", "RoleName"], "{name}");
        let trusted = array(&role["AssumeRolePolicyDocument"]["Statement"]).iter();
        let trusted: Vec<String> = trusted.map(|it| it["Principal"].to_string()).collect();
        assert_eq!(trusted, [r#"{"Service":"lambda.amazonaws.com"}"#], "{name}");
        let [policy] = &array(&role["Policies"])[..] else { panic!("{name}: one policy") };
        let rows = may.iter().flat_map(|(actions, on, only_if)| granted(actions, on, *only_if));
        let log = granted(LOG, &format!("{name}Log.Arn"), None);
        assert_eq!(allowed(&policy["PolicyDocument"]), rows.chain(log).collect(), "{name}");
    }
}

#[test]
fn no_role_may_do_everything() {
    let template = Template::read();
    let mut wildcards = BTreeSet::new();
    for (name, resource) in template.at("/Resources").as_object().expect("resources") {
        for statement in statements(&resource["Properties"]) {
            for negated in ["NotAction", "NotResource", "NotPrincipal"] {
                assert!(statement[negated].is_null(), "{name}: {statement}");
            }
            let everybody = short(&statement["Principal"]).contains('*');
            assert!(!everybody || statement["Effect"] == "Deny", "{name}: {statement}");
            let said = many(&statement["Action"]).into_iter().chain(many(&statement["Resource"]));
            wildcards.extend(said.map(short).filter(|it| it.contains('*')).map(|it| (name.clone(), it)));
        }
    }
    let known = WILDCARDS.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned())).collect();
    assert_eq!(wildcards, known);
}

#[test]
fn each_function_lives_as_long_as_its_work_and_leaves_a_log() {
    let template = Template::read();
    assert!(template.at("/Globals/Function")["Timeout"].is_null());
    for (name, secs, _) in FUNCTIONS {
        let (function, folder) = (template.properties(name), name.to_lowercase());
        assert_eq!(function["Timeout"], secs, "{name}");
        let called = format!("${{AWS::StackName}}-{folder}");
        assert_eq!(short(&function["FunctionName"]), called);
        assert_eq!(short(&function["LoggingConfig"]["LogGroup"]), format!("{name}Log"));
        let log = template.properties(&format!("{name}Log"));
        assert_eq!(short(&log["LogGroupName"]), format!("/aws/lambda/{called}"));
        assert_eq!(short(&log["RetentionInDays"]), "LogRetention", "{name}");
        // So that SAM builds it, and so that a test finds what it may put in its place.
        assert_eq!(function["CodeUri"], format!("functions/{folder}"));
        let built = template.at(&format!("/Resources/{name}/Metadata"));
        assert_eq!(built["BuildMethod"], "rust-cargolambda", "{name}");
        assert_eq!(built["BuildProperties"]["Binary"], folder);
        for metric in ["Errors", "Throttles"] {
            assert!(is_alarmed(&template, "AWS/Lambda", metric, name), "{name}: {metric}");
        }
    }
}

#[test]
fn what_cannot_be_done_ends_where_it_is_seen() {
    let template = Template::read();
    let dead = |arn: &Value| {
        let name = short(arn).strip_suffix(".Arn").expect("an ARN").to_owned();
        let queue = template.properties(&name);
        assert_eq!(queue["MessageRetentionPeriod"], FORTNIGHT_SECS, "{name}");
        assert!(queue["RedrivePolicy"].is_null(), "{name} is where it ends");
        assert!(is_alarmed(&template, "AWS/SQS", "ApproximateNumberOfMessagesVisible", &name), "{name}");
        name
    };
    let mut ends = BTreeSet::new();
    for (name, source) in template.of("AWS::Lambda::EventSourceMapping") {
        let function = short(&source["FunctionName"]);
        assert_eq!(source["FunctionResponseTypes"][0], "ReportBatchItemFailures", "{name}: one fails alone");
        let end = if function == "Relay" {
            assert_eq!(source["MaximumRetryAttempts"], -1, "its record's age alone ends it");
            assert_eq!(source["BisectBatchOnFunctionError"], true);
            dead(&source["DestinationConfig"]["OnFailure"]["Destination"])
        } else {
            let queue = template.properties(&format!("{function}Queue"));
            assert_eq!(short(&source["EventSourceArn"]), format!("{function}Queue.Arn"));
            let lives = template.properties(&function)["Timeout"].as_i64().expect("a number") * HIDDEN_LIVES;
            assert_eq!(queue["VisibilityTimeout"], lives, "{name}");
            dead(&queue["RedrivePolicy"]["deadLetterTargetArn"])
        };
        assert_eq!(end, format!("{function}Dead"));
        ends.insert(end);
    }
    for (name, rule) in template.of("AWS::Events::Rule") {
        for target in array(&rule["Targets"]).iter().filter(|it| short(&it["Arn"]).ends_with("Queue.Arn")) {
            ends.insert(dead(&target["DeadLetterConfig"]["Arn"]));
        }
        let [target] = &array(&rule["Targets"])[..] else { panic!("{name} starts one thing") };
        // A function that is not behind a queue is started again by the clock.
        let by_the_clock = |(_, other): &(&str, &Value)| {
            !other["ScheduleExpression"].is_null() && other["Targets"][0]["Arn"] == target["Arn"]
        };
        assert!(
            short(&target["Arn"]).ends_with("Queue.Arn")
                || template.of("AWS::Events::Rule").iter().any(by_the_clock),
            "{name}"
        );
    }
    let with_end = |(name, queue): (&str, &Value)| {
        ends.contains(name) || ends.contains(&dead(&queue["RedrivePolicy"]["deadLetterTargetArn"]))
    };
    assert!(template.of("AWS::SQS::Queue").into_iter().all(with_end), "every queue has an end");
}

/// A pattern that is too narrow makes things late, and nobody notices.
#[test]
fn each_is_started_by_what_it_is_for() {
    let template = Template::read();
    let told = |rule: &str| template.properties(rule)["EventPattern"].to_string();
    let settled = r#"["request.approved","grant.ended","policy.changed"],"source":["portcullis"]}"#;
    assert_eq!(told("SettleRule"), format!(r#"{{"detail-type":{settled}"#));
    let from_bots =
        |kinds: &str| format!(r#"{{"detail-type":[{kinds}],"source":[{{"anything-but":["portcullis"]}}]}}"#);
    assert_eq!(told("SubmitRule"), from_bots(r#"{"prefix":"access."},"export.request""#));
    // A whole export of this archive, as AWS itself tells it.
    let archived = r#"{"detail":{"bucket":{"name":[{"Ref":"Archive"}]},"object":{"key":[{"suffix":"/manifest.json"}]}},"detail-type":["Object Created"],"source":["aws.s3"]}"#;
    assert_eq!(told("ArchivedRule"), archived);
    // What is exported was allowed, and is recorded.
    assert_eq!(told("ExportRule"), r#"{"detail-type":["export.requested"],"source":["portcullis"]}"#);
    assert_eq!(
        told("UpholdRule"),
        r#"{"detail-type":["role.changed","policies.changed"],"source":["portcullis"]}"#
    );
    let entries = r#"{"eventName":["INSERT"],"dynamodb":{"Keys":{"pk":{"S":[{"prefix":"J#"}]}}}}"#;
    let filters = &template.properties("RelaySource")["FilterCriteria"]["Filters"];
    assert_eq!(filters.to_string(), json!([{ "Pattern": entries }]).to_string());
    for (name, source) in template.of("AWS::Lambda::EventSourceMapping") {
        assert!(source["Enabled"].is_null(), "{name} is on");
    }
    for (name, rule) in template.of("AWS::Events::Rule") {
        assert!(rule["State"].is_null(), "{name} is on");
        let is_of_aws = name == "ArchivedRule" || !rule["ScheduleExpression"].is_null();
        let is_for_bus = short(&rule["EventBusName"]) == "Bus";
        assert_eq!(is_for_bus, !is_of_aws, "{name}: AWS and its clock have a bus of their own");
        let Some(queue) = short(&rule["Targets"][0]["Arn"]).strip_suffix("Queue.Arn").map(ToOwned::to_owned)
        else {
            continue;
        };
        // Whoever else could put something there would start the function.
        let policy = &template.properties(&format!("{queue}QueuePolicy"))["PolicyDocument"]["Statement"];
        let [leave] = &array(policy)[..] else { panic!("{policy}") };
        let from = array(&leave["Condition"]["ArnEquals"]["aws:SourceArn"]).iter().map(short);
        let mut fed: Vec<&str> = template.of("AWS::Events::Rule").iter().map(|it| it.0).collect();
        fed.retain(|it| short(&template.properties(it)["Targets"][0]["Arn"]) == format!("{queue}Queue.Arn"));
        let fed = fed.into_iter().map(|it| format!("{it}.Arn"));
        assert_eq!(from.collect::<BTreeSet<_>>(), fed.collect(), "{queue}");
    }
}

#[test]
fn evidence_is_never_overwritten() {
    let template = Template::read();
    let refused = array(&template.properties("ArchivePolicy")["PolicyDocument"]["Statement"]);
    let [plain, others, over] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((&others["Effect"], &others["Action"]), (&"Deny".into(), &"s3:PutObject".into()));
    let but_export = r#"{"ArnNotEquals":{"aws:PrincipalArn":{"Fn::GetAtt":["ExportRole","Arn"]}}}"#;
    assert_eq!(others["Condition"].to_string(), but_export);
    assert_eq!(plain["Condition"].to_string(), r#"{"Bool":{"aws:SecureTransport":"false"}}"#);
    assert_eq!((&over["Effect"], &over["Action"]), (&"Deny".into(), &"s3:PutObject".into()));
    assert_eq!(over["Condition"]["Null"]["s3:if-none-match"], "true");
    let archive = template.properties("Archive");
    assert_eq!(archive["VersioningConfiguration"]["Status"], "Enabled");
    assert_eq!(archive["ObjectLockEnabled"], true);
    let public = archive["PublicAccessBlockConfiguration"].as_object().expect("what is blocked");
    assert!(public.len() == 4 && public.values().all(|it| *it == true));
}

/// INVARIANT (the-clock-closes): no event is needed, and it is noticed if the clock stands still.
#[test]
fn closing_hangs_on_the_clock_alone() {
    let template = Template::read();
    for (name, rate) in [("Expire", "rate(1 minute)"), ("Reconcile", "rate(15 minutes)")] {
        let rule = template.properties(&format!("{name}Rule"));
        assert_eq!(rule["ScheduleExpression"], rate);
        assert_eq!(short(&rule["Targets"][0]["Arn"]), format!("{name}.Arn"));
        let leave = template.properties(&format!("{name}Permission"));
        assert_eq!(short(&leave["SourceArn"]), format!("{name}Rule.Arn"));
        // Its next run takes what this one did not; a late repeat would stand in its way.
        assert_eq!(template.properties(name)["EventInvokeConfig"]["MaximumRetryAttempts"], 0);
    }
    let of_expire = |(_, alarm): &(&str, &Value)| {
        alarm["MetricName"] == "Invocations" && short(&alarm["Dimensions"][0]["Value"]) == "Expire"
    };
    let alarm = template.of("AWS::CloudWatch::Alarm").into_iter().find(of_expire).expect("an alarm").1;
    assert_eq!(
        (&alarm["ComparisonOperator"], &alarm["TreatMissingData"]),
        (&"LessThanThreshold".into(), &"breaching".into())
    );
    // Runs that hold are not told of yet: they are no silence.
    let untold = minutes(whole(&template.properties("Expire")["Timeout"]) + TOLD_SECS);
    assert_eq!(alarm["Period"], 60);
    assert!(
        untold < whole(&alarm["DatapointsToAlarm"]),
        "{untold} minutes may be missing of a clock that goes"
    );
    assert!(window_secs(alarm) <= SILENT_MAX_SECS, "{alarm}");
    assert!(is_alarmed(&template, "AWS/Lambda", "IteratorAge", "Relay"));
}

/// Whoever has to act is told, and what to do: a closing that comes late is ours, the cloud's or the machine's.
#[test]
fn a_late_closing_is_alarmed_by_whose_its_delay_is() {
    let template = Template::read();
    let alarms = template.of("AWS::CloudWatch::Alarm");
    let late: Vec<_> = alarms.into_iter().filter(|it| it.1["MetricName"] == "late_closes").collect();
    let mut owners = BTreeSet::new();
    for (name, alarm) in late {
        assert_eq!(short(&alarm["Namespace"]), metrics(&template));
        goes_off_for_one(name, alarm);
        let [dimension] = &array(&alarm["Dimensions"])[..] else { panic!("{name}: counted by one thing") };
        assert_eq!(dimension["Name"], "owner", "{name}");
        let owner = short(&dimension["Value"]);
        assert_eq!(short(&alarm["AlarmName"]), format!("${{AWS::StackName}}-close-late-{owner}"));
        assert!(short(&alarm["AlarmDescription"]).contains("Action: "), "{name} says what to do");
        owners.insert(owner);
    }
    assert_eq!(owners, Party::ALL.map(|it| it.word().to_owned()).into());
}

/// A schedule fires anywhere within its minute: of the runs that live at once the first may have begun at the end of its
/// minute, and the last one at the beginning of its own.
#[test]
fn no_run_of_the_clock_waits_for_another() {
    let template = Template::read();
    let expire = template.properties("Expire");
    let at_once = minutes(whole(&expire["Timeout"])) + 1;
    assert_eq!(template.at("/Parameters/ExpireConcurrency/Default"), at_once);
    let aside = &expire["ReservedConcurrentExecutions"]["Fn::If"];
    assert_eq!(
        (short(&aside[0]), short(&aside[1])),
        ("SetsAside".to_owned(), "ExpireConcurrency".to_owned())
    );
}

/// Lambda stamps what it counts with the time at which a run began, and tells it at the run's end: an alarm that looks back
/// less far never sees it.
#[test]
fn alarms_look_back_as_far_as_a_run_lives() {
    let template = Template::read();
    let mut watched = BTreeSet::new();
    for (name, alarm) in template.of("AWS::CloudWatch::Alarm") {
        assert_eq!(short(&alarm["AlarmActions"]["Fn::If"][0]), "HasAlarmTopic", "{name} tells somebody");
        if alarm["MetricName"] != "Errors" {
            continue;
        }
        let function = short(&alarm["Dimensions"][0]["Value"]);
        let life = whole(&template.properties(&function)["Timeout"]);
        assert!(life + TOLD_SECS <= window_secs(alarm), "{name}: a run lives {life} s");
        goes_off_for_one(name, alarm);
        watched.insert(function);
    }
    assert_eq!(watched, names(&template, "AWS::Serverless::Function"));
}

/// A failure that a function tells in its answer is none to Lambda: a message of many, a 500, an entry that cannot be told.
/// What needs somebody is logged as an error, and is counted there.
#[test]
fn what_an_answer_tells_is_alarmed_too() {
    let template = Template::read();
    let mut watched = BTreeSet::new();
    for (name, filter) in template.of("AWS::Logs::MetricFilter") {
        assert_eq!(filter["FilterPattern"], r#"{ $.level = "ERROR" }"#, "{name}");
        let [metric] = &array(&filter["MetricTransformations"])[..] else { panic!("{name}: one metric") };
        assert_eq!(short(&metric["MetricNamespace"]), metrics(&template), "{name}");
        assert_eq!((&metric["MetricName"], &metric["MetricValue"]), (&LOGGED.into(), &"1".into()), "{name}");
        assert!(metric["Dimensions"].is_null(), "{name}: all are one metric");
        watched.insert(short(&filter["LogGroupName"]));
    }
    assert_eq!(watched, FUNCTIONS.iter().map(|it| format!("{}Log", it.0)).collect(), "every log is read");
    let of_logs = template.of("AWS::CloudWatch::Alarm").into_iter().find(|it| it.1["MetricName"] == LOGGED);
    let (name, alarm) = of_logs.expect("an alarm");
    assert_eq!(short(&alarm["Namespace"]), metrics(&template));
    assert!(alarm["Dimensions"].is_null(), "as it is counted");
    goes_off_for_one(name, alarm);

    // Also what never reached a function, by either door.
    for (namespace, metric, name) in
        [("AWS/ApiGateway", "5xx", "HttpApi"), ("AWS/Lambda", "Url5xxCount", "Api")]
    {
        let found = alarms_on(&template, namespace, metric, name);
        let [alarm] = found[..] else { panic!("{metric}: one alarm") };
        goes_off_for_one(metric, alarm);
    }
}

/// INVARIANT (break-glass-is-loud): nobody has to look for it.
#[test]
fn broken_glass_is_alarmed() {
    let template = Template::read();
    let of_glass =
        template.of("AWS::CloudWatch::Alarm").into_iter().find(|it| it.1["MetricName"] == "break_glass");
    let (name, alarm) = of_glass.expect("an alarm");
    assert_eq!(short(&alarm["AlarmName"]), "${AWS::StackName}-break-glass-used");
    assert_eq!(short(&alarm["Namespace"]), metrics(&template));
    assert!(alarm["Dimensions"].is_null(), "as it is counted");
    goes_off_for_one(name, alarm);
}

/// Whoever is told of an alarm looks it up, and whoever deploys, what all of them cost.
#[test]
fn every_alarm_is_explained() {
    let template = Template::read();
    let page = |path: &str| fs::read_to_string(portcullis_tests::root().join(path)).expect("reads");
    let (readme, costs) = (page("infra/aws/README.md"), page("docs/aws.md"));
    let is_there = |name: &str| readme.contains(&format!("\n| `…-{name}` |"));
    let alarms = template.of("AWS::CloudWatch::Alarm");
    for (_, alarm) in &alarms {
        let name = short(&alarm["AlarmName"]);
        let name = name.strip_prefix("${AWS::StackName}-").expect("called after the stack");
        let of_each = name.split_once('-').map(|(_, what)| format!("FUNCTION-{what}"));
        assert!(is_there(name) || of_each.is_some_and(|it| is_there(&it)), "`{name}` is not explained");
    }
    for page in [readme, costs] {
        assert!(page.contains(&format!("{} alarms", alarms.len())), "what {} alarms cost", alarms.len());
    }
}

#[test]
fn the_table_is_kept() {
    let template = Template::read();
    for name in ["Table", "Archive"] {
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
            assert_eq!(template.at(&format!("/Resources/{name}/{policy}")), "Retain");
        }
    }
    let table = template.properties("Table");
    assert_eq!(table["StreamSpecification"]["StreamViewType"], "NEW_IMAGE");
    assert_eq!(table["SSESpecification"]["SSEEnabled"], true);
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert!(table["TimeToLiveSpecification"].is_null(), "nothing of it goes by itself");
    assert_eq!(keys(table), ["pk", "sk"]);
    let index = |it: &Value| (short(&it["IndexName"]), keys(it), short(&it["Projection"]["ProjectionType"]));
    let indexes: Vec<_> = array(&table["GlobalSecondaryIndexes"]).iter().map(index).collect();
    let wanted = [
        ("due", ["due_shard", "due_at"]),
        ("listed", ["list", "listed_at"]),
        ("of_target", ["target", "listed_at"]),
        ("of_person", ["person", "listed_at"]),
    ];
    let wanted = wanted
        .map(|(name, keys)| (name.to_owned(), keys.map(ToOwned::to_owned).to_vec(), "KEYS_ONLY".to_owned()));
    assert_eq!(indexes, wanted);
    assert!(array(&table["AttributeDefinitions"]).iter().all(|it| it["AttributeType"] == "S"));
}

#[test]
fn only_what_is_served_is_reached() {
    let template = Template::read();
    let routes: BTreeSet<String> =
        template.of("AWS::ApiGatewayV2::Route").iter().map(|it| short(&it.1["RouteKey"])).collect();
    let served = ["ANY /v1/{proxy+}", "GET /healthz", "GET /openapi.json"];
    assert_eq!(routes, served.map(ToOwned::to_owned).into());
    assert_eq!(template.properties("ApiUrl")["AuthType"], "AWS_IAM");
}

/// A bot is known by the source of its events: who could put any could speak for any.
#[test]
fn nobody_but_the_relay_and_named_bots_puts_events() {
    let template = Template::read();
    let bus = array(&template.properties("Bus")["Policy"]["Statement"]);
    let denied: Vec<&Value> = bus.iter().filter(|it| it["Effect"] == "Deny").collect();
    let [nobody, as_us] = &denied[..] else { panic!("{bus:?}") };
    let but = |it: &Value| it["Condition"]["ArnNotEquals"]["aws:PrincipalArn"].clone();
    assert_eq!(but(nobody)["Fn::If"][0], "HasBotPrincipals");
    assert_eq!(short(&but(nobody)["Fn::If"][2][0]), "RelayRole.Arn");
    assert!(nobody["Condition"].as_object().is_some_and(|it| it.len() == 1), "whatever is in the event");
    assert_eq!(short(&but(as_us)), "RelayRole.Arn");
    assert_eq!(as_us["Condition"]["StringEquals"]["events:source"], "portcullis");
    for statement in &denied {
        assert_eq!(
            (&statement["Principal"], &statement["Action"]),
            (&"*".into(), &"events:PutEvents".into())
        );
    }
    let allowed = bus.iter().find_map(|it| it.get("Fn::If")).expect("what bots may");
    assert_eq!(
        (short(&allowed[0]), short(&allowed[1]["Principal"]["AWS"])),
        ("HasBotPrincipals".to_owned(), "BotPrincipals".to_owned())
    );
    assert_eq!((bus.len(), short(&allowed[2])), (3, "AWS::NoValue".to_owned()), "empty allows nobody");
    assert_eq!(template.at("/Parameters/BotPrincipals/Default"), "");
    assert_eq!(template.at("/Parameters/Bots/Default"), "[]");
}

/// cfn-lint, `sam validate --lint` and checkov, pinned; what checkov is told to leave alone says why.
#[test]
#[ignore = "needs pypi"]
fn linters_have_nothing_to_say() {
    let template = Template::read();
    for (name, resource) in template.at("/Resources").as_object().expect("resources") {
        for skip in resource["Metadata"]["checkov"]["skip"].as_array().into_iter().flatten() {
            assert!(skip["comment"].as_str().is_some_and(|why| why.contains(' ')), "{name}: {skip}");
        }
    }
    let (tests, place) = (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let programs = programs(&tests.join("scripts/tools.txt"), &place.join("aws_tools"));
    let programs = programs.unwrap_or_else(|why| lacking("pypi", &why));
    let checks: [(&str, &[&str]); 3] = [
        ("cfn-lint", &["template.yaml"]),
        ("sam", &["validate", "--lint"]),
        ("checkov", &["--file", "template.yaml", "--skip-download", "--compact", "--quiet"]),
    ];
    for (program, words) in checks {
        let mut check = Command::new(programs.join(program));
        check.args(words).current_dir(portcullis_tests::root()).env("HOME", place).env("NO_COLOR", "1");
        check.env("AWS_DEFAULT_REGION", "us-east-1").env("SAM_CLI_TELEMETRY", "0");
        let told = check.output().expect("runs");
        assert!(told.status.success(), "{program}:\n{}{}", text(&told.stdout), text(&told.stderr));
    }
}

/// The resources of a kind, by their names.
fn names(template: &Template, kind: &str) -> BTreeSet<String> {
    template.of(kind).iter().map(|it| it.0.to_owned()).collect()
}

/// A line for each action.
fn granted(actions: &[&str], on: &str, only_if: Option<&str>) -> Vec<String> {
    actions.iter().map(|action| format!("{action} on {on} if {}", only_if.unwrap_or("asked"))).collect()
}

/// What a policy allows, in such lines.
fn allowed(policy: &Value) -> BTreeSet<String> {
    let lines = |statement: &Value| {
        assert_eq!(statement["Effect"], "Allow");
        let condition = statement.get("Condition").map(ToString::to_string);
        let actions: Vec<String> = many(&statement["Action"]).into_iter().map(short).collect();
        let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        let on = many(&statement["Resource"]).into_iter().map(short);
        on.flat_map(|on| granted(&actions, &on, condition.as_deref())).collect::<Vec<_>>()
    };
    array(&policy["Statement"]).iter().flat_map(lines).collect()
}

/// Every statement of every policy in there.
fn statements(within: &Value) -> Vec<&Value> {
    match within {
        Value::Object(fields) if fields.contains_key("Effect") => vec![within],
        Value::Object(fields) => fields.values().flat_map(statements).collect(),
        Value::Array(items) => items.iter().flat_map(statements).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    }
}

/// Does an alarm speak of this metric of a function or queue, when there is any of it?
fn is_alarmed(template: &Template, namespace: &str, metric: &str, name: &str) -> bool {
    !alarms_on(template, namespace, metric, name).is_empty()
}

/// The alarms that speak of this metric of a function, a queue or an API, when there is any of it.
fn alarms_on<'a>(template: &'a Template, namespace: &str, metric: &str, name: &str) -> Vec<&'a Value> {
    let dimension = match namespace {
        "AWS/ApiGateway" => "ApiId",
        "AWS/SQS" => "QueueName",
        _ => "FunctionName",
    };
    let speaks = |alarm: &&Value| {
        let of = short(&alarm["Dimensions"][0]["Value"]);
        let is_of = of == name || of == format!("{name}.QueueName");
        is_of
            && alarm["Dimensions"][0]["Name"] == dimension
            && alarm["Namespace"] == namespace
            && alarm["MetricName"] == metric
            && alarm["ComparisonOperator"] == "GreaterThanThreshold"
    };
    template.of("AWS::CloudWatch::Alarm").into_iter().map(|it| it.1).filter(speaks).collect()
}

/// One of it within the last minutes is enough, and a minute of which nothing is told is a good one.
fn goes_off_for_one(name: &str, alarm: &Value) {
    assert!(TOLD_SECS <= window_secs(alarm), "{name}");
    assert_eq!(alarm["Statistic"], "Sum", "{name}");
    assert_eq!(alarm["Threshold"], 0, "{name}");
    assert_eq!(alarm["ComparisonOperator"], "GreaterThanThreshold", "{name}");
    assert_eq!(alarm["DatapointsToAlarm"], 1, "{name}");
    assert_eq!(alarm["TreatMissingData"], "notBreaching", "{name}");
}

/// How far back an alarm looks, in seconds.
fn window_secs(alarm: &Value) -> i64 {
    whole(&alarm["Period"]) * whole(&alarm["EvaluationPeriods"])
}

/// How many minutes these seconds begin.
fn minutes(secs: i64) -> i64 {
    (secs + 59) / 60
}

/// The namespace of what the program itself measures.
fn metrics(template: &Template) -> String {
    short(template.at("/Globals/Function/Environment/Variables/PORTCULLIS_METRICS"))
}

/// The attributes of a key.
fn keys(of: &Value) -> Vec<String> {
    array(&of["KeySchema"]).iter().map(|it| short(&it["AttributeName"])).collect()
}

/// One or several.
fn many(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |it| it.iter().collect())
}

fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}
