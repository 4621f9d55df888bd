//! The story in words: when, who, what. Told only on demand, since most stories end well.

use std::fmt;

/// The lines of a story, if anybody listens.
#[derive(Debug, Default)]
pub(super) struct Log(Option<Vec<String>>);

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actor {
    /// The world around us.
    World,
    /// A worker, by its number.
    Worker(u64),
}

impl Log {
    pub(super) fn of(is_told: bool) -> Self {
        Self(is_told.then(Vec::new))
    }

    pub(super) fn note(&mut self, now: i64, who: Actor, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(format!("{:>5}.{:03} s  {who:<6} {}", now / 1000, now % 1000, what()));
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.pad("world"),
            Self::Worker(n) => f.pad(&format!("w{n}")),
        }
    }
}
