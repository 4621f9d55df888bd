//! What a terminal is given: colours, and text of others that cannot steer it.

use console::{Term, truncate_str};
use serde_json::Value;
use std::{borrow::Cow, env};

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

/// The end of a text that was cut.
const CUT: &str = "…";

/// The text, or as much of its beginning as so many columns of a terminal hold, with an ellipsis.
pub fn cut(text: &str, columns: usize) -> String {
    truncate_str(text, columns, CUT).into_owned()
}

/// The columns of a terminal: as the person says with `COLUMNS`, else as the terminal does.
pub fn columns(terminal: &Term) -> Option<usize> {
    let said = env::var("COLUMNS").ok().and_then(|it| it.parse().ok());
    let own = || terminal.size_checked().map(|(_, columns)| usize::from(columns));
    said.or_else(own).filter(|it| 0 < *it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
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
