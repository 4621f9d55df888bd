//! What a function says: one JSON object a line, on standard output, where Lambda takes it to CloudWatch.

use crate::{BadSetting, Environment};
use tracing_subscriber::filter::LevelFilter;

/// Begins to log from the level in `PORTCULLIS_LOG` on: `error`, `warn`, `info` (the default) or `debug`. There is no
/// `trace`: the runtime would log every event as it came, and with it the tokens of callers.
pub fn begin(environment: &Environment) -> Result<(), BadSetting> {
    const LEVEL: &str = "PORTCULLIS_LOG";
    let level = environment.parsed(LEVEL, "a level: `error`, `warn`, `info` or `debug`")?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_max_level(level.unwrap_or(LevelFilter::INFO).min(LevelFilter::DEBUG))
        .log_internal_errors(false)
        .init();
    Ok(())
}
