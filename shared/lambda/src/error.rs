//! Why a function could not start, or an invocation failed.

use crate::BadSetting;
use portcullis_app::Error;
use std::error::Error as _;

/// A failure in one line: that is all that Lambda shows of one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl From<BadSetting> for Failed {
    fn from(error: BadSetting) -> Self {
        let source = error.source().map(|it| format!(": {it}")).unwrap_or_default();
        Self(format!("{error}{source}"))
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error.full())
    }
}

impl From<lambda_runtime::Error> for Failed {
    fn from(error: lambda_runtime::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Failed> for lambda_runtime::Diagnostic {
    fn from(Failed(error_message): Failed) -> Self {
        Self { error_type: "Failed".to_owned(), error_message }
    }
}
