//! Failures of the table, and what they mean for the caller.

use portcullis_app::{BoxError, Error};
use std::fmt;

/// Why a write did not happen.
pub(crate) enum Failed {
    /// Nothing was changed; the others in its transaction are none the worse.
    Whole(Error),
    /// Something may be half written: the transaction is given up.
    Torn(redb::Error),
}

impl Failed {
    /// What it means for the caller.
    pub(super) fn told(self, doing: &'static str) -> Error {
        match self {
            Self::Whole(error) => error,
            Self::Torn(error) => told(doing, error),
        }
    }
}

pub(super) fn corrupt(table: &'static str, key: &str, error: &impl fmt::Display) -> Error {
    let source = format!("record `{key}` in `{table}` is not as it was written: {error}").into();
    Error::Broken { doing: "read the table", source }
}

pub(super) fn unavailable(doing: &'static str) -> impl FnOnce(BoxError) -> Error {
    move |source| Error::Unavailable { doing, source }
}

/// What the file's own trouble means for whoever asked.
pub(super) fn told(doing: &'static str, error: redb::Error) -> Error {
    let is_broken = matches!(error, redb::Error::Corrupted(_));
    let source = Box::new(error);
    if is_broken { Error::Broken { doing, source } } else { Error::Unavailable { doing, source } }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Whole(error)
    }
}

macro_rules! torn {
    ($($error:ty),*) => {$(
        impl From<$error> for Failed {
            fn from(error: $error) -> Self {
                Self::Torn(error.into())
            }
        }
    )*};
}
torn!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);
