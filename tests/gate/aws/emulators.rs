//! The emulators of AWS that other tests rest on: each is there, on loopback, and does what those tests
//! take for granted.

use portcullis_gate::aws::{Auth, Fault, Key, Local, Ministack, Proxy, Table, dynamodb, of_a_transaction};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

#[test]
#[ignore = "needs npm and pypi"]
fn dynamodb_local_keeps_tables_on_loopback() {
    let table = Table::local();
    is_on_loopback_only(Local::shared().url());
    keeps_what_is_put_once(&table);
    lists_by_its_indexes(&table);
    transacts_once_per_token(&table);
}

/// As AWS documents it: two units for each item of at most a kilobyte.
#[test]
#[ignore = "needs npm and pypi"]
fn dynamodb_local_is_asked_for_each_item_of_a_transaction_and_each_counts_twice() {
    let table = Table::local();
    for count in [1_u32, 3, 20] {
        let put = |n| json!({ "Put": { "TableName": table.name(), "Item": new(&table, &format!("{count}-{n}"))["Item"] } });
        let with = json!({ "TransactItems": (0..count).map(put).collect::<Vec<_>>() });
        let units = of_a_transaction(&table, &with);
        let difference = units.written - units.indexes - 2.0 * f64::from(count);
        assert!(difference.abs() < f64::EPSILON, "{count}: {units:?}");
    }
}

#[test]
#[ignore = "needs pypi"]
fn ministack_keeps_tables_on_loopback() {
    let table = Table::ministack();
    is_on_loopback_only(Ministack::shared().url());
    keeps_what_is_put_once(&table);
    lists_by_its_indexes(&table);
    transacts_once_per_token(&table);
}

#[test]
#[ignore = "needs npm and pypi"]
fn calls_meet_the_faults_that_are_planned() {
    let table = Table::local();
    let proxy = Proxy::before(table.endpoint());
    is_on_loopback_only(proxy.url());
    let put = |sk: &str| dynamodb(proxy.url(), "PutItem", &new(&table, sk));
    let transact = |sk: &str| {
        dynamodb(proxy.url(), "TransactWriteItems", &json!({ "TransactItems": [{ "Put": new(&table, sk) }] }))
    };
    let code =
        |refused: &Value| refused["__type"].as_str().map(|it| it.rsplit('#').next().map(str::to_owned));
    let is = |refused: Result<Value, Value>, wanted: &str| {
        let refused = refused.expect_err(wanted);
        assert_eq!(code(&refused).flatten().as_deref(), Some(wanted), "{refused}");
        refused
    };

    proxy.plan("PutItem", Fault::Throttled);
    is(put("throttled"), "ThrottlingException");
    put("throttled").expect("nothing was written, and the fault is over");
    proxy.plan("PutItem", Fault::Failed);
    is(put("failed"), "InternalServerError");
    put("failed").expect("nothing was written");
    proxy.plan("PutItem", Fault::Cut);
    assert!(put("cut").expect_err("cut").is_string(), "there is no answer");
    put("cut").expect("nothing was written");
    proxy.plan("TransactWriteItems", Fault::Conflicting);
    let refused = is(transact("conflicting"), "TransactionCanceledException");
    assert_eq!(refused["CancellationReasons"][0]["Code"], "TransactionConflict");
    transact("conflicting").expect("nothing was written");
    proxy.plan("TransactWriteItems", Fault::Unanswered);
    assert!(transact("unanswered").expect_err("cut").is_string(), "there is no answer");
    let refused = is(transact("unanswered"), "TransactionCanceledException");
    assert_eq!(refused["CancellationReasons"][0]["Code"], "ConditionalCheckFailed", "it was written");
    let late = Duration::from_millis(300);
    proxy.plan("PutItem", Fault::Late(late));
    let begun = Instant::now();
    put("late").expect("written");
    assert!(late <= begun.elapsed());

    let (put, transact) = ("PutItem", "TransactWriteItems");
    assert_eq!(proxy.fired(), [put, put, put, transact, transact, put]);
    assert_eq!(proxy.fired(), [""; 0]);
}

