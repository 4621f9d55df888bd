//! What a person or a script gets to see.

use crate::{failure::Failure, table::Table};
use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};
use serde::Serialize;
use serde_json::Value;
use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

/// Standard output, for people or for scripts.
#[derive(Debug)]
pub struct Output {
    is_json: bool,
    paint: Paint,
    zone: TimeZone,
}

impl Output {
    /// For scripts with JSON; for people otherwise, with colours where a terminal shows them.
    pub fn here(is_json: bool) -> Self {
        let paint = Paint::of(io::stdout().is_terminal());
        Self { is_json, paint, zone: TimeZone::system() }
    }

    /// Is it for scripts?
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// The time, where the person is.
    pub fn now(&self) -> ZonedDateTime {
        Timestamp::now().to_zoned_datetime(self.zone.clone())
    }

    /// One thing: as it came for scripts, in words for people.
    pub fn show<T: Serialize>(&self, thing: &T, words: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_json { Self::json(thing) } else { line(&words()) }
    }

    /// A list: as it came for scripts; for people a table, or what to type when it is empty.
    pub fn list<T: Serialize>(
        &self,
        things: &[T],
        empty: &str,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match (self.is_json, things.is_empty()) {
            (true, _) => Self::json(&things),
            (false, true) => line(empty),
            (false, false) => print(&table().lines(self.paint)),
        }
    }

    /// A table in the middle of words.
    pub fn table(&self, table: &Table) -> String {
        table.lines(self.paint)
    }

    fn json(thing: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(thing);
        line(&escaped(&text.map_err(|error| not_json(&error))?))
    }

    /// One thing of many, a line each.
    pub fn json_line(thing: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(thing);
        line(&escaped(&text.map_err(|error| not_json(&error))?))
    }
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::broken(format!("cannot write JSON: {error}"))
}

/// Lines for people, or whatever else is text already. They may hold our own colours.
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// A line for the person that is no result: on standard error.
pub fn note(line: impl Display) {
    // Nobody is left to be told that standard error is gone.
    let _ = writeln!(io::stderr(), "{}", printable(&line.to_string()));
}

/// Whether a person is there to be asked.
pub fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks the person; anything but a yes is a no.
pub fn ask(question: &str) -> Result<bool, Failure> {
    let cannot = |error: io::Error| Failure::broken(format!("cannot ask you: {error}"));
    let mut stderr = io::stderr();
    write!(stderr, "{} [y/N] ", printable(question)).and_then(|()| stderr.flush()).map_err(cannot)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(cannot)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Text of others without what would steer a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(steers) { Cow::Owned(text.replace(steers, "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

/// JSON that says the same, without what would steer a terminal: JSON escapes only some of that by itself.
pub fn escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(steers) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if steers(c) {
            // All of them are of one unit of UTF-16.
            let code = format!("\\u{:04x}", u32::from(c));
            text.push_str(&code);
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// The same value with every text in it in one line, and without what would steer a terminal.
pub fn tame(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(|c| steers(c) || c == '\n') => {
            *text = printable(&text.replace(['\n', '\r', '\t'], " ")).into_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(tame),
        Value::Object(fields) => fields.values_mut().for_each(tame),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Control characters but the end of a line, the signs that end a line or a paragraph, and those that turn the direction
/// of a text (Unicode Annex 9).
fn steers(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// Colours on a terminal, unless the person wants none.
    pub fn of(is_terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        Self(is_terminal && !unwanted && !is_dumb)
    }

    /// No colours.
    #[cfg(test)]
    pub const NONE: Self = Self(false);

    /// Are there any?
    pub fn has_colours(self) -> bool {
        self.0
    }

    /// For what is wrong.
    pub fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// For what wants a look.
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// For what is as it should be.
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// For what matters less.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Prints and does not mind that nobody reads on: `| head` is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::broken(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\u{FFFD}[2Jb\nc");
        let said = json!({ "why": "a\u{9b}2J\u{202e}b\u{7f}\x1b\u{2028}\nc", "more": ["plain", 7] });
        let text = serde_json::to_string_pretty(&said).expect("JSON");
        assert!(!escaped(&text).contains(steers), "{}", escaped(&text));
        assert_eq!(serde_json::from_str::<Value>(&escaped(&text)).expect("JSON"), said, "nothing is lost");
        let mut tamed = said;
        tame(&mut tamed);
        assert_eq!(tamed["why"], "a\u{FFFD}2J\u{FFFD}b\u{FFFD}\u{FFFD}\u{FFFD} c");
        assert_eq!(tamed["more"], json!(["plain", 7]));
    }
}
