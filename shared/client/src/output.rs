//! What a command answers, for a person or for a script.

use crate::table::Table;
use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};
use portcullis_program::{
    Failure,
    output::{Paint, escaped, line, print},
};
use serde::Serialize;
use std::io::{self, IsTerminal as _};

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
