//! Tells the bus what was committed, as the table's stream says it, and measures it.

#![recursion_limit = "256"] // One future in the other, down to the connection.

use jiff::Timestamp;
use portcullis_lambda::{Environment, Failed, Place, run_stream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let place = Place::start(Environment::new(|name| std::env::var(name).ok()), Timestamp::now)?;
    run_stream(place.bus()?, place.meter()?).await
}
