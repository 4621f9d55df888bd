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
/// DynamoDB Local 1.25 counts items of a transaction once that cost the same, so each item is written by itself, and counts
/// twice. An index counts twice too, then, which is the most that AWS might take. Source: Amazon DynamoDB Developer Guide,
/// "Amazon DynamoDB Transactions: How it works", "Capacity management for transactions".
pub fn units(table: &Table, from: &str, calls: &[Call]) -> Vec<Units> {
    let done = |call: &Call| {
        if call.service != "dynamodb" {
            return Units::default();
        }
        if call.status != 200 {
            return Units { written: of_a_refused(&call.with), ..Units::default() };
        }
        let with = call.with.to_string().replace(from, table.name());
        let with: Value = serde_json::from_str(&with).expect("JSON still");
        match call.operation.as_str() {
            // Nothing found is counted as nothing there, and as the least that there is by AWS.
            "GetItem" | "BatchGetItem" | "Query" => {
                let (all, _) = consumed(table, &call.operation, &with);
                Units { read: all.max(0.5), ..Units::default() }
            }
            "TransactWriteItems" => of_a_transaction(table, &with),
            "PutItem" => written(table, "PutItem", &with),
            other => panic!("{other}: nobody calls that"),
        }
    };
    calls.iter().map(done).collect()
}

/// What a transaction consumes: twice what its items do, each by itself.
pub fn of_a_transaction(table: &Table, with: &Value) -> Units {
    let items = with["TransactItems"].as_array().expect("items");
    let each = items.iter().map(|item| {
        let (kind, with) = item.as_object().and_then(|it| it.iter().next()).expect("one action");
        let operation = match kind.as_str() {
            "Put" => "PutItem",
            "Update" => "UpdateItem",
            "Delete" => "DeleteItem",
            other => panic!("{other}: nobody does that in a transaction"),
        };
        let alone = written(table, operation, with);
        Units { written: 2.0 * alone.written, indexes: 2.0 * alone.indexes, ..alone }
    });
    each.fold(Units::default(), |all, one| Units {
        written: all.written + one.written,
        indexes: all.indexes + one.indexes,
        ..all
    })
}

fn written(table: &Table, operation: &str, with: &Value) -> Units {
    let (written, indexes) = consumed(table, operation, with);
    Units { read: 0.0, written, indexes }
}

/// Does a call, and gives what it consumed: in all, and of its indexes.
fn consumed(table: &Table, operation: &str, with: &Value) -> (f64, f64) {
    let mut with = with.clone();
    with["ReturnConsumedCapacity"] = json!("INDEXES");
    // A condition that fails returns what is there in a transaction alone.
    let known = with.as_object_mut().expect("an object");
    known.remove("ReturnValuesOnConditionCheckFailure");
    let answer = dynamodb(table.endpoint(), operation, &with);
    let answer = answer.unwrap_or_else(|error| panic!("{operation} was done once: {error}"));
    let consumed = &answer["ConsumedCapacity"];
    let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
    let all: f64 = tables.iter().map(|it| number(&it["CapacityUnits"])).sum();
    let indexes = tables.iter().filter_map(|it| it["GlobalSecondaryIndexes"].as_object());
    (all, indexes.flat_map(|it| it.values()).map(|it| number(&it["CapacityUnits"])).sum())
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

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}
