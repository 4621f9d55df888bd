//! What calls of DynamoDB consume, by AWS's own DynamoDB for developers: they are done there once more.

use super::{Call, Table, dynamodb};
use serde_json::{Value, json};

/// What a call consumed, in request units.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Units {
    /// Of reading.
    pub read: f64,
    /// Of writing: of the table, and of its indexes.
    pub written: f64,
    /// Of that, what its indexes took.
    pub indexes: f64,
}

/// What each of these calls consumed, in their order, where `from` was the name of the table; nothing where it
/// was no call of DynamoDB. The table has to be new, and the calls all that ever were.
///
/// DynamoDB Local 1.25 counts what a transaction writes four times. By AWS's rule it counts twice, so it is
/// halved, by a transaction whose units are known. An index counts twice too, then, which is the most that AWS
/// might take.
pub fn units(table: &Table, from: &str, calls: &[Call]) -> Vec<Units> {
    let too_much = consumed_by_one(table) / 2.0;
    let done = |call: &Call| {
        if call.service != "dynamodb" {
            return Units::default();
        }
        if call.status != 200 {
            return Units { written: of_a_refused(&call.with), ..Units::default() };
        }
        let with = call.with.to_string().replace(from, table.name());
        let mut with: Value = serde_json::from_str(&with).expect("JSON still");
        with["ReturnConsumedCapacity"] = json!("INDEXES");
        let answer = dynamodb(table.endpoint(), &call.operation, &with);
        let answer = answer.unwrap_or_else(|error| panic!("{} was done once: {error}", call.operation));
        let consumed = &answer["ConsumedCapacity"];
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let all: f64 = tables.iter().map(|it| number(&it["CapacityUnits"])).sum();
        let indexes = tables.iter().filter_map(|it| it["GlobalSecondaryIndexes"].as_object());
        let indexes: f64 = indexes.flat_map(|it| it.values()).map(|it| number(&it["CapacityUnits"])).sum();
        match call.operation.as_str() {
            // Nothing found is counted as nothing there, and as the least that there is by AWS.
            "GetItem" | "BatchGetItem" | "Query" => Units { read: all.max(0.5), ..Units::default() },
            "TransactWriteItems" => Units { read: 0.0, written: all / too_much, indexes: indexes / too_much },
            "PutItem" => Units { read: 0.0, written: all, indexes },
            other => panic!("{other}: nobody calls that"),
        }
    };
    calls.iter().map(done).collect()
}

/// Who came second in a race pays for all that they wanted to write, but for the indexes: one unit for each kilobyte,
/// two in a transaction.
fn of_a_refused(with: &Value) -> f64 {
    const KILOBYTE: usize = 1024;
    let kilobytes = |it: &Value| it.to_string().len().div_ceil(KILOBYTE);
    let in_transaction: usize = with["TransactItems"].as_array().into_iter().flatten().map(kilobytes).sum();
    let alone = with.get("Item").map_or(0, kilobytes);
    f64::from(u32::try_from(alone + 2 * in_transaction).expect("at most 4 MB"))
}

/// What is said of a transaction that writes half a kilobyte: two units, by AWS.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>
fn consumed_by_one(table: &Table) -> f64 {
    let item =
        json!({ "pk": { "S": "measure" }, "sk": { "S": "measure" }, "body": { "S": "x".repeat(500) } });
    let put = json!({ "Put": { "TableName": table.name(), "Item": item } });
    let with = json!({ "TransactItems": [put], "ReturnConsumedCapacity": "TOTAL" });
    let answer =
        dynamodb(table.endpoint(), "TransactWriteItems", &with).unwrap_or_else(|error| panic!("{error}"));
    let consumed = number(&answer["ConsumedCapacity"][0]["CapacityUnits"]);
    assert!(2.0 <= consumed, "{answer}");
    consumed
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}
