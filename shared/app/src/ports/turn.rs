//! A turn at a chain, and who goes first.

use std::{any::Any, fmt};

/// Who goes first of those that wait for the same chain. Within a rank the first to come is the first to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A worker that settles: an end must not wait behind callers.
    Worker,
    /// A caller that takes access away.
    Shutting,
    /// Every other caller.
    Asking,
}

impl Rank {
    /// All of them, the first to go first.
    pub const ALL: [Self; 3] = [Self::Worker, Self::Shutting, Self::Asking];
}

/// A turn at a chain; over when it is dropped. A turn never spans a call of a firewall.
#[must_use = "a turn is over when it is dropped"]
#[derive(Default)]
pub struct Turn(Option<Box<dyn Any + Send>>);

impl Turn {
    /// A turn that lasts as long as this does.
    pub fn of(held: impl Any + Send) -> Self {
        Self(Some(Box::new(held)))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turn").field(&self.0.is_some()).finish()
    }
}