/// One function behind everything that may start one.
#[test]
#[ignore = "needs pypi"]
fn ministack_runs_what_is_deployed() {
    let aws = Ministack::shared();
    let code = tempfile::tempdir().expect("a folder");
    let outputs = deploy(aws, code.path(), "hello");
    let of = |name: &str| outputs[name].as_str();
    let function = of("Function");
    let printed = |words: &[&str]| {
        aws.wait(&format!("{words:?}"), |aws| {
            let lines = aws.printed(function);
            lines.into_iter().find(|line| words.iter().all(|it| line.contains(it)))
        })
    };

    // By name.
    assert_eq!(invoke(aws, function, &json!({ "one": 1 })), json!({ "one": 1 }));
    let greeting = json!({ "variables": ["GREETING", "PORTCULLIS_ECHO"] });
    assert_eq!(
        invoke(aws, function, &greeting),
        json!(["hello", null]),
        "the template's, and nothing of ours"
    );

    // By HTTP: explicit routes only.
    let api = aws.api(of("Api"));
    let mut answer =
        ureq::get(format!("{api}/v1/this/that?a=b")).header("x-forwarded-for", "192.0.2.1").call();
    let event: Value = answer.as_mut().expect("answers").body_mut().read_json().expect("JSON");
    assert_eq!(event["routeKey"], "ANY /v1/{proxy+}");
    assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/v1/this/that"), &json!("a=b")));
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(status(&format!("{api}/elsewhere"), ""), 404);
    let host = of("Url").trim_start_matches("https://").trim_end_matches('/');
    assert_eq!(status(aws.url(), host), 403, "nobody signed it");

    // By event, over the queue; what is nobody's starts nothing.
    let event = |source: &str, what: &str| {
        json!({ "Source": source, "DetailType": "told", "Detail": json!({ "what": what }).to_string(),
                "EventBusName": of("Bus") })
    };
    let entries = json!({ "Entries": [event("nobody", "unheard"), event("echo", "heard")] });
    let put = aws.call("events", "put_events", &entries).expect("put");
    assert_eq!(put["FailedEntryCount"], 0);
    printed(&["aws:sqs", "heard"]);

    // By what is written into the table, filtered. A call that fails is made again, with all of its batch.
    for (pk, sk) in [("T#one", "unheard"), ("J#one", "followed"), ("J#two", "deadly")] {
        let item = json!({ "TableName": of("Table"), "Item": { "pk": { "S": pk }, "sk": { "S": sk } } });
        aws.call("dynamodb", "put_item", &item).expect("put");
    }
    printed(&["aws:dynamodb", "NewImage", "followed"]);
    aws.wait("a second try", |aws| {
        let lines = aws.printed(function);
        (2 <= lines.iter().filter(|line| line.contains("deadly")).count()).then_some(())
    });

    // Of a queue's batch what failed comes again, and then is a dead letter.
    let entries: Vec<Value> =
        ["wholesome", "poison"].iter().map(|it| json!({ "Id": it, "MessageBody": it })).collect();
    let batch = json!({ "QueueUrl": of("Queue"), "Entries": entries });
    aws.call("sqs", "send_message_batch", &batch).expect("sent");
    let dead = aws.wait("a dead letter", |aws| {
        let queue = json!({ "QueueUrl": of("DeadLetters") });
        let letters = aws.call("sqs", "receive_message", &queue).expect("a queue");
        letters["Messages"].as_array().and_then(|it| it.first().cloned())
    });
    assert_eq!(dead["Body"], "poison");
    let lines = aws.printed(function);
    assert_eq!(lines.iter().filter(|line| line.contains("wholesome")).count(), 1);
    assert!(!lines.iter().any(|line| line.contains("unheard")), "{lines:#?}");

    // By the clock.
    printed(&[r#"{"due":true}"#]);

    // Deployed anew, it is the same with other settings.
    assert_eq!(deploy(aws, code.path(), "goodbye"), outputs);
    assert_eq!(invoke(aws, function, &greeting), json!(["goodbye", null]));
}

/// A function has its own role and nothing beyond it.
#[test]
#[ignore = "needs pypi"]
fn ministack_enforces_roles() {
    let aws = Ministack::start(Auth::Enforced);
    let code = tempfile::tempdir().expect("a folder");
    let outputs = deploy(&aws, code.path(), "hello");
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let key = invoke(&aws, &outputs["Function"], &json!({ "variables": names }));
    let part = |n: usize| key[n].as_str().expect("a key").to_owned();
    let own = Key { id: part(0), secret: part(1), session: Some(part(2)) };
    let item = json!({ "pk": { "S": "T#one" }, "sk": { "S": "STATE" } });
    let get = json!({ "TableName": outputs["Table"], "Key": item });
    let put = json!({ "TableName": outputs["Table"], "Item": item });
    aws.call_as(&own, "dynamodb", "get_item", &get).expect("the role may");
    let refused = aws.call_as(&own, "dynamodb", "put_item", &put).expect_err("the role may not");
    assert_eq!(refused.code, "AccessDeniedException", "{refused:?}");
    let transaction = json!({ "TransactItems": [{ "Put": put }] });
    let refused = aws.call_as(&own, "dynamodb", "transact_write_items", &transaction).expect_err("nor so");
    assert_eq!(refused.code, "AccessDeniedException", "{refused:?}");
    let forged = Key { secret: "forged".to_owned(), ..own };
    let refused = aws.call_as(&forged, "dynamodb", "get_item", &get).expect_err("the signature is wrong");
    assert_eq!(refused.code, "InvalidSignatureException", "{refused:?}");
}

fn deploy(aws: &Ministack, code: &Path, greeting: &str) -> std::collections::BTreeMap<String, String> {
    let folder = code.join("echo");
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(env!("CARGO_BIN_EXE_echo"), folder.join("bootstrap")).expect("copied");
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/echo.yaml");
    aws.deploy(&template, "echo", code, &[("Greeting", greeting)])
}

fn invoke(aws: &Ministack, function: &str, with: &Value) -> Value {
    let call = json!({ "FunctionName": function, "Payload": with.to_string() });
    let answer = aws.call("lambda", "invoke", &call).expect("called");
    assert_eq!(answer["FunctionError"], Value::Null, "{answer}");
    serde_json::from_str(answer["Payload"].as_str().expect("text")).expect("JSON")
}

fn status(url: &str, host: &str) -> u16 {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let mut call = agent.get(url);
    if !host.is_empty() {
        call = call.header("Host", host);
    }
    call.call().expect("answers").status().as_u16()
}

/// A put of what must not be there yet.
fn new(table: &Table, sk: &str) -> Value {
    json!({
        "TableName": table.name(),
        "Item": {
            "pk": { "S": "T#one" }, "sk": { "S": sk },
            "due_shard": { "S": "due#0" }, "due_at": { "S": format!("at {sk}") },
        },
        "ConditionExpression": "attribute_not_exists(pk)",
    })
}

fn keeps_what_is_put_once(table: &Table) {
    let put = || dynamodb(table.endpoint(), "PutItem", &new(table, "STATE"));
    put().expect("put");
    let refused = put().expect_err("it is there already");
    assert!(
        refused["__type"].as_str().is_some_and(|it| it.ends_with("ConditionalCheckFailedException")),
        "{refused}"
    );
    let key = json!({ "pk": { "S": "T#one" }, "sk": { "S": "STATE" } });
    let get = json!({ "TableName": table.name(), "Key": key, "ConsistentRead": true });
    let item = dynamodb(table.endpoint(), "GetItem", &get).expect("got");
    assert_eq!(item["Item"], new(table, "STATE")["Item"]);
}

/// After [`keeps_what_is_put_once`].
fn lists_by_its_indexes(table: &Table) {
    let query = |index: &str, key: &str, of: &str| {
        let query = json!({
            "TableName": table.name(), "IndexName": index, "KeyConditionExpression": "#key = :of",
            "ExpressionAttributeNames": { "#key": key }, "ExpressionAttributeValues": { ":of": { "S": of } },
        });
        dynamodb(table.endpoint(), "Query", &query).expect("an index")["Items"].clone()
    };
    // An index has keys only, its own and the table's.
    assert_eq!(query("due", "due_shard", "due#0"), json!([new(table, "STATE")["Item"]]));
    for (index, key) in [("listed", "list"), ("of_target", "target"), ("of_person", "person")] {
        assert_eq!(query(index, key, "anything"), json!([]));
    }
}

fn transacts_once_per_token(table: &Table) {
    let transact = |sk: &str, token: &str| {
        let puts = json!([{ "Put": new(table, sk) }]);
        let with = json!({ "TransactItems": puts, "ClientRequestToken": token });
        dynamodb(table.endpoint(), "TransactWriteItems", &with)
    };
    let is = |refused: Value, code: &str| {
        assert!(refused["__type"].as_str().is_some_and(|it| it.ends_with(code)), "{refused}");
    };
    transact("one", "token-1").expect("written");
    transact("one", "token-1").expect("the same again is the same");
    is(transact("two", "token-1").expect_err("not the same"), "IdempotentParameterMismatchException");
    is(transact("one", "token-2").expect_err("it is there already"), "TransactionCanceledException");
}

/// Who listens on the port of this address, listens to nobody else's machine.
fn is_on_loopback_only(url: &str) {
    /// 127.0.0.1, and the same as an address of the other family, as the kernel prints them.
    const LOOPBACK: [&str; 2] = ["0100007F", "0000000000000000FFFF00000100007F"];
    const LISTENS: &str = "0A";
    let port: u16 = url.rsplit_once(':').expect("a port").1.parse().expect("a port");
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|it| fs::read_to_string(it).unwrap_or_default());
    let sockets = tables.iter().flat_map(|it| it.lines().skip(1));
    let sockets = sockets.map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let heard = sockets.filter(|it| it[3] == LISTENS).filter_map(|it| it[1].split_once(':'));
    let heard: Vec<&str> =
        heard.filter(|(_, at)| u16::from_str_radix(at, 16) == Ok(port)).map(|(address, _)| address).collect();
    assert!(!heard.is_empty() && heard.iter().all(|it| LOOPBACK.contains(it)), "{url}: {heard:?}");
}
