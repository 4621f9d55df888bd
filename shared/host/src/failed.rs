//! Failures of the use cases as the end of the program.

use portcullis_app::Error;
use portcullis_domain::Refusal;
use portcullis_program::Failure;

/// What helps against what may succeed a moment later.
const AGAIN: &str = "run the same command again: it is safe to repeat";

/// A failure with why, and with what helps.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` is given")]
pub(crate) fn failed(error: Error) -> Failure {
    match &error {
        Error::Refused(refusals) => {
            let reasons = refusals.iter().map(Refusal::to_string).collect::<Vec<_>>();
            Failure::refused("the command was refused, and changed nothing").because(reasons)
        }
        Error::NotFound { .. } => Failure::not_found(error.to_string()),
        Error::Conflict => Failure::unavailable(error.to_string()).next(AGAIN),
        Error::Unavailable { .. } => Failure::unavailable(error.full()).next(AGAIN),
        Error::Broken { .. } => Failure::broken(error.full()),
    }
}

/// An error with what it comes from, in one line.
pub(crate) fn full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", full(source)),
        None => error.to_string(),
    }
}
