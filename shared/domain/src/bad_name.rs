//! What is wrong with a name.

/// A text that is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {what}: {wanted}")]
pub struct BadName {
    given: String,
    what: &'static str,
    wanted: &'static str,
}

impl BadName {
    pub(crate) fn of(given: &str, what: &'static str, wanted: &'static str) -> Self {
        Self { given: given.chars().take(80).collect(), what, wanted }
    }
}
