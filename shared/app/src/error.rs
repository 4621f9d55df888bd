//! What can go wrong, told apart by who acts next.

use portcullis_domain::Refusals;

/// Whatever an adapter failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Five kinds, told apart by who acts next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller, differently.
    #[error("refused")]
    Refused(#[source] Refusals),
    /// The caller, about something that exists.
    #[error("there is no {what} `{name}`{}", remedy(what))]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// What it was called.
        name: String,
    },
    /// Whoever looks again.
    #[error("another writer changed it first")]
    Conflict,
    /// The next try.
    #[error("could not {doing}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        source: BoxError,
    },
    /// A person.
    #[error("cannot {doing}")]
    Broken {
        /// What was being done.
        doing: &'static str,
        /// What is wrong.
        source: BoxError,
    },
}

/// Where the ids of a kind of thing are found, for callers who know a part of a name alone.
fn remedy(what: &str) -> &'static str {
    if what == "target" {
        ": `portcullis targets` and `GET /v1/names` list the machines by their ids"
    } else {
        ""
    }
}

/// A firewall that cannot be read, since a write of it is not done yet: which.
#[derive(Debug, thiserror::Error)]
#[error("{0} is still being written")]
pub struct BeingWritten(pub String);

impl Error {
    /// Is the write of a firewall under way, and nothing else wrong?
    pub fn is_being_written(&self) -> bool {
        match self {
            Self::Unavailable { source, .. } => source.is::<BeingWritten>(),
            Self::Refused(_) | Self::NotFound { .. } | Self::Conflict | Self::Broken { .. } => false,
        }
    }

    /// May the same succeed a moment later?
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Conflict | Self::Unavailable { .. } => true,
            Self::Refused(_) | Self::NotFound { .. } | Self::Broken { .. } => false,
        }
    }

    /// The whole chain of sources in one line.
    pub fn full(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(it) = source {
            line = format!("{line}: {it}");
            source = it.source();
        }
        line
    }
}

impl<T: Into<Refusals>> From<T> for Error {
    fn from(refusals: T) -> Self {
        Self::Refused(refusals.into())
    }
}
