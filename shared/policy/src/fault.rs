//! What is wrong with a policy file, and where.

use miette::Diagnostic;
use serde::Serialize;
use std::fmt;

/// A fault of a policy file. As text `FILE:LINE:COLUMN: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right, where that is known.
    pub help: Option<String>,
}

/// All faults of the policy files, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Fault {
    /// A fault at this place of the text, counted in bytes.
    pub(crate) fn at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let begun = before.rfind('\n').map_or(0, |it| it + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[begun..].chars().count() + 1,
            message: message.into(),
            help: None,
        }
    }

    /// What Cedar says, at the place that it names.
    pub(crate) fn told(file: &str, text: &str, told: &impl Diagnostic) -> Self {
        let offset = told.labels().and_then(|mut it| it.next()).map_or(0, |it| it.offset());
        let help = told.help().map(|it| it.to_string());
        Self { help, ..Self::at(file, text, offset, told.to_string()) }
    }

    /// The same without the action at the end of what Cedar says, which it says of each, and with help where it has none.
    pub(crate) fn of_any_action(mut self) -> Self {
        const ACTION: &str = " for Action::\"";
        self.message.truncate(self.message.rfind(ACTION).unwrap_or(self.message.len()));
        if self.message.ends_with("on entity type `Installation` not found") {
            self.help =
                Some("machines alone have attributes and tags: write `resource is Machine`".to_owned());
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, help } = self;
        write!(f, "{file}:{line}:{column}: {message}")?;
        help.iter().try_for_each(|it| write!(f, " ({it})"))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Faults {}
