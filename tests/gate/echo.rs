//! A function that prints what it is called with and answers with it: what the emulator is proven with. Of a
//! batch it fails what is poison, and all of it where it is told to.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use std::env;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(answer)).await
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let event = event.payload;
    println!("{event}");
    let records = event["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holding = |word: &'static str| records.iter().filter(move |it| it.to_string().contains(word));
    if holding("deadly").next().is_some() {
        return Err("told to".into());
    }
    let poison = holding("poison").map(|it| json!({ "itemIdentifier": it["messageId"] }));
    let variable = |name: &str| json!(env::var(name).ok());
    Ok(match event["variables"].as_array() {
        Some(names) => names.iter().filter_map(Value::as_str).map(variable).collect(),
        None if records.is_empty() => event,
        None => json!({ "batchItemFailures": poison.collect::<Vec<_>>() }),
    })
}
